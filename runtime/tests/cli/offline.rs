//! Commands that ask nobody.

use crate::site::{CONFIG, Site};

fn screen() -> insta::internals::SettingsBindDropGuard {
    let mut settings = insta::Settings::clone_current();
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.add_filter(r"in \d+ ms", "in [n] ms");
    settings.bind_to_scope()
}

#[test]
fn help_lists_the_commands_that_exist() {
    let text = Site::new().expect(&["--help"], 0);
    let _scope = screen();
    insta::assert_snapshot!("help", text);
}

#[test]
fn validate_prints_what_each_destination_is_promised() {
    let text = Site::new().expect(&["validate"], 0);
    let _scope = screen();
    insta::assert_snapshot!("validate_sound", text);
}

#[test]
fn validate_finds_everything_at_once_and_exits_with_two() {
    let site = Site::new();
    let broken = CONFIG
        .replace("connector: parquet", "connector: parquet\n        write: upsert")
        .replace("200ms", "200");
    site.configure(&broken.replace("./copy.db", "\"\""));
    let text = site.expect(&["validate"], 2);
    let _scope = screen();
    insta::assert_snapshot!("validate_broken", text);
}

#[test]
fn connector_refuses_its_spec_at_the_line_that_is_wrong() {
    let site = Site::new();
    site.configure(&CONFIG.replace("./copy.db", "\"\""));
    let text = site.expect(&["validate"], 2);
    let _scope = screen();
    insta::assert_snapshot!("validate_refused_by_connector", text);
}

#[test]
fn validate_with_connect_knows_the_streams_of_the_source() {
    let site = Site::new();
    site.configure(&CONFIG.replace("[customers, orders]", "[customers, ordres]"));
    site.expect(&["validate"], 0);
    let text = site.expect(&["validate", "--connect"], 2);
    let _scope = screen();
    insta::assert_snapshot!("validate_connect_unknown_stream", text);
}

#[test]
fn json_is_always_the_same_envelope() {
    let site = Site::new();
    for (arguments, exit, is_ok) in [
        (&["validate", "-o", "json"][..], 0, true),
        (&["version", "-o", "json"], 0, true),
        (&["explain", "E0101", "-o", "json"], 0, true),
        (&["explain", "E9999", "-o", "json"], 2, false),
        (&["status", "-o", "json"], 3, false),
    ] {
        let envelope = site.json(arguments, exit);
        let fields: Vec<&str> = envelope.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(
            fields,
            ["command", "ok", "summary", "findings", "result", "error"],
            "{arguments:?}"
        );
        assert_eq!(envelope["ok"], is_ok, "{arguments:?}");
        assert_eq!(envelope["error"].is_null(), is_ok, "{arguments:?}");
    }
}

#[test]
fn warnings_are_errors_if_they_are_denied() {
    let site = Site::new();
    site.configure(&format!(
        "{CONFIG}\ndestinations:\n  unused: {{ connector: csv, spec: {{ path: \"./x/{{stream}}/\" }} }}\n"
    ));
    let text = site.expect(&["validate"], 0);
    assert!(text.contains("warning[W0112]"), "{text}");
    site.expect(&["validate", "--deny-warnings"], 2);
}

#[test]
fn usage_errors_and_unknown_names_exit_with_two() {
    let site = Site::new();
    site.expect(&["frobnicate"], 2);
    site.expect(&["run", "--frobnicate"], 2);
    site.expect(&["validate", "--config", "nowhere.yaml"], 2);
    site.expect(&["schema", "--connector", "frobnicator"], 2);
    let text = site.expect(&["run", "--pipeline", "shopp"], 2);
    assert!(text.contains("E0723") && text.contains("there is `shop`"), "{text}");
}

#[test]
fn init_writes_a_configuration_that_runs_and_never_overwrites_one() {
    let site = Site::new();
    std::fs::remove_file(site.path().join("highwater.yaml")).unwrap();
    site.expect(&["init", "--from", "./shop.db", "--to", "sqlite"], 0);
    assert!(site.path().join(".highwater/schema.json").exists());
    site.expect(&["init", "--from", "./shop.db"], 2);
    site.expect(&["validate", "--connect", "--deny-warnings"], 0);
    site.expect(&["sync"], 0);
    site.assert_equal();
}

#[test]
fn schema_describes_every_connector() {
    let site = Site::new();
    let schema: serde_json::Value = serde_json::from_slice(&site.run(&["schema"]).stdout).unwrap();
    for definition in [
        "source.sqlite",
        "destination.sqlite",
        "destination.parquet",
        "transformer.filter",
        "destination.stdout",
    ] {
        assert!(schema["$defs"].get(definition).is_some(), "{definition}");
    }
    let one: serde_json::Value =
        serde_json::from_slice(&site.run(&["schema", "--connector", "sqlite"]).stdout).unwrap();
    assert!(one["source"]["properties"]["path"].is_object());
}
