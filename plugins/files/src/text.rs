//! How values read in CSV and in NDJSON: exact, and the same in both.
//!
//! | type | CSV | NDJSON |
//! |---|---|---|
//! | boolean | `true`, `false` | `true`, `false` |
//! | integer | digits | number |
//! | float | shortest digits that read back; `NaN`, `Infinity`, `-Infinity` | number; `"NaN"`, `"Infinity"`, `"-Infinity"` |
//! | decimal | digits | string of digits, so that no reader rounds them |
//! | text, and the logical types carried as text | as it is | string |
//! | binary | lower-case hex | string |
//! | uuid (16 bytes) | hyphenated lower case | string |
//! | date | `2026-11-25` | string |
//! | time | `13:45:00.123456` | string |
//! | timestamp | `2026-11-25T13:45:00.123456` | string |
//! | timestamp with a zone | the instant in UTC: `2026-11-25T13:45:00.123456Z` | string |
//! | duration | ISO 8601: `PT93784.5S` | string |
//! | interval | ISO 8601: `P1Y2M3DT4H5M6.7S` | string |
//! | list, struct | the JSON text | array, object |
//! | map with text keys | the JSON text | object |
//! | NULL, and the type `Null` | the `null` text of the spec | `null` |
//!
//! What has no form (a map with other keys; a date beyond the year 262142) is refused by name.

use std::fmt::Write as _;

use arrow::array::{Array, ArrayRef, AsArray, StringArray, StringBuilder, make_array};
use arrow::datatypes::{
    ArrowTimestampType, DataType, Field, Float32Type, Float64Type, IntervalDayTimeType, IntervalMonthDayNanoType,
    IntervalUnit, IntervalYearMonthType, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType,
    TimestampNanosecondType, TimestampSecondType,
};
use arrow::error::ArrowError;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use model::LogicalType;

/// The values of a column that both formats carry as text of their own; `None` for types that need none.
pub(crate) fn as_text(field: &Field, column: &dyn Array) -> Result<Option<StringArray>, ArrowError> {
    let text = match column.data_type() {
        DataType::FixedSizeBinary(16) if LogicalType::of(field) == Some(LogicalType::Uuid) => {
            let column = column.as_fixed_size_binary();
            render(column, |row, text| {
                let uuid = uuid::Uuid::from_slice(column.value(row)).map_err(|_| std::fmt::Error)?;
                write!(text, "{}", uuid.hyphenated())
            })?
        }
        DataType::Binary => {
            let column = column.as_binary::<i32>();
            render(column, |row, text| hex(column.value(row), text))?
        }
        DataType::LargeBinary => {
            let column = column.as_binary::<i64>();
            render(column, |row, text| hex(column.value(row), text))?
        }
        DataType::FixedSizeBinary(_) => {
            let column = column.as_fixed_size_binary();
            render(column, |row, text| hex(column.value(row), text))?
        }
        DataType::Timestamp(unit, Some(_)) => formatted(&in_utc(column, *unit))?,
        DataType::Decimal128(..)
        | DataType::Decimal256(..)
        | DataType::Date32
        | DataType::Time64(_)
        | DataType::Timestamp(_, None)
        | DataType::Duration(_) => formatted(column)?,
        DataType::Interval(unit) => interval(column, *unit)?,
        _ => return Ok(None),
    };
    Ok(Some(text))
}

/// ISO 8601 text of intervals.
pub(crate) fn interval(column: &dyn Array, unit: IntervalUnit) -> Result<StringArray, ArrowError> {
    match unit {
        IntervalUnit::YearMonth => {
            let column = column.as_primitive::<IntervalYearMonthType>();
            render(column, |row, text| iso_interval(column.value(row), 0, 0, text))
        }
        IntervalUnit::DayTime => {
            let column = column.as_primitive::<IntervalDayTimeType>();
            render(column, |row, text| {
                let value = column.value(row);
                iso_interval(0, value.days, i64::from(value.milliseconds) * 1_000_000, text)
            })
        }
        IntervalUnit::MonthDayNano => {
            let column = column.as_primitive::<IntervalMonthDayNanoType>();
            render(column, |row, text| {
                let value = column.value(row);
                iso_interval(value.months, value.days, value.nanoseconds, text)
            })
        }
    }
}

/// The word for a float that is no number.
pub(crate) fn special_float(value: f64) -> Option<&'static str> {
    match value {
        value if value.is_finite() => None,
        value if value.is_nan() => Some("NaN"),
        value if value > 0.0 => Some("Infinity"),
        _ => Some("-Infinity"),
    }
}

