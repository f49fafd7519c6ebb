//! Plugins of CloudQuery's JavaScript SDK, and with the manners of its Go SDK, under the built binary. Those of the Python SDK are
//! in `cloudquery`.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::Connection;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use test_systems::{Missing, Pipeline, go, javascript, process_of, processes_of, python};

use crate::site::{PATIENCE, Site};

/// What differs between two sites.
struct Plugins {
    source: &'static str,
    destination: &'static str,
    network: &'static str,
    timeout: &'static str,
}

const JAVASCRIPT: Plugins = Plugins {
    source: "javascript-source",
    destination: "javascript-destination",
    network: "tcp",
    timeout: "60s",
};

/// Go's take a socket, too, which no other SDK does.
const GO: Plugins = Plugins {
    source: "go-source",
    destination: "go-destination",
    network: "unix",
    timeout: "60s",
};

fn install(plugin: &str, folder: &Path) -> Result<(), Missing> {
    match plugin {
        "javascript-source" => javascript::Plugin::Source.install(folder),
        "javascript-destination" => javascript::Plugin::Destination.install(folder),
        "go-source" => go::Plugin::Source.install(folder),
        "go-destination" => go::Plugin::Destination.install(folder),
        "python-source" => python::Plugin::Source.install(folder),
        "python-destination" => python::Plugin::Destination.install(folder),
        other => panic!("there is no plugin `{other}`"),
    }
    .map(drop)
}

/// The source into SQLite and the destination plugin, which is told `spec`.
fn pipeline(plugins: &Plugins, spec: &str) -> Pipeline {
    Pipeline::of(plugins.source)
        .reached(&format!("network: {}", plugins.network))
        .reached(&format!("timeout: {}", plugins.timeout))
        .into("copy", "sqlite", "{ path: ./people.db }", &["write: mirror"])
        .into_plugin(
            "theirs",
            plugins.destination,
            &format!("{{ {spec} }}"),
            &["write: mirror", "batch: { wait_max: 200ms }"],
        )
}

fn incremental(plugins: &Plugins) -> String {
    pipeline(plugins, "file: ./theirs")
        .option("incremental: true")
        .to_string()
}

/// A site with the plugins; `None`, and the reason printed, where one of them cannot run.
fn site(plugins: &Plugins, data: &Value) -> Option<Site> {
    let site = Site::new();
    for plugin in [plugins.source, plugins.destination] {
        if let Err(missing) = install(plugin, site.path()) {
            println!("skipped: {missing}");
            return None;
        }
    }
    site.configure(&pipeline(plugins, "file: ./theirs").to_string());
    change(&site, data);
    Some(site)
}

fn change(site: &Site, data: &Value) {
    std::fs::write(site.path().join("data.json"), data.to_string()).unwrap();
}

/// One column of a table in the copy, sorted as text.
fn copy(site: &Site, table: &str, column: &str) -> Vec<String> {
    let copy = Connection::open(site.path().join("people.db")).unwrap();
    let mut statement = copy.prepare(&format!("SELECT {column} FROM {table}")).unwrap();
    let rows = statement.query_map([], |row| row.get(0)).unwrap();
    let mut rows: Vec<String> = rows.map(Result::unwrap).collect();
    rows.sort();
    rows
}

fn names(count: usize, version: &str) -> Vec<String> {
    let names: BTreeSet<String> = (0..count).map(|id| format!("name {id}{version}")).collect();
    names.into_iter().collect()
}

/// No plugin outlives its runtime by more than the time that it has to end.
#[track_caller]
fn plugins_are_gone(site: &Site) {
    let deadline = Instant::now() + PATIENCE;
    while !processes_of(site.path()).is_empty() {
        assert!(Instant::now() < deadline, "{:?} outlive", processes_of(site.path()));
        std::thread::park_timeout(Duration::from_millis(10));
    }
}

fn both_syncs_are_exact(plugins: &Plugins) {
    let Some(site) = site(
        plugins,
        &json!({"rows": 120, "version": " a", "cities": ["Paris", "Rome"]}),
    ) else {
        return;
    };
    let text = site.expect(&["sync"], 0);
    assert!(!text.contains("did not end within"), "{text}");
    assert_eq!(copy(&site, "people", "name"), names(120, " a"));
    assert_eq!(site.theirs("theirs", "people", "name"), names(120, " a"));
    assert_eq!(copy(&site, "people_notes", "note").len(), 120);
    assert_eq!(site.theirs("theirs", "people_notes", "note"), ["hello a"; 120]);
    assert!(copy(&site, "people", "extra")[7].contains("number"));

    change(&site, &json!({"rows": 4, "version": " b", "cities": ["Oslo", "Rome"]}));
    site.expect(&["sync"], 0);
    for found in [copy(&site, "people", "name"), site.theirs("theirs", "people", "name")] {
        assert_eq!(found, names(4, " b"), "rows that were not met are gone");
    }
    assert_eq!(copy(&site, "cities", "city"), ["Oslo", "Rome"]);
    assert_eq!(site.theirs("theirs", "cities", "city"), ["Oslo", "Rome"]);
    assert_eq!(site.theirs("theirs", "people_notes", "note"), ["hello b"; 4]);
    plugins_are_gone(&site);
}

