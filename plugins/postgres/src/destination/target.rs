//! A stream's table as it is written: which columns, by which key, in which mode, and the SQL for it.

use std::sync::Arc;

use api::{Deletes, WriteMode};
use model::StreamSchema;
use tokio_postgres::types::Type;

use crate::identifier::{Relation, quote_ident};
use crate::types::PgType;

/// Appended columns: what happened to the row.
pub(crate) const OP: &str = "_highwater_op";
/// Where on the log its transaction ends.
pub(crate) const POSITION: &str = "_highwater_position";
/// When the source committed it.
pub(crate) const COMMITTED_AT: &str = "_highwater_committed_at";
/// Which columns were not sent, as a JSON array; NULL if all were.
pub(crate) const UNAVAILABLE: &str = "_highwater_unavailable";
/// With `deletes: soft`: true if the source deleted the row.
pub(crate) const DELETED: &str = "_highwater_deleted";

/// Columns of ours in an appended table, with their types, in the order in which they are written.
pub(crate) const APPENDED: [(&str, &str); 4] = [
    (OP, "text"),
    (POSITION, "text"),
    (COMMITTED_AT, "timestamp with time zone"),
    (UNAVAILABLE, "jsonb"),
];

/// One column that is written.
#[derive(Debug, Clone)]
pub(crate) struct Written {
    /// Its index in the stream's schema.
    pub(crate) index: usize,
    pub(crate) name: String,
    /// Its type in the table.
    pub(crate) ty: Arc<PgType>,
    pub(crate) typmod: i32,
}

/// A stream's table, ready to be written.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) relation: Relation,
    /// The shape of the rows.
    pub(crate) schema: Arc<StreamSchema>,
    pub(crate) mode: WriteMode,
    pub(crate) deletes: Deletes,
    /// In the order in which they are sent; all of the schema's unless the table lacks some and may.
    pub(crate) columns: Vec<Written>,
    /// The key, as places in `columns`, in key order; empty for an appended table.
    pub(crate) key: Vec<usize>,
    /// The side table that notes the keys which a read meets, while one does.
    pub(crate) seen: Option<Relation>,
    /// Whether a column is `GENERATED ALWAYS AS IDENTITY`, which an INSERT must say that it overrides.
    pub(crate) has_identity_always: bool,
}

impl Target {
    fn name(&self, at: usize) -> String {
        quote_ident(&self.columns[at].name)
    }

    fn list(&self, columns: &[usize]) -> String {
        join(columns.iter().map(|&at| self.name(at)), ", ")
    }

    /// Places of all written columns.
    pub(crate) fn all(&self) -> Vec<usize> {
        (0..self.columns.len()).collect()
    }

    /// `t."a" = s."a" AND ...` over the key.
    fn same_key(&self, t: &str, s: &str) -> String {
        join(
            self.key.iter().map(|&at| format!("{t}.{0} = {s}.{0}", self.name(at))),
            " AND ",
        )
    }

    /// `t."a" = $1 AND ...` over the key, from parameter `first` on.
    fn key_is(&self, first: usize) -> String {
        let terms = self.key.iter().enumerate();
        join(
            terms.map(|(n, &at)| format!("{} = ${}", self.name(at), first + n)),
            " AND ",
        )
    }

    /// `COPY` of some columns into the table itself.
    pub(crate) fn copy_sql(&self) -> String {
        let mut columns: Vec<String> = (0..self.columns.len()).map(|at| self.name(at)).collect();
        if self.mode == WriteMode::Append {
            columns.extend(APPENDED.map(|(name, _)| quote_ident(name)));
        }
        format!(
            "COPY {} ({}) FROM STDIN (FORMAT binary)",
            self.relation,
            columns.join(", ")
        )
    }

    /// A temporary table of some columns, with their types and nothing else: no key, no NOT NULL.
    pub(crate) fn stage_sql(&self, stage: &str, columns: &[usize], outlives: bool) -> String {
        format!(
            "CREATE TEMPORARY TABLE {stage} ON COMMIT {} AS SELECT {} FROM {} WITH NO DATA",
            if outlives { "DELETE ROWS" } else { "DROP" },
            self.list(columns),
            self.relation
        )
    }

    /// Deletes the keys in a stage for real.
    pub(crate) fn remove_staged_sql(&self, stage: &str) -> String {
        format!(
            "DELETE FROM {} AS t USING {stage} AS s WHERE {}",
            self.relation,
            self.same_key("t", "s")
        )
    }

