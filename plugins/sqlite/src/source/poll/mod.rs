//! Reading a database that may not be written to: rows whose cursor column has grown.
//!
//! What it sees: inserts and updates that raise the cursor column. What it does not see: deletes, updates that leave the
//! cursor alone, and rows that become visible with a cursor not above the largest one read so far. It is for columns that
//! only grow: an integer sequence, or `updated_at` as text.
//!
//! Each stream is a log of its own, `sqlite-poll:<file>/<stream>`; the order is the cursor's value: an integer, or the
//! microseconds of a time. Every row says where it stands, so a position is exact wherever it was taken, and a stream that
//! is read from an earlier one gives each destination what it lacks.
//!
//! The engine is the small sister of [`super::engine`]: the same views, pages and reads.

mod control;
mod cursor;
mod existing_rows;
mod opening;
mod piece;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use api::{Plan, ReadProgress};
use model::{ChangeSet, Control, Delta, StreamId, StreamState};
use rusqlite::Connection;

use self::cursor::Polled;
pub(super) use self::opening::open;
use self::opening::{identity, polled};
use self::piece::{Piece, read_piece};
use super::emitter::{Emitter, Stopped};
use super::engine::{begin_view, end_view};
use super::reads::Read;
use super::shape::StreamShape;
use super::shared::Shared;
use super::spec::SqliteSourceSpec;
use crate::capture::meta::schema_version;
use crate::error::{Error, Result};
use crate::source::reads::PageOut;

/// The value of `kept` that numbers reads.
const RUN: &str = "sqlite.run";

struct PollEngine {
    conn: Connection,
    path: PathBuf,
    plan: Plan,
    spec: Arc<SqliteSourceSpec>,
    streams: Vec<Polled>,
    reads: Vec<Read>,
    shared: Arc<Shared>,
    emitter: Emitter,
    schema_version: i64,
    polled_at: Option<Instant>,
}

enum Ended {
    Stopped,
    Failed(Error),
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

/// Requests and pages are looked for this often, whatever the time between two polls is.
const LOOK_EVERY: Duration = Duration::from_millis(20);

impl PollEngine {
    fn run(mut self) {
        loop {
            match self.step() {
                Ok(true) => {}
                Ok(false) => self.shared.wait(LOOK_EVERY.min(self.spec.poll_every)),
                Err(Ended::Stopped) => break,
                Err(Ended::Failed(error)) => {
                    self.emitter.fail(error.into());
                    break;
                }
            }
        }
        self.shared.set_ended();
    }

    /// Does one thing; whether there may be more to do at once.
    fn step(&mut self) -> Result<bool, Ended> {
        if self.shared.closing.is_cancelled() {
            return Err(Ended::Stopped);
        }
        if let Some(request) = self.shared.pop_request() {
            for stream in &request.streams {
                self.begin_read(stream, &request)?;
            }
            return Ok(true);
        }
        if let Some(i) = self.reads.iter().position(|read| read.next_page().is_none()) {
            let read = self.reads.remove(i);
            let delta = Delta::none().with_stream(read.stream.clone(), StreamState::Live { run: read.run });
            self.publish_reads();
            self.emit_control(
                delta,
                Control::EndRead {
                    stream: read.stream,
                    run: read.run,
                },
            )?;
            return Ok(true);
        }
        if let Some(i) = self.reads.iter().position(|read| read.copied.is_some()) {
            self.emit_copied_page(i)?;
            return Ok(true);
        }
        let is_due = self.polled_at.is_none_or(|at| at.elapsed() >= self.spec.poll_every);
        if self.reads.is_empty() && !is_due {
            return Ok(false);
        }
        self.step_in_a_view()
    }

    /// Reads what is new in all streams, and a page of one, as of one moment; whether there is more.
    fn step_in_a_view(&mut self) -> Result<bool, Ended> {
        let bytes_max = self.bytes_max();
        let page_max = bytes_max - bytes_max / 4;
        let mut memory = self.emitter.reserve(bytes_max, Some(&self.shared.closing))?;
        begin_view(&self.conn)?;
        let seen = self.look(bytes_max / 4, page_max);
        end_view(&self.conn);
        let Seen { pieces, page, is_all } = seen?;
        let page_memory = memory.split_off(page_max);
        let mut delta = Delta::none();
        let mut batches = Vec::new();
        for piece in pieces {
            let stream = &mut self.streams[piece.stream];
            delta.moves.push(stream.move_to(&piece.end));
            stream.at = Some(piece.end);
            batches.push(piece.rows.finish(&stream.partition)?);
        }
        if !batches.is_empty() {
            self.emitter.emit(ChangeSet::rows(delta, batches), memory)?;
        }
        if let Some(page) = page {
            self.emit_page(page, page_memory)?;
        }
        if is_all {
            self.polled_at = Some(Instant::now());
        }
        Ok(!is_all || !self.reads.is_empty())
    }

    /// Everything that is done while a view is open.
    fn look(&mut self, log_max: usize, page_max: usize) -> Result<Seen> {
        self.check_schema()?;
        let mut seen = Seen {
            pieces: Vec::new(),
            page: None,
            is_all: true,
        };
        let mut bytes = 0;
        for i in 0..self.streams.len() {
            if bytes >= log_max {
                seen.is_all = false;
                break;
            }
            let Some(piece) = read_piece(&self.conn, i, &self.streams[i], &self.reads, log_max - bytes)? else {
                continue;
            };
            bytes += piece.bytes;
            seen.is_all &= piece.is_all;
            if piece.rows.len() > 0 {
                seen.pieces.push(piece);
            }
        }
        if seen.is_all {
            seen.page = self.page_in_view(page_max)?;
        }
        Ok(seen)
    }

    fn emit_control(&self, delta: Delta, control: Control) -> Result<(), Ended> {
        let memory = self.emitter.reserve(0, None)?;
        self.emitter.emit(ChangeSet::control(delta, control), memory)?;
        Ok(())
    }

    /// A table whose shape changed goes on with its new one.
    fn check_schema(&mut self) -> Result<()> {
        let version = schema_version(&self.conn)?;
        if version == self.schema_version {
            return Ok(());
        }
        let identity = identity(&self.path);
        for (i, planned) in self.plan.streams.iter().enumerate() {
            let now = polled(&self.conn, &self.path, &self.spec, planned, &identity)?;
            let at = self.streams[i].at.take();
            self.streams[i] = Polled {
                at,
                is_announced: self.streams[i].is_announced,
                ..now
            };
        }
        self.schema_version = version;
        Ok(())
    }

    fn shape_of(&self, id: &StreamId) -> Option<Arc<StreamShape>> {
        self.streams
            .iter()
            .map(|stream| &stream.shape)
            .find(|shape| shape.stream() == id)
            .cloned()
    }

    fn bytes_max(&self) -> usize {
        self.plan.changeset_bytes_max.min(self.emitter.limit_bytes()).max(4)
    }

    fn publish_reads(&self) {
        let progress = self.reads.iter().map(|read| ReadProgress {
            stream: read.stream.clone(),
            run: read.run,
            row_count: read.row_count,
            row_count_estimated: read.row_count_estimated,
        });
        self.shared.set_reads(progress.collect());
    }
}

/// What one view showed.
struct Seen {
    pieces: Vec<Piece>,
    page: Option<PageOut>,
    /// Whether nothing more was there.
    is_all: bool,
}