#[test]
fn javascript_plugins_sync_and_what_is_gone_is_removed() {
    both_syncs_are_exact(&JAVASCRIPT);
}

#[test]
fn go_plugins_sync_over_a_socket_and_what_is_gone_is_removed() {
    both_syncs_are_exact(&GO);
}

#[test]
fn go_plugins_sync_over_a_port_and_with_other_sdks_plugins() {
    let over_port = Plugins { network: "tcp", ..GO };
    both_syncs_are_exact(&Plugins {
        destination: "javascript-destination",
        ..over_port
    });
    both_syncs_are_exact(&Plugins {
        source: "python-source",
        ..over_port
    });
}

/// Its resolver's error is a line in the log, and the stream ends as if all were well.
#[test]
fn table_whose_failure_javascript_only_logs_fails_and_keeps_its_rows() {
    let Some(site) = site(&JAVASCRIPT, &json!({"rows": 5, "cities": ["Paris"]})) else {
        return;
    };
    site.expect(&["sync"], 0);
    change(&site, &json!({"rows": 2, "fail": "people", "cities": ["Oslo"]}));
    let text = site.expect(&["sync"], 1);
    assert!(text.contains("E0809") && text.contains("`people`: "), "{text}");
    assert!(text.contains("the sample was told to fail"), "{text}");
    assert_eq!(copy(&site, "people", "name").len(), 5);
    assert_eq!(site.theirs("theirs", "people", "name").len(), 5);
    assert_eq!(copy(&site, "people_notes", "note").len(), 5, "its parent failed");
    assert_eq!(
        site.theirs("theirs", "cities", "city"),
        ["Oslo"],
        "the good table is complete"
    );
}

#[test]
fn row_that_javascript_drops_with_a_line_in_its_log_is_not_taken_for_gone() {
    let Some(site) = site(&JAVASCRIPT, &json!({"rows": 5, "version": " a"})) else {
        return;
    };
    site.expect(&["sync"], 0);
    change(&site, &json!({"rows": 5, "version": " b", "skip": 2}));
    let text = site.expect(&["sync"], 1);
    assert!(text.contains("E0809") && text.contains("`people`: "), "{text}");
    let expected = ["name 0 b", "name 1 b", "name 2 a", "name 3 b", "name 4 b"];
    assert_eq!(copy(&site, "people", "name"), expected);
    assert_eq!(site.theirs("theirs", "people", "name"), expected);
}

/// Three columns, a version for each cursor, and a discovery before anything else.
#[test]
fn go_source_keeps_its_cursors_with_us() {
    let Some(site) = site(&GO, &json!({"rows": 1, "events": 130, "version": " a"})) else {
        return;
    };
    site.configure(&incremental(&GO));
    site.expect(&["sync"], 0);
    assert_eq!(copy(&site, "events", "name").len(), 130);
    change(&site, &json!({"rows": 1, "events": 133, "version": " b"}));
    site.expect(&["sync"], 0);
    for events in [copy(&site, "events", "name"), site.theirs("theirs", "events", "name")] {
        let new: Vec<&String> = events.iter().filter(|name| name.ends_with(" b")).collect();
        assert_eq!(new, ["event 130 b", "event 131 b", "event 132 b"]);
        assert_eq!(events.len(), 133);
    }
}

#[test]
fn record_above_four_mebibytes_reaches_servers_that_take_no_more() {
    let plugins = Plugins {
        destination: "javascript-destination",
        network: "tcp",
        ..GO
    };
    // Some 7 MiB each.
    let Some(site) = site(&plugins, &json!({"rows": 120, "wide": 150_000})) else {
        return;
    };
    if let Err(missing) = install("python-destination", site.path()) {
        println!("skipped: {missing}");
        return;
    }
    let both =
        pipeline(&plugins, "file: ./theirs").into_plugin("python", "python-destination", "{ file: ./python }", &[]);
    site.configure(&both.to_string());
    site.expect(&["sync"], 0);
    assert_eq!(site.theirs("theirs", "people", "name"), names(120, ""));
    let python = std::fs::read_to_string(site.path().join("python")).unwrap();
    let rows = python.lines().filter(|line| line.starts_with("[\"people\"")).count();
    assert_eq!(rows, 120);
    let copy = Connection::open(site.path().join("people.db")).unwrap();
    let bytes: i64 = copy
        .query_row("SELECT min(length(extra)) FROM people", [], |row| row.get(0))
        .unwrap();
    assert!(bytes > 150_000, "{bytes}");
}

#[test]
fn plugins_that_end_in_the_middle_are_named_with_their_last_words() {
    for plugins in [JAVASCRIPT, GO] {
        let Some(site) = site(&plugins, &json!({"rows": 30, "exit_after": 20})) else {
            continue;
        };
        let text = site.expect(&["sync"], 1);
        for words in [
            "3 syncs in a row failed",
            "it exited with status 3",
            "the sample ends in the middle",
        ] {
            assert!(text.contains(words), "{}: no `{words}` in {text}", plugins.source);
        }
        change(&site, &json!({"rows": 30}));
        site.expect(&["sync"], 0);
        assert_eq!(site.theirs("theirs", "people", "name"), names(30, ""));
        plugins_are_gone(&site);
    }
}

