//! What the tasks of one opened source share: the engine, and the control beside it.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use api::ReadProgress;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::engine::ViewRequest;
use super::reads::Request;
use crate::replication::Lsn;

/// Everything that passes between engine and control. No lock is held across an await.
pub(crate) struct Shared {
    state: Mutex<State>,
    /// Wakes the engine: a request, an acknowledgement, a question for the head.
    pub(crate) woken: Notify,
    /// Told whenever `received` grew.
    moved: Notify,
    /// End at the next consistent point.
    pub(crate) closing: CancellationToken,
    /// End at once; the runtime's.
    pub(crate) stop: CancellationToken,
    /// Every commit record that begins before it is durable everywhere.
    acknowledged: AtomicU64,
    /// Every commit record that begins before it has been received.
    received: AtomicU64,
    /// Somebody wants to know whether the log has anything before this.
    asked: AtomicU64,
    /// The order key of the newest commit that had something for us.
    pub(crate) newest: AtomicU64,
    /// When that was committed, in microseconds since 1970; 0 if none was seen.
    pub(crate) newest_time: AtomicI64,
    /// Whether the engine waits for memory or for the runtime, and does not read the log.
    pub(crate) is_busy: AtomicBool,
    /// The largest run number that anybody has seen.
    pub(crate) run_floor: AtomicU32,
    has_ended: AtomicBool,
}

#[derive(Default)]
struct State {
    requests: VecDeque<Request>,
    views: VecDeque<ViewRequest>,
    reads: Vec<ReadProgress>,
}

impl Shared {
    /// `start` is where the log is read from.
    pub(crate) fn new(stop: CancellationToken, start: Lsn) -> Self {
        Shared {
            state: Mutex::default(),
            woken: Notify::new(),
            moved: Notify::new(),
            closing: stop.child_token(),
            stop,
            acknowledged: AtomicU64::new(0),
            received: AtomicU64::new(start.0),
            asked: AtomicU64::new(0),
            newest: AtomicU64::new(start.0.saturating_sub(1)),
            newest_time: AtomicI64::new(0),
            is_busy: AtomicBool::new(false),
            run_floor: AtomicU32::new(0),
            has_ended: AtomicBool::new(false),
        }
    }

    /// Nothing is left half-done by a panic inside these short sections.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn push_request(&self, request: Request) {
        self.lock().requests.push_back(request);
        self.woken.notify_one();
    }

    pub(crate) fn pop_request(&self) -> Option<Request> {
        self.lock().requests.pop_front()
    }

    pub(crate) fn push_view(&self, request: ViewRequest) {
        self.lock().views.push_back(request);
        self.woken.notify_one();
    }

    pub(crate) fn pop_view(&self) -> Option<ViewRequest> {
        self.lock().views.pop_front()
    }

    pub(crate) fn set_reads(&self, reads: Vec<ReadProgress>) {
        self.lock().reads = reads;
    }

    pub(crate) fn reads(&self) -> Vec<ReadProgress> {
        self.lock().reads.clone()
    }

    /// Counts rows of a read that were handed out.
    pub(crate) fn count_rows(&self, stream: &model::StreamId, run: u32, rows: u64) {
        let mut state = self.lock();
        let read = state
            .reads
            .iter_mut()
            .find(|read| &read.stream == stream && read.run == run);
        if let Some(read) = read {
            read.row_count += rows;
        }
    }

    pub(crate) fn acknowledged(&self) -> Lsn {
        Lsn(self.acknowledged.load(Ordering::Acquire))
    }

    /// Monotonic: an older one changes nothing.
    pub(crate) fn acknowledge(&self, end: Lsn) {
        if self.acknowledged.fetch_max(end.0, Ordering::AcqRel) < end.0 {
            self.woken.notify_one();
        }
    }

    pub(crate) fn received(&self) -> Lsn {
        Lsn(self.received.load(Ordering::Acquire))
    }

    pub(crate) fn set_received(&self, end: Lsn) {
        if self.received.fetch_max(end.0, Ordering::AcqRel) < end.0 {
            self.moved.notify_waiters();
        }
    }

    /// The furthest place that somebody asked about and that was not received yet.
    pub(crate) fn asked(&self) -> Option<Lsn> {
        let asked = Lsn(self.asked.load(Ordering::Acquire));
        (asked > self.received()).then_some(asked)
    }

    /// Whether everything before `end` has been received, after a short wait for an engine that is not busy.
    pub(crate) async fn reaches(&self, end: Lsn, patience: Duration) -> bool {
        self.asked.fetch_max(end.0, Ordering::AcqRel);
        self.woken.notify_one();
        let wait = async {
            loop {
                let moved = self.moved.notified();
                tokio::pin!(moved);
                // Registered before the look, so that a move in between is not missed.
                moved.as_mut().enable();
                if self.received() >= end {
                    return;
                }
                moved.await;
            }
        };
        if self.is_busy.load(Ordering::Acquire) {
            return self.received() >= end;
        }
        tokio::time::timeout(patience, wait).await.is_ok()
    }

    pub(crate) fn close(&self) {
        self.closing.cancel();
        self.woken.notify_one();
    }

    pub(crate) fn set_ended(&self) {
        self.has_ended.store(true, Ordering::Release);
    }

    /// Whether the engine came to its end by itself, and not by a panic.
    pub(crate) fn has_ended(&self) -> bool {
        self.has_ended.load(Ordering::Acquire)
    }
}
