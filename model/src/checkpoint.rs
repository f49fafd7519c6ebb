//! What a destination holds, and how it moves.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{Order, Page, Partition, Position, StreamId};

/// How far a destination is with one stream.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "lowercase")]
pub enum StreamState {
    /// Its existing rows are being read: the destination holds some pages of this run.
    Reading {
        /// The number of the read.
        run: u32,
        /// How the source cut the stream into ranges; opaque to everyone else.
        #[serde(default, skip_serializing_if = "Bytes::is_empty", with = "crate::position::token")]
        ranges: Bytes,
        /// Pages at or below a range's mark that the destination does not hold after all, because a row moved into
        /// them whose values were not all sent. The next window reads them again.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        given_up: Vec<Page>,
    },
    /// It holds all rows.
    Live {
        /// The last read; it closes the ranges of that read and of every earlier one.
        run: u32,
    },
}

impl StreamState {
    /// A read begins.
    pub fn reading(run: u32, ranges: impl Into<Bytes>) -> Self {
        StreamState::Reading {
            run,
            ranges: ranges.into(),
            given_up: Vec::new(),
        }
    }

    /// The number of the read that is going on, or was the last.
    pub fn run(&self) -> u32 {
        match self {
            StreamState::Reading { run, .. } | StreamState::Live { run } => *run,
        }
    }

    /// Whether the stream's first read is complete.
    pub fn is_live(&self) -> bool {
        matches!(self, StreamState::Live { .. })
    }

    /// Whether this is the reading of `run`.
    pub fn reads(&self, run: u32) -> bool {
        matches!(self, StreamState::Reading { run: held, .. } if *held == run)
    }

    /// What grows while a stream lives: the run, and in a run `reading` before `live`.
    fn progress(&self) -> (u32, bool) {
        (self.run(), self.is_live())
    }

    /// The pages given up; none when live.
    fn given_up(&self) -> &[Page] {
        match self {
            StreamState::Reading { given_up, .. } => given_up,
            StreamState::Live { .. } => &[],
        }
    }

    /// Whether whoever holds this holds all that `other` holds, as far as a state can tell.
    fn covers(&self, other: &StreamState) -> bool {
        match self.progress().cmp(&other.progress()) {
            Ordering::Less => false,
            Ordering::Greater => true,
            Ordering::Equal => self.given_up().iter().all(|page| other.given_up().contains(page)),
        }
    }
}

impl fmt::Debug for StreamState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StreamState::Reading { run, given_up, .. } if given_up.is_empty() => write!(f, "reading({run})"),
            StreamState::Reading { run, given_up, .. } => write!(f, "reading({run}, {} given up)", given_up.len()),
            StreamState::Live { run } => write!(f, "live({run})"),
        }
    }
}

/// How far one partition is covered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// Nothing of it.
    NotBegun,
    /// Up to and with this order.
    At(Order),
    /// All of it, for ever: the read that it was a range of is complete or superseded.
    Finished,
}

impl Mark {
    /// Whether `order` is covered.
    pub fn covers(self, order: Order) -> bool {
        match self {
            Mark::NotBegun => false,
            Mark::At(mark) => order <= mark,
            Mark::Finished => true,
        }
    }
}

/// A cut through a source's history: everything up to each mark, and for each stream whether its existing rows are in.
///
/// Printed as `Ckpt(log:128 orders#1/0:7 | orders reading(1))`.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Checkpoint {
    /// Partition to position, inclusive. Ranges are listed only while their read goes on.
    pub marks: BTreeMap<Partition, Position>,
    /// The streams held, wholly or in part. A stream that is not listed is not held: its rows are passed over.
    pub streams: BTreeMap<StreamId, StreamState>,
}

/// One partition moves from `from` (exclusive) to `to` (inclusive).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Move {
    /// Which.
    pub partition: Partition,
    /// Where it stood; `None` at its beginning.
    pub from: Option<Order>,
    /// Where it stands then.
    pub to: Position,
}

impl Move {
    /// Whether this reads `page` of that read: it lies in `(from, to]` of its range.
    pub(crate) fn has_page(&self, stream: &StreamId, run: u32, page: Page) -> bool {
        let is_its_range = matches!(&self.partition, Partition::Range { stream: s, run: r, range }
            if s == stream && *r == run && *range == page.range);
        is_its_range && self.from.is_none_or(|from| page.order() > from) && page.order() <= self.to.order
    }
}

