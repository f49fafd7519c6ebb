//! The task that reads the slot's stream, and the windows beside it.
//!
//! ```text
//! between two transactions: a request to read streams         -> BeginRead
//!                           a read all of whose pages are out  -> EndRead
//!                           pages are missing                  -> a window is opened, in a task of its own
//!                           the log is read up to its S        -> its pages, each exact as of S
//! else: the next message. What arrived together goes out together; a transaction larger than a changeset in parts.
//! ```
//!
//! Invariants:
//! - a transaction goes out only when it is known to have committed, and in the order of its commit record;
//! - while a window is opened, no transaction is read whose commit record may be at or after the window's S: the log stops
//!   at the place where it ended when the window was asked for (`barrier`), which S cannot be before;
//! - pages go out when exactly the transactions below S are out;
//! - the server is told that something is flushed only when it was acknowledged.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use api::{Plan, PlannedStream, ReadProgress, Reservation, Snapshot};
use model::{
    Batch, ChangeSet, Control, Delta, Order, Page, PageTags, Part, Partition, Place, StreamId, StreamState, Timestamp,
};
use tokio_util::task::AbortOnDropHandle;

use super::catalogue::{Table, now_and_end_of_log};
use super::changes::{Pending, Relation, Row, moves_in_part};
use super::emitter::{Emitter, Ended};
use super::error::{Error, types_failed};
use super::key::KeyValue;
use super::position::{self, Bound, order_before};
use super::publication::Publication;
use super::reads::{Cut, Incarnation, Read, Request};
use super::shape::{KeyFacts, SourceColumn, StreamShape, type_of};
use super::shared::Shared;
use super::spec::{Names, PostgresSourceSpec};
use super::streamed::Streamed;
use super::window::Window;
use crate::connect::{Connection, Settings};
use crate::replication::pgoutput::{self, Message};
use crate::replication::{Frame, Lsn, Marks, ServerTime, Stream};
use crate::types::{PgType, TypeCatalogue};

/// How often progress without rows is handed on. More often, and a source and a destination in one server would feed each
/// other for ever.
const PROGRESS_EVERY: Duration = Duration::from_secs(10);
/// How soon progress follows when the server asks for an answer: one that shuts down waits for it.
const PROGRESS_WHEN_ASKED: Duration = Duration::from_secs(1);
/// How long a small transaction may wait for others that arrive right behind it. Longer saves little per row and costs
/// latency under a steady trickle.
const GATHER_MAX: Duration = Duration::from_millis(5);
/// How often the server is told what is flushed, when nothing else makes it.
const STATUS_EVERY: Duration = Duration::from_secs(1);
/// How often the server is asked again for the end of the log that somebody waits for.
const ASK_EVERY: Duration = Duration::from_millis(20);
/// How long the server may take to answer the end of the stream.
const STOP_WITHIN: Duration = Duration::from_secs(2);
/// How long to wait after a window could not be opened.
const WINDOW_RETRY: Duration = Duration::from_secs(5);

/// What an engine works with.
pub(crate) struct Setup {
    pub(crate) settings: Settings,
    pub(crate) spec: Arc<PostgresSourceSpec>,
    pub(crate) names: Names,
    pub(crate) plan: Plan,
    pub(crate) log: Partition,
    pub(crate) timeline: u32,
    /// For looks into the catalogue.
    pub(crate) client: Connection,
    pub(crate) types: TypeCatalogue,
    pub(crate) shared: Arc<Shared>,
    pub(crate) emitter: Emitter,
    pub(crate) stream: Stream,
    pub(crate) streamed: Streamed,
}

/// The transaction whose rows arrive.
#[derive(Debug, Clone, Copy)]
struct Transaction {
    lsn: Lsn,
    time: Timestamp,
    has_rows: bool,
}

impl Transaction {
    fn order(&self) -> Order {
        position::order_at(self.lsn)
    }
}

/// A transaction that has to wait.
#[derive(Debug, Clone, Copy)]
struct Beyond {
    lsn: Lsn,
    time: Timestamp,
    /// If it was sent while it ran: its id, and where its commit record ends.
    streamed: Option<(u32, Lsn)>,
}

