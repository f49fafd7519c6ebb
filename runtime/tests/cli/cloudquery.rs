//! Plugins of CloudQuery's Python SDK under the built binary.

use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::Connection;
use serde_json::{Value, json};
use test_systems::python::Plugin;
use test_systems::{Pipeline, processes_of};

use crate::site::{PATIENCE, Site};

/// A source plugin into SQLite, files and a destination plugin.
fn pipeline() -> Pipeline {
    Pipeline::of("python-source")
        .into("copy", "sqlite", "{ path: ./people.db }", &["write: mirror"])
        .into("lake", "parquet", "{ path: \"./lake/{stream}/\" }", &["write: append"])
        .into_plugin("theirs", "python-destination", "{ file: ./theirs }", &["write: mirror"])
}

/// A site with both plugins; `None`, and the reason printed, where there is no Python for them.
fn site(data: &Value) -> Option<Site> {
    let site = Site::new();
    for plugin in [Plugin::Source, Plugin::Destination] {
        if let Err(missing) = plugin.install(site.path()) {
            println!("skipped: {missing}");
            return None;
        }
    }
    site.configure(&pipeline().to_string());
    change(&site, data);
    Some(site)
}

/// The system behind the source changes.
fn change(site: &Site, data: &Value) {
    std::fs::write(site.path().join("data.json"), data.to_string()).unwrap();
}

/// `people` with their versions, as the copy has them.
fn people(site: &Site) -> Vec<String> {
    let copy = Connection::open(site.path().join("people.db")).unwrap();
    let mut statement = copy.prepare("SELECT name FROM people ORDER BY id").unwrap();
    let names = statement.query_map([], |row| row.get(0)).unwrap();
    names.map(Result::unwrap).collect()
}

fn count(site: &Site, table: &str) -> i64 {
    let copy = Connection::open(site.path().join("people.db")).unwrap();
    let sql = format!("SELECT count(*) FROM {table}");
    copy.query_row(&sql, [], |row| row.get(0)).unwrap()
}

/// Rows in all files of the lake, markers too.
fn lake(site: &Site) -> i64 {
    let ledger = site.path().join("lake/_highwater/people.lake");
    let manifests = std::fs::read_dir(ledger).unwrap().map(|entry| entry.unwrap().path());
    let manifests = manifests.filter(|path| path.extension().is_some_and(|extension| extension == "json"));
    let rows = |manifest: &Path| -> i64 {
        let manifest: Value = serde_json::from_str(&std::fs::read_to_string(manifest).unwrap()).unwrap();
        let files = manifest["files"].as_array().unwrap();
        files.iter().map(|file| file["row_count"].as_i64().unwrap()).sum()
    };
    manifests.map(|manifest| rows(&manifest)).sum()
}

/// No plugin outlives its runtime by more than the time that it has to end.
fn plugins_are_gone(site: &Site) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let left = processes_of(site.path());
        if left.is_empty() {
            return;
        }
        assert!(Instant::now() < deadline, "{left:?} outlive the runtime");
        std::thread::park_timeout(Duration::from_millis(10));
    }
}

