//! Hashes of rows that are equal wherever equal rows lie.
//!
//! A value is written in one spelling whatever type a system has for it, so that `5` is 5 as `int2`, `int8`, `numeric(10,2)` or
//! as the digits of an unbounded `numeric`. The spelling is never stored: it may change with any version.
//!
//! | values | spelled as |
//! |---|---|
//! | NULL | one byte |
//! | booleans | 0 or 1 |
//! | integers, decimals, text marked `numeric` | as an `i64` if they are one, else digits without zeros at the ends and an exponent |
//! | floats | the bits of the double; one NaN, one zero |
//! | text; text marked `json` | its bytes; its members sorted, without white space, numbers as above |
//! | binary; UUIDs, also as text | their bytes |
//! | dates; times, timestamps, durations | days; nanoseconds |
//! | intervals | months, days and nanoseconds, which do not convert into each other |
//! | lists, structs, maps | the number of their parts, then each of them |
//!
//! Everything of variable length is preceded by its length, so that no two rows are written alike.

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, FixedSizeBinaryArray, GenericByteArray, RecordBatch};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{
    ArrowPrimitiveType, BinaryType, DataType, Date32Type, Decimal128Type, Decimal256Type, DurationMicrosecondType,
    DurationMillisecondType, DurationNanosecondType, DurationSecondType, Field, Float32Type, Float64Type, Int8Type,
    Int16Type, Int32Type, Int64Type, IntervalDayTime, IntervalDayTimeType, IntervalMonthDayNano,
    IntervalMonthDayNanoType, IntervalUnit, IntervalYearMonthType, LargeBinaryType, LargeUtf8Type,
    Time64MicrosecondType, Time64NanosecondType, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType,
    TimestampNanosecondType, TimestampSecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type, Utf8Type, i256,
};
use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

use crate::LogicalType;

/// What a row is known by: a hash of its key and one of all of its columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint {
    /// Of the key.
    pub key: u128,
    /// Of every column, the key's among them.
    pub row: u128,
}

/// A type outside the vocabulary has no spelling.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("cannot hash column `{column}`: type `{data_type}` is not in the vocabulary")]
pub struct NoSpelling {
    /// The column.
    pub column: String,
    /// Its type.
    pub data_type: String,
}

/// Hashes the rows of a batch. Columns are downcast once, and a row costs no allocation.
pub struct Fingerprints<'a> {
    columns: Vec<Spelled<'a>>,
    key: Vec<usize>,
    spelling: Vec<u8>,
}

impl<'a> Fingerprints<'a> {
    /// Of a batch, with the indices of its key columns in key order.
    pub fn new(rows: &'a RecordBatch, key: &[usize]) -> Result<Self, NoSpelling> {
        let schema = rows.schema_ref();
        let columns = schema.fields().iter().zip(rows.columns());
        Ok(Fingerprints {
            columns: columns
                .map(|(field, array)| {
                    Spelled::of(field, array).ok_or_else(|| NoSpelling {
                        column: field.name().clone(),
                        data_type: field.data_type().to_string(),
                    })
                })
                .collect::<Result<_, _>>()?,
            key: key.to_vec(),
            spelling: Vec::new(),
        })
    }

    /// The hash of a row's key.
    pub fn key(&mut self, row: usize) -> u128 {
        self.spelling.clear();
        for &column in &self.key {
            self.columns[column].put(row, &mut self.spelling);
        }
        xxh3_128(&self.spelling)
    }

    /// The hashes of a row.
    pub fn of(&mut self, row: usize) -> Fingerprint {
        let key = self.key(row);
        self.spelling.clear();
        for column in &self.columns {
            column.put(row, &mut self.spelling);
        }
        Fingerprint {
            key,
            row: xxh3_128(&self.spelling),
        }
    }

