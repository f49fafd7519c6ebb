//! Rows on their way from SQLite into a batch.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::buffer::BooleanBuffer;
use model::{Batch, Before, Commit, Op, Ops, Order, Page, PageTags, Partition, Timestamp};
use rusqlite::Row;
use rusqlite::types::ValueRef;

use super::columns::ColumnBuilder;
use super::shape::{StreamShape, show};
use crate::error::{Error, Result};

/// Full images of rows of one shape.
pub(crate) struct RowsBuilder {
    shape: Arc<StreamShape>,
    columns: Vec<ColumnBuilder>,
    /// Whether a NULL in a key column is refused; old images of other rows are all NULL.
    is_key_needed: bool,
    /// Whether the rows are changes, which cannot be corrected by correcting the row.
    is_change: bool,
    len: usize,
}

impl RowsBuilder {
    pub(crate) fn new(shape: &Arc<StreamShape>) -> Self {
        RowsBuilder {
            shape: Arc::clone(shape),
            columns: shape
                .columns
                .iter()
                .map(|column| ColumnBuilder::new(column.kind))
                .collect(),
            is_key_needed: true,
            is_change: false,
            len: 0,
        }
    }

    /// Old images: `len` rows have none.
    fn of_old_images(shape: &Arc<StreamShape>, len: usize) -> Self {
        RowsBuilder {
            shape: Arc::clone(shape),
            columns: shape
                .columns
                .iter()
                .map(|column| ColumnBuilder::with_nulls(column.kind, len))
                .collect(),
            is_key_needed: false,
            is_change: true,
            len,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Appends the image whose table columns begin at `first` in `row`; answers about how many bytes it takes.
    pub(crate) fn push(&mut self, row: &Row<'_>, first: usize) -> Result<usize> {
        let mut bytes = 0;
        for (builder, column) in self.columns.iter_mut().zip(&self.shape.columns) {
            let value = row.get_ref(first + column.of_table).map_err(|source| Error::Sql {
                doing: "read a row",
                source,
            })?;
            if column.is_key && value == ValueRef::Null && self.is_key_needed {
                return Err(self.shape.null_in_key(column));
            }
            bytes += builder
                .push(value)
                .map_err(|misfit| self.shape.misfit(column, &misfit, row, first, self.is_change))?;
        }
        self.len += 1;
        Ok(bytes)
    }

    fn push_nulls(&mut self) {
        for builder in &mut self.columns {
            builder.push_null();
        }
        self.len += 1;
    }

    pub(crate) fn truncate(&mut self, len: usize) {
        for builder in &mut self.columns {
            builder.truncate(len);
        }
        self.len = self.len.min(len);
    }

    pub(crate) fn finish(self) -> Result<RecordBatch> {
        let shape = self.shape;
        let mut arrays: Vec<ArrayRef> = Vec::with_capacity(self.columns.len());
        let mut bad = None;
        for (builder, column) in self.columns.into_iter().zip(&shape.columns) {
            match builder.finish() {
                Ok(array) => arrays.push(array),
                Err((row, misfit)) => {
                    bad.get_or_insert((row, misfit, column));
                    arrays.push(arrow::array::new_null_array(&column.kind.data_type(), self.len));
                }
            }
        }
        if let Some((row, misfit, column)) = bad {
            let key = shape
                .columns
                .iter()
                .zip(&arrays)
                .filter(|(column, _)| column.is_key)
                .map(|(column, array)| {
                    let value = arrow::util::display::array_value_to_string(array, row).unwrap_or_default();
                    format!(
                        "{} {}",
                        shape.table.columns[column.of_table].name,
                        show(ValueRef::Text(value.as_bytes()))
                    )
                });
            return Err(shape.misfit_of(column, &misfit, key.collect(), self.is_change));
        }
        let schema = if self.is_key_needed {
            Arc::clone(shape.schema.arrow())
        } else {
            nullable(shape.schema.arrow())
        };
        let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(self.len));
        RecordBatch::try_new_with_options(schema, arrays, &options).map_err(|source| Error::Arrow {
            stream: shape.stream().clone(),
            source,
        })
    }
}

fn nullable(schema: &arrow::datatypes::SchemaRef) -> arrow::datatypes::SchemaRef {
    let fields: Vec<_> = schema
        .fields()
        .iter()
        .map(|field| field.as_ref().clone().with_nullable(true))
        .collect();
    Arc::new(arrow::datatypes::Schema::new(fields))
}

/// Change rows of one layout on their way into a batch.
pub(crate) struct ChangeBatch {
    shape: Arc<StreamShape>,
    after: RowsBuilder,
    /// From the first update on.
    before: Option<RowsBuilder>,
    has_before: Vec<bool>,
    ops: Vec<Op>,
    commits: Vec<Commit>,
    /// For each read of the stream that goes on: the pages of the keys, and of the old keys.
    tags: Vec<(u32, Vec<Page>, Vec<Page>)>,
}

/// A change row, decoded but for its images.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Change {
    pub(crate) op: Op,
    /// Where its commit ends, or somewhere inside where nobody can ever stand.
    pub(crate) order: Order,
    pub(crate) time: Timestamp,
    /// Whether its order must stay its own: somebody may stand between it and its neighbour.
    pub(crate) is_alone: bool,
    /// Where the table's columns of the new and of the old image begin in the row.
    pub(crate) new_at: usize,
    pub(crate) old_at: usize,
}