#[test]
fn plugin_syncs_into_sqlite_files_and_a_plugin_at_once_and_the_next_sync_removes_what_is_gone() {
    let Some(site) = site(&json!({"rows": 40, "version": " a", "cities": ["Paris", "Rome"]})) else {
        return;
    };
    let text = site.expect(&["sync"], 0);
    assert!(text.contains("people/theirs"), "{text}");
    let expected: Vec<String> = (0..40).map(|id| format!("name {id} a")).collect();
    assert_eq!(people(&site), expected);
    assert_eq!((count(&site, "people_notes"), count(&site, "cities")), (40, 2));
    // A destination that comes up late makes the sync begin again, and the lake appends.
    let first = lake(&site);
    assert!(first >= 82, "{first} rows in the lake");
    assert_eq!(site.theirs("theirs", "people", "name").len(), 40);
    assert_eq!(site.theirs("theirs", "cities", "city"), ["Paris", "Rome"]);

    change(&site, &json!({"rows": 3, "version": " b", "cities": ["Oslo", "Rome"]}));
    site.expect(&["sync"], 0);
    let expected = ["name 0 b", "name 1 b", "name 2 b"];
    assert_eq!(people(&site), expected);
    assert_eq!((count(&site, "people_notes"), count(&site, "cities")), (3, 2));
    assert_eq!(site.theirs("theirs", "people", "name"), expected);
    assert_eq!(site.theirs("theirs", "people_notes", "note"), ["hello b"; 3]);
    assert_eq!(site.theirs("theirs", "cities", "city"), ["Oslo", "Rome"]);
    // A marker for each stream that is read again, and its rows.
    assert!(
        lake(&site) >= first + 3 + 8,
        "{} rows in the lake, {first} before",
        lake(&site)
    );
    plugins_are_gone(&site);
}

#[test]
fn table_that_failed_makes_sync_exit_with_one_and_keeps_its_rows() {
    let Some(site) = site(&json!({"rows": 5, "cities": ["Paris"]})) else {
        return;
    };
    site.expect(&["sync"], 0);
    change(&site, &json!({"rows": 2, "fail": "people", "cities": ["Oslo"]}));
    let text = site.expect(&["sync"], 1);
    assert!(
        text.contains("E0809") && text.contains("`people`: ") && text.contains("its parent `people` failed"),
        "{text}"
    );
    assert_eq!(people(&site).len(), 5);
    assert_eq!(site.theirs("theirs", "people", "name").len(), 5);
    assert_eq!(
        site.theirs("theirs", "cities", "city"),
        ["Oslo"],
        "the good table is complete"
    );
}

#[test]
fn plugin_that_crashes_each_time_makes_sync_exit_with_one_after_three_tries() {
    let Some(site) = site(&json!({"rows": 30, "exit_after": 20})) else {
        return;
    };
    let text = site.expect(&["sync"], 1);
    assert!(
        text.contains("3 syncs in a row failed") && text.contains("it exited with status 3"),
        "{text}"
    );
    assert!(text.contains("the sample ends in the middle"), "{text}");
    change(&site, &json!({"rows": 30}));
    site.expect(&["sync"], 0);
    assert_eq!(people(&site).len(), 30);
    assert_eq!(site.theirs("theirs", "people", "name").len(), 30);
}

#[test]
fn batch_that_a_destination_plugin_lost_makes_sync_exit_with_one() {
    let Some(site) = site(&json!({"rows": 5})) else {
        return;
    };
    site.configure(
        &pipeline()
            .to_string()
            .replace("{ file: ./theirs }", "{ file: ./theirs, lose: true }"),
    );
    let text = site.expect(&["sync"], 1);
    assert!(
        text.contains("E0808") && text.contains("failed to write batch"),
        "{text}"
    );
    site.configure(&pipeline().to_string());
    site.expect(&["sync"], 0);
    assert_eq!(site.theirs("theirs", "people", "name").len(), 5);
}

#[test]
fn plugins_end_with_a_killed_runtime() {
    // Eight seconds, if nobody ended it.
    let Some(site) = site(&json!({"rows": 800, "pause": 0.1})) else {
        return;
    };
    let mut process = site.start(&["sync"]);
    process.wait_for("rows in the copy", || {
        let copy = Connection::open(site.path().join("people.db")).ok()?;
        let found = copy.query_row("SELECT count(*) FROM people", [], |row| row.get::<_, i64>(0));
        (found.ok()? > 0).then_some(())
    });
    let plugins = processes_of(site.path());
    // Each with its watcher.
    assert!(plugins.len() >= 2, "{plugins:?}");
    process.kill();
    plugins_are_gone(&site);
    change(&site, &json!({"rows": 10}));
    site.expect(&["sync"], 0);
    assert_eq!(people(&site).len(), 10);
}

