//! Changes as appended rows: the shape of every data file.
//!
//! | column | type | null | meaning |
//! |---|---|---|---|
//! | the stream's columns | theirs | yes | the row after the change; of a `delete` the row that went; of a marker nothing |
//! | `_highwater_op` | text | no | `read`, `insert`, `update`, `delete`; markers: `truncate`, `begin_read` |
//! | `_highwater_position` | text | yes | the commit order of the row's transaction, as `Order` prints it |
//! | `_highwater_committed_at` | timestamp, us, UTC | markers | when the source committed it; of a `read` when its window was opened |
//! | `_highwater_unavailable` | list of text | yes | columns whose value the source did not send; null if it sent all |
//!
//! Whoever replays the rows of a stream in order (manifest by manifest, file by file, row by row) has exactly what the
//! source had: `read`, `insert` and `update` set the row of their key, `delete` removes it, `truncate` and `begin_read`
//! remove all. Two cases need more than one row for that:
//!
//! - an update that changes the key, or of a stream without a key, is a `delete` of the old row and an `update` with the
//!   new one, both at the same position;
//! - a read of existing rows that begins when the history already has rows of the stream writes a marker: `truncate` if the
//!   destination was told to empty first, else `begin_read`. From there on the pages of the new read are what counts.
//!
//! A value that an update did not send is taken from the old row where the source sent that.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BooleanArray, ListBuilder, RecordBatch, StringArray, StringBuilder, TimestampMicrosecondArray,
    UInt64Array, new_null_array,
};
use arrow::compute::kernels::cmp::distinct;
use arrow::compute::{interleave, take};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow::error::ArrowError;
use model::{Batch, Before, Commit, Op, StreamSchema, Timestamp, Unavailable};

/// What happened.
pub(crate) const OP: &str = "_highwater_op";
/// In which transaction.
pub(crate) const POSITION: &str = "_highwater_position";
/// When.
pub(crate) const COMMITTED_AT: &str = "_highwater_committed_at";
/// What was not sent.
pub(crate) const UNAVAILABLE: &str = "_highwater_unavailable";

const RESERVED: [&str; 4] = [OP, POSITION, COMMITTED_AT, UNAVAILABLE];

/// A row that stands for something that happened to the whole stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Marker {
    /// All rows went: at the source, or because the stream is read again from nothing.
    Truncate,
    /// The stream is read again: what that read does not meet is no longer at the source.
    BeginRead,
}

impl Marker {
    pub(crate) const fn op(self) -> &'static str {
        match self {
            Marker::Truncate => "truncate",
            Marker::BeginRead => "begin_read",
        }
    }
}

/// The first column of a stream whose name is taken.
pub(crate) fn reserved_column(schema: &StreamSchema) -> Option<&str> {
    let names = schema.arrow().fields().iter().map(|field| field.name().as_str());
    names
        .into_iter()
        .find(|name| RESERVED.iter().any(|taken| taken.eq_ignore_ascii_case(name)))
}

/// The columns of a stream's files.
pub(crate) fn file_schema(schema: &StreamSchema) -> SchemaRef {
    let nullable = |field: &Arc<Field>| Arc::new(Field::clone(field).with_nullable(true));
    let mut fields: Vec<_> = schema.arrow().fields().iter().map(nullable).collect();
    let name = Field::new_list_field(DataType::Utf8, true);
    let zone = Some(Arc::from("UTC"));
    fields.push(Arc::new(Field::new(OP, DataType::Utf8, false)));
    fields.push(Arc::new(Field::new(POSITION, DataType::Utf8, true)));
    fields.push(Arc::new(Field::new(
        COMMITTED_AT,
        DataType::Timestamp(TimeUnit::Microsecond, zone),
        true,
    )));
    fields.push(Arc::new(Field::new(UNAVAILABLE, DataType::List(Arc::new(name)), true)));
    Arc::new(Schema::new(fields))
}

/// One row with a stream's columns null.
pub(crate) fn marker_row(
    columns: &SchemaRef,
    marker: Marker,
    position: Option<model::Order>,
) -> Result<RecordBatch, ArrowError> {
    let own = columns.fields().len() - RESERVED.len();
    let mut arrays: Vec<ArrayRef> = columns.fields()[..own]
        .iter()
        .map(|field| new_null_array(field.data_type(), 1))
        .collect();
    arrays.push(Arc::new(StringArray::from(vec![marker.op()])));
    arrays.push(Arc::new(StringArray::from(vec![position.map(|p| p.to_string())])));
    arrays.push(new_null_array(columns.field(own + 2).data_type(), 1));
    arrays.push(new_null_array(columns.field(own + 3).data_type(), 1));
    RecordBatch::try_new(Arc::clone(columns), arrays)
}

/// Which image a value is taken from.
const AFTER: usize = 0;
const BEFORE: usize = 1;

/// One row to append.
#[derive(Clone, Copy)]
struct Line {
    image: usize,
    row: usize,
    op: Op,
}

/// The rows of a batch as they are appended; `None` if there are none.
///
/// `kept` are the columns of the batch that are written, in the order of `columns`; `None` for all of them.
pub(crate) fn appended_rows(
    batch: &Batch,
    columns: &SchemaRef,
    kept: Option<&[usize]>,
    skips_deletes: bool,
) -> Result<Option<RecordBatch>, ArrowError> {
    let lines = lines(batch, skips_deletes)?;
    if lines.is_empty() {
        return Ok(None);
    }
    let is_whole = lines.len() == batch.len() && lines.iter().all(|line| line.image == AFTER);
    let all: Vec<usize> = (0..batch.rows.num_columns()).collect();
    let kept = kept.unwrap_or(&all);
    let mut arrays = Vec::with_capacity(columns.fields().len());
    for &column in kept {
        arrays.push(values(batch, column, &lines, is_whole)?);
    }
    let ops: StringArray = lines.iter().map(|line| Some(line.op.name())).collect();
    arrays.push(Arc::new(ops));
    let (positions, times) = commits(&batch.commits, &lines);
    arrays.push(Arc::new(positions));
    arrays.push(Arc::new(times));
    let names: Vec<&str> = kept
        .iter()
        .map(|&c| batch.rows.schema_ref().field(c).name().as_str())
        .collect();
    let unavailable = unavailable_names(batch, kept, &names, &lines);
    arrays.push(unavailable.unwrap_or_else(|| {
        let list = columns.field(columns.fields().len() - 1).data_type();
        new_null_array(list, lines.len())
    }));
    RecordBatch::try_new(Arc::clone(columns), arrays).map(Some)
}