/// How a checkpoint moves: `(from, to]` for each partition that moves, and the streams that change state.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Delta {
    /// The moves, at most one for each partition.
    pub moves: Vec<Move>,
    /// New stream states, at most one for each stream.
    pub streams: Vec<(StreamId, StreamState)>,
}

/// Why a delta cannot be applied.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum DeltaError {
    /// The delta starts later than the checkpoint ends: changes in between would be lost.
    #[error(
        "cannot move `{partition}` to {to}: it starts after {from} (exclusive), but the checkpoint ends at {held} (inclusive)"
    )]
    Hole {
        /// The partition.
        partition: Partition,
        /// Where the checkpoint ends.
        held: String,
        /// Where the delta starts.
        from: Order,
        /// Where it ends.
        to: Order,
    },
}

impl Delta {
    /// No movement.
    pub fn none() -> Self {
        Delta::default()
    }

    /// One partition moves.
    pub fn of(partition: Partition, from: Option<Order>, to: Position) -> Self {
        Delta {
            moves: vec![Move { partition, from, to }],
            streams: Vec::new(),
        }
    }

    /// The same, and a stream changes state.
    pub fn with_stream(mut self, stream: StreamId, state: StreamState) -> Self {
        self.streams.push((stream, state));
        self
    }

    /// Whether nothing moves.
    pub fn is_empty(&self) -> bool {
        self.moves.is_empty() && self.streams.is_empty()
    }

    /// Appends a later delta: `(a, b]` and `(b, c]` become `(a, c]`.
    ///
    /// Applying the sum has the outcome of applying the two one after the other, repeats included: no move and no stream
    /// goes back.
    pub fn then(&mut self, later: &Delta) {
        for m in &later.moves {
            match self.moves.iter_mut().find(|mine| mine.partition == m.partition) {
                Some(mine) if m.to.order > mine.to.order => mine.to = m.to.clone(),
                Some(_) => {}
                None => self.moves.push(m.clone()),
            }
        }
        for (stream, state) in &later.streams {
            match self.streams.iter_mut().find(|(mine, _)| mine == stream) {
                Some((_, mine)) if state.progress() >= mine.progress() => *mine = state.clone(),
                Some(_) => {}
                None => self.streams.push((stream.clone(), state.clone())),
            }
        }
    }
}

impl fmt::Debug for Delta {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(")?;
        for (i, m) in self.moves.iter().enumerate() {
            let from = m.from.map_or_else(|| "start".to_owned(), |from| from.to_string());
            write!(
                f,
                "{}{}:{}..{:?}",
                if i == 0 { "" } else { " " },
                m.partition,
                from,
                m.to
            )?;
        }
        for (stream, state) in &self.streams {
            write!(f, " {stream} {state:?}")?;
        }
        f.write_str("]")
    }
}

impl Checkpoint {
    /// Whether nothing is held: neither a position nor a stream.
    pub fn is_empty(&self) -> bool {
        self.marks.is_empty() && self.streams.is_empty()
    }

    /// How far `partition` is covered.
    ///
    /// | partition | state of its stream | mark |
    /// |---|---|---|
    /// | log | any | its position, or `NotBegun` |
    /// | range of run r | live(q), or reading(q) with q > r; r <= q | `Finished` |
    /// | range of run r | reading(r) | its position, or `NotBegun` |
    /// | range of run r | none, or an earlier run | `NotBegun` |
    pub fn mark(&self, partition: &Partition) -> Mark {
        if let Partition::Range { stream, run, .. } = partition {
            match self.streams.get(stream) {
                Some(StreamState::Live { run: held }) if run <= held => return Mark::Finished,
                Some(StreamState::Reading { run: held, .. }) if run < held => return Mark::Finished,
                Some(StreamState::Reading { run: held, .. }) if run == held => {}
                _ => return Mark::NotBegun,
            }
        }
        self.marks
            .get(partition)
            .map_or(Mark::NotBegun, |position| Mark::At(position.order))
    }

