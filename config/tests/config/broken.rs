//! A table of broken files: what each is told, with codes, and what its screen looks like.

use std::time::{Duration, Instant};

use highwater_config::{Input, Screen, load, read_inputs};

use crate::catalog::{catalog, load_with, told};

/// A pipeline that is fine, to break one thing in.
const GOOD: &str = "version: 1
pipelines:
  shop:
    source:
      connector: sqlite
      spec: { path: ./shop.db }
      streams: [customers, orders]
    destinations:
      copy:
        connector: sqlite
        spec: { path: ./copy.db }
        write: upsert
";

/// Name, the codes it is told in order, the text.
fn cases() -> Vec<(&'static str, &'static str, String)> {
    let good = |from: &str, to: &str| {
        assert!(GOOD.contains(from), "{from}");
        GOOD.replace(from, to)
    };
    let runtime = |block: &str| GOOD.replace("version: 1\n", &format!("version: 1\nruntime: {block}\n"));
    let copy = |field: &str| GOOD.replace("        write: upsert\n", &format!("        {field}\n"));
    let bomb = {
        let mut text = "version: 1\na0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..9 {
            let previous = format!("*a{}, ", level - 1);
            text.push_str(&format!(
                "a{level}: &a{level} [{}]\n",
                previous.repeat(7).trim_end_matches(", ")
            ));
        }
        text
    };
    vec![
        (
            "unknown_field",
            "E0104",
            good("destinations:", "destinaton: x\n    destinations:"),
        ),
        (
            "unknown_field_without_suggestion",
            "E0104",
            good("version: 1", "version: 1\ncolour: blue"),
        ),
        (
            "spec_field_beside_spec",
            "E0104",
            good("spec: { path: ./copy.db }", "path: ./copy.db"),
        ),
        (
            "unknown_field_in_spec",
            "E0104",
            good("path: ./copy.db", "pth: ./copy.db"),
        ),
        ("missing_spec", "E0107", good("      spec: { path: ./shop.db }\n", "")),
        ("bad_size", "E0103", copy("batch: { bytes_max: 64MB0 }")),
        (
            "size_without_unit",
            "E0103",
            runtime("{ memory: { limit: 1073741824 } }"),
        ),
        ("size_with_wrong_unit", "E0103", runtime("{ memory: { limit: 512mb } }")),
        ("bad_duration", "E0103", copy("batch: { wait_max: 20 }")),
        (
            "duration_in_words",
            "E0103",
            runtime("{ shutdown: { timeout: 60 seconds } }"),
        ),
        ("zero_timeout", "E0103", runtime("{ shutdown: { timeout: 0s } }")),
        (
            "missing_variable",
            "E0121",
            good("{ path: ./shop.db }", "\n        path: ${SHOP_DB}"),
        ),
        (
            "missing_variable_inside_text",
            "E0121",
            good("./shop.db", "\"/data/ä/${SHOP_DB:?say where the shop is}/x\""),
        ),
        (
            "missing_secret_file",
            "E0123",
            runtime("{ admin: { token: \"${secret:file:/nowhere/token}\" } }"),
        ),
        ("unknown_provider", "E0122", good("./shop.db", "\"${env:SHOP_DB}\"")),
        (
            "unclosed_expression",
            "E0122",
            good("{ path: ./shop.db }", "{ path: \"./${SHOP\" }"),
        ),
        ("plaintext_token", "W0110", runtime("{ admin: { token: 8f2ac7f0d1 } }")),
        (
            "listen_without_token",
            "E0124",
            runtime("{ admin: { listen: \"0.0.0.0:7400\" } }"),
        ),
        ("bad_listen", "E0103", runtime("{ admin: { listen: 7400 } }")),
        (
            "unknown_connector",
            "E0112",
            good("connector: sqlite\n        spec", "connector: sqllite\n        spec"),
        ),
        (
            "connector_of_the_future",
            "E0112",
            good("connector: sqlite\n        spec", "connector: duckdb\n        spec"),
        ),
        (
            "connector_in_wrong_role",
            "E0113",
            good("connector: sqlite\n      spec", "connector: parquet\n      spec"),
        ),
        (
            "upsert_into_csv",
            "E0117",
            good("connector: sqlite\n        spec", "connector: csv\n        spec"),
        ),
        ("soft_deletes_into_csv", "E0118", {
            copy("deletes: soft").replace("connector: sqlite\n        spec", "connector: csv\n        spec")
        }),
        ("unknown_write", "E0115", good("write: upsert", "write: upset")),
        ("alias_bomb", "E0102", bomb),
        (
            "too_many_aliases",
            "E0102",
            format!("version: 1\na: &a x\nb: [{}]\n", vec!["*a"; 65].join(", ")),
        ),
        ("alias_to_itself", "E0101", "version: 1\na: &a [*a]\n".to_owned()),
        (
            "deep_nesting",
            "E0102",
            format!("version: 1\na: {}\n", "[".repeat(10_000)),
        ),
        (
            "deep_block_nesting",
            "E0102",
            (0..100).map(|depth| format!("{}a:\n", " ".repeat(depth))).collect(),
        ),
        ("tab_in_indentation", "E0101", good("    source:", "\tsource:")),
        ("unquoted_star", "E0101", good("[customers, orders]", "[*]")),
        (
            "bad_indentation",
            "E0101",
            good("        write: upsert", "       write: upsert"),
        ),
        ("unclosed_quote", "E0101", good("./copy.db }", "\"./copy.db }")),
        (
            "duplicate_key",
            "E0110",
            good("        write: upsert", "        write: upsert\n        write: append"),
        ),
        (
            "merge_key",
            "E0109",
            good("        write: upsert", "        <<: { write: append }"),
        ),
        ("tag", "E0109", good("./copy.db", "!env COPY")),
        ("list_as_key", "E0109", good("version: 1", "version: 1\n? [a, b]\n: c")),
        ("wrong_type_of_list", "E0105", good("[customers, orders]", "customers")),
        (
            "list_of_sources",
            "E0105 E0105",
            "version: 1\npipelines: { p: { source: [a], destinations: b } }\n".to_owned(),
        ),
        (
            "misspelt_connector_field",
            "E0104",
            good("connector: sqlite\n        spec", "conector: sqlite\n        spec"),
        ),
        (
            "template_without_quotes",
            "E0101",
            good("{ path: ./copy.db }", "\n          path: {stream}/x"),
        ),
        (
            "template_that_is_a_map",
            "E0105",
            good("{ path: ./copy.db }", "\n          path: {stream}"),
        ),
        ("wrong_type_of_map", "E0105", copy("batch: 8MiB")),
        (
            "wrong_type_in_spec",
            "E0105",
            good("{ path: ./copy.db }", "{ path: [a, b] }"),
        ),
        ("quoted_number", "E0105", copy("batch: { rows_max: \"100\" }")),
        ("number_out_of_range", "E0103", copy("batch: { rows_max: 0 }")),
        (
            "number_out_of_range_in_spec",
            "E0103",
            good("{ path: ./shop.db }", "{ path: ./shop.db, workers: 65 }"),
        ),
        (
            "unknown_word_in_spec",
            "E0115",
            good("{ path: ./shop.db }", "{ path: ./shop.db, capture: trigger }"),
        ),
        (
            "duration_in_spec",
            "E0103",
            good("{ path: ./shop.db }", "{ path: ./shop.db, poll_every: 5 }"),
        ),
        ("empty_file", "E0119", "# nothing yet\n".to_owned()),
        ("not_a_map", "E0105", "- version: 1\n".to_owned()),
        ("missing_version", "E0108", good("version: 1\n", "")),
        ("unknown_version", "E0108", good("version: 1", "version: 2")),
        ("version_as_text", "E0105", good("version: 1", "version: [1]")),
        ("two_pipelines_of_one_name", "E0111", format!("{GOOD}---\n{GOOD}")),
        (
            "two_runtimes",
            "E0111 W0112",
            format!(
                "{}---\nversion: 1\nruntime: {{}}\nsources: {{ x: {{}} }}\n",
                runtime("{}")
            ),
        ),
        (
            "no_pipeline",
            "E0119",
            "version: 1\nruntime: { log: { level: debug } }\n".to_owned(),
        ),
        (
            "no_destination",
            "E0119",
            GOOD[..GOOD.find("      copy:").unwrap()].replace("destinations:", "destinations: {}"),
        ),
        (
            "missing_destinations",
            "E0107",
            GOOD[..GOOD.find("    destinations:").unwrap()].to_owned(),
        ),
        ("no_stream", "E0119", good("[customers, orders]", "[]")),
        (
            "missing_streams",
            "E0107",
            good("      streams: [customers, orders]\n", ""),
        ),
        ("unknown_stream_in_overrides", "E0128 E0128", {
            good(
                "[customers, orders]",
                "{ include: [customers, orders], overrides: { order: { key: [id] }, x: {} } }",
            )
        }),
        ("unknown_type_in_overrides", "E0115", {
            good(
                "[customers, orders]",
                "{ include: [orders], overrides: { orders: { columns: { total: texd } } } }",
            )
        }),
        ("unknown_reference", "E0114", {
            let sources =
                "version: 1\nsources:\n  main: { connector: sqlite, spec: { path: a }, streams: [a] }\npipelines:\n";
            format!("{sources}  shop: {{ source: man, destinations: {{ x: {{ connector: \"null\" }} }} }}\n")
        }),
        (
            "contradicting_backoff",
            "E0116",
            copy("retry: { backoff_min: 10s, backoff_max: 1s }"),
        ),
        ("bad_retry_for", "E0103", copy("retry: { for: ever }")),
        ("disk_spool", "E0106", runtime("{ spool: { home: disk } }")),
        ("detach", "E0106", copy("when_behind: { then: detach }")),
        ("dead_letters", "E0106", copy("dead_letters: { to: state }")),
        ("schedule", "E0106", good("    source:", "    every: 6h\n    source:")),
        ("tests_block", "E0106", good("version: 1", "version: 1\ntests: []")),
        (
            "cloudquery_source_without_tables_and_destinations",
            "E0107 E0107",
            "kind: source\nspec: { name: xkcd, path: cloudquery/xkcd, version: v1.6.0 }\n".to_owned(),
        ),
        ("bad_pipeline_name", "E0126", good("  shop:", "  \"the shop/1\":")),
        (
            "memory_too_small",
            "E0125",
            runtime("{ memory: { limit: 16MiB }, spool: { window_max: 32MiB } }"),
        ),
        ("two_destinations_in_one_place", "W0113 N0110", {
            format!("{GOOD}      again:\n        connector: sqlite\n        spec: {{ path: ./copy.db }}\n")
        }),
        (
            "control_characters",
            "E0104",
            good("version: 1", "version: 1\n\"a\\e[31m\\u202eb\": 1"),
        ),
        ("everything_at_once", "E0107 E0105 E0115 E0103 E0103 E0112", {
            "version: 1\npipelines:\n  p:\n    source: { spec: 3, streams: [a] }\n    destinations:\n      d: \
             { connector: postgress, write: mirrors, batch: { bytes_max: 1, wait_max: x }, transformers: 7 }\n"
                .to_owned()
        }),
    ]
}

