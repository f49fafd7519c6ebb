//! What a batch or a control does to its stream's table.

use std::sync::Arc;

use api::{Deletes, OnSchemaChange, WriteMode};
use arrow::array::{Array as _, ArrayRef};
use arrow::datatypes::{DataType, Field};
use model::{Batch, Control, LogicalType, Order, Predicate, StreamId, StreamSchema, Test};

use super::apply::apply;
use super::catalogue::Found;
use super::cells::Cells;
use super::error::{Error, Result, sql};
use super::fitting::Wanted;
use super::form::{Affinity, Form, FormOrder};
use super::ledger::{self, StreamEntry};
use super::session::Session;
use super::target::{COMMITTED_AT, DELETED, DELETED_TYPE, OP, POSITION, Target, delete_sql, seen_table};
use crate::sql_text::quoted;

/// Why a table is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Occasion {
    /// Rows or a changed schema: a table that was there must still be there.
    Goes,
    /// A read begins.
    Begins {
        /// The table is emptied, so a misfit of ours may be created anew.
        empty_first: bool,
    },
}

impl Session {
    /// Applies a batch; a schema that was not applied yet changes the table first.
    pub(super) fn write_batch(&mut self, batch: &Batch) -> Result<()> {
        self.ensure_target(&batch.schema, Occasion::Goes)?;
        match self.targets.get(batch.schema.stream()) {
            Some(target) => apply(&self.conn, target, batch),
            None => Ok(()),
        }
    }

    /// Applies a control, which stands at `order` in its log.
    pub(super) fn control(&mut self, control: &Control, order: Option<Order>) -> Result<()> {
        match control {
            Control::BeginRead {
                schema,
                run,
                empty_first,
                ..
            } => self.begin_read(schema, *run, *empty_first),
            Control::EndRead { stream, run } => self.end_read(stream, *run),
            Control::Schema { schema } => self.ensure_target(schema, Occasion::Goes),
            Control::Truncate { stream } => self.truncate(stream, order),
            Control::DeleteWhere { stream, predicate } => self.delete_where(stream, predicate),
        }
    }

    /// Makes sure that the stream's table is there and fits the schema.
    fn ensure_target(&mut self, schema: &Arc<StreamSchema>, occasion: Occasion) -> Result<()> {
        let stream = schema.stream();
        if occasion == Occasion::Goes
            && let Some(target) = self.targets.get(stream)
            && target.schema.id() == schema.id()
        {
            return Ok(());
        }
        let name = stream.flat_name();
        let mode = self.options.write_mode(schema.has_key());
        let wanted = Wanted::new(schema, &name, mode, self.options.deletes)?;
        self.check_is_free(stream, &name)?;
        let found = Found::read(&self.conn, &name).map_err(sql(format!("look at table `{name}`")))?;
        let held = self.streams.get(stream);
        let (statements, left_out, is_ours) = match (&found, held) {
            (None, Some(_)) if occasion == Occasion::Goes => {
                return Err(Error::TableGone {
                    stream: stream.clone(),
                    table: name,
                });
            }
            (None, _) => (vec![wanted.create_sql()], Vec::new(), true),
            (Some(found), held) => {
                let is_ours = held.is_some_and(|entry| entry.is_ours);
                let forms = held.map(|entry| entry.forms.clone()).unwrap_or_default();
                match wanted.fit(found, &forms, self.options.on_schema_change) {
                    Ok(fitting) => (fitting.statements, fitting.left_out, is_ours),
                    Err(Error::Incompatible { what, .. }) if is_ours && self.may_renew(occasion, mode) => {
                        tracing::warn!(stream = %stream, table = %name, "creating the table anew: {what}");
                        let drop = format!("DROP TABLE {}", quoted(&name));
                        (vec![drop, wanted.create_sql()], Vec::new(), true)
                    }
                    Err(error) => return Err(error),
                }
            }
        };
        if !statements.is_empty() {
            fail::fail_point!("sqlite.destination.before_table");
            for statement in &statements {
                self.conn.execute_batch(statement).map_err(|source| Error::Alter {
                    table: name.clone(),
                    statement: statement.clone(),
                    source,
                })?;
            }
            fail::fail_point!("sqlite.destination.after_table");
        }
        self.adopt(schema, &wanted, &left_out, is_ours);
        Ok(())
    }

