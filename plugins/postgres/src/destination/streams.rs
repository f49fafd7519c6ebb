//! What a batch or a control does to its stream's table.

use std::collections::HashMap;
use std::sync::Arc;

use api::{Deletes, OnSchemaChange, WriteMode};
use arrow::array::Array as _;
use arrow::datatypes::{DataType, Field};
use bytes::BytesMut;
use model::{Batch, Control, Order, Predicate, StreamId, StreamSchema, Test};
use tokio_postgres::types::{ToSql, Type};
use xxhash_rust::xxh3::xxh3_64;

use super::catalogue::{Found, FoundColumn};
use super::error::{Error, Result, sql};
use super::fitting::{Before, Fitting, Wanted};
use super::flush;
use super::ledger::{self, SCHEMA, StreamEntry, TableName};
use super::link::Encoded;
use super::pending::value_of;
use super::rows::{Move, Rows};
use super::session::{FLUSH_BYTES, Session};
use super::target::{COMMITTED_AT, DELETED, OP, POSITION, Target, Written, delete_sql, join, parameter_type};
use crate::identifier::{Relation, quote_ident, quote_literal};
use crate::types::ColumnEncoder;

/// Where the wanted types of a table are tried.
const PROBE: &str = r#"pg_temp."_highwater_probe""#;

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
    /// Takes a batch; a schema that was not applied yet changes the table first.
    pub(super) async fn write_batch(&mut self, batch: &Batch) -> Result<()> {
        self.ensure_target(&batch.schema, Occasion::Goes).await?;
        if batch.is_empty() {
            return Ok(());
        }
        let stream = batch.schema.stream();
        let Some(target) = self.targets.get(stream).cloned() else {
            return Ok(());
        };
        let mut rows = Rows::new(&target, batch)?;
        for row in 0..batch.len() {
            let pending = self.pending.entry(stream.clone()).or_default();
            let moving = rows.take(row, pending)?;
            if moving.is_some() || pending.size_bytes() >= FLUSH_BYTES {
                self.flush(stream).await?;
            }
            if let Some(moving) = moving {
                self.move_row(&target, &moving).await?;
            }
        }
        Ok(())
    }

    /// Moves a row of which not every value was sent from its old key to its new one.
    async fn move_row(&mut self, target: &Target, moving: &Move) -> Result<()> {
        self.ensure_transaction().await?;
        let key_types: Vec<Type> = target
            .key
            .iter()
            .map(|&at| parameter_type(&target.columns[at].ty))
            .collect();
        let (key, old_key) = (flush::values(&moving.key), flush::values(&moving.old_key));
        let doing = || sql(format!("move a row of `{}`", target.schema.stream()));
        // Whatever lies at the new key is gone at the source: it was deleted there, or never reached this table whole.
        self.link
            .execute(&target.remove_sql(), &parameters(&key, &key_types))
            .await
            .map_err(doing())?;
        let row = flush::values(&moving.row);
        let row_types = moving.columns.iter().map(|&at| parameter_type(&target.columns[at].ty));
        let types: Vec<Type> = row_types.chain(key_types.iter().cloned()).collect();
        let all: Vec<Encoded<'_>> = row.into_iter().chain(old_key).collect();
        let moved = self
            .link
            .execute(&target.move_sql(&moving.columns), &parameters(&all, &types))
            .await
            .map_err(doing())?;
        if moved == 0 {
            return Err(Error::NotWhole {
                stream: target.schema.stream().clone(),
                table: target.relation.to_string(),
            });
        }
        if let Some(seen) = &target.seen {
            self.link
                .execute(&target.note_sql(seen), &parameters(&key, &key_types))
                .await
                .map_err(doing())?;
        }
        Ok(())
    }

    /// Applies a control, which stands at `order` in its log.
    pub(super) async fn control(&mut self, control: &Control, order: Option<Order>) -> Result<()> {
        self.flush(control.stream()).await?;
        match control {
            Control::BeginRead {
                schema,
                run,
                empty_first,
                ..
            } => self.begin_read(schema, *run, *empty_first).await,
            Control::EndRead { stream, run } => self.end_read(stream, *run).await,
            Control::Schema { schema } => self.ensure_target(schema, Occasion::Goes).await,
            Control::Truncate { stream } => self.truncate(stream, order).await,
            Control::DeleteWhere { stream, predicate } => self.delete_where(stream, predicate).await,
        }
    }

    /// Makes sure that the stream's table is there and fits the schema.
    async fn ensure_target(&mut self, schema: &Arc<StreamSchema>, occasion: Occasion) -> Result<()> {
        let stream = schema.stream();
        if occasion == Occasion::Goes
            && let Some(target) = self.targets.get(stream)
            && target.schema.id() == schema.id()
        {
            return Ok(());
        }
        // Rows of the earlier shape go to the earlier table.
        self.flush(stream).await?;
        self.ensure_transaction().await?;
        let table = self.manner.place.of(stream);
        let relation = table.relation();
        let mode = self.manner.options.write_mode(schema.has_key());
        let wanted = Wanted::new(
            schema,
            &relation,
            mode,
            self.manner.options.deletes,
            self.manner.triggers,
            &self.types,
        )?;
        self.check_is_free(stream, &table).await?;
        let found = Found::read(&self.link, &relation).await?;
        let held = self.streams.get(stream).cloned();
        let (statements, left_out, is_ours) = match (&found, &held) {
            (None, Some(_)) if occasion == Occasion::Goes => {
                return Err(Error::TableGone {
                    stream: stream.clone(),
                    table: relation.to_string(),
                });
            }
            (None, _) => {
                let mut statements = self.create_schema(&relation).await?;
                statements.push(wanted.create_sql());
                (statements, Vec::new(), true)
            }
            (Some(found), held) => {
                self.check_is_not_the_source(stream, &relation, found)?;
                let is_ours = held.as_ref().is_some_and(|entry| entry.is_ours);
                match self.fit(&wanted, found, held.as_ref()).await {
                    Ok(fitting) => (fitting.statements, fitting.left_out, is_ours),
                    Err(Error::Incompatible { what, .. } | Error::Changed { what, .. })
                        if is_ours && self.may_renew(occasion, mode) =>
                    {
                        tracing::warn!(stream = %stream, table = %relation, "creating the table anew: {what}");
                        let drop = format!("DROP TABLE {relation}");
                        (vec![drop, wanted.create_sql()], Vec::new(), true)
                    }
                    Err(error) => return Err(error),
                }
            }
        };
        if !statements.is_empty() {
            self.alter(&relation, &statements).await?;
        }
        self.adopt(schema, &wanted, &left_out, &table, is_ours).await
    }

    async fn alter(&mut self, relation: &Relation, statements: &[String]) -> Result<()> {
        fail::fail_point!("postgres.destination.before_table");
        let forgotten = self.stages.forget(&self.link, relation).await;
        forgotten.map_err(sql(format!("drop the temporary tables of {relation}")))?;
        for statement in statements {
            self.link.run(statement).await.map_err(|source| Error::Alter {
                table: relation.to_string(),
                statement: statement.clone(),
                source,
            })?;
        }
        fail::fail_point!("postgres.destination.after_table");
        Ok(())
    }

    /// Asks first: `IF NOT EXISTS` needs the right to create also where there is nothing to create.
    async fn create_schema(&self, relation: &Relation) -> Result<Vec<String>> {
        let found = self
            .link
            .rows(&format!(
                "SELECT 1 FROM pg_catalog.pg_namespace WHERE nspname = {}",
                quote_literal(&relation.schema)
            ))
            .await
            .map_err(sql(format!("look for schema `{}`", relation.schema)))?;
        Ok(match found.is_empty() {
            true => vec![format!("CREATE SCHEMA {}", quote_ident(&relation.schema))],
            false => Vec::new(),
        })
    }

    async fn fit(&mut self, wanted: &Wanted<'_>, found: &Found, held: Option<&StreamEntry>) -> Result<Fitting> {
        let is_known = held.is_some_and(|entry| entry.schema == wanted.schema.id());
        let probe = if is_known && wanted.is_all_there(found) {
            // It was compared when this schema came first.
            found.clone()
        } else {
            self.probe(wanted).await?
        };
        self.know_types(found).await?;
        let before = Before {
            held: held.map(|entry| &entry.declared),
            is_ours: held.is_some_and(|entry| entry.is_ours),
            policy: self.manner.options.on_schema_change,
        };
        wanted.fit(found, &probe, before, |at, column| {
            self.suits(wanted.schema, at, column)
        })
    }

    /// How PostgreSQL understands the wanted types.
    async fn probe(&self, wanted: &Wanted<'_>) -> Result<Found> {
        let create = wanted.probe_sql(PROBE);
        let table = wanted.relation.to_string();
        self.link.run(&create).await.map_err(|source| Error::Alter {
            table: table.clone(),
            statement: wanted.create_sql(),
            source,
        })?;
        let found = Found::look(&self.link, PROBE).await?;
        let drop = self.link.run(&format!("DROP TABLE {PROBE}")).await;
        drop.map_err(sql("drop a temporary table"))?;
        found.ok_or_else(|| Error::TableGone {
            stream: wanted.schema.stream().clone(),
            table,
        })
    }

    /// Types that were made since the catalogue was read.
    async fn know_types(&mut self, found: &Found) -> Result<()> {
        if found.columns.iter().any(|column| self.types.get(column.oid).is_none()) {
            self.types = super::session::load_types(&self.link).await?;
        }
        Ok(())
    }

    /// Why a column cannot take the values of a field.
    fn suits(&self, schema: &StreamSchema, at: usize, column: &FoundColumn) -> std::result::Result<(), String> {
        let field = schema.arrow().field(at);
        let ty = self
            .types
            .get(column.oid)
            .ok_or_else(|| format!("type `{}` is not known", column.declared))?;
        let none = arrow::array::new_empty_array(field.data_type());
        match ColumnEncoder::new(none.as_ref(), field, &ty, column.typmod) {
            Ok(_) => Ok(()),
            Err(unsuited) => Err(unsuited.to_string()),
        }
    }

    /// Whether a table of ours that does not fit may be dropped: it is about to be emptied anyway, for real.
    fn may_renew(&self, occasion: Occasion, mode: WriteMode) -> bool {
        let options = &self.manner.options;
        occasion == Occasion::Begins { empty_first: true }
            && (mode == WriteMode::Append || options.deletes == Deletes::Apply)
            && matches!(options.on_schema_change, None | Some(OnSchemaChange::Apply))
    }

    /// A pipeline that wrote into the tables it reads would go round in circles.
    fn check_is_not_the_source(&self, stream: &StreamId, relation: &Relation, found: &Found) -> Result<()> {
        let ours = format!("highwater_{}", self.lane.pipeline);
        match found.publications.iter().find(|publication| **publication == ours) {
            Some(publication) => Err(Error::IsTheSource {
                stream: stream.clone(),
                table: relation.to_string(),
                publication: publication.clone(),
            }),
            None => Ok(()),
        }
    }

    /// Remembers how the table is written from here on.
    async fn adopt(
        &mut self,
        schema: &Arc<StreamSchema>,
        wanted: &Wanted<'_>,
        left_out: &[usize],
        table: &TableName,
        is_ours: bool,
    ) -> Result<()> {
        let stream = schema.stream();
        let relation = table.relation();
        let gone = || Error::TableGone {
            stream: stream.clone(),
            table: relation.to_string(),
        };
        let found = Found::read(&self.link, &relation).await?.ok_or_else(gone)?;
        self.know_types(&found).await?;
        let mut columns = Vec::new();
        for (index, field) in schema.arrow().fields().iter().enumerate() {
            if left_out.contains(&index) {
                continue;
            }
            let column = found.column(field.name()).ok_or_else(gone)?;
            self.suits(schema, index, column).map_err(|why| Error::BadName {
                stream: stream.clone(),
                what: format!("its column `{}` cannot be {}: {why}", field.name(), column.declared),
            })?;
            columns.push(Written {
                index,
                name: column.name.clone(),
                ty: self.types.get(column.oid).ok_or_else(gone)?,
                typmod: column.typmod,
            });
        }
        let is_by_key = wanted.mode != WriteMode::Append;
        let place_of = |index: &usize| columns.iter().position(|column: &Written| column.index == *index);
        let key = match is_by_key {
            true => schema.key().iter().filter_map(place_of).collect(),
            false => Vec::new(),
        };
        let noting = self.streams.get(stream).and_then(|entry| entry.noting);
        let entry = StreamEntry {
            schema: schema.id(),
            table: table.clone(),
            key: match is_by_key {
                true => schema.key_names().map(str::to_owned).collect(),
                false => Vec::new(),
            },
            declared: wanted.declared_by_name(),
            is_ours,
            noting,
        };
        if self.streams.get(stream) != Some(&entry) {
            self.streams.insert(stream.clone(), entry);
            self.streams_changed = true;
        }
        let target = Target {
            relation,
            schema: Arc::clone(schema),
            mode: wanted.mode,
            deletes: wanted.deletes,
            has_identity_always: found.columns.iter().any(|column| column.is_identity_always),
            columns,
            key,
            seen: noting.map(|_| seen_table(table)),
        };
        self.targets.insert(stream.clone(), target);
        Ok(())
    }

    /// No other stream and no other lane writes the table.
    async fn check_is_free(&mut self, stream: &StreamId, table: &TableName) -> Result<()> {
        if self.streams.contains_key(stream) {
            return Ok(());
        }
        let other = self.streams.iter().find(|(_, entry)| entry.table == *table);
        let owner = match other {
            Some((other, _)) => Some(format!("stream `{other}`")),
            None => self.foreign_tables().await?.get(table).cloned(),
        };
        match owner {
            Some(owner) => Err(Error::TableTaken {
                stream: stream.clone(),
                table: table.relation().to_string(),
                owner,
            }),
            None => Ok(()),
        }
    }

    async fn foreign_tables(&mut self) -> Result<&HashMap<TableName, String>> {
        if self.foreign.is_none() {
            let mut tables = HashMap::new();
            let lane = &self.lane;
            for tenant in ledger::tenants(&self.link).await? {
                let is_self =
                    tenant.pipeline == lane.pipeline.as_str() && tenant.destination == lane.destination.as_str();
                if is_self && tenant.lane == i32::from(lane.lane) {
                    continue;
                }
                let owner = format!("`{}`/`{}`", tenant.pipeline, tenant.destination);
                let entries = tenant.streams.into_values().filter(|_| !is_self);
                tables.extend(entries.map(|entry| (entry.table, owner.clone())));
            }
            self.foreign = Some(tables);
        }
        Ok(self.foreign.get_or_insert_default())
    }

    /// A control may be the first thing that a stream gets after an open: its table must be there still, and have the mark of
    /// soft deletes although the option was set only now.
    async fn ensure_deletable(&mut self, stream: &StreamId, entry: &StreamEntry) -> Result<()> {
        self.ensure_transaction().await?;
        if self.targets.contains_key(stream) {
            return Ok(());
        }
        let relation = entry.table.relation();
        let found = Found::read(&self.link, &relation)
            .await?
            .ok_or_else(|| Error::TableGone {
                stream: stream.clone(),
                table: relation.to_string(),
            })?;
        if self.manner.options.deletes == Deletes::Soft && found.column(DELETED).is_none() {
            let add = format!(
                "ALTER TABLE {relation} ADD COLUMN {} boolean NOT NULL DEFAULT false",
                quote_ident(DELETED)
            );
            self.alter(&relation, &[add]).await?;
        }
        Ok(())
    }

    async fn begin_read(&mut self, schema: &Arc<StreamSchema>, run: u32, empty_first: bool) -> Result<()> {
        let stream = schema.stream();
        // A run that was superseded noted other keys.
        self.stop_noting(stream).await?;
        self.ensure_target(schema, Occasion::Begins { empty_first }).await?;
        let Some(target) = self.targets.get(stream) else {
            return Ok(());
        };
        let (relation, mode) = (target.relation.clone(), target.mode);
        if empty_first {
            let empty = match mode {
                WriteMode::Append => Some(format!("DELETE FROM {relation}")),
                // Soft: every row counts as deleted until the read meets it. Ignored: rows never go.
                WriteMode::Upsert | WriteMode::Mirror => delete_sql(&relation, self.manner.options.deletes, None),
            };
            if let Some(empty) = empty {
                let emptied = self.link.run(&empty).await;
                emptied.map_err(sql(format!("empty table {relation}")))?;
                self.forget_conflicts(stream);
            }
        } else if mode == WriteMode::Mirror && self.has_rows(&relation).await? {
            self.start_noting(stream, run).await?;
        }
        Ok(())
    }

    /// A read of an empty table, which most first reads are, has no row to miss: its keys need not be noted.
    async fn has_rows(&self, relation: &Relation) -> Result<bool> {
        let any = self.link.rows(&format!("SELECT 1 FROM {relation} LIMIT 1")).await;
        any.map(|rows| !rows.is_empty())
            .map_err(sql(format!("look into table {relation}")))
    }

    async fn start_noting(&mut self, stream: &StreamId, run: u32) -> Result<()> {
        let (Some(target), Some(entry)) = (self.targets.get_mut(stream), self.streams.get_mut(stream)) else {
            return Ok(());
        };
        let seen = seen_table(&entry.table);
        let key = join(entry.key.iter().map(|column| quote_ident(column)), ", ");
        let create = format!(
            "DROP TABLE IF EXISTS {seen}; CREATE TABLE {seen} AS SELECT {key} FROM {} WITH NO DATA; \
             ALTER TABLE {seen} ADD PRIMARY KEY ({key})",
            target.relation
        );
        let created = self.link.run(&create).await;
        created.map_err(sql(format!("create table {seen}")))?;
        target.seen = Some(seen);
        entry.noting = Some(run);
        self.streams_changed = true;
        Ok(())
    }

    async fn stop_noting(&mut self, stream: &StreamId) -> Result<()> {
        let noted = self.streams.get(stream).filter(|entry| entry.noting.is_some());
        let Some(seen) = noted.map(|entry| seen_table(&entry.table)) else {
            return Ok(());
        };
        self.ensure_transaction().await?;
        let dropped = self.link.run(&format!("DROP TABLE IF EXISTS {seen}")).await;
        dropped.map_err(sql(format!("remove table {seen}")))?;
        if let Some(entry) = self.streams.get_mut(stream) {
            entry.noting = None;
            self.streams_changed = true;
        }
        if let Some(target) = self.targets.get_mut(stream) {
            target.seen = None;
        }
        Ok(())
    }

    /// Rows whose key the read did not meet are gone at the source.
    async fn end_read(&mut self, stream: &StreamId, run: u32) -> Result<()> {
        fail::fail_point!("postgres.destination.before_end_read");
        let entry = self
            .streams
            .get(stream)
            .filter(|entry| entry.noting == Some(run))
            .cloned();
        if let Some(entry) = entry {
            self.ensure_deletable(stream, &entry).await?;
            let same = entry
                .key
                .iter()
                .map(|column| format!("s.{0} = t.{0}", quote_ident(column)));
            let unseen = format!(
                "NOT EXISTS (SELECT 1 FROM {} AS s WHERE {})",
                seen_table(&entry.table),
                join(same, " AND ")
            );
            let relation = entry.table.relation();
            if let Some(delete) = delete_sql(&relation, self.manner.options.deletes, Some(&unseen)) {
                // Two large tables side by side: here a hash is right.
                let delete = format!(
                    "ANALYZE {}; SET LOCAL enable_hashjoin = on; {delete}; SET LOCAL enable_hashjoin = off",
                    seen_table(&entry.table)
                );
                let deleted = self.link.run(&delete).await;
                deleted.map_err(sql(format!("remove rows that are gone from table {relation}")))?;
            }
        }
        self.stop_noting(stream).await
    }

    /// By key, every row is deleted; appended, a row says that it happened.
    async fn truncate(&mut self, stream: &StreamId, order: Option<Order>) -> Result<()> {
        let Some(entry) = self.streams.get(stream).cloned() else {
            return Ok(());
        };
        self.ensure_transaction().await?;
        let relation = entry.table.relation();
        let doing = || sql(format!("empty table {relation}"));
        if entry.key.is_empty() {
            let order = order.map(|order| order.to_string());
            let insert = format!(
                "INSERT INTO {relation} ({}, {}, {}) VALUES ('truncate', $1, NULL)",
                quote_ident(OP),
                quote_ident(POSITION),
                quote_ident(COMMITTED_AT)
            );
            let params: [(&(dyn ToSql + Sync), Type); 1] = [(&order, Type::TEXT)];
            self.link.execute(&insert, &params).await.map_err(doing())?;
        } else {
            self.ensure_deletable(stream, &entry).await?;
            if let Some(delete) = delete_sql(&relation, self.manner.options.deletes, None) {
                self.link.run(&delete).await.map_err(doing())?;
                self.forget_conflicts(stream);
            }
        }
        Ok(())
    }

    async fn delete_where(&mut self, stream: &StreamId, predicate: &Predicate) -> Result<()> {
        let Some(entry) = self.streams.get(stream).cloned() else {
            return Ok(());
        };
        if entry.key.is_empty() {
            // Appended rows are history: what was deleted later was there nevertheless.
            return Ok(());
        }
        self.ensure_deletable(stream, &entry).await?;
        let relation = entry.table.relation();
        let found = Found::read(&self.link, &relation).await?;
        let mut terms = Vec::new();
        let mut values: Vec<BytesMut> = Vec::new();
        let mut types: Vec<Type> = Vec::new();
        for (column, test, value) in &predicate.terms {
            if value.is_null(0) {
                return Ok(());
            }
            let bad = |what: String| Error::BadPredicate {
                stream: stream.clone(),
                column: column.clone(),
                what,
            };
            let lies = found.as_ref().and_then(|found| found.column(column));
            let lies = lies.ok_or_else(|| bad("the table has no such column".to_owned()))?;
            let ty = self.types.get(lies.oid);
            let ty = ty.ok_or_else(|| bad(format!("type `{}` is not known", lies.declared)))?;
            let field = self.field_of(stream, column, value.data_type());
            let mut encoded = BytesMut::new();
            {
                let encoder = ColumnEncoder::new(value.as_ref(), &field, &ty, lies.typmod)
                    .map_err(|unsuited| bad(unsuited.to_string()))?;
                encoder
                    .encode_with_len(0, &mut encoded)
                    .map_err(|misfit| bad(misfit.to_string()))?;
            }
            values.push(encoded);
            types.push(parameter_type(&ty));
            terms.push(format!(
                "t.{} {} ${}",
                quote_ident(column),
                operator(*test),
                values.len()
            ));
        }
        let condition = match terms.is_empty() {
            true => "true".to_owned(),
            false => terms.join(" AND "),
        };
        let Some(delete) = delete_sql(&relation, self.manner.options.deletes, Some(&condition)) else {
            return Ok(());
        };
        let values: Vec<Encoded<'_>> = values.iter().map(|field| Encoded(value_of(field))).collect();
        let deleted = self.link.execute(&delete, &parameters(&values, &types)).await;
        deleted.map_err(sql(format!("delete rows of table {relation}")))?;
        Ok(())
    }

    /// The field that a predicate's value has: the array alone does not say that it is a UUID.
    fn field_of(&self, stream: &StreamId, column: &str, data_type: &DataType) -> Field {
        let schema = self.targets.get(stream).map(|target| target.schema.arrow());
        match schema.and_then(|schema| schema.field_with_name(column).ok()) {
            Some(field) if field.data_type() == data_type => field.clone(),
            _ => Field::new(column, data_type.clone(), true),
        }
    }
}

fn operator(test: Test) -> &'static str {
    match test {
        Test::Eq => "=",
        Test::Lt => "<",
        Test::LtEq => "<=",
        Test::Gt => ">",
        Test::GtEq => ">=",
    }
}

fn parameters<'a>(values: &'a [Encoded<'a>], types: &[Type]) -> Vec<(&'a (dyn ToSql + Sync), Type)> {
    let values = values.iter().map(|value| value as &(dyn ToSql + Sync));
    values.zip(types.iter().cloned()).collect()
}

/// The side table that notes which keys a read meets.
pub(crate) fn seen_table(table: &TableName) -> Relation {
    let name = format!("{}\0{}", table.schema, table.name);
    Relation {
        schema: SCHEMA.to_owned(),
        name: format!("seen_{:016x}", xxh3_64(name.as_bytes())),
    }
}
