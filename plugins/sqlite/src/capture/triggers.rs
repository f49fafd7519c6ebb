//! The triggers that write the change table, as SQL text.
//!
//! Constraints, each of them measured:
//! - **The user's statement must never fail because of us.** Nothing here raises, casts or has a constraint.
//! - **The user's own DDL must keep working.** SQLite refuses to drop a column that a trigger names, so every column
//!   that could be dropped is named through a scope: in `(SELECT (SELECT NEW."b") FROM (SELECT NULL AS "b") AS NEW)` the
//!   innermost select finds the trigger's `NEW`; once the column is gone, it finds the outer one and answers NULL.
//! - **REPLACE must be seen.** With `recursive_triggers` off (the default) rows that `INSERT OR REPLACE` and `UPDATE OR
//!   REPLACE` push out fire no trigger. So a BEFORE trigger copies the rows that collide with `NEW` into a stage table,
//!   and the AFTER trigger logs as deleted those that are gone.
//!
//! What the stage table guarantees: a staged row is alive, or was pushed out by the running statement. The BEFORE
//! triggers fill it only where something collides (their WHEN), the AFTER triggers empty it, and AFTER DELETE takes a
//! row off. A statement that was ignored or failed may leave rows behind; they are alive, so nothing is logged for them.
//!
//! | trigger | does |
//! |---|---|
//! | `before_insert`, `before_update` | stages rows that collide with `NEW`, of other identity than `OLD` |
//! | `insert`, `update` | logs staged rows that are gone, empties the stage, logs the row |
//! | `delete` | takes the row off the stage, logs it |

use super::names::Names;
use super::table::{Identity, Table, TermOf, Unique};
use crate::sql_text::quoted;

/// What a change row says happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i64)]
pub(crate) enum ChangeOp {
    /// A mark of our own; no row.
    Mark = 0,
    Insert = 1,
    Update = 2,
    Delete = 3,
    /// The row as it stands, written by us because its last change was not captured in full. An update for everyone else.
    Refresh = 4,
}

/// The clock of a change row: days as SQLite counts them, read once for each of the user's statements.
pub(crate) const NOW: &str = "julianday('now')";

/// The triggers of one table: name and text, in the order in which they must be made.
pub(crate) fn triggers(table: &Table, layout: i64, names: &Names) -> Vec<(String, String)> {
    let writer = Writer { table, layout, names };
    vec![
        (names.trigger(layout, "before_insert"), writer.before_insert()),
        (names.trigger(layout, "before_update"), writer.before_update()),
        (names.trigger(layout, "insert"), writer.after_insert()),
        (names.trigger(layout, "update"), writer.after_update()),
        (names.trigger(layout, "delete"), writer.after_delete()),
    ]
}

/// The column list `n0, n1, ...` of the change table for a table of this width.
pub(crate) fn columns_of(prefix: &str, len: usize) -> String {
    (0..len).map(|i| format!("{prefix}{i}")).collect::<Vec<_>>().join(", ")
}

struct Writer<'a> {
    table: &'a Table,
    layout: i64,
    names: &'a Names,
}

