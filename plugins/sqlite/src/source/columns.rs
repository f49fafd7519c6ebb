//! Column builders: SQLite values in, Arrow arrays out.
//!
//! Built for speed: one growing vector for each column, no value is copied twice, UTF-8 is checked once for a whole
//! column. A value that does not fit is reported with its row, and the caller names stream, column and key.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int64Array, StringArray,
    TimestampMicrosecondArray,
};
use arrow::buffer::{BooleanBuffer, Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use rusqlite::types::{Type, ValueRef};

use crate::column_type::{ColumnType, parse_decimal};

/// The largest integer up to which every integer is a double.
const EXACT_IN_DOUBLE_MAX: u64 = 1 << 53;

/// Values of one column, in row order.
pub(crate) struct ColumnBuilder {
    kind: ColumnType,
    values: Values,
    /// One entry for each row once a NULL was seen.
    is_valid: Option<Vec<bool>>,
    len: usize,
}

enum Values {
    Int64(Vec<i64>),
    Float64(Vec<f64>),
    Boolean(Vec<bool>),
    Bytes { offsets: Vec<i32>, data: Vec<u8> },
    Decimal(Vec<i128>),
    Date(Vec<i32>),
}

/// What is wrong with a value: its storage class and why it does not fit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Misfit(pub(crate) &'static str);

impl ColumnBuilder {
    pub(crate) fn new(kind: ColumnType) -> Self {
        let values = match kind {
            ColumnType::Int64 | ColumnType::Timestamp => Values::Int64(Vec::new()),
            ColumnType::Float64 => Values::Float64(Vec::new()),
            ColumnType::Boolean => Values::Boolean(Vec::new()),
            ColumnType::Text | ColumnType::AnyAsText | ColumnType::Json | ColumnType::Binary => Values::Bytes {
                offsets: vec![0],
                data: Vec::new(),
            },
            ColumnType::Decimal { .. } => Values::Decimal(Vec::new()),
            ColumnType::Date => Values::Date(Vec::new()),
        };
        ColumnBuilder {
            kind,
            values,
            is_valid: None,
            len: 0,
        }
    }

    /// A builder that begins with `len` NULLs.
    pub(crate) fn with_nulls(kind: ColumnType, len: usize) -> Self {
        let mut builder = Self::new(kind);
        for _ in 0..len {
            builder.push_null();
        }
        builder
    }

    /// Appends a value; answers about how many bytes it takes.
    pub(crate) fn push(&mut self, value: ValueRef<'_>) -> Result<usize, Misfit> {
        if value == ValueRef::Null {
            self.push_null();
            return Ok(1);
        }
        let bytes = match (&mut self.values, self.kind, value) {
            (Values::Int64(values), ColumnType::Int64, ValueRef::Integer(v)) => put(values, v),
            (Values::Float64(values), _, ValueRef::Real(v)) => put(values, v),
            (Values::Float64(values), _, ValueRef::Integer(v)) => {
                if v.unsigned_abs() > EXACT_IN_DOUBLE_MAX {
                    return Err(Misfit("an INTEGER beyond 2^53"));
                }
                put(values, v as f64)
            }
            (Values::Boolean(values), _, ValueRef::Integer(v @ (0 | 1))) => put(values, v == 1),
            (Values::Boolean(_), _, ValueRef::Integer(_)) => return Err(Misfit("an INTEGER other than 0 and 1")),
            (Values::Bytes { offsets, data }, kind, value) => {
                let before = data.len();
                push_bytes(data, kind, value)?;
                let end = i32::try_from(data.len()).map_err(|_| Misfit("more bytes than one batch can carry"))?;
                offsets.push(end);
                data.len() - before + 4
            }
            (Values::Decimal(values), ColumnType::Decimal { precision, scale }, value) => {
                put(values, decimal_of(value, precision, scale)?)
            }
            (Values::Date(values), _, ValueRef::Text(text)) => put(values, date_of(text)?),
            (Values::Int64(values), ColumnType::Timestamp, value) => put(values, timestamp_of(value)?),
            (_, _, value) => return Err(Misfit(storage_class(value))),
        };
        if let Some(is_valid) = &mut self.is_valid {
            is_valid.push(true);
        }
        self.len += 1;
        Ok(bytes)
    }

    pub(crate) fn push_null(&mut self) {
        match &mut self.values {
            Values::Int64(values) => values.push(0),
            Values::Float64(values) => values.push(0.0),
            Values::Boolean(values) => values.push(false),
            Values::Bytes { offsets, data } => offsets.push(data.len() as i32),
            Values::Decimal(values) => values.push(0),
            Values::Date(values) => values.push(0),
        }
        self.is_valid.get_or_insert_with(|| vec![true; self.len]).push(false);
        self.len += 1;
    }

    /// Takes everything after the first `len` values back.
    pub(crate) fn truncate(&mut self, len: usize) {
        match &mut self.values {
            Values::Int64(values) => values.truncate(len),
            Values::Float64(values) => values.truncate(len),
            Values::Boolean(values) => values.truncate(len),
            Values::Bytes { offsets, data } => {
                offsets.truncate(len + 1);
                data.truncate(offsets[offsets.len() - 1] as usize);
            }
            Values::Decimal(values) => values.truncate(len),
            Values::Date(values) => values.truncate(len),
        }
        if let Some(is_valid) = &mut self.is_valid {
            is_valid.truncate(len);
        }
        self.len = self.len.min(len);
    }

    /// The array; on a value that is no UTF-8, its row.
    pub(crate) fn finish(self) -> Result<ArrayRef, (usize, Misfit)> {
        let nulls = self
            .is_valid
            .filter(|valid| valid.iter().any(|v| !v))
            .map(|valid| NullBuffer::new(BooleanBuffer::from(valid)));
        Ok(match self.values {
            Values::Int64(values) if self.kind == ColumnType::Timestamp => {
                Arc::new(TimestampMicrosecondArray::new(scalars(values), nulls).with_timezone("+00:00"))
            }
            Values::Int64(values) => Arc::new(Int64Array::new(scalars(values), nulls)),
            Values::Float64(values) => Arc::new(Float64Array::new(scalars(values), nulls)),
            Values::Boolean(values) => Arc::new(BooleanArray::new(BooleanBuffer::from(values), nulls)),
            Values::Date(values) => Arc::new(Date32Array::new(scalars(values), nulls)),
            Values::Decimal(values) => {
                let array = Decimal128Array::new(scalars(values), nulls).with_data_type(self.kind.data_type());
                Arc::new(array)
            }
            Values::Bytes { offsets, data } => {
                let first_bad = |offsets: &[i32], data: &[u8]| {
                    offsets
                        .windows(2)
                        .position(|w| std::str::from_utf8(&data[w[0] as usize..w[1] as usize]).is_err())
                        .unwrap_or(0)
                };
                let offsets = OffsetBuffer::new(scalars(offsets));
                let data = Buffer::from_vec(slim(data));
                if self.kind == ColumnType::Binary {
                    Arc::new(BinaryArray::new(offsets, data, nulls))
                } else {
                    let array = StringArray::try_new(offsets.clone(), data.clone(), nulls)
                        .map_err(|_| (first_bad(&offsets, &data), Misfit("TEXT that is not valid UTF-8")))?;
                    Arc::new(array)
                }
            }
        })
    }
}

fn put<T>(values: &mut Vec<T>, value: T) -> usize {
    values.push(value);
    size_of::<T>()
}

fn scalars<T: arrow::datatypes::ArrowNativeType>(values: Vec<T>) -> ScalarBuffer<T> {
    ScalarBuffer::from(slim(values))
}

/// A vector that grew by doubling holds up to twice what it shows, and the memory budget counts what it shows.
fn slim<T>(mut values: Vec<T>) -> Vec<T> {
    if values.capacity() > values.len() + values.len() / 4 {
        values.shrink_to_fit();
    }
    values
}

fn push_bytes(data: &mut Vec<u8>, kind: ColumnType, value: ValueRef<'_>) -> Result<(), Misfit> {
    use std::io::Write as _;
    match (kind, value) {
        (ColumnType::Binary, ValueRef::Blob(bytes)) => data.extend_from_slice(bytes),
        (ColumnType::Text | ColumnType::AnyAsText | ColumnType::Json, ValueRef::Text(bytes)) => {
            data.extend_from_slice(bytes);
        }
        (ColumnType::AnyAsText | ColumnType::Json, ValueRef::Integer(v)) => {
            // Writing into a vector cannot fail.
            let _ = write!(data, "{v}");
        }
        (ColumnType::AnyAsText, ValueRef::Real(v)) => {
            let _ = write!(data, "{}", real_as_text(v));
        }
        (ColumnType::Json, ValueRef::Real(v)) if v.is_finite() => {
            let _ = write!(data, "{v:?}");
        }
        (ColumnType::AnyAsText, ValueRef::Blob(bytes)) => {
            data.extend_from_slice(b"x'");
            for byte in bytes {
                let _ = write!(data, "{byte:02x}");
            }
            data.push(b'\'');
        }
        (_, value) => return Err(Misfit(storage_class(value))),
    }
    Ok(())
}

/// The shortest text that reads back as the same double; infinities as SQLite prints them.
fn real_as_text(v: f64) -> String {
    if v.is_infinite() {
        return if v > 0.0 { "Inf".into() } else { "-Inf".into() };
    }
    format!("{v:?}")
}

fn decimal_of(value: ValueRef<'_>, precision: u8, scale: u8) -> Result<i128, Misfit> {
    let refused = Misfit("a number with more digits than declared");
    match value {
        ValueRef::Integer(v) => parse_decimal(&v.to_string(), precision, scale).ok_or(refused),
        ValueRef::Real(v) => parse_decimal(&format!("{v:?}"), precision, scale).ok_or(refused),
        ValueRef::Text(text) => std::str::from_utf8(text)
            .ok()
            .and_then(|text| parse_decimal(text, precision, scale))
            .ok_or(Misfit("TEXT that is no decimal of the declared size")),
        other => Err(Misfit(storage_class(other))),
    }
}

fn date_of(text: &[u8]) -> Result<i32, Misfit> {
    let misfit = Misfit("TEXT that is no date of the form YYYY-MM-DD");
    let text = std::str::from_utf8(text).map_err(|_| misfit.clone())?;
    if text.len() != 10 {
        return Err(misfit);
    }
    let date: jiff::civil::Date = text.parse().map_err(|_| misfit.clone())?;
    let epoch = jiff::civil::date(1970, 1, 1);
    epoch.until(date).map(|span| span.get_days()).map_err(|_| misfit)
}

fn timestamp_of(value: ValueRef<'_>) -> Result<i64, Misfit> {
    match value {
        ValueRef::Integer(seconds) => seconds
            .checked_mul(1_000_000)
            .ok_or(Misfit("an INTEGER beyond what seconds since 1970 can be")),
        ValueRef::Text(text) => {
            let misfit = Misfit("TEXT that is no time of the form YYYY-MM-DD HH:MM:SS");
            let text = std::str::from_utf8(text).map_err(|_| misfit.clone())?;
            parse_timestamp(text).ok_or(misfit)
        }
        other => Err(Misfit(storage_class(other))),
    }
}

/// Microseconds since 1970; `None` if it is not a time, or finer than that.
pub(crate) fn parse_timestamp(text: &str) -> Option<i64> {
    let nanos = match text.parse::<jiff::Timestamp>() {
        Ok(with_offset) => with_offset.as_nanosecond(),
        Err(_) => {
            let civil: jiff::civil::DateTime = text.parse().ok()?;
            civil
                .to_zoned(jiff::tz::TimeZone::UTC)
                .ok()?
                .timestamp()
                .as_nanosecond()
        }
    };
    (nanos % 1_000 == 0).then_some(i64::try_from(nanos / 1_000).ok()?)
}

/// SQLite's name for what a value is.
pub(crate) fn storage_class(value: ValueRef<'_>) -> &'static str {
    match value.data_type() {
        Type::Null => "NULL",
        Type::Integer => "an INTEGER",
        Type::Real => "a REAL",
        Type::Text => "a TEXT",
        Type::Blob => "a BLOB",
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use api::conformance::text_of;
    use arrow::array::Array as _;

    use super::*;

    fn check(kind: ColumnType, value: ValueRef<'_>, expected: Result<&str, &str>) {
        let mut builder = ColumnBuilder::new(kind);
        builder.push_null();
        let got = builder
            .push(value)
            .map_err(|misfit| misfit.0.to_owned())
            .and_then(|_| builder.finish().map_err(|(_, misfit)| misfit.0.to_owned()))
            .map(|array| {
                assert!(array.is_null(0));
                text_of(&array, 1).unwrap()
            });
        assert_eq!(
            got.as_deref(),
            expected.map_err(str::to_owned).as_deref(),
            "{kind:?} {value:?}"
        );
    }

    #[test]
    fn values_fit_exactly_or_not_at_all() {
        use ColumnType as C;
        use ValueRef as V;
        check(C::Int64, V::Integer(i64::MIN), Ok("-9223372036854775808"));
        check(C::Int64, V::Real(1.5), Err("a REAL"));
        check(C::Int64, V::Text(b"x"), Err("a TEXT"));
        check(C::Float64, V::Integer(-(1 << 53)), Ok("-9007199254740992.0"));
        check(C::Float64, V::Integer((1 << 53) + 1), Err("an INTEGER beyond 2^53"));
        check(C::Float64, V::Real(f64::INFINITY), Ok("inf"));
        check(C::Boolean, V::Integer(1), Ok("true"));
        check(C::Boolean, V::Integer(2), Err("an INTEGER other than 0 and 1"));
        check(C::Text, V::Text("ä".as_bytes()), Ok("ä"));
        check(C::Text, V::Text(b"\xff"), Err("TEXT that is not valid UTF-8"));
        check(C::Text, V::Integer(5), Err("an INTEGER"));
        check(C::AnyAsText, V::Integer(5), Ok("5"));
        check(C::AnyAsText, V::Real(0.1), Ok("0.1"));
        check(C::AnyAsText, V::Real(f64::NEG_INFINITY), Ok("-Inf"));
        check(C::AnyAsText, V::Blob(b"\x00\xff"), Ok("x'00ff'"));
        check(C::Json, V::Integer(5), Ok("5"));
        check(C::Json, V::Blob(b"{}"), Err("a BLOB"));
        check(C::Binary, V::Text(b"x"), Err("a TEXT"));
        check(C::Decimal { precision: 4, scale: 2 }, V::Real(12.34), Ok("12.34"));
        check(
            C::Decimal { precision: 4, scale: 2 },
            V::Real(0.1 + 0.2),
            Err("a number with more digits than declared"),
        );
        check(
            C::Decimal { precision: 4, scale: 2 },
            V::Integer(100),
            Err("a number with more digits than declared"),
        );
        check(C::Date, V::Text(b"2026-02-28"), Ok("2026-02-28"));
        check(
            C::Date,
            V::Text(b"2026-02-30"),
            Err("TEXT that is no date of the form YYYY-MM-DD"),
        );
        check(
            C::Timestamp,
            V::Text(b"2026-02-28 01:02:03.5"),
            Ok("2026-02-28T01:02:03.500Z"),
        );
        check(
            C::Timestamp,
            V::Text(b"2026-02-28T01:02:03+01:00"),
            Ok("2026-02-28T00:02:03Z"),
        );
        check(C::Timestamp, V::Integer(0), Ok("1970-01-01T00:00:00Z"));
    }

    #[test]
    fn misfit_in_a_column_is_found_by_its_row() {
        let mut builder = ColumnBuilder::new(ColumnType::Text);
        for text in [&b"a"[..], b"b", b"\xc3", b"\xa4"] {
            builder.push(ValueRef::Text(text)).unwrap();
        }
        assert_eq!(
            builder.finish().unwrap_err().0,
            2,
            "the pieces of one character in two values fit together nowhere"
        );
    }

    #[test]
    fn truncated_builder_goes_on_where_it_was_cut() {
        let mut builder = ColumnBuilder::new(ColumnType::Text);
        for text in ["one", "two", "three"] {
            builder.push(ValueRef::Text(text.as_bytes())).unwrap();
        }
        builder.truncate(1);
        builder.push_null();
        let array = builder.finish().unwrap();
        assert_eq!((array.len(), text_of(&array, 0).unwrap().as_str()), (2, "one"));
    }
}
