//! How a pipeline stands: what `status`, the HTTP API and the lag metrics show.
//!
//! Actors write facts on a [`Board`]; everything that depends on the time of asking (lag, rates, remaining time) is computed
//! by [`Board::status`], so that it is true also when nothing happens.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use api::{Head, LagUnit, ReadProgress, SourceSlot, Tally};
use model::{Checkpoint, DestinationId, Mark, Order, Partition, PipelineId, StreamId, StreamState, Timestamp};
use serde::Serialize;
use spool::{MemorySpool, SpoolStatus};

use crate::credit::Edge;
use crate::timeline::Timeline;

/// The state of a pipeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PipelineState {
    /// Destinations and source are being opened.
    Starting,
    /// Some stream's existing rows are being read for some destination.
    Snapshot,
    /// Everything follows the source.
    Live,
    /// Something does not; the rest goes on.
    Degraded,
    /// It stopped and will not start again by itself.
    Failed,
    /// It was drained.
    Stopped,
}

impl PipelineState {
    /// All of them, for the state set in the metrics.
    pub const ALL: [Self; 6] = [
        Self::Starting,
        Self::Snapshot,
        Self::Live,
        Self::Degraded,
        Self::Failed,
        Self::Stopped,
    ];

    /// The word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Snapshot => "snapshot",
            Self::Live => "live",
            Self::Degraded => "degraded",
            Self::Failed => "failed",
            Self::Stopped => "stopped",
        }
    }
}

/// The state of a destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DestinationState {
    /// It is being opened for the first time.
    Starting,
    /// It takes existing rows.
    Reading,
    /// It follows the source.
    Live,
    /// It failed and will be tried again.
    Retrying,
    /// The others wait for it: the spool's window is full of what it has not read.
    Holding,
    /// It fell out of the spool's window and waits for the source to be rewound.
    Rewinding,
    /// It cannot go on from what it holds; `highwater resync` brings it up again.
    NeedsResync,
    /// It waits for an operator.
    Parked,
    /// It was closed.
    Stopped,
}

impl DestinationState {
    /// All of them, for the state set in the metrics.
    pub const ALL: [Self; 9] = [
        Self::Starting,
        Self::Reading,
        Self::Live,
        Self::Retrying,
        Self::Holding,
        Self::Rewinding,
        Self::NeedsResync,
        Self::Parked,
        Self::Stopped,
    ];

    /// The word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Reading => "reading",
            Self::Live => "live",
            Self::Retrying => "retrying",
            Self::Holding => "holding",
            Self::Rewinding => "rewinding",
            Self::NeedsResync => "needs_resync",
            Self::Parked => "parked",
            Self::Stopped => "stopped",
        }
    }

    /// Whether it takes what the source sends.
    pub const fn is_well(self) -> bool {
        matches!(self, Self::Starting | Self::Reading | Self::Live | Self::Stopped)
    }
}

/// A failure, as shown.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Trouble {
    /// Stable code.
    pub code: String,
    /// The whole chain on one line.
    pub error: String,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// What it asks for: `after`, `operator`, `never` or `fenced`.
    pub retry: &'static str,
    /// Failures in a row.
    pub attempt: u32,
    /// Time until the next try; none if there will be none by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_try_seconds: Option<f64>,
}

/// With what is left now of the wait for the next try.
fn still_waiting((trouble, next_try): &(Trouble, Option<Instant>)) -> Trouble {
    let left = next_try.map(|at| at.saturating_duration_since(Instant::now()).as_secs_f64());
    Trouble {
        next_try_seconds: left,
        ..trouble.clone()
    }
}

/// A pipeline, as shown.
#[derive(Debug, Clone, Serialize)]
pub struct PipelineStatus {
    /// Its name.
    pub pipeline: String,
    /// Its state.
    pub state: PipelineState,
    /// Time since it was started.
    pub up_seconds: f64,
    /// Its source.
    pub source: SourceStatus,
    /// Its destinations.
    pub destinations: Vec<DestinationStatus>,
    /// Its streams.
    pub streams: Vec<StreamStatus>,
    /// What went wrong with single streams at the source.
    #[serde(skip)]
    pub trouble_by_stream: BTreeMap<String, api::StreamTrouble>,
    /// The spool.
    pub spool: SpoolView,
    /// What went wrong with the pipeline as a whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trouble: Option<Trouble>,
}

