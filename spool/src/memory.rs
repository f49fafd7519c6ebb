//! The memory home: everything is lost with the process, and the source is acknowledged only when destinations are durable.
//!
//! Invariants:
//! - changesets are numbered from 0; `traces` stand for the oldest numbers, `entries` for the rest, one number each;
//! - the changesets in `entries` cost at most `window_max_bytes`, except that one is always admitted;
//! - an entry is evicted, oldest first, only when room is needed and every lane has read it;
//! - what an evicted entry moved stays in `traces`, merged with its neighbours, until it is durable at every lane, so that
//!   a rewind can tell whether something it needs is gone.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use model::{Body, ChangeSet, Checkpoint, Delta, DestinationId, Part, Partition};
use tokio::sync::Notify;

use crate::{Attach, Cursor, Delivery, LaneId, Next, Permit, Spool, SpoolError, WhenBehind};

/// A spool in memory.
pub struct MemorySpool(Arc<Shared>);

struct Shared {
    window_max_bytes: usize,
    state: Mutex<Window>,
    /// Something was appended, or the spool was closed, or a lane was let go.
    arrived: Notify,
    /// A cursor moved or went, so that there may be room.
    moved: Notify,
}

#[derive(Default)]
struct Window {
    /// What was dropped because it was durable at every lane that there was: a lane that comes later must cover it.
    forgotten: Delta,
    /// Evicted, but not durable everywhere.
    traces: VecDeque<Trace>,
    /// The number that the oldest trace starts with.
    traces_first: u64,
    entries: VecDeque<Entry>,
    /// The number of `entries[0]`.
    entries_first: u64,
    cost_bytes: usize,
    lanes: Vec<LaneState>,
    lane_serial: u64,
    held_by: Option<DestinationId>,
    is_closed: bool,
}

/// What `count` successive changesets moved, without rows; controls are kept whole, they are small.
struct Trace {
    changeset: Arc<ChangeSet>,
    count: u64,
}

struct Entry {
    delivery: Delivery,
    cost_bytes: usize,
}

/// What a changeset costs beside its Arrow bytes: its own structures, so that a million tiny ones are bounded too.
const OVERHEAD_BYTES: usize = 1024;

struct LaneState {
    serial: u64,
    id: LaneId,
    /// The next number that it reads.
    next: u64,
    /// Everything before this number is durable there.
    durable: u64,
    is_let_go: bool,
}

/// What an operator wants to know of a spool.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SpoolStatus {
    /// Bytes of the bodies kept.
    pub window_bytes: usize,
    /// The most it keeps.
    pub window_max_bytes: usize,
    /// The destination for which the others wait now, if any.
    pub held_by: Option<DestinationId>,
    /// Each lane.
    pub lanes: Vec<LaneStatus>,
}

/// One lane of a spool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaneStatus {
    /// The destination.
    pub destination: DestinationId,
    /// Changesets that it has not read yet.
    pub unread_count: u64,
    /// Whether it was let go.
    pub is_let_go: bool,
}

impl MemorySpool {
    /// A spool that keeps at most `window_max_bytes` of bodies.
    pub fn new(window_max_bytes: usize) -> Self {
        MemorySpool(Arc::new(Shared {
            window_max_bytes,
            state: Mutex::default(),
            arrived: Notify::new(),
            moved: Notify::new(),
        }))
    }

    /// How it stands.
    pub fn status(&self) -> SpoolStatus {
        let window = self.0.lock();
        let end = window.end();
        let lane = |lane: &LaneState| LaneStatus {
            destination: lane.id.destination.clone(),
            unread_count: end - lane.next,
            is_let_go: lane.is_let_go,
        };
        SpoolStatus {
            window_bytes: window.cost_bytes,
            window_max_bytes: self.0.window_max_bytes,
            held_by: window.held_by.clone(),
            lanes: window.lanes.iter().map(lane).collect(),
        }
    }
}

impl Shared {
    /// Every method leaves the window whole before it can panic.
    fn lock(&self) -> MutexGuard<'_, Window> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Window {
    fn end(&self) -> u64 {
        self.entries_first + self.entries.len() as u64
    }

    /// Evicts what every lane has read, oldest first, until `bytes` fit. Says who is in the way if they do not.
    fn make_room(&mut self, bytes: usize, max: usize) -> Result<(), DestinationId> {
        while !self.entries.is_empty() && self.cost_bytes + bytes > max {
            let number = self.entries_first;
            let has_not_read = |lane: &&LaneState| !lane.is_let_go && lane.next <= number;
            let waits_for = |lane: &&LaneState| has_not_read(lane) && lane.id.when_behind == WhenBehind::Hold;
            if let Some(lane) = self.lanes.iter().find(waits_for) {
                return Err(lane.id.destination.clone());
            }
            for lane in &mut self.lanes {
                lane.is_let_go |= lane.next <= number;
            }
            self.evict_oldest();
        }
        Ok(())
    }

