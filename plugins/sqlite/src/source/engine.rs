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

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use api::{Plan, PlannedStream, ReadProgress, Reservation, Snapshot};
use model::{
    Batch, ChangeSet, Control, Delta, DestinationId, Order, Part, Partition, StreamId, StreamState, Timestamp,
};
use rusqlite::Connection;

use super::commit_watch::CommitWatch;
use super::emitter::{Emitter, Stopped};
use super::log::{Chunk, LogReader, Wanted};
use super::pages::{self, PageSize};
use super::position::{self, Bound, Proof};
use super::reads::{Cut, Read, Request};
use super::shape::StreamShape;
use super::shared::Shared;
use crate::capture::install::{self, Captured, Occasion, Verdict};
use crate::capture::marks::{self, Mark};
use crate::capture::names::Names;
use crate::connection::FileIdentity;
use crate::error::{Error, Result, is_busy, patiently, sql};

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

    fn step_in_a_view(&mut self) -> Result<Step, Ended> {
        let Setup {
            plan, shared, emitter, ..
        } = &self.setup;
        let changeset_max = plan.changeset_bytes_max.min(emitter.limit_bytes()).max(1);
        // While a read goes on, one reservation serves a piece of log and a page.
        let (log_max, page_max) = match self.reads.is_empty() {
            true => (changeset_max, 0),
            false => (changeset_max / 4, changeset_max - changeset_max / 4),
        };
        // Inside an interval closing waits for its end.
        let also = (!self.is_inside).then_some(&shared.closing);
        let mut memory = emitter.reserve(changeset_max, also)?;

        begin_view(&self.setup.conn)?;
        let seen = self.look(log_max, page_max);
        end_view(&self.setup.conn);
        let Some(Seen { head, chunk, page }) = seen? else {
            drop(memory);
            // What is done about it is a commit of our own, which the watch does not see.
            self.has_more = true;
            return match self.put_right() {
                // A writer of the user's holds the lock. Nothing is read until this is done.
                Err(Error::Sql { source, .. }) if is_busy(&source) => Ok(Step::Wait),
                done => done.map(|()| Step::Again).map_err(Ended::from),
            };
        };
        self.verified = head;
        self.has_more = chunk.upto < head;
        let did_read = chunk.upto > self.cursor || page.is_some();
        let page_memory = memory.split_off(page_max);
        self.emit_chunk(chunk, memory)?;
        if let Some(page) = page {
            self.emit_page(page, head, page_memory)?;
        }
        Ok(if did_read { Step::Again } else { Step::Wait })
    }

    /// Everything that is done while a view is open; `None` if capture is not as it was.
    fn look(&mut self, log_max: usize, page_max: usize) -> Result<Option<Seen>> {
        if !self.is_as_it_was()? {
            return Ok(None);
        }
        let head = marks::head(&self.setup.conn, &self.setup.names)?;
        if head < self.cursor {
            return Err(self.gone("the end of the change table"));
        }
        let upto = self.end_of_interval(head);
        let wanted = Wanted {
            from: self.cursor,
            upto,
            bytes_max: log_max,
            known_upto: self.known_upto,
        };
        let chunk = self.log.read(&self.setup.conn, &self.reads, wanted)?;
        let reaches_head = chunk.is_consistent && chunk.upto == head;
        let page = if reaches_head && page_max > 0 {
            self.page_in_view(page_max)?
        } else {
            None
        };
        Ok(Some(Seen { head, chunk, page }))
    }

    fn is_as_it_was(&mut self) -> Result<bool> {
        if install::schema_version(&self.setup.conn)? != self.setup.captured.schema_version {
            return Ok(false);
        }
        if self.triggers_checked_at.elapsed() >= TRIGGER_CHECK_EVERY {
            self.triggers_checked_at = Instant::now();
            return install::triggers_are_in_place(&self.setup.conn, &self.setup.captured);
        }
        Ok(true)
    }

    /// Fixes where the interval ends when it begins; a stream that must be read again ends it earlier.
    fn end_of_interval(&mut self, head: i64) -> i64 {
        let next_gap = self
            .rereads
            .iter()
            .map(|reread| reread.at - 1)
            .min()
            .unwrap_or(i64::MAX);
        *self.interval_end.get_or_insert(head.min(next_gap.max(self.cursor)))
    }

    fn emit_chunk(&mut self, chunk: Chunk, memory: Reservation) -> Result<(), Ended> {
        let Chunk {
            batches,
            upto,
            is_consistent,
            mark,
        } = chunk;
        self.cursor = upto;
        self.mark = mark.unwrap_or(self.mark);
        if is_consistent && self.interval_end.is_some_and(|end| upto >= end) {
            self.interval_end = None;
        }
        if batches.is_empty() && (!self.is_inside || !is_consistent) {
            return Ok(());
        }
        let batches = batches
            .into_iter()
            .map(|batch| batch.finish(&self.partition))
            .collect::<Result<Vec<Batch>>>()?;
        let part = match (self.is_inside, is_consistent) {
            (false, true) => Part::Whole,
            (false, false) => Part::First,
            (true, false) => Part::Middle,
            (true, true) => Part::Last,
        };
        let delta = if is_consistent { self.announce()? } else { Delta::none() };
        self.is_inside = !is_consistent;
        self.setup.emitter.emit(ChangeSet::part(part, delta, batches), memory)?;
        Ok(())
    }

    /// Moves the announced position to the cursor.
    fn announce(&mut self) -> Result<Delta> {
        self.ensure_issued()?;
        let fingerprint = marks::fingerprint(&self.setup.conn, &self.setup.names, self.cursor)?.unwrap_or(0);
        let proof = Proof {
            mark: self.mark,
            fingerprint,
        };
        let to = position::log_position(self.incarnation, self.cursor, proof);
        let from = std::mem::replace(&mut self.announced_order, to.order);
        self.announced = self.cursor;
        self.announced_at = Instant::now();
        self.setup.shared.announced.store(self.announced, Ordering::Release);
        Ok(Delta::of(self.partition.clone(), Some(from), to))
    }

    fn announce_progress(&mut self) -> Result<(), Ended> {
        let memory = self.setup.emitter.reserve(0, Some(&self.setup.shared.closing))?;
        let delta = self.announce()?;
        self.setup.emitter.emit(ChangeSet::rows(delta, Vec::new()), memory)?;
        Ok(())
    }

    /// A huge transaction can carry the log beyond what the last mark allowed to hand out.
    fn ensure_issued(&mut self) -> Result<()> {
        while self.cursor > self.issued {
            let expected = self.setup.captured.schema_version;
            let Setup {
                conn, names, shared, ..
            } = &mut self.setup;
            if patiently(&shared.stop, || marks::commit(conn, names, expected))?.is_none() {
                self.put_right()?;
            }
            self.issued = marks::issued(&self.setup.conn, &self.setup.names)?;
        }
        Ok(())
    }

    fn page_in_view(&mut self, bytes_max: usize) -> Result<Option<PageOut>> {
        let size = PageSize {
            rows_max: self.setup.page_rows,
            bytes_max,
        };
        let Some(i) = self
            .reads
            .iter()
            .position(|read| read.next_page().is_some() && read.copied.is_none())
        else {
            return Ok(None);
        };
        let Some(shape) = self.current_shape(&self.reads[i].stream) else {
            return Ok(None);
        };
        let read = &mut self.reads[i];
        let Some(next) = read.next_page() else {
            return Ok(None);
        };
        if read.cut == Cut::ByKey {
            let page = pages::read_page(&self.setup.conn, &shape, &next, size)?;
            return Ok(Some(PageOut {
                read: i,
                number: next.number,
                shape,
                rows: page.rows,
                end: page.end,
            }));
        }
        match pages::read_whole(&self.setup.conn, &shape, bytes_max)? {
            Some(rows) => Ok(Some(PageOut {
                read: i,
                number: next.number,
                shape,
                rows,
                end: Bound::End,
            })),
            None => {
                pages::copy_whole(&self.setup.conn, pages::SCRATCH, &shape)?;
                self.reads[i].copied = Some(0);
                Ok(None)
            }
        }
    }

    fn emit_copied_page(&mut self, i: usize) -> Result<(), Ended> {
        let bytes_max = self
            .setup
            .plan
            .changeset_bytes_max
            .min(self.setup.emitter.limit_bytes())
            .max(1);
        let memory = self
            .setup
            .emitter
            .reserve(bytes_max, Some(&self.setup.shared.closing))?;
        let size = PageSize {
            rows_max: self.setup.page_rows,
            bytes_max,
        };
        let read = &self.reads[i];
        let (after, number) = (read.copied.unwrap_or(0), read.next_page().map_or(1, |next| next.number));
        let shape = self
            .current_shape(&read.stream)
            .ok_or_else(|| self.gone("the table that is being read"))?;
        let (rows, last, is_all) = pages::read_copy(&self.setup.conn, pages::SCRATCH, &shape, after, size)?;
        self.reads[i].copied = (!is_all).then_some(last);
        if is_all {
            pages::drop_copy(&self.setup.conn, pages::SCRATCH)?;
        }
        // Pages of a copy have no bounds in key order; they are told apart by number alone, and never read again.
        let end = if is_all {
            Bound::End
        } else {
            Bound::Key(super::key::Key(Vec::new()))
        };
        self.emit_page(
            PageOut {
                read: i,
                number,
                shape,
                rows,
                end,
            },
            self.cursor,
            memory,
        )
    }

    fn emit_page(&mut self, page: PageOut, window: i64, memory: Reservation) -> Result<(), Ended> {
        let read = &mut self.reads[page.read];
        let partition = read.partition();
        let from = (page.number > 1).then(|| model::Page::new(0, page.number - 1).order());
        let delta = Delta::of(partition.clone(), from, page.end.position(page.number));
        let rows = page.rows.num_rows();
        read.page_is_out(page.number, page.end, rows as u64);
        let batches = if rows == 0 {
            Vec::new()
        } else {
            let window = position::order(self.incarnation, window);
            vec![Batch::of_page(
                partition,
                page.number,
                Arc::clone(&page.shape.schema),
                page.rows,
                window,
                now(),
            )]
        };
        self.setup.emitter.emit(ChangeSet::rows(delta, batches), memory)?;
        self.publish_reads();
        Ok(())
    }

    /// Begins a new read where capture was made anew, before any position from there on is handed out.
    fn read_again(&mut self, reread: Reread) -> Result<(), Ended> {
        if reread.at == self.cursor + 1 {
            self.cursor = reread.at;
            self.mark = marks::at(&self.setup.conn, &self.setup.names, reread.at)?.unwrap_or(self.mark);
        }
        let floor = self.setup.shared.run_floor.load(Ordering::Acquire);
        let Setup {
            conn, names, shared, ..
        } = &mut self.setup;
        let run = patiently(&shared.stop, || marks::take_run(conn, names, floor))?;
        let request = Request {
            streams: vec![reread.stream.clone()],
            destinations: reread.destinations,
            empty_first: true,
            run,
        };
        self.begin_read(&reread.stream, &request)
    }

    fn begin_read(&mut self, stream: &StreamId, request: &Request) -> Result<(), Ended> {
        let planned = self
            .setup
            .plan
            .streams
            .iter()
            .find(|planned| &planned.id == stream)
            .cloned();
        let (Some(planned), Some(shape)) = (planned, self.current_shape(stream)) else {
            tracing::warn!(
                code = "W0212",
                pipeline = self.setup.names.pipeline(),
                %stream,
                "existing rows cannot be read: there is no such table now"
            );
            return Ok(());
        };
        if request.destinations.is_none() {
            self.reads.retain(|read| &read.stream != stream);
        }
        let cut = if shape.order.is_some() {
            Cut::ByKey
        } else {
            Cut::OneWindow
        };
        let mut read = Read::new(stream.clone(), request.run, cut);
        if planned.snapshot == Snapshot::Skip && !request.empty_first {
            read = Read::resume(stream.clone(), request.run, cut, vec![Some((0, Bound::End))]);
        } else {
            read.row_count_estimated = pages::estimate(&self.setup.conn, &shape)?;
        }
        self.setup.shared.run_floor.fetch_max(request.run, Ordering::AcqRel);
        self.reads.push(read);
        let control = Control::BeginRead {
            schema: Arc::clone(&shape.schema),
            run: request.run,
            destinations: request.destinations.clone(),
            empty_first: request.empty_first,
        };
        let delta = self
            .announce()?
            .with_stream(stream.clone(), StreamState::reading(request.run, cut.encode()));
        self.emit_control(delta, control)?;
        self.publish_reads();
        Ok(())
    }

    fn emit_control(&mut self, delta: Delta, control: Control) -> Result<(), Ended> {
        let memory = self.setup.emitter.reserve(0, None)?;
        self.setup.emitter.emit(ChangeSet::control(delta, control), memory)?;
        Ok(())
    }

    /// Compares capture with what should be there, makes it so, and notes what must be read again.
    fn put_right(&mut self) -> Result<()> {
        let Setup {
            conn,
            names,
            plan,
            captured,
            ..
        } = &mut self.setup;
        let history = captured.history.clone();
        let streams: Vec<String> = plan
            .streams
            .iter()
            .map(|planned| planned.id.name().to_owned())
            .collect();
        *captured = install::ensure(
            conn,
            names,
            &streams,
            Occasion::Reading {
                verified: self.verified,
            },
        )?;
        if captured.history != history {
            return Err(self.gone("the change table"));
        }
        self.issued = marks::issued(&self.setup.conn, &self.setup.names)?;
        self.triggers_checked_at = Instant::now();
        self.setup
            .shared
            .schema_version
            .store(self.setup.captured.schema_version, Ordering::Release);
        self.log = log_reader(&self.setup, self.is_utf8, self.incarnation)?;
        for (stream, verdict) in self.setup.captured.verdicts.clone() {
            self.take_verdict(&stream, &verdict);
        }
        Ok(())
    }

    fn take_verdict(&mut self, stream: &str, verdict: &Verdict) {
        let pipeline = self.setup.names.pipeline();
        let planned = self
            .setup
            .plan
            .streams
            .iter()
            .find(|planned| planned.id.name() == stream);
        let Some(PlannedStream { id, .. }) = planned.cloned() else {
            return;
        };
        let since = self.setup.captured.current(stream).map(|layout| layout.since);
        match verdict {
            Verdict::Intact => return,
            Verdict::Evolved {
                added,
                dropped,
                refreshed,
            } => {
                tracing::info!(
                    code = "N0213",
                    pipeline,
                    stream,
                    ?added,
                    ?dropped,
                    refreshed,
                    "the table's shape changed"
                );
                return;
            }
            Verdict::Gone => {
                tracing::warn!(
                    code = "W0212",
                    pipeline,
                    stream,
                    "the table is gone; destinations keep its rows"
                );
            }
            Verdict::Installed => {
                tracing::warn!(code = "W0210", pipeline, stream, "the table is back; it is read again");
            }
            Verdict::Reread(reason) => {
                tracing::warn!(
                    code = "W0210",
                    pipeline,
                    stream,
                    reason = reason.describe(),
                    "the stream is read again"
                );
            }
        }
        self.reads.retain(|read| read.stream != id);
        self.rereads.retain(|reread| reread.stream != id);
        if let Some(at) = since {
            self.rereads.push(Reread {
                stream: id,
                at,
                destinations: None,
            });
        }
        self.publish_reads();
    }

    fn current_shape(&self, stream: &StreamId) -> Option<Arc<StreamShape>> {
        let layout = self.setup.captured.current(stream.name())?;
        self.log.shape(layout.number).cloned()
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

struct PageOut {
    read: usize,
    number: u32,
    shape: Arc<StreamShape>,
    rows: arrow::array::RecordBatch,
    end: Bound,
}

/// What one view showed.
struct Seen {
    head: i64,
    chunk: Chunk,
    page: Option<PageOut>,
}

/// Opens a read transaction: everything until [`end_view`] is seen as of one moment.
pub(crate) fn begin_view(conn: &Connection) -> Result<()> {
    conn.execute_batch("BEGIN").map_err(sql("open a read view"))
}

/// Ends it. By COMMIT, because a copy into the scratch database belongs to it.
pub(crate) fn end_view(conn: &Connection) {
    if conn.execute_batch("COMMIT").is_err() {
        // The transaction is over already, or as good as over: SQLite rolled it back when the statement failed whose error
        // is on its way.
        let _ = conn.execute_batch("ROLLBACK");
    }
}

/// The shapes of all layouts that the plan wants.
fn log_reader(setup: &Setup, is_utf8: bool, incarnation: u32) -> Result<LogReader> {
    let mut shapes = HashMap::new();
    let mut width = 1;
    for layout in setup.captured.layouts.values() {
        width = width.max(layout.table.columns.len());
        let planned = setup
            .plan
            .streams
            .iter()
            .find(|planned| planned.id.name().eq_ignore_ascii_case(&layout.stream));
        if let Some(planned) = planned {
            let shape = StreamShape::new(layout.table.clone(), planned, is_utf8)?;
            shapes.insert(layout.number, Arc::new(shape));
        }
    }
    Ok(LogReader::new(&setup.names, shapes, width, incarnation))
}

pub(crate) fn now() -> Timestamp {
    let since = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}