/// `events` with their versions, as the copy has them.
fn events(site: &Site) -> Vec<String> {
    let copy = Connection::open(site.path().join("people.db")).unwrap();
    let mut statement = copy.prepare("SELECT name FROM events ORDER BY id").unwrap();
    let names = statement.query_map([], |row| row.get(0)).unwrap();
    names.map(Result::unwrap).collect()
}

#[test]
fn incremental_table_brings_only_what_is_new_and_a_failed_sync_moves_no_cursor() {
    let Some(site) = site(&json!({"events": 3, "version": " a"})) else {
        return;
    };
    site.configure(&pipeline().option("incremental: true").to_string());
    site.expect(&["sync"], 0);
    assert_eq!(events(&site), ["event 0 a", "event 1 a", "event 2 a"]);

    // The state reaches the end, and another table fails.
    change(&site, &json!({"events": 5, "version": " b", "fail": "cities"}));
    site.expect(&["sync"], 1);
    change(&site, &json!({"events": 6, "version": " c"}));
    site.expect(&["sync"], 0);
    let expected = [
        "event 0 a",
        "event 1 a",
        "event 2 a",
        "event 3 c",
        "event 4 c",
        "event 5 c",
    ];
    assert_eq!(events(&site), expected);
    assert_eq!(site.theirs("theirs", "events", "name"), expected);

    // Nothing is new, and nothing is stale: a mirror keeps what the sync did not bring.
    change(&site, &json!({"events": 6, "version": " d"}));
    site.expect(&["sync"], 0);
    assert_eq!(events(&site), expected);
    assert_eq!(site.theirs("theirs", "events", "name"), expected);
    assert_eq!(
        people(&site),
        ["name 0 d", "name 1 d", "name 2 d"],
        "the others are read anew"
    );
}

#[test]
fn destination_plugin_keeps_the_cursors_if_that_is_asked() {
    let data = |version: &str, events: i64| json!({"events": events, "version": version, "begins": "begins"});
    let Some(site) = site(&data(" a", 3)) else {
        return;
    };
    let backend = "state_backend: { table: cursors, plugin: { registry: local, path: ./python-destination, spec: { file: ./state } } }";
    let with_backend = pipeline().option("incremental: true").option(backend);
    site.configure(&with_backend.to_string());
    let text = site.expect(&["validate"], 0);
    assert!(
        text.contains("W0502") && text.contains("after a crash `copy` can lack rows"),
        "{text}"
    );
    let begins = || std::fs::read_to_string(site.path().join("begins")).unwrap();
    // Tables that somebody lacks are read whole, whatever a cursor says.
    site.expect(&["sync"], 0);
    assert!(site.theirs("state", "cursors", "value").is_empty());
    change(&site, &data(" b", 4));
    site.expect(&["sync"], 0);
    assert_eq!(site.theirs("state", "cursors", "value"), ["4"]);
    change(&site, &data(" c", 6));
    site.expect(&["sync"], 0);
    assert_eq!(begins(), "0\n0\n4\n");
    let expected = [
        "event 0 b",
        "event 1 b",
        "event 2 b",
        "event 3 b",
        "event 4 c",
        "event 5 c",
    ];
    assert_eq!(events(&site), expected);
    assert_eq!(site.theirs("theirs", "events", "name"), expected);
    plugins_are_gone(&site);
}