    /// A hash of each column of a row.
    pub fn by_column(&mut self, row: usize) -> Box<[u64]> {
        let spelling = &mut self.spelling;
        let hash = |column: &Spelled<'_>| {
            spelling.clear();
            column.put(row, spelling);
            xxh3_64(spelling)
        };
        self.columns.iter().map(hash).collect()
    }
}

/// What a spelling begins with. Numbers have one, whatever their type.
mod tag {
    pub(super) const NULL: u8 = 0;
    pub(super) const BOOLEAN: u8 = 1;
    pub(super) const INTEGER: u8 = 2;
    pub(super) const NUMBER: u8 = 3;
    pub(super) const FLOAT: u8 = 4;
    pub(super) const TEXT: u8 = 5;
    pub(super) const BINARY: u8 = 6;
    pub(super) const DATE: u8 = 7;
    pub(super) const TIME: u8 = 8;
    pub(super) const INTERVAL: u8 = 9;
    pub(super) const MANY: u8 = 10;
    pub(super) const JSON: u8 = 11;
}

/// One column, downcast.
struct Spelled<'a> {
    nulls: Option<&'a NullBuffer>,
    values: Values<'a>,
}

enum Values<'a> {
    Null,
    Boolean(&'a BooleanArray),
    I8(&'a [i8]),
    I16(&'a [i16]),
    I32(&'a [i32]),
    I64(&'a [i64]),
    U8(&'a [u8]),
    U16(&'a [u16]),
    U32(&'a [u32]),
    U64(&'a [u64]),
    F32(&'a [f32]),
    F64(&'a [f64]),
    Text(&'a GenericByteArray<Utf8Type>, Meaning),
    LargeText(&'a GenericByteArray<LargeUtf8Type>, Meaning),
    Binary(&'a GenericByteArray<BinaryType>),
    LargeBinary(&'a GenericByteArray<LargeBinaryType>),
    FixedBinary(&'a FixedSizeBinaryArray),
    Date(&'a [i32]),
    /// A count, and how many nanoseconds each is.
    Time(&'a [i64], i64),
    Months(&'a [i32]),
    DayTime(&'a [IntervalDayTime]),
    MonthDayNano(&'a [IntervalMonthDayNano]),
    Decimal128(&'a [i128], i8),
    Decimal256(&'a [i256], i8),
    List(Offsets<'a>, Box<Spelled<'a>>),
    Struct(Vec<Spelled<'a>>),
}

enum Offsets<'a> {
    Small(&'a [i32]),
    Large(&'a [i64]),
}

/// What a text stands for.
#[derive(Clone, Copy)]
enum Meaning {
    Text,
    Numeric,
    Uuid,
    Json,
}

impl Meaning {
    fn of(field: &Field) -> Self {
        match LogicalType::of(field) {
            Some(LogicalType::Numeric) => Meaning::Numeric,
            Some(LogicalType::Uuid) => Meaning::Uuid,
            Some(LogicalType::Json) => Meaning::Json,
            _ => Meaning::Text,
        }
    }
}

fn primitive<T: ArrowPrimitiveType>(array: &ArrayRef) -> &[T::Native] {
    array.as_primitive::<T>().values()
}

/// Nanoseconds in one of the unit.
fn nanoseconds(unit: TimeUnit) -> i64 {
    match unit {
        TimeUnit::Second => 1_000_000_000,
        TimeUnit::Millisecond => 1_000_000,
        TimeUnit::Microsecond => 1_000,
        TimeUnit::Nanosecond => 1,
    }
}

impl<'a> Spelled<'a> {
    fn of(field: &Field, array: &'a ArrayRef) -> Option<Self> {
        let values = match array.data_type() {
            DataType::Null => Values::Null,
            DataType::Boolean => Values::Boolean(array.as_boolean()),
            DataType::Int8 => Values::I8(primitive::<Int8Type>(array)),
            DataType::Int16 => Values::I16(primitive::<Int16Type>(array)),
            DataType::Int32 => Values::I32(primitive::<Int32Type>(array)),
            DataType::Int64 => Values::I64(primitive::<Int64Type>(array)),
            DataType::UInt8 => Values::U8(primitive::<UInt8Type>(array)),
            DataType::UInt16 => Values::U16(primitive::<UInt16Type>(array)),
            DataType::UInt32 => Values::U32(primitive::<UInt32Type>(array)),
            DataType::UInt64 => Values::U64(primitive::<UInt64Type>(array)),
            DataType::Float32 => Values::F32(primitive::<Float32Type>(array)),
            DataType::Float64 => Values::F64(primitive::<Float64Type>(array)),
            DataType::Utf8 => Values::Text(array.as_string(), Meaning::of(field)),
            DataType::LargeUtf8 => Values::LargeText(array.as_string(), Meaning::of(field)),
            DataType::Binary => Values::Binary(array.as_binary()),
            DataType::LargeBinary => Values::LargeBinary(array.as_binary()),
            DataType::FixedSizeBinary(_) => Values::FixedBinary(array.as_fixed_size_binary()),
            DataType::Date32 => Values::Date(primitive::<Date32Type>(array)),
            DataType::Time64(unit) => Values::Time(
                match unit {
                    TimeUnit::Nanosecond => primitive::<Time64NanosecondType>(array),
                    _ => primitive::<Time64MicrosecondType>(array),
                },
                nanoseconds(*unit),
            ),
            DataType::Timestamp(unit, _) => Values::Time(
                match unit {
                    TimeUnit::Second => primitive::<TimestampSecondType>(array),
                    TimeUnit::Millisecond => primitive::<TimestampMillisecondType>(array),
                    TimeUnit::Microsecond => primitive::<TimestampMicrosecondType>(array),
                    TimeUnit::Nanosecond => primitive::<TimestampNanosecondType>(array),
                },
                nanoseconds(*unit),
            ),
            DataType::Duration(unit) => Values::Time(
                match unit {
                    TimeUnit::Second => primitive::<DurationSecondType>(array),
                    TimeUnit::Millisecond => primitive::<DurationMillisecondType>(array),
                    TimeUnit::Microsecond => primitive::<DurationMicrosecondType>(array),
                    TimeUnit::Nanosecond => primitive::<DurationNanosecondType>(array),
                },
                nanoseconds(*unit),
            ),
            DataType::Interval(IntervalUnit::YearMonth) => Values::Months(primitive::<IntervalYearMonthType>(array)),
            DataType::Interval(IntervalUnit::DayTime) => Values::DayTime(primitive::<IntervalDayTimeType>(array)),
            DataType::Interval(IntervalUnit::MonthDayNano) => {
                Values::MonthDayNano(primitive::<IntervalMonthDayNanoType>(array))
            }
            DataType::Decimal128(_, scale) => Values::Decimal128(primitive::<Decimal128Type>(array), *scale),
            DataType::Decimal256(_, scale) => Values::Decimal256(primitive::<Decimal256Type>(array), *scale),
            DataType::List(item) => {
                let list = array.as_list::<i32>();
                Values::List(Offsets::Small(list.value_offsets()), Self::inside(item, list.values())?)
            }
            DataType::LargeList(item) => {
                let list = array.as_list::<i64>();
                Values::List(Offsets::Large(list.value_offsets()), Self::inside(item, list.values())?)
            }
            DataType::Map(entry, _) => {
                let map = array.as_map();
                let DataType::Struct(fields) = entry.data_type() else {
                    return None;
                };
                let entries = Self::fields(fields, map.entries().columns())?;
                let entries = Spelled {
                    nulls: None,
                    values: Values::Struct(entries),
                };
                Values::List(Offsets::Small(map.value_offsets()), Box::new(entries))
            }
            DataType::Struct(fields) => Values::Struct(Self::fields(fields, array.as_struct().columns())?),
            _ => return None,
        };
        Some(Spelled {
            nulls: array.nulls(),
            values,
        })
    }

    fn inside(item: &Field, values: &'a ArrayRef) -> Option<Box<Self>> {
        Self::of(item, values).map(Box::new)
    }

    fn fields(fields: &arrow::datatypes::Fields, columns: &'a [ArrayRef]) -> Option<Vec<Self>> {
        let columns = fields.iter().zip(columns);
        columns.map(|(field, column)| Self::of(field, column)).collect()
    }

    fn put(&self, row: usize, out: &mut Vec<u8>) {
        if self.nulls.is_some_and(|nulls| nulls.is_null(row)) {
            out.push(tag::NULL);
            return;
        }
        match &self.values {
            Values::Null => out.push(tag::NULL),
            Values::Boolean(values) => out.extend([tag::BOOLEAN, values.value(row).into()]),
            Values::I8(values) => put_integer(values[row].into(), out),
            Values::I16(values) => put_integer(values[row].into(), out),
            Values::I32(values) => put_integer(values[row].into(), out),
            Values::I64(values) => put_integer(values[row], out),
            Values::U8(values) => put_integer(values[row].into(), out),
            Values::U16(values) => put_integer(values[row].into(), out),
            Values::U32(values) => put_integer(values[row].into(), out),
            Values::U64(values) => put_unscaled(values[row].into(), 0, out),
            Values::F32(values) => put_float(values[row].into(), out),
            Values::F64(values) => put_float(values[row], out),
            Values::Text(values, meaning) => put_text(values.value(row), *meaning, out),
            Values::LargeText(values, meaning) => put_text(values.value(row), *meaning, out),
            Values::Binary(values) => put_bytes(tag::BINARY, values.value(row), out),
            Values::LargeBinary(values) => put_bytes(tag::BINARY, values.value(row), out),
            Values::FixedBinary(values) => put_bytes(tag::BINARY, values.value(row), out),
            Values::Date(values) => {
                out.push(tag::DATE);
                out.extend(values[row].to_le_bytes());
            }
            Values::Time(values, unit) => {
                out.push(tag::TIME);
                out.extend((i128::from(values[row]) * i128::from(*unit)).to_le_bytes());
            }
            Values::Months(values) => put_interval(values[row], 0, 0, out),
            Values::DayTime(values) => {
                let value = values[row];
                put_interval(0, value.days, i64::from(value.milliseconds) * 1_000_000, out);
            }
            Values::MonthDayNano(values) => {
                let value = values[row];
                put_interval(value.months, value.days, value.nanoseconds, out);
            }
            Values::Decimal128(values, scale) => put_unscaled(values[row], *scale, out),
            Values::Decimal256(values, scale) => match values[row].to_i128() {
                Some(value) => put_unscaled(value, *scale, out),
                None => put_digits(&values[row].to_string(), i64::from(*scale), out),
            },
            Values::List(offsets, items) => {
                let range = match offsets {
                    Offsets::Small(offsets) => offsets[row] as usize..offsets[row + 1] as usize,
                    Offsets::Large(offsets) => offsets[row] as usize..offsets[row + 1] as usize,
                };
                put_count(range.len(), out);
                range.for_each(|item| items.put(item, out));
            }
            Values::Struct(fields) => {
                put_count(fields.len(), out);
                fields.iter().for_each(|field| field.put(row, out));
            }
        }
    }
}

fn put_count(count: usize, out: &mut Vec<u8>) {
    out.push(tag::MANY);
    out.extend((count as u64).to_le_bytes());
}

fn put_bytes(tag: u8, bytes: &[u8], out: &mut Vec<u8>) {
    out.push(tag);
    out.extend((bytes.len() as u64).to_le_bytes());
    out.extend_from_slice(bytes);
}

fn put_integer(value: i64, out: &mut Vec<u8>) {
    out.push(tag::INTEGER);
    out.extend(value.to_le_bytes());
}

fn put_float(value: f64, out: &mut Vec<u8>) {
    let value = match value {
        value if value.is_nan() => f64::NAN,
        0.0 => 0.0,
        value => value,
    };
    out.push(tag::FLOAT);
    out.extend(value.to_bits().to_le_bytes());
}

fn put_interval(months: i32, days: i32, nanoseconds: i64, out: &mut Vec<u8>) {
    out.push(tag::INTERVAL);
    out.extend(months.to_le_bytes());
    out.extend(days.to_le_bytes());
    out.extend(nanoseconds.to_le_bytes());
}

/// `value * 10^-scale`.
fn put_unscaled(mut value: i128, scale: i8, out: &mut Vec<u8>) {
    let mut scale = i64::from(scale);
    while scale > 0 && value % 10 == 0 {
        value /= 10;
        scale -= 1;
    }
    match i64::try_from(value) {
        Ok(value) if scale <= 0 && value == 0 => put_integer(0, out),
        Ok(value) if scale == 0 => put_integer(value, out),
        _ => put_digits(&value.to_string(), scale, out),
    }
}

/// `digits * 10^-scale`; the digits may have a sign.
fn put_digits(digits: &str, scale: i64, out: &mut Vec<u8>) {
    let (sign, digits) = match digits.strip_prefix('-') {
        Some(digits) => (b'-', digits),
        None => (b'+', digits),
    };
    let digits = digits.trim_start_matches('0');
    let trimmed = digits.trim_end_matches('0');
    let exponent = (digits.len() - trimmed.len()) as i64 - scale;
    if trimmed.is_empty() {
        return put_integer(0, out);
    }
    // What is an integer of 64 bits is spelled as one.
    if (0..19).contains(&exponent)
        && let Ok(value) = trimmed.parse::<i64>()
        && let Some(value) = value.checked_mul(10_i64.pow(exponent as u32))
    {
        return put_integer(if sign == b'-' { -value } else { value }, out);
    }
    if (sign, exponent) == (b'-', 0) && trimmed == "9223372036854775808" {
        return put_integer(i64::MIN, out);
    }
    out.extend([tag::NUMBER, sign]);
    out.extend(exponent.to_le_bytes());
    out.extend((trimmed.len() as u64).to_le_bytes());
    out.extend_from_slice(trimmed.as_bytes());
}

/// The digits and the scale of a decimal number with or without an exponent; `None` if it is none.
fn decimal(text: &str) -> Option<(String, i64)> {
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
        None => (text, 0),
    };
    let unsigned = mantissa.strip_prefix(['-', '+']).unwrap_or(mantissa);
    let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, ""));
    let are_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if whole.len() + fraction.len() == 0 || !are_digits(whole) || !are_digits(fraction) {
        return None;
    }
    let sign = if mantissa.starts_with('-') { "-" } else { "" };
    Some((
        format!("{sign}{whole}{fraction}"),
        fraction.len() as i64 - i64::from(exponent),
    ))
}

fn put_text(text: &str, meaning: Meaning, out: &mut Vec<u8>) {
    match meaning {
        Meaning::Text => put_bytes(tag::TEXT, text.as_bytes(), out),
        Meaning::Numeric => match decimal(text) {
            Some((digits, scale)) => put_digits(&digits, scale, out),
            None => put_bytes(tag::TEXT, text.as_bytes(), out),
        },
        Meaning::Uuid => match uuid(text) {
            Some(bytes) => put_bytes(tag::BINARY, &bytes, out),
            None => put_bytes(tag::TEXT, text.as_bytes(), out),
        },
        Meaning::Json => {
            let start = out.len();
            out.push(tag::JSON);
            let mut reader = Json { text, at: 0, depth: 0 };
            let is_json = reader.put_value(out).is_some() && reader.is_at_end();
            if !is_json {
                out.truncate(start);
                put_bytes(tag::TEXT, text.as_bytes(), out);
            }
        }
    }
}

fn uuid(text: &str) -> Option<[u8; 16]> {
    let mut digits = text.chars().filter(|c| *c != '-');
    let mut bytes = [0; 16];
    for byte in &mut bytes {
        let (high, low) = (digits.next()?.to_digit(16)?, digits.next()?.to_digit(16)?);
        *byte = (high << 4 | low) as u8;
    }
    digits.next().is_none().then_some(bytes)
}

/// Reads JSON into a spelling without keeping it: systems differ in white space, the order of members, escapes and how a
/// number is written, and a number has more digits than a double.
struct Json<'a> {
    text: &'a str,
    at: usize,
    depth: u32,
}

/// Deeper nesting than this is compared as text.
const JSON_DEPTH_MAX: u32 = 128;

impl Json<'_> {
    fn peek(&mut self) -> Option<u8> {
        let rest = &self.text.as_bytes()[self.at..];
        self.at += rest.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
        self.text.as_bytes().get(self.at).copied()
    }

    fn is_at_end(&mut self) -> bool {
        self.peek().is_none()
    }

    fn eat(&mut self, byte: u8) -> Option<()> {
        (self.peek()? == byte).then(|| self.at += 1)
    }

    fn put_value(&mut self, out: &mut Vec<u8>) -> Option<()> {
        match self.peek()? {
            b'{' => self.put_object(out),
            b'[' => self.put_array(out),
            b'"' => {
                let text = self.string()?;
                put_bytes(tag::TEXT, text.as_bytes(), out);
                Some(())
            }
            _ => {
                let rest = &self.text[self.at..];
                let len = rest.find([',', ']', '}', ' ', '\t', '\n', '\r']).unwrap_or(rest.len());
                let word = &rest[..len];
                self.at += len;
                match word {
                    "null" => out.push(tag::NULL),
                    "true" => out.extend([tag::BOOLEAN, 1]),
                    "false" => out.extend([tag::BOOLEAN, 0]),
                    number => {
                        let (digits, scale) = decimal(number)?;
                        put_digits(&digits, scale, out);
                    }
                }
                Some(())
            }
        }
    }

    fn string(&mut self) -> Option<String> {
        let start = self.at;
        let bytes = self.text.as_bytes();
        self.at += 1;
        while *bytes.get(self.at)? != b'"' {
            self.at += if bytes[self.at] == b'\\' { 2 } else { 1 };
        }
        self.at += 1;
        serde_json::from_str(self.text.get(start..self.at)?).ok()
    }

    fn put_array(&mut self, out: &mut Vec<u8>) -> Option<()> {
        self.nested(|json| {
            let count_at = out.len();
            put_count(0, out);
            let mut count = 0_u64;
            while json.peek()? != b']' {
                if count > 0 {
                    json.eat(b',')?;
                }
                json.put_value(out)?;
                count += 1;
            }
            out[count_at + 1..count_at + 9].copy_from_slice(&count.to_le_bytes());
            Some(())
        })
    }

    /// Of members with one name the last counts.
    fn put_object(&mut self, out: &mut Vec<u8>) -> Option<()> {
        self.nested(|json| {
            let mut members = std::collections::BTreeMap::new();
            let mut is_first = true;
            while json.peek()? != b'}' {
                if !std::mem::take(&mut is_first) {
                    json.eat(b',')?;
                }
                let name = (json.peek()? == b'"').then(|| json.string())??;
                json.eat(b':')?;
                let mut value = Vec::new();
                json.put_value(&mut value)?;
                members.insert(name, value);
            }
            out.push(tag::JSON);
            out.extend((members.len() as u64).to_le_bytes());
            for (name, value) in members {
                put_bytes(tag::TEXT, name.as_bytes(), out);
                out.extend(value);
            }
            Some(())
        })
    }

    fn nested(&mut self, put: impl FnOnce(&mut Self) -> Option<()>) -> Option<()> {
        if self.depth == JSON_DEPTH_MAX {
            return None;
        }
        self.depth += 1;
        self.at += 1;
        put(self)?;
        self.depth -= 1;
        self.at += 1;
        Some(())
    }
}
