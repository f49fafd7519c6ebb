//! One case for each type of the vocabulary, with the values at its edges.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Decimal256Array, DurationMicrosecondArray,
    DurationMillisecondArray, DurationNanosecondArray, DurationSecondArray, FixedSizeBinaryArray, Float32Array,
    Float64Array, Int8Array, Int16Array, Int32Array, Int64Array, Int64Builder, IntervalDayTimeArray,
    IntervalMonthDayNanoArray, IntervalYearMonthArray, LargeBinaryArray, LargeListBuilder, LargeStringArray,
    ListBuilder, MapBuilder, NullArray, StringArray, StringBuilder, StructArray, Time64MicrosecondArray,
    Time64NanosecondArray, TimestampMicrosecondArray, TimestampMillisecondArray, TimestampNanosecondArray,
    TimestampSecondArray, UInt8Array, UInt16Array, UInt32Array, UInt64Array,
};
use arrow::datatypes::{DataType, Field, IntervalDayTime, IntervalMonthDayNano, i256};
use model::{LogicalType, StreamId, StreamSchema};

/// Values of one type.
pub struct TypeCase {
    /// What is special about it; also the name of its stream.
    pub name: &'static str,
    /// The column `payload`.
    pub field: Field,
    /// Distinct values, then a null.
    pub values: ArrayRef,
}

impl TypeCase {
    /// The stream of the case: `id` int64 key and `payload`.
    pub fn schema(&self) -> Arc<StreamSchema> {
        let fields = vec![Field::new("id", DataType::Int64, false), self.field.clone()];
        super::sample::schema(StreamId::new(format!("type_{}", self.name)), fields, ["id"])
    }
}

fn case(name: &'static str, values: ArrayRef) -> TypeCase {
    let field = Field::new("payload", values.data_type().clone(), true);
    TypeCase { name, field, values }
}

fn logical(name: &'static str, logical: LogicalType, values: ArrayRef) -> TypeCase {
    let field = logical.mark(Field::new("payload", values.data_type().clone(), true));
    TypeCase { name, field, values }
}

fn text(values: &[&str]) -> ArrayRef {
    let values = values.iter().copied().map(Some).chain([None]);
    Arc::new(values.collect::<StringArray>())
}

macro_rules! numbers {
    ($array:ident, $($value:expr),+) => {
        Arc::new($array::from(vec![$(Some($value)),+, None])) as ArrayRef
    };
}

/// Every type of the vocabulary. Values that some systems cannot carry have cases of their own (`float64_special`,
/// `uint64_large`, `text_with_nul`), so that refusing one of them does not hide the others.
pub fn all() -> Vec<TypeCase> {
    let mut cases = plain();
    cases.extend(times());
    cases.extend(decimals());
    cases.extend(nested());
    cases.extend(logicals());
    cases
}

fn plain() -> Vec<TypeCase> {
    let fixed: Vec<Option<[u8; 4]>> = vec![Some([0; 4]), Some([0xff, 0, 0x27, 0x22]), None];
    let fixed = FixedSizeBinaryArray::try_from_sparse_iter_with_size(fixed.into_iter(), 4).expect("of four bytes each");
    vec![
        case(
            "boolean",
            Arc::new(BooleanArray::from(vec![Some(true), Some(false), None])),
        ),
        case("int8", numbers!(Int8Array, i8::MIN, -1, 0, i8::MAX)),
        case("int16", numbers!(Int16Array, i16::MIN, -1, 0, i16::MAX)),
        case("int32", numbers!(Int32Array, i32::MIN, -1, 0, i32::MAX)),
        case("int64", numbers!(Int64Array, i64::MIN, -1, 0, (1 << 53) + 1, i64::MAX)),
        case("uint8", numbers!(UInt8Array, 0, u8::MAX)),
        case("uint16", numbers!(UInt16Array, 0, u16::MAX)),
        case("uint32", numbers!(UInt32Array, 0, u32::MAX)),
        case("uint64", numbers!(UInt64Array, 0, i64::MAX as u64)),
        case("uint64_large", numbers!(UInt64Array, i64::MAX as u64 + 1, u64::MAX)),
        case(
            "float32",
            numbers!(Float32Array, f32::MIN, -1.5, 0.1, f32::MIN_POSITIVE, f32::MAX),
        ),
        case(
            "float64",
            numbers!(Float64Array, f64::MIN, -1.5, 0.1, 5e-324, 1e15, 1e16, f64::MAX),
        ),
        case(
            "float64_infinite",
            numbers!(Float64Array, f64::INFINITY, f64::NEG_INFINITY),
        ),
        case("float64_nan", numbers!(Float64Array, f64::NAN)),
        case(
            "text",
            text(&[
                "",
                " ",
                "a",
                "'; --\"",
                "line\nbreak\ttab\r",
                "NULL",
                "ü 漢 \u{1F41F}",
                "\u{feff}",
            ]),
        ),
        case("text_long", text(&[&"x".repeat(100_000)])),
        case("text_with_nul", text(&["a\0b"])),
        case(
            "large_text",
            Arc::new(LargeStringArray::from(vec![Some(""), Some("ü"), None])),
        ),
        case(
            "binary",
            Arc::new(BinaryArray::from(vec![
                Some(&b""[..]),
                Some(b"\0\xff'\"\n"),
                Some(b"abc"),
                None,
            ])),
        ),
        case(
            "large_binary",
            Arc::new(LargeBinaryArray::from(vec![Some(&b""[..]), Some(b"\0\xff"), None])),
        ),
        case("fixed_size_binary", Arc::new(fixed)),
        case("null", Arc::new(NullArray::new(2))),
    ]
}