/// Floats as text.
pub(crate) fn floats(column: &dyn Array) -> Result<Option<StringArray>, ArrowError> {
    let text = match column.data_type() {
        DataType::Float32 => {
            let column = column.as_primitive::<Float32Type>();
            render(column, |row, text| match special_float(f64::from(column.value(row))) {
                Some(word) => text.write_str(word),
                None => write!(text, "{:?}", column.value(row)),
            })?
        }
        DataType::Float64 => {
            let column = column.as_primitive::<Float64Type>();
            render(column, |row, text| match special_float(column.value(row)) {
                Some(word) => text.write_str(word),
                None => write!(text, "{:?}", column.value(row)),
            })?
        }
        _ => return Ok(None),
    };
    Ok(Some(text))
}

/// Writes each value that is not null.
pub(crate) fn render(
    column: &dyn Array,
    mut value: impl FnMut(usize, &mut String) -> std::fmt::Result,
) -> Result<StringArray, ArrowError> {
    let mut builder = StringBuilder::with_capacity(column.len(), column.len() * 16);
    let mut text = String::new();
    for row in 0..column.len() {
        if column.is_null(row) {
            builder.append_null();
            continue;
        }
        text.clear();
        value(row, &mut text).map_err(|_| ArrowError::CastError("a value has no text form".to_owned()))?;
        builder.append_value(&text);
    }
    Ok(builder.finish())
}

/// As Arrow prints it; what it can only print as an error is one.
fn formatted(column: &dyn Array) -> Result<StringArray, ArrowError> {
    let options = FormatOptions::new().with_display_error(false);
    let formatter = ArrayFormatter::try_new(column, &options)?;
    render(column, |row, text| {
        formatter.value(row).write(text).map_err(|_| std::fmt::Error)
    })
}

/// The same instants, labelled as UTC: Arrow cannot print named zones.
fn in_utc(column: &dyn Array, unit: TimeUnit) -> ArrayRef {
    fn labelled<T: ArrowTimestampType>(column: &dyn Array) -> ArrayRef {
        make_array(column.as_primitive::<T>().clone().with_timezone("+00:00").into())
    }
    match unit {
        TimeUnit::Second => labelled::<TimestampSecondType>(column),
        TimeUnit::Millisecond => labelled::<TimestampMillisecondType>(column),
        TimeUnit::Microsecond => labelled::<TimestampMicrosecondType>(column),
        TimeUnit::Nanosecond => labelled::<TimestampNanosecondType>(column),
    }
}

fn hex(bytes: &[u8], text: &mut String) -> std::fmt::Result {
    bytes.iter().try_for_each(|byte| write!(text, "{byte:02x}"))
}

/// Months, days and nanoseconds do not convert into each other, and each may have a sign of its own.
fn iso_interval(months: i32, days: i32, nanoseconds: i64, text: &mut String) -> std::fmt::Result {
    if (months, days, nanoseconds) == (0, 0, 0) {
        return text.write_str("PT0S");
    }
    text.write_char('P')?;
    let designated = |text: &mut String, number: i64, letter: char| match number {
        0 => Ok(()),
        number => write!(text, "{number}{letter}"),
    };
    designated(text, i64::from(months / 12), 'Y')?;
    designated(text, i64::from(months % 12), 'M')?;
    designated(text, i64::from(days), 'D')?;
    if nanoseconds != 0 {
        text.write_char('T')?;
        let seconds = nanoseconds / 1_000_000_000;
        designated(text, seconds / 3_600, 'H')?;
        designated(text, seconds / 60 % 60, 'M')?;
        let (whole, fraction) = (seconds % 60, nanoseconds % 1_000_000_000);
        if (whole, fraction) != (0, 0) {
            let sign = if nanoseconds < 0 { "-" } else { "" };
            write!(text, "{sign}{}", whole.abs())?;
            if fraction != 0 {
                let digits = format!("{:09}", fraction.abs());
                write!(text, ".{}", digits.trim_end_matches('0'))?;
            }
            text.write_char('S')?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_keep_their_three_parts_and_signs() {
        for (parts, expected) in [
            ((0, 0, 0), "PT0S"),
            ((14, 3, 14_706_700_000_000), "P1Y2M3DT4H5M6.7S"),
            ((-13, 0, 0), "P-1Y-1M"),
            ((0, -1, 1), "P-1DT0.000000001S"),
            ((0, 0, -500_000_000), "PT-0.5S"),
            ((0, 0, -3_661_000_000_000), "PT-1H-1M-1S"),
        ] {
            let mut text = String::new();
            iso_interval(parts.0, parts.1, parts.2, &mut text).expect("writing to a string");
            assert_eq!(text, expected);
        }
    }
}
