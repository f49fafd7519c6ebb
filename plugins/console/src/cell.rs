//! Values as they are printed.

use arrow::array::{Array, AsArray, make_array};
use arrow::datatypes::{DataType, Float32Type, Float64Type, TimeUnit};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use serde_json::{Number, Value};

/// A value as text; `None` for null.
///
/// Binary is lower-case hex, an instant is in UTC with `Z` whatever its column's zone is, a float is the shortest text that
/// reads back. A value that Arrow cannot print (a date beyond the calendar) is its number, in Arrow's words.
pub(crate) fn text(column: &dyn Array, row: usize) -> Option<String> {
    if column.is_null(row) || column.data_type().is_null() {
        return None;
    }
    Some(match column.data_type() {
        DataType::Float32 => format!("{:?}", column.as_primitive::<Float32Type>().value(row)),
        DataType::Float64 => format!("{:?}", column.as_primitive::<Float64Type>().value(row)),
        // Arrow's formatter knows zones by offset only.
        DataType::Timestamp(unit, Some(_)) => format!("{}Z", without_zone(column, row, *unit)),
        _ => formatted(column, row),
    })
}

fn formatted(column: &dyn Array, row: usize) -> String {
    let options = FormatOptions::default().with_display_error(true);
    match ArrayFormatter::try_new(column, &options) {
        Ok(formatter) => formatter.value(row).to_string(),
        Err(error) => format!("<{error}>"),
    }
}

fn without_zone(column: &dyn Array, row: usize, unit: TimeUnit) -> String {
    let bare = column
        .slice(row, 1)
        .to_data()
        .into_builder()
        .data_type(DataType::Timestamp(unit, None));
    match bare.build() {
        Ok(bare) => formatted(make_array(bare).as_ref(), 0),
        Err(error) => format!("<{error}>"),
    }
}

/// A value as JSON: numbers and booleans as such, everything else as its text. Numbers that JSON lacks (`NaN`, infinities)
/// are text too.
pub(crate) fn json(column: &dyn Array, row: usize) -> Value {
    let Some(text) = text(column, row) else {
        return Value::Null;
    };
    let data_type = column.data_type();
    let number = (data_type.is_integer() || data_type.is_floating()).then(|| text.parse::<Number>().ok());
    match (data_type, number.flatten()) {
        (DataType::Boolean, _) => Value::Bool(text == "true"),
        (_, Some(number)) => Value::Number(number),
        _ => Value::String(text),
    }
}
