//! Whole screens, as `highwater validate` prints them.

use std::time::Duration;

use highwater_config::{Finding, Part, Screen, codes};

use crate::catalog::load_with;

/// UX section 5: every kind of finding in one file.
const SHOP: &str = r#"version: 1

pipelines:
  shop:
    source:
      connector: postgres
      spec:
        # credentials
        url: ${secret:env:SHOP_URL}
        publication: highwater_shop
        slot: highwater_shop
      streams: [customers, orders, order_lines]


    destinations:
      # columnar history
      lake:
        connector: parquet
        spec:
          path: ./out/{stream}/date={date}/
        write: upsert
        batch: { wait_maximum: 1m, bytes_max: 64MB0 }

      copy:
        connector: sqlite
        spec:
          path: ./copy.db
        when_behind: { then: rewind }
      warehouse:
        connector: postgres
        spec: { url: "postgres://highwater:letmein@warehouse/shop" }
"#;

#[test]
fn validate_prints_every_finding_with_its_snippet_and_a_summary() {
    let loaded = load_with(SHOP, &[]);
    let screen = format!(
        "{}\n{}",
        loaded.render_findings(&Screen::default()),
        loaded.render_summary(Duration::from_millis(4))
    );
    insta::assert_snapshot!("validate", screen);
    assert!(!screen.contains("letmein"));
    assert!(loaded.plan.is_none());
}

#[test]
fn findings_serialize_as_the_json_envelope_says() {
    let loaded = load_with(SHOP, &[]);
    let findings = serde_json::to_string_pretty(loaded.findings()).unwrap();
    assert!(!findings.contains("letmein"));
    insta::assert_snapshot!("validate_json", findings);
    let summary = serde_json::to_value(loaded.summary(Duration::from_micros(4_200))).unwrap();
    assert_eq!(
        summary,
        serde_json::json!({ "files": 1, "errors": 4, "warnings": 1, "elapsed_seconds": 0.004 })
    );
}

#[test]
fn colour_adds_nothing_that_is_not_in_the_text() {
    let loaded = load_with(SHOP, &[]);
    let plain = loaded.render_findings(&Screen::default());
    let coloured = loaded.render_findings(&Screen {
        is_coloured: true,
        ..Screen::default()
    });
    assert!(coloured.contains("\u{1b}["));
    let mut stripped = String::new();
    let mut rest = coloured.as_str();
    while let Some(escape) = rest.find('\u{1b}') {
        stripped.push_str(&rest[..escape]);
        let end = rest[escape..].find('m').unwrap();
        rest = &rest[escape + end + 1..];
    }
    stripped.push_str(rest);
    assert_eq!(stripped, plain);
}

#[test]
fn a_valid_file_prints_one_line() {
    let text = SHOP
        .replace("write: upsert", "write: append")
        .replace("wait_maximum: 1m, bytes_max: 64MB0", "wait_max: 1m, bytes_max: 64MiB")
        .replace("letmein", "${secret:env:PASSWORD}");
    let loaded = load_with(
        &text,
        &[("SHOP_URL", "postgres://localhost/shop"), ("PASSWORD", "letmein")],
    );
    assert_eq!(
        loaded.render_summary(Duration::from_millis(1_234)),
        "Checked 1 file, 1 pipeline, 3 destinations in 1.2 s: no errors\n"
    );
    assert!(!loaded.has_errors());
    let plan = loaded.plan.unwrap();
    let warehouse = &plan.pipelines[0].destinations[2];
    assert_eq!(
        warehouse.spec.value()["url"],
        "postgres://highwater:letmein@warehouse/shop"
    );
    assert!(!format!("{plan:?}").contains("letmein"));
}

#[test]
fn a_connector_reports_at_its_own_pointer_and_secrets_stay_hidden() {
    let text = SHOP.replace(
        "${secret:env:SHOP_URL}",
        "\"${secret:env:SHOP_URL:-postgres://u:hunter2000@h/shop}\"",
    );
    let mut loaded = load_with(&text, &[]);
    let destination = Part::destination("shop", "lake");
    loaded.report_at(
        &destination,
        "/spec/path",
        "no `{stream}` in it",
        Finding::error(&codes::E0127, "every stream would be written to the same files").hint("add `{stream}`"),
    );
    let source = Part::source("shop");
    let refused = "cannot log in with postgres://u:hunter2000@h/shop";
    loaded.report_at(&source, "/spec/url", "", Finding::error(&codes::E0127, refused));
    loaded.report_at(
        &source,
        "/streams/1",
        "has no key",
        Finding::error(&codes::E0127, "cannot publish `orders`"),
    );
    loaded.report_at(
        &source,
        "/spec/snapshot/workers",
        "",
        Finding::error(&codes::E0127, "too many workers"),
    );
    let ours = loaded.findings().iter().filter(|finding| finding.code == "E0127");
    let screen: Vec<String> = ours
        .map(|finding| loaded.render_finding(finding, &Screen::default()))
        .collect();
    let screen = screen.join("\n");
    assert!(!screen.contains("hunter2000"), "{screen}");
    insta::assert_snapshot!("connector_findings", screen);
    let (place, path) = loaded.locate(&source, "/streams/1").unwrap();
    assert_eq!(
        (place.line, place.column, path.as_str()),
        (12, 28, "/pipelines/shop/source/streams/1")
    );
}

#[test]
fn a_flood_of_findings_is_cut() {
    let fields: String = (0..500).map(|index| format!("zz{index}: 1\n")).collect();
    let loaded = load_with(&format!("version: 1\n{fields}"), &[]);
    assert_eq!(loaded.findings().len(), 501);
    assert!(
        loaded
            .render_findings(&Screen::default())
            .ends_with("\n... and 451 more\n")
    );
}
