//! CloudQuery's documents: what each field becomes, and what is told of those that are wrong.

use highwater_config::{Finding, Input, Screen, Write, WriteMode, load};
use serde_json::{Value, json};

use crate::catalog::{catalog, load_with, told};

/// UX section 4.3.
const XKCD: &str = r#"kind: source
spec:
  name: "xkcd"
  path: "cloudquery/xkcd"
  version: "v1.6.0"
  tables: ["xkcd_comics"]
  destinations: ["sqlite"]
---
kind: destination
spec:
  name: sqlite
  path: cloudquery/sqlite
  registry: cloudquery
  version: "v2.14.11"
  transformers: ["basic"]
  spec:
    connection_string: ./db.sql
---
kind: transformer
spec:
  name: "basic"
  path: "cloudquery/basic"
  version: "v2.7.0"
  spec:
    transformations:
      - kind: remove_columns
        tables: ["xkcd_comics"]
        columns: ["transcript", "news"]
"#;

/// Every field that section 14 of the protocol's description lists.
const WHOLE: &str = "kind: source
spec:
  name: cloud
  path: ./cloud
  registry: local
  version: v1.0.0
  tables: [a_*, b]
  skip_tables: [a_x]
  skip_dependent_tables: false
  destinations: [lake]
  deterministic_cq_id: true
  backend_options:
    table_name: cq_state
    connection: '@@plugins.lake.connection'
  otel_endpoint: localhost:4318
  otel_endpoint_insecure: true
  spec:
    regions: [eu, us]
    ratio: 1.10
    since: ${time:2026-01-02|2006-01-02}
    port: ${PORT}
    name: \"${PORT}\"
---
kind: destination
spec:
  name: lake
  path: localhost:7777
  registry: grpc
  write_mode: append
  migrate_mode: forced
  pk_mode: cq-id-only
  sync_group_id: '{{YEAR}}'
";

fn spec(text: &str, variables: &[(&str, &str)], part: &str) -> Value {
    let loaded = load_with(text, variables);
    let findings = told(&loaded);
    let plan = loaded.plan.unwrap_or_else(|| panic!("{findings}"));
    let pipeline = &plan.pipelines[0];
    match part {
        "source" => pipeline.source.spec.value().clone(),
        _ => pipeline.destinations[0].spec.value().clone(),
    }
}

#[test]
fn source_becomes_a_pipeline_of_its_name() {
    let loaded = load_with(XKCD, &[]);
    assert_eq!(told(&loaded), "");
    let plan = loaded.plan.unwrap();
    let pipeline = plan.pipeline("xkcd").unwrap();
    assert_eq!(pipeline.source.connector, "cloudquery");
    assert_eq!(pipeline.source.streams.include, ["*"]);
    assert_eq!(
        pipeline.source.spec.value(),
        &json!({
            "plugin": {"path": "cloudquery/xkcd", "version": "v1.6.0"}, "name": "xkcd", "tables": ["xkcd_comics"]
        })
    );
    let [sqlite] = &pipeline.destinations[..] else {
        panic!("{pipeline:?}")
    };
    assert_eq!(
        (sqlite.name.as_str(), sqlite.write),
        ("sqlite", WriteMode::Always(Write::Mirror))
    );
    assert_eq!(
        sqlite.spec.value()["plugin"]["spec"],
        json!({"connection_string": "./db.sql"})
    );
    let [basic] = &sqlite.transformers[..] else {
        panic!("{sqlite:?}")
    };
    assert_eq!((basic.name.as_str(), basic.connector.as_str()), ("basic", "cloudquery"));
    assert_eq!(
        basic.spec.value()["plugin"]["spec"]["transformations"][0]["columns"],
        json!(["transcript", "news"])
    );
}

#[test]
fn every_field_is_handed_on() {
    let source = spec(WHOLE, &[("PORT", "5432")], "source");
    assert_eq!(
        source,
        json!({
            "plugin": {
                "registry": "local", "path": "./cloud", "otel_endpoint": "localhost:4318", "otel_endpoint_insecure": true,
                "spec": {"regions": ["eu", "us"], "ratio": 1.1, "since": "2026-01-02", "port": 5432, "name": "5432"},
            },
            "name": "cloud", "tables": ["a_*", "b"], "skip_tables": ["a_x"], "skip_dependent_tables": false,
            "deterministic_cq_id": true, "incremental": true,
        })
    );
    assert_eq!(
        spec(WHOLE, &[("PORT", "5432")], "destination"),
        json!({
            "plugin": {"registry": "grpc", "path": "localhost:7777"},
            "migrate_force": true, "key": "cq_id", "sync_group_id": "{{YEAR}}",
        })
    );
    let loaded = load_with(WHOLE, &[("PORT", "5432")]);
    assert_eq!(
        told(&loaded),
        "N0111 14:17 cursors are kept in the state directory, not in `lake`\n"
    );
}

