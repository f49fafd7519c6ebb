//! Writing the rows of one batch into its table, inside a transaction that is open already.
//!
//! Constraints:
//! - rows are written in their order, so the last change of a key wins and a key that was freed can be taken again;
//! - columns are downcast once for a batch, statements are prepared once for a connection, and a row costs no allocation;
//! - a value that was not sent leaves its column alone; where there is no row to leave alone, that is an error.

use std::ops::Range;

use api::{Deletes, WriteMode};
use arrow::array::RecordBatch;
use arrow::buffer::BooleanBuffer;
use arrow::compute::kernels::cmp::distinct;
use model::{Batch, Op, Unavailable};
use rusqlite::{CachedStatement, Connection, Statement};

use super::cells::Cells;
use super::error::{Error, Result, sql};
use super::json_text::put_string;
use super::target::Target;
use super::value_text::put_timestamp;

/// Applies a batch.
pub(crate) fn apply(conn: &Connection, target: &Target, batch: &Batch) -> Result<()> {
    if batch.is_empty() {
        return Ok(());
    }
    let cells = cells_of(&batch.rows, target)?;
    match target.mode {
        WriteMode::Append => Append {
            conn,
            target,
            batch,
            cells,
            scratch: String::new(),
        }
        .run(),
        WriteMode::Upsert | WriteMode::Mirror => ByKey::new(conn, target, batch, cells)?.run(),
    }
}

fn cells_of<'a>(rows: &'a RecordBatch, target: &'a Target) -> Result<Vec<Cells<'a>>> {
    let fields = target.schema.arrow().fields();
    let columns = rows.columns().iter().zip(fields);
    columns
        .map(|(column, field)| {
            Cells::of(field, column.as_ref()).ok_or_else(|| Error::BadName {
                stream: target.schema.stream().clone(),
                what: format!(
                    "its column `{}` has type {}, which cannot be carried",
                    field.name(),
                    field.data_type()
                ),
            })
        })
        .collect()
}

fn writing(target: &Target) -> impl Fn(rusqlite::Error) -> Error + use<'_> {
    |source| sql(format!("write rows of `{}`", target.schema.stream()))(source)
}

/// Binds some columns of a row, the first one to `parameter`.
fn bind(
    statement: &mut Statement<'_>,
    parameter: usize,
    cells: &[Cells<'_>],
    columns: &[usize],
    row: usize,
    scratch: &mut String,
) -> rusqlite::Result<()> {
    for (at, &column) in columns.iter().enumerate() {
        cells[column].bind(statement, parameter + at, row, scratch)?;
    }
    Ok(())
}

/// Binds some columns of several rows, a column at a time. A row's parameters follow `per_row` after those of the one before.
fn bind_rows(
    statement: &mut Statement<'_>,
    per_row: usize,
    cells: &[Cells<'_>],
    columns: &[usize],
    rows: impl Iterator<Item = usize> + Clone,
    scratch: &mut String,
) -> rusqlite::Result<()> {
    for (at, &column) in columns.iter().enumerate() {
        let parameters = (1 + at..).step_by(per_row);
        cells[column].bind_rows(statement, rows.clone().zip(parameters), scratch)?;
    }
    Ok(())
}

/// What is done to a row by its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// Inserted or overwritten.
    Put,
    /// Some of its columns are set.
    Patch,
    /// Set, found by its old key.
    Move,
    /// Deleted.
    Delete,
}

struct ByKey<'a> {
    conn: &'a Connection,
    target: &'a Target,
    batch: &'a Batch,
    cells: Vec<Cells<'a>>,
    old_cells: Vec<Cells<'a>>,
    /// Rows of which some value was not sent.
    partial: Option<BooleanBuffer>,
    /// Rows whose key changed.
    moved: Option<BooleanBuffer>,
    put_one: Prepared<'a>,
    put_many: Prepared<'a>,
    delete: Prepared<'a>,
    note: Prepared<'a>,
    scratch: String,
}

/// A statement that is prepared when its first row comes.
#[derive(Default)]
struct Prepared<'a>(Option<CachedStatement<'a>>);

impl<'a> Prepared<'a> {
    fn get(
        &mut self,
        conn: &'a Connection,
        sql: impl FnOnce() -> String,
    ) -> rusqlite::Result<&mut CachedStatement<'a>> {
        match &mut self.0 {
            Some(statement) => Ok(statement),
            empty => Ok(empty.insert(conn.prepare_cached(&sql())?)),
        }
    }
}

impl<'a> ByKey<'a> {
    fn new(conn: &'a Connection, target: &'a Target, batch: &'a Batch, cells: Vec<Cells<'a>>) -> Result<Self> {
        check_keys(target, batch)?;
        let moved = moved(target, batch)?;
        let old_cells = match (&moved, &batch.before) {
            (Some(_), Some(before)) => cells_of(&before.rows, target)?,
            _ => Vec::new(),
        };
        Ok(ByKey {
            conn,
            target,
            batch,
            cells,
            old_cells,
            partial: batch.unavailable.as_ref().and_then(any_column),
            moved,
            put_one: Prepared::default(),
            put_many: Prepared::default(),
            delete: Prepared::default(),
            note: Prepared::default(),
            scratch: String::new(),
        })
    }

