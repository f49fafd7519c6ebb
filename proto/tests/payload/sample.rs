//! Records as a plugin sends them.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Date32Array, Date64Array, Decimal128Array, Decimal256Array,
    DurationSecondArray, FixedSizeBinaryArray, FixedSizeListArray, Float32Array, Float64Array, Int8Array, Int16Array,
    Int32Array, Int64Array, IntervalMonthDayNanoArray, LargeBinaryArray, LargeStringArray, ListArray, MapBuilder,
    RecordBatch, StringArray, StringBuilder, StructArray, Time32MillisecondArray, Time32SecondArray,
    Time64MicrosecondArray, Time64NanosecondArray, TimestampMicrosecondArray, TimestampSecondArray, UInt8Array,
    UInt16Array, UInt32Array, UInt64Array,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, Int32Type, IntervalMonthDayNano, Schema, i256};
use proto::{Column, Encoder, Table};

pub fn extension(field: Field, name: &str) -> Field {
    let mut metadata = field.metadata().clone();
    metadata.insert("ARROW:extension:name".to_owned(), name.to_owned());
    metadata.insert("ARROW:extension:metadata".to_owned(), format!("{name}-serialized"));
    field.with_metadata(metadata)
}

fn uuids() -> ArrayRef {
    let values = [Some([0x11; 16]), None, Some([0xfe; 16])];
    Arc::new(FixedSizeBinaryArray::try_from_sparse_iter_with_size(values.into_iter(), 16).unwrap())
}

fn bytes(values: [Option<&[u8]>; 3]) -> ArrayRef {
    Arc::new(BinaryArray::from(values.to_vec()))
}

/// Columns of three rows: every type that plugins exchange, the last row full, the second one null.
pub fn columns() -> Vec<(Field, ArrayRef)> {
    let plain: Vec<(&str, ArrayRef)> = vec![
        ("int8", Arc::new(Int8Array::from(vec![Some(i8::MIN), None, Some(1)]))),
        ("int16", Arc::new(Int16Array::from(vec![Some(i16::MIN), None, Some(1)]))),
        ("int32", Arc::new(Int32Array::from(vec![Some(i32::MIN), None, Some(1)]))),
        ("int64", Arc::new(Int64Array::from(vec![Some(i64::MIN), None, Some(1)]))),
        ("uint8", Arc::new(UInt8Array::from(vec![Some(u8::MAX), None, Some(1)]))),
        (
            "uint16",
            Arc::new(UInt16Array::from(vec![Some(u16::MAX), None, Some(1)])),
        ),
        (
            "uint32",
            Arc::new(UInt32Array::from(vec![Some(u32::MAX), None, Some(1)])),
        ),
        (
            "uint64",
            Arc::new(UInt64Array::from(vec![Some(u64::MAX), None, Some(1)])),
        ),
        (
            "float32",
            Arc::new(Float32Array::from(vec![Some(0.1), None, Some(-1.5)])),
        ),
        (
            "float64",
            Arc::new(Float64Array::from(vec![Some(0.1), None, Some(-1.5)])),
        ),
        (
            "boolean",
            Arc::new(BooleanArray::from(vec![Some(true), None, Some(false)])),
        ),
        ("text", Arc::new(StringArray::from(vec![Some("ü 漢"), None, Some("")]))),
        (
            "large_text",
            Arc::new(LargeStringArray::from(vec![Some("a"), None, Some("b")])),
        ),
        ("binary", bytes([Some(b"\0\xff"), None, Some(b"")])),
        (
            "large_binary",
            Arc::new(LargeBinaryArray::from(vec![Some(&b"\0"[..]), None, Some(b"x")])),
        ),
        (
            "date32",
            Arc::new(Date32Array::from(vec![Some(-1), None, Some(20_000)])),
        ),
        (
            "date64",
            Arc::new(Date64Array::from(vec![Some(-86_400_000), None, Some(0)])),
        ),
        (
            "time32_s",
            Arc::new(Time32SecondArray::from(vec![Some(1), None, Some(86_399)])),
        ),
        (
            "time32_ms",
            Arc::new(Time32MillisecondArray::from(vec![Some(1), None, Some(2)])),
        ),
        (
            "time64_us",
            Arc::new(Time64MicrosecondArray::from(vec![Some(1), None, Some(2)])),
        ),
        (
            "time64_ns",
            Arc::new(Time64NanosecondArray::from(vec![Some(1), None, Some(2)])),
        ),
        (
            "timestamp_s",
            Arc::new(TimestampSecondArray::from(vec![Some(-1), None, Some(2)])),
        ),
        (
            "timestamp_us_utc",
            Arc::new(TimestampMicrosecondArray::from(vec![Some(-1), None, Some(2)]).with_timezone("UTC")),
        ),
        (
            "duration_s",
            Arc::new(DurationSecondArray::from(vec![Some(-1), None, Some(2)])),
        ),
        (
            "interval",
            Arc::new(IntervalMonthDayNanoArray::from(vec![
                Some(IntervalMonthDayNano::new(1, -2, 3)),
                None,
                Some(IntervalMonthDayNano::new(0, 0, 0)),
            ])),
        ),
        (
            "decimal128",
            Arc::new(
                Decimal128Array::from(vec![Some(-12_345), None, Some(1)])
                    .with_precision_and_scale(19, 10)
                    .unwrap(),
            ),
        ),
        (
            "decimal256",
            Arc::new(
                Decimal256Array::from(vec![Some(i256::from_i128(-5)), None, Some(i256::ONE)])
                    .with_precision_and_scale(60, 3)
                    .unwrap(),
            ),
        ),
    ];
    let mut columns: Vec<(Field, ArrayRef)> = plain
        .into_iter()
        .map(|(name, values)| (Field::new(name, values.data_type().clone(), true), values))
        .collect();
    columns.extend(extensions());
    columns.extend(nested());
    columns
}

