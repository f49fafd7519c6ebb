//! An open destination plugin.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use api::{Deletes, DestinationOptions, WriteMode};
use bytes::Bytes;
use model::{Batch, Body, ChangeSet, Control, Op, Order, Predicate, StreamId, StreamSchema};
use prost_types::Timestamp;
use proto::plugin_v3::write::{self, request::Message};

use super::CloudQueryDestinationSpec;
use super::lines::{Line, last_of_each_key, lines, stretches};
use super::outgoing::Outgoing;
use super::table::{Misfit, Table, source_of};
use crate::error::{Error, Result};
use crate::plugin::Plugin;
use crate::registry::Kind;

pub(super) struct Session {
    spec: Arc<CloudQueryDestinationSpec>,
    options: DestinationOptions,
    plugin: Plugin,
    answers_flush: bool,
    /// Open as soon as there is something to send.
    outgoing: Option<Outgoing>,
    tables: HashMap<StreamId, Table>,
    /// The tables of which the plugin's client has been told; it is another one after each `Init`.
    announced: HashSet<StreamId>,
    /// Of each stream of a plugin's sync: when that began, and of which source it is.
    syncs: HashMap<StreamId, SyncOf>,
    /// What the plugin was told of each table last.
    told: HashMap<StreamId, Bytes>,
    /// Of which of them since somebody asked.
    described: BTreeSet<StreamId>,
    flushes: u64,
    /// Whether anything was sent since the last commit.
    is_dirty: bool,
}

/// Which sync the rows of a stream are of.
struct SyncOf {
    micros: i64,
    source: String,
}

impl Session {
    pub(super) async fn open(
        spec: Arc<CloudQueryDestinationSpec>,
        options: DestinationOptions,
        base: &Path,
    ) -> Result<Session> {
        let plugin = Plugin::start(Kind::Destination, spec.name(), spec.plugin(), base).await?;
        let answers_flush = plugin.init(spec.plugin(), false).await?;
        Ok(Session {
            spec,
            options,
            plugin,
            answers_flush,
            outgoing: None,
            tables: HashMap::new(),
            announced: HashSet::new(),
            syncs: HashMap::new(),
            told: HashMap::new(),
            described: BTreeSet::new(),
            flushes: 0,
            is_dirty: false,
        })
    }

    pub(super) async fn write(&mut self, changeset: &ChangeSet) -> Result<()> {
        match &changeset.body {
            Body::Rows(batches) => {
                for batch in batches {
                    self.batch(batch).await?;
                }
                Ok(())
            }
            Body::Control(control) => self.control(control, changeset).await,
        }
    }

    /// Everything that was written is durable, as far as the protocol can say it.
    pub(super) async fn commit(&mut self) -> Result<()> {
        if self.is_dirty {
            fail::fail_point!("cloudquery.destination.before_commit");
            if self.answers_flush {
                self.flushes += 1;
                let id = self.flushes;
                match &mut self.outgoing {
                    Some(outgoing) => outgoing.flush(&self.plugin, id).await?,
                    None => return Err(self.not_open()),
                }
            } else {
                if let Some(outgoing) = self.outgoing.take() {
                    outgoing.finish(&self.plugin).await?;
                }
                fail::fail_point!("cloudquery.destination.before_close");
                self.plugin.close().await?;
                self.plugin.check_lost_batch().await?;
                self.plugin.init(self.spec.plugin(), false).await?;
                self.announced.clear();
            }
        }
        self.plugin.check_lost_batch().await?;
        if self.is_dirty {
            fail::fail_point!("cloudquery.destination.after_commit");
        }
        self.is_dirty = false;
        Ok(())
    }

    /// The tables that the plugin was told of since the last call, as it was told.
    pub(super) fn take_described(&mut self) -> Vec<(StreamId, Bytes)> {
        let described = std::mem::take(&mut self.described).into_iter();
        described
            .filter_map(|stream| Some((stream.clone(), self.told.get(&stream)?.clone())))
            .collect()
    }

    pub(super) async fn stop(mut self) {
        if let Some(outgoing) = self.outgoing.take() {
            // What was not committed is void; a plugin that ends its write in peace closes its connections.
            let _ = outgoing.finish(&self.plugin).await;
        }
        let _ = self.plugin.close().await;
        self.plugin.stop().await;
    }

    fn not_open(&self) -> Error {
        Error::NotOpen {
            plugin: self.plugin.name().to_owned(),
            verb: "flush",
        }
    }

    async fn send(&mut self, message: Message) -> Result<()> {
        let outgoing = match &mut self.outgoing {
            Some(outgoing) => outgoing,
            none => none.insert(Outgoing::open(&self.plugin, self.answers_flush).await?),
        };
        self.is_dirty = true;
        outgoing.send(&self.plugin, message).await
    }

