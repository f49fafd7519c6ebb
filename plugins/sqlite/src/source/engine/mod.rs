//! The thread that reads a captured database.
//!
//! A loop of steps. Each does one thing, and holds a view no longer than it takes to build one changeset of log and one
//! page, never while it waits for memory, for the runtime, or for a lock.
//!
//! ```text
//! between two intervals: a stream that must be read again -> BeginRead      (exactly where capture was made anew)
//!                        a request to read streams        -> BeginRead
//!                        a read all of whose pages are out -> EndRead
//! then, in one view:     is the schema as it was?  no -> capture is put right, and what was missed is read again
//!                        the log up to the view's end S    -> Whole, or First, Middle, ..., Last
//!                        if that reaches S, and streams are being read: the next page, exact as of S
//! ```
//!
//! Invariants:
//! - `announced <= cursor`; every position handed out is a consistent point: the end of a view, or a mark;
//! - nothing is handed out beyond `issued`, so the next process knows up to where somebody may stand;
//! - a page goes out directly after the log up to its view's end, with nothing in between.

mod existing_rows;
mod outgoing;
mod putting_right;
mod verification;
mod view;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use api::{Plan, ReadProgress};
use model::{Control, Delta, DestinationId, Order, Partition, StreamId, StreamState, Timestamp};
use rusqlite::Connection;

use self::putting_right::log_reader;
use self::verification::PendingView;
pub(crate) use self::verification::ViewRequest;
pub(crate) use self::view::{begin_view, end_view};
use super::commit_watch::CommitWatch;
use super::emitter::{Emitter, Stopped};
use super::log::LogReader;
use super::position;
use super::reads::Read;
use super::shared::Shared;
use crate::capture::install::Captured;
use crate::capture::marks::{self, Mark};
use crate::capture::names::Names;
use crate::connection::FileIdentity;
use crate::error::{Error, Result, sql};

/// How often the path is compared with the file that was opened.
const FILE_CHECK_EVERY: Duration = Duration::from_secs(1);

/// How often the triggers' text is compared: what `writable_schema` does to it moves no `schema_version`.
const TRIGGER_CHECK_EVERY: Duration = Duration::from_secs(10);

/// How often progress without rows is handed on. More often, and a source and a destination in one database would feed
/// each other for ever.
const PROGRESS_EVERY: Duration = Duration::from_secs(10);

/// A stream that must be read again, because capture had a gap that ended at `at`.
#[derive(Debug, Clone)]
pub(crate) struct Reread {
    pub(crate) stream: StreamId,
    /// The `seq` of the mark from which on nothing is missed.
    pub(crate) at: i64,
    /// For whom; `None` for everyone.
    pub(crate) destinations: Option<Vec<DestinationId>>,
}

/// Where an engine starts.
pub(crate) struct Start {
    /// The order of the position to go on from, which may be of an earlier incarnation.
    pub(crate) announced_order: Order,
    pub(crate) announced: i64,
    /// The newest mark at or below `announced`.
    pub(crate) mark: Mark,
    pub(crate) incarnation: u32,
    /// Up to here somebody may stand at any `seq`.
    pub(crate) known_upto: i64,
    pub(crate) reads: Vec<Read>,
    pub(crate) rereads: Vec<Reread>,
}

/// What an engine works with.
pub(crate) struct Setup {
    pub(crate) conn: Connection,
    pub(crate) path: PathBuf,
    pub(crate) file: Option<FileIdentity>,
    pub(crate) names: Names,
    pub(crate) plan: Plan,
    pub(crate) page_rows: usize,
    pub(crate) captured: Captured,
    pub(crate) shared: Arc<Shared>,
    pub(crate) emitter: Emitter,
}

pub(crate) struct Engine {
    setup: Setup,
    partition: Partition,
    log: LogReader,
    is_utf8: bool,
    commits: CommitWatch,
    incarnation: u32,
    /// Positions are handed out up to here: as the last one's order, and its `seq`.
    announced_order: Order,
    announced: i64,
    announced_at: Instant,
    /// The log is read up to here.
    cursor: i64,
    /// The newest mark at or below `cursor`.
    mark: Mark,
    /// Where the interval that is being read ends.
    interval_end: Option<i64>,
    /// Whether parts of the interval are out.
    is_inside: bool,
    /// Whether the log is known to go on after `cursor`.
    has_more: bool,
    /// Up to here capture was seen to be in order.
    verified: i64,
    known_upto: i64,
    issued: i64,
    reads: Vec<Read>,
    rereads: Vec<Reread>,
    /// A view whose place the log is read up to.
    pending_view: Option<PendingView>,
    file_checked_at: Instant,
    triggers_checked_at: Instant,
}

enum Step {
    /// There may be more to do at once.
    Again,
    Wait,
    End,
}

impl From<Stopped> for Ended {
    fn from(_: Stopped) -> Self {
        Ended::Stopped
    }
}