/// A source, as shown.
#[derive(Debug, Clone, Serialize)]
pub struct SourceStatus {
    /// The connector.
    pub connector: String,
    /// Newest position, one for each log.
    pub head: BTreeMap<String, Order>,
    /// Received position, one for each log.
    pub received: BTreeMap<String, Order>,
    /// Acknowledged position, one for each log.
    pub acknowledged: BTreeMap<String, Order>,
    /// Unix time of the newest change, if the source tells.
    pub head_timestamp_seconds: Option<f64>,
    /// Unix time of the last answer to "where is the head?".
    pub probed_timestamp_seconds: Option<f64>,
    /// What the source's system keeps the log by.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slot: Option<SourceSlot>,
    /// Rows received since the start.
    pub rows: u64,
    /// Rows a second, over the last seconds.
    pub rows_per_second: f64,
}

/// A destination, as shown.
#[derive(Debug, Clone, Serialize)]
pub struct DestinationStatus {
    /// Its name.
    pub destination: String,
    /// The connector.
    pub connector: String,
    /// Its guarantee.
    pub guarantee: String,
    /// Its state.
    pub state: DestinationState,
    /// Seconds behind the source; none before the source was asked.
    pub lag_seconds: Option<f64>,
    /// Rows behind, where the source counts rows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lag_rows: Option<u64>,
    /// Bytes behind, where the source counts bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lag_bytes: Option<u64>,
    /// Durable position, one for each log.
    pub durable: BTreeMap<String, Order>,
    /// Unix source time of the newest durable change.
    pub durable_timestamp_seconds: Option<f64>,
    /// Rows durable since the start.
    pub rows: u64,
    /// The same by stream; for the summary of a bounded run, and too long for anything else.
    #[serde(skip)]
    pub rows_by_stream: BTreeMap<String, u64>,
    /// Rows a second, over the last seconds.
    pub rows_per_second: f64,
    /// Commits since the start.
    pub commits: u64,
    /// Generation.
    pub generation: u64,
    /// Errors since the start.
    pub errors: u64,
    /// The last failure, while it is not overcome.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trouble: Option<Trouble>,
}

/// A stream, as shown.
#[derive(Debug, Clone, Serialize)]
pub struct StreamStatus {
    /// Its name.
    pub stream: String,
    /// For each destination: `live`, `reading` or `none`.
    pub destinations: BTreeMap<String, &'static str>,
    /// The read that is going on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub read: Option<ReadStatus>,
}

/// A read of existing rows, as shown.
#[derive(Debug, Clone, Serialize)]
pub struct ReadStatus {
    /// Its number.
    pub run: u32,
    /// Rows handed out.
    pub rows: u64,
    /// Rows expected.
    pub rows_estimated: Option<u64>,
    /// Bytes handed out, as they lie in memory.
    pub bytes: u64,
    /// Share done, at most 1.
    pub progress_ratio: Option<f64>,
    /// Time left at the mean rate.
    pub remaining_seconds: Option<f64>,
}

/// The spool, as shown.
#[derive(Debug, Clone, Default, Serialize)]
pub struct SpoolView {
    /// Bytes kept.
    pub window_bytes: u64,
    /// The most it keeps.
    pub window_max_bytes: u64,
    /// The destination that the others wait for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held_by: Option<String>,
}

/// Facts about one pipeline, written by its actors.
#[derive(Clone)]
pub struct Board(Arc<Mutex<Facts>>);