    fn mode(&self, schema: &StreamSchema) -> WriteMode {
        self.options.write_mode(schema.has_key())
    }

    fn misfit(&self, table: &str, misfit: Misfit) -> Error {
        misfit.of(self.plugin.name(), table)
    }

    fn unsupported(&self, stream: &StreamId, what: &str, hint: &'static str) -> Error {
        Error::Unsupported {
            plugin: self.plugin.name().to_owned(),
            verb: format!("write `{stream}`"),
            what: what.to_owned(),
            hint,
        }
    }

    /// Makes the table as this schema has it, unless the plugin's client has made it so.
    async fn table(&mut self, schema: &Arc<StreamSchema>) -> Result<()> {
        let stream = schema.stream();
        if self
            .tables
            .get(stream)
            .is_some_and(|table| table.schema_id() == schema.id())
        {
            return self.announce(stream).await;
        }
        let name = stream.flat_name();
        if let Some(other) = self
            .tables
            .iter()
            .find(|(other, table)| *other != stream && table.name() == name)
        {
            let what = format!("`{}` has the same table `{name}` there", other.0);
            return Err(self.unsupported(stream, &what, "leave one of the two out"));
        }
        let appends = self.mode(schema) == WriteMode::Append;
        let table = Table::new(schema, appends, self.spec.tables()).map_err(|misfit| self.misfit(&name, misfit))?;
        self.tables.insert(stream.clone(), table);
        self.announced.remove(stream);
        self.announce(stream).await
    }

    /// Tells the plugin's client of a table, unless it knows: many learn only from this what the key is.
    async fn announce(&mut self, stream: &StreamId) -> Result<()> {
        let Some(table) = self.tables.get(stream).filter(|_| !self.announced.contains(stream)) else {
            return Ok(());
        };
        let payload = table.payload();
        let table = payload.map_err(|misfit| self.misfit(&stream.flat_name(), misfit))?;
        if self.told.insert(stream.clone(), table.clone()).as_ref() != Some(&table) {
            self.described.insert(stream.clone());
        }
        self.send(Message::MigrateTable(write::MessageMigrateTable {
            table,
            migrate_force: self.spec.migrate_force(),
        }))
        .await?;
        self.announced.insert(stream.clone());
        Ok(())
    }

    async fn batch(&mut self, batch: &Batch) -> Result<()> {
        let schema = &batch.schema;
        let stream = schema.stream();
        self.table(schema).await?;
        let appends = self.mode(schema) == WriteMode::Append;
        let name = stream.flat_name();
        let arrow = |this: &Self, error: arrow::error::ArrowError| this.misfit(&name, error.into());
        let lines = lines(batch, self.options.deletes == Deletes::Ignore).map_err(|error| arrow(self, error))?;
        if appends {
            return self.insert(batch, &lines).await;
        }
        // Of a delete the key is enough.
        let is_partial = |line: &Line| {
            line.op != Op::Delete
                && batch
                    .unavailable
                    .as_ref()
                    .is_some_and(|unsent| unsent.any_in_row(line.row))
        };
        if lines.iter().any(is_partial) {
            let what = "a row came without all of its values, and the protocol cannot leave a column alone";
            return Err(self.unsupported(stream, what, "send whole rows: ALTER TABLE ... REPLICA IDENTITY FULL"));
        }
        for stretch in stretches(&lines) {
            let stretch = &lines[stretch];
            if stretch[0].op != Op::Delete && self.tables.get(stream).is_some_and(Table::is_keyed_otherwise) {
                self.insert(batch, stretch).await?;
            } else if stretch[0].op != Op::Delete {
                let last = last_of_each_key(batch, stretch).map_err(|error| arrow(self, error))?;
                self.insert(batch, &last).await?;
            } else if schema.has_key() {
                self.delete(batch, stretch).await?;
            } else {
                let what = "a row of a stream without a key went, and nothing says which";
                return Err(self.unsupported(stream, what, "set `key` for the stream, or use `write: append`"));
            }
        }
        Ok(())
    }

    async fn insert(&mut self, batch: &Batch, lines: &[Line]) -> Result<()> {
        let stream = batch.schema.stream();
        let bytes_max = self.spec.message_bytes_max();
        let Some(table) = self.tables.get_mut(stream) else {
            return Err(self.not_open());
        };
        let records = table.records(batch, lines, bytes_max);
        let records = records.map_err(|misfit| self.misfit(&stream.flat_name(), misfit))?;
        for record in records {
            self.send(Message::Insert(write::MessageInsert { record })).await?;
        }
        Ok(())
    }

