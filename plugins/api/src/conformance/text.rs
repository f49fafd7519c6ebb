//! Values as text, so that what a system shows can be compared with what was written.

use std::collections::BTreeMap;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, make_array};
use arrow::datatypes::{DataType, Float32Type, Float64Type, TimeUnit};
use arrow::util::display::{ArrayFormatter, FormatOptions};

/// A row: column name to text, `None` for NULL.
pub type Row = BTreeMap<String, Option<String>>;

/// The text of one value; `None` for NULL.
///
/// | type | text |
/// |---|---|
/// | boolean | `true`, `false` |
/// | integer, decimal | digits |
/// | float | shortest that reads back: `1.5`, `1e300`, `NaN`, `inf`, `-inf` |
/// | text | itself |
/// | binary | lower-case hex |
/// | date, time, duration, interval | as Arrow prints them, ISO 8601 |
/// | timestamp | ISO 8601; with a zone, whatever it is, the instant in UTC with `Z` |
/// | list, struct, map | as Arrow prints them |
pub fn text_of(column: &dyn Array, row: usize) -> Option<String> {
    if column.is_null(row) || column.data_type() == &DataType::Null {
        return None;
    }
    Some(match column.data_type() {
        DataType::Utf8 => column.as_string::<i32>().value(row).to_owned(),
        DataType::LargeUtf8 => column.as_string::<i64>().value(row).to_owned(),
        DataType::Float32 => format!("{:?}", column.as_primitive::<Float32Type>().value(row)),
        DataType::Float64 => format!("{:?}", column.as_primitive::<Float64Type>().value(row)),
        DataType::Timestamp(unit, Some(_)) => format!("{}Z", timestamp_text(column, row, *unit)),
        _ => {
            let options = FormatOptions::default().with_display_error(true);
            match ArrayFormatter::try_new(column, &options) {
                Ok(formatter) => formatter.value(row).to_string(),
                Err(error) => format!("unprintable: {error}"),
            }
        }
    })
}

/// The instant in UTC. Arrow's formatter knows zones by offset only, and the zone is the column's, not the value's.
fn timestamp_text(column: &dyn Array, row: usize, unit: TimeUnit) -> String {
    let instant = column
        .slice(row, 1)
        .to_data()
        .into_builder()
        .data_type(DataType::Timestamp(unit, None));
    match instant.build() {
        Ok(instant) => text_of(make_array(instant).as_ref(), 0).unwrap_or_default(),
        Err(error) => format!("unprintable: {error}"),
    }
}

/// Rows of a record batch as text.
pub fn rows_of(batch: &RecordBatch) -> Vec<Row> {
    let schema = batch.schema();
    let cell = |column: usize, row: usize| {
        let array: &ArrayRef = batch.column(column);
        (schema.field(column).name().clone(), text_of(array.as_ref(), row))
    };
    (0..batch.num_rows())
        .map(|row| (0..batch.num_columns()).map(|column| cell(column, row)).collect())
        .collect()
}

/// What is in one of two multisets of rows and not in the other; `None` if they are equal.
pub fn difference(expected: &[Row], got: &[Row]) -> Option<String> {
    let count = |rows: &[Row]| {
        let mut counts: BTreeMap<Row, i64> = BTreeMap::new();
        rows.iter().for_each(|row| *counts.entry(row.clone()).or_default() += 1);
        counts
    };
    let (expected, got) = (count(expected), count(got));
    let mut lines = Vec::new();
    for (row, times) in &expected {
        let seen = got.get(row).copied().unwrap_or(0);
        if seen < *times {
            lines.push(format!("  missing {} x {}", times - seen, one_line(row)));
        }
    }
    for (row, times) in &got {
        let wanted = expected.get(row).copied().unwrap_or(0);
        if wanted < *times {
            lines.push(format!("  surplus {} x {}", times - wanted, one_line(row)));
        }
    }
    if lines.is_empty() {
        return None;
    }
    let (lines_max, line_count) = (12, lines.len());
    lines.truncate(lines_max);
    if line_count > lines_max {
        lines.push(format!("  and {} more", line_count - lines_max));
    }
    Some(lines.join("\n"))
}

/// A row on one line, long values cut.
fn one_line(row: &Row) -> String {
    let cell = |(name, value): (&String, &Option<String>)| match value {
        Some(value) if value.len() > 60 => format!(
            "{name}={:?}.. ({} bytes)",
            &value.chars().take(40).collect::<String>(),
            value.len()
        ),
        Some(value) => format!("{name}={value:?}"),
        None => format!("{name}=NULL"),
    };
    format!("{{{}}}", row.iter().map(cell).collect::<Vec<_>>().join(", "))
}
