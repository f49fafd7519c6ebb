//! Transactions of the log: what they are made of, and which of them have to wait.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use api::PlannedStream;
use model::{ChangeSet, Control, Delta, Order, Page, PageTags, Part, Place, StreamId, Timestamp};

use super::{Beyond, Engine, Transaction};
use crate::replication::pgoutput::{self, Logical, Message};
use crate::replication::{Lsn, ServerTime};
use crate::source::catalogue::Table;
use crate::source::changes::{Pending, Relation, Row, moves_in_part};
use crate::source::emitter::Ended;
use crate::source::error::{Error, types_failed};
use crate::source::messages;
use crate::source::position;
use crate::source::reads::Request;
use crate::source::shape::{KeyFacts, SourceColumn, StreamShape, type_of};
use crate::types::PgType;

impl Engine {
    pub(super) async fn take(&mut self, message: Message<'_>) -> Result<(), Ended> {
        match message {
            Message::Commit(commit) => self.commit(commit.end_lsn).await?,
            Message::Relation(relation) => {
                let known = self.relation(relation).await?;
                self.relations.insert(relation.oid, known);
            }
            Message::Insert(insert) => {
                self.row(insert.relation, Row::Insert(insert.new)).await?;
            }
            Message::Update(update) => {
                self.row(update.relation, Row::Update(update.old, update.new)).await?;
            }
            Message::Delete(delete) => {
                self.row(delete.relation, Row::Delete(delete.old)).await?;
            }
            Message::Truncate(truncate) => self.truncate(truncate.relations().collect()).await?,
            Message::Logical(message) => self.message(&message).await?,
            // Types are looked up by oid when a relation names them; origins are not asked for.
            _ => {}
        }
        Ok(())
    }

    /// Everything of a session, of which blocks of running transactions are kept.
    pub(super) async fn receive(&mut self, bytes: &[u8], sent_at: ServerTime) -> Result<(), Ended> {
        let message = self
            .decoder
            .decode(bytes)
            .map_err(|error| self.bad(&error.to_string()))?;
        let streamed = &mut self.setup.streamed;
        match message {
            Message::Begin(begin) => {
                self.begin_or_wait(begin.commit_lsn, time_of(begin.committed_at), None)
                    .await?;
            }
            Message::StreamStart(block) => streamed.current = Some(block.xid),
            Message::StreamStop => streamed.current = None,
            Message::StreamAbort(abort) => streamed.roll_back(abort.xid, abort.subxid),
            Message::StreamCommit { xid, commit } => {
                let time = time_of(commit.committed_at);
                self.begin_or_wait(commit.commit_lsn, time, Some((xid, commit.end_lsn)))
                    .await?;
            }
            Message::Logical(message) if !message.is_transactional => self.lone_message(&message, sent_at).await?,
            message => match (streamed.current, xid_of(&message)) {
                (Some(_), Some(subxid)) => streamed.keep(subxid, bytes).await?,
                _ => self.take(message).await?,
            },
        }
        Ok(())
    }

    pub(super) async fn begin_or_wait(
        &mut self,
        lsn: Lsn,
        time: Timestamp,
        streamed: Option<(u32, Lsn)>,
    ) -> Result<(), Ended> {
        self.reach(lsn);
        if self.barrier().is_some_and(|barrier| lsn >= barrier) {
            self.beyond = Some(Beyond { lsn, time, streamed });
            return Ok(());
        }
        self.begin(lsn, time);
        match streamed {
            Some((xid, end)) => self.replay(xid, end).await,
            None => Ok(()),
        }
    }

    /// A transaction that was sent while it ran has committed: now its messages count, as if they had just come.
    pub(super) async fn replay(&mut self, xid: u32, end: Lsn) -> Result<(), Ended> {
        let mut kept = self.setup.streamed.take(xid).await?;
        // Messages of a block say whose they are, and a decoder has to know that they do.
        let mut decoder = pgoutput::Decoder::new();
        let [a, b, c, d] = xid.to_be_bytes();
        decoder
            .decode(&[b'S', a, b, c, d, 1])
            .map_err(|error| self.bad(&error.to_string()))?;
        while let Some(bytes) = kept.next().await? {
            let message = decoder.decode(&bytes).map_err(|error| self.bad(&error.to_string()))?;
            self.take(message).await?;
        }
        self.commit(end).await
    }

    pub(super) fn begin(&mut self, lsn: Lsn, time: Timestamp) {
        self.transaction = Some(Transaction {
            lsn,
            time,
            has_rows: false,
        });
    }

