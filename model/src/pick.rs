//! Building a batch out of some rows of another one.

use arrow::array::{ArrayRef, BooleanBufferBuilder, RecordBatch, UInt64Array, new_null_array};
use arrow::buffer::BooleanBuffer;
use arrow::compute::{interleave, take_record_batch};
use arrow::datatypes::{Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use std::sync::Arc;

use crate::{Batch, Before, Commit, Op, Ops, Unavailable};

/// What becomes of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Stays what it is.
    Keep,
    /// The row as it is after, as an insert without an old image.
    Insert,
    /// The row as it was before, as a delete.
    Delete,
}

/// The given rows of `batch`, in that order, each with its fate. Row numbers do not decrease.
pub(crate) fn pick(batch: &Batch, picks: &[(usize, Fate)]) -> Result<Batch, ArrowError> {
    let all_kept = picks.iter().all(|&(_, fate)| fate == Fate::Keep);
    if all_kept && let Some(range) = contiguous(picks) {
        return Ok(batch.slice(range));
    }
    let sources: Vec<usize> = picks.iter().map(|&(row, _)| row).collect();
    let from_before = |&(row, fate): &(usize, Fate)| (usize::from(fate == Fate::Delete), row);
    let rows = match &batch.before {
        Some(before) if picks.iter().any(|&(_, fate)| fate == Fate::Delete) => {
            let indices: Vec<(usize, usize)> = picks.iter().map(from_before).collect();
            let columns = (0..batch.rows.num_columns())
                .map(|c| interleave(&[batch.rows.column(c), before.rows.column(c)], &indices))
                .collect::<Result<Vec<ArrayRef>, _>>()?;
            RecordBatch::try_new(before.rows.schema(), columns)?
        }
        _ => take_rows(&batch.rows, &sources)?,
    };
    let op = |&(row, fate): &(usize, Fate)| match fate {
        Fate::Keep => batch.ops.get(row),
        Fate::Insert => Op::Insert,
        Fate::Delete => Op::Delete,
    };
    let before = match &batch.before {
        Some(before) => {
            let kept = |&(row, fate): &(usize, Fate)| fate == Fate::Keep && before.present.value(row);
            if picks.iter().any(kept) {
                Some(Before {
                    rows: take_rows(&before.rows, &sources)?,
                    present: picks.iter().map(kept).collect(),
                    unavailable: gather_unavailable(before.unavailable.as_ref(), &sources),
                })
            } else {
                None
            }
        }
        None => None,
    };
    let old_unavailable = batch.before.as_ref().and_then(|before| before.unavailable.as_ref());
    let unavailable = (0..batch.rows.num_columns())
        .map(|column| {
            let set = |&(row, fate): &(usize, Fate)| {
                let mask = if fate == Fate::Delete {
                    old_unavailable
                } else {
                    batch.unavailable.as_ref()
                };
                mask.is_some_and(|mask| mask.is_set(row, column))
            };
            picks
                .iter()
                .any(set)
                .then(|| picks.iter().map(set).collect::<BooleanBuffer>())
        })
        .collect();
    Ok(Batch {
        partition: batch.partition.clone(),
        page: batch.page,
        schema: Arc::clone(&batch.schema),
        rows,
        ops: Ops::each(picks.iter().map(op)),
        before,
        unavailable: Unavailable::new(unavailable),
        commits: gather_commits(&batch.commits, &sources),
        page_tags: batch
            .page_tags
            .iter()
            .map(|tags| tags.gather(picks.iter().map(|&(row, fate)| (row, fate == Fate::Delete))))
            .collect(),
    })
}

fn contiguous(picks: &[(usize, Fate)]) -> Option<std::ops::Range<usize>> {
    let first = picks.first().map_or(0, |&(row, _)| row);
    picks
        .iter()
        .enumerate()
        .all(|(i, &(row, _))| row == first + i)
        .then(|| first..first + picks.len())
}

/// The commit index over the given rows, whose numbers do not decrease.
pub(crate) fn gather_commits(commits: &[Commit], rows: &[usize]) -> Vec<Commit> {
    let mut gathered: Vec<Commit> = Vec::new();
    for commit in commits {
        let row_end = rows.partition_point(|&row| row < commit.row_end);
        if row_end > gathered.last().map_or(0, |last| last.row_end) {
            gathered.push(Commit { row_end, ..*commit });
        }
    }
    gathered
}

/// The given rows.
pub(crate) fn take_rows(from: &RecordBatch, rows: &[usize]) -> Result<RecordBatch, ArrowError> {
    let indices = UInt64Array::from_iter_values(rows.iter().map(|&row| row as u64));
    take_record_batch(from, &indices)
}

/// The masks of the given rows.
pub(crate) fn gather_unavailable(from: Option<&Unavailable>, rows: &[usize]) -> Option<Unavailable> {
    let from = from?;
    let columns = (0..from.column_count()).map(|column| {
        let mask = from.column(column)?;
        let mut gathered = BooleanBufferBuilder::new(rows.len());
        rows.iter().for_each(|&row| gathered.append(mask.value(row)));
        Some(gathered.finish())
    });
    Unavailable::new(columns.collect())
}

/// The same columns, all nullable.
pub(crate) fn nullable(schema: &Schema) -> SchemaRef {
    let fields = schema
        .fields()
        .iter()
        .map(|field| Arc::new(Field::clone(field).with_nullable(true)));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// `len` rows of nulls.
pub(crate) fn null_rows(schema: &SchemaRef, len: usize) -> Result<RecordBatch, ArrowError> {
    let columns = schema
        .fields()
        .iter()
        .map(|field| new_null_array(field.data_type(), len))
        .collect();
    RecordBatch::try_new(Arc::clone(schema), columns)
}
