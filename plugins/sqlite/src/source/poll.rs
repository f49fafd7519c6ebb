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

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use api::{
    Context, Head, HeadMark, Held, LagUnit, Opened, Plan, ReadExisting, ReadProgress, Retry, Snapshot, SourceControl,
    Verdict,
};
use async_trait::async_trait;
use bytes::Bytes;
use model::{
    Batch, ChangeSet, Checkpoint, Control, Delta, Move, Order, Page, Partition, Position, StreamId, StreamState,
    Timestamp,
};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, Row, ToSql};

use super::columns::parse_timestamp;
use super::emitter::{Emitter, Flow, Stopped};
use super::engine::{begin_view, end_view, now};
use super::key::{Key, KeyValue};
use super::pages::{self, PageSize, TEMPORARY};
use super::position::Bound;
use super::reads::{Cut, Read, Request};
use super::rows::ChangeBatch;
use super::shape::{StreamShape, check_plan};
use super::shared::Shared;
use super::spec::SqliteSourceSpec;
use crate::capture::install::schema_version;
use crate::connection::Access;
use crate::error::{Error, Result, sql};
use crate::sql_text::quoted;

/// The value of `kept` that numbers reads.
const RUN: &str = "sqlite.run";

/// One stream and how far its cursor is.
struct Polled {
    shape: Arc<StreamShape>,
    /// Index of the cursor among the table's columns.
    cursor: usize,
    partition: Partition,
    /// Rows up to here are out; `None` before the stream was begun for anybody.
    at: Option<Cursor>,
    /// Whether this process has said where its log stands. What is said first begins nowhere, so that destinations which
    /// have never seen the log begin there too.
    is_announced: bool,
}

impl Polled {
    /// The log's move to `to`, from where it was said to stand.
    fn move_to(&mut self, to: &Cursor) -> Move {
        let from = self.at.as_ref().filter(|_| self.is_announced).map(|at| at.order);
        self.is_announced = true;
        Move {
            partition: self.partition.clone(),
            from,
            to: to.position(),
        }
    }
}

/// A value of a cursor column: as SQLite has it, and as an order.
#[derive(Debug, Clone)]
struct Cursor {
    value: KeyValue,
    order: Order,
}

impl Cursor {
    fn of(value: ValueRef<'_>) -> Option<Self> {
        let axis = match value {
            ValueRef::Integer(v) => v,
            ValueRef::Text(text) => parse_timestamp(std::str::from_utf8(text).ok()?)?,
            _ => return None,
        };
        // Shifted so that negative values come before positive ones.
        let order = Order::new(0, (axis as u64) ^ (1 << 63), 0);
        Some(Cursor {
            value: KeyValue::of(value)?,
            order,
        })
    }

    /// The time that it names, if it is one.
    fn time(&self) -> Option<Timestamp> {
        match &self.value {
            KeyValue::Text(text) => parse_timestamp(std::str::from_utf8(text).ok()?).map(Timestamp),
            _ => None,
        }
    }

    fn position(&self) -> Position {
        Position::with_token(self.order, Key(vec![self.value.clone()]).encode())
    }

    fn of_position(partition: &Partition, position: &Position) -> Result<Self> {
        let value = Key::decode(&position.token).and_then(|Key(values)| values.into_iter().next());
        value
            .map(|value| Cursor {
                value,
                order: position.order,
            })
            .ok_or_else(|| Error::BadToken {
                partition: partition.to_string(),
                why: "its token holds no cursor".to_owned(),
            })
    }
}

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

