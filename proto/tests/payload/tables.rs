//! What a schema says of its table.

use std::collections::HashMap;

use arrow::datatypes::{DataType, Field, Schema};
use proto::{Column, Decoder, Table, TableError, encode_schema};

fn full() -> Table {
    Table {
        name: "aws_s3_buckets".to_owned(),
        title: "Buckets".to_owned(),
        description: "Of S3".to_owned(),
        constraint_name: "buckets_pk".to_owned(),
        is_incremental: true,
        parent: Some("aws_accounts".to_owned()),
        is_paid: true,
        permissions_needed: vec!["s3:List".to_owned()],
        sensitive_columns: vec!["policy".to_owned()],
        columns: vec![
            Column {
                is_unique: true,
                is_incremental: true,
                is_key_component: true,
                type_schema: r#"{"a":"utf8"}"#.to_owned(),
                ..Column::new(Field::new("arn", DataType::Utf8, false)).key(true)
            },
            Column::new(Field::new("policy", DataType::Utf8, true)),
        ],
    }
}

#[test]
fn every_key_survives_a_payload() {
    for table in [
        full(),
        Table {
            columns: full().columns,
            ..Table::named("plain")
        },
    ] {
        let payload = encode_schema(&table.to_schema()).unwrap();
        let schema = Decoder::default().schema(&payload).unwrap();
        assert_eq!(Table::of_schema(&schema).unwrap(), table);
    }
}

#[test]
fn keys_are_spelt_as_the_go_sdk_spells_them() {
    let schema = full().to_schema();
    let of = |metadata: &HashMap<String, String>| {
        let mut lines: Vec<String> = metadata.iter().map(|(key, value)| format!("{key}={value}")).collect();
        lines.sort();
        lines
    };
    assert_eq!(
        of(schema.metadata()),
        [
            "cq:extension:constraint_name=buckets_pk",
            "cq:extension:incremental=true",
            "cq:table_depends_on=aws_accounts",
            "cq:table_description=Of S3",
            "cq:table_name=aws_s3_buckets",
            "cq:table_paid=true",
            r#"cq:table_permissions_needed=["s3:List"]"#,
            r#"cq:table_sensitive_columns=["policy"]"#,
            "cq:table_title=Buckets",
        ]
    );
    assert_eq!(
        of(schema.field(0).metadata()),
        [
            "cq:extension:incremental=true",
            "cq:extension:primary_key=true",
            "cq:extension:primary_key_component=true",
            r#"cq:extension:type_schema={"a":"utf8"}"#,
            "cq:extension:unique=true",
        ]
    );
}

#[test]
fn missing_and_odd_values_are_read_as_nothing() {
    let metadata = [
        ("cq:table_name", "t"),
        // As Python writes them.
        ("cq:extension:incremental", "false"),
        ("cq:table_depends_on", ""),
        ("cq:table_permissions_needed", "null"),
        ("cq:table_sensitive_columns", "{]"),
    ];
    let metadata = metadata.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
    let field = Field::new("a", DataType::Utf8, true);
    let table = Table::of_schema(&Schema::new_with_metadata(vec![field.clone()], metadata)).unwrap();
    assert_eq!(
        table,
        Table {
            columns: vec![Column::new(field)],
            ..Table::named("t")
        }
    );
}

#[test]
fn a_schema_without_a_table_name_is_no_table() {
    let error = Table::of_schema(&Schema::empty()).unwrap_err();
    assert_eq!(error, TableError::NoName);
}

#[test]
fn names_that_no_destination_could_take_are_refused() {
    for (table, column) in [("", "a"), ("t", ""), ("t", "a\0b"), ("t", &"x".repeat(1_025))] {
        let table = Table {
            columns: vec![Column::new(Field::new(column, DataType::Utf8, true))],
            ..Table::named(table)
        };
        let error = Table::of_schema(&table.to_schema()).unwrap_err();
        assert!(matches!(error, TableError::Name { .. }), "{error}");
    }
}
