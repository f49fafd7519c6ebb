//! The rows of a batch, encoded for their table and laid upon what is pending.
//!
//! Constraints:
//! - rows are taken in their order;
//! - columns are downcast once for a batch, and a row costs no allocation but its key's;
//! - a row that moves to another key without all its values cannot be laid upon anything: the caller moves it.

use api::{Deletes, WriteMode};
use arrow::array::{Array as _, RecordBatch};
use arrow::buffer::BooleanBuffer;
use arrow::compute::kernels::cmp::distinct;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use bytes::{BufMut as _, BytesMut};
use model::{Batch, Commit, Op, Unavailable};

use super::error::{Error, Result};
use super::pending::{NoRow, Pending};
use super::target::{Target, join};
use crate::types::ColumnEncoder;

/// Microseconds from 1970 to 2000, from which PostgreSQL counts.
const EPOCH_MICROS: i64 = 946_684_800_000_000;

/// Rows on their way into [`Pending`].
pub(crate) struct Rows<'a> {
    target: &'a Target,
    batch: &'a Batch,
    columns: Vec<ColumnEncoder<'a>>,
    /// Of the old images, for the key's columns; empty if no key changed.
    old_key: Vec<ColumnEncoder<'a>>,
    /// Rows of which some value was not sent.
    partial: Option<BooleanBuffer>,
    /// Rows whose key changed.
    moved: Option<BooleanBuffer>,
    row: BytesMut,
    key: BytesMut,
    /// Where each field of `row` ends.
    ends: Vec<usize>,
}

/// A row that has to be moved by itself.
pub(crate) struct Move {
    /// Places of the columns that were sent.
    pub(crate) columns: Vec<usize>,
    /// Their fields.
    pub(crate) row: Vec<u8>,
    pub(crate) key: Vec<u8>,
    pub(crate) old_key: Vec<u8>,
}

impl<'a> Rows<'a> {
    pub(crate) fn new(target: &'a Target, batch: &'a Batch) -> Result<Self> {
        let is_by_key = target.mode != WriteMode::Append;
        let moved = if is_by_key {
            check_keys(target, batch)?;
            moved(target, batch)?
        } else {
            None
        };
        let old_key = match (&moved, &batch.before) {
            (Some(_), Some(before)) => encoders(target, &before.rows, target.key.iter().copied())?,
            _ => Vec::new(),
        };
        Ok(Rows {
            columns: encoders(target, &batch.rows, 0..target.columns.len())?,
            target,
            batch,
            old_key,
            partial: batch.unavailable.as_ref().and_then(any_column),
            moved,
            row: BytesMut::new(),
            key: BytesMut::new(),
            ends: Vec::new(),
        })
    }

    /// Takes a row. `Some`: it was not taken, and is to be moved after everything pending was sent.
    pub(crate) fn take(&mut self, row: usize, pending: &mut Pending) -> Result<Option<Move>> {
        if self.target.mode == WriteMode::Append {
            return self.append(row, pending).map(|()| None);
        }
        let is_set = |mask: &Option<BooleanBuffer>| mask.as_ref().is_some_and(|mask| mask.value(row));
        let op = self.batch.ops.get(row);
        if op == Op::Delete {
            if self.target.deletes != Deletes::Ignore {
                self.encode_key(row)?;
                pending.delete(&self.key);
            }
            return Ok(None);
        }
        let (is_partial, is_moved) = (is_set(&self.partial), is_set(&self.moved));
        self.encode_row(row)?;
        if is_moved {
            let old_key = self.encode_old_key(row)?;
            if is_partial {
                return Ok(Some(self.moving(row, old_key)));
            }
            pending.remove(&old_key);
        }
        if is_partial {
            let sent = self.sent(row);
            let patched = pending.patch(&self.key, &self.row, &sent);
            return patched.map(|()| None).map_err(|NoRow| Error::NotWhole {
                stream: self.target.schema.stream().clone(),
                table: self.target.relation.to_string(),
            });
        }
        match op {
            Op::Read | Op::Insert => pending.insert(&self.key, &self.row),
            Op::Update | Op::Delete => pending.put(&self.key, &self.row),
        }
        Ok(None)
    }

