//! Transformers, served.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, StringArray};
use arrow::datatypes::DataType;
use proto::plugin_v3::{transform, transform_schema};
use proto::{Decoder, Table, encode_schema};
use serde_json::json;

use crate::caller::Caller;
use crate::process::Process;
use crate::table::{column, not_null, record, table};

fn cities() -> Table {
    let mut columns = vec![
        not_null("id", DataType::Int64).key(true),
        column("city", DataType::Utf8),
        column("mayor", DataType::Utf8),
    ];
    columns[1].is_unique = true;
    let mut table = table("cities", columns);
    table.description = "places".to_owned();
    table.sensitive_columns = vec!["mayor".to_owned()];
    table
}

async fn behind(caller: &Caller, table: &Table) -> Table {
    let schema = encode_schema(&table.to_schema()).unwrap();
    let response = caller
        .0
        .clone()
        .transform_schema(transform_schema::Request { schema })
        .await
        .unwrap();
    let schema = Decoder::default().schema(&response.into_inner().schema).unwrap();
    Table::of_schema(&schema).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tables_and_records_go_through_the_same_mapping() {
    let process = Process::start("highwater-transformer-basic");
    let caller = Caller::dial(&process.socket()).await;
    let spec = json!({"transformations": [
        {"kind": "obfuscate_sensitive_columns", "include_sha": false},
        {"kind": "rename_column", "tables": ["cities"], "name": "city", "value": "name"},
        {"kind": "drop_rows", "columns": ["name"], "value": "Oslo"},
        {"kind": "change_table_names", "new_table_name_template": "raw_{{.OldName}}"},
    ]});
    caller.init(&spec).await.unwrap();
    let table = behind(&caller, &cities()).await;
    assert_eq!(
        (table.name.as_str(), table.description.as_str()),
        ("raw_cities", "places")
    );
    let columns: Vec<_> = table
        .columns
        .iter()
        .map(|column| (column.field.name().as_str(), column.is_key, column.is_unique))
        .collect();
    assert_eq!(
        columns,
        [("id", true, false), ("name", false, true), ("mayor", false, false)]
    );
    assert_eq!(table.sensitive_columns, ["mayor"]);

    // Many records before any is read, and a half-close: everything comes out.
    let records = (0..200).map(|id: i64| {
        let columns: Vec<ArrayRef> = vec![
            Arc::new(Int64Array::from(vec![id, id + 1000])),
            Arc::new(StringArray::from(vec!["Rome", "Oslo"])),
            Arc::new(StringArray::from(vec![Some("Ada"), None])),
        ];
        transform::Request {
            record: record(&cities(), columns),
        }
    });
    let records: Vec<_> = records.collect();
    let mut answers = caller
        .0
        .clone()
        .transform(tokio_stream::iter(records))
        .await
        .unwrap()
        .into_inner();
    let (mut decoder, mut ids) = (Decoder::default(), Vec::new());
    while let Some(answer) = answers.message().await.unwrap() {
        let rows = decoder.record(&answer.record).unwrap();
        assert_eq!(Table::of_schema(rows.schema_ref()).unwrap(), table);
        let texts = |at| {
            arrow::array::AsArray::as_string::<i32>(rows.column(at))
                .iter()
                .collect::<Vec<_>>()
        };
        assert_eq!(
            (texts(1), texts(2)),
            (vec![Some("Rome")], vec![Some("Redacted by CloudQuery")])
        );
        ids.push(arrow::array::AsArray::as_primitive::<arrow::datatypes::Int64Type>(rows.column(0)).value(0));
    }
    assert_eq!(ids, (0..200).collect::<Vec<_>>());

    // The schema by which a caller asks for the name of a table of which it deletes rows.
    let dummy = table_of_dummy();
    assert_eq!(behind(&caller, &dummy).await.name, "raw_cities");
}

fn table_of_dummy() -> Table {
    table("cities", vec![column("_dummy", DataType::Utf8)])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn errors_name_the_table_and_end_the_stream_only() {
    let process = Process::start("highwater-transformer-basic");
    let caller = Caller::dial(&process.socket()).await;
    let spec = json!({"transformations": [{"kind": "remove_columns", "tables": ["cities"], "columns": ["nothing"]}]});
    caller.init(&spec).await.unwrap();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from(vec![1])),
        Arc::new(StringArray::from(vec!["Rome"])),
        Arc::new(StringArray::from(vec!["Ada"])),
    ];
    let request = transform::Request {
        record: record(&cities(), columns),
    };
    let mut answers = caller
        .0
        .clone()
        .transform(tokio_stream::iter(vec![request]))
        .await
        .unwrap()
        .into_inner();
    let error = answers.message().await.unwrap_err();
    assert!(
        error
            .message()
            .starts_with("record 1: failed to transform records of `cities`:")
            && error.message().contains("`nothing`"),
        "{error}"
    );
    caller.init(&json!({"transformations": []})).await.unwrap();
    assert_eq!(behind(&caller, &cities()).await, cities());
    let refused = caller
        .init(&json!({"transformations": [{"kind": "explode"}]}))
        .await
        .unwrap_err();
    assert!(refused.message().contains("explode"), "{refused}");
}
