//! Plugins of CloudQuery's Python SDK under the built binary.

use std::path::Path;

use rusqlite::Connection;
use serde_json::{Value, json};
use test_systems::python::{Plugin, processes_of};

use crate::site::Site;

/// A source plugin into SQLite, files and a destination plugin.
const CONFIG: &str = "\
version: 1

runtime:
  admin: { listen: \"off\" }

pipelines:
  people:
    source:
      connector: cloudquery
      spec:
        plugin: { registry: local, path: ./python-source, spec: { data: ./data.json } }
        name: sample
      streams: [\"*\"]

    destinations:
      copy:
        connector: sqlite
        spec: { path: ./people.db }
        write: mirror
      lake:
        connector: parquet
        spec: { path: \"./lake/{stream}/\" }
        write: append
      theirs:
        connector: cloudquery
        spec:
          plugin: { registry: local, path: ./python-destination, spec: { file: ./theirs } }
        write: mirror
";

/// A site with both plugins; `None`, and the reason printed, where there is no Python for them.
fn site(data: &Value) -> Option<Site> {
    let site = Site::new();
    for plugin in [Plugin::Source, Plugin::Destination] {
        if let Err(missing) = plugin.install(site.path()) {
            println!("skipped: {missing}");
            return None;
        }
    }
    site.configure(CONFIG);
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

/// Rows of a table in the destination plugin's file: one column of each.
fn theirs(site: &Site, table: &str, column: &str) -> Vec<String> {
    let text = std::fs::read_to_string(site.path().join("theirs")).unwrap();
    let row = |line: &str| {
        let row: Value = serde_json::from_str(line).unwrap();
        (row[0] == table).then(|| row[2][column].as_str().unwrap().to_owned())
    };
    let mut rows: Vec<String> = text.lines().filter_map(row).collect();
    rows.sort();
    rows
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
    assert_eq!(lake(&site), 82);
    assert_eq!(theirs(&site, "people", "name").len(), 40);
    assert_eq!(theirs(&site, "cities", "city"), ["Paris", "Rome"]);

    change(&site, &json!({"rows": 3, "version": " b", "cities": ["Oslo", "Rome"]}));
    site.expect(&["sync"], 0);
    let expected = ["name 0 b", "name 1 b", "name 2 b"];
    assert_eq!(people(&site), expected);
    assert_eq!((count(&site, "people_notes"), count(&site, "cities")), (3, 2));
    assert_eq!(theirs(&site, "people", "name"), expected);
    assert_eq!(theirs(&site, "people_notes", "note"), ["hello b"; 3]);
    assert_eq!(theirs(&site, "cities", "city"), ["Oslo", "Rome"]);
    // A marker for each stream that is read again, and its rows.
    assert_eq!(lake(&site), 82 + 3 + 8);
    assert_eq!(processes_of(site.path()), [0; 0], "a plugin still runs");
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
    assert_eq!(theirs(&site, "people", "name").len(), 5);
    assert_eq!(theirs(&site, "cities", "city"), ["Oslo"], "the good table is complete");
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
    assert_eq!(theirs(&site, "people", "name").len(), 30);
}

#[test]
fn batch_that_a_destination_plugin_lost_makes_sync_exit_with_one() {
    let Some(site) = site(&json!({"rows": 5})) else {
        return;
    };
    site.configure(&CONFIG.replace("{ file: ./theirs }", "{ file: ./theirs, lose: true }"));
    let text = site.expect(&["sync"], 1);
    assert!(
        text.contains("E0808") && text.contains("failed to write batch"),
        "{text}"
    );
    site.configure(CONFIG);
    site.expect(&["sync"], 0);
    assert_eq!(theirs(&site, "people", "name").len(), 5);
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
    let deadline = std::time::Instant::now() + crate::site::PATIENCE;
    loop {
        let left = processes_of(site.path());
        if left.is_empty() {
            break;
        }
        assert!(std::time::Instant::now() < deadline, "{left:?} outlive the runtime");
        std::thread::park_timeout(std::time::Duration::from_millis(10));
    }
    change(&site, &json!({"rows": 10}));
    site.expect(&["sync"], 0);
    assert_eq!(people(&site).len(), 10);
}

#[test]
fn validate_prints_the_guarantee_of_each_route() {
    let site = Site::new();
    site.configure(CONFIG);
    let text = site.expect(&["validate"], 0);
    let mut settings = insta::Settings::clone_current();
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.add_filter(r"in \d+ ms", "in [n] ms");
    settings.bind(|| insta::assert_snapshot!("validate_cloudquery", text));
}
