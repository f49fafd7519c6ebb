//! Rows on their way from the server into a batch.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::buffer::BooleanBuffer;
use model::{Batch, Before, Commit, Op, Ops, Order, Page, PageTags, Partition, Timestamp, Unavailable};

use super::error::Error;
use super::shape::{ShapeColumn, StreamShape};
use crate::replication::pgoutput::{Cell, Tuple};
use crate::types::ColumnDecoder;

/// Images of rows of one shape, each whole or in part.
pub(crate) struct RowsBuilder {
    shape: Arc<StreamShape>,
    columns: Vec<ColumnDecoder>,
    /// For each column the rows whose value was not sent.
    unsent: Vec<Vec<usize>>,
    len: usize,
}

/// What a row's missing columns are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Image {
    /// All columns are there, except those that are marked as unchanged.
    Whole,
    /// Only the columns of the replica identity are there; the others are NULL and mean nothing.
    Key,
}

impl RowsBuilder {
    pub(crate) fn new(shape: &Arc<StreamShape>) -> api::Result<Self> {
        let decoder = |column: &ShapeColumn| {
            ColumnDecoder::new(&column.of_server, &column.field).map_err(|unsuited| {
                api::Error::from(Error::BadChange {
                    stream: shape.stream().to_string(),
                    why: unsuited.to_string(),
                })
            })
        };
        Ok(RowsBuilder {
            shape: Arc::clone(shape),
            columns: shape.columns.iter().map(decoder).collect::<api::Result<_>>()?,
            unsent: vec![Vec::new(); shape.columns.len()],
            len: 0,
        })
    }

    /// Appends a row; answers about how many bytes it takes. A value that was not sent is taken from `old`, if that has it.
    ///
    /// `identity` says which of the columns that are sent belong to the replica identity: what a [`Image::Key`] holds.
    pub(crate) fn push(
        &mut self,
        tuple: Tuple<'_>,
        image: Image,
        identity: &[bool],
        old: Option<Tuple<'_>>,
    ) -> api::Result<usize> {
        let shape = Arc::clone(&self.shape);
        let mut bytes = 0;
        let mut cells = tuple.cells();
        let mut old_cells = old.map(|old| old.cells());
        let mut walked = 0;
        for (i, column) in shape.columns.iter().enumerate() {
            let skipped = column.at - walked;
            walked = column.at + 1;
            let short = || {
                api::Error::from(Error::BadChange {
                    stream: shape.stream().to_string(),
                    why: format!(
                        "a row has {} columns, expected {}",
                        tuple.column_count(),
                        shape.sent.len()
                    ),
                })
            };
            let mut cell = cells.nth(skipped).ok_or_else(short)?;
            let old_cell = old_cells.as_mut().and_then(|cells| cells.nth(skipped));
            if let (Cell::Unchanged, Some(old)) = (cell, old_cell) {
                cell = old;
            }
            if image == Image::Key && !identity.get(column.at).copied().unwrap_or(false) {
                cell = Cell::Unchanged;
            }
            let decoder = &mut self.columns[i];
            let appended = match cell {
                Cell::Unchanged => {
                    self.unsent[i].push(self.len);
                    decoder.append_default();
                    Ok(())
                }
                Cell::Null => {
                    decoder.append_null();
                    Ok(())
                }
                Cell::Binary(v) => {
                    bytes += v.len();
                    decoder.append_binary(v)
                }
                Cell::Text(v) => {
                    bytes += v.len();
                    decoder.append_text(v)
                }
            };
            appended.map_err(|misfit| self.misfit(column, &misfit.to_string(), tuple))?;
            bytes += 8;
        }
        self.len += 1;
        Ok(bytes)
    }

    fn push_nothing(&mut self) {
        for decoder in &mut self.columns {
            decoder.append_default();
        }
        self.len += 1;
    }

    fn misfit(&self, column: &ShapeColumn, found: &str, tuple: Tuple<'_>) -> api::Error {
        let keys = self.shape.columns.iter().filter(|column| column.is_key).map(|key| {
            let value = match tuple.cells().nth(key.at) {
                Some(Cell::Binary(v) | Cell::Text(v)) => Some(v),
                _ => None,
            };
            show(key, value)
        });
        let keys: Vec<String> = keys.collect();
        Error::Misfit {
            stream: self.shape.stream().clone(),
            column: column.field.name().clone(),
            key: if keys.is_empty() {
                "without a key".to_owned()
            } else {
                keys.join(", ")
            },
            found: found.to_owned(),
        }
        .into()
    }

    pub(crate) fn finish(self, is_every_column_nullable: bool) -> api::Result<(RecordBatch, Option<Unavailable>)> {
        let mut arrays: Vec<ArrayRef> = Vec::with_capacity(self.columns.len());
        for mut decoder in self.columns {
            arrays.push(decoder.finish());
        }
        let declared = self.shape.schema.arrow();
        let schema = match is_every_column_nullable || self.unsent.iter().any(|rows| !rows.is_empty()) {
            false => Arc::clone(declared),
            true => {
                let fields: Vec<_> = declared
                    .fields()
                    .iter()
                    .zip(&arrays)
                    .map(|(field, array)| {
                        let is_nullable = is_every_column_nullable || field.is_nullable() || array.null_count() > 0;
                        field.as_ref().clone().with_nullable(is_nullable)
                    })
                    .collect();
                Arc::new(arrow::datatypes::Schema::new(fields))
            }
        };
        let options = RecordBatchOptions::new().with_row_count(Some(self.len));
        let rows = RecordBatch::try_new_with_options(schema, arrays, &options).map_err(|source| Error::Arrow {
            stream: self.shape.stream().clone(),
            source,
        })?;
        let len = self.len;
        let mask = |rows: Vec<usize>| {
            (!rows.is_empty()).then(|| {
                let mut rows = rows.into_iter().peekable();
                BooleanBuffer::collect_bool(len, |at| rows.next_if_eq(&at).is_some())
            })
        };
        let unavailable = Unavailable::new(self.unsent.into_iter().map(mask).collect());
        Ok((rows, unavailable))
    }
}

