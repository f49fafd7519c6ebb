//! What a destination must never show, planted into the PostgreSQL one: a checker that was never seen failing proves nothing.

use std::io;

use highwater_chaos_tests::prefix::Violation;
use highwater_chaos_tests::scale::Run;

use crate::small_site;

type Expected = fn(&Violation) -> bool;

const PLANTED: [(&str, Expected); 6] = [
    ("DELETE FROM event WHERE ctid = (SELECT min(ctid) FROM event)", |v| {
        matches!(v, Violation::Lost(..))
    }),
    ("INSERT INTO event SELECT * FROM event LIMIT 1", |v| {
        matches!(v, Violation::Doubled(..))
    }),
    ("INSERT INTO counter VALUES ('planted', 1, 1)", |v| {
        matches!(v, Violation::Unexpected(..))
    }),
    ("UPDATE account SET balance = balance + 1 WHERE id = 7", |v| {
        matches!(v, Violation::Differs { .. })
    }),
    ("UPDATE account SET balance = balance + 1 WHERE id = 7", |v| {
        v.to_string().contains("the accounts hold 50001")
    }),
    (
        "DELETE FROM txn_mark WHERE txn = (SELECT max(txn) FROM txn_mark)",
        |v| matches!(v, Violation::Lost(..)),
    ),
];

#[test]
fn planted_difference_is_seen_whichever_it_is() -> io::Result<()> {
    let run = Run::begin("planted_difference_is_seen_whichever_it_is", PLANTED.len() as u32);
    let Some(mut site) = small_site(run) else { return Ok(()) };
    site.write(60)?;
    site.settle();
    for (statement, is_expected) in PLANTED {
        // Kept aside, so that the next one is planted alone.
        let table = statement
            .split_whitespace()
            .nth(if statement.starts_with("UPDATE") { 1 } else { 2 });
        let table = table.unwrap_or_default();
        site.tamper(&format!("CREATE TABLE aside AS TABLE {table}; {statement}"))?;
        let found = site.judge_replica()?.violations;
        if !found.iter().any(is_expected) {
            site.fail(&format!("`{statement}` was not seen: {found:?}"));
        }
        site.tamper(&format!(
            "TRUNCATE {table}; INSERT INTO {table} TABLE aside; DROP TABLE aside"
        ))?;
        site.run.did();
    }
    site.finish("");
    Ok(())
}