fn lines(batch: &Batch, skips_deletes: bool) -> Result<Vec<Line>, ArrowError> {
    let moved = match &batch.before {
        Some(before) => moved_keys(batch, before)?,
        None => None,
    };
    let mut lines = Vec::with_capacity(batch.len());
    for row in 0..batch.len() {
        let op = batch.ops.get(row);
        if op == Op::Delete && skips_deletes {
            continue;
        }
        if op == Op::Update && moved.as_ref().is_some_and(|moved| moved.value(row)) {
            lines.push(Line {
                image: BEFORE,
                row,
                op: Op::Delete,
            });
        }
        lines.push(Line { image: AFTER, row, op });
    }
    Ok(lines)
}

/// Rows with an old image under another key; of a stream without a key, all rows with an old image.
fn moved_keys(batch: &Batch, before: &Before) -> Result<Option<BooleanArray>, ArrowError> {
    let mut moved: Vec<bool> = vec![!batch.schema.has_key(); batch.len()];
    for &column in batch.schema.key() {
        let (new, old) = (batch.rows.column(column), before.rows.column(column));
        let differs = distinct(new, old)?;
        let unsent = before.unavailable.as_ref().and_then(|mask| mask.column(column));
        for (row, moved) in moved.iter_mut().enumerate() {
            *moved |= differs.value(row) && !unsent.is_some_and(|mask| mask.value(row));
        }
    }
    moved
        .iter_mut()
        .zip(before.present.iter())
        .for_each(|(m, present)| *m &= present);
    Ok(moved.contains(&true).then(|| BooleanArray::from(moved)))
}

/// The image that holds the value of a line's column: an unsent new value is the old one, where that was sent.
fn image_of(batch: &Batch, line: &Line, column: usize) -> usize {
    let is_unsent = |mask: Option<&Unavailable>| mask.is_some_and(|mask| mask.is_set(line.row, column));
    let known_before = || {
        batch
            .before
            .as_ref()
            .is_some_and(|b| b.present.value(line.row) && !is_unsent(b.unavailable.as_ref()))
    };
    match line.image {
        AFTER if line.op == Op::Update && is_unsent(batch.unavailable.as_ref()) && known_before() => BEFORE,
        image => image,
    }
}

fn values(batch: &Batch, column: usize, lines: &[Line], is_whole: bool) -> Result<ArrayRef, ArrowError> {
    let after = batch.rows.column(column);
    let is_unsent = batch.unavailable.as_ref().is_some_and(|u| u.column(column).is_some());
    let before = batch.before.as_ref().map(|before| before.rows.column(column));
    match before {
        _ if is_whole && !(is_unsent && before.is_some()) => Ok(Arc::clone(after)),
        Some(before) => {
            let at: Vec<(usize, usize)> = lines
                .iter()
                .map(|line| (image_of(batch, line, column), line.row))
                .collect();
            interleave(&[after.as_ref(), before.as_ref()], &at)
        }
        None => {
            let rows = UInt64Array::from_iter_values(lines.iter().map(|line| line.row as u64));
            take(after.as_ref(), &rows, None)
        }
    }
}

fn commits(commits: &[Commit], lines: &[Line]) -> (StringArray, TimestampMicrosecondArray) {
    let mut positions = StringBuilder::with_capacity(lines.len(), lines.len() * 12);
    let mut times = Vec::with_capacity(lines.len());
    let (mut at, mut position) = (usize::MAX, String::new());
    for line in lines {
        let entry = commits.partition_point(|commit| commit.row_end <= line.row);
        if entry != at {
            at = entry;
            position = commits[entry].order.to_string();
        }
        positions.append_value(&position);
        times.push(commits[entry].time.micros());
    }
    let times = TimestampMicrosecondArray::from(times).with_timezone("UTC");
    (positions.finish(), times)
}

fn unavailable_names(batch: &Batch, kept: &[usize], names: &[&str], lines: &[Line]) -> Option<ArrayRef> {
    let before_mask = batch.before.as_ref().and_then(|before| before.unavailable.as_ref());
    let after_mask = batch.unavailable.as_ref();
    if after_mask.is_none() && (before_mask.is_none() || lines.iter().all(|line| line.image == AFTER)) {
        return None;
    }
    let mut list = ListBuilder::new(StringBuilder::new());
    for line in lines {
        let mut is_any = false;
        for (&column, name) in kept.iter().zip(names) {
            let mask = match image_of(batch, line, column) {
                AFTER => after_mask,
                _ => before_mask,
            };
            if mask.is_some_and(|mask| mask.is_set(line.row, column)) {
                list.values().append_value(name);
                is_any = true;
            }
        }
        list.append(is_any);
    }
    let list = list.finish();
    (list.null_count() < list.len()).then(|| Arc::new(list) as ArrayRef)
}

/// The newest commit time in a batch.
pub(crate) fn newest_time(batch: &Batch) -> Option<Timestamp> {
    batch.commits.iter().map(|commit| commit.time).max()
}
