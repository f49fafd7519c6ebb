//! Whatever stands in a file, reading it ends, and every place that is reported lies in the file.

use highwater_config::Screen;
use proptest::prelude::*;

use crate::catalog::load_with;

/// Pieces of configurations and of what breaks them; far more telling than random letters.
const PIECES: &[&str] = &[
    "version: 1\n",
    "pipelines:\n",
    "  shop:\n",
    "    source:\n",
    "      connector: sqlite\n",
    "      spec: ",
    "{ path: a }",
    "\n",
    " ",
    "  ",
    "\t",
    "- ",
    ": ",
    "[",
    "]",
    "{",
    "}",
    ",",
    "\"",
    "'",
    "|\n",
    ">-\n",
    "&a ",
    "*a",
    "<<: ",
    "!!str ",
    "!x ",
    "---\n",
    "...\n",
    "%YAML 1.2\n",
    "#",
    "? ",
    "~",
    "null",
    "${A}",
    "${",
    "$$",
    "${secret:env:A}",
    "é",
    "日本",
    "\u{feff}",
    "\r\n",
    "\u{0}",
    "\u{85}",
    "\u{2028}",
    "\\x24",
    "runtime: ",
    "destinations: ",
    "streams: [a]",
    "connector: csv",
    "write: upsert",
    "batch: { bytes_max: 1 }",
    "64MiB",
    "10s",
    "1.10",
    "postgres://u:pw@h",
    "kind: source\n",
    "transformers: ",
    "overrides: ",
];

fn check(text: &str) {
    let loaded = load_with(text, &[("A", "value")]);
    assert_eq!(loaded.plan.is_some(), !loaded.has_errors());
    let screen = loaded.render_findings(&Screen::default());
    assert_eq!(screen.is_empty(), loaded.findings().is_empty());
    let line_count = text.matches('\n').count() + 1;
    for finding in loaded.findings() {
        for labelled in &finding.places {
            let place = &labelled.place;
            assert!((1..=line_count).contains(&place.line), "{finding:?}");
            assert!(place.column >= 1 && place.end_column >= place.column, "{finding:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_read_without_a_panic(text in "(?s).{0,200}") {
        check(&text);
    }

    #[test]
    fn any_heap_of_pieces_is_read_without_a_panic(pieces in prop::collection::vec(prop::sample::select(PIECES), 0..40)) {
        check(&pieces.concat());
    }

    #[test]
    fn any_damage_to_a_good_file_is_read_without_a_panic(
        at in 0usize..GOOD.len(),
        length in 0usize..30,
        piece in prop::sample::select(PIECES),
    ) {
        let end = (at + length).min(GOOD.len());
        check(&format!("{}{piece}{}", &GOOD[..at], &GOOD[end..]));
    }

    #[test]
    fn a_value_stays_the_text_it_is(value in "[A-Za-z0-9.+_][A-Za-z0-9._+-]{0,11}") {
        // Everything that YAML 1.1 would take for a number, a date or a boolean is text where text is wanted.
        prop_assume!(value != "null");
        let loaded = load_with(&GOOD.replace("./shop.db", &value), &[("A", "value")]);
        let plan = loaded.plan.unwrap();
        prop_assert_eq!(plan.pipelines[0].source.spec.value()["path"].as_str(), Some(value.as_str()));
    }
}

const GOOD: &str = "version: 1
runtime: { memory: { limit: 1GiB }, admin: { listen: \"127.0.0.1:1\", token: \"${A}\" } }
pipelines:
  shop:
    source:
      connector: sqlite
      spec: { path: ./shop.db, capture: poll, poll_every: 5s }
      streams: { include: [orders, \"x*\"], overrides: { orders: { key: [id] } } }
    transformers:
      - connector: filter
        spec: { rows: { orders: { column: a, equals: 1.10, one_of: [a, \"b\"] } } }
    destinations:
      out:
        connector: parquet
        spec: { path: ./copy, compression: { zstd: { level: 3 } } }
        batch: { bytes_max: 1MiB, wait_max: 1s }
        retry: { for: forever }
";