impl ChangeBatch {
    pub(crate) fn new(shape: &Arc<StreamShape>, runs: impl Iterator<Item = u32>) -> Self {
        ChangeBatch {
            shape: Arc::clone(shape),
            after: RowsBuilder {
                is_change: true,
                ..RowsBuilder::new(shape)
            },
            before: None,
            has_before: Vec::new(),
            ops: Vec::new(),
            commits: Vec::new(),
            tags: runs.map(|run| (run, Vec::new(), Vec::new())).collect(),
        }
    }

    pub(crate) fn shape(&self) -> &Arc<StreamShape> {
        &self.shape
    }

    pub(crate) fn len(&self) -> usize {
        self.ops.len()
    }

    /// Appends a row that was inserted or updated, of which no old image is known.
    pub(crate) fn push_image(&mut self, row: &Row<'_>, order: Order, time: Timestamp) -> Result<usize> {
        let bytes = self.after.push(row, 0)?;
        self.has_before.push(false);
        self.ops.push(Op::Update);
        match self.commits.last_mut() {
            Some(last) if last.order == order => last.row_end = self.ops.len(),
            _ => self.commits.push(Commit {
                row_end: self.ops.len(),
                order,
                time,
            }),
        }
        Ok(bytes + 1 + 16 * self.tags.len())
    }

    /// Appends a change; answers about how many bytes it takes.
    pub(crate) fn push(&mut self, row: &Row<'_>, change: &Change) -> Result<usize> {
        let image = if change.op == Op::Delete {
            change.old_at
        } else {
            change.new_at
        };
        let mut bytes = self.after.push(row, image)?;
        if change.op == Op::Update {
            let len = self.ops.len();
            let before = self
                .before
                .get_or_insert_with(|| RowsBuilder::of_old_images(&self.shape, len));
            bytes += before.push(row, change.old_at)?;
        } else if let Some(before) = &mut self.before {
            before.push_nulls();
        }
        self.has_before.push(change.op == Op::Update);
        self.ops.push(change.op);
        bytes += self.add_commit(change) + 1 + 16 * self.tags.len();
        Ok(bytes)
    }

    /// Tags the row just pushed with the pages of its key and of its old key.
    pub(crate) fn tag(&mut self, run: usize, at: Page, before: Page) {
        let (_, tags_at, tags_before) = &mut self.tags[run];
        tags_at.push(at);
        tags_before.push(before);
    }

    fn add_commit(&mut self, change: &Change) -> usize {
        let row_end = self.ops.len();
        match self.commits.last_mut() {
            Some(last) if !change.is_alone && last.time == change.time => {
                last.row_end = row_end;
                last.order = change.order;
                0
            }
            _ => {
                self.commits.push(Commit {
                    row_end,
                    order: change.order,
                    time: change.time,
                });
                size_of::<Commit>()
            }
        }
    }

    /// Takes everything after the first `len` rows back. Their commits end at `end`.
    pub(crate) fn truncate(&mut self, len: usize, end: Order) {
        self.after.truncate(len);
        if let Some(before) = &mut self.before {
            before.truncate(len);
        }
        self.has_before.truncate(len);
        self.ops.truncate(len);
        for (_, at, before) in &mut self.tags {
            at.truncate(len);
            before.truncate(len);
        }
        let is_cut = |commit: &Commit| commit.row_end >= len;
        if let Some(last) = self.commits.iter().position(is_cut) {
            self.commits.truncate(last + 1);
            self.commits[last].row_end = len;
            self.commits[last].order = self.commits[last].order.min(end);
            if len == 0 {
                self.commits.clear();
            }
        }
    }

    pub(crate) fn finish(self, partition: &Partition) -> Result<Batch> {
        let before = match self.before {
            Some(before) => Some(Before {
                rows: before.finish()?,
                present: BooleanBuffer::from(self.has_before),
                unavailable: None,
            }),
            None => None,
        };
        Ok(Batch {
            partition: partition.clone(),
            page: 0,
            schema: Arc::clone(&self.shape.schema),
            rows: self.after.finish()?,
            ops: Ops::each(self.ops),
            before,
            unavailable: None,
            commits: self.commits,
            page_tags: self
                .tags
                .into_iter()
                .map(|(run, at, before)| PageTags::new(run, at, Some(before)))
                .collect(),
        })
    }
}
