//! A stream's table as it is written: which columns, by which key, in which mode, and the SQL for it.

use std::sync::Arc;

use api::{Deletes, WriteMode};
use model::StreamSchema;

use crate::sql_text::quoted;

/// Appended columns: what happened to the row.
pub(crate) const OP: &str = "_highwater_op";
/// Where on the log its transaction ends.
pub(crate) const POSITION: &str = "_highwater_position";
/// When the source committed it.
pub(crate) const COMMITTED_AT: &str = "_highwater_committed_at";
/// Which columns were not sent, as a JSON array; NULL if all were.
pub(crate) const UNAVAILABLE: &str = "_highwater_unavailable";
/// With `deletes: soft`: 1 if the source deleted the row.
pub(crate) const DELETED: &str = "_highwater_deleted";
/// How [`DELETED`] is declared.
pub(crate) const DELETED_TYPE: &str = "INTEGER NOT NULL DEFAULT 0";

/// Columns of ours in an appended table, and what they hold.
pub(crate) const APPENDED: [&str; 4] = [OP, POSITION, COMMITTED_AT, UNAVAILABLE];

/// Variables in one statement; SQLite's own limit is 32,766. Prepared statements of hundreds of wide tables add up.
const VARIABLES_MAX: usize = 512;

/// Rows in one statement. Fewer pays the start of a statement more often.
const ROWS_PER_STATEMENT: usize = 32;

/// A stream's table, ready to be written.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    /// The table, unquoted.
    pub(crate) table: String,
    /// The shape of the rows.
    pub(crate) schema: Arc<StreamSchema>,
    pub(crate) mode: WriteMode,
    pub(crate) deletes: Deletes,
    /// Indices of the schema's columns that are written; all of them unless the table lacks some and may.
    pub(crate) columns: Vec<usize>,
    /// The side table that notes the keys which a read meets, unquoted, while one does.
    pub(crate) seen: Option<String>,
}

impl Target {
    fn name(&self, column: usize) -> String {
        quoted(self.schema.arrow().field(column).name())
    }

    fn list(&self, columns: impl IntoIterator<Item = usize>) -> String {
        columns
            .into_iter()
            .map(|column| self.name(column))
            .collect::<Vec<_>>()
            .join(", ")
    }

    fn is_key(&self, column: usize) -> bool {
        self.schema.key().contains(&column)
    }

    /// `"a" = ? AND "b" = ?` over the key, in key order.
    fn where_key(&self) -> String {
        let terms: Vec<String> = self
            .schema
            .key()
            .iter()
            .map(|&column| format!("{} = ?", self.name(column)))
            .collect();
        terms.join(" AND ")
    }

    /// How many rows the statement for many rows takes.
    pub(crate) fn rows_per_statement(&self) -> usize {
        (VARIABLES_MAX / self.variables_per_row()).clamp(1, ROWS_PER_STATEMENT)
    }

    /// Parameters of one row in [`Self::append_sql`] and [`Self::upsert_sql`].
    pub(crate) fn variables_per_row(&self) -> usize {
        match self.mode {
            WriteMode::Append => self.columns.len() + APPENDED.len(),
            WriteMode::Upsert | WriteMode::Mirror => self.columns.len(),
        }
    }

    /// Appends rows. Parameters of a row: the columns, then op, position, time, unavailable.
    pub(crate) fn append_sql(&self, rows: usize) -> String {
        let mut columns: Vec<String> = self.columns.iter().map(|&column| self.name(column)).collect();
        columns.extend(APPENDED.map(quoted));
        self.insert_sql(&columns.join(", "), rows)
    }

    /// Inserts rows, or changes those that are there. Parameters of a row: the columns.
    pub(crate) fn upsert_sql(&self, rows: usize) -> String {
        let insert = self.insert_sql(&self.list(self.columns.iter().copied()), rows);
        let mut set: Vec<String> = self
            .columns
            .iter()
            .filter(|&&column| !self.is_key(column))
            .map(|&column| format!("{0} = excluded.{0}", self.name(column)))
            .collect();
        set.extend(self.undelete());
        let key = self.list(self.schema.key().iter().copied());
        if set.is_empty() {
            format!("{insert} ON CONFLICT ({key}) DO NOTHING")
        } else {
            format!("{insert} ON CONFLICT ({key}) DO UPDATE SET {}", set.join(", "))
        }
    }

    fn insert_sql(&self, columns: &str, rows: usize) -> String {
        let row = format!("({})", vec!["?"; self.variables_per_row()].join(", "));
        let rows = vec![row; rows].join(", ");
        format!("INSERT INTO {} ({columns}) VALUES {rows}", quoted(&self.table))
    }

    /// `"_highwater_deleted" = 0` where rows are deleted softly.
    fn undelete(&self) -> Option<String> {
        (self.deletes == Deletes::Soft).then(|| format!("{} = 0", quoted(DELETED)))
    }

    /// Changes the given columns of a row that is there. Parameters: those columns, then the (old) key. `None` if there is
    /// nothing to set.
    pub(crate) fn update_sql(&self, columns: &[usize]) -> Option<String> {
        let mut set: Vec<String> = columns
            .iter()
            .map(|&column| format!("{} = ?", self.name(column)))
            .collect();
        set.extend(self.undelete());
        if set.is_empty() {
            return None;
        }
        Some(format!(
            "UPDATE {} SET {} WHERE {}",
            quoted(&self.table),
            set.join(", "),
            self.where_key()
        ))
    }

    /// Removes a row for real. Parameters: its key.
    pub(crate) fn remove_sql(&self) -> String {
        format!("DELETE FROM {} WHERE {}", quoted(&self.table), self.where_key())
    }

    /// Does to the rows under `condition` (to all without one) what a delete at the source does here; `None` if nothing.
    pub(crate) fn delete_sql(&self, condition: Option<&str>) -> Option<String> {
        delete_sql(&self.table, self.mode, self.deletes, condition)
    }

    /// A delete at the source, by key. Parameters: the key.
    pub(crate) fn delete_by_key_sql(&self) -> Option<String> {
        self.delete_sql(Some(&self.where_key()))
    }

    /// Notes a key. Parameters: the key.
    pub(crate) fn note_sql(&self, seen: &str) -> String {
        let key = vec!["?"; self.schema.key().len()].join(", ");
        format!("INSERT OR IGNORE INTO {} VALUES ({key})", quoted(seen))
    }
}

/// Does to the rows under `condition` what a delete at the source does in this mode; `None` if nothing.
pub(crate) fn delete_sql(table: &str, mode: WriteMode, deletes: Deletes, condition: Option<&str>) -> Option<String> {
    let condition = condition.map_or_else(String::new, |condition| format!(" WHERE {condition}"));
    let table = quoted(table);
    match (mode, deletes) {
        (WriteMode::Append, _) | (_, Deletes::Ignore) => None,
        (_, Deletes::Apply) => Some(format!("DELETE FROM {table}{condition}")),
        (_, Deletes::Soft) => Some(format!("UPDATE {table} SET {} = 1{condition}", quoted(DELETED))),
    }
}

/// The side table that notes which keys a read meets.
pub(crate) fn seen_table(table: &str) -> String {
    format!("_highwater_seen_{table}")
}