pub(crate) struct Facts {
    pipeline: PipelineId,
    connector: String,
    started: Instant,
    pub(crate) phase: Phase,
    pub(crate) trouble: Option<(Trouble, Option<Instant>)>,
    pub(crate) timeline: Timeline,
    head: Option<Head>,
    head_probed: Option<SystemTime>,
    /// For each log, where it stood and when a probe first saw it beyond the previous place.
    head_moved: BTreeMap<Arc<str>, Vec<(Order, SystemTime)>>,
    pub(crate) received: BTreeMap<Arc<str>, Order>,
    pub(crate) acknowledged: Checkpoint,
    source_rate: Rate,
    streams: Vec<StreamId>,
    reads: BTreeMap<StreamId, (ReadProgress, Instant)>,
    /// For each stream its newest read, and the bytes of it that came.
    read_bytes: BTreeMap<StreamId, (u32, u64)>,
    slot: Option<SourceSlot>,
    tally: Tally,
    spool: Option<Arc<MemorySpool>>,
    pub(crate) destinations: BTreeMap<DestinationId, DestinationFacts>,
    edges: BTreeMap<String, Arc<Edge>>,
}

/// What the pipeline as a whole is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    Starting,
    Flowing,
    Failed,
    Stopped,
}

/// What a lane says of itself; `reading`, `live` and `holding` follow from its checkpoint and the spool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LanePhase {
    Starting,
    Attached,
    Retrying,
    Rewinding,
    NeedsResync,
    Parked,
    Stopped,
}

pub(crate) struct DestinationFacts {
    pub(crate) connector: String,
    pub(crate) guarantee: String,
    pub(crate) phase: LanePhase,
    pub(crate) durable: Checkpoint,
    pub(crate) durable_time: Option<Timestamp>,
    pub(crate) accepted: Checkpoint,
    pub(crate) generation: u64,
    pub(crate) commits: u64,
    pub(crate) errors: u64,
    pub(crate) trouble: Option<(Trouble, Option<Instant>)>,
    pub(crate) rate: Rate,
    pub(crate) rows_by_stream: BTreeMap<StreamId, u64>,
}

/// A count and its recent speed.
#[derive(Default)]
pub(crate) struct Rate {
    total: u64,
    /// Ten-second window of (when, total) at most once a second.
    samples: std::collections::VecDeque<(Instant, u64)>,
}

const RATE_WINDOW: Duration = Duration::from_secs(10);

impl Rate {
    pub(crate) fn add(&mut self, count: u64) {
        let now = Instant::now();
        if self
            .samples
            .back()
            .is_none_or(|(at, _)| now.duration_since(*at) >= Duration::from_secs(1))
        {
            self.samples.push_back((now, self.total));
            while self.samples.len() > 2 && now.duration_since(self.samples[1].0) > RATE_WINDOW {
                self.samples.pop_front();
            }
        }
        self.total += count;
    }

    fn per_second(&self) -> f64 {
        let now = Instant::now();
        let recent = self
            .samples
            .iter()
            .find(|(at, _)| now.duration_since(*at) <= RATE_WINDOW);
        match recent {
            Some((at, before)) => (self.total - before) as f64 / now.duration_since(*at).as_secs_f64().max(1.0),
            None => 0.0,
        }
    }
}

impl Board {
    pub(crate) fn new(pipeline: PipelineId, connector: String, streams: Vec<StreamId>) -> Self {
        Board(Arc::new(Mutex::new(Facts {
            pipeline,
            connector,
            started: Instant::now(),
            phase: Phase::Starting,
            trouble: None,
            timeline: Timeline::default(),
            head: None,
            head_probed: None,
            head_moved: BTreeMap::new(),
            received: BTreeMap::new(),
            acknowledged: Checkpoint::default(),
            source_rate: Rate::default(),
            streams,
            reads: BTreeMap::new(),
            read_bytes: BTreeMap::new(),
            slot: None,
            tally: Tally::default(),
            spool: None,
            destinations: BTreeMap::new(),
            edges: BTreeMap::new(),
        })))
    }

