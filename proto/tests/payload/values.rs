//! Every type of the wire, through our vocabulary and back.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, Date64Array, Int32Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use model::{LogicalType, StreamId, StreamSchema};
use proto::{Column, ConvertError, Decoder, EncodeError, Encoder, Table, TableCodec};

use crate::sample;

/// What a plugin sends → our rows → what a plugin gets.
fn there_and_back(field: Field, values: ArrayRef) -> (RecordBatch, ArrayRef) {
    let (table, rows) = sample::table("t", vec![(field, values)]);
    let decoded = Decoder::default().record(&sample::payload(&table, &rows)).unwrap();
    let codec = TableCodec::of_table(Table::of_schema(&decoded.schema()).unwrap()).unwrap();
    let ours = codec.rows_from_wire(&decoded).unwrap();
    assert!(
        model::carries(ours.column(0).data_type()),
        "{}",
        ours.column(0).data_type()
    );
    let back = TableCodec::of_stream(codec.ours(), "t").unwrap();
    let sent = back.rows_to_wire(&ours).unwrap().remove(0);
    assert_eq!(sent.data_type(), back.wire().field(0).data_type());
    (ours, sent)
}

#[test]
fn every_type_comes_back_as_it_was_sent() {
    for (field, values) in sample::columns() {
        let (_, back) = there_and_back(field.clone(), Arc::clone(&values));
        assert_eq!(&back, &values, "{}", field.name());
    }
}

#[test]
fn field_metadata_of_the_plugin_survives_both_ways() {
    for (field, values) in sample::columns() {
        let (ours, _) = there_and_back(field.clone(), values);
        let schema = StreamSchema::new(StreamId::new("t"), vec![ours.schema().field(0).clone()], [""; 0]).unwrap();
        let back = TableCodec::of_stream(&Arc::new(schema), "t").unwrap();
        let back = &back.table().columns[0].field;
        assert_eq!(back.metadata(), field.metadata(), "{}", field.name());
        assert_eq!(back.data_type(), field.data_type(), "{}", field.name());
    }
}

#[test]
fn extension_types_become_ours() {
    let of = |name: &str| {
        let (field, values) = sample::columns()
            .into_iter()
            .find(|(field, _)| field.name() == name)
            .unwrap();
        there_and_back(field, values).0
    };
    let text = |name: &str| {
        let rows = of(name);
        let logical = LogicalType::of(rows.schema().field(0));
        let column = rows.column(0).as_string::<i32>().clone();
        (logical, column.value(0).to_owned(), column.is_null(1))
    };
    assert_eq!(
        text("the_json"),
        (Some(LogicalType::Json), r#"{"a": [1, null]}"#.to_owned(), true)
    );
    assert_eq!(
        text("the_inet"),
        (Some(LogicalType::Inet), "10.0.0.1/24".to_owned(), true)
    );
    assert_eq!(
        text("the_mac"),
        (Some(LogicalType::Mac), "00:1a:2b:ff:01:02".to_owned(), true)
    );
    let uuids = of("the_uuid");
    assert_eq!(LogicalType::of(uuids.schema().field(0)), Some(LogicalType::Uuid));
    assert_eq!(uuids.column(0).as_fixed_size_binary().value(0), [0x11; 16]);
    // Inside a list, too.
    let list = of("uuid_list");
    let DataType::List(item) = list.schema().field(0).data_type().clone() else {
        panic!("no list")
    };
    assert_eq!(LogicalType::of(&item), Some(LogicalType::Uuid));
}

/// Our values of one type, as a plugin gets them.
fn sent(field: Field, values: ArrayRef) -> Result<ArrayRef, ConvertError> {
    let rows = RecordBatch::try_new(Arc::new(Schema::new(vec![field.clone()])), vec![values]).unwrap();
    let schema = StreamSchema::new(StreamId::new("t"), vec![field], [""; 0]).unwrap();
    Ok(TableCodec::of_stream(&Arc::new(schema), "t")?
        .rows_to_wire(&rows)?
        .remove(0))
}

fn text(logical: LogicalType, value: &str) -> Result<ArrayRef, ConvertError> {
    let field = logical.mark(Field::new("c", DataType::Utf8, true));
    sent(field, Arc::new(StringArray::from(vec![None, Some(value)])))
}

#[test]
fn an_address_without_prefix_is_one_host() {
    for (ours, theirs) in [
        ("10.0.0.1", "10.0.0.1/32"),
        ("10.0.0.0/8", "10.0.0.0/8"),
        ("::1", "::1/128"),
    ] {
        let sent = text(LogicalType::Inet, ours).unwrap();
        assert_eq!(sent.as_binary::<i32>().value(1), theirs.as_bytes());
    }
}

#[test]
fn a_uuid_in_text_form_goes_out_as_bytes() {
    let sent = text(LogicalType::Uuid, "00112233-4455-6677-8899-aabbccddeeff").unwrap();
    assert_eq!(sent.as_fixed_size_binary().value(1)[..4], [0, 0x11, 0x22, 0x33]);
    assert!(sent.is_null(0));
}

#[test]
fn a_value_that_the_plugin_cannot_hold_names_column_and_row() {
    let cases = [
        (LogicalType::Uuid, "00112233", "it is no UUID"),
        (LogicalType::Inet, "10.0.0.1/33", "its prefix length is out of range"),
        (LogicalType::Inet, "localhost", "it is no IP address"),
        (LogicalType::Mac, "0:1:2", "it is no hardware address"),
    ];
    for (logical, value, what) in cases {
        let error = text(logical, value).unwrap_err().to_string();
        assert_eq!(error, format!("cannot carry column `c`, row 1: {what}"));
    }
}

#[test]
fn a_time_finer_than_the_plugins_type_is_refused() {
    let field = Field::new("c", DataType::Time64(arrow::datatypes::TimeUnit::Microsecond), true)
        .with_metadata([(proto::STORAGE.to_owned(), "time32 s".to_owned())].into());
    let values = |micros: i64| Arc::new(arrow::array::Time64MicrosecondArray::from(vec![micros])) as ArrayRef;
    assert!(sent(field.clone(), values(2_000_000)).is_ok());
    let error = sent(field, values(2_000_001)).unwrap_err().to_string();
    assert_eq!(
        error,
        "cannot carry column `c`, row 0: it is finer than the plugin's type"
    );
}

fn received(field: Field, values: ArrayRef) -> Result<RecordBatch, ConvertError> {
    let (table, rows) = sample::table("t", vec![(field, values)]);
    TableCodec::of_table(table)?.rows_from_wire(&rows)
}

#[test]
fn a_value_that_we_cannot_hold_names_column_and_row() {
    let json = sample::extension(Field::new("c", DataType::Binary, true), "json");
    let error = received(json, Arc::new(BinaryArray::from(vec![&b"{}"[..], b"\xff"]))).unwrap_err();
    assert_eq!(error.to_string(), "cannot carry column `c`, row 1: it is not UTF-8");
    let date = Field::new("c", DataType::Date64, true);
    let error = received(date, Arc::new(Date64Array::from(vec![0, 1]))).unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot carry column `c`, row 1: it is not a whole day"
    );
}