/// Opens a database for polling.
pub(super) fn open(
    path: &Path,
    spec: &Arc<SqliteSourceSpec>,
    plan: Plan,
    held: &[Held],
    cx: Context,
    handle: tokio::runtime::Handle,
) -> Result<Opened> {
    let conn = super::open_connection(path, Access::Read)?;
    let identity = identity(path);
    let mut streams = Vec::new();
    for planned in &plan.streams {
        streams.push(polled(&conn, path, spec, planned, &identity)?);
    }
    let mut verdicts = BTreeMap::new();
    let mut reads = Vec::new();
    let mut starts: BTreeMap<usize, Cursor> = BTreeMap::new();
    let mut continuing = Vec::new();
    for held in held {
        let verdict = judge(held, &streams, &plan);
        if matches!(verdict, Verdict::Continue) {
            continuing.push(held);
        }
        verdicts.insert(held.destination.clone(), verdict);
    }
    for (i, stream) in streams.iter().enumerate() {
        let id = stream.shape.stream();
        let mut going_on: BTreeMap<u32, Vec<Option<(u32, Bound)>>> = BTreeMap::new();
        for held in &continuing {
            if let Some(position) = held.checkpoint.marks.get(&stream.partition) {
                let cursor = Cursor::of_position(&stream.partition, position)?;
                starts
                    .entry(i)
                    .and_modify(|least| {
                        if cursor.order < least.order {
                            *least = cursor.clone()
                        }
                    })
                    .or_insert(cursor);
            }
            if let Some(StreamState::Reading { run, ranges, .. }) = held.checkpoint.streams.get(id) {
                let range = Partition::Range {
                    stream: id.clone(),
                    run: *run,
                    range: 0,
                };
                let at = held
                    .checkpoint
                    .marks
                    .get(&range)
                    .map(|position| Bound::of(&range, position))
                    .transpose()?;
                // A stream in one window starts again from its first page; its rows are upserts all the same.
                let at = at.filter(|_| Cut::decode(ranges) == Some(Cut::ByKey));
                going_on.entry(*run).or_default().push(at);
            }
        }
        let cut = if stream.shape.order.is_some() {
            Cut::ByKey
        } else {
            Cut::OneWindow
        };
        reads.extend(
            going_on
                .into_iter()
                .map(|(run, held)| Read::resume(id.clone(), run, cut, held)),
        );
    }
    for (i, cursor) in starts {
        streams[i].at = Some(cursor);
    }
    let shared = Arc::new(Shared::new(cx.stop.clone()));
    let seen = held
        .iter()
        .flat_map(|h| h.checkpoint.streams.values())
        .map(StreamState::run)
        .max()
        .unwrap_or(0);
    let kept = cx
        .kept
        .get(RUN)
        .and_then(|run| Some(u32::from_be_bytes(run.as_ref().try_into().ok()?)))
        .unwrap_or(0);
    shared
        .run_floor
        .store(seen.max(kept), std::sync::atomic::Ordering::Release);
    let mut looked_at = Vec::new();
    for planned in &plan.streams {
        looked_at.push(polled(&conn, path, spec, planned, &identity)?);
    }
    let looks_at = Arc::new(Mutex::new((super::open_connection(path, Access::Read)?, looked_at)));
    let (out, deliveries) = tokio::sync::mpsc::channel(super::DELIVERIES_MAX);
    let engine = PollEngine {
        schema_version: schema_version(&conn)?,
        conn,
        path: path.to_owned(),
        plan,
        spec: Arc::clone(spec),
        streams,
        reads,
        shared: Arc::clone(&shared),
        emitter: Emitter::new(handle, cx.memory.clone(), out, cx.stop.clone()),
        polled_at: None,
    };
    let threads = vec![super::spawn("sqlite-poll", path, move || engine.run())?];
    Ok(Opened {
        verdicts,
        reader: Box::new(Flow {
            deliveries,
            shared: Arc::clone(&shared),
            path: path.to_owned(),
            threads,
        }),
        control: Arc::new(PollControl {
            shared,
            kept: cx.kept,
            path: path.to_owned(),
            looks_at,
        }),
        identity,
    })
}

/// A database that may not be written to carries no identity of ours: it is the file that lies at the path.
fn identity(path: &Path) -> String {
    let full = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    format!("sqlite-poll:{}", full.display())
}

fn polled(
    conn: &Connection,
    path: &Path,
    spec: &SqliteSourceSpec,
    planned: &api::PlannedStream,
    identity: &str,
) -> Result<Polled> {
    let name = planned.id.name();
    let table = super::described(conn, path, name)?;
    check_plan(&table, planned)?;
    let refuse = |why: String| Error::NoCursor {
        stream: planned.id.clone(),
        why,
    };
    let column = spec
        .cursor
        .get(name)
        .ok_or_else(|| refuse("no cursor column is named for it".to_owned()))?;
    let cursor = table
        .columns
        .iter()
        .position(|of| &of.name == column)
        .ok_or_else(|| refuse(format!("it has no column `{column}`")))?;
    let shape = Arc::new(StreamShape::new(table, planned, super::is_utf8(conn)?)?);
    Ok(Polled {
        shape,
        cursor,
        partition: Partition::log(format!("{identity}/{}", planned.id)),
        at: None,
        is_announced: false,
    })
}

