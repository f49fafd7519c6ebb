use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, TimeUnit};
use proptest::prelude::*;

use crate::{LogicalType, SchemaId, StreamId, StreamSchema};

fn schema(fields: Vec<Field>, key: &[&str]) -> StreamSchema {
    StreamSchema::new(StreamId::in_schema("public", "orders"), fields, key).unwrap()
}

fn wide() -> Vec<Field> {
    let item = LogicalType::Json.mark(Field::new("item", DataType::Utf8, true));
    let pair = Fields::from(vec![
        Field::new("a", DataType::Int16, false),
        Field::new("b", DataType::Binary, true),
    ]);
    vec![
        Field::new("id", DataType::Int64, false),
        LogicalType::Uuid.mark(Field::new("ref", DataType::FixedSizeBinary(16), false)),
        Field::new("amount", DataType::Decimal128(18, 4), true),
        Field::new(
            "at",
            DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            true,
        ),
        Field::new("tags", DataType::List(Arc::new(item)), true),
        Field::new("pair", DataType::Struct(pair), true),
    ]
}

/// Ids lie in every ledger. If this fails, destinations would take every schema for a new one.
#[test]
fn schema_id_is_the_same_for_ever() {
    assert_eq!(
        schema(wide(), &["id"]).id().to_string(),
        "bcbdf83bd46f5994b2f71f8a4a7cf8ea"
    );
    assert_eq!(
        schema(Vec::new(), &[]).id().to_string(),
        "0d570eb10e2df7c42ade457eeaef59c2"
    );
}

#[test]
fn schema_id_is_read_back_from_its_text() {
    let id = schema(wide(), &["id"]).id();
    let json = serde_json::to_string(&id).unwrap();
    assert_eq!(json.len(), 34);
    assert_eq!(serde_json::from_str::<SchemaId>(&json).unwrap(), id);
}

#[test]
fn schema_id_changes_with_everything_that_matters() {
    let id = |fields: Vec<Field>, key: &[&str]| schema(fields, key).id();
    let with = |change: fn(&mut Vec<Field>)| {
        let mut fields = wide();
        change(&mut fields);
        id(fields, &["id"])
    };
    let ids = [
        id(wide(), &["id"]),
        id(wide(), &["id", "ref"]),
        id(wide(), &["ref", "id"]),
        id(wide(), &[]),
        with(|fields| fields.swap(0, 1)),
        with(|fields| fields[2] = fields[2].clone().with_name("sum")),
        with(|fields| fields[2] = fields[2].clone().with_nullable(false)),
        with(|fields| fields[2] = Field::new("amount", DataType::Decimal128(18, 3), true)),
        with(|fields| fields[2] = Field::new("amount", DataType::Decimal256(18, 4), true)),
        with(|fields| fields[1] = fields[1].clone().with_metadata(HashMap::new())),
        with(|fields| fields[3] = Field::new("at", DataType::Timestamp(TimeUnit::Microsecond, None), true)),
        with(|fields| {
            fields[3] = Field::new(
                "at",
                DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into())),
                true,
            )
        }),
        with(|fields| fields[4] = Field::new("tags", DataType::new_list(DataType::Utf8, true), true)),
        with(|fields| fields.truncate(5)),
    ];
    for (i, a) in ids.iter().enumerate() {
        for (j, b) in ids.iter().enumerate().skip(i + 1) {
            assert_ne!(a, b, "variants {i} and {j}");
        }
    }
    let elsewhere = StreamSchema::new(StreamId::new("public.orders"), wide(), ["id"]).unwrap();
    assert_ne!(elsewhere.id(), ids[0]);
    assert_eq!(with(|_| {}), ids[0]);
}

#[test]
fn schema_id_does_not_depend_on_the_order_of_metadata() {
    let field = |pairs: &[(&str, &str)]| {
        let metadata = pairs.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
        vec![Field::new("a", DataType::Int64, false).with_metadata(metadata)]
    };
    let (a, b) = (field(&[("x", "1"), ("y", "2")]), field(&[("y", "2"), ("x", "1")]));
    assert_eq!(schema(a, &[]).id(), schema(b, &[]).id());
}

#[test]
fn schema_refuses_a_key_that_is_no_column() {
    let refused = StreamSchema::new(StreamId::new("t"), vec![Field::new("a", DataType::Int64, false)], ["b"]);
    assert_eq!(
        refused.unwrap_err().to_string(),
        "cannot build the schema of `t`: key column `b` does not exist"
    );
}

#[test]
fn schema_refuses_two_columns_of_one_name() {
    let a = || Field::new("a", DataType::Int64, false);
    let refused = StreamSchema::new(StreamId::new("t"), vec![a(), a()], [""; 0]);
    assert_eq!(
        refused.unwrap_err().to_string(),
        "cannot build the schema of `t`: column `a` appears twice"
    );
}

#[test]
fn key_keeps_its_own_column_order() {
    let schema = schema(wide(), &["ref", "id"]);
    assert_eq!(schema.key(), [1, 0]);
    assert_eq!(schema.key_names().collect::<Vec<_>>(), ["ref", "id"]);
}

#[test]
fn stream_name_is_read_as_people_write_it() {
    let parts = |text| {
        let id = StreamId::parse(text);
        (id.schema().map(str::to_owned), id.name().to_owned())
    };
    let in_schema = |schema: &str, name: &str| (Some(schema.to_owned()), name.to_owned());
    assert_eq!(parts("orders"), (None, "orders".to_owned()));
    assert_eq!(parts("public.orders"), in_schema("public", "orders"));
    assert_eq!(parts("a.b.c"), in_schema("a", "b.c"));
    assert_eq!(parts(r"a\.b"), (None, "a.b".to_owned()));
    assert_eq!(parts(r"a\\.b\\"), in_schema(r"a\", r"b\"));
    assert_eq!(parts(r"a\"), (None, "a".to_owned()));
    assert_eq!(StreamId::parse("public.orders").flat_name(), "public_orders");
    assert_eq!(StreamId::parse("orders").flat_name(), "orders");
}

proptest! {
    #[test]
    fn every_stream_name_is_read_back_from_its_text(schema in proptest::option::of(r"[a.\\é ]{0,5}"), name in r"[a.\\é ]{0,5}") {
        let id = match schema {
            Some(schema) => StreamId::in_schema(schema, name),
            None => StreamId::new(name),
        };
        prop_assert_eq!(StreamId::parse(&id.to_string()), id.clone());
        let json = serde_json::to_string(&id).unwrap();
        prop_assert_eq!(serde_json::from_str::<StreamId>(&json).unwrap(), id);
    }
}
