use std::sync::Arc;

use api::conformance::sample;
use arrow::datatypes::{DataType, Field};
use model::{ChangeSet, JSON_SHAPE, LogicalType, SENSITIVE, StreamId, StreamSchema};
use serde_json::{Value, json};

use crate::{build, through};

const SHAPE: &str =
    r#"{"a":[{"b":"utf8"}],"size":"int64","ownerId":"uuid","utf8":"any","seen":"timestamp[us, tz=UTC]"}"#;

/// `people`: a key, texts, one of them sensitive, bytes, a JSON column with a known shape, a number.
pub fn people() -> Arc<StreamSchema> {
    let marked = |field: Field, key: &str, value: &str| {
        let mut metadata = field.metadata().clone();
        metadata.insert(key.to_owned(), value.to_owned());
        field.with_metadata(metadata)
    };
    let tags = LogicalType::Json.mark(Field::new("tags", DataType::Utf8, true));
    let fields = vec![
        Field::new("id", DataType::Int64, false),
        Field::new("name", DataType::Utf8, true),
        Field::new("secret", DataType::LargeUtf8, true),
        marked(Field::new("ssn", DataType::Utf8, true), SENSITIVE, "true"),
        Field::new("photo", DataType::Binary, true),
        marked(tags, JSON_SHAPE, SHAPE),
        Field::new("age", DataType::Int64, true),
    ];
    sample::schema(StreamId::new("people"), fields, ["id"])
}

