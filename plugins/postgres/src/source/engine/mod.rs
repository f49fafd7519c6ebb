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

mod existing_rows;
mod outgoing;
mod transactions;
mod verification;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use api::{Plan, Reservation};
use model::{Order, Partition, StreamId, Timestamp};

use self::existing_rows::WindowState;
pub(crate) use self::verification::ViewRequest;
use self::verification::Viewing;
use super::changes::{Pending, Relation};
use super::emitter::{Emitter, Ended};
use super::error::Error;
use super::messages::Messages;
use super::position;
use super::reads::{Read, Request};
use super::shape::KeyFacts;
use super::shared::Shared;
use super::spec::{Names, PostgresSourceSpec};
use super::streamed::Streamed;
use crate::connect::{Connection, Settings};
use crate::replication::pgoutput;
use crate::replication::{Frame, Lsn, Marks, Stream};
use crate::types::TypeCatalogue;

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
/// How long to wait when little of a transaction has arrived: a server sends its rows one by one, and to be woken for each would
/// cost more than to decode it. Nothing of it can go out before its end anyway.
const BREATH: Duration = Duration::from_millis(1);
/// What is not little. More would fill the network's buffers, and keep the server waiting.
const BREATH_BYTES: usize = 32 << 10;
/// How long the server may take to answer the end of the stream.
const STOP_WITHIN: Duration = Duration::from_secs(2);
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
    pub(crate) messages: Option<Messages>,
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
    viewing: Viewing,
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
            viewing: Viewing::None,
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
        if self.step_verification().await? {
            return Ok(true);
        }
        if self.reads.is_empty() {
            self.window = WindowState::None;
            return Ok(false);
        }
        self.step_window().await
    }

    /// Up to where the log may be read now: commit records from there on wait.
    fn barrier(&self) -> Option<Lsn> {
        let of_window = match &self.window {
            WindowState::None => None,
            WindowState::Opening { barrier, .. } => Some(*barrier),
            WindowState::Open(window) => Some(window.at),
        };
        of_window.into_iter().chain(self.viewing.barrier()).min()
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
                self.receive(&data.bytes, data.sent_at).await?;
                self.take_more(data.bytes.len()).await?;
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
    async fn take_more(&mut self, mut taken_bytes: usize) -> Result<(), Ended> {
        while self.transaction.is_some() {
            match self.setup.stream.try_next().map_err(api::Error::from)? {
                Some(Frame::Data(data)) => {
                    taken_bytes += data.bytes.len();
                    self.receive(&data.bytes, data.sent_at).await?;
                }
                // Inside a transaction it says nothing that could be used.
                Some(Frame::Keepalive(_)) => {}
                None if taken_bytes < BREATH_BYTES => {
                    tokio::time::sleep(BREATH).await;
                    break;
                }
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
        let is_waited_for = shared.asked().is_some()
            || !matches!(self.window, WindowState::None)
            || !matches!(self.viewing, Viewing::None);
        let patience = if is_waited_for { ASK_EVERY } else { STATUS_EVERY };
        let is_held = self.beyond.is_some();
        let is_between = self.transaction.is_none();
        let opened = async {
            match &mut self.window {
                WindowState::Opening { opened, .. } => opened.await,
                _ => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = shared.stop.cancelled() => Err(Ended::Stopped),
            () = self.setup.emitter.closed() => Err(Ended::Stopped),
            () = shared.closing.cancelled(), if is_between => Ok(None),
            result = opened, if is_between => {
                self.window_opened(result)?;
                Ok(None)
            }
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
        if self.setup.shared.asked().is_some() || is_short_of_window || self.viewing.is_short_of(self.upto) {
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

    fn changeset_max(&self) -> usize {
        self.setup
            .plan
            .changeset_bytes_max
            .min(self.setup.emitter.limit_bytes())
            .max(1)
    }

    fn bad(&self, why: &str) -> Ended {
        Error::BadChange {
            stream: self.setup.names.slot.clone(),
            why: format!("the server sent {why}"),
        }
        .into()
    }
}