enum WindowState {
    None,
    /// It is being opened; the log may be read up to the barrier.
    Opening {
        barrier: Lsn,
        opened: AbortOnDropHandle<api::Result<Window>>,
    },
    /// It is open; the log may be read up to its S.
    Open(Box<Window>),
}

pub(crate) struct Engine {
    pub(crate) setup: Setup,
    decoder: pgoutput::Decoder,
    relations: HashMap<u32, Option<Arc<Relation>>>,
    key_facts: HashMap<StreamId, KeyFacts>,
    /// Positions are handed out up to here.
    announced: Order,
    announced_at: Instant,
    /// Every commit record before it has been received.
    upto: Lsn,
    transaction: Option<Transaction>,
    /// Rows that are on their way into a changeset.
    pending: Pending,
    memory: Option<Reservation>,
    /// Since when a whole transaction waits.
    pending_since: Option<Instant>,
    /// Whether parts of the transaction are out.
    is_inside: bool,
    /// A transaction that begins beyond where the log may be read now.
    beyond: Option<Beyond>,
    reads: Vec<Read>,
    restarts: Vec<Request>,
    window: WindowState,
    window_after: Option<Instant>,
    window_count: u32,
    progress_due: Duration,
    status_at: Instant,
    told_flushed: Lsn,
}

enum Step {
    /// There may be more to do at once.
    Again,
    End,
}

impl Engine {
    pub(crate) fn new(setup: Setup, start: Order, reads: Vec<Read>, restarts: Vec<Request>) -> Self {
        Engine {
            decoder: pgoutput::Decoder::new(),
            relations: HashMap::new(),
            key_facts: HashMap::new(),
            announced: start,
            announced_at: Instant::now(),
            upto: position::end_of(start),
            transaction: None,
            pending: Pending::default(),
            memory: None,
            pending_since: None,
            is_inside: false,
            beyond: None,
            reads,
            restarts,
            window: WindowState::None,
            window_after: None,
            window_count: 0,
            progress_due: PROGRESS_EVERY,
            status_at: Instant::now(),
            told_flushed: Lsn(0),
            setup,
        }
    }

    /// Reads until the source is closed, or fails.
    pub(crate) async fn run(mut self) {
        self.publish_reads();
        loop {
            match self.step().await {
                Ok(Step::Again) => {}
                Ok(Step::End) | Err(Ended::Stopped) => break,
                Err(Ended::Failed(error)) => {
                    self.setup.emitter.fail(error).await;
                    break;
                }
            }
        }
        let shared = Arc::clone(&self.setup.shared);
        // What was acknowledged meanwhile is told to the server, so that it need not send it again.
        let flushed = self.setup.shared.acknowledged();
        if !self.is_inside && flushed > self.told_flushed {
            let Setup { stream, .. } = self.setup;
            // The handshake at the end makes sure that it has arrived; a server that is gone needs it no more.
            stream.status(
                Marks {
                    received: self.upto,
                    flushed,
                    applied: flushed,
                },
                false,
            );
            let _ = stream.stop(STOP_WITHIN).await;
            return shared.set_ended();
        }
        shared.set_ended();
    }

    async fn step(&mut self) -> Result<Step, Ended> {
        let shared = Arc::clone(&self.setup.shared);
        if shared.stop.is_cancelled() {
            return Ok(Step::End);
        }
        self.tell_status();
        if self.transaction.is_none() {
            if shared.closing.is_cancelled() {
                return Ok(Step::End);
            }
            if self.step_between().await? {
                return Ok(Step::Again);
            }
        }
        self.step_log().await
    }

