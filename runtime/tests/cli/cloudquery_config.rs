//! CloudQuery's own configuration, unmodified, under the built binary, with plugins of its Python SDK.

use std::path::Path;

use serde_json::{Value, json};
use test_systems::processes_of;
use test_systems::python::Plugin;

use crate::site::{PATIENCE, Process, Site};

const DOCUMENTS: &str = "\
kind: source
spec:
  name: sample
  path: ./python-source
  registry: local
  tables: [people]
  skip_dependent_tables: false
  destinations: [theirs]
  spec:
    data: ${DATA}
---
kind: destination
spec:
  name: theirs
  path: ./python-destination
  registry: local
  spec: { file: ./theirs }
";

/// A site with the plugins and `people.yml`; `None`, and the reason printed, where there is no Python for them.
fn site(documents: &str, data: &Value) -> Option<Site> {
    let site = Site::new();
    for plugin in [Plugin::Source, Plugin::Destination] {
        if let Err(missing) = plugin.install(site.path()) {
            println!("skipped: {missing}");
            return None;
        }
    }
    write(&site, documents);
    change(&site, data);
    std::fs::write(site.path().join("env"), "DATA=./data.json\n").unwrap();
    Some(site)
}

fn write(site: &Site, documents: &str) {
    std::fs::write(site.path().join("people.yml"), documents).unwrap();
}

/// The system behind the source changes.
fn change(site: &Site, data: &Value) {
    std::fs::write(site.path().join("data.json"), data.to_string()).unwrap();
}

const ENV: [&str; 2] = ["--env-file", "env"];

#[track_caller]
fn expect(site: &Site, command: &[&str], exit: i32) -> String {
    site.expect(&[command, &["people.yml"], &ENV].concat(), exit)
}

#[track_caller]
fn expect_json(site: &Site, command: &[&str], exit: i32) -> Value {
    site.json(&[command, &["people.yml", "-o", "json"], &ENV].concat(), exit)
}

#[test]
fn documents_sync_as_under_cloudquery_and_stale_rows_go() {
    let Some(site) = site(DOCUMENTS, &json!({"rows": 20, "version": " a"})) else {
        return;
    };
    let text = expect(&site, &["sync"], 0);
    assert!(text.contains("sample/theirs"), "{text}");
    assert_eq!(site.theirs("theirs", "people", "name").len(), 20);
    assert_eq!(
        site.theirs("theirs", "people_notes", "note").len(),
        20,
        "it depends on a chosen one"
    );
    assert_eq!(site.theirs("theirs", "people", "_cq_source_name")[0], "sample");
    assert!(site.theirs("theirs", "cities", "city").is_empty(), "it was not chosen");

    change(&site, &json!({"rows": 2, "version": " b"}));
    expect(&site, &["sync"], 0);
    assert_eq!(site.theirs("theirs", "people", "name"), ["name 0 b", "name 1 b"]);
    assert_eq!(site.theirs("theirs", "people_notes", "note"), ["hello b"; 2]);
}

#[test]
fn syncs_of_other_groups_stand_beside_each_other() {
    let documents = DOCUMENTS.replace(
        "  spec: { file: ./theirs }",
        "  write_mode: overwrite\n  sync_group_id: 'g-{{SYNC_ID}}'\n  spec: { file: ./theirs }",
    );
    let Some(site) = site(&documents, &json!({"rows": 2})) else {
        return;
    };
    expect(&site, &["sync"], 0);
    expect(&site, &["sync"], 0);
    let groups = site.theirs("theirs", "people", "_cq_sync_group_id");
    assert_eq!(groups.len(), 4, "{groups:?}");
    assert!(groups[0] == groups[1] && groups[1] != groups[2], "{groups:?}");
    assert!(groups.iter().all(|group| group.starts_with("g-") && group.len() == 38));
}

