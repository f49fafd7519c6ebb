//! Making a table fit a schema: what differs, what may be done about it, and the SQL that does it.
//!
//! | the table | `on_schema_change` unset or `apply` | `pause` | `ignore` |
//! |---|---|---|---|
//! | is not there | created | created | created |
//! | lacks a column | `ALTER TABLE ADD COLUMN` | error with the statement | the column is left out |
//! | has a column that the stream lost | stays; new rows have NULL there | stays | stays |
//! | holds a column in a narrower form | rewritten in place | error with the statement | error |
//! | holds a column in another form | error: resync | error: resync | error: resync |
//! | has no unique key where rows go by key, or one where they are appended | error with the statement | error | error |
//! | would convert values, has generated columns, or columns that must be given | error | error | error |

use std::collections::BTreeMap;

use api::{Deletes, OnSchemaChange, WriteMode};
use model::{StreamId, StreamSchema};

use super::catalogue::{Found, FoundColumn};
use super::error::{Error, Result};
use super::form::{Form, Widening};
use super::target::{APPENDED, COMMITTED_AT, DELETED, DELETED_TYPE};
use crate::sql_text::quoted;

/// What is to be written, in the terms that a table has to fit.
pub(crate) struct Wanted<'a> {
    pub(crate) schema: &'a StreamSchema,
    pub(crate) table: &'a str,
    pub(crate) mode: WriteMode,
    pub(crate) deletes: Deletes,
    /// One for each column of the schema.
    pub(crate) forms: Vec<Form>,
}

/// How a table is made to fit.
#[derive(Debug, Default)]
pub(crate) struct Fitting {
    /// To be run in this order.
    pub(crate) statements: Vec<String>,
    /// Columns of the schema that the table lacks and may lack.
    pub(crate) left_out: Vec<usize>,
}

/// Prefix of everything that is ours.
const OURS: &str = "_highwater_";