    /// What is done only between two transactions; whether something was.
    async fn step_between(&mut self) -> Result<bool, Ended> {
        let request = match self.restarts.pop() {
            Some(restart) => Some(self.numbered(restart)),
            None => self.setup.shared.pop_request(),
        };
        if let Some(request) = request {
            self.flush().await?;
            for stream in &request.streams {
                self.begin_read(stream, &request).await?;
            }
            return Ok(true);
        }
        if let Some(i) = self.reads.iter().position(|read| read.next_page().is_none()) {
            self.flush().await?;
            self.end_read(i).await?;
            return Ok(true);
        }
        if self.reads.is_empty() {
            self.window = WindowState::None;
            return Ok(false);
        }
        match &mut self.window {
            WindowState::None if self.window_after.is_none_or(|after| after <= Instant::now()) => {
                self.begin_window().await?;
                Ok(true)
            }
            WindowState::None => Ok(false),
            WindowState::Opening { opened, .. } if opened.is_finished() => {
                let opened = opened.await;
                self.window = WindowState::None;
                match opened {
                    Ok(Ok(window)) => self.window = WindowState::Open(Box::new(window)),
                    Ok(Err(error)) => {
                        tracing::warn!(
                            code = error.code(),
                            pipeline = self.setup.names.pipeline,
                            error = error.chain(),
                            "existing rows wait for a snapshot"
                        );
                        self.window_after = Some(Instant::now() + WINDOW_RETRY);
                    }
                    Err(_) => {
                        return Err(Error::TaskGone {
                            slot: self.setup.names.slot.clone(),
                        }
                        .into());
                    }
                }
                Ok(true)
            }
            WindowState::Opening { .. } => Ok(false),
            WindowState::Open(window) if self.upto >= window.at => {
                self.flush().await?;
                if self.upto > position::end_of(self.announced) {
                    self.emit_progress().await?;
                }
                if let WindowState::Open(window) = std::mem::replace(&mut self.window, WindowState::None) {
                    self.read_window(*window).await?;
                }
                Ok(true)
            }
            WindowState::Open(_) => Ok(false),
        }
    }

    /// Up to where the log may be read now: commit records from there on wait.
    fn barrier(&self) -> Option<Lsn> {
        match &self.window {
            WindowState::None => None,
            WindowState::Opening { barrier, .. } => Some(*barrier),
            WindowState::Open(window) => Some(window.at),
        }
    }

    async fn step_log(&mut self) -> Result<Step, Ended> {
        if let Some(beyond) = self.beyond
            && self.barrier().is_none_or(|barrier| beyond.lsn < barrier)
        {
            self.beyond = None;
            self.begin(beyond.lsn, beyond.time);
            if let Some((xid, end)) = beyond.streamed {
                self.replay(xid, end).await?;
            }
            return Ok(Step::Again);
        }
        let may_gather =
            self.transaction.is_some() || self.pending_since.is_some_and(|since| since.elapsed() < GATHER_MAX);
        if !self.pending.is_empty() && (!may_gather || self.beyond.is_some()) {
            self.flush().await?;
            return Ok(Step::Again);
        }
        let arrived = if self.beyond.is_none() { self.arrived()? } else { None };
        let frame = match arrived {
            Some(frame) => Some(frame),
            None if self.transaction.is_none() && !self.pending.is_empty() => {
                self.flush().await?;
                return Ok(Step::Again);
            }
            None => self.next_frame().await?,
        };
        match frame {
            Some(Frame::Data(data)) => {
                self.receive(&data.bytes).await?;
                self.take_more().await?;
            }
            Some(Frame::Keepalive(keepalive)) => {
                if self.transaction.is_none() && self.beyond.is_none() {
                    self.reach(keepalive.wal_end);
                }
                if keepalive.reply_requested {
                    self.progress_due = PROGRESS_WHEN_ASKED;
                }
            }
            None => {
                let is_due = self.announced_at.elapsed() >= self.progress_due;
                if self.transaction.is_none() && is_due && self.upto > position::end_of(self.announced) {
                    self.emit_progress().await?;
                }
            }
        }
        Ok(Step::Again)
    }

