//! A changeset as steps on tables: what a [`Replica`](super::Replica) keeps between `write` and `commit`.

use std::sync::Arc;

use arrow::array::RecordBatch;
use model::{Batch, Body, ChangeSet, Control, Op, Predicate, StreamId, StreamSchema, Unavailable};

use super::Store;
use super::table::Key;
use crate::conformance::{Row, text_of};
use crate::{Deletes, DestinationOptions, OnSchemaChange, WriteMode};

/// One thing to do to a stream's table.
pub(super) enum Step {
    Shape(Arc<StreamSchema>),
    Put {
        op: Op,
        old_key: Option<Key>,
        key: Key,
        sent: Row,
        is_whole: bool,
    },
    Delete(Key),
    Append(Row),
    Truncate,
    DeleteWhere(Predicate),
    BeginRead {
        empty_first: bool,
    },
    EndRead,
}

/// The steps of a changeset, in order.
pub(super) fn steps_of(changeset: &ChangeSet, options: &DestinationOptions) -> Vec<(StreamId, Step)> {
    match &changeset.body {
        Body::Rows(batches) => batches
            .iter()
            .flat_map(|batch| steps_of_batch(batch, options))
            .collect(),
        Body::Control(control) => steps_of_control(control),
    }
}

fn steps_of_control(control: &Control) -> Vec<(StreamId, Step)> {
    let steps = match control {
        Control::Truncate { .. } => vec![Step::Truncate],
        Control::DeleteWhere { predicate, .. } => vec![Step::DeleteWhere(predicate.clone())],
        Control::BeginRead {
            schema, empty_first, ..
        } => vec![
            Step::Shape(Arc::clone(schema)),
            Step::BeginRead {
                empty_first: *empty_first,
            },
        ],
        Control::EndRead { .. } => vec![Step::EndRead],
        Control::Schema { schema } => vec![Step::Shape(Arc::clone(schema))],
    };
    steps.into_iter().map(|step| (control.stream().clone(), step)).collect()
}

fn steps_of_batch(batch: &Batch, options: &DestinationOptions) -> Vec<(StreamId, Step)> {
    let stream = batch.schema.stream();
    let is_appended = options.write_mode(batch.schema.has_key()) == WriteMode::Append;
    let mut steps = vec![(stream.clone(), Step::Shape(Arc::clone(&batch.schema)))];
    for row in 0..batch.len() {
        let step = if is_appended {
            Step::Append(appended(batch, row))
        } else if batch.ops.get(row) == Op::Delete {
            Step::Delete(key_of(&batch.schema, &batch.rows, row))
        } else {
            put(batch, row, options)
        };
        steps.push((stream.clone(), step));
    }
    steps
}

fn key_of(schema: &StreamSchema, rows: &RecordBatch, row: usize) -> Key {
    schema
        .key()
        .iter()
        .map(|&column| text_of(rows.column(column).as_ref(), row))
        .collect()
}

fn sent_of(schema: &StreamSchema, rows: &RecordBatch, unavailable: Option<&Unavailable>, row: usize) -> Row {
    let fields = schema.arrow().fields().iter().enumerate();
    fields
        .filter(|(column, _)| !unavailable.is_some_and(|mask| mask.is_set(row, *column)))
        .map(|(column, field)| (field.name().clone(), text_of(rows.column(column).as_ref(), row)))
        .collect()
}

fn put(batch: &Batch, row: usize, options: &DestinationOptions) -> Step {
    let before = batch.before.as_ref().filter(|before| before.present.value(row));
    let mut sent = sent_of(&batch.schema, &batch.rows, batch.unavailable.as_ref(), row);
    if options.deletes == Deletes::Soft {
        sent.insert("_highwater_deleted".to_owned(), Some("false".to_owned()));
    }
    Step::Put {
        op: batch.ops.get(row),
        old_key: before.map(|before| key_of(&batch.schema, &before.rows, row)),
        key: key_of(&batch.schema, &batch.rows, row),
        sent,
        is_whole: !batch.unavailable.as_ref().is_some_and(|mask| mask.any_in_row(row)),
    }
}

fn appended(batch: &Batch, row: usize) -> Row {
    let mut sent = sent_of(&batch.schema, &batch.rows, batch.unavailable.as_ref(), row);
    let fields = batch.schema.arrow().fields().iter().map(|field| field.name().clone());
    let missing: Vec<String> = fields.filter(|name| !sent.contains_key(name)).collect();
    let commit = batch.commit_of(row);
    sent.extend(missing.iter().map(|name| (name.clone(), None)));
    let mut put = |name: &str, value: Option<String>| sent.insert(format!("_highwater_{name}"), value);
    put("op", Some(batch.ops.get(row).name().to_owned()));
    put("position", Some(commit.order.to_string()));
    put("committed_at", Some(commit.time.micros().to_string()));
    put("unavailable", (!missing.is_empty()).then(|| missing.join(",")));
    sent
}

impl Store {
    /// Does one step. Steps do not fail: what contradicts is noted.
    pub(super) fn apply(&mut self, stream: &StreamId, step: Step, options: &DestinationOptions) {
        let table = self.tables.entry(stream.clone()).or_default();
        let contradiction = match step {
            Step::Shape(schema) => {
                let is_new = table.columns.is_empty();
                if is_new || options.on_schema_change != Some(OnSchemaChange::Ignore) {
                    table
                        .columns
                        .extend(schema.arrow().fields().iter().map(|field| field.name().clone()));
                }
                None
            }
            Step::Put {
                op,
                old_key,
                key,
                mut sent,
                is_whole,
            } => {
                if options.on_schema_change == Some(OnSchemaChange::Ignore) {
                    sent.retain(|column, _| table.columns.contains(column) || column.starts_with("_highwater_"));
                }
                table.put(op, old_key, key, sent, is_whole)
            }
            Step::Delete(key) => match options.deletes {
                Deletes::Apply => table.delete(&key),
                Deletes::Soft => {
                    table.mark_deleted(&key);
                    None
                }
                Deletes::Ignore => None,
            },
            Step::Append(mut row) => {
                if options.on_schema_change == Some(OnSchemaChange::Ignore) {
                    row.retain(|column, _| table.columns.contains(column) || column.starts_with("_highwater_"));
                }
                table.append(row);
                None
            }
            Step::Truncate => {
                table.clear();
                None
            }
            Step::DeleteWhere(predicate) => {
                table.delete_where(&predicate);
                None
            }
            Step::BeginRead { empty_first } => {
                table.begin_read(empty_first, options.write == Some(WriteMode::Mirror));
                None
            }
            Step::EndRead => {
                table.end_read();
                None
            }
        };
        if let Some(what) = contradiction {
            self.violations.push(format!("`{stream}`: {what}"));
        }
    }
}