    pub(crate) fn facts(&self) -> MutexGuard<'_, Facts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn destination(&self, id: &DestinationId, change: impl FnOnce(&mut DestinationFacts)) {
        if let Some(facts) = self.facts().destinations.get_mut(id) {
            change(facts);
        }
    }

    pub(crate) fn add_destination(&self, id: DestinationId, connector: String, guarantee: String) {
        let facts = DestinationFacts {
            connector,
            guarantee,
            phase: LanePhase::Starting,
            durable: Checkpoint::default(),
            durable_time: None,
            accepted: Checkpoint::default(),
            generation: 0,
            commits: 0,
            errors: 0,
            trouble: None,
            rate: Rate::default(),
            rows_by_stream: BTreeMap::new(),
        };
        self.facts().destinations.insert(id, facts);
    }

    /// What the source counts on.
    pub(crate) fn tally(&self) -> Tally {
        self.facts().tally.clone()
    }

    pub(crate) fn set_flow(&self, spool: Arc<MemorySpool>, edges: BTreeMap<String, Arc<Edge>>) {
        let mut facts = self.facts();
        facts.spool = Some(spool);
        facts.edges.extend(edges);
    }

    pub(crate) fn set_edge(&self, component: String, edge: Arc<Edge>) {
        self.facts().edges.insert(component, edge);
    }

    /// A changeset came out of the source.
    pub(crate) fn received(&self, changeset: &model::ChangeSet) {
        let mut facts = self.facts();
        facts.source_rate.add(changeset.row_count() as u64);
        // Rows of a page come by themselves.
        if let Some(Partition::Range { stream, run, .. }) = changeset.batches().first().map(|batch| &batch.partition) {
            let (of, bytes) = facts.read_bytes.entry(stream.clone()).or_default();
            if of != run {
                (*of, *bytes) = (*run, 0);
            }
            *bytes += changeset.size_bytes as u64;
        }
        for m in &changeset.delta.moves {
            if let Partition::Log(log) = &m.partition {
                let commits = changeset
                    .batches()
                    .iter()
                    .filter(|b| b.partition == m.partition)
                    .flat_map(|b| b.commits.iter().copied());
                facts.timeline.received(log, m.to.order, commits);
                facts.received.insert(Arc::clone(log), m.to.order);
            }
        }
    }

    pub(crate) fn probed(&self, head: Head, reads: Vec<ReadProgress>, slot: Option<SourceSlot>) {
        let now = SystemTime::now();
        let mut facts = self.facts();
        for mark in &head.marks {
            let moves = facts.head_moved.entry(Arc::clone(&mark.log)).or_default();
            if moves.last().is_none_or(|(order, _)| *order < mark.order) {
                moves.push((mark.order, now));
            }
            if moves.len() > 600 {
                moves.drain(..300);
            }
        }
        facts.head = Some(head);
        facts.head_probed = Some(now);
        facts.slot = slot;
        let started: BTreeMap<_, _> = facts
            .reads
            .iter()
            .map(|(stream, (read, at))| (stream.clone(), (read.run, *at)))
            .collect();
        facts.reads = reads
            .into_iter()
            .map(|read| {
                let at = started
                    .get(&read.stream)
                    .filter(|(run, _)| *run == read.run)
                    .map_or_else(Instant::now, |(_, at)| *at);
                (read.stream.clone(), (read, at))
            })
            .collect();
    }

    /// Whether every destination has everything up to `head` in its hands (not yet durable), and all of the planned streams.
    pub fn has_accepted(&self, head: &Head) -> bool {
        let facts = self.facts();
        facts
            .destinations
            .values()
            .filter(|d| d.phase != LanePhase::NeedsResync)
            .all(|destination| {
                head.marks.iter().all(|mark| {
                    destination
                        .accepted
                        .mark(&Partition::Log(Arc::clone(&mark.log)))
                        .covers(mark.order)
                }) && facts.streams.iter().all(|stream| {
                    destination
                        .accepted
                        .streams
                        .get(stream)
                        .is_some_and(StreamState::is_live)
                })
            })
    }

    /// How it stands now.
    pub fn status(&self) -> PipelineStatus {
        let facts = self.facts();
        let spool = facts.spool.as_ref().map(|spool| spool.status()).unwrap_or_default();
        let destinations: Vec<_> = facts
            .destinations
            .iter()
            .map(|(id, d)| facts.destination_status(id, d, &spool))
            .collect();
        let orders = |checkpoint: &Checkpoint| -> BTreeMap<String, Order> {
            checkpoint
                .log_marks()
                .map(|(log, position)| (log.to_string(), position.order))
                .collect()
        };
        let head_time = facts
            .head
            .iter()
            .flat_map(|head| head.marks.iter().filter_map(|mark| mark.time))
            .max();
        PipelineStatus {
            pipeline: facts.pipeline.to_string(),
            state: facts.state(&destinations),
            up_seconds: facts.started.elapsed().as_secs_f64(),
            source: SourceStatus {
                connector: facts.connector.clone(),
                head: facts
                    .head
                    .iter()
                    .flat_map(|h| h.marks.iter().map(|m| (m.log.to_string(), m.order)))
                    .collect(),
                received: facts
                    .received
                    .iter()
                    .map(|(log, order)| (log.to_string(), *order))
                    .collect(),
                acknowledged: orders(&facts.acknowledged),
                head_timestamp_seconds: head_time.map(seconds),
                probed_timestamp_seconds: facts.head_probed.map(unix_seconds),
                slot: facts.slot.clone(),
                rows: facts.source_rate.total,
                rows_per_second: facts.source_rate.per_second(),
            },
            streams: facts.streams.iter().map(|stream| facts.stream_status(stream)).collect(),
            trouble_by_stream: by_name(&facts.tally.counts()),
            spool: SpoolView {
                window_bytes: spool.window_bytes as u64,
                window_max_bytes: spool.window_max_bytes as u64,
                held_by: spool.held_by.as_ref().map(ToString::to_string),
            },
            trouble: facts.trouble.as_ref().map(still_waiting),
            destinations,
        }
    }

    /// The mailboxes: component, and its edge.
    pub fn edges(&self) -> Vec<(String, Arc<Edge>)> {
        self.facts()
            .edges
            .iter()
            .map(|(component, edge)| (component.clone(), Arc::clone(edge)))
            .collect()
    }
}