#[test]
fn every_broken_file_is_told_what_and_where_and_what_to_do() {
    let mut unexpected = Vec::new();
    for (name, codes, text) in cases() {
        let loaded = load_with(&text, &[]);
        let found: Vec<&str> = loaded.findings().iter().map(|finding| finding.code).collect();
        let screen = loaded.render_findings(&Screen::default());
        let mut expected: Vec<&str> = codes.split(' ').collect();
        let mut sorted = found.clone();
        expected.sort_unstable();
        sorted.sort_unstable();
        if sorted != expected {
            unexpected.push(format!("{name}: {found:?}\n{screen}"));
        }
        assert_eq!(loaded.plan.is_none(), loaded.has_errors(), "{name}");
        for finding in loaded.findings() {
            let place = finding
                .primary()
                .unwrap_or_else(|| panic!("{name} has no place: {finding:?}"));
            assert!(place.end_column >= place.column, "{name}");
        }
        insta::with_settings!({ omit_expression => true }, { insta::assert_snapshot!(name, screen) });
    }
    assert!(unexpected.is_empty(), "{}", unexpected.join("\n"));
}

#[test]
fn a_finding_may_show_two_files() {
    let environment = std::collections::BTreeMap::new();
    let loaded = load(
        &[Input::new("a.yaml", GOOD), Input::new("b.yaml", GOOD)],
        &catalog(),
        &environment,
    );
    insta::assert_snapshot!("two_files", loaded.render_findings(&Screen::default()));
}

