//! Equal values have equal hashes whatever their type, and different ones have not.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, Decimal128Array, Decimal256Array, FixedSizeBinaryArray, Float32Array, Float64Array,
    Int16Array, Int32Array, Int64Array, LargeStringArray, ListArray, RecordBatch, StringArray, StructArray,
    TimestampMicrosecondArray, TimestampSecondArray, UInt64Array,
};
use arrow::datatypes::{DataType, Field, Int32Type, Schema, i256};
use proptest::prelude::*;

use crate::{Fingerprints, LogicalType};

fn field(array: &ArrayRef) -> Field {
    Field::new("v", array.data_type().clone(), true)
}

/// The hash of the first value of a column.
fn hash_of(field: Field, array: ArrayRef) -> u64 {
    let batch = RecordBatch::try_new(Arc::new(Schema::new(vec![field])), vec![array]).unwrap();
    Fingerprints::new(&batch, &[0]).unwrap().by_column(0)[0]
}

fn plain(array: impl arrow::array::Array + 'static) -> u64 {
    let array: ArrayRef = Arc::new(array);
    hash_of(field(&array), array)
}

fn text(marked: LogicalType, value: &str) -> u64 {
    let array: ArrayRef = Arc::new(StringArray::from(vec![value]));
    hash_of(marked.mark(field(&array)), array)
}

fn numeric(value: &str) -> u64 {
    text(LogicalType::Numeric, value)
}

fn decimal(value: i128, scale: i8) -> u64 {
    plain(
        Decimal128Array::from(vec![value])
            .with_precision_and_scale(38, scale)
            .unwrap(),
    )
}

#[test]
fn number_is_one_number_in_every_type() {
    let five = plain(Int64Array::from(vec![5]));
    assert_eq!(plain(Int16Array::from(vec![5])), five);
    assert_eq!(plain(UInt64Array::from(vec![5])), five);
    assert_eq!(decimal(500, 2), five);
    assert_eq!(numeric("5.000"), five);
    assert_eq!(numeric("0.5e1"), five);
    let wide = Decimal256Array::from(vec![i256::from_i128(50)])
        .with_precision_and_scale(76, 1)
        .unwrap();
    assert_eq!(plain(wide), five);
    assert_eq!(numeric("1000"), plain(Int64Array::from(vec![1000])));
    assert_eq!(numeric("-9223372036854775808"), plain(Int64Array::from(vec![i64::MIN])));
    assert_eq!(
        numeric("18446744073709551615"),
        plain(UInt64Array::from(vec![u64::MAX]))
    );
    assert_eq!(decimal(-125, 2), numeric("-1.250"));
    assert_eq!(decimal(0, 2), numeric("-0.00"));
    assert_ne!(numeric("5"), numeric("-5"));
    assert_ne!(numeric("0.5"), numeric("0.05"));
    assert_eq!(numeric("NaN"), numeric("NaN"));
    assert_ne!(numeric("NaN"), numeric("Infinity"));
    assert_ne!(plain(StringArray::from(vec!["5"])), five, "a text is no number");
    assert_ne!(
        plain(Float64Array::from(vec![5.0])),
        five,
        "nor is a float, which may be rounded"
    );
}

#[test]
fn zero_has_one_sign_and_nan_one_pattern() {
    let float = |value: f64| plain(Float64Array::from(vec![value]));
    assert_eq!(float(-0.0), float(0.0));
    assert_eq!(float(f64::NAN), float(-f64::NAN));
    assert_eq!(plain(Float32Array::from(vec![0.5])), float(0.5));
    assert_ne!(float(f64::INFINITY), float(f64::NEG_INFINITY));
}

#[test]
fn time_is_one_time_in_every_unit() {
    assert_eq!(
        plain(TimestampSecondArray::from(vec![7])),
        plain(TimestampMicrosecondArray::from(vec![7_000_000]).with_timezone("+00:00"))
    );
    assert_ne!(
        plain(TimestampSecondArray::from(vec![i64::MAX])),
        plain(TimestampMicrosecondArray::from(vec![i64::MAX]))
    );
}

#[test]
fn uuid_is_its_bytes_also_as_text() {
    let bytes: Vec<u8> = (0..16).collect();
    let binary = FixedSizeBinaryArray::try_from_iter([bytes.clone()].into_iter()).unwrap();
    assert_eq!(
        text(LogicalType::Uuid, "00010203-0405-0607-0809-0A0B0C0D0E0F"),
        plain(binary)
    );
    assert_eq!(
        text(LogicalType::Uuid, "00010203-0405-0607-0809-0a0b0c0d0e0f"),
        plain(BinaryArray::from(vec![bytes.as_slice()]))
    );
    assert_ne!(text(LogicalType::Uuid, "no uuid"), text(LogicalType::Uuid, "no other"));
}