/// A key value for a message: keys are how a row is found, so they may be shown, but not at any length.
fn show(column: &ShapeColumn, value: Option<&[u8]>) -> String {
    const CHARS_MAX: usize = 40;
    let name = column.field.name();
    let Some(value) = value else {
        return format!("{name} NULL");
    };
    match super::key::KeyKind::of_type(column.of_server.ty.oid, true).and_then(|kind| kind.read(value)) {
        Some(super::key::KeyValue::Integer(v)) => format!("{name} {v}"),
        _ => match std::str::from_utf8(value) {
            Ok(text) if !text.contains(char::is_control) => {
                let short: String = text.chars().take(CHARS_MAX).collect();
                format!("{name} `{short}{}`", if short.len() < text.len() { "..." } else { "" })
            }
            _ => format!("{name} {} bytes", value.len()),
        },
    }
}

/// A change on its way into a batch.
pub(crate) struct Change<'a> {
    pub(crate) op: Op,
    /// The row as it is after; for a delete the row that went.
    pub(crate) row: Tuple<'a>,
    pub(crate) image: Image,
    /// The old image of an update, where one was sent.
    pub(crate) old: Option<(Tuple<'a>, Image)>,
    pub(crate) order: Order,
    pub(crate) time: Timestamp,
}

/// Change rows of one shape on their way into a batch.
pub(crate) struct ChangeBatch {
    shape: Arc<StreamShape>,
    identity: Arc<[bool]>,
    after: RowsBuilder,
    /// From the first old image on.
    before: Option<RowsBuilder>,
    has_before: Vec<bool>,
    ops: Vec<Op>,
    commits: Vec<Commit>,
    /// For each read of the stream that goes on: the pages of the keys, and of the old keys.
    tags: Vec<(u32, Vec<Page>, Vec<Page>)>,
}

impl ChangeBatch {
    pub(crate) fn new(
        shape: &Arc<StreamShape>,
        identity: &Arc<[bool]>,
        runs: impl Iterator<Item = u32>,
    ) -> api::Result<Self> {
        Ok(ChangeBatch {
            shape: Arc::clone(shape),
            identity: Arc::clone(identity),
            after: RowsBuilder::new(shape)?,
            before: None,
            has_before: Vec::new(),
            ops: Vec::new(),
            commits: Vec::new(),
            tags: runs.map(|run| (run, Vec::new(), Vec::new())).collect(),
        })
    }

    pub(crate) fn shape(&self) -> &Arc<StreamShape> {
        &self.shape
    }

    /// Appends a change; answers about how many bytes it takes.
    pub(crate) fn push(&mut self, change: &Change<'_>) -> api::Result<usize> {
        let whole_old = change
            .old
            .and_then(|(old, image)| (image == Image::Whole).then_some(old));
        let mut bytes = self.after.push(change.row, change.image, &self.identity, whole_old)?;
        match change.old {
            Some((old, image)) => {
                let len = self.ops.len();
                let before = match &mut self.before {
                    Some(before) => before,
                    none => {
                        let mut before = RowsBuilder::new(&self.shape)?;
                        (0..len).for_each(|_| before.push_nothing());
                        none.insert(before)
                    }
                };
                bytes += before.push(old, image, &self.identity, None)?;
            }
            None => {
                if let Some(before) = &mut self.before {
                    before.push_nothing();
                }
            }
        }
        self.has_before.push(change.old.is_some());
        self.ops.push(change.op);
        match self.commits.last_mut() {
            Some(last) if last.order == change.order => last.row_end = self.ops.len(),
            _ => self.commits.push(Commit {
                row_end: self.ops.len(),
                order: change.order,
                time: change.time,
            }),
        }
        Ok(bytes + 1 + 16 * self.tags.len())
    }

    /// Tags the row just pushed with the pages of its key and of its old key.
    pub(crate) fn tag(&mut self, read: usize, at: Page, before: Page) {
        let (_, tags_at, tags_before) = &mut self.tags[read];
        tags_at.push(at);
        tags_before.push(before);
    }

    pub(crate) fn finish(self, partition: &Partition) -> api::Result<Batch> {
        let before = match self.before {
            Some(before) => {
                let (rows, unavailable) = before.finish(true)?;
                Some(Before {
                    rows,
                    present: BooleanBuffer::from(self.has_before),
                    unavailable,
                })
            }
            None => None,
        };
        let (rows, unavailable) = self.after.finish(false)?;
        Ok(Batch {
            partition: partition.clone(),
            page: 0,
            schema: Arc::clone(&self.shape.schema),
            rows,
            ops: Ops::each(self.ops),
            before,
            unavailable,
            commits: self.commits,
            page_tags: self
                .tags
                .into_iter()
                .map(|(run, at, before)| PageTags::new(run, at, Some(before)))
                .collect(),
        })
    }
}