    /// Does to the keys in a stage what a delete at the source does here; `None` if nothing.
    pub(crate) fn delete_staged_sql(&self, stage: &str) -> Option<String> {
        match (self.mode, self.deletes) {
            (WriteMode::Append, _) | (_, Deletes::Ignore) => None,
            (_, Deletes::Apply) => Some(self.remove_staged_sql(stage)),
            (_, Deletes::Soft) => Some(format!(
                "UPDATE {} AS t SET {} = true FROM {stage} AS s WHERE {}",
                self.relation,
                quote_ident(DELETED),
                self.same_key("t", "s")
            )),
        }
    }

    /// Sets the columns in a stage, found by its key.
    pub(crate) fn patch_staged_sql(&self, stage: &str, columns: &[usize]) -> Option<String> {
        let set = self.assignments(columns.iter().filter(|at| !self.key.contains(at)), "s.");
        (!set.is_empty()).then(|| {
            format!(
                "UPDATE {} AS t SET {} FROM {stage} AS s WHERE {}",
                self.relation,
                set.join(", "),
                self.same_key("t", "s")
            )
        })
    }

    /// Inserts the rows in a stage, or changes those that are there.
    pub(crate) fn put_staged_sql(&self, stage: &str) -> String {
        let columns = self.list(&self.all());
        let set = self.assignments(
            (0..self.columns.len())
                .collect::<Vec<_>>()
                .iter()
                .filter(|at| !self.key.contains(at)),
            "excluded.",
        );
        let action = if set.is_empty() {
            "NOTHING".to_owned()
        } else {
            format!("UPDATE SET {}", set.join(", "))
        };
        format!(
            "INSERT INTO {} AS t ({columns}){} SELECT {columns} FROM {stage} ON CONFLICT ({}) DO {action}",
            self.relation,
            self.overriding(),
            self.list(&self.key)
        )
    }

    fn overriding(&self) -> &'static str {
        if self.has_identity_always {
            " OVERRIDING SYSTEM VALUE"
        } else {
            ""
        }
    }

    fn assignments<'a>(&self, columns: impl Iterator<Item = &'a usize>, from: &str) -> Vec<String> {
        let mut set: Vec<String> = columns.map(|&at| format!("{0} = {from}{0}", self.name(at))).collect();
        if self.deletes == Deletes::Soft {
            set.push(format!("{} = false", quote_ident(DELETED)));
        }
        set
    }

    /// Moves one row to another key. Parameters: the columns, then the old key.
    pub(crate) fn move_sql(&self, columns: &[usize]) -> String {
        let mut set: Vec<String> = columns
            .iter()
            .enumerate()
            .map(|(n, &at)| format!("{} = ${}", self.name(at), n + 1))
            .collect();
        if self.deletes == Deletes::Soft {
            set.push(format!("{} = false", quote_ident(DELETED)));
        }
        format!(
            "UPDATE {} SET {} WHERE {}",
            self.relation,
            set.join(", "),
            self.key_is(columns.len() + 1)
        )
    }

    /// Removes one row. Parameters: its key.
    pub(crate) fn remove_sql(&self) -> String {
        format!("DELETE FROM {} WHERE {}", self.relation, self.key_is(1))
    }

    /// Notes the keys in a stage that has them.
    pub(crate) fn note_staged_sql(&self, seen: &Relation, stage: &str) -> String {
        format!(
            "INSERT INTO {seen} SELECT {} FROM {stage} ON CONFLICT DO NOTHING",
            self.list(&self.key)
        )
    }

    /// Notes one key. Parameters: the key.
    pub(crate) fn note_sql(&self, seen: &Relation) -> String {
        let key = join((1..=self.key.len()).map(|n| format!("${n}")), ", ");
        format!("INSERT INTO {seen} VALUES ({key}) ON CONFLICT DO NOTHING")
    }
}

/// Does to the rows under `condition` (to all without one) what a delete at the source does to rows with a key; `None` if
/// nothing.
pub(crate) fn delete_sql(table: &Relation, deletes: Deletes, condition: Option<&str>) -> Option<String> {
    let condition = condition.map_or_else(String::new, |condition| format!(" WHERE {condition}"));
    match deletes {
        Deletes::Ignore => None,
        Deletes::Apply => Some(format!("DELETE FROM {table} AS t{condition}")),
        Deletes::Soft => Some(format!(
            "UPDATE {table} AS t SET {} = true{condition}",
            quote_ident(DELETED)
        )),
    }
}

/// A type as a parameter of a statement has it.
pub(crate) fn parameter_type(ty: &PgType) -> Type {
    Type::from_oid(ty.oid).unwrap_or_else(|| {
        Type::new(
            ty.name.to_string(),
            ty.oid,
            tokio_postgres::types::Kind::Simple,
            ty.schema.to_string(),
        )
    })
}

pub(crate) fn join(parts: impl Iterator<Item = String>, separator: &str) -> String {
    parts.collect::<Vec<_>>().join(separator)
}
