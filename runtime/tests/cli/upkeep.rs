//! Looking at a running process and changing what it does; and cleaning up.

use rustix::process::Signal;
use serde_json::json;

use crate::site::{CONFIG, Site};

#[test]
fn status_shows_the_running_process_and_check_answers_no_when_it_is_degraded() {
    let site = Site::new();
    let mut process = site.start(&["run"]);
    site.wait_for_orders(&mut process, 200);
    process.wait_for("both destinations live", || {
        (site.json(&["status", "-o", "json"], 0)["result"]["pipelines"][0]["state"] == "live").then_some(())
    });
    site.expect(&["status", "--check"], 0);
    site.expect(&["status", "--live"], 0);
    let text = site.expect(&["status", "shop"], 0);
    assert!(
        text.starts_with("shop  LIVE") && text.contains("customers  live  live"),
        "{text}"
    );
    site.expect(&["status", "shopp"], 2);
    process.kill();
    site.expect(&["status", "--live"], 4);

    std::fs::remove_dir_all(site.path().join("out")).unwrap();
    std::fs::write(site.path().join("out"), "in the way").unwrap();
    let mut process = site.start(&["run"]);
    process.wait_for("a degraded pipeline", || {
        let output = site.run(&["status", "--check"]);
        (output.status.code() == Some(4)).then_some(())
    });
    let text = site.expect(&["status"], 0);
    assert!(text.contains("DEGRADED") && text.contains("next try in"), "{text}");
    let (status, body) = site.get("/readyz");
    assert_eq!((status, body.as_str()), (200, r#"{"ready":true,"degraded":["shop"]}"#));
    assert_eq!(site.get("/readyz?strict=1").0, 503);
}

#[test]
fn resync_empties_and_reads_again_while_the_process_runs() {
    let site = Site::new();
    let mut process = site.start(&["run"]);
    site.wait_for_orders(&mut process, 200);
    // Somebody has spoiled the copy.
    site.copy().execute_batch("DELETE FROM orders WHERE id > 50").unwrap();
    let text = site.expect(&["resync", "shop", "--stream", "orders", "--destination", "copy"], 2);
    assert!(text.contains("--yes"), "{text}");
    site.expect(
        &[
            "resync",
            "shop",
            "--stream",
            "orders",
            "--destination",
            "copy",
            "--dry-run",
        ],
        0,
    );
    site.expect(&["resync", "shop", "--stream", "ordres", "--yes"], 2);
    let text = site.expect(
        &["resync", "shop", "--stream", "orders", "--destination", "copy", "--yes"],
        0,
    );
    assert!(text.contains("     Started resync 2 of orders → copy"), "{text}");
    site.wait_for_orders(&mut process, 200);
    process.signal(Signal::TERM);
    assert_eq!(process.end(), Some(0));
    site.assert_equal();
}

#[test]
fn forget_removes_triggers_ledger_and_checkpoints_but_no_row() {
    let site = Site::new();
    site.expect(&["sync"], 0);
    let traces =
        |connection: rusqlite::Connection, sql: &str| connection.query_row(sql, [], |row| row.get::<_, i64>(0));
    let at_source = "SELECT count(*) FROM sqlite_schema WHERE name LIKE '\\_highwater%' ESCAPE '\\'";
    assert!(traces(site.source(), at_source).unwrap() > 0);
    site.expect(&["forget", "shop"], 2);
    let text = site.expect(&["forget", "shop", "--yes"], 0);
    assert!(text.contains("     Removed triggers"), "{text}");
    assert_eq!(traces(site.source(), at_source).unwrap(), 0);
    assert_eq!(
        traces(site.copy(), "SELECT count(*) FROM _highwater_ledger").unwrap_or(0),
        0
    );
    assert_eq!(traces(site.copy(), "SELECT count(*) FROM orders").unwrap(), 200);
    let export = site.run(&["state", "export"]);
    let export: serde_json::Value = serde_json::from_slice(&export.stdout).unwrap();
    assert_eq!(export["pipelines"], json!({}));
}

#[test]
fn state_shows_and_exports_every_checkpoint() {
    let site = Site::new();
    site.expect(&["state", "show"], 3);
    site.expect(&["sync"], 0);
    let text = site.expect(&["state", "show"], 0);
    assert!(text.contains("2 of 2 live"), "{text}");
    let export: serde_json::Value = serde_json::from_slice(&site.run(&["state", "export"]).stdout).unwrap();
    let names: Vec<&String> = export["pipelines"]["shop"]["destinations"]
        .as_object()
        .unwrap()
        .keys()
        .collect();
    assert_eq!(names, ["copy", "lake"]);
}

#[test]
fn changed_transformers_ask_for_a_resync_and_a_renamed_one_does_not() {
    let site = Site::new();
    let with = |transformer: &str| {
        CONFIG.replace(
            "    destinations:",
            &format!("    transformers: [{transformer}]\n    destinations:"),
        )
    };
    site.configure(&with(
        "{ name: a, connector: select, spec: { streams: { customers: { drop: [name] } } } }",
    ));
    let text = site.expect(&["validate"], 0);
    assert!(text.contains("no errors"), "{text}");
    site.expect(&["sync"], 0);
    site.configure(&with(
        "{ name: b, connector: select, spec: { streams: { customers: { drop: [name] } } } }",
    ));
    site.expect(&["sync"], 0);
    site.configure(CONFIG);
    // Nor does a migration make the rows pass for those of the new ones.
    let text = site.expect(&["migrate"], 2);
    assert!(
        text.contains("E0704") && text.contains("highwater resync shop"),
        "{text}"
    );
    let text = site.expect(&["sync"], 1);
    assert!(text.contains("E0704"), "{text}");
}

#[test]
fn migrate_makes_tables_and_moves_no_checkpoint() {
    let site = Site::new();
    site.expect(&["migrate"], 0);
    let copied = |sql: &str| site.copy().query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!(copied("SELECT count(*) FROM orders"), 0);
    site.expect(&["sync"], 0);
    site.assert_equal();
    site.expect(&["migrate"], 0);
    assert_eq!(copied("SELECT count(*) FROM orders"), 200);
    site.source().execute_batch("DELETE FROM orders WHERE id = 7").unwrap();
    site.expect(&["sync"], 0);
    site.assert_equal();
}

#[test]
fn migrate_leaves_to_the_log_what_follows_one() {
    let site = Site::new();
    site.expect(&["sync"], 0);
    // A change of the older shape is on its way when the table is altered.
    let changes = "DELETE FROM orders WHERE id = 7;
        ALTER TABLE orders ADD COLUMN note TEXT;
        UPDATE orders SET note = 'new' WHERE id = 8;
        CREATE TABLE refunds (id INTEGER PRIMARY KEY, amount REAL)";
    site.source().execute_batch(changes).unwrap();
    site.configure(&CONFIG.replace("[customers, orders]", "[customers, orders, refunds]"));
    let text = site.expect(&["migrate"], 0);
    assert!(
        text.contains("Migrated shop/copy, 1 table: refunds")
            && text.contains("Left shop/lake, 2 tables: customers, orders"),
        "{text}"
    );
    site.expect(&["sync"], 0);
    site.assert_equal();
    let notes = "SELECT count(*) FROM orders WHERE note = 'new'";
    assert_eq!(site.copy().query_row(notes, [], |row| row.get::<_, i64>(0)).unwrap(), 1);
}