    /// Moves this checkpoint by `delta`, which covers `(from, to]` for each partition.
    ///
    /// | `from` (exclusive) against the mark (inclusive) | outcome |
    /// |---|---|
    /// | equal, or the partition was not begun and `from` is `None` | moves to `to` |
    /// | earlier, `to` later | moves to `to`: the front was a repeat |
    /// | earlier, `to` not later | a repeat: unchanged |
    /// | later, or the partition was not begun and `from` is `Some` while streams are held | [`DeltaError::Hole`], nothing is changed |
    ///
    /// | a stream's state in the delta | outcome |
    /// |---|---|
    /// | a later run, or the same run and not back from `live` to `reading` | taken |
    /// | an earlier run, or back from `live` to `reading` | a repeat: unchanged |
    ///
    /// The states come first: a range moves only if its stream is then reading that run, so that one delta can begin a
    /// read and hold its first pages. A checkpoint that holds no stream has nothing to lose, so its logs begin wherever
    /// the delta says.
    pub fn apply(&mut self, delta: &Delta) -> Result<(), DeltaError> {
        let moves_then = |m: &&Move| match &m.partition {
            Partition::Log(_) => true,
            Partition::Range { stream, run, .. } => {
                self.state_after(delta, stream).is_some_and(|state| state.reads(*run))
            }
        };
        let moves: Vec<&Move> = delta.moves.iter().filter(moves_then).collect();
        for m in &moves {
            self.check_hole(m)?;
        }
        for m in moves {
            if !self.mark(&m.partition).covers(m.to.order) {
                self.marks.insert(m.partition.clone(), m.to.clone());
            }
        }
        for (stream, state) in &delta.streams {
            if self
                .streams
                .get(stream)
                .is_some_and(|held| state.progress() < held.progress())
            {
                continue;
            }
            self.streams.insert(stream.clone(), state.clone());
            self.marks.retain(|partition, _| match partition {
                Partition::Range { stream: of, run, .. } if of == stream => state.reads(*run),
                _ => true,
            });
        }
        Ok(())
    }

    /// The state that a stream has once `delta` is applied.
    fn state_after<'a>(&'a self, delta: &'a Delta, stream: &StreamId) -> Option<&'a StreamState> {
        let new = delta.streams.iter().find(|(named, _)| named == stream);
        match (self.streams.get(stream), new.map(|(_, state)| state)) {
            (Some(held), Some(new)) if new.progress() < held.progress() => Some(held),
            (held, new) => new.or(held),
        }
    }

    /// Refuses a move that starts after the mark: what lies in between would be lost.
    pub(crate) fn check_hole(&self, m: &Move) -> Result<(), DeltaError> {
        let hole = |held: String, from| {
            Err(DeltaError::Hole {
                partition: m.partition.clone(),
                held,
                from,
                to: m.to.order,
            })
        };
        match (self.mark(&m.partition), m.from) {
            (Mark::At(held), Some(from)) if from > held => hole(held.to_string(), from),
            (Mark::NotBegun, Some(from)) if !m.partition.is_log() || !self.streams.is_empty() => {
                hole("its beginning".to_owned(), from)
            }
            _ => Ok(()),
        }
    }