#[test]
fn validate_tells_what_a_plugin_would_do_with_a_changed_table() {
    let site = Site::new();
    // Our own destination, as a plugin.
    let plugin = site.path().join("highwater-destination-sqlite");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_highwater"), plugin).unwrap();
    site.configure(
        "\
version: 1
runtime:
  admin: { listen: \"off\" }
pipelines:
  shop:
    source: { connector: sqlite, spec: { path: ./shop.db }, streams: [customers, orders] }
    destinations:
      theirs:
        connector: cloudquery
        spec: { plugin: { registry: local, path: ./highwater-destination-sqlite, spec: { path: ./theirs.db } } }
",
    );
    let validate = || site.expect(&["validate", "--connect"], 0);
    let columns = || {
        let theirs = Connection::open(site.path().join("theirs.db")).unwrap();
        let sql = "SELECT count(*) FROM pragma_table_info('orders')";
        theirs.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap()
    };
    let text = validate();
    assert!(!text.contains("0814"), "nothing is there to be changed: {text}");
    site.expect(&["sync"], 0);
    let text = validate();
    assert!(!text.contains("0814"), "nothing has changed: {text}");
    let before = columns();
    site.source()
        .execute_batch("ALTER TABLE orders ADD COLUMN note TEXT")
        .unwrap();
    let text = validate();
    assert!(
        text.contains("N0814") && text.contains("says of table `orders`: the table is altered; column `note` (Utf8)"),
        "{text}"
    );
    assert!(!text.contains("customers`"), "{text}");
    assert_eq!(columns(), before, "it only asks");
    // A column comes with the first row that has it.
    site.source()
        .execute_batch("UPDATE orders SET note = 'new' WHERE id = 1")
        .unwrap();
    let mut process = site.start(&["run"]);
    process.wait_for("the column", || (columns() > before).then_some(()));
    let text = validate();
    assert!(
        text.contains("is not known") && text.contains("stop the runtime"),
        "{text}"
    );
    process.signal(rustix::process::Signal::TERM);
    assert_eq!(process.end(), Some(0), "{}", process.log());
    let text = validate();
    assert!(!text.contains("0814"), "it is as it was told: {text}");
}

#[test]
fn deletes_that_a_plugin_sends_reach_databases_and_plugins() {
    let site = Site::new();
    // Our own connectors, as plugins: the source captures changes, as its position is kept for it.
    for name in ["highwater-source-sqlite", "highwater-destination-sqlite"] {
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_highwater"), site.path().join(name)).unwrap();
    }
    site.configure(
        "\
version: 1
runtime:
  admin: { listen: \"off\" }
pipelines:
  shop:
    source:
      connector: cloudquery
      spec: { plugin: { registry: local, path: ./highwater-source-sqlite, spec: { path: ./shop.db } }, incremental: true }
      streams: [customers, orders]
    destinations:
      copy: { connector: sqlite, spec: { path: ./copy.db }, write: mirror }
      theirs:
        connector: cloudquery
        spec: { plugin: { registry: local, path: ./highwater-destination-sqlite, spec: { path: ./theirs.db } } }
        write: mirror
",
    );
    let ids = |file: &str| -> Vec<i64> {
        let copy = Connection::open(site.path().join(file)).unwrap();
        let mut statement = copy.prepare("SELECT id FROM orders ORDER BY id").unwrap();
        let ids = statement.query_map([], |row| row.get(0)).unwrap();
        ids.map(Result::unwrap).collect()
    };
    site.expect(&["sync"], 0);
    for (sql, what) in [
        ("DELETE FROM orders WHERE id IN (7, 9)", "two deletes and nothing else"),
        (
            "UPDATE orders SET total = 1 WHERE id = 8; DELETE FROM orders WHERE id = 8;
             INSERT INTO orders SELECT 8, customer, 2 FROM orders WHERE id = 10; DELETE FROM orders WHERE id = 10",
            "deletes among other changes",
        ),
        ("DELETE FROM orders", "every row"),
    ] {
        site.source().execute_batch(sql).unwrap();
        let text = site.expect(&["sync"], 0);
        let expected = ids("shop.db");
        assert_eq!(ids("copy.db"), expected, "{what}: {text}");
        assert_eq!(ids("theirs.db"), expected, "{what}: {text}");
    }
}

#[test]
fn shards_divide_the_tables_of_a_source() {
    let site = Site::new();
    // Our own source, as a plugin.
    let plugin = site.path().join("highwater-source-sqlite");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_highwater"), plugin).unwrap();
    let tables = ["customers", "orders", "a", "b", "c", "d"];
    for table in &tables[2..] {
        let sql = format!("CREATE TABLE {table} (id INTEGER PRIMARY KEY); INSERT INTO {table} VALUES (1)");
        site.source().execute_batch(&sql).unwrap();
    }
    let pipeline = |number: u32| {
        format!(
            "  part{number}:
    source:
      connector: cloudquery
      spec:
        plugin: {{ registry: local, path: ./highwater-source-sqlite, spec: {{ path: ./shop.db }} }}
        name: shop
        shard: {number}/2
      streams: [\"*\"]
    destinations:
      copy{number}: {{ connector: sqlite, spec: {{ path: ./copy{number}.db }}, write: upsert, deletes: ignore }}
"
        )
    };
    let [one, two] = [1, 2].map(pipeline);
    site.configure(&format!("version: 1\npipelines:\n{one}{two}"));
    site.expect(&["sync"], 0);
    let has = |number: u32, table: &str| {
        let copy = Connection::open(site.path().join(format!("copy{number}.db"))).unwrap();
        let sql = format!("SELECT count(*), min(_cq_source_name) FROM {table}");
        copy.query_row(&sql, [], |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, Option<String>>(1)?))
        })
        .unwrap()
    };
    let mut of_first = 0;
    for table in tables {
        let [(one, _), (two, _)] = [1, 2].map(|number| has(number, table));
        assert!(
            (one == 0) != (two == 0),
            "{table} is in both shards or in none: {one}, {two}"
        );
        let number = if one == 0 { 2 } else { 1 };
        assert_eq!(has(number, table).1, Some(format!("shop_{number}_2")));
        of_first += usize::from(number == 1);
    }
    assert!((1..tables.len()).contains(&of_first), "one shard has everything");
}

