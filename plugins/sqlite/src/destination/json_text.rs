//! Nested values as JSON text, exactly.
//!
//! | Arrow type | JSON |
//! |---|---|
//! | booleans, integers | `true`, `12` (all digits, also of 64-bit integers) |
//! | floats | shortest digits that read back to the same value; `"NaN"`, `"Infinity"`, `"-Infinity"` as text |
//! | text | text |
//! | binary | lower-case hexadecimal text |
//! | everything else with a text form | that text |
//! | lists | `[...]` |
//! | structs | `{"field": ...}` in field order |
//! | maps | `[[key, value], ...]` in stored order, because keys need not be text |

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Field, FieldRef};

use super::cells::{Cells, Plain};
use super::value_text::{put, put_hex};

/// Appends the value at `row` of a column described by `field`.
pub(crate) fn put_json(out: &mut String, field: &Field, array: &dyn Array, row: usize) {
    if array.is_null(row) {
        out.push_str("null");
        return;
    }
    match array.data_type() {
        DataType::List(item) => put_list(out, item, &array.as_list::<i32>().value(row)),
        DataType::LargeList(item) => put_list(out, item, &array.as_list::<i64>().value(row)),
        DataType::Struct(fields) => {
            let columns = array.as_struct().columns();
            out.push('{');
            for (i, (field, column)) in fields.iter().zip(columns).enumerate() {
                if i > 0 {
                    out.push(',');
                }
                put_string(out, field.name());
                out.push(':');
                put_json(out, field, column, row);
            }
            out.push('}');
        }
        DataType::Map(entry, _) => put_map(out, entry, &array.as_map().value(row)),
        _ => put_scalar(out, field, array, row),
    }
}

fn put_list(out: &mut String, item: &FieldRef, values: &ArrayRef) {
    out.push('[');
    for row in 0..values.len() {
        if row > 0 {
            out.push(',');
        }
        put_json(out, item, values, row);
    }
    out.push(']');
}

fn put_map(out: &mut String, entry: &FieldRef, entries: &arrow::array::StructArray) {
    let DataType::Struct(fields) = entry.data_type() else {
        out.push_str("[]");
        return;
    };
    out.push('[');
    for row in 0..entries.len() {
        out.push_str(if row > 0 { ",[" } else { "[" });
        for (i, (field, column)) in fields.iter().zip(entries.columns()).enumerate() {
            if i > 0 {
                out.push(',');
            }
            put_json(out, field, column, row);
        }
        out.push(']');
    }
    out.push(']');
}

fn put_scalar(out: &mut String, field: &Field, array: &dyn Array, row: usize) {
    let Some(cells) = Cells::of(field, array) else {
        // Not reachable: a schema with a type outside the vocabulary is refused before its first row.
        out.push_str("null");
        return;
    };
    let mut text = String::new();
    match cells.plain(row, &mut text) {
        Plain::Null => out.push_str("null"),
        Plain::Integer(value) if *array.data_type() == DataType::Boolean => {
            out.push_str(if value == 0 { "false" } else { "true" });
        }
        Plain::Integer(value) => put!(out, "{value}"),
        // A 32-bit float is printed as one: its shortest digits, not those of the same value in 64 bits.
        Plain::Real(value) if *array.data_type() == DataType::Float32 => {
            put_float(out, value, format!("{:?}", value as f32))
        }
        Plain::Real(value) => put_float(out, value, format!("{value:?}")),
        Plain::Text(text) if *array.data_type() == DataType::UInt64 => out.push_str(text),
        Plain::Text(text) => put_string(out, text),
        Plain::Blob(bytes) => {
            out.push('"');
            bytes.iter().for_each(|&byte| put_hex(out, byte));
            out.push('"');
        }
    }
}

fn put_float(out: &mut String, value: f64, digits: String) {
    if value.is_finite() {
        out.push_str(&digits);
    } else {
        out.push_str(if value > 0.0 { "\"Infinity\"" } else { "\"-Infinity\"" });
    }
}

/// A JSON string.
pub(crate) fn put_string(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if (c as u32) < 0x20 => put!(out, "\\u{:04x}", c as u32),
            c => out.push(c),
        }
    }
    out.push('"');
}

use std::fmt::Write as _;