    fn sent(&self, row: usize) -> Vec<bool> {
        let is_sent = |index: usize| !self.batch.unavailable.as_ref().is_some_and(|u| u.is_set(row, index));
        self.target.columns.iter().map(|column| is_sent(column.index)).collect()
    }

    fn moving(&self, row: usize, old_key: Vec<u8>) -> Move {
        let sent = self.sent(row);
        let columns: Vec<usize> = (0..sent.len()).filter(|at| sent[*at]).collect();
        let fields = columns.iter().flat_map(|&at| self.field(at)).copied().collect();
        Move {
            columns,
            row: fields,
            key: self.key.to_vec(),
            old_key,
        }
    }

    fn field(&self, at: usize) -> &[u8] {
        let start = if at == 0 { 0 } else { self.ends[at - 1] };
        &self.row[start..self.ends[at]]
    }

    /// Every column into `row`, and from there the key into `key`.
    fn encode_row(&mut self, row: usize) -> Result<()> {
        self.row.clear();
        self.ends.clear();
        for at in 0..self.columns.len() {
            let encoded = put_field(&self.columns[at], row, &mut self.row);
            encoded.map_err(|what| self.misfit(at, row, what))?;
            self.ends.push(self.row.len());
        }
        self.key.clear();
        for &at in &self.target.key {
            let start = if at == 0 { 0 } else { self.ends[at - 1] };
            self.key.put_slice(&self.row[start..self.ends[at]]);
        }
        Ok(())
    }

    fn encode_key(&mut self, row: usize) -> Result<()> {
        self.key.clear();
        for &at in &self.target.key {
            let encoded = put_field(&self.columns[at], row, &mut self.key);
            encoded.map_err(|what| self.misfit(at, row, what))?;
        }
        Ok(())
    }

    fn encode_old_key(&mut self, row: usize) -> Result<Vec<u8>> {
        let mut key = BytesMut::new();
        for n in 0..self.old_key.len() {
            let encoded = put_field(&self.old_key[n], row, &mut key);
            encoded.map_err(|what| self.misfit(self.target.key[n], row, what))?;
        }
        Ok(key.to_vec())
    }

    fn misfit(&self, at: usize, row: usize, what: String) -> Error {
        Error::Misfit {
            stream: self.target.schema.stream().clone(),
            table: self.target.relation.to_string(),
            column: self.target.columns[at].name.clone(),
            key: self.key_text(row),
            what,
        }
    }

    fn key_text(&self, row: usize) -> String {
        let fields = self.target.schema.arrow().fields();
        let part = |index: &usize| {
            let options = FormatOptions::default().with_null("NULL");
            let text = ArrayFormatter::try_new(self.batch.rows.column(*index).as_ref(), &options)
                .map(|formatter| formatter.value(row).to_string())
                .unwrap_or_default();
            format!(
                "{}={}",
                fields[*index].name(),
                text.chars().take(100).collect::<String>()
            )
        };
        match self.target.schema.key() {
            [] => format!("(none, row {row})"),
            key => join(key.iter().map(part), ", "),
        }
    }

    fn append(&mut self, row: usize, pending: &mut Pending) -> Result<()> {
        let op = self.batch.ops.get(row);
        if op == Op::Delete && self.target.deletes == Deletes::Ignore {
            return Ok(());
        }
        self.row.clear();
        for at in 0..self.columns.len() {
            let encoded = put_field(&self.columns[at], row, &mut self.row);
            encoded.map_err(|what| self.misfit(at, row, what))?;
        }
        put_stamp(&mut self.row, op, self.batch.commit_of(row));
        match self.unavailable(row) {
            Some(names) => {
                // Binary jsonb: the version of its form, then the text.
                self.row.put_i32(names.len() as i32 + 1);
                self.row.put_u8(1);
                self.row.put_slice(names.as_bytes());
            }
            None => self.row.put_i32(-1),
        }
        pending.append(&self.row);
        Ok(())
    }

