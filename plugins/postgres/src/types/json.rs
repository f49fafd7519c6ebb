//! Nested values as JSON, where a column has no better type for them.

use arrow::array::{Array, ArrayRef, AsArray, GenericListArray, OffsetSizeTrait};
use arrow::datatypes::{DataType, Field, Float32Type, Float64Type};
use model::LogicalType;

use super::Misfit;
use super::encode::{WriteText, scalar_text};

/// Writes the JSON of one value, `null` included. `None` if a part of it has no JSON.
pub(crate) fn json_text<'a>(array: &'a dyn Array, field: &Field) -> Option<WriteText<'a>> {
    let write: WriteText<'a> = match array.data_type() {
        DataType::Null => Box::new(|_, _| Ok(())),
        DataType::Utf8 => {
            let array = array.as_string::<i32>();
            text_json(field, move |row| array.value(row))
        }
        DataType::LargeUtf8 => {
            let array = array.as_string::<i64>();
            text_json(field, move |row| array.value(row))
        }
        DataType::List(item) => list_json::<i32>(array.as_list(), item)?,
        DataType::LargeList(item) => list_json::<i64>(array.as_list(), item)?,
        DataType::Struct(fields) => {
            let parts = array.as_struct().columns().iter().zip(fields);
            let parts: Vec<_> = parts
                .map(|(column, field)| Some((quoted(field.name()), json_text(column.as_ref(), field)?)))
                .collect::<Option<_>>()?;
            Box::new(move |row, out| {
                out.push('{');
                for (i, (name, part)) in parts.iter().enumerate() {
                    out.push_str(if i == 0 { "" } else { ", " });
                    out.push_str(name);
                    out.push_str(": ");
                    part(row, out)?;
                }
                out.push('}');
                Ok(())
            })
        }
        DataType::Map(entries, _) => map_json(array, entries)?,
        DataType::Boolean
        | DataType::Int8
        | DataType::Int16
        | DataType::Int32
        | DataType::Int64
        | DataType::UInt8
        | DataType::UInt16
        | DataType::UInt32
        | DataType::UInt64
        | DataType::Decimal128(..)
        | DataType::Decimal256(..) => {
            let is_boolean = array.data_type() == &DataType::Boolean;
            let text = scalar_text(array, field)?;
            Box::new(move |row, out| {
                let start = out.len();
                text(row, out)?;
                if is_boolean {
                    let word = if out.ends_with('t') { "true" } else { "false" };
                    out.replace_range(start.., word);
                }
                Ok(())
            })
        }
        DataType::Float32 => {
            let array = array.as_primitive::<Float32Type>();
            float_json(array, field, move |row| array.value(row).is_finite())?
        }
        DataType::Float64 => {
            let array = array.as_primitive::<Float64Type>();
            float_json(array, field, move |row| array.value(row).is_finite())?
        }
        _ => {
            let text = scalar_text(array, field)?;
            Box::new(move |row, out| quoted_text(&text, row, out))
        }
    };
    Some(Box::new(move |row, out| {
        if array.is_null(row) || array.data_type() == &DataType::Null {
            out.push_str("null");
            return Ok(());
        }
        write(row, out)
    }))
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn quoted_text(text: &WriteText<'_>, row: usize, out: &mut String) -> Result<(), Misfit> {
    let mut written = String::new();
    text(row, &mut written)?;
    out.push_str(&quoted(&written));
    Ok(())
}

fn text_json<'a>(field: &Field, value: impl Fn(usize) -> &'a str + Send + Sync + 'a) -> WriteText<'a> {
    if LogicalType::of(field) == Some(LogicalType::Json) {
        return Box::new(move |row, out| {
            out.push_str(value(row));
            Ok(())
        });
    }
    Box::new(move |row, out| {
        out.push_str(&quoted(value(row)));
        Ok(())
    })
}

/// JSON has no NaN and no infinity: they are text there.
fn float_json<'a>(
    array: &'a dyn Array,
    field: &Field,
    is_finite: impl Fn(usize) -> bool + Send + Sync + 'a,
) -> Option<WriteText<'a>> {
    let text = scalar_text(array, field)?;
    Some(Box::new(move |row, out| {
        if is_finite(row) {
            text(row, out)
        } else {
            quoted_text(&text, row, out)
        }
    }))
}

fn list_json<'a, O: OffsetSizeTrait>(array: &'a GenericListArray<O>, item: &Field) -> Option<WriteText<'a>> {
    let values: &'a ArrayRef = array.values();
    let part = json_text(values.as_ref(), item)?;
    Some(Box::new(move |row, out| {
        let offsets = array.value_offsets();
        out.push('[');
        for i in offsets[row].as_usize()..offsets[row + 1].as_usize() {
            out.push_str(if i == offsets[row].as_usize() { "" } else { ", " });
            part(i, out)?;
        }
        out.push(']');
        Ok(())
    }))
}

fn map_json<'a>(array: &'a dyn Array, entries: &Field) -> Option<WriteText<'a>> {
    let array = array.as_map();
    let DataType::Struct(fields) = entries.data_type() else {
        return None;
    };
    let [key_field, value_field] = fields.as_ref() else {
        return None;
    };
    let is_text = matches!(key_field.data_type(), DataType::Utf8 | DataType::LargeUtf8);
    let key = json_text(array.keys().as_ref(), key_field)?;
    let value = json_text(array.values().as_ref(), value_field)?;
    Some(Box::new(move |row, out| {
        let offsets = array.value_offsets();
        out.push('{');
        for i in offsets[row] as usize..offsets[row + 1] as usize {
            out.push_str(if i == offsets[row] as usize { "" } else { ", " });
            let start = out.len();
            key(i, out)?;
            if !is_text {
                let name = quoted(out[start..].trim_matches('"'));
                out.replace_range(start.., &name);
            }
            out.push_str(": ");
            value(i, out)?;
        }
        out.push('}');
        Ok(())
    }))
}