fn by_name<T: Copy>(by_stream: &BTreeMap<StreamId, T>) -> BTreeMap<String, T> {
    let named = by_stream.iter().map(|(stream, value)| (stream.to_string(), *value));
    named.collect()
}

impl Facts {
    fn state(&self, destinations: &[DestinationStatus]) -> PipelineState {
        match self.phase {
            Phase::Failed => PipelineState::Failed,
            Phase::Stopped => PipelineState::Stopped,
            _ if self.trouble.is_some() || destinations.iter().any(|d| !d.state.is_well()) => PipelineState::Degraded,
            Phase::Starting => PipelineState::Starting,
            Phase::Flowing if destinations.iter().any(|d| d.state != DestinationState::Live) => PipelineState::Snapshot,
            Phase::Flowing => PipelineState::Live,
        }
    }

    fn destination_status(&self, id: &DestinationId, d: &DestinationFacts, spool: &SpoolStatus) -> DestinationStatus {
        let reads_all = self
            .streams
            .iter()
            .all(|stream| d.durable.streams.get(stream).is_some_and(StreamState::is_live));
        let state = match d.phase {
            LanePhase::Starting => DestinationState::Starting,
            LanePhase::Retrying => DestinationState::Retrying,
            LanePhase::Rewinding => DestinationState::Rewinding,
            LanePhase::NeedsResync => DestinationState::NeedsResync,
            LanePhase::Parked => DestinationState::Parked,
            LanePhase::Stopped => DestinationState::Stopped,
            LanePhase::Attached if spool.held_by.as_ref() == Some(id) => DestinationState::Holding,
            LanePhase::Attached if reads_all => DestinationState::Live,
            LanePhase::Attached => DestinationState::Reading,
        };
        let distance = |unit: LagUnit| {
            let head = self.head.as_ref().filter(|head| head.unit == unit)?;
            Some(head.marks.iter().map(|mark| behind(d, &mark.log, mark.order)).sum())
        };
        DestinationStatus {
            destination: id.to_string(),
            connector: d.connector.clone(),
            guarantee: d.guarantee.clone(),
            state,
            lag_seconds: self.lag_seconds(d),
            lag_rows: distance(LagUnit::Rows),
            lag_bytes: distance(LagUnit::Bytes),
            durable: d
                .durable
                .log_marks()
                .map(|(log, position)| (log.to_string(), position.order))
                .collect(),
            durable_timestamp_seconds: d.durable_time.map(seconds),
            rows: d.rate.total,
            rows_by_stream: by_name(&d.rows_by_stream),
            rows_per_second: d.rate.per_second(),
            commits: d.commits,
            generation: d.generation,
            errors: d.errors,
            trouble: d.trouble.as_ref().map(still_waiting),
        }
    }