/// Microseconds of 0001-01-01T00:00:00Z, 9999-12-31T23:59:59.999999Z.
const TIME_MIN: i64 = -62_135_596_800_000_000;
const TIME_MAX: i64 = 253_402_300_799_999_999;

fn times() -> Vec<TypeCase> {
    let day_micros = 86_400_000_000;
    let zoned = TimestampMicrosecondArray::from(vec![Some(TIME_MIN), Some(-1), Some(0), Some(TIME_MAX), None]);
    vec![
        case("date32", numbers!(Date32Array, -719_162, -1, 0, 2_932_896)),
        case("time64_us", numbers!(Time64MicrosecondArray, 0, 1, day_micros - 1)),
        case(
            "time64_ns",
            numbers!(Time64NanosecondArray, 0, 1, day_micros * 1_000 - 1),
        ),
        case(
            "timestamp_s",
            numbers!(TimestampSecondArray, TIME_MIN / 1_000_000, -1, 0, TIME_MAX / 1_000_000),
        ),
        case(
            "timestamp_ms",
            numbers!(TimestampMillisecondArray, TIME_MIN / 1_000, -1, 0, TIME_MAX / 1_000),
        ),
        case(
            "timestamp_us",
            numbers!(TimestampMicrosecondArray, TIME_MIN, -1, 0, 1, TIME_MAX),
        ),
        case(
            "timestamp_ns",
            numbers!(TimestampNanosecondArray, i64::MIN + 1, -1, 0, 1, i64::MAX),
        ),
        case("timestamp_us_utc", Arc::new(zoned.clone().with_timezone("UTC"))),
        case("timestamp_us_offset", Arc::new(zoned.clone().with_timezone("+02:00"))),
        case(
            "timestamp_us_named_zone",
            Arc::new(zoned.with_timezone("Europe/Berlin")),
        ),
        case("duration_s", numbers!(DurationSecondArray, -90_061, 0, 90_061)),
        case(
            "duration_ms",
            numbers!(DurationMillisecondArray, -90_061_001, 0, 90_061_001),
        ),
        case(
            "duration_us",
            numbers!(DurationMicrosecondArray, -1, 0, day_micros * 40_000 + 1),
        ),
        case(
            "duration_ns",
            numbers!(DurationNanosecondArray, -1, 0, day_micros * 1_000 + 1),
        ),
        case("interval_year_month", numbers!(IntervalYearMonthArray, -13, 0, 25)),
        case(
            "interval_day_time",
            numbers!(
                IntervalDayTimeArray,
                IntervalDayTime::new(-1, 1),
                IntervalDayTime::new(400, 86_399_999)
            ),
        ),
        case(
            "interval_month_day_nano",
            numbers!(
                IntervalMonthDayNanoArray,
                IntervalMonthDayNano::new(-14, 3, -1),
                IntervalMonthDayNano::new(1, 30, 86_400_000_000_001)
            ),
        ),
    ]
}

fn decimals() -> Vec<TypeCase> {
    let nines = 10_i128.pow(38) - 1;
    let wide = i256::from_string(&"9".repeat(76)).expect("76 digits fit 256 bits");
    let of_128 = |values: Vec<Option<i128>>, precision, scale| -> ArrayRef {
        let values = Decimal128Array::from(values).with_precision_and_scale(precision, scale);
        Arc::new(values.expect("the values fit precision and scale"))
    };
    let of_256 = Decimal256Array::from(vec![Some(-wide), Some(i256::ONE), Some(wide), None]);
    vec![
        case(
            "decimal128",
            of_128(vec![Some(-12_345), Some(0), Some(1), Some(999_999_999), None], 9, 2),
        ),
        case(
            "decimal128_wide",
            of_128(vec![Some(-nines), Some(1), Some(nines), None], 38, 10),
        ),
        case(
            "decimal128_fraction",
            of_128(vec![Some(-nines), Some(1), Some(nines), None], 38, 38),
        ),
        case(
            "decimal128_negative_scale",
            of_128(vec![Some(-1), Some(12), None], 5, -2),
        ),
        case(
            "decimal256",
            Arc::new(
                of_256
                    .with_precision_and_scale(76, 10)
                    .expect("the values fit precision and scale"),
            ),
        ),
    ]
}