fn extensions() -> Vec<(Field, ArrayRef)> {
    let of = |name: &str, values: ArrayRef| {
        let field = Field::new(format!("the_{name}"), values.data_type().clone(), true);
        (extension(field, name), values)
    };
    vec![
        of("uuid", uuids()),
        of("json", bytes([Some(br#"{"a": [1, null]}"#), None, Some(b"null")])),
        of("inet", bytes([Some(b"10.0.0.1/24"), None, Some(b"2001:db8::1/128")])),
        of("mac", bytes([Some(&[0, 0x1a, 0x2b, 0xff, 1, 2]), None, Some(&[9; 6])])),
        // A name that nobody knows: storage and metadata pass.
        of("unheard_of", bytes([Some(b"x"), None, Some(b"")])),
    ]
}

fn nested() -> Vec<(Field, ArrayRef)> {
    let numbers =
        ListArray::from_iter_primitive::<Int32Type, _, _>(vec![Some(vec![Some(1), None]), None, Some(vec![])]);
    let item = Arc::new(extension(
        Field::new("item", DataType::FixedSizeBinary(16), true),
        "uuid",
    ));
    let uuid_list = ListArray::try_new(
        Arc::clone(&item),
        OffsetBuffer::from_lengths([2, 0, 1]),
        uuids(),
        Some(vec![true, false, true].into()),
    )
    .unwrap();
    let pair = Arc::new(Field::new("item", DataType::Float32, true));
    let pairs = FixedSizeListArray::try_new(
        pair,
        2,
        Arc::new(Float32Array::from(vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0])),
        Some(vec![true, false, true].into()),
    )
    .unwrap();
    let json = extension(Field::new("json", DataType::Binary, true), "json");
    let person = StructArray::try_new(
        vec![Field::new("name", DataType::Utf8, true), json].into(),
        vec![
            Arc::new(StringArray::from(vec![Some("Ada"), None, Some("")])),
            bytes([Some(b"{}"), None, Some(b"1")]),
        ],
        Some(vec![true, false, true].into()),
    )
    .unwrap();
    let mut map = MapBuilder::new(None, StringBuilder::new(), StringBuilder::new());
    map.keys().append_value("k");
    map.values().append_value("v");
    map.append(true).unwrap();
    map.append(false).unwrap();
    map.append(true).unwrap();
    let map = map.finish();
    let arrays: Vec<(&str, ArrayRef)> = vec![
        ("list", Arc::new(numbers)),
        ("uuid_list", Arc::new(uuid_list)),
        ("pairs", Arc::new(pairs)),
        ("person", Arc::new(person)),
        ("map", Arc::new(map)),
    ];
    arrays
        .into_iter()
        .map(|(name, values)| (Field::new(name, values.data_type().clone(), true), values))
        .collect()
}

/// A table of these columns, and its rows.
pub fn table(name: &str, columns: Vec<(Field, ArrayRef)>) -> (Table, RecordBatch) {
    let mut table = Table::named(name);
    table.columns = columns.iter().map(|(field, _)| Column::new(field.clone())).collect();
    let schema = Schema::new(columns.iter().map(|(field, _)| field.clone()).collect::<Vec<_>>());
    let arrays = columns.into_iter().map(|(_, values)| values).collect();
    (table, RecordBatch::try_new(Arc::new(schema), arrays).unwrap())
}

pub fn payload(table: &Table, rows: &RecordBatch) -> bytes::Bytes {
    Encoder::new(Arc::new(table.to_schema())).unwrap().encode(rows).unwrap()
}
