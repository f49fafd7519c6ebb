//! `${...}`: what becomes of a value, and what never does.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;

use highwater_config::{Input, ProcessEnvironment, Screen, load};

use crate::catalog::{catalog, load_with, told};

/// A configuration in which only the source's path varies.
fn config(path: &str) -> String {
    format!(
        "version: 1\npipelines:\n  shop:\n    source:\n      connector: sqlite\n      spec:\n        path: {path}\n      \
         streams: [orders]\n    destinations:\n      out: {{ connector: \"null\" }}\n"
    )
}

/// The source's path after expansion, or what was told.
fn expanded(path: &str, variables: &[(&str, &str)]) -> String {
    let loaded = load_with(&config(path), variables);
    let findings = told(&loaded);
    match loaded.plan {
        Some(plan) => plan.pipelines[0].source.spec.value()["path"]
            .as_str()
            .unwrap()
            .to_owned(),
        None => findings,
    }
}

#[test]
fn values_stand_where_they_are_named() {
    let variables = [("A", "one"), ("B", "two"), ("EMPTY", ""), ("PORT", "5432")];
    for (written, value) in [
        ("${A}", "one"),
        ("x-${A}-${B}-y", "x-one-two-y"),
        ("\"${A}\\t${B}\"", "one\ttwo"),
        ("'${A}'", "one"),
        ("${MISSING:-default}", "default"),
        ("${EMPTY:-default}", "default"),
        ("x${EMPTY}y", "xy"),
        ("${A:-default}", "one"),
        ("${A:?needed}", "one"),
        ("${MISSING:-a:-b:?c}", "a:-b:?c"),
        ("${MISSING:-}x", "x"),
        ("cost-$$5", "cost-$5"),
        ("$${A}", "${A}"),
        ("$A and 5$", "$A and 5$"),
        ("{stream}/${A}/{date}".trim_start_matches('{'), "stream}/one/{date}"),
        ("${secret:env:A}", "one"),
        ("${secret:env:NOPE:-dev}", "dev"),
        ("${PORT}", "5432"),
        ("${time:2026-01-02T03:04:05Z|02.01.06}", "02.01.26"),
    ] {
        assert_eq!(expanded(written, &variables), value, "{written}");
    }
}

#[test]
fn a_value_is_never_read_as_yaml_and_never_expanded_again() {
    for value in [
        "a: b",
        "[1, 2]",
        "x\n  injected: true",
        "${HOME}",
        "*anchor",
        "# comment",
        "'",
        "null",
    ] {
        assert_eq!(expanded("${A}", &[("A", value)]), value);
    }
}

#[test]
fn inside_brackets_an_expression_needs_no_quotes() {
    let text = config("a").replace("[orders]", "[${A}, \"${B}\", x${B:-c}, 'ü', $${D}, \"{\"]");
    let loaded = load_with(&text, &[("A", "one, two"), ("B", "three")]);
    let plan = loaded.plan.unwrap();
    let streams = ["one, two", "three", "xthree", "ü", "${D}", "{"];
    assert_eq!(plan.pipelines[0].source.streams.include, streams);
    // Places are those of the text as it is written.
    let text = config("a").replace("[orders]", "[ü, ${A}, ${NOPE}]");
    let loaded = load_with(&text, &[("A", "one")]);
    assert_eq!(told(&loaded), "E0121 8:26 environment variable `NOPE` is not set\n");
    let loaded = load_with(&config("a").replace("[orders]", "[${A, b]"), &[]);
    assert!(told(&loaded).starts_with("E0101 "), "{}", told(&loaded));
}

#[test]
fn an_expanded_number_is_one_where_a_number_is_wanted() {
    let text = config("a").replace("path: a", "path: a\n        workers: \"${WORKERS}\"");
    let workers = |value| {
        let loaded = load_with(&text, &[("WORKERS", value)]);
        match &loaded.plan {
            Some(plan) => plan.pipelines[0].source.spec.value()["workers"].to_string(),
            None => told(&loaded),
        }
    };
    assert_eq!(workers("4"), "4");
    assert_eq!(
        workers("four"),
        "E0105 8:18 wrong type for `workers`: expected a whole number, found text\n"
    );
    assert_eq!(workers("99"), "E0103 8:18 `workers` must be at most 64\n");
}

