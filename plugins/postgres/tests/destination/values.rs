//! Values as the server prints them, brought to the text that the conformance suite expects.

use api::conformance::{Row, text_of};
use arrow::array::{Array as _, ArrayRef, AsArray as _};
use arrow::datatypes::{
    DataType, DurationMicrosecondType, DurationMillisecondType, DurationNanosecondType, DurationSecondType, Field,
    IntervalDayTimeType, IntervalMonthDayNanoType, IntervalUnit, IntervalYearMonthType, TimeUnit,
};
use model::{LogicalType, StreamSchema};

/// Session settings with which values are read.
pub(crate) const SETTINGS: &str = "SET TimeZone = 'UTC'; SET DateStyle = 'ISO'; SET IntervalStyle = 'iso_8601'";

/// The text for a value that was written.
pub(crate) fn shown(field: &Field, column: &ArrayRef, row: usize) -> Option<String> {
    if column.is_null(row) {
        return None;
    }
    let micros = match column.data_type() {
        DataType::Duration(TimeUnit::Second) => column.as_primitive::<DurationSecondType>().value(row) * 1_000_000,
        DataType::Duration(TimeUnit::Millisecond) => {
            column.as_primitive::<DurationMillisecondType>().value(row) * 1_000
        }
        DataType::Duration(TimeUnit::Microsecond) => column.as_primitive::<DurationMicrosecondType>().value(row),
        DataType::Duration(TimeUnit::Nanosecond) => {
            let nanos = column.as_primitive::<DurationNanosecondType>().value(row);
            return Some(span(0, 0, nanos as f64 / 1_000.0));
        }
        DataType::Interval(IntervalUnit::YearMonth) => {
            let months = column.as_primitive::<IntervalYearMonthType>().value(row);
            return Some(span(months.into(), 0, 0.0));
        }
        DataType::Interval(IntervalUnit::DayTime) => {
            let value = column.as_primitive::<IntervalDayTimeType>().value(row);
            return Some(span(0, value.days.into(), f64::from(value.milliseconds) * 1_000.0));
        }
        DataType::Interval(IntervalUnit::MonthDayNano) => {
            let value = column.as_primitive::<IntervalMonthDayNanoType>().value(row);
            let micros = value.nanoseconds as f64 / 1_000.0;
            return Some(span(value.months.into(), value.days.into(), micros));
        }
        DataType::List(_) | DataType::LargeList(_) | DataType::Struct(_) | DataType::Map(..) => {
            return Some(nested(column, row).to_string());
        }
        _ => {
            let text = text_of(column.as_ref(), row)?;
            return Some(match LogicalType::of(field) {
                Some(LogicalType::Uuid) => text.replace('-', ""),
                _ => text,
            });
        }
    };
    Some(span(0, 0, micros as f64))
}

fn span(months: i64, days: i64, micros: f64) -> String {
    format!("{months} months {days} days {micros:?} us")
}

/// Brings what the server printed to the same text.
pub(crate) fn read(schema: &StreamSchema, row: Row) -> Row {
    row.into_iter()
        .map(|(name, text)| {
            let field = schema.arrow().field_with_name(&name).ok();
            let text = text.map(|text| field.map_or(text.clone(), |field| from_server(field, text)));
            (name, text)
        })
        .collect()
}

fn from_server(field: &Field, text: String) -> String {
    if LogicalType::of(field) == Some(LogicalType::Uuid) {
        return text.replace('-', "");
    }
    match field.data_type() {
        DataType::Boolean => if text == "t" { "true" } else { "false" }.to_owned(),
        DataType::Float32 => format!("{:?}", text.parse::<f32>().unwrap()),
        DataType::Float64 => format!("{:?}", text.parse::<f64>().unwrap()),
        DataType::Binary | DataType::LargeBinary | DataType::FixedSizeBinary(_) => {
            text.strip_prefix("\\x").unwrap().to_owned()
        }
        DataType::Timestamp(_, zone) => {
            let text = text.replace(' ', "T");
            match zone {
                Some(_) => text.strip_suffix("+00").unwrap().to_owned() + "Z",
                None => text,
            }
        }
        DataType::Duration(_) | DataType::Interval(_) => interval(&text),
        DataType::List(_) | DataType::LargeList(_) if text.starts_with('{') => array(&text).to_string(),
        DataType::List(_) | DataType::LargeList(_) | DataType::Struct(_) | DataType::Map(..) => {
            serde_json::from_str::<serde_json::Value>(&text).unwrap().to_string()
        }
        _ => text,
    }
}

/// `P1Y2M3DT4H5M6.7S`, each number with its own sign.
fn interval(text: &str) -> String {
    let (mut months, mut days, mut micros) = (0, 0, 0.0);
    let (mut number, mut is_time) = (String::new(), false);
    for c in text.chars().skip(1) {
        let value = number.parse::<f64>().unwrap_or(0.0);
        match (c, is_time) {
            ('T', _) => is_time = true,
            ('Y', _) => months += 12 * value as i64,
            ('M', false) => months += value as i64,
            ('W', _) => days += 7 * value as i64,
            ('D', _) => days += value as i64,
            ('H', _) => micros += value * 3_600e6,
            ('M', true) => micros += value * 60e6,
            ('S', _) => micros += (value * 1e6).round(),
            (c, _) => {
                number.push(c);
                continue;
            }
        }
        number.clear();
    }
    span(months, days, micros)
}

/// `{1,NULL,"a\"b"}` as JSON texts and nulls.
fn array(text: &str) -> serde_json::Value {
    let mut items: Vec<Option<String>> = Vec::new();
    let mut chars = text[1..text.len() - 1].chars().peekable();
    while chars.peek().is_some() {
        let mut item = String::new();
        let is_quoted = chars.next_if_eq(&'"').is_some();
        while let Some(c) = chars.next() {
            match c {
                '\\' => item.extend(chars.next()),
                '"' if is_quoted => {
                    chars.next();
                    break;
                }
                ',' if !is_quoted => break,
                c => item.push(c),
            }
        }
        items.push((is_quoted || item != "NULL").then_some(item));
    }
    items.into()
}

/// A nested value: lists as texts, structs and maps as JSON.
fn nested(column: &ArrayRef, row: usize) -> serde_json::Value {
    let texts = |items: ArrayRef| -> serde_json::Value {
        let texts: Vec<Option<String>> = (0..items.len()).map(|at| text_of(items.as_ref(), at)).collect();
        texts.into()
    };
    let json = |items: &ArrayRef, at: usize| match (text_of(items.as_ref(), at), items.data_type()) {
        (None, _) => serde_json::Value::Null,
        (Some(text), DataType::Int64) => text.parse::<i64>().unwrap().into(),
        (Some(text), _) => text.into(),
    };
    match column.data_type() {
        DataType::List(_) => texts(column.as_list::<i32>().value(row)),
        DataType::LargeList(_) => texts(column.as_list::<i64>().value(row)),
        DataType::Struct(fields) => {
            let parts = fields.iter().zip(column.as_struct().columns());
            let parts = parts.map(|(field, part)| (field.name().clone(), json(part, row)));
            serde_json::Value::Object(parts.collect())
        }
        _ => {
            let entries = column.as_map().value(row);
            let pairs = (0..entries.len()).map(|at| {
                let key = text_of(entries.column(0).as_ref(), at).unwrap();
                (key, json(entries.column(1), at))
            });
            serde_json::Value::Object(pairs.collect())
        }
    }
}