#[test]
fn line_endings_of_windows_change_nothing() {
    let text = GOOD.replace("write: upsert", "wirte: upsert");
    let (unix, windows) = (load_with(&text, &[]), load_with(&text.replace('\n', "\r\n"), &[]));
    assert_eq!(unix.findings(), windows.findings());
    assert_eq!(
        unix.render_findings(&Screen::default()),
        windows.render_findings(&Screen::default())
    );
    let plan = |text: &str| format!("{:?}", load_with(text, &[]).plan.unwrap());
    assert_eq!(plan(GOOD), plan(&GOOD.replace('\n', "\r\n")));
}

#[test]
fn the_file_that_the_cases_break_is_fine() {
    let loaded = load_with(GOOD, &[]);
    assert_eq!(told(&loaded), "");
    assert!(loaded.plan.is_some());
}

#[test]
fn hostile_files_are_refused_in_no_time() {
    let huge = format!("version: 1\nx: {}\n", "y".repeat(2 << 20));
    let keys: String = (0..90_000).map(|key| format!("k{key}: 1\n")).collect();
    let quoted = format!("version: 1\nx: \"{}\"\n", "${A".repeat(100_000));
    let dollars = format!("version: 1\nx: \"{}\"\n", "$".repeat(500_000));
    let flow = "{a: ".repeat(50_000);
    let items = format!("x: [{}]", "a,".repeat(400_000));
    for (name, text) in [
        ("huge", huge),
        ("keys", keys),
        ("quoted", quoted),
        ("dollars", dollars),
        ("flow", flow),
        ("items", items),
    ] {
        let start = Instant::now();
        let loaded = load_with(&text, &[]);
        let elapsed = start.elapsed();
        assert!(loaded.has_errors(), "{name}");
        // 100 ms is the aim on an idle core; two busy ones take their time.
        assert!(elapsed < Duration::from_secs(3), "{name}: {elapsed:?}");
    }
}