    pub(super) async fn commit(&mut self, end: Lsn) -> Result<(), Ended> {
        let Some(transaction) = self.transaction.take() else {
            return Err(self.bad("a commit without a begin"));
        };
        self.upto = self.upto.max(end);
        if transaction.has_rows {
            let shared = &self.setup.shared;
            shared.newest.store(transaction.lsn.0, Ordering::Release);
            shared.newest_time.store(transaction.time.micros(), Ordering::Release);
        }
        self.setup.shared.set_received(self.upto);
        if self.is_inside {
            self.emit_pending(Part::Last, true).await?;
            self.is_inside = false;
        } else if !self.pending.is_empty() {
            self.pending_since.get_or_insert_with(Instant::now);
            if self.pending.bytes() >= self.changeset_max() / 2 {
                self.flush().await?;
            }
        }
        Ok(())
    }

    pub(super) async fn row(&mut self, relation: u32, row: Row<'_>) -> Result<(), Ended> {
        let Some(transaction) = &self.transaction else {
            return Err(self.bad("a row outside a transaction"));
        };
        let (order, time) = (transaction.order(), transaction.time);
        if order <= self.announced {
            return Ok(());
        }
        let relation = match self.relations.get(&relation) {
            Some(Some(relation)) => Arc::clone(relation),
            Some(None) => return Ok(()),
            None => return Err(self.bad("a row of a relation that was not described")),
        };
        let unwhole = self
            .reads
            .iter()
            .position(|read| &read.stream == relation.shape.stream() && moves_in_part(&relation.shape, row, read));
        if let Some(i) = unwhole {
            self.read_again_before(i, order).await?;
        }
        self.push(&relation, row, order, time).await?;
        if self.pending.bytes() >= self.changeset_max() {
            self.emit_part(order).await?;
        }
        Ok(())
    }

    async fn push(
        &mut self,
        relation: &Arc<Relation>,
        row: Row<'_>,
        order: Order,
        time: Timestamp,
    ) -> Result<(), Ended> {
        if let Some(transaction) = &mut self.transaction {
            transaction.has_rows = true;
        }
        if self.memory.is_none() {
            let also = (!self.is_inside).then_some(&self.setup.shared.closing);
            let memory = self.setup.emitter.reserve(self.changeset_max(), also).await?;
            self.memory = Some(memory);
        }
        Ok(self.pending.push(relation, row, order, time, &self.reads)?)
    }

    /// The stream of messages, if this one is passed on.
    fn messages_for(&self, message: &Logical<'_>) -> Option<Arc<Relation>> {
        let messages = self.setup.messages.as_ref()?;
        messages.wants(message.prefix).then(|| Arc::clone(&messages.relation))
    }

    /// A message that belongs to the transaction.
    async fn message(&mut self, message: &Logical<'_>) -> Result<(), Ended> {
        let Some(transaction) = &self.transaction else {
            return Err(self.bad("a message of a transaction outside one"));
        };
        let (order, time) = (transaction.order(), transaction.time);
        let Some(relation) = self.messages_for(message).filter(|_| order > self.announced) else {
            return Ok(());
        };
        let mut room = Vec::new();
        let row = Row::Insert(messages::row(message, &mut room));
        self.push(&relation, row, order, time).await?;
        if self.pending.bytes() >= self.changeset_max() {
            self.emit_part(order).await?;
        }
        Ok(())
    }

    /// A message that belongs to no transaction. It is never cut from what is before it, for there is no place in the log
    /// between its order and the one before that the server could go on from.
    async fn lone_message(&mut self, message: &Logical<'_>, sent_at: ServerTime) -> Result<(), Ended> {
        if self.transaction.is_some() {
            return Err(self.bad("a message of no transaction inside one"));
        }
        let at = messages::place_of(message);
        let Some(relation) = self
            .messages_for(message)
            .filter(|_| position::order_at(at) > self.announced)
        else {
            self.reach(message.lsn);
            return Ok(());
        };
        if self.pending.bytes() + message.content.len() >= self.changeset_max() {
            self.flush().await?;
        }
        // The log does not say when it was written.
        self.begin(at, time_of(sent_at));
        let mut room = Vec::new();
        let row = Row::Insert(messages::row(message, &mut room));
        self.push(&relation, row, position::order_at(at), time_of(sent_at))
            .await?;
        self.commit(message.lsn).await
    }