    fn evict_oldest(&mut self) {
        let Some(entry) = self.entries.pop_front() else { return };
        self.cost_bytes -= entry.cost_bytes;
        self.entries_first += 1;
        self.traces.push_back(Trace {
            changeset: without_rows(&entry.delivery.changeset),
            count: 1,
        });
        self.forget_durable();
        self.merge_last_traces();
    }

    /// Drops from the front what every lane has durable.
    fn forget_durable(&mut self) {
        let durable = self
            .lanes
            .iter()
            .filter(|lane| !lane.is_let_go)
            .map(|lane| lane.durable.min(lane.next))
            .min();
        let Some(durable) = durable else { return };
        while let Some(front) = self.traces.front() {
            if self.traces_first + front.count > durable {
                return;
            }
            self.traces_first += front.count;
            self.forgotten.then(&front.changeset.delta);
            self.traces.pop_front();
        }
        while self.entries_first < durable {
            let Some(entry) = self.entries.pop_front() else { return };
            self.cost_bytes -= entry.cost_bytes;
            self.forgotten.then(&entry.delivery.changeset.delta);
            self.entries_first += 1;
            self.traces_first = self.entries_first;
        }
    }

    /// Merges the last two traces, so that a lane that is durable seldom costs no memory meanwhile. Controls stay apart, and
    /// so does a transaction whose end is not evicted yet.
    fn merge_last_traces(&mut self) {
        let [.., a, b] = self.traces.make_contiguous() else {
            return;
        };
        let has_rows = |trace: &Trace| matches!(trace.changeset.body, Body::Rows(_));
        let begins = b.changeset.part == Part::First;
        if !has_rows(a) || !has_rows(b) || begins {
            return;
        }
        let mut delta = a.changeset.delta.clone();
        delta.then(&b.changeset.delta);
        let part = match b.changeset.part {
            Part::Whole | Part::Last => Part::Whole,
            Part::First | Part::Middle => Part::First,
        };
        *a = Trace {
            changeset: Arc::new(ChangeSet::part(part, delta, Vec::new())),
            count: a.count + b.count,
        };
        self.traces.pop_back();
    }

    /// Whether nothing that `from` lacks was dropped.
    fn joins(&self, destination: &DestinationId, from: &Checkpoint) -> bool {
        let forgotten = ChangeSet::rows(self.forgotten.clone(), Vec::new());
        from.admit_delta(destination, &forgotten)
            .is_ok_and(|delta| delta.is_empty())
    }

    /// The first number, from `start` on, that `to` does not cover. A transaction in parts is covered when its last part is.
    fn place(&self, destination: &DestinationId, to: &Checkpoint, start: u64) -> u64 {
        let skipped = start.saturating_sub(self.entries_first) as usize;
        let traces = self.traces.iter().map(|trace| (&trace.changeset, trace.count));
        let entries = self
            .entries
            .iter()
            .skip(skipped)
            .map(|entry| (&entry.delivery.changeset, 1));
        let (mut number, traces) = if start >= self.entries_first {
            (self.entries_first + skipped as u64, None)
        } else {
            (self.traces_first, Some(traces))
        };
        let mut uncovered_from = number;
        for (changeset, count) in traces.into_iter().flatten().chain(entries) {
            number += count;
            if !changeset.part.ends_consistent() {
                continue;
            }
            // A hole is for the lane to report: it is not covered.
            let is_covered = to
                .admit_delta(destination, changeset)
                .is_ok_and(|delta| delta.is_empty());
            if !is_covered {
                return uncovered_from;
            }
            uncovered_from = number;
        }
        uncovered_from
    }
}

#[async_trait]
impl Spool for MemorySpool {
    async fn append(&self, changeset: Arc<ChangeSet>, permit: Permit) -> Result<Option<Checkpoint>, SpoolError> {
        let cost_bytes = changeset.size_bytes + OVERHEAD_BYTES;
        let delivery = Delivery {
            changeset,
            permit: Arc::new(permit),
        };
        loop {
            let moved = self.0.moved.notified();
            tokio::pin!(moved);
            moved.as_mut().enable();
            {
                let mut window = self.0.lock();
                if window.is_closed {
                    return Err(SpoolError::Closed);
                }
                match window.make_room(cost_bytes, self.0.window_max_bytes) {
                    Ok(()) => {
                        window.held_by = None;
                        window.cost_bytes += cost_bytes;
                        window.entries.push_back(Entry { delivery, cost_bytes });
                        break;
                    }
                    Err(holder) => window.held_by = Some(holder),
                }
            }
            self.0.arrived.notify_waiters();
            moved.await;
        }
        self.0.arrived.notify_waiters();
        Ok(None)
    }