    /// The columns that were not sent, as a JSON array.
    fn unavailable(&self, row: usize) -> Option<String> {
        let unavailable = self.batch.unavailable.as_ref()?;
        let fields = self.target.schema.arrow().fields();
        let names: Vec<&str> = (0..fields.len())
            .filter(|&column| unavailable.is_set(row, column))
            .map(|column| fields[column].name().as_str())
            .collect();
        (!names.is_empty()).then(|| serde_json::Value::from(names).to_string())
    }
}

/// Operation, position and time of an appended row.
fn put_stamp(out: &mut BytesMut, op: Op, commit: Commit) {
    put_text(out, op.name());
    put_text(out, &commit.order.to_string());
    out.put_i32(8);
    out.put_i64(commit.time.micros() - EPOCH_MICROS);
}

fn put_text(out: &mut BytesMut, text: &str) {
    out.put_i32(text.len() as i32);
    out.put_slice(text.as_bytes());
}

fn encoders<'a>(
    target: &'a Target,
    rows: &'a RecordBatch,
    places: impl Iterator<Item = usize>,
) -> Result<Vec<ColumnEncoder<'a>>> {
    let fields = target.schema.arrow().fields();
    places
        .map(|at| {
            let column = &target.columns[at];
            let field = &fields[column.index];
            ColumnEncoder::new(rows.column(column.index).as_ref(), field, &column.ty, column.typmod).map_err(
                |unsuited| Error::BadName {
                    stream: target.schema.stream().clone(),
                    what: format!("its column `{}`: {unsuited}", column.name),
                },
            )
        })
        .collect()
}

/// One field of a tuple.
fn put_field(encoder: &ColumnEncoder<'_>, row: usize, out: &mut BytesMut) -> std::result::Result<(), String> {
    encoder.encode_with_len(row, out).map_err(|misfit| misfit.to_string())
}

/// Every row has its whole key.
fn check_keys(target: &Target, batch: &Batch) -> Result<()> {
    for &column in target.schema.key() {
        let refuse = |what| {
            Err(Error::BadKey {
                stream: target.schema.stream().clone(),
                column: target.schema.arrow().field(column).name().clone(),
                what,
            })
        };
        if batch.unavailable.as_ref().is_some_and(|u| u.column(column).is_some()) {
            return refuse("was not sent");
        }
        if batch.rows.column(column).logical_null_count() > 0 {
            return refuse("is NULL");
        }
    }
    Ok(())
}

/// Rows of which any value was not sent.
fn any_column(unavailable: &Unavailable) -> Option<BooleanBuffer> {
    (0..unavailable.column_count())
        .filter_map(|column| unavailable.column(column))
        .fold(None, |any: Option<BooleanBuffer>, mask| {
            Some(any.map_or_else(|| mask.clone(), |any| &any | mask))
        })
}

/// Rows whose old key was sent and differs from the new one; `None` if there are none.
fn moved(target: &Target, batch: &Batch) -> Result<Option<BooleanBuffer>> {
    let Some(before) = &batch.before else {
        return Ok(None);
    };
    let mut differs: Option<BooleanBuffer> = None;
    let mut present = before.present.clone();
    for &column in target.schema.key() {
        let distinct = distinct(before.rows.column(column), batch.rows.column(column))
            .map_err(|source| Error::BadName {
                stream: target.schema.stream().clone(),
                what: format!(
                    "old and new values of its key column `{}` cannot be compared: {source}",
                    target.schema.arrow().field(column).name()
                ),
            })?
            .values()
            .clone();
        differs = Some(differs.map_or_else(|| distinct.clone(), |differs| &differs | &distinct));
        if let Some(mask) = before.unavailable.as_ref().and_then(|u| u.column(column)) {
            present = &present & &!mask;
        }
    }
    let moved = differs.map(|differs| &differs & &present);
    Ok(moved.filter(|moved| moved.count_set_bits() > 0))
}
