//! Tables and rows as a caller makes them.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, new_null_array};
use arrow::datatypes::{DataType, Field, TimeUnit};
use bytes::Bytes;
use proto::plugin_v3::predicates_group::GroupingType;
use proto::plugin_v3::write::request::Message;
use proto::plugin_v3::{Predicate, PredicatesGroup, write};
use proto::{Column, Encoder, Table, encode_schema};

pub fn table(name: &str, columns: Vec<Column>) -> Table {
    let mut table = Table::named(name);
    table.columns = columns;
    table
}

/// A column that may be null.
pub fn column(name: &str, data_type: DataType) -> Column {
    Column::new(Field::new(name, data_type, true))
}

pub fn not_null(name: &str, data_type: DataType) -> Column {
    Column::new(Field::new(name, data_type, false))
}

fn extension(name: &str, extension: &str, storage: DataType) -> Column {
    let metadata = [
        ("ARROW:extension:name".to_owned(), extension.to_owned()),
        ("ARROW:extension:metadata".to_owned(), format!("{extension}-serialized")),
    ];
    Column::new(Field::new(name, storage, true).with_metadata(metadata.into()))
}

pub fn uuid(name: &str) -> Column {
    extension(name, "uuid", DataType::FixedSizeBinary(16))
}

pub fn json(name: &str) -> Column {
    extension(name, "json", DataType::Binary)
}

pub fn utc() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

/// The two columns that the caller's runtime puts in front.
pub fn stamps() -> Vec<Column> {
    vec![
        column("_cq_sync_time", utc()),
        column("_cq_source_name", DataType::Utf8),
    ]
}

pub fn migrate(table: &Table) -> Message {
    Message::MigrateTable(write::MessageMigrateTable {
        table: encode_schema(&table.to_schema()).unwrap(),
        migrate_force: false,
    })
}

pub fn record(table: &Table, columns: Vec<ArrayRef>) -> Bytes {
    let schema = Arc::new(table.to_schema());
    let rows = RecordBatch::try_new(Arc::clone(&schema), columns).unwrap();
    Encoder::new(schema).unwrap().encode(&rows).unwrap()
}

pub fn insert(table: &Table, columns: Vec<ArrayRef>) -> Message {
    Message::Insert(write::MessageInsert {
        record: record(table, columns),
    })
}

/// Nulls of a column.
pub fn nulls(column: &Column, count: usize) -> ArrayRef {
    new_null_array(column.field.data_type(), count)
}

pub fn delete_stale(table: &str, source: &str, micros: i64) -> Message {
    Message::Delete(write::MessageDeleteStale {
        source_name: source.to_owned(),
        sync_time: Some(prost_types::Timestamp {
            seconds: micros.div_euclid(1_000_000),
            nanos: (micros.rem_euclid(1_000_000) * 1000) as i32,
        }),
        table_name: table.to_owned(),
        ..write::MessageDeleteStale::default()
    })
}

pub fn equals(name: &str, value: ArrayRef) -> Predicate {
    let one = table("value", vec![column("value", value.data_type().clone())]);
    Predicate {
        operator: 0,
        column: name.to_owned(),
        record: record(&one, vec![value]),
    }
}

pub fn delete_record(table: &str, groups: Vec<(GroupingType, Vec<Predicate>)>) -> Message {
    let group = |(grouping_type, predicates): (GroupingType, Vec<Predicate>)| PredicatesGroup {
        grouping_type: grouping_type.into(),
        predicates,
    };
    Message::DeleteRecord(write::MessageDeleteRecord {
        table_name: table.to_owned(),
        where_clause: groups.into_iter().map(group).collect(),
        table_relations: Vec::new(),
    })
}
