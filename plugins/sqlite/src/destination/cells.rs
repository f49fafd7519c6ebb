//! The values of one column, looked up by row and handed to SQLite without a copy where their form allows it.

use std::fmt::Write as _;

use arrow::array::{
    Array, ArrowPrimitiveType, AsArray, BooleanArray, FixedSizeBinaryArray, GenericByteArray, PrimitiveArray,
};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{
    BinaryType, DataType, Date32Type, Decimal128Type, Decimal256Type, DurationMicrosecondType, DurationMillisecondType,
    DurationNanosecondType, DurationSecondType, Field, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type,
    Int64Type, IntervalDayTime, IntervalDayTimeType, IntervalMonthDayNano, IntervalMonthDayNanoType, IntervalUnit,
    IntervalYearMonthType, LargeBinaryType, LargeUtf8Type, Time64MicrosecondType, Time64NanosecondType, TimeUnit,
    TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType, UInt8Type,
    UInt16Type, UInt32Type, UInt64Type, Utf8Type, i256,
};
use rusqlite::Statement;
use rusqlite::types::{Null, ToSql, ToSqlOutput, ValueRef};

use super::form::Form;
use super::json_text::put_json;
use super::value_text::{put, put_date, put_decimal, put_interval, put_time, put_timestamp, put_uuid};

/// What stands for a NaN, which SQLite would make NULL.
pub(crate) const NAN: &str = "NaN";