impl From<Error> for Ended {
    fn from(error: Error) -> Self {
        Ended::Failed(error)
    }
}

/// Why a step did not finish.
enum Ended {
    Stopped,
    Failed(Error),
}

impl Engine {
    pub(crate) fn new(setup: Setup, start: Start) -> Result<Self> {
        let encoding: String = setup
            .conn
            .query_row("PRAGMA main.encoding", [], |row| row.get(0))
            .map_err(sql("read the text encoding"))?;
        let is_utf8 = encoding.eq_ignore_ascii_case("UTF-8");
        let log = log_reader(&setup, is_utf8, start.incarnation)?;
        let issued = marks::issued(&setup.conn, &setup.names)?;
        setup
            .shared
            .schema_version
            .store(setup.captured.schema_version, Ordering::Release);
        setup.shared.announced.store(start.announced, Ordering::Release);
        Ok(Engine {
            partition: position::log_partition(&setup.captured.history),
            log,
            is_utf8,
            commits: CommitWatch::new(),
            incarnation: start.incarnation,
            announced_order: start.announced_order,
            announced: start.announced,
            announced_at: Instant::now(),
            cursor: start.announced,
            mark: start.mark,
            interval_end: None,
            is_inside: false,
            has_more: true,
            verified: 0,
            known_upto: start.known_upto,
            issued,
            reads: start.reads,
            rereads: start.rereads,
            pending_view: None,
            file_checked_at: Instant::now(),
            triggers_checked_at: Instant::now(),
            setup,
        })
    }

    /// Reads until the source is closed, or fails.
    pub(crate) fn run(mut self) {
        self.publish_reads();
        loop {
            match self.step() {
                Ok(Step::Again) => {}
                Ok(Step::Wait) => self.setup.shared.wait(self.commits.pause()),
                Ok(Step::End) | Err(Ended::Stopped) => break,
                Err(Ended::Failed(error)) => {
                    self.setup.emitter.fail(error.into());
                    break;
                }
            }
        }
        self.setup.shared.set_ended();
    }

    fn step(&mut self) -> Result<Step, Ended> {
        if self.setup.shared.stop.is_cancelled() {
            return Ok(Step::End);
        }
        if let Some(failure) = self.setup.shared.take_failure() {
            return Err(failure.into());
        }
        self.check_file()?;
        if !self.is_inside {
            if self.setup.shared.closing.is_cancelled() {
                return Ok(Step::End);
            }
            if self.step_between()? {
                return Ok(Step::Again);
            }
        }
        let has_commit = self.commits.has_commit(&self.setup.conn)?;
        let is_check_due = self.triggers_checked_at.elapsed() >= TRIGGER_CHECK_EVERY;
        if has_commit || self.has_more || is_check_due || !self.reads.is_empty() {
            return self.step_in_a_view();
        }
        if self.cursor > self.announced && self.announced_at.elapsed() >= PROGRESS_EVERY {
            self.announce_progress()?;
        }
        Ok(Step::Wait)
    }

    /// What is done only between two intervals; whether something was.
    fn step_between(&mut self) -> Result<bool, Ended> {
        if let Some(i) = self.rereads.iter().position(|reread| reread.at <= self.cursor + 1) {
            let reread = self.rereads.remove(i);
            self.read_again(reread)?;
            return Ok(true);
        }
        if self.step_verification()? {
            return Ok(true);
        }
        if let Some(request) = self.setup.shared.pop_request() {
            for stream in &request.streams {
                self.begin_read(stream, &request)?;
            }
            return Ok(true);
        }
        if let Some(i) = self.reads.iter().position(|read| read.copied.is_some()) {
            self.emit_copied_page(i)?;
            return Ok(true);
        }
        if let Some(i) = self.reads.iter().position(|read| read.next_page().is_none()) {
            let read = self.reads.remove(i);
            let control = Control::EndRead {
                stream: read.stream.clone(),
                run: read.run,
            };
            let delta = Delta::none().with_stream(read.stream.clone(), StreamState::Live { run: read.run });
            tracing::info!(
                pipeline = self.setup.names.pipeline(),
                stream = %read.stream,
                run = read.run,
                rows = read.row_count,
                "existing rows are read"
            );
            self.publish_reads();
            self.emit_control(delta, control)?;
            return Ok(true);
        }
        Ok(false)
    }

    fn check_file(&mut self) -> Result<()> {
        if self.file_checked_at.elapsed() >= FILE_CHECK_EVERY {
            self.file_checked_at = Instant::now();
            if FileIdentity::of(&self.setup.path) != self.setup.file {
                return Err(Error::Replaced {
                    path: self.setup.path.clone(),
                });
            }
        }
        Ok(())
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

    fn gone(&self, what: &'static str) -> Error {
        Error::CaptureGone {
            path: self.setup.path.clone(),
            pipeline: self.setup.names.pipeline().to_owned(),
            what,
        }
    }
}

pub(crate) fn now() -> Timestamp {
    let since = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}