#[test]
fn write_modes_have_our_names() {
    for (theirs, ours) in [
        ("overwrite-delete-stale", Write::Mirror),
        ("overwrite", Write::Upsert),
        ("append", Write::Append),
    ] {
        let text = XKCD.replace("  transformers: [\"basic\"]\n", &format!("  write_mode: {theirs}\n"));
        let loaded = load_with(&text, &[]);
        let plan = loaded.plan.unwrap();
        assert_eq!(
            plan.pipelines[0].destinations[0].write,
            WriteMode::Always(ours),
            "{theirs}"
        );
    }
}

#[test]
fn documents_stand_in_several_files_and_beside_ours() {
    let (source, rest) = XKCD.split_once("---\n").unwrap();
    let source = source.replace("[\"sqlite\"]", "[sqlite, copy]");
    let ours = "version: 1
destinations:
  copy: { connector: sqlite, spec: { path: ./copy.db } }
pipelines:
  again:
    source: xkcd
    destinations: [sqlite]
";
    let inputs = [
        Input::new("a.yml", source),
        Input::new("b.yml", rest),
        Input::new("c.yaml", ours),
    ];
    let loaded = load(&inputs, &catalog(), &std::collections::BTreeMap::new());
    let plan = loaded.plan.unwrap();
    let names = |name: &str| -> Vec<String> {
        let destinations = &plan.pipeline(name).unwrap().destinations;
        destinations
            .iter()
            .map(|destination| destination.name.clone())
            .collect()
    };
    assert_eq!(names("xkcd"), ["sqlite", "copy"]);
    assert_eq!(names("again"), ["sqlite"]);
}

#[test]
fn pipeline_document_replaces_the_sources_own() {
    let more = "---\nkind: pipeline\nspec:\n  source: xkcd\n  every: 6h\n  destinations: [copy]\n---\nversion: 1
destinations:\n  copy: { connector: sqlite, spec: { path: ./copy.db } }\n";
    let loaded = load_with(&format!("{XKCD}{more}"), &[]);
    assert_eq!(
        told(&loaded),
        "W0112 11:9 destination `sqlite` is not used\nW0112 21:9 transformer `basic` is not used\n"
    );
    let plan = loaded.plan.unwrap();
    let [pipeline] = &plan.pipelines[..] else {
        panic!("{plan:?}")
    };
    assert_eq!(
        (pipeline.name.as_str(), pipeline.destinations[0].name.as_str()),
        ("xkcd", "copy")
    );
    assert_eq!(pipeline.source.spec.value()["every"], "6h");
}

#[test]
fn variable_that_holds_a_list_is_one_and_never_more_than_a_value() {
    let text = XKCD.replacen("[\"xkcd_comics\"]", "${TABLES}", 1);
    assert_eq!(
        spec(&text, &[("TABLES", "[a, 'b c']")], "source")["tables"],
        json!(["a", "b c"])
    );
    let loaded = load_with(&text, &[("TABLES", "[a]")]);
    assert_eq!(
        told(&loaded),
        "N0112 6:11 the value of the variable is read as a list\n"
    );
    // Text stays text, whatever it looks like.
    let text = XKCD.replace("./db.sql", "\"${DB}\"");
    let sent = |db| spec(&text, &[("DB", db)], "destination")["plugin"]["spec"]["connection_string"].clone();
    for db in ["[1]", "12", "a: b\nc: d", "{\"a\": 1}", "true"] {
        assert_eq!(sent(db), db);
    }
}

#[test]
fn names_that_cannot_be_a_pipelines_are_changed_and_said() {
    let text = XKCD.replace("name: \"xkcd\"", "name: \"my xkcd/1\"");
    let loaded = load_with(&text, &[]);
    assert_eq!(
        told(&loaded),
        "N0113 3:9 the pipeline of source `my xkcd/1` is called `my_xkcd_1`\n"
    );
    let plan = loaded.plan.unwrap();
    assert_eq!(
        plan.pipeline("my_xkcd_1").unwrap().source.spec.value()["name"],
        "my xkcd/1"
    );
}