    /// A row moves into a page of this read without all of its values. Whoever holds that page could not make the row, so the
    /// read begins again, at the place in the log before this transaction.
    pub(super) async fn read_again_before(&mut self, i: usize, order: Order) -> Result<(), Ended> {
        let stream = self.reads[i].stream.clone();
        if self.is_inside {
            return Err(Error::MovedInPart { stream }.into());
        }
        let (earlier, mut current) = self.split(order)?;
        if !earlier.is_empty() {
            let delta = self.moved_to(position::log_position(Lsn(order.key()), self.setup.timeline));
            let changeset = ChangeSet::rows(delta, earlier);
            let memory = self.setup.emitter.reserve(changeset.size_bytes, None).await?;
            self.setup.emitter.emit(changeset, memory).await?;
        }
        let read = self.reads.remove(i);
        tracing::warn!(
            code = "W0253",
            pipeline = self.setup.names.pipeline,
            %stream,
            run = read.run,
            "a key changed while existing rows are read, and the row's large values were not sent: the read begins again"
        );
        let request = self.numbered(read.into_request());
        self.begin_read(&stream, &request).await?;
        for batch in current.iter_mut().filter(|batch| batch.schema.stream() == &stream) {
            let unread = vec![Page::new(0, Page::UNREAD); batch.len()];
            batch
                .page_tags
                .push(PageTags::new(request.run, unread.clone(), Some(unread)));
        }
        self.pending = Pending::of_finished(current);
        Ok(())
    }

    /// Tables that were emptied: a part of the transaction for each, between the rows before and after.
    pub(super) async fn truncate(&mut self, relations: Vec<u32>) -> Result<(), Ended> {
        let streams: Vec<StreamId> = relations
            .iter()
            .filter_map(|oid| self.relations.get(oid).cloned().flatten())
            .map(|relation| relation.shape.stream().clone())
            .collect();
        let Some(transaction) = &mut self.transaction else {
            return Err(self.bad("a truncate outside a transaction"));
        };
        let order = transaction.order();
        if streams.is_empty() || order <= self.announced {
            return Ok(());
        }
        transaction.has_rows = true;
        self.emit_part(order).await?;
        for stream in streams {
            let part = if self.is_inside { Part::Middle } else { Part::First };
            self.is_inside = true;
            let place = Place {
                log: self.setup.log.clone(),
                order,
            };
            let control = ChangeSet::control_part(part, Delta::none(), Control::Truncate { stream }, place);
            let memory = self.setup.emitter.reserve(0, None).await?;
            self.setup.emitter.emit(control, memory).await?;
        }
        Ok(())
    }

    /// What a RELATION message describes, as a stream of the plan.
    pub(super) async fn relation(&mut self, told: pgoutput::Relation<'_>) -> Result<Option<Arc<Relation>>, Ended> {
        let id = StreamId::in_schema(told.schema, told.name);
        let Some(planned) = self.planned(&id).cloned() else {
            return Ok(None);
        };
        let mut sent = Vec::new();
        for column in told.columns() {
            sent.push(SourceColumn {
                name: column.name.to_owned(),
                ty: self.type_of(column.type_oid, &id, column.name).await?,
                typmod: column.type_modifier,
            });
        }
        // The catalogue of now may be ahead of the message: what it says of columns that are not there does not count.
        if let Some(table) = Table::find(&self.setup.client, told.schema, told.name).await? {
            self.key_facts.insert(id.clone(), KeyFacts::of(&table));
        }
        let facts = self.key_facts.entry(id).or_insert_with(|| KeyFacts {
            key: told
                .columns()
                .filter(|column| column.is_key)
                .map(|column| column.name.to_owned())
                .collect(),
            primary: Vec::new(),
        });
        let shape = StreamShape::new(&planned, sent, facts)?;
        Ok(Some(Arc::new(Relation {
            shape: Arc::new(shape),
            identity: told.columns().map(|column| column.is_key).collect(),
        })))
    }

    pub(super) async fn type_of(&mut self, oid: u32, stream: &StreamId, column: &str) -> api::Result<Arc<PgType>> {
        if let Some(known) = self.setup.types.get(oid) {
            return Ok(known);
        }
        self.setup
            .types
            .look_up(&self.setup.client, oid)
            .await
            .map_err(types_failed)?;
        type_of(&self.setup.types, oid, stream, column)
    }

    pub(super) fn planned(&self, stream: &StreamId) -> Option<&PlannedStream> {
        self.setup.plan.streams.iter().find(|planned| &planned.id == stream)
    }

    pub(super) fn numbered(&self, request: Request) -> Request {
        let run = self.setup.shared.run_floor.fetch_add(1, Ordering::AcqRel) + 1;
        Request { run, ..request }
    }
}

fn time_of(time: ServerTime) -> Timestamp {
    Timestamp(time.unix_micros())
}

/// The (sub-)transaction of a message inside a block.
fn xid_of(message: &Message<'_>) -> Option<u32> {
    match message {
        Message::Relation(of) => of.xid,
        Message::Type(of) => of.xid,
        Message::Insert(of) => of.xid,
        Message::Update(of) => of.xid,
        Message::Delete(of) => of.xid,
        Message::Truncate(of) => of.xid,
        Message::Logical(of) => of.xid,
        _ => None,
    }
}
