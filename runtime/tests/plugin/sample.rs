//! A table with a column of each type that SQL destinations have a place for.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, FixedSizeBinaryArray, Float32Array,
    Float64Array, Int8Array, Int16Array, Int32Array, Int64Array, ListArray, StringArray, TimestampMicrosecondArray,
    UInt8Array, UInt16Array, UInt32Array, UInt64Array,
};
use arrow::datatypes::{DataType, Int64Type};
use proto::plugin_v3::write::request::Message;
use proto::{Column, Table};

use crate::table::{column, insert, json, not_null, nulls, stamps, utc, uuid};

pub const ROWS: usize = 10;

/// `id`, a column for each type, and `name`, which is the key or is not.
pub fn table(name: &str, has_key: bool) -> Table {
    let mut columns = vec![
        not_null("id", DataType::Int64),
        not_null("name", DataType::Utf8).key(has_key),
    ];
    columns.extend(typed());
    crate::table::table(name, columns)
}

/// The same with the stamps of a sync in front.
pub fn stamped_table(name: &str) -> Table {
    let mut made = table(name, true);
    made.columns.splice(0..0, stamps());
    made
}

fn typed() -> Vec<Column> {
    vec![
        column("int8", DataType::Int8),
        column("int16", DataType::Int16),
        column("int32", DataType::Int32),
        column("int64", DataType::Int64),
        column("uint8", DataType::UInt8),
        column("uint16", DataType::UInt16),
        column("uint32", DataType::UInt32),
        column("uint64", DataType::UInt64),
        column("float32", DataType::Float32),
        column("float64", DataType::Float64),
        column("boolean", DataType::Boolean),
        column("string", DataType::Utf8),
        column("binary", DataType::Binary),
        column("decimal", DataType::Decimal128(19, 10)),
        column("date", DataType::Date32),
        column("timestamp", utc()),
        uuid("uuid"),
        json("json"),
        column("list", DataType::new_list(DataType::Int64, true)),
    ]
}

fn values(from: i64) -> Vec<ArrayRef> {
    let of = || from..from + ROWS as i64;
    let bytes: Vec<Vec<u8>> = of().map(|i| vec![0, 255, i as u8]).collect();
    let uuids: Vec<[u8; 16]> = of().map(|i| [i as u8; 16]).collect();
    let documents: Vec<String> = of().map(|i| format!("{{\"a\": [{i}, null]}}")).collect();
    let lists = of().map(|i| Some(vec![Some(i), None]));
    vec![
        Arc::new(Int8Array::from_iter_values(of().map(|i| -(i as i8)))),
        Arc::new(Int16Array::from_iter_values(of().map(|i| -(i as i16) * 256))),
        Arc::new(Int32Array::from_iter_values(of().map(|i| i as i32 * 70_000))),
        Arc::new(Int64Array::from_iter_values(of().map(|i| i64::MIN + i))),
        Arc::new(UInt8Array::from_iter_values(of().map(|i| 255 - i as u8))),
        Arc::new(UInt16Array::from_iter_values(of().map(|i| 65_535 - i as u16))),
        Arc::new(UInt32Array::from_iter_values(of().map(|i| u32::MAX - i as u32))),
        Arc::new(UInt64Array::from_iter_values(of().map(|i| i as u64 + 1))),
        Arc::new(Float32Array::from_iter_values(of().map(|i| i as f32 / 4.0))),
        Arc::new(Float64Array::from_iter_values(of().map(|i| i as f64 / 8.0))),
        Arc::new(BooleanArray::from_iter(of().map(|i| Some(i % 2 == 0)))),
        Arc::new(StringArray::from_iter_values(of().map(|i| format!("é'\"{i}")))),
        Arc::new(BinaryArray::from_iter_values(bytes)),
        Arc::new(
            Decimal128Array::from_iter_values(of().map(|i| i128::from(i) * 10_000_000_000 + 1))
                .with_precision_and_scale(19, 10)
                .unwrap(),
        ),
        Arc::new(Date32Array::from_iter_values(of().map(|i| 20_000 + i as i32))),
        Arc::new(
            TimestampMicrosecondArray::from_iter_values(of().map(|i| 1_700_000_000_000_000 + i)).with_timezone("UTC"),
        ),
        Arc::new(FixedSizeBinaryArray::try_from_iter(uuids.into_iter()).unwrap()),
        Arc::new(BinaryArray::from_iter_values(documents)),
        Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>(lists)),
    ]
}

fn keys(from: i64) -> Vec<ArrayRef> {
    let of = || from..from + ROWS as i64;
    vec![
        Arc::new(Int64Array::from_iter_values(of())),
        Arc::new(StringArray::from_iter_values(of().map(|i| format!("row {i}")))),
    ]
}

pub fn rows(table: &Table, from: i64) -> Message {
    insert(table, keys(from).into_iter().chain(values(from)).collect())
}

/// Rows with the same keys, and nulls elsewhere.
pub fn null_rows(table: &Table, from: i64) -> Message {
    let rest = table.columns[2..].iter().map(|column| nulls(column, ROWS));
    insert(table, keys(from).into_iter().chain(rest).collect())
}

pub fn stamped_rows(table: &Table, micros: i64, from: i64, are_null: bool) -> Message {
    let mut columns: Vec<ArrayRef> = vec![
        Arc::new(TimestampMicrosecondArray::from(vec![micros; ROWS]).with_timezone("UTC")),
        Arc::new(StringArray::from(vec!["source"; ROWS])),
    ];
    columns.extend(keys(from));
    columns.extend(match are_null {
        true => table.columns[4..].iter().map(|column| nulls(column, ROWS)).collect(),
        false => values(from),
    });
    insert(table, columns)
}

/// The rows as `Caller::read` shows them, in its order.
pub fn texts(table: &Table, from: i64) -> Vec<String> {
    let columns: Vec<ArrayRef> = keys(from).into_iter().chain(values(from)).collect();
    assert_eq!(columns.len(), table.columns.len());
    let cell = |column: &ArrayRef, row| api::conformance::text_of(column.as_ref(), row).unwrap_or_default();
    let mut rows: Vec<String> = (0..ROWS)
        .map(|row| {
            columns
                .iter()
                .map(|column| cell(column, row))
                .collect::<Vec<_>>()
                .join(",")
        })
        .collect();
    rows.sort();
    rows
}
