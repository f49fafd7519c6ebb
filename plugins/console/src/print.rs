//! A changeset as lines: NDJSON for programs, tables for people.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use arrow::error::ArrowError;
use arrow::util::pretty::pretty_format_batches;
use model::{Batch, Body, ChangeSet, Control, Timestamp};
use serde_json::{Map, Value, json};

use super::cell;

/// A cell of a table is cut after this many characters: longer ones would break every line of the terminal.
const CELL_CHARS_MAX: usize = 60;

/// One JSON object for each row, and one for each control.
///
/// | field | meaning |
/// |---|---|
/// | `_highwater_stream` | the stream |
/// | `_highwater_op` | `read`, `insert`, `update`, `delete`; for a control its name: `truncate`, `begin_read` ... |
/// | `_highwater_position` | where the transaction ends in its log; not for controls |
/// | `_highwater_committed_at` | when the source committed it, UTC; not for controls |
/// | `_highwater_unavailable` | columns whose value the source did not send; left out if there are none |
/// | the columns | the row as it is after; of a deleted row as it was |
pub(crate) fn ndjson(changeset: &ChangeSet, out: &mut String) {
    let mut line = |object: Map<String, Value>| {
        out.push_str(&Value::Object(object).to_string());
        out.push('\n');
    };
    match &changeset.body {
        Body::Control(control) => line(control_object(control)),
        Body::Rows(batches) => {
            for batch in batches {
                (0..batch.len()).for_each(|row| line(row_object(batch, row)));
            }
        }
    }
}

fn control_object(control: &Control) -> Map<String, Value> {
    Map::from_iter([
        ("_highwater_stream".to_owned(), json!(control.stream().to_string())),
        ("_highwater_op".to_owned(), json!(control.name())),
    ])
}

fn row_object(batch: &Batch, row: usize) -> Map<String, Value> {
    let commit = batch.commit_of(row);
    let mut object = Map::from_iter([
        ("_highwater_stream".to_owned(), json!(batch.schema.stream().to_string())),
        ("_highwater_op".to_owned(), json!(batch.ops.get(row).name())),
        ("_highwater_position".to_owned(), json!(commit.order.to_string())),
        ("_highwater_committed_at".to_owned(), json!(instant(commit.time))),
    ]);
    let unavailable = unavailable_columns(batch, row);
    if !unavailable.is_empty() {
        object.insert("_highwater_unavailable".to_owned(), json!(unavailable));
    }
    for (field, column) in batch.schema.arrow().fields().iter().zip(batch.rows.columns()) {
        object.insert(field.name().clone(), cell::json(column.as_ref(), row));
    }
    object
}

fn unavailable_columns(batch: &Batch, row: usize) -> Vec<&str> {
    let Some(mask) = &batch.unavailable else {
        return Vec::new();
    };
    let fields = batch.schema.arrow().fields().iter().enumerate();
    let not_sent = fields.filter(|(column, _)| mask.is_set(row, *column));
    not_sent.map(|(_, field)| field.name().as_str()).collect()
}

fn instant(time: Timestamp) -> String {
    let column = arrow::array::TimestampMicrosecondArray::from(vec![time.micros()]).with_timezone("UTC");
    cell::text(&column, 0).unwrap_or_default()
}

/// A table for each batch, under the stream's name; a line for each control. Nulls are `NULL`, values that were not sent
/// are `?`.
pub(crate) fn table(changeset: &ChangeSet, out: &mut String) -> Result<(), ArrowError> {
    match &changeset.body {
        Body::Control(control) => {
            out.push_str(&format!("-- {}: {}\n", control.stream(), control.name()));
        }
        Body::Rows(batches) => {
            for batch in batches {
                let rows = texts(batch)?;
                out.push_str(&format!(
                    "-- {}\n{}\n",
                    batch.schema.stream(),
                    pretty_format_batches(&[rows])?
                ));
            }
        }
    }
    Ok(())
}

/// The batch with every cell as it is shown.
fn texts(batch: &Batch) -> Result<RecordBatch, ArrowError> {
    let rows = 0..batch.len();
    let column = |texts: Vec<String>| -> ArrayRef { Arc::new(StringArray::from(texts)) };
    let mut names = vec!["_highwater_op".to_owned(), "_highwater_position".to_owned()];
    let mut columns = vec![
        column(rows.clone().map(|row| batch.ops.get(row).name().to_owned()).collect()),
        column(rows.clone().map(|row| batch.commit_of(row).order.to_string()).collect()),
    ];
    for (at, field) in batch.schema.arrow().fields().iter().enumerate() {
        let mask = batch.unavailable.as_ref().and_then(|mask| mask.column(at));
        let shown = |row: usize| match cell::text(batch.rows.column(at).as_ref(), row) {
            _ if mask.is_some_and(|mask| mask.value(row)) => "?".to_owned(),
            Some(text) => shortened(&text),
            None => "NULL".to_owned(),
        };
        names.push(field.name().clone());
        columns.push(column(rows.clone().map(shown).collect()));
    }
    let fields: Vec<Field> = names
        .into_iter()
        .map(|name| Field::new(name, DataType::Utf8, false))
        .collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
}

/// On one line, and not too long. Control characters are escaped: a value must not move the cursor.
fn shortened(text: &str) -> String {
    let is_long = text.chars().count() > CELL_CHARS_MAX;
    let shown = text
        .chars()
        .take(if is_long { CELL_CHARS_MAX - 1 } else { CELL_CHARS_MAX });
    let mut shown: String = shown
        .flat_map(|c| {
            if c.is_control() {
                c.escape_default().collect()
            } else {
                vec![c]
            }
        })
        .collect();
    if is_long {
        shown.push('…');
    }
    shown
}
