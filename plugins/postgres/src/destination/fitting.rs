//! Making a table fit a schema: what differs, what may be done about it, and the SQL that does it.
//!
//! | the table | `on_schema_change` unset or `apply` | `pause` | `ignore` |
//! |---|---|---|---|
//! | is not there | created | created | created |
//! | lacks a column | `ADD COLUMN` | error with the statement | the column is left out |
//! | has a column that the stream lost | stays, and may be NULL from now on | error with the statement | error |
//! | has a column with a narrower type | `ALTER COLUMN ... TYPE` | error with the statement | error |
//! | has a column with a wider type | used as it is | used | used |
//! | has a column with a type that cannot hold the values | error with the statement | error | error |
//! | forbids NULL where the stream has it | `DROP NOT NULL` | error with the statement | error |
//! | has no unique key where rows go by key, or one where they are appended | error with the statement | error | error |
//! | is a view, is generated, has row security, rules, triggers, foreign keys that cannot wait | error | error | error |

use std::collections::BTreeMap;

use api::{Deletes, OnSchemaChange, WriteMode};
use model::{StreamId, StreamSchema};

use super::catalogue::{Found, FoundColumn, FoundForeignKey};
use super::error::{Error, Result};
use super::spec::Triggers;
use super::target::{APPENDED, DELETED, join};
use super::widening::widens;
use crate::identifier::{Relation, quote_ident};
use crate::types::{TypeCatalogue, declared_type_at};

/// What is to be written, in the terms that a table has to fit.
pub(crate) struct Wanted<'a> {
    pub(crate) schema: &'a StreamSchema,
    pub(crate) relation: &'a Relation,
    pub(crate) mode: WriteMode,
    pub(crate) deletes: Deletes,
    pub(crate) triggers: Triggers,
    /// The type in DDL, one for each column of the schema.
    pub(crate) declared: Vec<String>,
}

/// How a table is made to fit.
#[derive(Debug, Default)]
pub(crate) struct Fitting {
    /// To be run in this order.
    pub(crate) statements: Vec<String>,
    /// Columns of the schema that the table lacks and may lack.
    pub(crate) left_out: Vec<usize>,
}

/// What is known of a table beside its catalogue entry.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Before<'a> {
    /// The declared types of the columns when we wrote it last; `None` if we have not.
    pub(crate) held: Option<&'a BTreeMap<String, String>>,
    /// Whether we have created it.
    pub(crate) is_ours: bool,
    pub(crate) policy: Option<OnSchemaChange>,
}

/// Prefix of everything that is ours.
const OURS: &str = "_highwater_";

/// PostgreSQL cuts longer names in silence.
const NAME_BYTES_MAX: usize = 63;