#[test]
fn native_destination_and_schedule_stand_beside_cloudquerys_documents() {
    let more = "---
kind: pipeline
spec:
  source: sample
  every: 1s
  destinations: [theirs, copy]
---
version: 1
runtime:
  admin: { listen: \"off\" }
destinations:
  copy: { connector: sqlite, spec: { path: ./people.db }, write: mirror }
";
    let Some(site) = site(&format!("{DOCUMENTS}{more}"), &json!({"rows": 1, "version": " a"})) else {
        return;
    };
    let people = || {
        let path = site.path().join("people.db");
        let copy = path.exists().then(|| rusqlite::Connection::open(path).unwrap())?;
        copy.query_row("SELECT name FROM people", [], |row| row.get::<_, String>(0))
            .ok()
    };
    let mut process: Process = site.start(&["run", "people.yml", "--env-file", "env"]);
    process.wait_for("the first sync", || (people()? == "name 0 a").then_some(()));
    change(&site, &json!({"rows": 1, "version": " b"}));
    process.wait_for("another sync", || {
        (people()? == "name 0 b" && site.theirs("theirs", "people", "name") == ["name 0 b"]).then_some(())
    });
    let status = site.json(&["status", "--config", "people.yml", "-o", "json", ENV[0], ENV[1]], 0);
    assert_eq!(status["result"]["pipelines"][0]["pipeline"], "sample");
    process.signal(rustix::process::Signal::TERM);
    assert_eq!(process.end(), Some(0), "{}", process.log());
}

#[test]
fn table_that_does_not_exist_is_named_at_its_place() {
    let Some(site) = site(&DOCUMENTS.replace("[people]", "[people, citys]"), &json!({})) else {
        return;
    };
    let text = expect(&site, &["sync"], 2);
    assert!(text.contains("E0201") && text.contains("people.yml:6:20"), "{text}");
    assert!(text.contains("did you mean `cities`?"), "{text}");
    let answer = expect_json(&site, &["validate", "--connect"], 2);
    assert_eq!(answer["findings"][0]["path"], "/spec/tables/1");
}

#[test]
fn summary_counts_rows_errors_and_warnings_of_each_table() {
    let Some(site) = site(&DOCUMENTS.replace("[people]", "[people, cities]"), &json!({"rows": 4})) else {
        return;
    };
    let summary = |exit: i32| -> Value {
        expect(&site, &["sync", "--summary", "summary.jsonl"], exit);
        let text = std::fs::read_to_string(site.path().join("summary.jsonl")).unwrap();
        serde_json::from_str(text.lines().next().unwrap()).unwrap()
    };
    let tables = &summary(0)["tables"];
    assert_eq!(tables["people"], json!({"rows": 4, "errors": 0, "warnings": 0}));
    assert_eq!(tables["cities"], json!({"rows": 2, "errors": 0, "warnings": 0}));
    change(&site, &json!({"rows": 4, "fail": "cities", "warn": "people"}));
    let tables = &summary(1)["tables"];
    assert_eq!(tables["people"], json!({"rows": 4, "errors": 0, "warnings": 1}));
    assert_eq!(tables["cities"]["errors"], 1);
}

#[test]
fn streams_lists_the_chosen_tables_with_keys_and_columns() {
    let Some(site) = site(DOCUMENTS, &json!({})) else {
        return;
    };
    let answer = expect_json(&site, &["streams"], 0);
    let streams = answer["result"]["pipelines"][0]["streams"].as_array().unwrap();
    let names: Vec<&str> = streams
        .iter()
        .map(|stream| stream["stream"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["people", "people_notes"]);
    assert_eq!(streams[0]["key"], json!(["id"]));
    assert_eq!(streams[0]["columns"][0]["name"], "_cq_sync_time");
    let text = expect(&site, &["streams", "--schema"], 0);
    assert!(
        text.contains("people_notes") && text.contains("key id") && text.contains("not null"),
        "{text}"
    );
}

#[test]
fn migrate_makes_tables_and_no_rows() {
    let more =
        "---\nversion: 1\ndestinations:\n  copy: { connector: sqlite, spec: { path: ./people.db }, write: mirror }\n";
    let documents = format!("{}{more}", DOCUMENTS.replace("[theirs]", "[theirs, copy]"));
    let Some(site) = site(&documents, &json!({"rows": 3})) else {
        return;
    };
    let text = expect(&site, &["migrate"], 0);
    assert!(text.contains("sample/copy, 2 tables: people, people_notes"), "{text}");
    let count = || {
        let copy = rusqlite::Connection::open(site.path().join("people.db")).unwrap();
        copy.query_row("SELECT count(*) FROM people", [], |row| row.get::<_, i64>(0))
            .unwrap()
    };
    assert_eq!((count(), site.theirs("theirs", "people", "name").len()), (0, 0));
    // Again it changes nothing, and a sync goes on from there.
    expect(&site, &["migrate"], 0);
    expect(&site, &["sync"], 0);
    assert_eq!((count(), site.theirs("theirs", "people", "name").len()), (3, 3));
    expect(&site, &["migrate"], 0);
    assert_eq!(count(), 3, "rows stay");
}

#[test]
fn test_connection_says_which_component_is_away() {
    let Some(site) = site(DOCUMENTS, &json!({})) else {
        return;
    };
    let text = expect(&site, &["test-connection"], 0);
    assert!(text.contains("sample/theirs") && !text.contains("failed"), "{text}");
    change(&site, &json!({"refuse": true}));
    write(&site, &DOCUMENTS.replace("./python-destination", "./nowhere"));
    let answer = expect_json(&site, &["test-connection"], 3);
    let components = answer["result"]["components"].as_array().unwrap();
    assert_eq!(components[0]["ok"], false);
    assert!(
        components[0]["error"]
            .as_str()
            .unwrap()
            .contains("the spec asks to be refused"),
        "{answer}"
    );
    assert_eq!(
        (&components[1]["code"], &components[1]["name"]),
        (&json!("E0801"), &json!("sample/theirs"))
    );
    are_gone(site.path());
}

/// No plugin is left behind.
fn are_gone(folder: &Path) {
    let deadline = std::time::Instant::now() + PATIENCE;
    while !processes_of(folder).is_empty() {
        assert!(std::time::Instant::now() < deadline, "plugins outlive the command");
        std::thread::park_timeout(std::time::Duration::from_millis(10));
    }
}

/// The documents with the source from the hub.
fn of_hub() -> String {
    DOCUMENTS.replacen(
        "  path: ./python-source\n  registry: local\n",
        "  path: highwater/sample\n  version: v1.0.0\n",
        1,
    )
}

#[test]
fn plugin_of_the_hub_is_installed_listed_and_pinned() {
    let Some(site) = site(&of_hub(), &json!({"rows": 2})) else {
        return;
    };
    let text = expect(&site, &["sync"], 3);
    assert!(
        text.contains("E0810") && text.contains("plugins install source/highwater/sample@v1.0.0"),
        "{text}"
    );
    let install = ["plugins", "install", "source/highwater/sample@v1.0.0", "--from"];
    let answer = site.json(&[&install[..], &["./python-source", "-o", "json"]].concat(), 0);
    let sum = answer["result"]["plugins"][0]["sha256"].as_str().unwrap().to_owned();
    assert_eq!(sum.len(), 64);
    let listed = site.json(&["plugins", "list", "-o", "json"], 0);
    assert_eq!(listed["result"]["plugins"][0]["sha256"], *sum);
    assert_eq!(listed["result"]["plugins"][0]["name"], "sample");
    expect(&site, &["sync"], 0);
    assert_eq!(site.theirs("theirs", "people", "name").len(), 2);
    // What is not there leaves what is.
    let text = site.expect(&[&install[..], &["./nowhere"]].concat(), 3);
    assert!(text.contains("./nowhere") || text.contains("/nowhere/"), "{text}");
    expect(&site, &["sync"], 0);
}

#[cfg(feature = "failpoints")]
#[test]
fn installation_that_is_killed_leaves_a_whole_plugin_or_none() {
    let Some(site) = site(&of_hub(), &json!({"rows": 2})) else {
        return;
    };
    let install = [
        "plugins",
        "install",
        "source/highwater/sample@v1.0.0",
        "--from",
        "./python-source",
    ];
    for (point, count) in [("before_install", 0), ("after_install", 1)] {
        let mut command = site.command(&install);
        let point = format!("cloudquery.registry.{point}:1");
        let output = command.env("HIGHWATER_FAILPOINT", point).output().unwrap();
        assert_eq!(output.status.code(), None, "it was killed");
        let listed = site.json(&["plugins", "list", "-o", "json"], 0);
        assert_eq!(listed["result"]["plugins"].as_array().unwrap().len(), count);
    }
    site.expect(&install, 0);
    expect(&site, &["sync"], 0);
}

#[test]
fn plugin_check_tries_one_thing_after_the_other() {
    let Some(site) = site(DOCUMENTS, &json!({})) else {
        return;
    };
    let answer = site.json(&["plugin", "check", "./python-source", "-o", "json"], 0);
    let steps = answer["result"]["steps"].as_array().unwrap();
    let found = |what: &str| steps.iter().find(|step| step["step"] == what).unwrap()["found"].clone();
    assert_eq!(found("says its name"), "sample");
    assert_eq!(found("lists its tables"), "3");
    let spec = ["plugin", "check", "./python-source", "--spec", "{\"refuse\": true}"];
    let text = site.expect(&spec, 4);
    assert!(
        text.contains("failed") && text.contains("the spec asks to be refused"),
        "{text}"
    );
    are_gone(site.path());
}

#[test]
fn image_without_docker_is_a_clear_message() {
    let documents = DOCUMENTS.replacen(
        "  path: ./python-source\n  registry: local\n",
        "  path: ghcr.io/a/b:v1\n  registry: docker\n",
        1,
    );
    let Some(site) = site(&documents, &json!({})) else {
        return;
    };
    let mut command = site.command(&["sync", "people.yml", ENV[0], ENV[1]]);
    let output = command.env("PATH", site.path()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{text}");
    assert!(
        text.contains("there is no command `docker`") && text.contains("registry: grpc"),
        "{text}"
    );
}

#[test]
fn image_is_started_by_docker_and_ends_with_the_sync() {
    let documents = DOCUMENTS.replacen(
        "  path: ./python-source\n  registry: local\n",
        "  path: ghcr.io/a/b:v1\n  registry: docker\n",
        1,
    );
    let Some(site) = site(&documents, &json!({"rows": 2})) else {
        return;
    };
    // What Docker does with a port and an image, as far as a plugin can tell.
    let docker = "#!/bin/sh
for word; do case $word in *:7777) published=${word%:7777};; ghcr.io/a/b:v1) break;; esac; done
while [ \"$1\" != ghcr.io/a/b:v1 ]; do shift; done
shift
for word; do shift; case $word in 0.0.0.0:7777) word=$published;; esac; set -- \"$@\" \"$word\"; done
exec ./python-source \"$@\"
";
    let folder = site.path().join("bin");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("docker"), docker).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(folder.join("docker"), mode).unwrap();
    let mut command = site.command(&["sync", "people.yml", ENV[0], ENV[1]]);
    let path = format!("{}:{}", folder.display(), std::env::var("PATH").unwrap());
    let output = command.env("PATH", path).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert_eq!(site.theirs("theirs", "people", "name").len(), 2);
    are_gone(site.path());
}
