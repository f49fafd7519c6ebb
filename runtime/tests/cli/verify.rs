//! Comparing source and destinations, while a process runs the pipeline and while nobody does.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use crate::site::{CONFIG, Site};

/// A writer that changes orders above 100 until it is dropped.
struct Writer {
    is_over: Arc<AtomicBool>,
    work: Option<std::thread::JoinHandle<u64>>,
}

impl Writer {
    fn start(site: &Site) -> Writer {
        let is_over = Arc::new(AtomicBool::new(false));
        let (source, over) = (site.source(), Arc::clone(&is_over));
        let work = std::thread::spawn(move || {
            let mut count = 0;
            while !over.load(Ordering::Acquire) {
                let (id, next) = (100 + count % 100, 1_000 + count);
                let sql = format!(
                    "BEGIN; UPDATE orders SET total = {count} WHERE id = {id};
                     INSERT INTO orders VALUES ({next}, 1, 0.5); DELETE FROM orders WHERE id = {next} - 10; COMMIT"
                );
                source.execute_batch(&sql).unwrap();
                count += 1;
            }
            count
        });
        Writer {
            is_over,
            work: Some(work),
        }
    }

    /// How many transactions it has made.
    fn stop(mut self) -> u64 {
        self.is_over.store(true, Ordering::Release);
        self.work.take().unwrap().join().unwrap()
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Release);
    }
}

/// What `verify` says of a stream at a destination.
fn compared<'a>(envelope: &'a Value, stream: &str, destination: &str) -> &'a Value {
    let all = envelope["result"]["comparisons"].as_array().unwrap();
    all.iter()
        .find(|comparison| comparison["stream"] == stream && comparison["destination"] == destination)
        .unwrap_or_else(|| panic!("{stream} at {destination} in {envelope:#}"))
}

fn difference(id: u64, kind: &str, columns: &[&str], copies: u64) -> Value {
    json!({ "key": [id.to_string()], "kind": kind, "columns": columns, "copies": copies })
}

/// A row missing, one changed, one too many among orders that nobody writes; a doubled one among customers.
fn plant(site: &Site) {
    site.copy()
        .execute_batch(
            "DELETE FROM orders WHERE id = 17;
             UPDATE orders SET total = -1, customer = NULL WHERE id = 18;
             INSERT INTO orders VALUES (99, 1, 1), (998, 1, 1) ON CONFLICT DO NOTHING;
             ALTER TABLE customers RENAME TO was;
             CREATE TABLE customers (id INTEGER, name TEXT);
             INSERT INTO customers SELECT id, name FROM was UNION ALL SELECT id, name FROM was WHERE id = 5;",
        )
        .unwrap();
}

#[test]
fn differences_are_named_exactly_while_writers_run() {
    let site = Site::new();
    let mut process = site.start(&["run"]);
    site.wait_until_live(&mut process);
    let writer = Writer::start(&site);

    for _ in 0..3 {
        let equal = site.json(&["verify", "shop", "-o", "json"], 0);
        assert_eq!((&equal["ok"], &equal["command"]), (&json!(true), &json!("verify")));
        let orders = compared(&equal, "orders", "copy");
        assert_eq!(orders["outcome"], "equal", "{orders:#}");
        assert!(orders["source_rows"].as_u64() >= Some(200), "{orders:#}");
        assert_eq!(compared(&equal, "customers", "copy")["source_rows"], 100);
        assert_eq!(compared(&equal, "orders", "lake")["outcome"], "not_compared");
    }
    plant(&site);
    for _ in 0..2 {
        let different = site.json(&["verify", "shop", "-o", "json"], 4);
        assert_eq!(different["ok"], json!(false));
        let orders = compared(&different, "orders", "copy");
        assert_eq!(
            orders["differences"],
            json!([
                difference(17, "missing", &[], 0),
                difference(18, "different", &["customer", "total"], 1),
                difference(998, "extra", &[], 1),
            ]),
            "{orders:#}"
        );
        assert_eq!(
            (&orders["difference_count"], &orders["key"]),
            (&json!(3), &json!(["id"]))
        );
        let customers = compared(&different, "customers", "copy");
        assert_eq!(customers["differences"], json!([difference(5, "doubled", &[], 2)]));
        assert_eq!(
            (&customers["source_rows"], &customers["destination_rows"]),
            (&json!(100), &json!(101))
        );
    }
    let only = site.json(
        &[
            "verify",
            "shop",
            "--stream",
            "customers",
            "--details",
            "only.json",
            "-o",
            "json",
        ],
        4,
    );
    assert_eq!(only["result"]["comparisons"].as_array().unwrap().len(), 2);
    let details: Value = serde_json::from_slice(&std::fs::read(site.path().join("only.json")).unwrap()).unwrap();
    assert_eq!(details["comparisons"], only["result"]["comparisons"]);
    let count = writer.stop();
    assert!(count > 20, "the writer got on: {count} transactions");
}