fn judge(held: &Held, streams: &[Polled], plan: &Plan) -> Verdict {
    let is_known = |id: &StreamId| {
        streams
            .iter()
            .any(|s| s.shape.stream() == id && held.checkpoint.marks.contains_key(&s.partition))
    };
    let wanted = held
        .checkpoint
        .streams
        .keys()
        .filter(|id| plan.streams.iter().any(|planned| &planned.id == *id));
    match wanted.into_iter().find(|id| !is_known(id)) {
        None => Verdict::Continue,
        Some(id) => Verdict::OtherHistory(
            api::Error::new(
                "E0229",
                Retry::Operator,
                format!(
                    "cannot resume `{}`/`{}`: its checkpoint of `{id}` is of another database",
                    plan.pipeline, held.destination
                ),
            )
            .hint(format!(
                "run `highwater resync {} --destination {}`",
                plan.pipeline, held.destination
            )),
        ),
    }
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

    fn page_in_view(&mut self, bytes_max: usize) -> Result<Option<PageOut>> {
        let Some(i) = self
            .reads
            .iter()
            .position(|read| read.copied.is_none() && read.next_page().is_some())
        else {
            return Ok(None);
        };
        let Some(shape) = self.shape_of(&self.reads[i].stream) else {
            return Ok(None);
        };
        let Some(next) = self.reads[i].next_page() else {
            return Ok(None);
        };
        let size = PageSize {
            rows_max: self.spec.page_rows,
            bytes_max,
        };
        if self.reads[i].cut == Cut::ByKey {
            let page = pages::read_page(&self.conn, &shape, &next, size)?;
            return Ok(Some(PageOut {
                read: i,
                number: next.number,
                shape,
                rows: page.rows,
                end: page.end,
            }));
        }
        match pages::read_whole(&self.conn, &shape, bytes_max)? {
            Some(rows) => Ok(Some(PageOut {
                read: i,
                number: next.number,
                shape,
                rows,
                end: Bound::End,
            })),
            None => {
                pages::copy_whole(&self.conn, TEMPORARY, &shape)?;
                self.reads[i].copied = Some(0);
                Ok(None)
            }
        }
    }

    fn emit_copied_page(&mut self, i: usize) -> Result<(), Ended> {
        let memory = self.emitter.reserve(self.bytes_max(), Some(&self.shared.closing))?;
        let size = PageSize {
            rows_max: self.spec.page_rows,
            bytes_max: self.bytes_max(),
        };
        let read = &self.reads[i];
        let (after, number) = (read.copied.unwrap_or(0), read.next_page().map_or(1, |next| next.number));
        let Some(shape) = self.shape_of(&read.stream) else {
            return Ok(());
        };
        let (rows, last, is_all) = pages::read_copy(&self.conn, TEMPORARY, &shape, after, size)?;
        self.reads[i].copied = (!is_all).then_some(last);
        if is_all {
            pages::drop_copy(&self.conn, TEMPORARY)?;
        }
        let end = if is_all {
            Bound::End
        } else {
            Bound::Key(Key(Vec::new()))
        };
        self.emit_page(
            PageOut {
                read: i,
                number,
                shape,
                rows,
                end,
            },
            memory,
        )
    }

    fn emit_page(&mut self, page: PageOut, memory: api::Reservation) -> Result<(), Ended> {
        let window = self
            .streams
            .iter()
            .find(|stream| stream.shape.stream() == &self.reads[page.read].stream);
        let window = window
            .and_then(|stream| stream.at.as_ref())
            .map_or(Order::MIN, |at| at.order);
        let read = &mut self.reads[page.read];
        let partition = read.partition();
        let from = (page.number > 1).then(|| Page::new(0, page.number - 1).order());
        let delta = Delta::of(partition.clone(), from, page.end.position(page.number));
        let count = page.rows.num_rows();
        read.page_is_out(page.number, page.end, count as u64);
        let batches = match count {
            0 => Vec::new(),
            _ => vec![Batch::of_page(
                partition,
                page.number,
                Arc::clone(&page.shape.schema),
                page.rows,
                window,
                now(),
            )],
        };
        self.emitter.emit(ChangeSet::rows(delta, batches), memory)?;
        self.publish_reads();
        Ok(())
    }

    fn begin_read(&mut self, id: &StreamId, request: &Request) -> Result<(), Ended> {
        let Some(i) = self.streams.iter().position(|stream| stream.shape.stream() == id) else {
            return Ok(());
        };
        if self.streams[i].at.is_none() {
            let lowest = Cursor {
                value: KeyValue::Integer(i64::MIN),
                order: Order::MIN,
            };
            self.streams[i].at = Some(newest(&self.conn, &self.streams[i])?.unwrap_or(lowest));
        }
        if request.destinations.is_none() {
            self.reads.retain(|read| &read.stream != id);
        }
        let shape = Arc::clone(&self.streams[i].shape);
        let cut = if shape.order.is_some() {
            Cut::ByKey
        } else {
            Cut::OneWindow
        };
        let is_skipped = !request.empty_first
            && self
                .plan
                .streams
                .iter()
                .any(|planned| &planned.id == id && planned.snapshot == Snapshot::Skip);
        let mut read = match is_skipped {
            true => Read::resume(id.clone(), request.run, cut, vec![Some((0, Bound::End))]),
            false => Read::new(id.clone(), request.run, cut),
        };
        read.row_count_estimated = pages::estimate(&self.conn, &shape)?;
        self.reads.push(read);
        let control = Control::BeginRead {
            schema: Arc::clone(&shape.schema),
            run: request.run,
            destinations: request.destinations.clone(),
            empty_first: request.empty_first,
        };
        // All logs that were begun, for a destination that has seen none of them: once it holds a stream it can no longer
        // begin a log in the middle.
        let mut delta = Delta::none().with_stream(id.clone(), StreamState::reading(request.run, cut.encode()));
        for stream in &mut self.streams {
            if let Some(at) = stream.at.clone() {
                delta.moves.push(stream.move_to(&at));
            }
        }
        self.publish_reads();
        self.emit_control(delta, control)
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

struct PageOut {
    read: usize,
    number: u32,
    shape: Arc<StreamShape>,
    rows: arrow::array::RecordBatch,
    end: Bound,
}

/// What one view showed.
struct Seen {
    pieces: Vec<Piece>,
    page: Option<PageOut>,
    /// Whether nothing more was there.
    is_all: bool,
}

/// Rows of one stream above its cursor.
struct Piece {
    stream: usize,
    rows: ChangeBatch,
    /// The last row's cursor.
    end: Cursor,
    bytes: usize,
    is_all: bool,
}

/// Reads rows above the stream's cursor. Rows that share a cursor stay together, because the next piece begins above it.
fn read_piece(conn: &Connection, i: usize, stream: &Polled, reads: &[Read], bytes_max: usize) -> Result<Option<Piece>> {
    let Some(at) = &stream.at else {
        return Ok(None);
    };
    let shape = &stream.shape;
    let order = shape.order.as_deref().unwrap_or_default();
    let of_stream: Vec<&Read> = reads.iter().filter(|read| &read.stream == shape.stream()).collect();
    let columns: Vec<String> = shape.table.columns.iter().map(|column| quoted(&column.name)).collect();
    let cursor = &columns[stream.cursor];
    let text = format!(
        "SELECT {} FROM main.{} WHERE {cursor} > ?1 ORDER BY {cursor}",
        columns.join(", "),
        shape.table.quoted_name()
    );
    let batch = ChangeBatch::new(shape, of_stream.iter().map(|read| read.run));
    let mut piece = Piece {
        stream: i,
        rows: batch,
        end: at.clone(),
        bytes: 0,
        is_all: true,
    };
    let mut statement = conn.prepare_cached(&text).map_err(sql("poll a table"))?;
    let mut rows = statement
        .query([&at.value as &dyn ToSql])
        .map_err(sql("poll a table"))?;
    let time: Timestamp = now();
    while let Some(row) = rows.next().map_err(sql("poll a table"))? {
        let here = cursor_of(row, stream)?;
        if here.order < piece.end.order {
            return Err(not_a_cursor(
                stream,
                "times that are written in several forms, so that text and time order differ",
            ));
        }
        if piece.bytes >= bytes_max && here.order != piece.end.order {
            piece.is_all = false;
            break;
        }
        piece.bytes += piece.rows.push_image(row, here.order, time)?;
        for (i, read) in of_stream.iter().enumerate() {
            let page = read.page_of(|bound| {
                let values = order
                    .iter()
                    .map(|&column| row.get_ref(column).unwrap_or(ValueRef::Null));
                bound.compare_with(values).is_lt()
            });
            piece.rows.tag(i, page, page);
        }
        piece.end = here;
    }
    Ok(Some(piece))
}

fn cursor_of(row: &Row<'_>, stream: &Polled) -> Result<Cursor> {
    let value = row.get_ref(stream.cursor).map_err(sql("read a cursor"))?;
    Cursor::of(value).ok_or_else(|| not_a_cursor(stream, NEITHER))
}

const NEITHER: &str = "a value that is neither an INTEGER nor a time as text";

fn not_a_cursor(stream: &Polled, what: &str) -> Error {
    Error::NoCursor {
        stream: stream.shape.stream().clone(),
        why: format!(
            "its cursor column `{}` holds {what}",
            stream.shape.table.columns[stream.cursor].name
        ),
    }
}

/// The largest cursor of a table.
fn newest(conn: &Connection, stream: &Polled) -> Result<Option<Cursor>> {
    let cursor = quoted(&stream.shape.table.columns[stream.cursor].name);
    let text = format!(
        "SELECT {cursor} FROM main.{} ORDER BY {cursor} DESC LIMIT 1",
        stream.shape.table.quoted_name()
    );
    let mut statement = conn.prepare(&text).map_err(sql("look for the newest row"))?;
    let mut rows = statement.query([]).map_err(sql("look for the newest row"))?;
    match rows.next().map_err(sql("look for the newest row"))? {
        Some(row) => match row.get_ref(0).map_err(sql("look for the newest row"))? {
            ValueRef::Null => Ok(None),
            value => Cursor::of(value).map(Some).ok_or_else(|| not_a_cursor(stream, NEITHER)),
        },
        None => Ok(None),
    }
}

fn log_of(partition: &Partition) -> Arc<str> {
    match partition {
        Partition::Log(log) => Arc::clone(log),
        Partition::Range { stream, .. } => stream.to_string().into(),
    }
}

struct PollControl {
    shared: Arc<Shared>,
    kept: api::Kept,
    path: PathBuf,
    /// A connection of its own, and what it looks at.
    looks_at: Arc<Mutex<(Connection, Vec<Polled>)>>,
}

#[async_trait]
impl SourceControl for PollControl {
    /// The largest cursors. Cheap where the cursor has an index.
    async fn head(&self) -> api::Result<Head> {
        let looks_at = Arc::clone(&self.looks_at);
        super::blocking(&self.path, move || {
            let looks_at = looks_at.lock().unwrap_or_else(PoisonError::into_inner);
            let (conn, streams) = &*looks_at;
            let mut marks = Vec::with_capacity(streams.len());
            for stream in streams {
                let newest = newest(conn, stream)?;
                marks.push(HeadMark {
                    log: log_of(&stream.partition),
                    order: newest.as_ref().map_or(Order::MIN, |cursor| cursor.order),
                    time: newest.and_then(|cursor| cursor.time()),
                });
            }
            Ok(Head {
                marks,
                unit: LagUnit::None,
            })
        })
        .await
    }

    /// Nothing is kept for anybody.
    async fn acknowledge(&self, _everywhere: &Checkpoint) -> api::Result<()> {
        Ok(())
    }

    async fn read_existing(&self, request: ReadExisting) -> api::Result<u32> {
        let run = self.shared.run_floor.fetch_add(1, std::sync::atomic::Ordering::AcqRel) + 1;
        self.kept
            .put(RUN, Bytes::copy_from_slice(&run.to_be_bytes()), Checkpoint::default());
        self.shared.push_request(Request {
            streams: request.streams,
            destinations: request.destinations,
            empty_first: request.empty_first,
            run,
        });
        Ok(run)
    }

    async fn reads(&self) -> Vec<ReadProgress> {
        self.shared.reads()
    }

    async fn close(&self) -> api::Result<()> {
        self.shared.close();
        Ok(())
    }
}