#[test]
fn what_cannot_be_expanded_is_told_at_its_dollar() {
    for (written, findings) in [
        ("a/${MISSING}", "E0121 7:17 environment variable `MISSING` is not set\n"),
        (
            "${MISSING:?where is it}",
            "E0121 7:15 environment variable `MISSING` is not set: `where is it`\n",
        ),
        (
            "\"\\t${MISSING}\"",
            "E0121 7:18 environment variable `MISSING` is not set\n",
        ),
        (
            "${A}${B}",
            "E0121 7:15 environment variable `A` is not set\nE0121 7:19 environment variable `B` is not set\n",
        ),
        ("${}", "E0122 7:15 `` is not the name of a variable\n"),
        ("${A B}", "E0122 7:15 `A B` is not the name of a variable\n"),
        ("${A:-${B}}", "E0122 7:15 a default cannot hold another `${...}`\n"),
        ("${secret:A}", "E0122 7:15 `secret:A` names no provider\n"),
        ("${secret:vault:A}", "E0122 7:15 unknown provider `vault`\n"),
        (
            "${secret:exec:pass}",
            "E0106 7:15 `${secret:exec:...}` is not available in this version\n",
        ),
        ("${time:yesterday}", "E0122 7:15 `yesterday` is no time\n"),
        (
            "${file:/nowhere}",
            "E0123 7:15 cannot read file `/nowhere`: entity not found\n",
        ),
    ] {
        assert_eq!(expanded(written, &[]), findings, "{written}");
    }
}

#[test]
fn comments_and_keys_are_left_alone() {
    let text = config("a").replace("path: a", "path: a # ${MISSING}");
    assert_eq!(told(&load_with(&text, &[])), "");
    let text = config("a").replace("path: a", "path: a\n        ${A}: b");
    assert_eq!(
        told(&load_with(&text, &[("A", "capture")])),
        "E0104 8:9 unknown field `${A}`\n"
    );
}

#[test]
fn files_give_their_text_without_the_last_line_break() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("password");
    std::fs::write(&path, "s3cret value\n").unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    let text = config(&format!("\"${{secret:file:{}}}\"", path.display()));
    let inputs = [Input::new("highwater.yaml", text)];
    let loaded = load(&inputs, &catalog(), &ProcessEnvironment::default());
    assert_eq!(
        loaded.findings().iter().map(|finding| finding.code).collect::<Vec<_>>(),
        ["W0111"]
    );
    let plan = loaded.plan.as_ref().unwrap();
    assert_eq!(plan.pipelines[0].source.spec.value()["path"], "s3cret value");
    assert_eq!(plan.pipelines[0].source.spec.redacted()["path"], "***");
    assert_eq!(loaded.secrets.scrub("cannot open s3cret value"), "cannot open ***");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    assert!(
        load(&inputs, &catalog(), &ProcessEnvironment::default())
            .findings()
            .is_empty()
    );
    let folder_text = config(&format!("${{file:{}}}", folder.path().display()));
    let refused = load(
        &[Input::new("highwater.yaml", folder_text)],
        &catalog(),
        &ProcessEnvironment::default(),
    );
    assert!(
        told(&refused).ends_with("it is not a regular file\n"),
        "{}",
        told(&refused)
    );
}

/// A canary in every way by which a secret can come in; it must come out in none of the ways by which things are shown.
#[test]
fn a_secret_is_shown_nowhere() {
    let canary = "canary-7f3a";
    let text = format!(
        "version: 1\nruntime: {{ admin: {{ token: {canary} }} }}\npipelines:\n  shop:\n    source:\n      connector: postgres\n      \
         spec: {{ url: \"{canary}\", publication: \"${{secret:env:A}}\", slot: \"${{secret:env:A}}\" }}\n      streams: [a]\n    \
         destinations:\n      one: {{ connector: http, spec: {{ endpoint: \"https://u:{canary}@h\", ratio: {canary}, auth: {{ kind: basic, \
         user: u, password: {canary} }} }} }}\n      two: {{ connector: http, spec: {{ endpoint: x, auth: {{ kind: {canary} }} }}, write: \
         \"${{secret:env:A}}\", batch: {{ bytes_max: \"${{secret:env:A}}\" }} }}\n"
    );
    let loaded = load_with(&text, &[("A", canary)]);
    let shown = [
        loaded.render_findings(&Screen::default()),
        serde_json::to_string(loaded.findings()).unwrap(),
        format!("{loaded:?}"),
    ];
    for text in shown {
        assert!(!text.contains(canary), "{text}");
    }
    let codes: Vec<&str> = loaded.findings().iter().map(|finding| finding.code).collect();
    assert_eq!(
        codes,
        [
            "E0105", "E0115", "E0115", "E0103", "W0110", "W0110", "W0110", "W0110", "N0110"
        ]
    );
}

#[test]
fn secrets_too_short_to_scrub_are_still_masked_where_they_stand() {
    let text = config("a").replace("version: 1", "version: 1\nruntime: { admin: { token: abc } }");
    let loaded = load_with(&text, &[]);
    let screen = loaded.render_findings(&Screen::default());
    assert!(screen.contains("token: ***"), "{screen}");
    assert!(!screen.contains("abc"), "{screen}");
}

#[test]
fn the_environment_is_asked_for_nothing_that_is_not_named() {
    let environment: BTreeMap<String, String> = BTreeMap::new();
    assert!(
        load(&[Input::new("a.yaml", config("plain"))], &catalog(), &environment)
            .plan
            .is_some()
    );
}