impl<'a> Wanted<'a> {
    /// Checks names and types that do not depend on what is there.
    pub(crate) fn new(
        schema: &'a StreamSchema,
        relation: &'a Relation,
        mode: WriteMode,
        deletes: Deletes,
        triggers: Triggers,
        types: &TypeCatalogue,
    ) -> Result<Wanted<'a>> {
        let stream = schema.stream();
        if mode != WriteMode::Append && !schema.has_key() {
            return Err(Error::NoKey { stream: stream.clone() });
        }
        check_name(stream, "schema", &relation.schema)?;
        check_name(stream, "table", &relation.name)?;
        let fields = schema.arrow().fields();
        for field in fields {
            check_name(stream, "column", field.name())?;
        }
        Ok(Wanted {
            schema,
            relation,
            mode,
            deletes,
            triggers,
            declared: fields.iter().map(|field| declared_type_at(field, types)).collect(),
        })
    }

    /// The declared types by column.
    pub(crate) fn declared_by_name(&self) -> BTreeMap<String, String> {
        self.columns()
            .map(|(_, name, declared)| (name.to_owned(), declared.to_owned()))
            .collect()
    }

    fn columns(&self) -> impl Iterator<Item = (usize, &str, &str)> {
        let names = self.schema.arrow().fields().iter().map(|field| field.name().as_str());
        let declared = self.declared.iter().map(String::as_str);
        names
            .zip(declared)
            .enumerate()
            .map(|(at, (name, declared))| (at, name, declared))
    }

    /// Columns of ours: name and declaration.
    fn our_columns(&self) -> Vec<(&'static str, &'static str)> {
        match (self.mode, self.deletes) {
            (WriteMode::Append, _) => APPENDED.to_vec(),
            (_, Deletes::Soft) => vec![(DELETED, "boolean NOT NULL DEFAULT false")],
            _ => Vec::new(),
        }
    }

    fn key(&self) -> Vec<&str> {
        self.schema.key_names().collect()
    }

    /// Whether a row may come without a value in this column. An appended delete carries its key alone.
    fn may_be_null(&self, at: usize) -> bool {
        self.mode == WriteMode::Append
            || (self.schema.arrow().field(at).is_nullable() && !self.schema.key().contains(&at))
    }

    /// `CREATE TABLE`, with the source's types and NOT NULLs, and its key as primary key.
    pub(crate) fn create_sql(&self) -> String {
        let mut parts: Vec<String> = self
            .columns()
            .map(|(at, name, declared)| {
                let not_null = if self.may_be_null(at) { "" } else { " NOT NULL" };
                format!("{} {declared}{not_null}", quote_ident(name))
            })
            .collect();
        let ours = self.our_columns();
        parts.extend(
            ours.iter()
                .map(|(name, declared)| format!("{} {declared}", quote_ident(name))),
        );
        if self.mode != WriteMode::Append {
            parts.push(format!("PRIMARY KEY ({})", list(&self.key())));
        }
        format!("CREATE TABLE {} ({})", self.relation, parts.join(", "))
    }

    /// Whether the table has every column.
    pub(crate) fn is_all_there(&self, found: &Found) -> bool {
        self.columns().all(|(_, name, _)| found.column(name).is_some())
    }

    /// A temporary table of the wanted types, from which the catalogue tells how PostgreSQL understands them.
    pub(crate) fn probe_sql(&self, name: &str) -> String {
        let columns = self
            .columns()
            .map(|(_, name, declared)| format!("{} {declared}", quote_ident(name)));
        format!("CREATE TEMPORARY TABLE {name} ({}) ON COMMIT DROP", join(columns, ", "))
    }

    /// Compares the schema with a table that is there. `probe` are the wanted columns as the catalogue spells them;
    /// `suits` says why a column cannot take the values of a field.
    pub(crate) fn fit(
        &self,
        found: &Found,
        probe: &Found,
        before: Before<'_>,
        suits: impl Fn(usize, &FoundColumn) -> std::result::Result<(), String>,
    ) -> Result<Fitting> {
        self.check_kind(found)?;
        self.check_triggers(found)?;
        self.check_unique(found)?;
        let mut fitting = Fitting::default();
        let mut changes: Vec<String> = Vec::new();
        self.fit_others(found, before, &mut fitting, &mut changes)?;
        for (at, name, declared) in self.columns() {
            match found.column(name) {
                Some(column) => {
                    let wanted = probe.column(name).unwrap_or(column);
                    self.fit_column(at, column, wanted, before, &mut fitting, &mut changes, &suits)?;
                }
                None if before.policy == Some(OnSchemaChange::Ignore) && !self.schema.key().contains(&at) => {
                    fitting.left_out.push(at);
                }
                None => {
                    changes.push(format!("it has no column `{name}`"));
                    fitting.statements.push(self.add_sql(name, declared));
                }
            }
        }
        if !changes.is_empty() && matches!(before.policy, Some(OnSchemaChange::Pause | OnSchemaChange::Ignore)) {
            return Err(Error::Changed {
                stream: self.schema.stream().clone(),
                table: self.relation.to_string(),
                what: changes.join("; "),
                statement: fitting.statements.join("; "),
                is_widening: true,
            });
        }
        for (name, declared) in self.our_columns() {
            if found.column(name).is_none() {
                fitting.statements.push(self.add_sql(name, declared));
            }
        }
        Ok(fitting)
    }

    fn refuse(&self, what: String, statement: Option<String>) -> Error {
        Error::Incompatible {
            stream: self.schema.stream().clone(),
            table: self.relation.to_string(),
            what,
            statement,
        }
    }

    fn alter(&self, action: &str) -> String {
        format!("ALTER TABLE {} {action}", self.relation)
    }

    fn add_sql(&self, name: &str, declared: &str) -> String {
        self.alter(&format!("ADD COLUMN {} {declared}", quote_ident(name)))
    }

    fn drop_not_null_sql(&self, name: &str) -> String {
        self.alter(&format!("ALTER COLUMN {} DROP NOT NULL", quote_ident(name)))
    }

    fn check_kind(&self, found: &Found) -> Result<()> {
        let what = match found.kind.as_str() {
            "r" | "p" => return self.check_rules(found),
            "v" => "a view",
            "m" => "a materialized view",
            "f" => "a foreign table, which has no transactions of this server",
            "S" => "a sequence",
            _ => "not a table",
        };
        Err(self.refuse(format!("it is {what}"), None))
    }

    fn check_rules(&self, found: &Found) -> Result<()> {
        if found.has_row_security {
            let what = "row security applies to our role there, and would hide rows from it".to_owned();
            return Err(self.refuse(what, Some(self.alter("DISABLE ROW LEVEL SECURITY"))));
        }
        if found.has_rules {
            return Err(self.refuse("it has rules, which would rewrite what we write".to_owned(), None));
        }
        Ok(())
    }

    /// Nothing of the user's may change other rows, or stand in the way of the order in which we write.
    fn check_triggers(&self, found: &Found) -> Result<()> {
        let fires = |enabled: &str| match self.triggers {
            Triggers::Refuse => matches!(enabled, "O" | "A"),
            Triggers::Skip => matches!(enabled, "R" | "A"),
            Triggers::Fire => false,
        };
        if let Some(trigger) = found.triggers.iter().find(|trigger| fires(&trigger.enabled)) {
            let disable = self.alter(&format!("DISABLE TRIGGER {}", quote_ident(&trigger.name)));
            return Err(self.refuse(
                format!(
                    "its trigger `{}` would fire for rows that the source has treated already (`triggers: fire` lets it)",
                    trigger.name
                ),
                Some(disable),
            ));
        }
        if self.triggers == Triggers::Skip {
            return Ok(());
        }
        let bad = |key: &&FoundForeignKey| !key.is_deferrable || (key.is_inbound && key.cascades);
        let Some(key) = found.foreign_keys.iter().find(bad) else {
            return Ok(());
        };
        let on = format!("ALTER TABLE {}", key.on);
        let name = quote_ident(&key.name);
        if key.is_inbound && key.cascades {
            let what = format!(
                "a delete here would change rows of {} by its foreign key `{}`, which the source does itself",
                key.on, key.name
            );
            return Err(self.refuse(what, Some(format!("{on} DROP CONSTRAINT {name}"))));
        }
        let what = format!(
            "foreign key `{}` of {} is checked row by row, and the order of tables within a commit is free",
            key.name, key.on
        );
        let defer = format!("{on} ALTER CONSTRAINT {name} DEFERRABLE INITIALLY DEFERRED");
        Err(self.refuse(what, Some(defer)))
    }

    /// By key: one unique index of exactly the key. Appended: none that our columns could violate.
    fn check_unique(&self, found: &Found) -> Result<()> {
        if self.mode == WriteMode::Append {
            let names: Vec<&str> = self.columns().map(|(_, name, _)| name).collect();
            return match found.uniques.iter().find(|unique| unique.is_within(&names)) {
                Some(unique) => {
                    let columns: Vec<&str> = unique.columns.iter().flatten().map(String::as_str).collect();
                    Err(self.refuse(
                        format!(
                            "rows are appended, one for each change, but its key ({}) allows one row for each value",
                            columns.join(", ")
                        ),
                        None,
                    ))
                }
                None => Ok(()),
            };
        }
        let key = self.key();
        let fits = |is_usable: bool| {
            found
                .uniques
                .iter()
                .any(|unique| unique.is_of(&key) && !unique.is_partial && (unique.is_immediate || !is_usable))
        };
        if fits(true) {
            return Ok(());
        }
        let what = if fits(false) {
            format!(
                "its unique key ({}) is deferrable, and an upsert needs one that is not",
                key.join(", ")
            )
        } else {
            format!("it has no unique key ({})", key.join(", "))
        };
        let create = format!("CREATE UNIQUE INDEX ON {} ({})", self.relation, list(&key));
        Err(self.refuse(what, Some(create)))
    }

    /// Columns that the stream does not have must not be needed.
    fn fit_others(
        &self,
        found: &Found,
        before: Before<'_>,
        fitting: &mut Fitting,
        changes: &mut Vec<String>,
    ) -> Result<()> {
        for column in &found.columns {
            let is_sent = self.columns().any(|(_, name, _)| name == column.name);
            if is_sent && column.is_generated {
                let drop = self.alter(&format!("ALTER COLUMN {} DROP EXPRESSION", quote_ident(&column.name)));
                return Err(self.refuse(format!("column `{}` is generated there", column.name), Some(drop)));
            }
            let must_be_given = column.is_not_null && !column.has_default && !column.is_generated;
            if is_sent || !must_be_given || column.name.starts_with(OURS) {
                continue;
            }
            let drop = self.drop_not_null_sql(&column.name);
            let what = format!("column `{}` is NOT NULL, and the stream does not have it", column.name);
            if !before.is_ours {
                return Err(self.refuse(what, Some(drop)));
            }
            changes.push(what);
            fitting.statements.push(drop);
        }
        Ok(())
    }

    #[allow(clippy::too_many_arguments)] // one column against everything that is known of it
    fn fit_column(
        &self,
        at: usize,
        column: &FoundColumn,
        wanted: &FoundColumn,
        before: Before<'_>,
        fitting: &mut Fitting,
        changes: &mut Vec<String>,
        suits: &impl Fn(usize, &FoundColumn) -> std::result::Result<(), String>,
    ) -> Result<()> {
        let name = quote_ident(&column.name);
        let is_same = column.oid == wanted.oid && column.typmod == wanted.typmod;
        let change = self.alter(&format!(
            "ALTER COLUMN {name} TYPE {0} USING {name}::{0}",
            wanted.declared
        ));
        if !is_same && !widens(wanted, column) {
            if widens(column, wanted) {
                changes.push(format!(
                    "column `{}` is {}, and now {} at the source",
                    column.name, column.declared, wanted.declared
                ));
                fitting.statements.push(change);
            } else {
                // What was written so far may go on, also where the table's type is the user's choice.
                let held = before.held.and_then(|held| held.get(&column.name));
                let has_changed = held.is_some_and(|held| *held != self.declared[at]);
                let refusal = match suits(at, column) {
                    Err(why) => Some(why),
                    // The type takes such values, but not all of them.
                    Ok(()) if has_changed => Some("it does not hold every value of the source".to_owned()),
                    Ok(()) => None,
                };
                if let Some(why) = refusal {
                    let what = format!(
                        "column `{}` is {}, and {} at the source: {why}",
                        column.name, column.declared, wanted.declared
                    );
                    return Err(if before.held.is_some() {
                        Error::Changed {
                            stream: self.schema.stream().clone(),
                            table: self.relation.to_string(),
                            what,
                            statement: change,
                            is_widening: false,
                        }
                    } else {
                        self.refuse(what, Some(change))
                    });
                }
            }
        } else if let Err(why) = suits(at, column) {
            let what = format!("column `{}` is {}: {why}", column.name, column.declared);
            return Err(self.refuse(what, Some(change)));
        }
        if column.is_not_null && self.may_be_null(at) {
            changes.push(format!(
                "column `{}` is NOT NULL, and NULL comes from the source",
                column.name
            ));
            fitting.statements.push(self.drop_not_null_sql(&column.name));
        }
        Ok(())
    }
}

fn list(names: &[&str]) -> String {
    join(names.iter().map(|name| quote_ident(name)), ", ")
}

fn check_name(stream: &StreamId, what: &str, name: &str) -> Result<()> {
    let bad = |why: &str| {
        Err(Error::BadName {
            stream: stream.clone(),
            what: format!("its {what} name `{}` {why}", name.escape_debug()),
        })
    };
    if name.is_empty() {
        return bad("is empty");
    }
    if name.contains('\0') {
        return bad("contains a zero byte");
    }
    if name.len() > NAME_BYTES_MAX {
        return bad("is longer than the 63 bytes that PostgreSQL keeps");
    }
    if name.starts_with(OURS) || (what == "schema" && name == super::ledger::SCHEMA) {
        return bad("is reserved: `_highwater` begins what is ours");
    }
    if what == "schema" && name.starts_with("pg_") {
        return bad("is reserved by PostgreSQL");
    }
    Ok(())
}