    /// Where the source's positions are times, the age of the durable one. Else:
    /// now minus the commit time of the oldest change that is not durable; 0 when durable = head. What was not received yet
    /// counts from the probe that first saw the head beyond the durable mark.
    fn lag_seconds(&self, d: &DestinationFacts) -> Option<f64> {
        let now = SystemTime::now();
        let head = self.head.as_ref()?;
        let mut lag: f64 = 0.0;
        for mark in &head.marks {
            let durable = d.durable.mark(&Partition::Log(Arc::clone(&mark.log)));
            if durable.covers(mark.order) {
                continue;
            }
            if head.unit == LagUnit::Micros {
                let since = |micros: u64| unix_seconds(now) - micros as f64 / 1e6;
                lag = lag.max(match durable {
                    Mark::At(order) if order.key() > 0 => since(order.key()),
                    _ => self.started.elapsed().as_secs_f64(),
                });
                continue;
            }
            let received = self
                .timeline
                .oldest_after(&mark.log, durable)
                .map(|time| unix_seconds(now) - seconds(time));
            let seen = self
                .head_moved
                .get(&mark.log)
                .into_iter()
                .flatten()
                .find(|(order, _)| !durable.covers(*order));
            let seen = seen.map(|(_, at)| now.duration_since(*at).unwrap_or_default().as_secs_f64());
            lag = lag.max(received.or(seen).unwrap_or(0.0).max(0.0));
        }
        Some(lag)
    }

    fn stream_status(&self, stream: &StreamId) -> StreamStatus {
        let word = |d: &DestinationFacts| match d.durable.streams.get(stream) {
            Some(StreamState::Live { .. }) => "live",
            Some(StreamState::Reading { .. }) => "reading",
            None => "none",
        };
        StreamStatus {
            stream: stream.to_string(),
            destinations: self
                .destinations
                .iter()
                .map(|(id, d)| (id.to_string(), word(d)))
                .collect(),
            read: self.reads.get(stream).map(|(read, since)| {
                let ratio = read
                    .row_count_estimated
                    .map(|all| (read.row_count as f64 / all.max(1) as f64).min(1.0));
                let elapsed = since.elapsed().as_secs_f64();
                let remaining = ratio
                    .filter(|r| *r > 0.0 && elapsed > 0.5)
                    .map(|r| elapsed * (1.0 - r) / r);
                ReadStatus {
                    run: read.run,
                    rows: read.row_count,
                    rows_estimated: read.row_count_estimated,
                    bytes: self
                        .read_bytes
                        .get(stream)
                        .filter(|(run, _)| *run == read.run)
                        .map_or(0, |(_, bytes)| *bytes),
                    progress_ratio: ratio,
                    remaining_seconds: remaining,
                }
            }),
        }
    }
}

fn behind(d: &DestinationFacts, log: &Arc<str>, head: Order) -> u64 {
    match d.durable.mark(&Partition::Log(Arc::clone(log))) {
        Mark::At(durable) => head.key().saturating_sub(durable.key()),
        Mark::NotBegun => head.key(),
        Mark::Finished => 0,
    }
}

fn seconds(time: Timestamp) -> f64 {
    time.micros() as f64 / 1e6
}

fn unix_seconds(time: SystemTime) -> f64 {
    time.duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs_f64()
}