impl Writer<'_> {
    fn create(&self, kind: &str, event: &str, when: Option<String>, body: &[String]) -> String {
        format!(
            "CREATE TRIGGER {} {event} ON {}{} BEGIN {}; END",
            quoted(&self.names.trigger(self.layout, kind)),
            self.table.quoted_name(),
            when.map_or_else(String::new, |when| format!(" WHEN {when}")),
            body.join("; "),
        )
    }

    fn before_insert(&self) -> String {
        let conflicts = self.conflicts(None);
        self.create(
            "before_insert",
            "BEFORE INSERT",
            Some(self.any_conflict(&conflicts)),
            &self.stage(&conflicts),
        )
    }

    fn before_update(&self) -> String {
        let conflicts = self.conflicts(Some("OLD"));
        let event = match self.columns_that_collide() {
            Some(columns) => format!("BEFORE UPDATE OF {}", columns.join(", ")),
            None => "BEFORE UPDATE".to_owned(),
        };
        self.create(
            "before_update",
            &event,
            Some(self.any_conflict(&conflicts)),
            &self.stage(&conflicts),
        )
    }

    fn after_insert(&self) -> String {
        let gone = format!("{} OR NOT {}", self.staged_is("NEW"), self.staged_is_alive());
        self.create(
            "insert",
            "AFTER INSERT",
            None,
            &[
                self.log_staged(&gone),
                self.empty_stage(),
                self.log(ChangeOp::Insert, &["NEW"]),
            ],
        )
    }

    fn after_update(&self) -> String {
        let gone = format!(
            "NOT {} AND ({} OR NOT {})",
            self.staged_is("OLD"),
            self.staged_is("NEW"),
            self.staged_is_alive()
        );
        self.create(
            "update",
            "AFTER UPDATE",
            None,
            &[
                self.log_staged(&gone),
                self.empty_stage(),
                self.log(ChangeOp::Update, &["NEW", "OLD"]),
            ],
        )
    }

    fn after_delete(&self) -> String {
        let take_off = format!(
            "DELETE FROM {stage} WHERE layout = {} AND {}",
            self.layout,
            self.same_as_staged("OLD", ""),
            stage = self.names.stage(),
        );
        self.create(
            "delete",
            "AFTER DELETE",
            None,
            &[take_off, self.log(ChangeOp::Delete, &["OLD"])],
        )
    }

    /// Writes the row images of `aliases` (`NEW`, `OLD`) into the change table.
    fn log(&self, op: ChangeOp, aliases: &[&str]) -> String {
        let len = self.table.columns.len();
        let mut into = String::new();
        let mut values = String::new();
        for alias in aliases {
            let prefix = if *alias == "NEW" { "n" } else { "o" };
            into.push_str(&format!(", {}", columns_of(prefix, len)));
            for column in 0..len {
                values.push_str(&format!(", {}", self.value(alias, column)));
            }
        }
        format!(
            "INSERT INTO {}(layout, op, at{into}) SELECT {}, {}, {NOW}{values}",
            self.names.changes(),
            self.layout,
            op as i64,
        )
    }

    fn log_staged(&self, gone: &str) -> String {
        let len = self.table.columns.len();
        format!(
            "INSERT INTO {}(layout, op, at, {}) SELECT {layout}, {}, {NOW}, {} FROM {} AS s WHERE s.layout = {layout} AND ({gone})",
            self.names.changes(),
            columns_of("o", len),
            ChangeOp::Delete as i64,
            columns_of("s.v", len),
            self.names.stage(),
            layout = self.layout,
        )
    }

    fn empty_stage(&self) -> String {
        format!("DELETE FROM {} WHERE layout = {}", self.names.stage(), self.layout)
    }

    /// Copies the rows that collide into the emptied stage.
    fn stage(&self, conflicts: &[Conflict]) -> Vec<String> {
        let len = self.table.columns.len();
        let table = self.table.quoted_name();
        let of_k = self.identity("k");
        let same_row = self.same_row("t", "k");
        let values: Vec<String> = (0..len)
            .map(|column| {
                let name = quoted(&self.table.columns[column].name);
                if self.table.columns[column].is_permanent {
                    format!("k.{name}")
                } else {
                    format!("(SELECT t.{name} FROM {table} AS t WHERE {same_row})")
                }
            })
            .collect();
        let id = match &self.table.identity {
            Identity::Rowid { .. } => of_k[0].clone(),
            Identity::Key => "NULL".to_owned(),
        };
        let colliding: Vec<String> = conflicts
            .iter()
            .map(|conflict| {
                format!(
                    "SELECT {} FROM {table} AS t WHERE {}",
                    self.identity("t").join(", "),
                    conflict.condition
                )
            })
            .collect();
        let scope = self
            .scope("t")
            .map_or_else(String::new, |scope| format!(" CROSS JOIN {scope}"));
        let row = if of_k.len() == 1 {
            of_k[0].clone()
        } else {
            format!("({})", of_k.join(", "))
        };
        vec![
            self.empty_stage(),
            format!(
                "INSERT INTO {}(layout, id, {}) SELECT {}, {id}, {} FROM {table} AS k{scope} WHERE {row} IN ({})",
                self.names.stage(),
                columns_of("v", len),
                self.layout,
                values.join(", "),
                colliding.join(" UNION ALL "),
            ),
        ]
    }

    fn any_conflict(&self, conflicts: &[Conflict]) -> String {
        let table = self.table.quoted_name();
        let scope = self.scope("t");
        conflicts
            .iter()
            .map(|conflict| {
                let exists = format!("EXISTS (SELECT 1 FROM {table} AS t WHERE {})", conflict.condition);
                match &scope {
                    Some(scope) if conflict.names_droppable => format!("EXISTS (SELECT 1 FROM {scope} WHERE {exists})"),
                    _ => exists,
                }
            })
            .collect::<Vec<_>>()
            .join(" OR ")
    }

    /// Everything in which a row `t` of the table can collide with `NEW`, without being the row `except` itself.
    fn conflicts(&self, except: Option<&str>) -> Vec<Conflict> {
        let mut conflicts = Vec::new();
        if matches!(self.table.identity, Identity::Rowid { .. }) {
            conflicts.push(Conflict {
                condition: self.same_row("t", "NEW"),
                names_droppable: false,
            });
        }
        conflicts.extend(self.table.uniques.iter().map(|unique| self.conflict(unique)));
        if let Some(except) = except {
            for conflict in &mut conflicts {
                conflict
                    .condition
                    .push_str(&format!(" AND NOT ({})", self.same_row("t", except)));
            }
        }
        conflicts
    }

    fn conflict(&self, unique: &Unique) -> Conflict {
        let mut terms: Vec<String> = unique
            .terms
            .iter()
            .map(|term| {
                let collation = quoted(&term.collation);
                match &term.what {
                    TermOf::Column(column) => {
                        let name = quoted(&self.table.columns[*column].name);
                        format!("t.{name} = {} COLLATE {collation}", self.value("NEW", *column))
                    }
                    TermOf::Rowid => self.same_row("t", "NEW"),
                    TermOf::Expression(text) => {
                        let of_new: Vec<String> = (0..self.table.columns.len())
                            .map(|column| {
                                format!(
                                    "{} AS {}",
                                    self.value("NEW", column),
                                    quoted(&self.table.columns[column].name)
                                )
                            })
                            .collect();
                        format!(
                            "({text}) = (SELECT ({text}) FROM (SELECT {})) COLLATE {collation}",
                            of_new.join(", ")
                        )
                    }
                }
            })
            .collect();
        terms.extend(unique.condition.as_ref().map(|condition| format!("({condition})")));
        let is_generated = |what: &TermOf| matches!(what, TermOf::Column(c) if self.table.columns[*c].is_generated);
        if unique.terms.iter().any(|term| is_generated(&term.what)) {
            terms.extend(self.mention_all_of_new());
        }
        Conflict {
            condition: terms.join(" AND "),
            names_droppable: unique.is_index,
        }
    }

    /// Always true. In a BEFORE UPDATE trigger SQLite loads only those unchanged columns of `NEW` that the trigger names,
    /// and computes generated columns from what is loaded; so where a generated column counts, all must be named.
    fn mention_all_of_new(&self) -> Vec<String> {
        let all: Vec<String> = (0..self.table.columns.len())
            .map(|column| self.value("NEW", column))
            .collect();
        // A function takes at most 127 arguments by default.
        all.chunks(100)
            .map(|some| format!("coalesce({}, 1) IS NOT NULL", some.join(", ")))
            .collect()
    }

    /// Columns whose change can make a row collide; `None` if that cannot be told.
    fn columns_that_collide(&self) -> Option<Vec<String>> {
        let mut columns = Vec::new();
        if let Identity::Rowid { .. } = self.table.identity {
            columns.extend(["rowid", "_rowid_", "oid"].map(str::to_owned));
        }
        if let Identity::Rowid { alias: Some(alias), .. } = self.table.identity {
            columns.push(quoted(&self.table.columns[alias].name));
        }
        for unique in &self.table.uniques {
            if unique.condition.is_some() {
                return None;
            }
            for term in &unique.terms {
                match term.what {
                    TermOf::Column(column) if !self.table.columns[column].is_generated => {
                        columns.push(quoted(&self.table.columns[column].name));
                    }
                    TermOf::Rowid => {}
                    _ => return None,
                }
            }
        }
        Some(columns)
    }

    /// `(SELECT NULL AS "b", ...) AS alias` over the columns that could be dropped.
    fn scope(&self, alias: &str) -> Option<String> {
        let nulls: Vec<String> = self
            .table
            .columns
            .iter()
            .filter(|column| !column.is_permanent)
            .map(|column| format!("NULL AS {}", quoted(&column.name)))
            .collect();
        (!nulls.is_empty()).then(|| format!("(SELECT {}) AS {alias}", nulls.join(", ")))
    }

    /// A column of `NEW` or `OLD`, which is NULL once the column is dropped. (A scope for each column is cheaper than one
    /// for the statement: two of those would be joined, which costs more than the whole rest.)
    fn value(&self, alias: &str, column: usize) -> String {
        let name = quoted(&self.table.columns[column].name);
        if self.table.columns[column].is_permanent {
            format!("{alias}.{name}")
        } else {
            format!("(SELECT (SELECT {alias}.{name}) FROM (SELECT NULL AS {name}) AS {alias})")
        }
    }

    /// The columns that identify a row.
    fn identity(&self, alias: &str) -> Vec<String> {
        match &self.table.identity {
            Identity::Rowid { name, .. } => vec![format!("{alias}.{}", quoted(name))],
            Identity::Key => self
                .table
                .key
                .iter()
                .map(|key| format!("{alias}.{}", quoted(&self.table.columns[key.column].name)))
                .collect(),
        }
    }

    fn same_row(&self, left: &str, right: &str) -> String {
        let pairs = self.identity(left).into_iter().zip(self.identity(right));
        pairs
            .map(|(l, r)| format!("{l} = {r}"))
            .collect::<Vec<_>>()
            .join(" AND ")
    }

    /// Whether the staged row is the row `alias`. The user's column stands on the left: its collation counts.
    fn same_as_staged(&self, alias: &str, stage: &str) -> String {
        let staged: Vec<String> = match &self.table.identity {
            Identity::Rowid { .. } => vec![format!("{stage}id")],
            Identity::Key => self
                .table
                .key
                .iter()
                .map(|key| format!("{stage}v{}", key.column))
                .collect(),
        };
        let pairs = self.identity(alias).into_iter().zip(staged);
        pairs
            .map(|(l, r)| format!("{l} = {r}"))
            .collect::<Vec<_>>()
            .join(" AND ")
    }

    fn staged_is(&self, alias: &str) -> String {
        format!("({})", self.same_as_staged(alias, "s."))
    }

    fn staged_is_alive(&self) -> String {
        format!(
            "EXISTS (SELECT 1 FROM {} AS t WHERE {})",
            self.table.quoted_name(),
            self.same_as_staged("t", "s.")
        )
    }
}

/// A condition over a row `t` of the table and `NEW`.
struct Conflict {
    condition: String,
    names_droppable: bool,
}
