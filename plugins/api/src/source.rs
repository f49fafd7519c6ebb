use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use model::{ChangeSet, Checkpoint, DestinationId, Marker, Order, StreamId, StreamSchema, Timestamp};

use crate::{Context, Error, Reservation, Result, Retry, SourceView};

/// What a source is asked to read.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The pipeline.
    pub pipeline: PipelineId,
    /// The streams, resolved: every one was in the last `discover`.
    pub streams: Vec<PlannedStream>,
    /// Every pipeline of the configuration, whether it runs or not: what is kept for one of them at the source is not forgotten.
    pub configured: Vec<PipelineId>,
    /// Largest changeset that the source should build; a larger transaction is cut into parts of about this size.
    pub changeset_bytes_max: usize,
}

use model::PipelineId;

/// One stream of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedStream {
    /// The stream.
    pub id: StreamId,
    /// Columns that identify a row, where the config says something else than the source.
    pub key: Option<Vec<String>>,
    /// Columns that are not read.
    pub exclude: Vec<String>,
    /// Columns whose type the config sets: column to a type's name, in the connector's documented vocabulary (`text`).
    pub types: BTreeMap<String, String>,
    /// Whether existing rows are read.
    pub snapshot: Snapshot,
}

impl PlannedStream {
    /// A stream as the source describes it.
    pub fn new(id: StreamId) -> Self {
        PlannedStream {
            id,
            key: None,
            exclude: Vec::new(),
            types: BTreeMap::new(),
            snapshot: Snapshot::Initial,
        }
    }
}

/// Whether a stream's existing rows are read at first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Snapshot {
    /// They are.
    Initial,
    /// Only changes from now on.
    Skip,
}

/// What one destination holds, as the source is told at `open`.
#[derive(Debug, Clone)]
pub struct Held {
    /// The destination.
    pub destination: DestinationId,
    /// Its checkpoint; empty for a new one.
    pub checkpoint: Checkpoint,
}

/// What a source says to one destination's checkpoint.
#[derive(Debug)]
pub enum Verdict {
    /// It can go on from there.
    Continue,
    /// The source no longer has everything after that position. The destination needs a resync.
    PositionLost(Error),
    /// The position is of another history: the source was replaced or restored. The destination needs a resync.
    OtherHistory(Error),
}

/// What a source can do, for validation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceCapabilities {
    /// Whether deletes are seen.
    pub deletes: bool,
    /// Whether old images of updates are sent.
    pub old_images: bool,
    /// Whether it may send rows of which not every value is available.
    pub unavailable: bool,
    /// Whether it ends by itself.
    pub is_bounded: bool,
    /// Whether it has no log and reads all rows anew each time: what it does not meet again is gone.
    pub rereads: bool,
    /// Whether its position lies where no checkpoint reaches, and may be ahead of the rows after a crash.
    pub cursors_elsewhere: bool,
}

/// An opened source.
pub struct Opened {
    /// One verdict for each destination that was told of.
    pub verdicts: BTreeMap<DestinationId, Verdict>,
    /// The changesets.
    pub reader: Box<dyn Reader>,
    /// Everything beside them.
    pub control: Arc<dyn SourceControl>,
    /// The identity of the history: what must not change while checkpoints are kept.
    pub identity: String,
}

/// A system that is read.
///
/// The runtime drives it so:
///
/// ```text
/// opened = source.open(plan, held, cx)          // held: what every destination holds
/// for each destination without a stream: control.read_existing(...)
/// loop   { emission = reader.next() → transformers → spool → destinations }    // a task of its own
/// beside { control.acknowledge(everywhere) after each durable checkpoint; control.head() every few seconds }
/// control.close()
/// ```
#[async_trait]
pub trait Source: Send + Sync {
    /// What it can do with its current spec.
    fn capabilities(&self) -> SourceCapabilities;

    /// Lists the streams that can be read, with their schemas. Called before `open`, and by `init` and `validate`.
    /// Changes nothing at the source.
    async fn discover(&self) -> Result<Vec<Arc<StreamSchema>>>;

    /// Checks from outside what only the system knows (permissions, keys, space). Changes nothing. Returns what it found
    /// wrong or doubtful, each with its remedy.
    async fn check(&self, _plan: &Plan) -> Result<Vec<Error>> {
        Ok(Vec::new())
    }

    /// Opens the source for reading.
    ///
    /// Called: after every destination was opened or given up on for now. May be called again, after the earlier reader and
    /// control were dropped, with other checkpoints: that is how the source is rewound.
    ///
    /// Returns: a verdict for each of `held`; a reader that starts at the smallest position of those that can continue,
    /// and never later in silence. Reads of existing rows that some checkpoint says are going on are resumed. A
    /// destination that holds nothing gets rows only after a `read_existing`.
    ///
    /// Errors: whatever keeps the whole source from being read.
    async fn open(&self, plan: &Plan, held: &[Held], cx: Context) -> Result<Opened>;