    /// The rest of a transaction, as far as it has arrived: nothing else is looked after inside one.
    async fn take_more(&mut self) -> Result<(), Ended> {
        while self.transaction.is_some() {
            match self.setup.stream.try_next().map_err(api::Error::from)? {
                Some(Frame::Data(data)) => {
                    self.receive(&data.bytes).await?;
                }
                // Inside a transaction it says nothing that could be used.
                Some(Frame::Keepalive(_)) => {}
                None => break,
            }
        }
        Ok(())
    }

    /// A frame that is there already.
    fn arrived(&mut self) -> Result<Option<Frame>, Ended> {
        use futures::FutureExt;
        let stream = &mut self.setup.stream;
        if let Some(frame) = stream.try_next().map_err(api::Error::from)? {
            return Ok(Some(frame));
        }
        let frame = stream.next().now_or_never().transpose();
        Ok(frame.map_err(api::Error::from)?)
    }

    /// The next frame, or `None` when there is something else to look after.
    async fn next_frame(&mut self) -> Result<Option<Frame>, Ended> {
        let shared = Arc::clone(&self.setup.shared);
        let is_waited_for = shared.asked().is_some() || !matches!(self.window, WindowState::None);
        let patience = if is_waited_for { ASK_EVERY } else { STATUS_EVERY };
        let is_held = self.beyond.is_some();
        let is_between = self.transaction.is_none();
        let opened = async {
            match &mut self.window {
                // Only waited for; the result is taken from the handle later.
                WindowState::Opening { opened, .. } => {
                    while !opened.is_finished() {
                        tokio::time::sleep(Duration::from_millis(1)).await;
                    }
                }
                _ => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = shared.stop.cancelled() => Err(Ended::Stopped),
            () = self.setup.emitter.closed() => Err(Ended::Stopped),
            () = shared.closing.cancelled(), if is_between => Ok(None),
            () = opened, if is_between => Ok(None),
            frame = self.setup.stream.next(), if !is_held => Ok(Some(frame.map_err(api::Error::from)?)),
            () = shared.woken.notified() => {
                self.ask();
                Ok(None)
            }
            () = tokio::time::sleep(patience) => {
                if is_waited_for {
                    self.ask();
                }
                Ok(None)
            }
        }
    }

    /// Asks the server how far the log goes, if somebody waits for that.
    fn ask(&mut self) {
        let is_short_of_window = matches!(&self.window, WindowState::Open(window) if self.upto < window.at);
        if self.setup.shared.asked().is_some() || is_short_of_window {
            self.status(true);
        }
    }

    fn tell_status(&mut self) {
        let is_news = self.setup.shared.acknowledged() > self.told_flushed;
        if is_news || self.status_at.elapsed() >= STATUS_EVERY {
            self.status(false);
        }
    }

    fn status(&mut self, reply: bool) {
        let flushed = self.setup.shared.acknowledged();
        if flushed > self.told_flushed {
            fail::fail_point!("postgres.source.before_flush_lsn");
        }
        let marks = Marks {
            received: self.upto,
            flushed,
            applied: flushed,
        };
        self.setup.stream.status(marks, reply);
        if flushed > self.told_flushed {
            fail::fail_point!("postgres.source.after_flush_lsn");
        }
        self.told_flushed = flushed;
        self.status_at = Instant::now();
    }

    /// Every commit record before `end` has been received.
    fn reach(&mut self, end: Lsn) {
        self.upto = self.upto.max(end);
        self.setup.shared.set_received(self.upto);
    }

    async fn take(&mut self, message: Message<'_>) -> Result<(), Ended> {
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
            // Types are looked up by oid when a relation names them; origins and logical messages are not asked for.
            _ => {}
        }
        Ok(())
    }