/// Name, the codes it is told, the text.
fn cases() -> Vec<(&'static str, &'static str, String)> {
    let xkcd = |from: &str, to: &str| {
        assert!(XKCD.contains(from), "{from}");
        XKCD.replacen(from, to, 1)
    };
    let whole = |from: &str, to: &str| {
        assert!(WHOLE.contains(from), "{from}");
        WHOLE.replace(from, to).replace("${PORT}", "1")
    };
    vec![
        ("unknown_kind", "E0115", xkcd("kind: source", "kind: sorce")),
        ("unknown_field", "E0104", xkcd("  tables:", "  tabels: [x]\n  tables:")),
        ("field_of_long_ago", "E0104", xkcd("  tables:", "  concurrency: 10\n  tables:")),
        ("field_beside_spec", "E0104", xkcd("spec:\n  name: sqlite", "name: x\nspec:\n  name: sqlite")),
        ("unknown_destination", "E0114", xkcd("[\"sqlite\"]", "[\"sqlit\"]")),
        ("unknown_transformer", "E0114", xkcd("[\"basic\"]", "[\"basik\"]")),
        ("unknown_registry", "E0115", xkcd("registry: cloudquery", "registry: hub")),
        ("registry_github", "E0106", xkcd("registry: cloudquery", "registry: github")),
        ("unknown_write_mode", "E0115", xkcd("  transformers:", "  write_mode: overwrite-delete\n  transformers:")),
        ("missing_path", "E0107", xkcd("  path: cloudquery/sqlite\n", "")),
        ("missing_name", "E0107 E0114", xkcd("  name: sqlite\n", "")),
        ("no_tables", "E0119", xkcd("[\"xkcd_comics\"]", "[]")),
        ("star_among_others", "W0114", xkcd("[\"xkcd_comics\"]", "[\"*\", xkcd_comics]")),
        ("two_sources_of_one_name", "E0111 E0111", format!("{XKCD}---\n{}", XKCD.split("---").next().unwrap())),
        ("summary_table", "W0114", xkcd("  transformers:", "  send_sync_summary: true\n  transformers:")),
        ("group_of_stale_rows", "E0116 N0111", whole("write_mode: append", "write_mode: overwrite-delete-stale")),
        ("backend_that_is_not_there", "E0114", whole("plugins.lake", "plugins.lakes")),
        ("backend_without_table", "E0107", whole("    table_name: cq_state\n", "")),
        ("address_in_a_spec", "E0106", xkcd("./db.sql", "'@@plugins.other.connection'")),
        ("missing_variable", "E0121", xkcd("./db.sql", "${NOPE}")),
        ("bad_time", "E0122", xkcd("./db.sql", "${time:yesterday}")),
        ("destination_alone", "E0119 W0112 W0112", XKCD.split_once("---\n").unwrap().1.to_owned()),
        (
            "schedule_of_a_native_source",
            "E0106",
            "kind: pipeline\nspec:\n  name: p\n  source: { connector: sqlite, spec: { path: a.db }, streams: [a] }\n  every: 1h\n  \
             destinations: { b: { connector: sqlite, spec: { path: b.db } } }\n"
                .to_owned(),
        ),
    ]
}

#[test]
fn every_wrong_document_is_told_what_and_where_and_what_to_do() {
    let mut unexpected = Vec::new();
    for (name, codes, text) in cases() {
        let loaded = load_with(&text, &[]);
        let mut found: Vec<&str> = loaded.findings().iter().map(|finding| finding.code).collect();
        let mut expected: Vec<&str> = codes.split(' ').collect();
        found.sort_unstable();
        expected.sort_unstable();
        let screen = loaded.render_findings(&Screen::default());
        if found != expected {
            unexpected.push(format!("{name}: {found:?}\n{screen}"));
        }
        assert_eq!(loaded.plan.is_none(), loaded.has_errors(), "{name}");
        insta::with_settings!({ omit_expression => true }, {
            insta::assert_snapshot!(format!("cloudquery_{name}"), screen);
        });
    }
    assert!(unexpected.is_empty(), "{}", unexpected.join("\n"));
}

#[test]
fn pointers_lead_into_the_document_that_somebody_wrote() {
    let path = |text: &str| {
        let loaded = load_with(text, &[]);
        let paths: Vec<String> = loaded
            .findings()
            .iter()
            .filter_map(|finding: &Finding| finding.path.clone())
            .collect();
        paths.join(" ")
    };
    assert_eq!(path(&XKCD.replace("\"basic\"]", "\"basik\"]")), "/spec/transformers/0");
    assert_eq!(
        path(&XKCD.replace("[\"sqlite\"]", "[\"sqlit\"]")),
        "/spec/destinations/0"
    );
    assert_eq!(
        path(&XKCD.replace("[\"xkcd_comics\"]\n  dest", "[{}]\n  dest")),
        "/spec/tables/0"
    );
    assert_eq!(path(&XKCD.replace("\"v1.6.0\"", "[]")), "/spec/version");
}