#[test]
fn an_extension_over_the_wrong_storage_is_refused() {
    let field = sample::extension(Field::new("c", DataType::Utf8, true), "uuid");
    let error = received(field, Arc::new(StringArray::from(vec!["a"]))).unwrap_err();
    assert_eq!(error.to_string(), "cannot carry column `c`: uuid is stored as Utf8");
}

#[test]
fn a_missing_value_in_a_column_that_has_none_is_refused() {
    let field = Field::new("c", DataType::Int32, false);
    let (table, _) = sample::table("t", vec![(field, Arc::new(Int32Array::from(vec![1])))]);
    let sent = Schema::new(vec![Field::new("c", DataType::Int32, true)]);
    let sent = RecordBatch::try_new(Arc::new(sent), vec![Arc::new(Int32Array::from(vec![Some(1), None]))]).unwrap();
    let error = TableCodec::of_table(table).unwrap().rows_from_wire(&sent).unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot carry column `c`, row 1: there is no value, and the column says that it has one"
    );
}

#[test]
fn columns_are_found_by_name_and_left_out_ones_are_null() {
    let numbers = |numbers: Vec<i32>| Arc::new(Int32Array::from(numbers)) as ArrayRef;
    let field = |name: &str| Field::new(name, DataType::Int32, true);
    let (mut table, _) = sample::table("t", vec![(field("a"), numbers(vec![])), (field("b"), numbers(vec![]))]);
    table.columns.push(Column::new(field("c")));
    let codec = TableCodec::of_table(table).unwrap();
    let (_, rows) = sample::table(
        "t",
        vec![(field("c"), numbers(vec![3])), (field("a"), numbers(vec![1]))],
    );
    let ours = codec.rows_from_wire(&rows).unwrap();
    let cell = |column: usize| {
        ours.column(column)
            .as_primitive::<arrow::datatypes::Int32Type>()
            .iter()
            .next()
            .unwrap()
    };
    assert_eq!([cell(0), cell(1), cell(2)], [Some(1), None, Some(3)]);

    let (_, rows) = sample::table("t", vec![(field("d"), numbers(vec![3]))]);
    let error = codec.rows_from_wire(&rows).unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot carry rows of `t`: column `d` is not in the table"
    );
}

#[test]
fn records_are_split_below_the_limit_in_row_order() {
    let texts: Vec<String> = (0..1_000).map(|row| format!("{row:0100}")).collect();
    let field = Field::new("text", DataType::Utf8, false);
    let (table, rows) = sample::table("t", vec![(field, Arc::new(StringArray::from(texts.clone())))]);
    let mut encoder = Encoder::new(Arc::new(table.to_schema())).unwrap();
    let records = encoder.encode_split(&rows, 20_000).unwrap();
    assert!(records.len() > 5 && records.iter().all(|record| record.len() <= 20_000));
    let mut decoder = Decoder::default();
    let back: Vec<String> = records
        .iter()
        .flat_map(|record| {
            let rows = decoder.record(record).unwrap();
            let texts: Vec<String> = rows
                .column(0)
                .as_string::<i32>()
                .iter()
                .flatten()
                .map(str::to_owned)
                .collect();
            texts
        })
        .collect();
    assert_eq!(back, texts);

    let error = encoder.encode_split(&rows, 500).unwrap_err();
    assert!(
        matches!(error, EncodeError::RowTooLong { bytes_max: 500, .. }),
        "{error}"
    );
}
