use api::conformance::sample;
use arrow::datatypes::{DataType, Field};
use model::{LogicalType, StreamId};
use serde_json::{Value, json};

use crate::basic::people;
use crate::through;

async fn flat(spec: Value, tags: &str) -> String {
    let row = json!({"id": 1, "tags": tags});
    let rows = sample::changeset(None, 1, [sample::changes(&people()).insert(row).batch()]);
    let out = through("json-flatten", spec, &rows).await;
    match out.split_once("age=NULL") {
        Some((_, added)) => added.trim_start_matches(',').to_owned(),
        None => out,
    }
}

#[tokio::test]
async fn known_shape_becomes_typed_columns_beside_the_document() {
    let begin = sample::begin_read(&people(), 1, true);
    assert_eq!(
        through("json-flatten", json!({}), &begin).await,
        "people (id: Int64, name: Utf8, secret: LargeUtf8, ssn: Utf8, photo: Binary, tags: Utf8, age: Int64, tags__a: Utf8, \
tags__owner_id: FixedSizeBinary(16), tags__seen: Timestamp(µs, \"UTC\"), tags__size: Int64) key (id)"
    );
    let tags = r#"{"a":[{"b": 1.0}],"size":7,"ownerId":"00112233-4455-6677-8899-aabbccddeeff","seen":"2026-01-31T12:00:00+02:00"}"#;
    assert_eq!(
        flat(json!({}), tags).await,
        r#"tags__a=[{"b":1.0}],tags__owner_id=00112233445566778899aabbccddeeff,tags__seen=2026-01-31T10:00:00Z,tags__size=7"#
    );
}

#[tokio::test]
async fn names_are_found_as_they_are_or_in_snake_case() {
    let shapes = json!({"shapes": {"people": {"tags": {"user_id": "int64", "Name": "utf8"}}}});
    assert_eq!(
        flat(shapes, r#"{"userID": 5, "Name": "x", "name": "y"}"#).await,
        "tags__name=x,tags__user_id=5"
    );
}

#[tokio::test]
async fn value_of_another_type_is_null_and_the_document_stays() {
    let shapes = json!({"shapes": {"*": {"tags": {
        "b": "bool", "f": "float64", "i": "int64", "t": "timestamp[us, tz=UTC]", "u": "uuid", "x": "utf8", "j": "json",
    }}}});
    let all = |text: &str| {
        ["b", "f", "i", "j", "t", "u", "x"]
            .map(|name| format!("tags__{name}={text}"))
            .join(",")
    };
    for document in [
        "null",
        "[1]",
        "{}",
        "no JSON",
        r#"{"b":null,"f":null,"i":null,"t":null,"u":null,"x":null,"j":null}"#,
    ] {
        assert_eq!(flat(shapes.clone(), document).await, all("NULL"), "{document}");
    }
    let document = r#"{"b":"true","f":"1","i":1.5,"t":"soon","u":"1","x":1,"j":{"k": [1]}}"#;
    assert_eq!(
        flat(shapes.clone(), document).await,
        all("NULL").replace("tags__j=NULL", r#"tags__j={"k":[1]}"#)
    );
    let document = r#"{"b":true,"f":1e2,"i":-9223372036854775808,"x":"é","j":12345678901234567890123}"#;
    assert_eq!(
        flat(shapes, document).await,
        "tags__b=true,tags__f=100.0,tags__i=-9223372036854775808,tags__j=12345678901234567890123,tags__t=NULL,tags__u=NULL,tags__x=é"
    );
}

#[tokio::test]
async fn name_that_is_taken_gets_an_underscore() {
    let fields = vec![
        Field::new("id", DataType::Int64, false),
        LogicalType::Json.mark(Field::new("t", DataType::Utf8, true)),
        Field::new("t__a", DataType::Int64, true),
    ];
    let schema = sample::schema(StreamId::new("s"), fields, ["id"]);
    let spec = json!({"shapes": {"s": {"t": {"a": "int64", "A": "int64"}}}});
    let row = json!({"id": 1, "t": r#"{"a": 1, "A": 2}"#});
    let rows = sample::changeset(None, 1, [sample::changes(&schema).insert(row).batch()]);
    let out = through("json-flatten", spec, &rows).await;
    assert!(out.ends_with(",t__a=NULL,t__a_=2,t__a__=1"), "{out}");
}

#[tokio::test]
async fn other_streams_and_columns_pass_unchanged() {
    assert_eq!(flat(json!({"tables": ["others"]}), "{}").await, "");
    let out = flat(json!({"shapes": {"people": {"name": {"a": "utf8"}}}}), "{}").await;
    assert!(
        out.starts_with("E0615 cannot flatten `people`: column `name` is Utf8, not JSON"),
        "{out}"
    );
    let out = flat(json!({"shapes": {"people": {"tgas": {"a": "utf8"}}}}), "{}").await;
    assert!(
        out.starts_with("E0610 cannot flatten `people`: there is no column `tgas`"),
        "{out}"
    );
}
