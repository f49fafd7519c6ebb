//! Pipelines at work: start, kill, drain, catch up.

use rustix::process::Signal;

use crate::site::{CONFIG, Site};

#[test]
fn killed_run_goes_on_where_it_stood() {
    let site = Site::new();
    let mut first = site.start(&["run"]);
    site.wait_until_live(&mut first);
    first.kill();
    site.source()
        .execute_batch(
            "INSERT INTO orders VALUES (201, 1, 5.0), (202, 2, 6.0);
             UPDATE orders SET total = 0 WHERE id = 1; DELETE FROM orders WHERE id = 2; UPDATE orders SET id = 1003 WHERE id = 3;",
        )
        .unwrap();
    let mut second = site.start(&["run"]);
    site.wait_for_orders(&mut second, 201);
    second.signal(Signal::TERM);
    assert_eq!(second.end(), Some(0), "{}", second.log());
    site.assert_equal();
    let log = second.log();
    let reads = log
        .lines()
        .filter(|line| line.contains("existing rows are read"))
        .count();
    assert_eq!(reads, 2, "each stream is read once, by the first process: {log}");
}

#[test]
fn second_runtime_on_the_same_state_is_refused_with_the_owner() {
    let site = Site::new();
    let mut first = site.start(&["run"]);
    site.wait_for_orders(&mut first, 200);
    let text = site.expect(&["run"], 3);
    assert!(text.contains("E0401") && text.contains("process "), "{text}");
    let text = site.expect(&["forget", "shop", "--yes"], 3);
    assert!(text.contains("E0401"), "{text}");
}

#[test]
fn second_runtime_on_another_state_is_refused_by_the_destinations() {
    let site = Site::new();
    let mut first = site.start(&["run"]);
    site.wait_for_orders(&mut first, 200);
    std::fs::write(
        site.path().join("rival.yaml"),
        CONFIG.replace(
            "admin: { listen: \"off\" }",
            "state: { path: ./rival }\n  admin: { listen: \"off\" }",
        ),
    )
    .unwrap();
    site.expect(&["run", "rival.yaml"], 3);
    let mut rival = site.start(&["run", "--take-over", "rival.yaml"]);
    rival.wait_for("the rival to be up", || rival_is_up(&site).then_some(()));
    // Who has nothing to commit has no reason to look whose lane it is.
    site.source()
        .execute_batch("INSERT INTO orders VALUES (201, 1, 5.0)")
        .unwrap();
    assert_eq!(first.end(), Some(1), "the fenced one ends: {}", first.log());
    site.wait_for_orders(&mut rival, 201);
    rival.signal(Signal::TERM);
    assert_eq!(rival.end(), Some(0), "{}", rival.log());
}

fn rival_is_up(site: &Site) -> bool {
    let output = site.run(&["status", "-c", "rival.yaml", "-o", "json"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.contains("\"generation\":2") && text.contains("\"state\":\"live\"")
}

#[test]
fn sync_ends_at_the_head_and_says_what_it_did() {
    let site = Site::new();
    site.expect(&["sync"], 0);
    site.assert_equal();
    site.source()
        .execute_batch("DELETE FROM customers WHERE id <= 10")
        .unwrap();
    let output = site.run(&["sync", "-o", "json", "--summary", "summary.jsonl"]);
    assert_eq!(output.status.code(), Some(0));
    site.assert_equal();
    let printed = String::from_utf8(output.stdout).unwrap();
    assert_eq!(
        printed,
        std::fs::read_to_string(site.path().join("summary.jsonl")).unwrap()
    );
    let lines: Vec<serde_json::Value> = printed
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let rows = |name: &str| lines.iter().find(|line| line["destination"] == name).unwrap()["rows"].clone();
    assert_eq!((rows("copy"), rows("lake")), (10.into(), 10.into()), "{printed}");
}

#[test]
fn run_until_caught_up_names_the_destination_that_cannot_and_exits_with_three() {
    let site = Site::new();
    std::fs::write(site.path().join("out"), "in the way").unwrap();
    let text = site.expect(&["run", "--until", "caught-up"], 3);
    assert!(text.contains("E0734") && text.contains("shop/lake"), "{text}");
    site.assert_equal();
}

#[test]
fn source_that_is_missing_or_wrong_ends_the_start() {
    let site = Site::new();
    site.configure(&CONFIG.replace("./shop.db", "./shopp.db"));
    let text = site.expect(&["run"], 3);
    assert!(text.contains("highwater.yaml:") && text.contains("shopp.db"), "{text}");
    site.configure(&CONFIG.replace("[customers, orders]", "[customers, ordres]"));
    let text = site.expect(&["run"], 2);
    assert!(text.contains("did you mean `orders`?"), "{text}");
}

#[test]
fn second_signal_ends_at_once() {
    let site = Site::new();
    let mut process = site.start(&["run"]);
    site.wait_for_orders(&mut process, 200);
    // Both signals are there before the first is looked at.
    process.signal(Signal::STOP);
    process.signal(Signal::TERM);
    process.signal(Signal::INT);
    process.signal(Signal::CONT);
    let code = process.end();
    assert!(matches!(code, Some(0 | 130 | 143)), "{code:?}");
}

#[test]
fn ephemeral_state_is_gone_afterwards() {
    let site = Site::new();
    site.expect(&["run", "--ephemeral", "--until", "caught-up"], 0);
    site.assert_equal();
    assert!(!site.path().join(".highwater").exists());
}

#[test]
fn quickstart_shows_rows_arriving_and_a_second_run_goes_on() {
    let site = Site::new();
    let arguments = ["quickstart", "--dir", "./demo", "--rows-per-second", "500"];
    for run in 0..2 {
        let mut process = site.start(&arguments);
        let log = site.path().join("process.log");
        process.wait_for("the demo", || {
            let text = std::fs::read_to_string(&log).ok()?;
            (text
                .matches("Streaming shop: sqlite → lake (parquet), copy (sqlite)")
                .count()
                > run)
                .then_some(())
        });
        process.signal(Signal::INT);
        assert_eq!(process.end(), Some(0), "{}", process.log());
    }
    let text = std::fs::read_to_string(site.path().join("process.log")).unwrap();
    for line in [
        "     Created ./demo/shop.db (3 tables, 12 000 rows)",
        "     Created ./demo/highwater.yaml",
        "   Validated 1 pipeline, 2 destinations in ",
        // 6 000 and what the script has added meanwhile.
        "    Snapshot order_lines      6 0",
        "    Draining shop (limit 60 s)",
        "     Stopped shop in ",
        "; `highwater run -c ./demo` goes on",
        "       Found ./demo/shop.db (",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
}

#[test]
fn ephemeral_quickstart_leaves_nothing() {
    let site = Site::new();
    let mut process = site.start(&["quickstart", "--dir", "./demo", "--ephemeral"]);
    let log = site.path().join("process.log");
    process.wait_for("the demo", || {
        std::fs::read_to_string(&log).ok()?.contains("Streaming").then_some(())
    });
    process.signal(Signal::TERM);
    assert_eq!(process.end(), Some(0), "{}", process.log());
    assert!(!site.path().join("demo").exists());
}