    /// Everything of a session, of which blocks of running transactions are kept.
    async fn receive(&mut self, bytes: &[u8]) -> Result<(), Ended> {
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
            message => match (streamed.current, xid_of(&message)) {
                (Some(_), Some(subxid)) => streamed.keep(subxid, bytes).await?,
                _ => self.take(message).await?,
            },
        }
        Ok(())
    }

    async fn begin_or_wait(&mut self, lsn: Lsn, time: Timestamp, streamed: Option<(u32, Lsn)>) -> Result<(), Ended> {
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
    async fn replay(&mut self, xid: u32, end: Lsn) -> Result<(), Ended> {
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

    fn begin(&mut self, lsn: Lsn, time: Timestamp) {
        self.transaction = Some(Transaction {
            lsn,
            time,
            has_rows: false,
        });
    }

    async fn commit(&mut self, end: Lsn) -> Result<(), Ended> {
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

    fn changeset_max(&self) -> usize {
        self.setup
            .plan
            .changeset_bytes_max
            .min(self.setup.emitter.limit_bytes())
            .max(1)
    }

    async fn row(&mut self, relation: u32, row: Row<'_>) -> Result<(), Ended> {
        let Some(transaction) = &mut self.transaction else {
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
        transaction.has_rows = true;
        let unwhole = self
            .reads
            .iter()
            .position(|read| &read.stream == relation.shape.stream() && moves_in_part(&relation.shape, row, read));
        if let Some(i) = unwhole {
            self.read_again_before(i, order).await?;
        }
        if self.memory.is_none() {
            let also = (!self.is_inside).then_some(&self.setup.shared.closing);
            let memory = self.setup.emitter.reserve(self.changeset_max(), also).await?;
            self.memory = Some(memory);
        }
        self.pending.push(&relation, row, order, time, &self.reads)?;
        if self.pending.bytes() >= self.changeset_max() {
            self.emit_part(order).await?;
        }
        Ok(())
    }

    /// A row moves into a page of this read without all of its values. Whoever holds that page could not make the row, so the
    /// read begins again, at the place in the log before this transaction.
    async fn read_again_before(&mut self, i: usize, order: Order) -> Result<(), Ended> {
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

    /// What is pending, cut where the transaction of `order` begins.
    fn split(&mut self, order: Order) -> Result<(Vec<Batch>, Vec<Batch>), Ended> {
        let log = self.setup.log.clone();
        let batches = std::mem::take(&mut self.pending).finish(&log)?;
        let mut earlier = Vec::new();
        let mut current = Vec::new();
        for batch in batches {
            let of_earlier = batch.commits.partition_point(|commit| commit.order < order);
            let rows = of_earlier.checked_sub(1).map_or(0, |last| batch.commits[last].row_end);
            if rows > 0 {
                earlier.push(batch.slice(0..rows));
            }
            if rows < batch.len() {
                current.push(batch.slice(rows..batch.len()));
            }
        }
        Ok((earlier, current))
    }

    /// The transaction that is being read does not fit: what was before it goes out whole, and what there is of it as a part.
    async fn emit_part(&mut self, order: Order) -> Result<(), Ended> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let (earlier, current) = self.split(order)?;
        let mut memory = match self.memory.take() {
            Some(memory) => memory,
            None => self.setup.emitter.reserve(self.changeset_max(), None).await?,
        };
        self.pending_since = None;
        if !earlier.is_empty() {
            let to = position::log_position(Lsn(order.key()), self.setup.timeline);
            let delta = self.moved_to(to);
            let changeset = ChangeSet::rows(delta, earlier);
            let its = memory.split_off(changeset.size_bytes);
            self.setup.emitter.emit(changeset, its).await?;
        }
        if !current.is_empty() {
            let part = if self.is_inside { Part::Middle } else { Part::First };
            self.is_inside = true;
            self.setup
                .emitter
                .emit(ChangeSet::part(part, Delta::none(), current), memory)
                .await?;
        }
        Ok(())
    }

    /// Hands on what is pending, which ends with a whole transaction.
    async fn flush(&mut self) -> Result<(), Ended> {
        if self.pending.is_empty() {
            self.memory = None;
            return Ok(());
        }
        self.emit_pending(Part::Whole, true).await
    }

    async fn emit_pending(&mut self, part: Part, is_end: bool) -> Result<(), Ended> {
        let log = self.setup.log.clone();
        let batches = std::mem::take(&mut self.pending).finish(&log)?;
        self.pending_since = None;
        let delta = if is_end {
            let to = position::log_position(self.upto, self.setup.timeline);
            self.moved_to(to)
        } else {
            Delta::none()
        };
        let memory = match self.memory.take() {
            Some(memory) => memory,
            None => self.setup.emitter.reserve(0, None).await?,
        };
        self.setup
            .emitter
            .emit(ChangeSet::part(part, delta, batches), memory)
            .await
    }

    /// Moves the announced position.
    fn moved_to(&mut self, to: model::Position) -> Delta {
        let from = std::mem::replace(&mut self.announced, to.order);
        self.announced_at = Instant::now();
        self.progress_due = PROGRESS_EVERY;
        Delta::of(self.setup.log.clone(), Some(from), to)
    }

    async fn emit_progress(&mut self) -> Result<(), Ended> {
        let memory = self.setup.emitter.reserve(0, Some(&self.setup.shared.closing)).await?;
        let to = position::log_position(self.upto, self.setup.timeline);
        let delta = self.moved_to(to);
        self.setup
            .emitter
            .emit(ChangeSet::rows(delta, Vec::new()), memory)
            .await
    }

    async fn emit_control(&mut self, delta: Delta, control: Control) -> Result<(), Ended> {
        let memory = self.setup.emitter.reserve(0, None).await?;
        self.setup
            .emitter
            .emit(ChangeSet::control(delta, control), memory)
            .await
    }

    /// Tables that were emptied: a part of the transaction for each, between the rows before and after.
    async fn truncate(&mut self, relations: Vec<u32>) -> Result<(), Ended> {
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
    async fn relation(&mut self, told: pgoutput::Relation<'_>) -> Result<Option<Arc<Relation>>, Ended> {
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

    async fn type_of(&mut self, oid: u32, stream: &StreamId, column: &str) -> api::Result<Arc<PgType>> {
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

    fn planned(&self, stream: &StreamId) -> Option<&PlannedStream> {
        self.setup.plan.streams.iter().find(|planned| &planned.id == stream)
    }

    fn numbered(&self, request: Request) -> Request {
        let run = self.setup.shared.run_floor.fetch_add(1, Ordering::AcqRel) + 1;
        Request { run, ..request }
    }

    async fn begin_read(&mut self, stream: &StreamId, request: &Request) -> Result<(), Ended> {
        let Some(planned) = self.planned(stream).cloned() else {
            return Ok(());
        };
        let Some(table) = Table::find(&self.setup.client, stream.schema().unwrap_or_default(), stream.name()).await?
        else {
            tracing::warn!(
                code = "W0250",
                pipeline = self.setup.names.pipeline,
                %stream,
                "existing rows cannot be read: there is no such table now"
            );
            return Ok(());
        };
        let shape = self.shape_of(&planned, &table).await?;
        if request.destinations.is_none() {
            self.reads.retain(|read| &read.stream != stream);
        }
        let cut = if shape.order.is_some() {
            Cut::ByKey
        } else {
            Cut::OneWindow
        };
        let of = Incarnation {
            oid: table.oid,
            filenode: table.filenode,
        };
        let mut read = Read::new(stream.clone(), request.run, cut, of);
        if planned.snapshot == Snapshot::Skip && !request.empty_first {
            read = Read::resume(stream.clone(), request.run, cut, of, vec![Some((0, Bound::End))]);
        } else if table.row_count_estimated >= 0.0 {
            read.row_count_estimated = Some(table.row_count_estimated as u64);
        }
        read.destinations.clone_from(&request.destinations);
        self.reads.push(read);
        let control = Control::BeginRead {
            schema: Arc::clone(&shape.schema),
            run: request.run,
            destinations: request.destinations.clone(),
            empty_first: request.empty_first,
        };
        let to = position::log_position(self.upto, self.setup.timeline);
        let delta = self
            .moved_to(to)
            .with_stream(stream.clone(), StreamState::reading(request.run, cut.encode(of)));
        self.emit_control(delta, control).await?;
        self.publish_reads();
        Ok(())
    }

    async fn end_read(&mut self, i: usize) -> Result<(), Ended> {
        let read = self.reads.remove(i);
        tracing::info!(
            pipeline = self.setup.names.pipeline,
            stream = %read.stream,
            run = read.run,
            "existing rows are read"
        );
        self.publish_reads();
        let delta = Delta::none().with_stream(read.stream.clone(), StreamState::Live { run: read.run });
        let control = Control::EndRead {
            stream: read.stream,
            run: read.run,
        };
        self.emit_control(delta, control).await
    }

    /// The shape of a table as the catalogue describes it.
    pub(crate) async fn shape_of(&mut self, planned: &PlannedStream, table: &Table) -> api::Result<Arc<StreamShape>> {
        for column in &table.columns {
            self.type_of(column.type_oid, &planned.id, &column.name).await?;
        }
        let publication = Publication::find(&self.setup.client, &self.setup.names.publication).await?;
        let published = publication
            .as_ref()
            .and_then(|publication| publication.table(&planned.id));
        StreamShape::of_table(planned, table, published, &self.setup.types).map(Arc::new)
    }

    async fn begin_window(&mut self) -> Result<(), Ended> {
        let (_, barrier) = now_and_end_of_log(&self.setup.client).await?;
        self.window_count += 1;
        let slot = format!(
            "highwater_window_{}_{}",
            uuid::Uuid::new_v4().simple(),
            self.window_count
        );
        let opening = Window::open(self.setup.settings.clone(), slot, self.setup.spec.window_wait);
        self.window = WindowState::Opening {
            // What is read already may lie beyond, if the server's view of its end is a moment old.
            barrier: barrier.max(self.upto),
            opened: AbortOnDropHandle::new(tokio::spawn(opening)),
        };
        Ok(())
    }

    /// Reads pages from a window until all are read, or it has been open for long enough.
    async fn read_window(&mut self, window: Window) -> Result<(), Ended> {
        let reader = window.reader().await?;
        while let Some(i) = self.reads.iter().position(|read| read.next_page().is_some()) {
            if self.setup.shared.closing.is_cancelled() || window.opened_at.elapsed() >= self.setup.spec.window_max {
                break;
            }
            if !self.read_page(&window, &reader, i).await? {
                let read = self.reads.remove(i);
                tracing::warn!(
                    code = "W0254",
                    pipeline = self.setup.names.pipeline,
                    stream = %read.stream,
                    run = read.run,
                    "the table was truncated, rewritten or replaced while its rows are read: the read begins again"
                );
                self.restarts.push(read.into_request());
                self.publish_reads();
            }
        }
        Ok(())
    }

    pub(crate) fn window_order(window: &Window) -> Order {
        order_before(window.at)
    }

    pub(crate) fn read(&mut self, i: usize) -> &mut Read {
        &mut self.reads[i]
    }

    pub(crate) fn planned_of(&self, i: usize) -> Option<PlannedStream> {
        self.planned(&self.reads[i].stream).cloned()
    }

    pub(crate) fn page_bytes_max(&self) -> usize {
        self.changeset_max()
    }

    fn publish_reads(&self) {
        let progress = self.reads.iter().map(|read| ReadProgress {
            stream: read.stream.clone(),
            run: read.run,
            row_count: read.row_count,
            row_count_estimated: read.row_count_estimated,
        });
        self.setup.shared.set_reads(progress.collect());
    }

    fn bad(&self, why: &str) -> Ended {
        Error::BadChange {
            stream: self.setup.names.slot.clone(),
            why: format!("the server sent {why}"),
        }
        .into()
    }
}

/// The pages in which the keys of a change fall, for one read. A key that cannot be read falls in no page that was read.
pub(crate) fn pages_of(read: &Read, at: Option<&[KeyValue]>, before: Option<Option<&[KeyValue]>>) -> (Page, Page) {
    let page = |key: Option<&[KeyValue]>| key.map_or(Page::new(0, Page::UNREAD), |key| read.page_of(key));
    let at = page(at);
    (at, before.map_or(at, page))
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
