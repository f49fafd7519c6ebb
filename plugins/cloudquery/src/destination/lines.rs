//! The rows of a batch as a plugin gets them: what is inserted, what is deleted, in order.

use std::collections::HashMap;
use std::ops::Range;

use arrow::array::{ArrayRef, BooleanArray, UInt64Array};
use arrow::compute::kernels::cmp::distinct;
use arrow::compute::{interleave, take};
use arrow::error::ArrowError;
use arrow::row::{RowConverter, SortField};
use model::{Batch, Before, Op};

/// Which image of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Image {
    After,
    Before,
}

/// One row that is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Line {
    pub op: Op,
    pub image: Image,
    pub row: usize,
}

/// Every row in order; an update that changes the key, or of a stream without one, is the delete of the old row and the
/// new one.
pub(super) fn lines(batch: &Batch, ignores_deletes: bool) -> Result<Vec<Line>, ArrowError> {
    let moved = match &batch.before {
        Some(before) => Some(moved_rows(batch, before)?),
        None => None,
    };
    let mut lines = Vec::with_capacity(batch.len());
    for row in 0..batch.len() {
        let op = batch.ops.get(row);
        if op == Op::Update && moved.as_ref().is_some_and(|moved| moved[row]) {
            lines.push(Line {
                op: Op::Delete,
                image: Image::Before,
                row,
            });
        }
        if op != Op::Delete || !ignores_deletes {
            lines.push(Line {
                op,
                image: Image::After,
                row,
            });
        }
    }
    Ok(lines)
}

fn moved_rows(batch: &Batch, before: &Before) -> Result<Vec<bool>, ArrowError> {
    let mut moved = vec![!batch.schema.has_key(); batch.len()];
    for &column in batch.schema.key() {
        let differs: BooleanArray = distinct(batch.rows.column(column), before.rows.column(column))?;
        let unsent = before.unavailable.as_ref().and_then(|mask| mask.column(column));
        for (row, moved) in moved.iter_mut().enumerate() {
            *moved |= differs.value(row) && !unsent.is_some_and(|mask| mask.value(row));
        }
    }
    for (row, moved) in moved.iter_mut().enumerate() {
        *moved &= before.present.value(row);
    }
    Ok(moved)
}

/// The stretches of lines that are all deletes, or none of them.
pub(super) fn stretches(lines: &[Line]) -> Vec<Range<usize>> {
    let mut stretches: Vec<Range<usize>> = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let is_delete = line.op == Op::Delete;
        match stretches.last_mut() {
            Some(last) if (lines[last.start].op == Op::Delete) == is_delete => last.end = at + 1,
            _ => stretches.push(at..at + 1),
        }
    }
    stretches
}

/// Of each key its last line: not every plugin can take one key twice in a record. Streams without a key keep all.
pub(super) fn last_of_each_key(batch: &Batch, lines: &[Line]) -> Result<Vec<Line>, ArrowError> {
    // Keys of existing rows are distinct already.
    if !batch.schema.has_key() || batch.ops.uniform() == Some(Op::Read) || lines.len() < 2 {
        return Ok(lines.to_vec());
    }
    let keys: Vec<ArrayRef> = batch
        .schema
        .key()
        .iter()
        .map(|&column| column_of(batch, column, lines))
        .collect::<Result<_, _>>()?;
    let sorted = keys.iter().map(|key| SortField::new(key.data_type().clone())).collect();
    let rows = RowConverter::new(sorted)?.convert_columns(&keys)?;
    let mut last = HashMap::with_capacity(lines.len());
    for at in 0..lines.len() {
        last.insert(rows.row(at), at);
    }
    let is_last = |&(at, _): &(usize, &Line)| last.get(&rows.row(at)) == Some(&at);
    Ok(lines
        .iter()
        .enumerate()
        .filter(is_last)
        .map(|(_, line)| *line)
        .collect())
}

/// The values of one column in these lines.
pub(super) fn column_of(batch: &Batch, column: usize, lines: &[Line]) -> Result<ArrayRef, ArrowError> {
    let after = batch.rows.column(column);
    let is_whole = lines.len() == batch.len() && lines.iter().all(|line| line.image == Image::After);
    match &batch.before {
        _ if is_whole => Ok(ArrayRef::clone(after)),
        Some(before) => {
            let at: Vec<(usize, usize)> = lines.iter().map(|line| (line.image as usize, line.row)).collect();
            interleave(&[after.as_ref(), before.rows.column(column).as_ref()], &at)
        }
        None => {
            let rows = UInt64Array::from_iter_values(lines.iter().map(|line| line.row as u64));
            take(after.as_ref(), &rows, None)
        }
    }
}