    /// The checkpoint that every one of these covers: what may be acknowledged to the source.
    ///
    /// | of | is |
    /// |---|---|
    /// | a log | its smallest mark; left out if someone who holds streams has not begun it |
    /// | a stream | the least state of those who hold it; of one run, with all pages that any of them gave up |
    /// | a range | its smallest mark, while that least state reads its run; left out if someone has not begun it |
    ///
    /// Who holds nothing at all holds everything back: the read that brings it up may be under way, from a place in the
    /// log that it commits later. Count a destination from when it is opened, and leave out only those that start anew.
    ///
    /// Who does not hold a stream holds nothing of it back: a read that begins later brings it. So the outcome only grows
    /// as long as nobody takes up a stream by a read older than those of the others. A read of one destination releases no
    /// range while another is `live` by an earlier run: the other may be meant too, and not be there yet.
    pub fn everywhere<'a>(held: impl IntoIterator<Item = &'a Checkpoint>) -> Checkpoint {
        let held: Vec<&Checkpoint> = held.into_iter().collect();
        if held.iter().any(|checkpoint| checkpoint.is_empty()) {
            return Checkpoint::default();
        }
        let mut streams: BTreeMap<StreamId, StreamState> = BTreeMap::new();
        for (stream, state) in held.iter().flat_map(|c| &c.streams) {
            match streams.get_mut(stream) {
                Some(least) => *least = least_of(least, state),
                None => {
                    streams.insert(stream.clone(), state.clone());
                }
            }
        }
        let mut everywhere = Checkpoint {
            marks: BTreeMap::new(),
            streams,
        };
        for partition in held.iter().flat_map(|c| c.marks.keys()) {
            if everywhere.marks.contains_key(partition) {
                continue;
            }
            let counts = |c: &&&Checkpoint| match partition {
                Partition::Log(_) => c.marks.contains_key(partition) || !c.streams.is_empty(),
                Partition::Range { stream, run, .. } => c.streams.get(stream).is_some_and(|state| state.reads(*run)),
            };
            let is_read = match partition {
                Partition::Log(_) => true,
                Partition::Range { stream, run, .. } => {
                    everywhere.streams.get(stream).is_some_and(|state| state.reads(*run))
                }
            };
            let least = held
                .iter()
                .filter(counts)
                .map(|c| c.marks.get(partition))
                .min_by_key(|position| position.map(|position| position.order));
            if let (true, Some(Some(position))) = (is_read, least) {
                everywhere.marks.insert(partition.clone(), position.clone());
            }
        }
        everywhere
    }

    /// Whether every mark and stream of `other` is covered by this checkpoint.
    pub fn covers(&self, other: &Checkpoint) -> bool {
        let covers_state = |(stream, state): (&StreamId, &StreamState)| {
            self.streams.get(stream).is_some_and(|mine| mine.covers(state))
        };
        other
            .marks
            .iter()
            .all(|(partition, position)| self.mark(partition).covers(position.order))
            && other.streams.iter().all(covers_state)
    }

    /// The smallest of the logs' orders and what it belongs to; sources with one log have just one.
    pub fn log_marks(&self) -> impl Iterator<Item = (&Arc<str>, &Position)> {
        self.marks.iter().filter_map(|(partition, position)| match partition {
            Partition::Log(id) => Some((id, position)),
            Partition::Range { .. } => None,
        })
    }
}

/// What both states hold.
fn least_of(a: &StreamState, b: &StreamState) -> StreamState {
    match (a, b) {
        (
            StreamState::Reading { run, ranges, given_up },
            StreamState::Reading {
                run: other,
                given_up: others,
                ..
            },
        ) if run == other => {
            let pages: BTreeSet<Page> = given_up.iter().chain(others).copied().collect();
            StreamState::Reading {
                run: *run,
                ranges: ranges.clone(),
                given_up: pages.into_iter().collect(),
            }
        }
        _ if b.progress() < a.progress() => b.clone(),
        _ => a.clone(),
    }
}

impl fmt::Debug for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ckpt(")?;
        for (i, (partition, position)) in self.marks.iter().enumerate() {
            write!(f, "{}{partition}:{position:?}", if i == 0 { "" } else { " " })?;
        }
        for (i, (stream, state)) in self.streams.iter().enumerate() {
            write!(f, "{}{stream} {state:?}", if i == 0 { " | " } else { " " })?;
        }
        f.write_str(")")
    }
}

/// The stored form: `{"marks":[{"partition","order","token"}],"streams":{name: {"state","run",...}}}`.
#[derive(Serialize, Deserialize)]
struct Stored {
    marks: Vec<StoredMark>,
    streams: BTreeMap<StreamId, StreamState>,
}

#[derive(Serialize, Deserialize)]
struct StoredMark {
    partition: Partition,
    #[serde(flatten)]
    at: Position,
}

impl Serialize for Checkpoint {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mark = |(partition, at): (&Partition, &Position)| StoredMark {
            partition: partition.clone(),
            at: at.clone(),
        };
        Stored {
            marks: self.marks.iter().map(mark).collect(),
            streams: self.streams.clone(),
        }
        .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Checkpoint {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Stored { marks, streams } = Stored::deserialize(deserializer)?;
        Ok(Checkpoint {
            marks: marks.into_iter().map(|mark| (mark.partition, mark.at)).collect(),
            streams,
        })
    }
}
