//! What the threads of one opened source share: the reading engine, the keeper, and the control beside them.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use api::ReadProgress;
use tokio_util::sync::CancellationToken;

use super::engine::ViewRequest;
use super::reads::Request;
use crate::error::Error;

/// Everything that passes between the threads. No lock is held while anything waits for SQLite.
pub(crate) struct Shared {
    state: Mutex<State>,
    woken: Condvar,
    /// End at the next consistent point.
    pub(crate) closing: CancellationToken,
    /// End at once; the runtime's.
    pub(crate) stop: CancellationToken,
    /// What marks may certify: the schema under which capture was last seen to be in order.
    pub(crate) schema_version: AtomicI64,
    /// Up to here the log may be pruned, and the mark that must stay.
    pub(crate) acknowledged: AtomicI64,
    pub(crate) anchor: AtomicI64,
    /// The log is emitted up to here.
    pub(crate) announced: AtomicI64,
    /// The largest run number that anybody has seen.
    pub(crate) run_floor: AtomicU32,
    has_ended: AtomicBool,
}

#[derive(Default)]
struct State {
    requests: VecDeque<Request>,
    views: VecDeque<ViewRequest>,
    reads: Vec<ReadProgress>,
    failure: Option<Error>,
}

impl Shared {
    pub(crate) fn new(stop: CancellationToken) -> Self {
        Shared {
            state: Mutex::default(),
            woken: Condvar::new(),
            closing: stop.child_token(),
            stop,
            schema_version: AtomicI64::new(0),
            acknowledged: AtomicI64::new(0),
            anchor: AtomicI64::new(0),
            announced: AtomicI64::new(0),
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
        self.wake();
    }

    pub(crate) fn pop_request(&self) -> Option<Request> {
        self.lock().requests.pop_front()
    }

    pub(crate) fn push_view(&self, request: ViewRequest) {
        self.lock().views.push_back(request);
        self.wake();
    }

    pub(crate) fn pop_view(&self) -> Option<ViewRequest> {
        self.lock().views.pop_front()
    }

    /// Lets a thread that waits look again.
    pub(crate) fn wake(&self) {
        self.woken.notify_all();
    }

    /// Waits until somebody wakes or the time is over.
    pub(crate) fn wait(&self, at_most: Duration) {
        let state = self.lock();
        if state.requests.is_empty() && state.views.is_empty() && !self.closing.is_cancelled() {
            drop(self.woken.wait_timeout(state, at_most));
        }
    }

    /// Waits the whole time unless the source is closed meanwhile.
    pub(crate) fn rest(&self, time: Duration) {
        let deadline = std::time::Instant::now() + time;
        while !self.closing.is_cancelled() {
            let Some(left) = deadline
                .checked_duration_since(std::time::Instant::now())
                .filter(|left| !left.is_zero())
            else {
                return;
            };
            drop(self.woken.wait_timeout(self.lock(), left));
        }
    }

    pub(crate) fn set_reads(&self, reads: Vec<ReadProgress>) {
        self.lock().reads = reads;
    }

    pub(crate) fn reads(&self) -> Vec<ReadProgress> {
        self.lock().reads.clone()
    }

    /// The keeper found something that ends the reading.
    pub(crate) fn fail(&self, error: Error) {
        self.lock().failure.get_or_insert(error);
        self.wake();
    }

    pub(crate) fn take_failure(&self) -> Option<Error> {
        self.lock().failure.take()
    }

    pub(crate) fn close(&self) {
        self.closing.cancel();
        self.wake();
    }

    pub(crate) fn set_ended(&self) {
        self.has_ended.store(true, Ordering::Release);
    }

    /// Whether the engine came to its end by itself, and not by a panic.
    pub(crate) fn has_ended(&self) -> bool {
        self.has_ended.load(Ordering::Acquire)
    }
}