fn nested() -> Vec<TypeCase> {
    let mut list = ListBuilder::new(Int64Builder::new());
    list.append_value([Some(1), None, Some(i64::MAX)]);
    list.append_value([]);
    list.append_null();
    let mut large = LargeListBuilder::new(StringBuilder::new());
    large.append_value([Some("a\"b"), None, Some("")]);
    large.append_null();
    let fields = vec![
        Field::new("a", DataType::Int64, true),
        Field::new("b c", DataType::Utf8, true),
    ];
    let structs = StructArray::new(
        fields.into(),
        vec![
            Arc::new(Int64Array::from(vec![Some(1), None, None])),
            Arc::new(StringArray::from(vec![Some("x"), Some("y\"'"), None])),
        ],
        Some(vec![true, true, false].into()),
    );
    let mut map = MapBuilder::new(None, StringBuilder::new(), Int64Builder::new());
    map.keys().append_value("k'1");
    map.values().append_value(1);
    map.keys().append_value("k2");
    map.values().append_null();
    map.append(true).expect("as many keys as values");
    map.append(true).expect("as many keys as values");
    map.append(false).expect("as many keys as values");
    vec![
        case("list", Arc::new(list.finish())),
        case("large_list", Arc::new(large.finish())),
        case("struct", Arc::new(structs)),
        case("map", Arc::new(map.finish())),
    ]
}

fn logicals() -> Vec<TypeCase> {
    let uuids: Vec<Option<[u8; 16]>> = vec![Some([0; 16]), Some([0xab; 16]), None];
    let uuids = FixedSizeBinaryArray::try_from_sparse_iter_with_size(uuids.into_iter(), 16).expect("of 16 bytes each");
    let nines = format!("{}.{}", "9".repeat(100), "1".repeat(50));
    vec![
        logical("uuid", LogicalType::Uuid, Arc::new(uuids)),
        logical(
            "uuid_text",
            LogicalType::Uuid,
            text(&["00000000-0000-0000-0000-000000000000"]),
        ),
        logical(
            "json",
            LogicalType::Json,
            text(&[
                "null",
                "{\"b\": 1, \"a\": [1.0, 1e2]}",
                "\"\\u00e9\"",
                "12345678901234567890",
            ]),
        ),
        logical(
            "inet",
            LogicalType::Inet,
            text(&["10.0.0.1", "10.0.0.0/8", "::1", "2001:db8::/32"]),
        ),
        logical(
            "mac",
            LogicalType::Mac,
            text(&["00:00:00:00:00:00", "ff:ee:dd:cc:bb:aa"]),
        ),
        logical("numeric", LogicalType::Numeric, text(&["0", "1.50", "-0.001", &nines])),
        logical(
            "numeric_special",
            LogicalType::Numeric,
            text(&["NaN", "Infinity", "-Infinity"]),
        ),
        logical(
            "interval_text",
            LogicalType::Interval,
            text(&["P1Y2M3DT4H5M6.7S", "PT0S", "P-1D"]),
        ),
    ]
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::{IntervalUnit, TimeUnit};

    use super::*;

    /// Types that no case covers.
    fn uncovered() -> Vec<DataType> {
        let covered: Vec<DataType> = all().iter().map(|case| case.values.data_type().clone()).collect();
        let units = [
            TimeUnit::Second,
            TimeUnit::Millisecond,
            TimeUnit::Microsecond,
            TimeUnit::Nanosecond,
        ];
        let intervals = [
            IntervalUnit::YearMonth,
            IntervalUnit::DayTime,
            IntervalUnit::MonthDayNano,
        ];
        let mut wanted = vec![
            DataType::Null,
            DataType::Boolean,
            DataType::Int8,
            DataType::Int16,
            DataType::Int32,
            DataType::Int64,
            DataType::UInt8,
            DataType::UInt16,
            DataType::UInt32,
            DataType::UInt64,
            DataType::Float32,
            DataType::Float64,
            DataType::Utf8,
            DataType::LargeUtf8,
            DataType::Binary,
            DataType::LargeBinary,
            DataType::FixedSizeBinary(4),
            DataType::Date32,
            DataType::Time64(TimeUnit::Microsecond),
            DataType::Time64(TimeUnit::Nanosecond),
        ];
        wanted.extend(units.iter().map(|unit| DataType::Timestamp(*unit, None)));
        wanted.extend(units.iter().map(|unit| DataType::Duration(*unit)));
        wanted.extend(intervals.iter().map(|unit| DataType::Interval(*unit)));
        wanted.retain(|data_type| !covered.contains(data_type));
        wanted
    }

    #[test]
    fn every_case_is_of_the_vocabulary_and_every_type_has_one() {
        for case in all() {
            assert!(model::carries(case.field.data_type()), "{}", case.name);
        }
        assert_eq!(uncovered(), vec![]);
    }

    #[test]
    fn values_of_a_case_have_distinct_texts() {
        for case in all().iter().filter(|case| case.name != "null") {
            let mut texts: Vec<_> = (0..case.values.len())
                .map(|row| crate::conformance::text_of(case.values.as_ref(), row))
                .collect();
            let count = texts.len();
            texts.sort();
            texts.dedup();
            assert_eq!(texts.len(), count, "{}: {texts:?}", case.name);
            assert!(
                !texts.iter().flatten().any(|text| text.contains("ERROR")),
                "{}: {texts:?}",
                case.name
            );
        }
    }
}