    /// Removes what this source left behind for the pipeline (triggers, slots, tables), and says what it removed.
    /// Idempotent.
    async fn forget(&self, _pipeline: &PipelineId) -> Result<Vec<String>> {
        Ok(Vec::new())
    }
}

/// A changeset with the memory that was reserved for it.
pub struct Emission {
    /// The changeset.
    pub changeset: ChangeSet,
    /// At least its size, or all that the share can give.
    pub reservation: Reservation,
}

/// The flow of changesets.
#[async_trait]
pub trait Reader: Send {
    /// The next changeset; `None` is the end of a bounded source.
    ///
    /// Ordering: commit order; the moves of successive changesets join without holes. The parts of one transaction follow
    /// each other with nothing in between. Progress without rows is a changeset without rows.
    ///
    /// Cancellation: safe; a dropped future loses nothing.
    ///
    /// Errors: after an error the reader is dropped and the source opened again.
    async fn next(&mut self) -> Result<Option<Emission>>;
}

/// A request to read the existing rows of streams: the one operation behind first snapshot, backfill, resync, an added
/// table and a new destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadExisting {
    /// Which streams, each in the plan.
    pub streams: Vec<StreamId>,
    /// For which destinations; `None` for all.
    pub destinations: Option<Vec<DestinationId>>,
    /// Whether they empty their tables first.
    pub empty_first: bool,
}

/// The newest position of one log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeadMark {
    /// The log's id, as in `Partition::Log`.
    pub log: Arc<str>,
    /// The newest order in it.
    pub order: Order,
    /// When the source committed that; `None` if it cannot tell.
    pub time: Option<Timestamp>,
}

/// What the key of an order counts, so that a distance has a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LagUnit {
    /// Bytes of log.
    Bytes,
    /// Rows of change table, or messages.
    Rows,
    /// Time: the key is a Unix time in microseconds, and the head is now. The lag is the age of what is durable.
    Micros,
    /// Nothing that could be subtracted.
    None,
}

/// Where the source's logs end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// One mark for each log.
    pub marks: Vec<HeadMark>,
    /// What a difference of order keys counts.
    pub unit: LagUnit,
}

/// How far a read of existing rows is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadProgress {
    /// The stream.
    pub stream: StreamId,
    /// The number of the read.
    pub run: u32,
    /// Rows handed out.
    pub row_count: u64,
    /// Rows expected; `None` if unknown.
    pub row_count_estimated: Option<u64>,
}

/// What a source's system keeps its log by for this pipeline: a replication slot.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct SourceSlot {
    /// Its name there.
    pub name: String,
    /// Whether somebody reads it now.
    pub is_active: bool,
    /// Bytes of log that are kept for it.
    pub retained_bytes: u64,
    /// Bytes that may still be written before it is lost; `None` without a limit.
    pub safe_bytes: Option<u64>,
    /// Up to where the system has been told that it may forget, in its own words.
    pub acknowledged: Option<String>,
    /// Up to where we have received, in the same.
    pub received: Option<String>,
}

/// Everything beside the flow. Never stuck behind a `next` that waits.
#[async_trait]
pub trait SourceControl: Send + Sync {
    /// Where the source's logs end now. Cheap; called every few seconds, also without traffic.
    async fn head(&self) -> Result<Head>;

    /// Everything up to `everywhere` is durable at every destination: the source may forget it. Monotonic; idempotent; an
    /// older checkpoint changes nothing. Returns when the release is under way, not when it is done.
    async fn acknowledge(&self, everywhere: &Checkpoint) -> Result<()>;

    /// Starts reading existing rows. Returns the number of the read, larger than every earlier one of this pipeline, once
    /// it is certain that the reader will emit its `BeginRead`s; the pages follow, then an `EndRead` for each stream.
    /// Several reads queue.
    async fn read_existing(&self, request: ReadExisting) -> Result<u32>;

    /// The reads that are going on.
    async fn reads(&self) -> Vec<ReadProgress> {
        Vec::new()
    }

    /// What the source's system keeps the log by, as the last `head` saw it; `None` where there is no such thing.
    async fn slot(&self) -> Option<SourceSlot> {
        None
    }

    /// Opens a view of the streams' rows as of one place in the log. The reader emits `marker` exactly there: after
    /// everything that the view shows, before everything that it does not.
    ///
    /// Returns: when the view is open; the marker may be on its way or out. Writers are not held up.
    ///
    /// Errors: `E0603` from a source that cannot do that.
    async fn view(&self, _streams: &[StreamId], _marker: Marker) -> Result<Box<dyn SourceView>> {
        Err(Error::new(
            "E0603",
            Retry::Operator,
            "cannot view the source: this connector cannot read all rows as of one position",
        ))
    }

    /// Ends the reader at the next consistent point and lets go of the system. After it, `next` returns `None`.
    async fn close(&self) -> Result<()>;
}