    fn step(&self, row: usize) -> Step {
        let is_set = |mask: &Option<BooleanBuffer>| mask.as_ref().is_some_and(|mask| mask.value(row));
        if self.batch.ops.get(row) == Op::Delete {
            Step::Delete
        } else if is_set(&self.moved) {
            Step::Move
        } else if is_set(&self.partial) {
            Step::Patch
        } else {
            Step::Put
        }
    }

    fn run(mut self) -> Result<()> {
        let len = self.batch.len();
        let mut start = 0;
        while start < len {
            let step = self.step(start);
            let mut end = start + 1;
            while end < len && self.step(end) == step {
                end += 1;
            }
            match step {
                Step::Put => self.put(start..end).map_err(writing(self.target))?,
                Step::Patch => self.patch(start..end)?,
                Step::Move => self.relocate(start..end)?,
                Step::Delete => self.delete(start..end).map_err(writing(self.target))?,
            }
            if step != Step::Delete {
                self.note(start..end).map_err(writing(self.target))?;
            }
            start = end;
        }
        Ok(())
    }

    fn put(&mut self, rows: Range<usize>) -> rusqlite::Result<()> {
        let many = self.target.rows_per_statement();
        let whole = rows.start + rows.len() / many * many;
        for first in (rows.start..whole).step_by(many) {
            self.put_some(first..first + many)?;
        }
        for row in whole..rows.end {
            self.put_some(row..row + 1)?;
        }
        Ok(())
    }

    /// Rows in one statement: a single one, or as many as the large statement takes.
    fn put_some(&mut self, rows: Range<usize>) -> rusqlite::Result<()> {
        let (target, len) = (self.target, rows.len());
        let prepared = if len == 1 {
            &mut self.put_one
        } else {
            &mut self.put_many
        };
        let statement = prepared.get(self.conn, || target.upsert_sql(len))?;
        let per_row = target.variables_per_row();
        bind_rows(
            statement,
            per_row,
            &self.cells,
            &target.columns,
            rows,
            &mut self.scratch,
        )?;
        statement.raw_execute().map(drop)
    }

    /// Columns whose value was sent; the key among them or not.
    fn sent(&self, row: usize, with_key: bool) -> Vec<usize> {
        let is_sent = |column: usize| !self.batch.unavailable.as_ref().is_some_and(|u| u.is_set(row, column));
        let is_key = |column: usize| self.target.schema.key().contains(&column);
        self.target
            .columns
            .iter()
            .copied()
            .filter(|&column| is_sent(column) && (with_key || !is_key(column)))
            .collect()
    }