#[test]
fn schedule_reads_again_and_again_and_outlives_a_sync_that_fails() {
    let Some(site) = site(&json!({"rows": 1, "version": " a"})) else {
        return;
    };
    site.configure(&pipeline().option("every: 1s").to_string());
    let has = |name: &str| {
        (site.path().join("people.db").exists() && people_or_none(&site) == Some(vec![name.to_owned()])).then_some(())
    };
    let mut process = site.start(&["run"]);
    process.wait_for("the first sync", || has("name 0 a"));
    change(&site, &json!({"rows": 1, "version": " b", "exit_after": 0}));
    let log = site.path().join("process.log");
    process.wait_for("a sync that fails", || {
        std::fs::read_to_string(&log)
            .ok()?
            .contains("a sync failed")
            .then_some(())
    });
    change(&site, &json!({"rows": 1, "version": " c"}));
    process.wait_for("the sync after it", || has("name 0 c"));
    process.wait_for("a lag", || {
        let status: Value = serde_json::from_slice(&site.run(&["status", "-o", "json"]).stdout).ok()?;
        let lag = status["result"]["pipelines"][0]["destinations"][0]["lag_seconds"].as_f64()?;
        // The age of its last complete sync: never nothing, and less than this test takes.
        (lag > 0.0 && lag < 120.0).then_some(())
    });
    process.signal(rustix::process::Signal::TERM);
    assert_eq!(process.end(), Some(0), "{}", process.log());
    plugins_are_gone(&site);
}

fn people_or_none(site: &Site) -> Option<Vec<String>> {
    let copy = Connection::open(site.path().join("people.db")).ok()?;
    let mut statement = copy.prepare("SELECT name FROM people ORDER BY id").ok()?;
    let names = statement.query_map([], |row| row.get(0)).ok()?;
    names.collect::<Result<_, _>>().ok()
}

#[test]
fn validate_prints_the_guarantee_of_each_route() {
    let site = Site::new();
    site.configure(&pipeline().to_string());
    let text = site.expect(&["validate"], 0);
    let mut settings = insta::Settings::clone_current();
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.add_filter(r"in \d+ ms", "in [n] ms");
    settings.bind(|| insta::assert_snapshot!("validate_cloudquery", text));
}