#[test]
fn pipeline_that_nobody_runs_is_run_up_to_the_position_and_compared() {
    let site = Site::new();
    let text = site.expect(&["verify", "shop"], 0);
    for line in [
        "Running `shop`, which nobody runs now",
        "       Equal customers → copy: 100 rows",
        "       Equal orders → copy: 200 rows",
        "Not compared orders → lake: connector `parquet` does not read back what it wrote",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
    assert!(!site.path().join("verify-shop.json").exists(), "there are no details");
    plant(&site);
    let output = site.run(&["verify", "shop", "--destination", "copy"]);
    assert_eq!(output.status.code(), Some(4));
    let text = String::from_utf8(output.stdout).unwrap();
    insta::assert_snapshot!(text, @r"
       Different customers → copy: 1 row in 1 of 65 536 buckets
                 id 5  2 times in copy
       Different orders → copy: 3 rows in 3 of 65 536 buckets
                 id 17   missing in copy
                 id 18   differs: customer, total
                 id 998  only in copy
    ");
    assert!(site.path().join("verify-shop.json").exists());
}

#[test]
fn rows_go_through_the_transformers_before_they_are_compared() {
    let site = Site::new();
    let config = CONFIG
        .replace(
            "    destinations:\n",
            "    transformers:\n      - { name: named, connector: select, spec: { streams: { customers: { rename: { name: called } } } } }\n\n    destinations:\n",
        )
        .replace(
            "          path: ./copy.db\n",
            "          path: ./copy.db\n        deletes: soft\n        transformers:\n          - { name: large, connector: filter, spec: { streams: { orders: { where: { column: total, gt: 150 } } } } }\n",
        );
    site.configure(&config);
    site.expect(&["sync"], 0);
    site.source()
        .execute_batch("DELETE FROM orders WHERE id IN (150, 160)")
        .unwrap();
    let equal = site.json(&["verify", "shop", "--destination", "copy", "-o", "json"], 0);
    assert_eq!(
        compared(&equal, "orders", "copy")["destination_rows"],
        98,
        "100 to 200, without two that are marked"
    );
    let soft: i64 = site
        .copy()
        .query_row("SELECT count(*) FROM orders WHERE _highwater_deleted = 1", [], |row| {
            row.get(0)
        })
        .unwrap();
    assert_eq!(soft, 2);
    site.copy()
        .execute_batch("UPDATE customers SET called = 'else' WHERE id = 3")
        .unwrap();
    let different = site.json(&["verify", "shop", "--destination", "copy", "-o", "json"], 4);
    assert_eq!(
        compared(&different, "customers", "copy")["differences"],
        json!([difference(3, "different", &["called"], 1)])
    );
    let sampled = [
        "verify",
        "shop",
        "--stream",
        "orders",
        "--destination",
        "copy",
        "--sample",
        "30%",
        "-o",
        "json",
    ];
    let rows = compared(&site.json(&sampled, 0), "orders", "copy")["source_rows"]
        .as_u64()
        .unwrap();
    assert!((5..70).contains(&rows), "about 30 of 98: {rows}");
}

#[test]
fn what_cannot_be_compared_is_refused_with_the_reason() {
    let site = Site::new();
    let mut process = site.start(&["run"]);
    site.wait_until_live(&mut process);
    let refused = |arguments: &[&str]| {
        let mut all = vec!["verify"];
        all.extend(arguments);
        site.expect(&all, 2)
    };
    let text = refused(&["shop", "--destination", "lake"]);
    assert!(
        text.contains("E0714") && text.contains("use `--destination copy`"),
        "{text}"
    );
    let text = refused(&["shop", "--stream", "nothing"]);
    assert!(
        text.contains("E0708") && text.contains("it has no stream `nothing`"),
        "{text}"
    );
    let text = refused(&["shop", "--destination", "nowhere"]);
    assert!(text.contains("it has copy, lake"), "{text}");
    let text = refused(&["shops"]);
    assert!(text.contains("E0723"), "{text}");
    let text = refused(&["shop", "--sample", "0%"]);
    assert!(text.contains("more than 0 %"), "{text}");
    assert_eq!(site.get("/api/v1/jobs/99").0, 404);
}

#[test]
fn destination_that_appends_is_not_compared_and_that_is_no_yes() {
    let site = Site::new();
    site.configure(&CONFIG.replace("path: ./copy.db\n", "path: ./copy.db\n        write: append\n"));
    site.expect(&["sync"], 0);
    let text = site.expect(&["verify", "shop", "--destination", "copy"], 2);
    assert!(
        text.contains("Not compared orders → copy: it has a row for each change (`write: append`)"),
        "{text}"
    );
}