    /// Whether a table of ours that does not fit may be dropped: it is about to be emptied anyway, for real.
    fn may_renew(&self, occasion: Occasion, mode: WriteMode) -> bool {
        occasion == Occasion::Begins { empty_first: true }
            && (mode == WriteMode::Append || self.options.deletes == Deletes::Apply)
            && matches!(self.options.on_schema_change, None | Some(OnSchemaChange::Apply))
    }

    /// Remembers how the table is written from here on.
    fn adopt(&mut self, schema: &Arc<StreamSchema>, wanted: &Wanted<'_>, left_out: &[usize], is_ours: bool) {
        let stream = schema.stream();
        let held = self.streams.get(stream);
        let noting = held.and_then(|entry| entry.noting);
        let mut forms = held.map(|entry| entry.forms.clone()).unwrap_or_default();
        let names = schema.arrow().fields().iter().map(|field| field.name().clone());
        forms.extend(names.zip(wanted.forms.iter().copied()));
        let entry = StreamEntry {
            schema: schema.id(),
            table: wanted.table.to_owned(),
            key: match wanted.mode {
                WriteMode::Append => Vec::new(),
                WriteMode::Upsert | WriteMode::Mirror => schema.key_names().map(str::to_owned).collect(),
            },
            forms,
            is_ours,
            noting,
        };
        if held != Some(&entry) {
            self.streams.insert(stream.clone(), entry);
            self.streams_changed = true;
        }
        let columns = (0..wanted.forms.len())
            .filter(|column| !left_out.contains(column))
            .collect();
        let target = Target {
            table: wanted.table.to_owned(),
            schema: Arc::clone(schema),
            mode: wanted.mode,
            deletes: wanted.deletes,
            columns,
            seen: noting.map(|_| seen_table(wanted.table)),
        };
        self.targets.insert(stream.clone(), target);
    }

    /// No other stream and no other lane writes the table.
    fn check_is_free(&self, stream: &StreamId, table: &str) -> Result<()> {
        if self.streams.contains_key(stream) {
            return Ok(());
        }
        let taken = |owner| {
            Err(Error::TableTaken {
                stream: stream.clone(),
                table: table.to_owned(),
                owner,
            })
        };
        let is_it = |entry: &StreamEntry| entry.table.eq_ignore_ascii_case(table);
        if let Some((other, _)) = self.streams.iter().find(|(_, entry)| is_it(entry)) {
            return taken(format!("stream `{other}`"));
        }
        for tenant in ledger::tenants(&self.conn)? {
            let is_self =
                tenant.pipeline == self.lane.pipeline.as_str() && tenant.destination == self.lane.destination.as_str();
            if !is_self && tenant.streams.values().any(is_it) {
                return taken(format!("`{}`/`{}`", tenant.pipeline, tenant.destination));
            }
        }
        Ok(())
    }

    /// A control may be the first thing that a stream gets after an open: its table must be there still, and have the mark of
    /// soft deletes although the option was set only now.
    fn ensure_deletable(&self, stream: &StreamId, entry: &StreamEntry) -> Result<()> {
        if self.targets.contains_key(stream) {
            return Ok(());
        }
        let table = &entry.table;
        let found = Found::read(&self.conn, table).map_err(sql(format!("look at table `{table}`")))?;
        let found = found.ok_or_else(|| Error::TableGone {
            stream: stream.clone(),
            table: table.clone(),
        })?;
        if self.options.deletes == Deletes::Soft && found.column(DELETED).is_none() {
            let add = format!(
                "ALTER TABLE {} ADD COLUMN {} {DELETED_TYPE}",
                quoted(table),
                quoted(DELETED)
            );
            self.conn.execute_batch(&add).map_err(|source| Error::Alter {
                table: table.clone(),
                statement: add,
                source,
            })?;
        }
        Ok(())
    }