pub fn rows() -> Vec<Value> {
    vec![
        json!({"id": 1, "name": "Ada", "secret": "s", "ssn": "1-2", "photo": "00ff", "age": 36,
               "tags": r#"{"a": [{"b": "X", "n": 1.50}, {"b": "Y"}], "size": 7, "Seen": "2026-01-31T12:00:00Z"}"#}),
        json!({"id": 2, "name": null, "tags": "no JSON", "age": null}),
    ]
}

fn changes() -> ChangeSet {
    sample::changeset(None, 1, [sample::changes(&people()).inserts(rows()).batch()])
}

/// The rows behind the transformations, without what the stream's name and order say.
async fn made(transformations: Value) -> String {
    let out = through("basic", json!({"transformations": transformations}), &changes()).await;
    out.replace("people insert @1 ", "")
}

/// The columns behind the transformations, or the error.
async fn shape(transformations: Value) -> String {
    let begin = sample::begin_read(&people(), 1, true);
    through("basic", json!({"transformations": transformations}), &begin).await
}

async fn check(transformations: Value, expected: &str) {
    assert_eq!(made(transformations).await, expected.trim());
}

/// All but what the test is about is left out first.
async fn check_only(columns: &[&str], transformation: Value, expected: &str) {
    let all = ["name", "secret", "ssn", "photo", "tags", "age"];
    let others: Vec<&str> = all.into_iter().filter(|column| !columns.contains(column)).collect();
    check(
        json!([{"kind": "remove_columns", "columns": others}, transformation]),
        expected,
    )
    .await;
}

fn sha(text: &str) -> String {
    use sha2::{Digest, Sha256};
    Sha256::digest(text.as_bytes())
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect()
}

#[tokio::test]
async fn remove_columns_takes_columns_and_members_of_json() {
    let others = json!({"kind": "remove_columns", "columns": ["name", "secret", "ssn", "photo", "age"]});
    check(
        json!([others, {"kind": "remove_columns", "columns": ["tags.a.0", "tags.Seen"]}]),
        r#"
id=1,tags={"a":[{"b":"Y"}],"size":7}
id=2,tags=null"#,
    )
    .await;
    // Values that stay keep their spelling; what is not there changes nothing, not even a blank.
    check(
        json!([others, {"kind": "remove_columns", "columns": ["tags.a.#.b"]}]),
        r#"
id=1,tags={"a":[{"n":1.50},{}],"size":7,"Seen":"2026-01-31T12:00:00Z"}
id=2,tags=null"#,
    )
    .await;
    let untouched = made(json!([others, {"kind": "remove_columns", "columns": ["tags.none.0"]}])).await;
    assert!(
        untouched.contains(r#"tags={"a": [{"b": "X", "n": 1.50}"#),
        "{untouched}"
    );
}

#[tokio::test]
async fn key_cannot_be_removed_nor_every_column() {
    let remove = |columns: Value| json!([{"kind": "remove_columns", "columns": columns}]);
    assert_eq!(
        shape(remove(json!(["id"]))).await,
        "E0611 cannot remove columns of `people`: column `id` is part of the key, and rows could not be told apart
  hint: leave it as it is, or set another key for the stream under `streams`"
    );
    let all = json!({"transformations": [{"kind": "remove_columns", "columns": ["at", "what"]}]});
    let out = through("basic", all, &sample::begin_read(&sample::events(), 1, true)).await;
    assert!(
        out.starts_with("E0610 cannot remove columns of `events`: no column would be left"),
        "{out}"
    );
}

#[tokio::test]
async fn added_columns_are_the_last_ones() {
    check_only(
        &[],
        json!({"kind": "add_column", "name": "origin", "value": "eu"}),
        "id=1,origin=eu\nid=2,origin=eu",
    )
    .await;
    let out = shape(json!([{"kind": "add_column", "name": "name", "value": "x"}])).await;
    assert!(
        out.starts_with("E0610 cannot transform `people`: there is a column `name` already"),
        "{out}"
    );
}

#[tokio::test]
async fn timestamp_column_is_the_time_at_which_rows_came_by() {
    let before = jiff::Timestamp::now();
    let out = made(json!([
        {"kind": "remove_columns", "columns": ["name", "secret", "ssn", "photo", "tags", "age"]},
        {"kind": "add_current_timestamp_column", "name": "seen_at"},
    ]))
    .await;
    let seen = out.lines().next().unwrap().strip_prefix("id=1,seen_at=").unwrap();
    let seen: jiff::Timestamp = seen.parse().unwrap();
    assert!(
        before.as_microsecond() <= seen.as_microsecond() && seen <= jiff::Timestamp::now(),
        "{out}"
    );
}

#[tokio::test]
async fn renamed_key_stays_the_key() {
    let out = shape(json!([
        {"kind": "rename_column", "name": "id", "value": "person"},
        {"kind": "remove_columns", "columns": ["secret", "ssn", "photo", "tags", "age"]},
    ]))
    .await;
    assert_eq!(out, "people (person: Int64, name: Utf8) key (person)");
    let out = shape(json!([{"kind": "rename_column", "name": "name", "value": "ssn"}])).await;
    assert!(out.contains("there is a column `ssn` already"), "{out}");
}

#[tokio::test]
async fn obfuscated_values_are_a_marker_and_a_hash() {
    check_only(
        &["name", "secret"],
        json!({"kind": "obfuscate_columns", "columns": ["name", "secret"]}),
        &format!(
            "id=1,name=Redacted by CloudQuery | {},secret=Redacted by CloudQuery | {}\nid=2,name=NULL,secret=NULL",
            sha("Ada"),
            sha("s")
        ),
    )
    .await;
    check_only(
        &["name"],
        json!({"kind": "obfuscate_columns", "columns": ["name"], "include_sha": false}),
        "id=1,name=Redacted by CloudQuery\nid=2,name=NULL",
    )
    .await;
}

#[tokio::test]
async fn hash_is_the_one_that_others_compute() {
    // The published vector of SHA-256 for `abc`.
    assert_eq!(
        sha("abc"),
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    );
}

#[tokio::test]
async fn obfuscated_json_is_an_object_or_changed_in_place() {
    let text = rows()[0]["tags"].as_str().unwrap().to_owned();
    check_only(
        &["tags"],
        json!({"kind": "obfuscate_columns", "columns": ["tags"]}),
        &format!(
            "id=1,tags={{\"redacted_by_cloudquery\":\"{}\"}}\nid=2,tags={{\"redacted_by_cloudquery\":\"{}\"}}",
            sha(&text),
            sha("no JSON")
        ),
    )
    .await;
    // Each element by itself; what is no document is hidden whole.
    check_only(
        &["tags"],
        json!({"kind": "obfuscate_columns", "columns": ["tags.a.#.b", "tags.size"]}),
        &format!(
            "id=1,tags={{\"a\":[{{\"b\":\"Redacted by CloudQuery | {}\",\"n\":1.50}},{{\"b\":\"Redacted by CloudQuery | {}\"}}],\"size\":\"Redacted by CloudQuery | {}\",\"Seen\":\"2026-01-31T12:00:00Z\"}}\nid=2,tags={{\"redacted_by_cloudquery\":\"{}\"}}",
            sha("\"X\""),
            sha("\"Y\""),
            sha("7"),
            sha("no JSON")
        ),
    )
    .await;
}

#[tokio::test]
async fn marker_can_be_another() {
    let spec = json!({"marker": "Hidden!", "transformations": [
        {"kind": "remove_columns", "columns": ["secret", "ssn", "photo", "age"]},
        {"kind": "obfuscate_columns", "columns": ["name", "tags"], "include_sha": false},
    ]});
    assert_eq!(
        through("basic", spec, &changes())
            .await
            .replace("people insert @1 ", ""),
        "id=1,name=Hidden!,tags={\"hidden_\":\"Hidden!\"}\nid=2,name=NULL,tags={\"hidden_\":\"Hidden!\"}"
    );
}

#[tokio::test]
async fn types_without_room_for_a_marker_are_refused() {
    let out = shape(json!([{"kind": "obfuscate_columns", "columns": ["age"]}])).await;
    assert!(
        out.starts_with("E0615 cannot obfuscate columns of `people`: column `age` is Int64, not text, binary or JSON"),
        "{out}"
    );
    let out = shape(json!([{"kind": "obfuscate_columns", "columns": ["name.first"]}])).await;
    assert!(
        out.contains("column `name` is Utf8, not JSON, which a place in it needs"),
        "{out}"
    );
}

#[tokio::test]
async fn sensitive_columns_are_those_that_their_source_marks() {
    check_only(
        &["name", "ssn"],
        json!({"kind": "obfuscate_sensitive_columns"}),
        &format!(
            "id=1,name=Ada,ssn=Redacted by CloudQuery | {}\nid=2,name=NULL,ssn=NULL",
            sha("1-2")
        ),
    )
    .await;
}

#[tokio::test]
async fn allow_list_drops_collapses_or_redacts_the_rest() {
    let only = |unmatched: &str| json!({"kind": "obfuscate_columns_except", "columns": ["id", "tags.a.#.n", "tags.size"], "unmatched": unmatched});
    check_only(
        &["name", "age", "tags"],
        only("drop"),
        "id=1,tags={\"a\":[{\"n\":1.50},{}],\"size\":7}\nid=2,tags={\"redacted_by_cloudquery\":\"45a4b2d8\"}"
            .replace("45a4b2d8", &sha("no JSON"))
            .as_str(),
    )
    .await;
    let hidden = |text: &str| format!("Redacted by CloudQuery | {}", sha(text));
    check_only(
        &["name", "age", "tags"],
        only("redact"),
        &format!(
            "id=1,name={},tags={{\"a\":[{{\"b\":\"{}\",\"n\":1.50}},{{\"b\":\"{}\"}}],\"size\":7,\"Seen\":\"{}\"}}\nid=2,name=NULL,tags={{\"redacted_by_cloudquery\":\"{}\"}}",
            hidden("Ada"),
            hidden("\"X\""),
            hidden("\"Y\""),
            hidden("\"2026-01-31T12:00:00Z\""),
            sha("no JSON")
        ),
    )
    .await;
    check_only(
        &["tags"],
        json!({"kind": "obfuscate_columns_except", "columns": ["id", "tags.size"], "unmatched": "collapse"}),
        &format!(
            "id=1,tags={{\"a\":\"{}\",\"size\":7,\"Seen\":\"{}\"}}\nid=2,tags={{\"redacted_by_cloudquery\":\"{}\"}}",
            hidden(r#"[{"b":"X","n":1.50},{"b":"Y"}]"#),
            hidden("\"2026-01-31T12:00:00Z\""),
            sha("no JSON")
        ),
    )
    .await;
}

#[tokio::test]
async fn allow_list_must_know_its_columns_and_spare_the_key() {
    let out = shape(json!([{"kind": "obfuscate_columns_except", "columns": ["id", "nmae"]}])).await;
    assert!(
        out.starts_with("E0610 cannot obfuscate columns of `people`: there is no column `nmae`"),
        "{out}"
    );
    for rest in [json!({}), json!({"unmatched": "redact", "include_sha": false})] {
        let mut step = json!({"kind": "obfuscate_columns_except", "columns": ["name"]});
        step.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        let out = shape(json!([step])).await;
        assert!(out.starts_with("E0611 "), "{out}");
    }
}

#[tokio::test]
async fn columns_of_the_protocol_pass_the_allow_list() {
    let fields = vec![
        Field::new("_cq_id", DataType::Utf8, false),
        Field::new("name", DataType::Utf8, true),
    ];
    let schema = sample::schema(StreamId::new("t"), fields, ["_cq_id"]);
    let row = json!({"_cq_id": "1", "name": "Ada"});
    let rows = sample::changeset(None, 1, [sample::changes(&schema).insert(row).batch()]);
    let spec = json!({"transformations": [{"kind": "obfuscate_columns_except"}]});
    assert_eq!(through("basic", spec, &rows).await, "t insert @1 _cq_id=1");
}

#[tokio::test]
async fn new_keys_stand_behind_the_old_ones() {
    let out = shape(json!([
        {"kind": "remove_columns", "columns": ["secret", "ssn", "photo", "tags", "age"]},
        {"kind": "add_primary_keys", "columns": ["name", "id"]},
    ]))
    .await;
    assert_eq!(out, "people (id: Int64, name: Utf8) key (id, name)");
    let out = shape(json!([{"kind": "add_primary_keys", "columns": ["nmae"]}])).await;
    assert!(
        out.starts_with("E0610 cannot add keys to `people`: there is no column `nmae`"),
        "{out}"
    );
}

#[tokio::test]
async fn new_key_that_was_not_sent_is_refused() {
    let row = sample::changes(&sample::items())
        .update(json!({"id": 1, "amount": 2}))
        .without(["name"]);
    let spec = json!({"transformations": [{"kind": "add_primary_keys", "columns": ["name"]}]});
    let out = through("basic", spec, &sample::changeset(None, 1, [row.batch()])).await;
    assert!(
        out.starts_with("E0613 cannot tell the rows of `items`: a value of column `name` was not sent"),
        "{out}"
    );
}

#[tokio::test]
async fn case_changes_in_texts_and_not_in_names() {
    check_only(
        &["name"],
        json!({"kind": "uppercase", "columns": ["name"]}),
        "id=1,name=ADA\nid=2,name=NULL",
    )
    .await;
    check_only(
        &["tags"],
        json!({"kind": "lowercase", "columns": ["tags"]}),
        "id=1,tags={\"a\":[{\"b\":\"x\",\"n\":1.50},{\"b\":\"y\"}],\"size\":7,\"Seen\":\"2026-01-31t12:00:00z\"}\nid=2,tags=no JSON",
    )
    .await;
    check_only(
        &["tags"],
        json!({"kind": "lowercase", "columns": ["tags.a.1.b", "tags.size"]}),
        "id=1,tags={\"a\":[{\"b\":\"X\",\"n\":1.50},{\"b\":\"y\"}],\"size\":7,\"Seen\":\"2026-01-31T12:00:00Z\"}\nid=2,tags=no JSON",
    )
    .await;
    let out = shape(json!([{"kind": "uppercase", "columns": ["age"]}])).await;
    assert!(out.contains("column `age` is Int64, not text or JSON"), "{out}");
}

#[tokio::test]
async fn rows_with_the_value_are_dropped_and_an_update_becomes_a_delete() {
    for (columns, value, expected) in [
        (json!(["name", "ssn"]), json!("Ada"), "id=2"),
        (json!(["age"]), json!("36"), "id=2"),
        (json!(["age"]), Value::Null, "id=1"),
        (json!(["photo"]), json!("00ff"), "id=2"),
        (
            json!(["tags"]),
            json!(r#"{"a":[{"b":"X","n":1.50},{"b":"Y"}],"size":7,"Seen":"2026-01-31T12:00:00Z"}"#),
            "id=2",
        ),
        (json!(["name"]), json!("nobody"), "id=1\nid=2"),
    ] {
        let drop = json!({"kind": "drop_rows", "columns": columns, "value": value});
        let rest = json!({"kind": "remove_columns", "columns": ["name", "secret", "ssn", "photo", "tags", "age"]});
        assert_eq!(made(json!([drop, rest])).await, expected, "{drop}");
    }
    let update = sample::changes(&sample::items())
        .update_from(json!({"id": 1, "name": "a"}), json!({"id": 1, "name": "gone"}))
        .batch();
    let spec = json!({"transformations": [{"kind": "drop_rows", "columns": ["name"], "value": "gone"}]});
    let out = through("basic", spec, &sample::changeset(None, 1, [update])).await;
    assert!(out.starts_with("items delete @1 id=1"), "{out}");
}

#[tokio::test]
async fn transformations_run_in_order_on_the_streams_that_they_name() {
    check(
        json!([
            {"kind": "remove_columns", "tables": ["peop*"], "columns": ["secret", "ssn", "photo", "tags", "age"]},
            {"kind": "rename_column", "name": "name", "value": "title"},
            {"kind": "uppercase", "columns": ["title"]},
            {"kind": "add_column", "tables": ["others", "x*"], "name": "never", "value": "x"},
        ]),
        "id=1,title=ADA\nid=2,title=NULL",
    )
    .await;
}

#[tokio::test]
async fn unknown_column_is_passed_over_under_a_pattern_and_refused_under_a_name() {
    for kind in ["remove_columns", "obfuscate_columns", "uppercase", "drop_rows"] {
        let step = |tables: Value| json!([{"kind": kind, "tables": tables, "columns": ["nmae"]}]);
        assert!(shape(step(json!(["p*"]))).await.starts_with("people (id"), "{kind}");
        let out = shape(step(json!(["people"]))).await;
        assert!(
            out.contains("`people`: there is no column `nmae`") && out.starts_with("E0610"),
            "{kind}: {out}"
        );
    }
    let rename = json!([{"kind": "rename_column", "tables": ["people"], "name": "nmae", "value": "x"}]);
    assert!(shape(rename).await.contains("there is no column `nmae`"));
}

#[tokio::test]
async fn streams_are_not_renamed_in_a_pipeline_and_are_for_a_caller_that_keeps_names() {
    let step = json!({"kind": "change_table_names", "new_table_name_template": "raw_{{ .OldName }}_v2"});
    let refused = build("basic", json!({"transformations": [step]})).err().unwrap();
    assert_eq!(refused.pointer, "/transformations/0");
    assert_eq!(
        refused.to_string(),
        "cannot rename streams in a pipeline: checkpoints are kept by the source's names"
    );
    let spec = json!({"transformations": [step, {"kind": "add_column", "tables": ["raw_people_v2"], "name": "n", "value": "v"}]});
    let renaming = highwater_plugin_transform::build_renaming(serde_json::from_value(spec).unwrap()).unwrap();
    let out = renaming.output_schema(&people()).await.unwrap();
    assert_eq!(out[0].schema.stream(), &StreamId::new("raw_people_v2"));
    assert!(out[0].schema.arrow().field_with_name("n").is_ok());
}

#[tokio::test]
async fn mistakes_in_the_spec_name_their_place() {
    for (step, expected) in [
        (
            json!({"kind": "remove_columns", "columns": []}),
            "/transformations/0/columns: cannot transform no column",
        ),
        (
            json!({"kind": "remove_columns", "columns": ["a", "b..c"]}),
            "/transformations/0/columns/1: cannot read `b..c`: a part of the path is empty",
        ),
        (
            json!({"kind": "change_table_names", "new_table_name_template": "{{.Old}}"}),
            "/transformations/0/new_table_name_template: cannot read `{{.Old}}`: only `.OldName` can stand in braces",
        ),
        (
            json!({"kind": "add_column", "name": "", "value": "x"}),
            "/transformations/0/name: cannot use a column without a name",
        ),
    ] {
        let spec = serde_json::from_value(json!({"transformations": [step]})).unwrap();
        let error = highwater_plugin_transform::build_renaming(spec).err().unwrap();
        assert_eq!(format!("{}: {error}", error.pointer), expected);
    }
    for step in [
        json!({"kind": "remove_columns", "columns": ["a"], "nmae": "x"}),
        json!({"kind": "explode"}),
        json!({"kind": "drop_rows", "columns": ["a"], "value": 1}),
    ] {
        let error = build("basic", json!({"transformations": [step]})).err().unwrap();
        assert!(error.to_string().starts_with("cannot read the spec: "), "{error}");
    }
}