/// One column of a batch, downcast once.
pub(crate) struct Cells<'a> {
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
    Text(&'a GenericByteArray<Utf8Type>),
    LargeText(&'a GenericByteArray<LargeUtf8Type>),
    Blob(&'a GenericByteArray<BinaryType>),
    LargeBlob(&'a GenericByteArray<LargeBinaryType>),
    FixedBlob(&'a FixedSizeBinaryArray),
    Uuid(&'a FixedSizeBinaryArray),
    Date(&'a [i32]),
    Time(&'a [i64], u8),
    Timestamp(&'a [i64], u8, bool),
    Months(&'a [i32]),
    DayTime(&'a [IntervalDayTime]),
    MonthDayNano(&'a [IntervalMonthDayNano]),
    Decimal128(&'a [i128], i8),
    Decimal256(&'a [i256], i8),
    Json(&'a Field, &'a dyn Array),
}

/// A value as SQLite takes it.
#[derive(Debug, PartialEq)]
pub(crate) enum Plain<'a> {
    Null,
    Integer(i64),
    Real(f64),
    Text(&'a str),
    Blob(&'a [u8]),
}

fn primitive<T: ArrowPrimitiveType>(array: &dyn Array) -> &[T::Native] {
    let array: &PrimitiveArray<T> = array.as_primitive();
    array.values()
}

impl<'a> Cells<'a> {
    /// `None` for a type outside the vocabulary. `field` says what the Arrow type alone does not.
    pub(crate) fn of(field: &'a Field, array: &'a dyn Array) -> Option<Self> {
        let form = Form::of(field)?;
        let values = match (array.data_type(), form) {
            (DataType::Null, _) => Values::Null,
            (DataType::Boolean, _) => Values::Boolean(array.as_boolean()),
            (DataType::Int8, _) => Values::I8(primitive::<Int8Type>(array)),
            (DataType::Int16, _) => Values::I16(primitive::<Int16Type>(array)),
            (DataType::Int32, _) => Values::I32(primitive::<Int32Type>(array)),
            (DataType::Int64, _) => Values::I64(primitive::<Int64Type>(array)),
            (DataType::UInt8, _) => Values::U8(primitive::<UInt8Type>(array)),
            (DataType::UInt16, _) => Values::U16(primitive::<UInt16Type>(array)),
            (DataType::UInt32, _) => Values::U32(primitive::<UInt32Type>(array)),
            (DataType::UInt64, _) => Values::U64(primitive::<UInt64Type>(array)),
            (DataType::Float32, _) => Values::F32(primitive::<Float32Type>(array)),
            (DataType::Float64, _) => Values::F64(primitive::<Float64Type>(array)),
            (DataType::Utf8, _) => Values::Text(array.as_string()),
            (DataType::LargeUtf8, _) => Values::LargeText(array.as_string()),
            (DataType::Binary, _) => Values::Blob(array.as_binary()),
            (DataType::LargeBinary, _) => Values::LargeBlob(array.as_binary()),
            (DataType::FixedSizeBinary(_), Form::Uuid) => Values::Uuid(array.as_fixed_size_binary()),
            (DataType::FixedSizeBinary(_), _) => Values::FixedBlob(array.as_fixed_size_binary()),
            (DataType::Date32, _) => Values::Date(primitive::<Date32Type>(array)),
            (DataType::Time64(unit), Form::Time(digits)) => Values::Time(
                match unit {
                    TimeUnit::Nanosecond => primitive::<Time64NanosecondType>(array),
                    _ => primitive::<Time64MicrosecondType>(array),
                },
                digits,
            ),
            (DataType::Timestamp(unit, _), Form::Timestamp { digits, is_utc }) => Values::Timestamp(
                match unit {
                    TimeUnit::Second => primitive::<TimestampSecondType>(array),
                    TimeUnit::Millisecond => primitive::<TimestampMillisecondType>(array),
                    TimeUnit::Microsecond => primitive::<TimestampMicrosecondType>(array),
                    TimeUnit::Nanosecond => primitive::<TimestampNanosecondType>(array),
                },
                digits,
                is_utc,
            ),
            (DataType::Duration(unit), _) => Values::I64(match unit {
                TimeUnit::Second => primitive::<DurationSecondType>(array),
                TimeUnit::Millisecond => primitive::<DurationMillisecondType>(array),
                TimeUnit::Microsecond => primitive::<DurationMicrosecondType>(array),
                TimeUnit::Nanosecond => primitive::<DurationNanosecondType>(array),
            }),
            (DataType::Interval(IntervalUnit::YearMonth), _) => {
                Values::Months(primitive::<IntervalYearMonthType>(array))
            }
            (DataType::Interval(IntervalUnit::DayTime), _) => Values::DayTime(primitive::<IntervalDayTimeType>(array)),
            (DataType::Interval(IntervalUnit::MonthDayNano), _) => {
                Values::MonthDayNano(primitive::<IntervalMonthDayNanoType>(array))
            }
            (DataType::Decimal128(..), Form::Decimal(scale)) => {
                Values::Decimal128(primitive::<Decimal128Type>(array), scale)
            }
            (DataType::Decimal256(..), Form::Decimal(scale)) => {
                Values::Decimal256(primitive::<Decimal256Type>(array), scale)
            }
            (_, Form::Json) => Values::Json(field, array),
            _ => return None,
        };
        Some(Cells {
            nulls: array.nulls(),
            values,
        })
    }

    /// The value at `row`. Text that has to be made is made in `scratch`.
    pub(crate) fn plain<'b>(&'b self, row: usize, scratch: &'b mut String) -> Plain<'b> {
        if self.nulls.is_some_and(|nulls| nulls.is_null(row)) {
            return Plain::Null;
        }
        match &self.values {
            Values::Null => Plain::Null,
            Values::Boolean(values) => Plain::Integer(values.value(row).into()),
            Values::I8(values) => Plain::Integer(values[row].into()),
            Values::I16(values) => Plain::Integer(values[row].into()),
            Values::I32(values) => Plain::Integer(values[row].into()),
            Values::I64(values) => Plain::Integer(values[row]),
            Values::U8(values) => Plain::Integer(values[row].into()),
            Values::U16(values) => Plain::Integer(values[row].into()),
            Values::U32(values) => Plain::Integer(values[row].into()),
            Values::F32(values) => real(values[row].into()),
            Values::F64(values) => real(values[row]),
            Values::Text(values) => Plain::Text(values.value(row)),
            Values::LargeText(values) => Plain::Text(values.value(row)),
            Values::Blob(values) => Plain::Blob(values.value(row)),
            Values::LargeBlob(values) => Plain::Blob(values.value(row)),
            Values::FixedBlob(values) => Plain::Blob(values.value(row)),
            made => {
                scratch.clear();
                made.put_text(row, scratch);
                Plain::Text(scratch)
            }
        }
    }

    /// Binds the value at `row` to a parameter, counted from 1.
    pub(crate) fn bind(
        &self,
        statement: &mut Statement<'_>,
        parameter: usize,
        row: usize,
        scratch: &mut String,
    ) -> rusqlite::Result<()> {
        let value = match self.plain(row, scratch) {
            Plain::Null => ValueRef::Null,
            Plain::Integer(value) => ValueRef::Integer(value),
            Plain::Real(value) => ValueRef::Real(value),
            Plain::Text(value) => ValueRef::Text(value.as_bytes()),
            Plain::Blob(value) => ValueRef::Blob(value),
        };
        statement.raw_bind_parameter(parameter, ToSqlOutput::Borrowed(value))
    }

    /// Binds values to the parameters beside their rows. What kind of values they are is looked at once for all of them, which
    /// for the commonest kinds halves what a value costs.
    pub(crate) fn bind_rows(
        &self,
        statement: &mut Statement<'_>,
        rows: impl Iterator<Item = (usize, usize)>,
        scratch: &mut String,
    ) -> rusqlite::Result<()> {
        match &self.values {
            Values::I32(values) => self.bind_each(statement, rows, |row| values[row]),
            Values::I64(values) => self.bind_each(statement, rows, |row| values[row]),
            Values::Text(values) => self.bind_each(statement, rows, |row| values.value(row)),
            Values::Blob(values) => self.bind_each(statement, rows, |row| values.value(row)),
            _ => {
                for (row, parameter) in rows {
                    self.bind(statement, parameter, row, scratch)?;
                }
                Ok(())
            }
        }
    }

    fn bind_each<T: ToSql>(
        &self,
        statement: &mut Statement<'_>,
        rows: impl Iterator<Item = (usize, usize)>,
        value: impl Fn(usize) -> T,
    ) -> rusqlite::Result<()> {
        for (row, parameter) in rows {
            match self.nulls {
                Some(nulls) if nulls.is_null(row) => statement.raw_bind_parameter(parameter, Null)?,
                _ => statement.raw_bind_parameter(parameter, value(row))?,
            }
        }
        Ok(())
    }
}

impl Values<'_> {
    fn put_text(&self, row: usize, out: &mut String) {
        match self {
            Values::U64(values) => put!(out, "{}", values[row]),
            Values::Uuid(values) => put_uuid(out, values.value(row)),
            Values::Date(values) => put_date(out, values[row].into()),
            Values::Time(values, digits) => put_time(out, values[row], *digits),
            Values::Timestamp(values, digits, is_utc) => put_timestamp(out, values[row], *digits, *is_utc),
            Values::Months(values) => put_interval(out, values[row], 0, 0),
            Values::DayTime(values) => {
                let nanoseconds = i64::from(values[row].milliseconds) * 1_000_000;
                put_interval(out, 0, values[row].days, nanoseconds);
            }
            Values::MonthDayNano(values) => {
                let value = values[row];
                put_interval(out, value.months, value.days, value.nanoseconds);
            }
            Values::Decimal128(values, scale) => put_decimal(out, &values[row].to_string(), *scale),
            Values::Decimal256(values, scale) => put_decimal(out, &values[row].to_string(), *scale),
            Values::Json(field, array) => put_json(out, field, *array, row),
            _ => debug_assert!(false, "a value without a text form was asked for its text"),
        }
    }
}

fn real<'a>(value: f64) -> Plain<'a> {
    if value.is_nan() {
        Plain::Text(NAN)
    } else {
        Plain::Real(value)
    }
}