/// Stops one of the plugins as soon as rows have arrived, and waits for the end of the sync.
#[track_caller]
fn stopped(plugins: &Plugins, plugin: &str, exit: i32) -> Option<(Site, String)> {
    let site = site(
        plugins,
        &json!({"rows": 600, "version": " a", "pause": pause(plugins.source)}),
    )?;
    let mut process = site.start(&["sync"]);
    process.wait_for("rows in the copy", || {
        let copy = Connection::open(site.path().join("people.db")).ok()?;
        let found = copy.query_row("SELECT count(*) FROM people", [], |row| row.get::<_, i64>(0));
        (found.ok()? > 0).then_some(())
    });
    process.wait_for("the plugin's process", || {
        let pid = process_of(site.path(), plugin).and_then(|pid| Pid::from_raw(pid as i32))?;
        kill_process(pid, Signal::STOP).ok()
    });
    assert_eq!(process.end(), Some(exit), "{}", process.log());
    let log = process.log();
    plugins_are_gone(&site);
    Some((site, log))
}

/// A sync of some seconds.
fn pause(source: &str) -> f64 {
    if source.starts_with("javascript") { 50.0 } else { 0.05 }
}

#[test]
fn source_that_hangs_is_started_again_after_its_timeout() {
    for plugins in [JAVASCRIPT, GO] {
        let hurried = Plugins {
            timeout: "3s",
            ..plugins
        };
        let Some((site, log)) = stopped(&hurried, hurried.source, 0) else {
            continue;
        };
        assert!(
            log.contains("E0805") && log.contains("cannot wait for `Sync` of plugin `sample`"),
            "{log}"
        );
        assert_eq!(copy(&site, "people", "name"), names(600, " a"));
        assert_eq!(site.theirs("theirs", "people", "name"), names(600, " a"));
    }
}

#[test]
fn destination_that_hangs_is_started_again_after_its_timeout() {
    for plugins in [JAVASCRIPT, GO] {
        let hurried = Plugins {
            timeout: "3s",
            ..plugins
        };
        let Some((site, log)) = stopped(&hurried, hurried.destination, 0) else {
            continue;
        };
        assert!(
            log.contains("E0805") && log.contains(&format!("of plugin `{}`", hurried.destination)),
            "{log}"
        );
        assert_eq!(copy(&site, "people", "name"), names(600, " a"));
        assert_eq!(site.theirs("theirs", "people", "name"), names(600, " a"));
    }
}

#[test]
fn plugins_that_flood_their_output_sync_all_the_same_and_our_log_stays_small() {
    let python = Plugins {
        source: "python-source",
        destination: "python-destination",
        ..JAVASCRIPT
    };
    let Some(site) = site(&python, &json!({"rows": 200, "version": " a", "flood": true})) else {
        return;
    };
    site.configure(&pipeline(&python, "file: ./theirs, flood: true").to_string());
    let started = Instant::now();
    let text = site.expect(&["sync"], 0);
    assert_eq!(copy(&site, "people", "name"), names(200, " a"));
    assert_eq!(site.theirs("theirs", "people", "name"), names(200, " a"));
    assert!(text.contains("more than 1000 lines a second"), "no plugin flooded");
    // Two plugins, a thousand lines a second each, of two thousand characters.
    let most = 5_000_000 * (started.elapsed().as_secs() as usize + 2);
    assert!(text.len() < most, "{} bytes in {:?}", text.len(), started.elapsed());
    plugins_are_gone(&site);
}

/// The cursors of a checkpoint are there although its sync broke, and what is behind them comes and nothing else.
#[test]
fn sync_that_breaks_goes_on_from_its_last_checkpoint() {
    let python = Plugins {
        source: "python-source",
        destination: "python-destination",
        ..JAVASCRIPT
    };
    let began = |site: &Site| {
        let text = std::fs::read_to_string(site.path().join("begins")).unwrap();
        text.lines().last().unwrap().to_owned()
    };
    let data = |version: &str, break_at: i64| json!({"rows": 3, "events": 100, "checkpoint": 40, "pause": 0.1, "begins": "begins", "version": version, "break_at": break_at});
    let Some(site) = site(&python, &data(" a", 95)) else {
        return;
    };
    site.configure(&incremental(&python));
    site.expect(&["sync"], 1);
    change(&site, &data(" b", -1));
    site.expect(&["sync"], 0);
    // Checkpoints came with events 0, 40 and 80.
    assert_eq!(began(&site), "81");
    for events in [copy(&site, "events", "name"), site.theirs("theirs", "events", "name")] {
        assert_eq!(events.len(), 100);
        assert_eq!(events.iter().filter(|name| name.ends_with(" b")).count(), 19);
    }
    change(&site, &data(" c", -1));
    site.expect(&["sync"], 0);
    assert_eq!(began(&site), "100", "the complete sync counts to its end");
}
