//! What does not fit is refused, on both sides, and nothing is changed in silence.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, AsArray, Date32Array, Decimal128Array, Float64Array, Int64Array, RecordBatch, StringArray,
    TimestampNanosecondArray,
};
use arrow::datatypes::{Field, Int32Type, Schema};
use highwater_plugin_postgres::copy::{CopyDecoder, CopyError};
use highwater_plugin_postgres::types::{Column, ColumnDecoder, Override, PgType, Scalar, field};

use crate::server::{Database, database};

/// Reads the one value of a table in both forms; both must refuse it for the same reason.
async fn refusal(database: &Database, number: usize, declared: &str, value: &str) -> String {
    let table = format!("refused{number}");
    database
        .execute(&format!(
            "CREATE TABLE {table} (id serial, v {declared}); INSERT INTO {table} (v) VALUES ({value})"
        ))
        .await;
    let column = database.column(&table).await;
    let typed = field(&column, None).unwrap();
    let error = database.read_binary(&table, &column, &typed).await.expect_err(value);
    let CopyError::Misfit {
        misfit,
        key,
        column: name,
    } = error
    else {
        panic!("{value}: {error}")
    };
    assert_eq!((key.as_str(), name.as_str()), ("number 1 of this read", "v"));
    let row = database
        .client
        .simple_query(&format!("SELECT v FROM {table}"))
        .await
        .unwrap();
    let text = row.iter().find_map(|message| match message {
        tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
        _ => None,
    });
    let from_text = ColumnDecoder::new(&column, &typed)
        .unwrap()
        .append_text(text.unwrap().as_bytes());
    assert_eq!(from_text, Err(misfit.clone()), "{declared} {value}");
    // As text it travels.
    let as_text = field(&column, Some(Override::Text)).unwrap();
    database.read_binary(&table, &column, &as_text).await.unwrap();
    format!("{declared} {value}: {misfit}")
}

#[tokio::test]
async fn values_that_arrow_cannot_hold_are_refused_in_both_forms_and_travel_as_text() {
    let Some(database) = database("").await else { return };
    let mut refusals = Vec::new();
    for (number, (declared, value)) in [
        ("date", "'infinity'"),
        ("date", "'-infinity'"),
        ("timestamp", "'infinity'"),
        ("timestamptz", "'-infinity'"),
        ("timestamp", "'294276-12-31 23:59:59.999999'"),
        ("numeric(10,2)", "'NaN'"),
        ("numeric(60,2)", "'NaN'"),
        ("interval", "'2562047788:00:00'"),
        ("int[]", "'{{1,2},{3,4}}'"),
        ("int[]", "'[0:1]={1,2}'"),
    ]
    .into_iter()
    .enumerate()
    {
        refusals.push(refusal(&database, number, declared, value).await);
    }
    insta::assert_snapshot!(refusals.join("\n"));
}

#[tokio::test]
async fn arrays_of_two_dimensions_are_nested_lists_where_an_override_says_so() {
    let Some(database) = database("").await else { return };
    database
        .execute("CREATE TABLE a (id serial, v int[]); CREATE TABLE b (id serial, v int[]); INSERT INTO a (v) VALUES ('{{1,2},{3,NULL}}'), ('{}'), (NULL), ('{{5},{6},{7}}')")
        .await;
    let column = database.column("a").await;
    let nested = field(&column, Some(Override::Array(2))).unwrap();
    let binary = database.read_binary("a", &column, &nested).await.unwrap();
    assert_eq!(binary, database.read_text("a", &column, &nested).await);
    let first = binary.column(0).as_list::<i32>().value(0);
    let second = first.as_list::<i32>().value(1);
    assert_eq!(second.as_primitive::<Int32Type>().value(0), 3);
    database.write("b", &binary).await.unwrap();
    assert_eq!(database.differences("a", "b").await, Vec::<String>::new());
}