#[test]
fn json_is_compared_by_what_it_says() {
    let json = |value| text(LogicalType::Json, value);
    assert_eq!(
        json(r#"{"a":1,"b":[true,null]}"#),
        json(r#" { "b" : [ true , null ], "a" : 1.0 } "#)
    );
    assert_eq!(json(r#""\u00e4""#), json("\"ä\""));
    assert_eq!(json(r#"{"a":1,"a":2}"#), json(r#"{"a":2}"#), "the last of two counts");
    assert_ne!(json("[1,2]"), json("[2,1]"));
    assert_ne!(json("[[1],2]"), json("[1,[2]]"));
    assert_ne!(json("{}"), json("[]"));
    assert_ne!(
        json("12345678901234567890.1"),
        json("12345678901234567890.2"),
        "more digits than a double"
    );
    for broken in ["{", "[1,]x", "{\"a\"}", "\"", "nul", "[1 2]", "{1:2}"] {
        assert_eq!(json(broken), json(broken));
        assert_ne!(json(broken), json("{}"), "{broken}");
    }
    let deep = "[".repeat(100_000);
    assert_eq!(json(&deep), json(&deep), "nesting does not end the process");
}

#[test]
fn nested_values_keep_their_shape_apart() {
    let list = |items: Vec<Option<i32>>| plain(ListArray::from_iter_primitive::<Int32Type, _, _>([Some(items)]));
    assert_eq!(list(vec![Some(1), None]), list(vec![Some(1), None]));
    assert_ne!(list(vec![Some(1)]), list(vec![Some(1), None]));
    assert_ne!(list(vec![]), list(vec![None]));
    let pair = |a: i64, b: Option<&str>| {
        let fields = vec![
            Field::new("a", DataType::Int64, true),
            Field::new("b", DataType::Utf8, true),
        ];
        let columns: Vec<ArrayRef> = vec![
            Arc::new(Int64Array::from(vec![a])),
            Arc::new(StringArray::from(vec![b])),
        ];
        plain(StructArray::new(fields.into(), columns, None))
    };
    assert_eq!(pair(1, Some("x")), pair(1, Some("x")));
    assert_ne!(pair(1, Some("")), pair(1, None));
}

#[test]
fn row_of_a_slice_is_the_row_it_was() {
    let whole = ListArray::from_iter_primitive::<Int32Type, _, _>([Some(vec![Some(1)]), Some(vec![Some(2), Some(3)])]);
    let alone = ListArray::from_iter_primitive::<Int32Type, _, _>([Some(vec![Some(2), Some(3)])]);
    assert_eq!(plain(whole.slice(1, 1)), plain(alone));
}

fn row(a: Option<&str>, b: Option<&str>) -> RecordBatch {
    let fields = vec![
        Field::new("a", DataType::Utf8, true),
        Field::new("b", DataType::Utf8, true),
    ];
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from(vec![a])),
        Arc::new(StringArray::from(vec![b])),
    ];
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap()
}

proptest! {
    #[test]
    fn two_rows_are_equal_exactly_if_their_hashes_are(
        a in proptest::option::of("[ab\0]{0,3}"), b in proptest::option::of("[ab\0]{0,3}"),
        c in proptest::option::of("[ab\0]{0,3}"), d in proptest::option::of("[ab\0]{0,3}"),
    ) {
        let (left, right) = (row(a.as_deref(), b.as_deref()), row(c.as_deref(), d.as_deref()));
        let left = Fingerprints::new(&left, &[0]).unwrap().of(0);
        let right = Fingerprints::new(&right, &[0]).unwrap().of(0);
        prop_assert_eq!(left.row == right.row, (&a, &b) == (&c, &d));
        prop_assert_eq!(left.key == right.key, a == c);
    }

    #[test]
    fn decimal_of_any_scale_is_its_digits(value in any::<i64>(), scale in 0_i8..20, more in 0_u32..8) {
        let scaled = i128::from(value) * 10_i128.pow(more);
        prop_assert_eq!(decimal(i128::from(value), scale), decimal(scaled, scale + more as i8));
        let digits = value.unsigned_abs().to_string();
        let digits = format!("{digits:0>width$}", width = scale as usize + 1);
        let (whole, fraction) = digits.split_at(digits.len() - scale as usize);
        let sign = if value < 0 { "-" } else { "" };
        prop_assert_eq!(numeric(&format!("{sign}{whole}.{fraction}")), decimal(i128::from(value), scale));
    }

    #[test]
    fn text_of_any_width_of_offsets_is_the_same(value in ".*") {
        prop_assert_eq!(
            plain(StringArray::from(vec![value.as_str()])),
            plain(LargeStringArray::from(vec![value.as_str()]))
        );
    }

    #[test]
    fn any_text_marked_json_has_a_hash(value in ".*") {
        prop_assert_eq!(text(LogicalType::Json, &value), text(LogicalType::Json, &value));
    }

    #[test]
    fn integers_are_equal_across_widths(value in any::<i32>()) {
        prop_assert_eq!(plain(Int32Array::from(vec![value])), plain(Int64Array::from(vec![i64::from(value)])));
    }
}