    fn begin_read(&mut self, schema: &Arc<StreamSchema>, run: u32, empty_first: bool) -> Result<()> {
        let stream = schema.stream();
        // A run that was superseded noted other keys.
        self.stop_noting(stream)?;
        self.ensure_target(schema, Occasion::Begins { empty_first })?;
        let Some(target) = self.targets.get(stream) else {
            return Ok(());
        };
        if empty_first {
            let empty = match target.mode {
                WriteMode::Append => Some(format!("DELETE FROM {}", quoted(&target.table))),
                // Soft: every row counts as deleted until the read meets it. Ignored: rows never go.
                WriteMode::Upsert | WriteMode::Mirror => target.delete_sql(None),
            };
            if let Some(empty) = empty {
                self.conn
                    .execute_batch(&empty)
                    .map_err(sql(format!("empty table `{}`", target.table)))?;
            }
        } else if target.mode == WriteMode::Mirror && self.has_rows(&target.table)? {
            self.start_noting(stream, run)?;
        }
        Ok(())
    }

    /// A read of an empty table, which most first reads are, has no row to miss: its keys need not be noted.
    fn has_rows(&self, table: &str) -> Result<bool> {
        let any = format!("SELECT EXISTS (SELECT 1 FROM {})", quoted(table));
        self.conn
            .query_row(&any, [], |row| row.get(0))
            .map_err(sql(format!("look into table `{table}`")))
    }

    fn start_noting(&mut self, stream: &StreamId, run: u32) -> Result<()> {
        let (Some(target), Some(entry)) = (self.targets.get_mut(stream), self.streams.get_mut(stream)) else {
            return Ok(());
        };
        let seen = seen_table(&target.table);
        let failed = || sql(format!("create table `{seen}`"));
        let found = Found::read(&self.conn, &target.table).map_err(failed())?;
        // The affinities of the table itself: with others the comparison at the end could not use this key.
        let declared = |column: &String| {
            let column = found.as_ref().and_then(|found| found.column(column));
            column.map_or(Affinity::Blob, |column| column.affinity).declared()
        };
        let names: Vec<String> = (0..entry.key.len()).map(|at| format!("k{at}")).collect();
        let columns: Vec<String> = names
            .iter()
            .zip(&entry.key)
            .map(|(name, column)| format!("{name} {}", declared(column)))
            .collect();
        self.conn
            .execute_batch(&format!(
                "DROP TABLE IF EXISTS {table}; CREATE TABLE {table} ({}, PRIMARY KEY ({})) WITHOUT ROWID",
                columns.join(", "),
                names.join(", "),
                table = quoted(&seen)
            ))
            .map_err(failed())?;
        target.seen = Some(seen);
        entry.noting = Some(run);
        self.streams_changed = true;
        Ok(())
    }

    fn stop_noting(&mut self, stream: &StreamId) -> Result<()> {
        let Some(entry) = self.streams.get_mut(stream).filter(|entry| entry.noting.is_some()) else {
            return Ok(());
        };
        let seen = seen_table(&entry.table);
        self.conn
            .execute_batch(&format!("DROP TABLE IF EXISTS {}", quoted(&seen)))
            .map_err(sql(format!("remove table `{seen}`")))?;
        entry.noting = None;
        self.streams_changed = true;
        if let Some(target) = self.targets.get_mut(stream) {
            target.seen = None;
        }
        Ok(())
    }

    /// Rows whose key the read did not meet are gone at the source.
    fn end_read(&mut self, stream: &StreamId, run: u32) -> Result<()> {
        fail::fail_point!("sqlite.destination.before_end_read");
        if let Some(entry) = self.streams.get(stream).filter(|entry| entry.noting == Some(run)) {
            self.ensure_deletable(stream, entry)?;
            let table = quoted(&entry.table);
            let same: Vec<String> = entry
                .key
                .iter()
                .enumerate()
                .map(|(at, column)| format!("s.k{at} = {table}.{}", quoted(column)))
                .collect();
            let unseen = format!(
                "NOT EXISTS (SELECT 1 FROM {} AS s WHERE {})",
                quoted(&seen_table(&entry.table)),
                same.join(" AND ")
            );
            if let Some(delete) = delete_sql(&entry.table, WriteMode::Mirror, self.options.deletes, Some(&unseen)) {
                self.conn
                    .execute_batch(&delete)
                    .map_err(sql(format!("remove rows that are gone from table `{}`", entry.table)))?;
            }
        }
        self.stop_noting(stream)
    }