    async fn delete(&mut self, batch: &Batch, lines: &[Line]) -> Result<()> {
        let stream = batch.schema.stream();
        let Some(table) = self.tables.get(stream) else {
            return Err(self.not_open());
        };
        let deletes = table.deletes(batch, lines);
        for delete in deletes.map_err(|misfit| self.misfit(&stream.flat_name(), misfit))? {
            self.send(Message::DeleteRecord(delete)).await?;
        }
        Ok(())
    }

    async fn delete_where(&mut self, stream: &StreamId, predicate: &Predicate) -> Result<()> {
        if self.options.deletes == Deletes::Ignore {
            return Ok(());
        }
        let Some(table) = self.tables.get(stream) else {
            // Its columns are not known in this session: rows or a schema come first.
            let what = "a delete by a condition came before any row";
            return Err(self.unsupported(stream, what, "run `highwater resync` for the stream"));
        };
        if self.mode(table.schema()) == WriteMode::Append {
            let what = "a delete by a condition cannot be appended";
            return Err(self.unsupported(stream, what, "use `write: upsert`, or `deletes: ignore`"));
        }
        let delete = table.delete_where(predicate);
        match delete.map_err(|misfit| self.misfit(&stream.flat_name(), misfit))? {
            Some(delete) => {
                self.announce(stream).await?;
                self.send(Message::DeleteRecord(delete)).await
            }
            None => {
                let what = "the protocol has no such condition of a delete";
                Err(self.unsupported(stream, what, "leave the stream out"))
            }
        }
    }

    async fn control(&mut self, control: &Control, changeset: &ChangeSet) -> Result<()> {
        let stream = control.stream();
        match control {
            Control::Schema { schema } => self.table(schema).await,
            Control::BeginRead {
                schema, empty_first, ..
            } => {
                self.table(schema).await?;
                self.syncs.remove(stream);
                if let Some(source) = source_of(schema) {
                    self.sync_began(stream, changeset.control_order(), source);
                }
                // Of another stream nothing tells later which rows the read did not meet.
                let is_emptied = self.mode(schema) == WriteMode::Mirror && !self.syncs.contains_key(stream);
                if *empty_first || is_emptied {
                    self.empty(stream).await?;
                }
                Ok(())
            }
            Control::Truncate { .. } => self.empty(stream).await,
            Control::EndRead { .. } => {
                // This session may have begun in the middle of the read.
                let source = self.tables.get(stream).and_then(|table| source_of(table.schema()));
                if let Some(source) = source.filter(|_| !self.syncs.contains_key(stream)) {
                    self.sync_began(stream, changeset.control_order(), source);
                }
                self.end_read(stream).await
            }
            Control::DeleteWhere { predicate, .. } => self.delete_where(stream, predicate).await,
        }
    }

    /// The position of a sync is its time.
    fn sync_began(&mut self, stream: &StreamId, at: Option<Order>, source: String) {
        if let Some(micros) = at.and_then(|at| i64::try_from(at.key()).ok()) {
            self.syncs.insert(stream.clone(), SyncOf { micros, source });
        }
    }

    async fn empty(&mut self, stream: &StreamId) -> Result<()> {
        self.announce(stream).await?;
        let name = stream.flat_name();
        let delete = match self.tables.get(stream) {
            Some(table) => table.delete_all(),
            // Emptied without a word of its shape: it is there since an earlier session.
            None => write::MessageDeleteRecord {
                table_name: name,
                ..write::MessageDeleteRecord::default()
            },
        };
        self.send(Message::DeleteRecord(delete)).await
    }

    /// What a mirrored read did not meet goes.
    async fn end_read(&mut self, stream: &StreamId) -> Result<()> {
        if self.options.write != Some(WriteMode::Mirror) {
            return Ok(());
        }
        self.announce(stream).await?;
        match self.syncs.remove(stream) {
            Some(SyncOf { micros, source }) => {
                let sync_time = Timestamp {
                    seconds: micros.div_euclid(1_000_000),
                    nanos: (micros.rem_euclid(1_000_000) * 1_000) as i32,
                };
                self.send(Message::Delete(write::MessageDeleteStale {
                    source_name: source,
                    sync_time: Some(sync_time),
                    table_name: stream.flat_name(),
                    ..write::MessageDeleteStale::default()
                }))
                .await
            }
            // Emptied when its read began.
            None if self.tables.get(stream).is_some_and(|table| !table.is_synced()) => Ok(()),
            // This session began in the middle of the read, and when that began is not known here.
            None => {
                tracing::warn!(
                    plugin = self.plugin.name(),
                    %stream,
                    "rows that the sync did not meet stay until the next one: this session has not seen the sync's beginning"
                );
                Ok(())
            }
        }
    }
}
