//! Whole changesets through each transformer.

#![allow(clippy::unwrap_used)]

mod basic;
mod conformance;
mod filter;
mod json_flatten;
mod select;

use std::path::PathBuf;
use std::sync::Arc;

use api::conformance::text_of;
use api::{BuildContext, Registry, SpecError, Transformer, transform_changeset};
use arrow::array::RecordBatch;
use model::{Batch, Body, ChangeSet, Control, StreamSchema};
use serde_json::Value;

/// Builds a transformer as the runtime does: by name, out of the registry.
pub fn build(connector: &str, spec: Value) -> Result<Box<dyn Transformer>, SpecError> {
    let mut registry = Registry::default();
    highwater_plugin_transform::register(&mut registry);
    let cx = BuildContext {
        base_dir: PathBuf::new(),
    };
    registry.transformers[connector].build(spec, &cx)
}

/// What becomes of a changeset, one line for each row, or the error with its hint.
pub async fn through(connector: &str, spec: Value, changeset: &ChangeSet) -> String {
    let mut transformer = match build(connector, spec) {
        Ok(transformer) => transformer,
        Err(error) => {
            return format!(
                "{}: {error}\n  hint: {}",
                error.pointer,
                error.hint.clone().unwrap_or_default()
            );
        }
    };
    match transform_changeset(transformer.as_mut(), changeset).await {
        Ok(out) => render(&out),
        Err(error) => format!(
            "{} {error}\n  hint: {}",
            error.code(),
            error.remedy().unwrap_or_default()
        ),
    }
}

fn render(changeset: &ChangeSet) -> String {
    match &changeset.body {
        Body::Control(Control::BeginRead { schema, .. } | Control::Schema { schema }) => render_schema(schema),
        Body::Control(control) => control.name().to_owned(),
        Body::Rows(batches) => {
            batches
                .iter()
                .for_each(|batch| batch.check().expect("a transformed batch is valid"));
            batches.iter().flat_map(render_batch).collect::<Vec<_>>().join("\n")
        }
    }
}

fn render_schema(schema: &Arc<StreamSchema>) -> String {
    let columns: Vec<String> = schema
        .arrow()
        .fields()
        .iter()
        .map(|f| format!("{}: {}", f.name(), f.data_type()))
        .collect();
    let key: Vec<&str> = schema.key_names().collect();
    format!("{} ({}) key ({})", schema.stream(), columns.join(", "), key.join(", "))
}

fn render_batch(batch: &Batch) -> Vec<String> {
    let line = |row: usize| {
        let old = batch.before.as_ref().filter(|before| before.present.value(row));
        let old = old.map_or_else(String::new, |before| {
            format!(
                " was {}",
                render_row(&before.rows, row, |column| before
                    .unavailable
                    .as_ref()
                    .is_some_and(|u| u.is_set(row, column)))
            )
        });
        let new = render_row(&batch.rows, row, |column| {
            batch.unavailable.as_ref().is_some_and(|u| u.is_set(row, column))
        });
        format!(
            "{} {} @{} {new}{old}",
            batch.schema.stream(),
            batch.ops.get(row).name(),
            batch.commit_of(row).order
        )
    };
    (0..batch.len()).map(line).collect()
}

fn render_row(rows: &RecordBatch, row: usize, is_unavailable: impl Fn(usize) -> bool) -> String {
    let schema = rows.schema();
    let cell = |column: usize| {
        let value = match text_of(rows.column(column).as_ref(), row) {
            _ if is_unavailable(column) => "?".to_owned(),
            Some(value) => value,
            None => "NULL".to_owned(),
        };
        format!("{}={value}", schema.field(column).name())
    };
    (0..rows.num_columns()).map(cell).collect::<Vec<_>>().join(",")
}