impl<'a> Wanted<'a> {
    /// Checks names and types that do not depend on what is there.
    pub(crate) fn new(
        schema: &'a StreamSchema,
        table: &'a str,
        mode: WriteMode,
        deletes: Deletes,
    ) -> Result<Wanted<'a>> {
        let stream = schema.stream();
        let bad = |what: String| Error::BadName {
            stream: stream.clone(),
            what,
        };
        if mode != WriteMode::Append && !schema.has_key() {
            return Err(Error::NoKey { stream: stream.clone() });
        }
        check_name(stream, "table", table)?;
        let fields = schema.arrow().fields();
        if fields.is_empty() {
            return Err(bad("it has no columns".to_owned()));
        }
        let mut forms = Vec::with_capacity(fields.len());
        for (at, field) in fields.iter().enumerate() {
            check_name(stream, "column", field.name())?;
            if let Some(earlier) = fields[..at]
                .iter()
                .find(|e| e.name().eq_ignore_ascii_case(field.name()))
            {
                return Err(bad(format!(
                    "its columns `{}` and `{}` have one name in SQLite, which ignores case",
                    earlier.name(),
                    field.name()
                )));
            }
            forms.push(Form::of(field).ok_or_else(|| {
                bad(format!(
                    "its column `{}` has type {}, which cannot be carried",
                    field.name(),
                    field.data_type()
                ))
            })?);
        }
        Ok(Wanted {
            schema,
            table,
            mode,
            deletes,
            forms,
        })
    }

    fn columns(&self) -> impl Iterator<Item = (usize, &str, Form)> {
        let names = self.schema.arrow().fields().iter().map(|field| field.name().as_str());
        names
            .zip(&self.forms)
            .enumerate()
            .map(|(at, (name, form))| (at, name, *form))
    }

    /// Columns of ours: name and declaration.
    fn our_columns(&self) -> Vec<(&'static str, String)> {
        match (self.mode, self.deletes) {
            (WriteMode::Append, _) => APPENDED
                .map(|name| (name, if name == COMMITTED_AT { "TIMESTAMP" } else { "TEXT" }.to_owned()))
                .to_vec(),
            (_, Deletes::Soft) => vec![(DELETED, DELETED_TYPE.to_owned())],
            _ => Vec::new(),
        }
    }

    fn key(&self) -> Vec<&str> {
        self.schema.key_names().collect()
    }

    /// `CREATE TABLE`. Only the key is NOT NULL: a column that the source drops later must not forbid its new rows.
    pub(crate) fn create_sql(&self) -> String {
        let by_key = self.mode != WriteMode::Append;
        let is_key = |at: usize| by_key && self.schema.key().contains(&at);
        let is_rowid = |at, form| is_key(at) && self.schema.key().len() == 1 && form == Form::Integer;
        let mut parts: Vec<String> = self
            .columns()
            .map(|(at, name, form)| {
                let constraint = match (is_rowid(at, form), is_key(at)) {
                    (true, _) => " PRIMARY KEY NOT NULL",
                    (false, true) => " NOT NULL",
                    (false, false) => "",
                };
                format!("{} {}{constraint}", quoted(name), form.declared())
            })
            .collect();
        parts.extend(
            self.our_columns()
                .iter()
                .map(|(name, declared)| format!("{} {declared}", quoted(name))),
        );
        if by_key && !self.columns().any(|(at, _, form)| is_rowid(at, form)) {
            let key: Vec<String> = self.key().into_iter().map(quoted).collect();
            parts.push(format!("PRIMARY KEY ({})", key.join(", ")));
        }
        format!("CREATE TABLE {} ({})", quoted(self.table), parts.join(", "))
    }

    /// Compares the schema with a table that is there. `held` are the forms that its columns were written in so far;
    /// empty for a table that we have not written yet.
    pub(crate) fn fit(
        &self,
        found: &Found,
        held: &BTreeMap<String, Form>,
        policy: Option<OnSchemaChange>,
    ) -> Result<Fitting> {
        if found.kind != "table" {
            return Err(self.refuse(format!("it is a {}", found.kind), None));
        }
        self.check_unique(found)?;
        self.check_others(found)?;
        let mut fitting = Fitting::default();
        let mut changes: Vec<String> = Vec::new();
        for (at, name, form) in self.columns() {
            match found.column(name) {
                Some(column) => {
                    if let Some(statements) = self.fit_column(column, name, form, held.get(name).copied())? {
                        changes.push(format!("column `{name}` is now {form}"));
                        fitting.statements.extend(statements);
                    }
                }
                None if policy == Some(OnSchemaChange::Ignore) && !self.schema.key().contains(&at) => {
                    fitting.left_out.push(at);
                }
                None => {
                    changes.push(format!("it has no column `{name}`"));
                    fitting.statements.push(self.add_sql(name, form.declared()));
                }
            }
        }
        for (name, declared) in self.our_columns() {
            if found.column(name).is_none() {
                fitting.statements.push(self.add_sql(name, &declared));
            }
        }
        match policy {
            Some(OnSchemaChange::Pause) if !changes.is_empty() => Err(Error::Changed {
                stream: self.schema.stream().clone(),
                table: found.name.clone(),
                what: changes.join("; "),
                statement: fitting.statements.join("; "),
            }),
            Some(OnSchemaChange::Ignore) if !changes.is_empty() => {
                Err(self.refuse(changes.join("; "), Some(fitting.statements.join("; "))))
            }
            _ => Ok(fitting),
        }
    }

    fn refuse(&self, what: String, statement: Option<String>) -> Error {
        Error::Incompatible {
            stream: self.schema.stream().clone(),
            table: self.table.to_owned(),
            what,
            statement,
        }
    }

    fn add_sql(&self, name: &str, declared: &str) -> String {
        format!(
            "ALTER TABLE {} ADD COLUMN {} {declared}",
            quoted(self.table),
            quoted(name)
        )
    }

    /// By key: one unique index of exactly the key, compared byte by byte. Appended: none that our columns could violate.
    fn check_unique(&self, found: &Found) -> Result<()> {
        if self.mode == WriteMode::Append {
            let names: Vec<&str> = self.columns().map(|(_, name, _)| name).collect();
            return match found.uniques.iter().find(|unique| unique.is_within(&names)) {
                Some(unique) => {
                    let columns: Vec<&str> = unique.columns.iter().flatten().map(String::as_str).collect();
                    let what = format!(
                        "rows are appended, one for each change, but its key ({}) allows one row for each value",
                        columns.join(", ")
                    );
                    Err(self.refuse(what, None))
                }
                None => Ok(()),
            };
        }
        let key = self.key();
        let fits: Vec<_> = found.uniques.iter().filter(|unique| unique.is_of(&key)).collect();
        if fits.iter().any(|unique| unique.collation.is_none()) {
            return Ok(());
        }
        let columns = key.iter().map(|name| quoted(name)).collect::<Vec<_>>().join(", ");
        match fits.first().and_then(|unique| unique.collation.as_deref()) {
            Some(collation) => Err(self.refuse(
                format!("its key compares by {collation}, the source by every byte"),
                None,
            )),
            None => Err(self.refuse(
                format!("it has no unique key ({})", key.join(", ")),
                Some(format!(
                    "CREATE UNIQUE INDEX {} ON {} ({columns})",
                    quoted(&format!("{}_key", self.table)),
                    quoted(self.table)
                )),
            )),
        }
    }

    /// Columns that the stream does not have must not be needed.
    fn check_others(&self, found: &Found) -> Result<()> {
        let is_ours = |name: &str| {
            name.get(..OURS.len())
                .is_some_and(|start| start.eq_ignore_ascii_case(OURS))
        };
        let is_rowid = |name: &str| {
            let same = |column: &Option<String>| column.as_deref().is_some_and(|c| c.eq_ignore_ascii_case(name));
            found
                .uniques
                .iter()
                .any(|unique| unique.is_rowid && unique.columns.iter().any(same))
        };
        for column in &found.columns {
            let is_sent = self
                .columns()
                .any(|(_, name, _)| name.eq_ignore_ascii_case(&column.name));
            if is_sent && column.is_generated {
                return Err(self.refuse(format!("column `{}` is generated", column.name), None));
            }
            let must_be_given = column.is_not_null && !column.has_default && !column.is_generated;
            if !is_sent && must_be_given && !is_ours(&column.name) && !is_rowid(&column.name) {
                let what = format!(
                    "column `{}` is NOT NULL without a default, and the stream does not have it",
                    column.name
                );
                return Err(self.refuse(what, None));
            }
        }
        Ok(())
    }

    /// `None`: the column is right as it is.
    fn fit_column(
        &self,
        column: &FoundColumn,
        name: &str,
        form: Form,
        held: Option<Form>,
    ) -> Result<Option<Vec<String>>> {
        let widening = held.map_or(Widening::Same, |held| held.widen(form));
        let keeps_values = form.fits(column.affinity);
        match (widening, held) {
            (Widening::Same, _) if keeps_values => Ok(None),
            (Widening::Rewrite(expression), _) if keeps_values => {
                let value = expression.replace("{c}", &quoted(&column.name));
                Ok(Some(vec![format!(
                    "UPDATE {} SET {} = {value}",
                    quoted(self.table),
                    quoted(&column.name)
                )]))
            }
            (Widening::Rewrite(expression), Some(_)) if !self.key().contains(&name) => {
                Ok(Some(self.replace_column(column, form, &expression)))
            }
            (Widening::Impossible, Some(held)) => Err(self.refuse(
                format!("column `{name}` was {held} and is now {form}, which its rows cannot become without a resync"),
                None,
            )),
            (_, Some(held)) if held != form => {
                Err(self.refuse(format!("key column `{name}` was {held} and is now {form}"), None))
            }
            _ => Err(self.refuse(
                format!(
                    "column `{name}` is declared `{}`, which would convert the values of {form}",
                    column.declared
                ),
                None,
            )),
        }
    }

    /// SQLite cannot change a column's type, so the column is made anew. It moves to the end.
    fn replace_column(&self, column: &FoundColumn, form: Form, expression: &str) -> Vec<String> {
        let (table, old) = (quoted(self.table), quoted(&column.name));
        let new = quoted(&format!("{OURS}new_{}", column.name));
        vec![
            format!("ALTER TABLE {table} ADD COLUMN {new} {}", form.declared()),
            format!("UPDATE {table} SET {new} = {}", expression.replace("{c}", &old)),
            format!("ALTER TABLE {table} DROP COLUMN {old}"),
            format!("ALTER TABLE {table} RENAME COLUMN {new} TO {old}"),
        ]
    }
}

fn check_name(stream: &StreamId, what: &str, name: &str) -> Result<()> {
    let bad = |why: &str| {
        Err(Error::BadName {
            stream: stream.clone(),
            what: format!("its {what} name `{}` {why}", name.escape_debug()),
        })
    };
    let starts_with = |prefix: &str| name.get(..prefix.len()).is_some_and(|s| s.eq_ignore_ascii_case(prefix));
    if name.contains('\0') {
        return bad("contains a zero byte");
    }
    if starts_with(OURS) {
        return bad("starts with `_highwater_`, which is reserved");
    }
    if what == "table" && (starts_with("sqlite_") || name.is_empty()) {
        return bad("is reserved by SQLite");
    }
    Ok(())
}