#[test]
fn files_that_cannot_be_read_are_named_all_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    std::fs::create_dir(path("empty")).unwrap();
    std::fs::write(path("latin1.yaml"), b"version: 1 # caf\xe9\n").unwrap();
    let findings = read_inputs(&[path("missing.yaml"), path("empty"), path("latin1.yaml")]).unwrap_err();
    let messages: Vec<String> = findings
        .iter()
        .map(|finding| finding.message.replace(&folder.path().display().to_string(), "DIR"))
        .collect();
    assert_eq!(
        messages,
        [
            "cannot read configuration `DIR/missing.yaml`: No such file or directory (os error 2)",
            "no configuration in directory `DIR/empty`",
            "cannot read configuration `DIR/latin1.yaml`: stream did not contain valid UTF-8",
        ]
    );
    assert!(findings.iter().all(|finding| finding.code == "E0120"));
}

#[test]
fn a_directory_is_one_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let (pipelines, definitions) = (
        "version: 1\npipelines: { shop: { source: main, destinations: [copy] } }\n",
        "version: 1\nsources: { main: { connector: sqlite, spec: { path: a }, streams: [t] } }\n\
         destinations: { copy: { connector: sqlite, spec: { path: b } } }\n",
    );
    std::fs::write(folder.path().join("1-pipelines.yaml"), pipelines).unwrap();
    std::fs::write(folder.path().join("2-definitions.yml"), definitions).unwrap();
    std::fs::write(folder.path().join("notes.txt"), "not: ours").unwrap();
    let inputs = read_inputs(&[folder.path().to_owned()]).unwrap();
    assert_eq!(inputs.len(), 2);
    let environment = std::collections::BTreeMap::new();
    let loaded = load(&inputs, &catalog(), &environment);
    assert_eq!(told(&loaded), "");
    let plan = loaded.plan.unwrap();
    assert_eq!(plan.pipelines[0].destinations[0].name, "copy");
    // With a file that cannot be parsed the others are not blamed for what is missing.
    let mut inputs = inputs;
    inputs[1] = Input::new("2.yml", "a: [");
    assert_eq!(load(&inputs, &catalog(), &environment).findings().len(), 1);
}