    /// By key, every row is deleted; appended, a row says that it happened.
    fn truncate(&mut self, stream: &StreamId, order: Option<Order>) -> Result<()> {
        let Some(entry) = self.streams.get(stream) else {
            return Ok(());
        };
        let doing = || sql(format!("empty table `{}`", entry.table));
        if entry.key.is_empty() {
            let order = order.map(|order| order.to_string());
            let insert = format!(
                "INSERT INTO {} ({}, {}, {}) VALUES ('truncate', ?1, NULL)",
                quoted(&entry.table),
                quoted(OP),
                quoted(POSITION),
                quoted(COMMITTED_AT)
            );
            self.conn.execute(&insert, [order]).map_err(doing())?;
        } else if let Some(delete) = delete_sql(&entry.table, WriteMode::Upsert, self.options.deletes, None) {
            self.ensure_deletable(stream, entry)?;
            self.conn.execute_batch(&delete).map_err(doing())?;
        }
        Ok(())
    }

    fn delete_where(&mut self, stream: &StreamId, predicate: &Predicate) -> Result<()> {
        let Some(entry) = self.streams.get(stream) else {
            return Ok(());
        };
        if entry.key.is_empty() {
            // Appended rows are history: what was deleted later was there nevertheless.
            return Ok(());
        }
        let mut terms = Vec::new();
        let mut values: Vec<(Field, ArrayRef)> = Vec::new();
        for (column, test, value) in &predicate.terms {
            if value.is_null(0) {
                return Ok(());
            }
            let bad = |what: String| Error::BadPredicate {
                stream: stream.clone(),
                column: column.clone(),
                what,
            };
            let form = *entry
                .forms
                .get(column)
                .ok_or_else(|| bad("the stream has no such column".to_owned()))?;
            let field = field_of(column, form, value.data_type());
            if Form::of(&field) != Some(form) {
                return Err(bad(format!("the column is {form}, the value {}", value.data_type())));
            }
            values.push((field, Arc::clone(value)));
            let compared = compare(&quoted(column), *test, form, values.len());
            terms.push(compared.ok_or_else(|| bad(format!("{form} has no order")))?);
        }
        let condition = if terms.is_empty() {
            "true".to_owned()
        } else {
            terms.join(" AND ")
        };
        let Some(delete) = delete_sql(&entry.table, WriteMode::Upsert, self.options.deletes, Some(&condition)) else {
            return Ok(());
        };
        self.ensure_deletable(stream, entry)?;
        let run = || {
            let mut statement = self.conn.prepare(&delete)?;
            let mut scratch = String::new();
            for (at, (field, value)) in values.iter().enumerate() {
                if let Some(cells) = Cells::of(field, value.as_ref()) {
                    cells.bind(&mut statement, at + 1, 0, &mut scratch)?;
                }
            }
            statement.raw_execute()
        };
        run().map_err(sql(format!("delete rows of table `{}`", entry.table)))?;
        Ok(())
    }
}

/// The field that a predicate's value would have: the array alone does not say that it is a UUID.
fn field_of(column: &str, form: Form, data_type: &DataType) -> Field {
    let field = Field::new(column, data_type.clone(), true);
    match form {
        Form::Uuid => LogicalType::Uuid.mark(field),
        _ => field,
    }
}

/// `column <test> ?n` in the order that the form means; `None` if it has none.
fn compare(column: &str, test: Test, form: Form, n: usize) -> Option<String> {
    let operator = match test {
        Test::Eq => return Some(format!("{column} = ?{n}")),
        Test::Lt => "<",
        Test::LtEq => "<=",
        Test::Gt => ">",
        Test::GtEq => ">=",
    };
    match form.order() {
        FormOrder::Stored => Some(format!("{column} {operator} ?{n}")),
        FormOrder::Digits => {
            // (sign, length, text) of both sides, as rows; below zero the two last are turned round.
            let rank = |value: &str| format!("({value} NOT LIKE '-%')");
            let (c, v) = (column, format!("?{n}"));
            let equal_sign = format!("{} = {}", rank(c), rank(&v));
            Some(format!(
                "({c} IS NOT NULL AND CASE WHEN NOT ({equal_sign}) THEN {rank_c} {operator} {rank_v} \
                 WHEN {rank_c} THEN (length({c}), {c}) {operator} (length({v}), {v}) \
                 ELSE (length({v}), {v}) {operator} (length({c}), {c}) END)",
                rank_c = rank(c),
                rank_v = rank(&v),
            ))
        }
        FormOrder::None => None,
    }
}