    async fn cursor(&self, lane: &LaneId, from: &Checkpoint) -> Result<Attach, SpoolError> {
        let mut window = self.0.lock();
        let next = window.place(&lane.destination, from, 0);
        if next < window.entries_first || !window.joins(&lane.destination, from) {
            return Ok(Attach::OutOfReach);
        }
        let serial = window.lane_serial;
        window.lane_serial += 1;
        window.lanes.push(LaneState {
            serial,
            id: lane.clone(),
            next,
            durable: next,
            is_let_go: false,
        });
        Ok(Attach::Here(Box::new(MemoryCursor {
            shared: Arc::clone(&self.0),
            serial,
            destination: lane.destination.clone(),
            passed: from.clone(),
            stop: None,
        })))
    }

    async fn durable(&self, lane: &LaneId, upto: &Checkpoint) -> Result<(), SpoolError> {
        let mut window = self.0.lock();
        let Some(at) = window
            .lanes
            .iter()
            .position(|state| state.id.destination == lane.destination)
        else {
            return Ok(());
        };
        let durable = window.place(&lane.destination, upto, window.lanes[at].durable);
        window.lanes[at].durable = durable.max(window.lanes[at].durable);
        window.forget_durable();
        drop(window);
        self.0.moved.notify_waiters();
        Ok(())
    }

    async fn close(&self) {
        self.0.lock().is_closed = true;
        self.0.arrived.notify_waiters();
        self.0.moved.notify_waiters();
    }
}

/// What a changeset moves, without its rows.
fn without_rows(changeset: &Arc<ChangeSet>) -> Arc<ChangeSet> {
    match &changeset.body {
        Body::Control(_) => Arc::clone(changeset),
        Body::Rows(_) => Arc::new(ChangeSet::part(changeset.part, changeset.delta.clone(), Vec::new())),
    }
}

struct MemoryCursor {
    shared: Arc<Shared>,
    serial: u64,
    destination: DestinationId,
    /// The marks of the logs up to which changesets were delivered.
    passed: Checkpoint,
    stop: Option<Checkpoint>,
}

impl MemoryCursor {
    fn is_at_stop(&self) -> bool {
        let passed = |(partition, position): (&Partition, &model::Position)| {
            !partition.is_log() || self.passed.mark(partition).covers(position.order)
        };
        self.stop.as_ref().is_some_and(|stop| stop.marks.iter().all(passed))
    }

    /// One step, if it can be made without waiting.
    fn step(&mut self) -> Option<Next> {
        if self.is_at_stop() {
            return Some(Next::Stopped);
        }
        let mut window = self.shared.lock();
        let lane = window.lanes.iter().position(|lane| lane.serial == self.serial)?;
        if window.lanes[lane].is_let_go {
            return Some(Next::LetGo);
        }
        let number = window.lanes[lane].next;
        let Some(index) = number.checked_sub(window.entries_first) else {
            window.lanes[lane].is_let_go = true;
            return Some(Next::LetGo);
        };
        let Some(entry) = window.entries.get(index as usize) else {
            return window.is_closed.then_some(Next::Closed);
        };
        let delivery = entry.delivery.clone();
        window.lanes[lane].next += 1;
        drop(window);
        self.shared.moved.notify_waiters();
        for m in &delivery.changeset.delta.moves {
            self.passed.marks.insert(m.partition.clone(), m.to.clone());
        }
        Some(Next::Delivery(delivery))
    }
}

#[async_trait]
impl Cursor for MemoryCursor {
    async fn next(&mut self) -> Result<Next, SpoolError> {
        loop {
            let shared = Arc::clone(&self.shared);
            let arrived = shared.arrived.notified();
            tokio::pin!(arrived);
            arrived.as_mut().enable();
            if let Some(next) = self.step() {
                return Ok(next);
            }
            arrived.await;
        }
    }

    fn rewind(&mut self, to: &Checkpoint) -> bool {
        let mut window = self.shared.lock();
        let next = window.place(&self.destination, to, 0);
        let is_there = next >= window.entries_first;
        let Some(lane) = window.lanes.iter_mut().find(|lane| lane.serial == self.serial) else {
            return false;
        };
        if !is_there || lane.is_let_go {
            return false;
        }
        lane.next = next;
        drop(window);
        self.passed = to.clone();
        self.shared.moved.notify_waiters();
        true
    }

    fn stop_at(&mut self, at: &Checkpoint) {
        self.stop = Some(at.clone());
    }
}

impl Drop for MemoryCursor {
    fn drop(&mut self) {
        let mut window = self.shared.lock();
        window.lanes.retain(|lane| lane.serial != self.serial);
        if window.lanes.is_empty() {
            window.held_by = None;
        } else {
            window.forget_durable();
        }
        drop(window);
        self.shared.moved.notify_waiters();
    }
}