#[tokio::test]
async fn values_that_a_column_would_round_cut_or_refuse_are_misfits() {
    let Some(database) = database("CREATE TYPE mood AS ENUM ('sad')").await else {
        return;
    };
    let text = |value: &str| -> ArrayRef { Arc::new(StringArray::from(vec![value])) };
    let decimal = |value, scale| -> ArrayRef {
        Arc::new(
            Decimal128Array::from(vec![value])
                .with_precision_and_scale(38, scale)
                .unwrap(),
        )
    };
    let mut refusals = Vec::new();
    for (number, (declared, array)) in [
        ("smallint", Arc::new(Int64Array::from(vec![32_768])) as ArrayRef),
        ("real", Arc::new(Float64Array::from(vec![0.1]))),
        ("double precision", Arc::new(Int64Array::from(vec![(1 << 53) + 1]))),
        ("numeric(5,2)", decimal(1_005, 3)),
        ("numeric(5,2)", decimal(100_000, 2)),
        ("varchar(3)", text("four")),
        ("text", text("a\0b")),
        ("jsonb", text("\"\\u0000\"")),
        ("mood", text("happy")),
        ("time(0)", text("12:00:00.5")),
        ("timestamp(3)", text("2024-01-01 00:00:00.0001")),
        ("timestamp", Arc::new(TimestampNanosecondArray::from(vec![1]))),
        ("date", Arc::new(Date32Array::from(vec![i32::MAX]))),
        ("interval day", text("PT1S")),
        ("cidr", text("10.0.0.1/8")),
        ("tsquery", text("")),
        ("uuid", text("no uuid")),
    ]
    .into_iter()
    .enumerate()
    {
        let table = format!("target{number}");
        database
            .execute(&format!("CREATE TABLE {table} (id serial, v {declared})"))
            .await;
        let field = Field::new("v", array.data_type().clone(), true);
        let batch = RecordBatch::try_new(Arc::new(Schema::new(vec![field])), vec![array]).unwrap();
        let refusal = database.write(&table, &batch).await.expect_err(declared);
        assert!(refusal.starts_with("CopyMisfit"), "{declared}: {refusal}");
        refusals.push(format!("{declared}: {refusal}"));
    }
    insta::assert_snapshot!(refusals.join("\n"));
}

fn one_column() -> CopyDecoder {
    let column = Column {
        name: "v".to_owned(),
        ty: PgType::scalar(Scalar::Int4),
        typmod: -1,
        nullable: false,
    };
    let schema = Arc::new(Schema::new(vec![field(&column, None).unwrap()]));
    CopyDecoder::new(&[column], schema, &[0]).unwrap()
}

#[test]
fn bytes_that_are_no_copy_are_refused() {
    let header = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
    let with = |tail: &[u8]| [header.as_slice(), tail].concat();
    for (bytes, expected) in [
        (b"PGCOPX".to_vec(), "signature"),
        (with(b"\0\x02"), "a row of 2 columns, expected 1"),
        (with(b"\0\x01\x80\0\0\0"), "impossible length"),
        (with(b"\0\x01\xff\xff\xff\xff"), "a NULL where none may be"),
        (with(b"\0\x01\0\0\0\x02\0\0"), "unknown form"),
        (with(b"\xff\xff\0"), "bytes after the end"),
    ] {
        let error = one_column().push(bytes.into()).expect_err(expected).to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn a_copy_is_read_in_pieces_of_one_byte() {
    let bytes = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0\0\x01\0\0\0\x04\0\0\0\x07\xff\xff";
    let mut decoder = one_column();
    for byte in bytes {
        assert!(!decoder.is_ended());
        decoder.push(vec![*byte].into()).unwrap();
    }
    assert!(decoder.is_ended());
    let batch = decoder.finish_batch().unwrap();
    assert_eq!(batch.column(0).as_primitive::<Int32Type>().values(), &[7]);
}