    /// Rows with the same values missing share a statement.
    fn patch(&mut self, rows: Range<usize>) -> Result<()> {
        let target = self.target;
        let mut prepared: Option<(Vec<usize>, Option<CachedStatement<'a>>)> = None;
        for row in rows {
            let columns = self.sent(row, false);
            if prepared.as_ref().is_none_or(|(last, _)| *last != columns) {
                let statement = match target.update_sql(&columns) {
                    Some(update) => Some(self.conn.prepare_cached(&update).map_err(writing(target))?),
                    None => None,
                };
                prepared = Some((columns, statement));
            }
            let Some((columns, Some(statement))) = &mut prepared else {
                continue;
            };
            let changed = self.update(statement, columns, row, false).map_err(writing(target))?;
            if changed == 0 {
                return Err(self.not_whole());
            }
        }
        Ok(())
    }

    /// Moves each row from its old key to its new one.
    fn relocate(&mut self, rows: Range<usize>) -> Result<()> {
        let target = self.target;
        for row in rows {
            // Whatever lies at the new key is gone at the source: it was deleted there, or never reached this table whole.
            let mut remove = self
                .conn
                .prepare_cached(&target.remove_sql())
                .map_err(writing(target))?;
            run_by_key(&mut remove, target, &self.cells, row, &mut self.scratch).map_err(writing(target))?;
            let columns = self.sent(row, true);
            let changed = match target.update_sql(&columns) {
                Some(update) => {
                    let mut update = self.conn.prepare_cached(&update).map_err(writing(target))?;
                    self.update(&mut update, &columns, row, true).map_err(writing(target))?
                }
                None => 0,
            };
            if changed == 0 {
                if columns.len() < target.columns.len() {
                    return Err(self.not_whole());
                }
                self.put_some(row..row + 1).map_err(writing(target))?;
            }
        }
        Ok(())
    }

    fn update(
        &mut self,
        statement: &mut Statement<'_>,
        columns: &[usize],
        row: usize,
        by_old_key: bool,
    ) -> rusqlite::Result<usize> {
        bind(statement, 1, &self.cells, columns, row, &mut self.scratch)?;
        let cells = if by_old_key { &self.old_cells } else { &self.cells };
        let key = self.target.schema.key();
        bind(statement, columns.len() + 1, cells, key, row, &mut self.scratch)?;
        statement.raw_execute()
    }

    fn delete(&mut self, rows: Range<usize>) -> rusqlite::Result<()> {
        let target = self.target;
        let Some(delete) = target.delete_by_key_sql() else {
            return Ok(());
        };
        let statement = self.delete.get(self.conn, || delete)?;
        for row in rows {
            run_by_key(statement, target, &self.cells, row, &mut self.scratch)?;
        }
        Ok(())
    }

    /// Notes the keys that a read meets.
    fn note(&mut self, rows: Range<usize>) -> rusqlite::Result<()> {
        let target = self.target;
        let Some(seen) = &target.seen else {
            return Ok(());
        };
        let statement = self.note.get(self.conn, || target.note_sql(seen))?;
        for row in rows {
            run_by_key(statement, target, &self.cells, row, &mut self.scratch)?;
        }
        Ok(())
    }

    fn not_whole(&self) -> Error {
        Error::NotWhole {
            stream: self.target.schema.stream().clone(),
            table: self.target.table.clone(),
        }
    }
}

/// Runs a statement whose parameters are the row's key.
fn run_by_key(
    statement: &mut Statement<'_>,
    target: &Target,
    cells: &[Cells<'_>],
    row: usize,
    scratch: &mut String,
) -> rusqlite::Result<()> {
    bind(statement, 1, cells, target.schema.key(), row, scratch)?;
    statement.raw_execute().map(drop)
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
            .map_err(|source| Error::CompareKeys {
                stream: target.schema.stream().clone(),
                source,
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

struct Append<'a> {
    conn: &'a Connection,
    target: &'a Target,
    batch: &'a Batch,
    cells: Vec<Cells<'a>>,
    scratch: String,
}

/// What the rows of one transaction have in common.
struct Stamp {
    row_end: usize,
    position: String,
    committed_at: String,
}

impl Append<'_> {
    fn run(mut self) -> Result<()> {
        let target = self.target;
        let skips_deletes = target.deletes == Deletes::Ignore;
        let is_taken = |op: Op| !(skips_deletes && op == Op::Delete);
        let rows: Vec<usize> = (0..self.batch.len())
            .filter(|&row| is_taken(self.batch.ops.get(row)))
            .collect();
        let stamps: Vec<Stamp> = self.batch.commits.iter().map(Stamp::of).collect();
        let (many, mut at) = (target.rows_per_statement(), 0);
        if rows.len() >= many {
            let mut statement = self
                .conn
                .prepare_cached(&target.append_sql(many))
                .map_err(writing(target))?;
            for chunk in rows.chunks_exact(many) {
                self.append(&mut statement, chunk, &stamps).map_err(writing(target))?;
                at += many;
            }
        }
        if at < rows.len() {
            let mut statement = self
                .conn
                .prepare_cached(&target.append_sql(1))
                .map_err(writing(target))?;
            for row in rows[at..].chunks(1) {
                self.append(&mut statement, row, &stamps).map_err(writing(target))?;
            }
        }
        Ok(())
    }

    fn append(&mut self, statement: &mut Statement<'_>, rows: &[usize], stamps: &[Stamp]) -> rusqlite::Result<()> {
        let (columns, per_row) = (&self.target.columns, self.target.variables_per_row());
        let each = rows.iter().copied();
        bind_rows(statement, per_row, &self.cells, columns, each, &mut self.scratch)?;
        let stamps_at = (1 + columns.len()..).step_by(per_row);
        for (&row, parameter) in rows.iter().zip(stamps_at) {
            let stamp = &stamps[stamps.partition_point(|stamp| stamp.row_end <= row)];
            statement.raw_bind_parameter(parameter, self.batch.ops.get(row).name())?;
            statement.raw_bind_parameter(parameter + 1, &stamp.position)?;
            statement.raw_bind_parameter(parameter + 2, &stamp.committed_at)?;
            statement.raw_bind_parameter(parameter + 3, self.unavailable(row))?;
        }
        statement.raw_execute().map(drop)
    }

    /// The columns that were not sent, as a JSON array.
    fn unavailable(&self, row: usize) -> Option<String> {
        let unavailable = self.batch.unavailable.as_ref()?;
        let fields = self.target.schema.arrow().fields();
        let names: Vec<&str> = (0..fields.len())
            .filter(|&column| unavailable.is_set(row, column))
            .map(|column| fields[column].name().as_str())
            .collect();
        if names.is_empty() {
            return None;
        }
        let mut text = String::from("[");
        for (at, name) in names.iter().enumerate() {
            if at > 0 {
                text.push(',');
            }
            put_string(&mut text, name);
        }
        text.push(']');
        Some(text)
    }
}

impl Stamp {
    fn of(commit: &model::Commit) -> Stamp {
        let mut committed_at = String::new();
        put_timestamp(&mut committed_at, commit.time.micros(), 6, true);
        Stamp {
            row_end: commit.row_end,
            position: commit.order.to_string(),
            committed_at,
        }
    }
}
