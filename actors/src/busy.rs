//! Watching progress, not just liveness: what call into a connector is going on, and since when.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// One component's current call, if it is in one.
#[derive(Clone, Default)]
pub(crate) struct Busy(Arc<Mutex<Option<(&'static str, Instant)>>>);

impl Busy {
    /// Runs `call`, visible to the watchdog as being in `what`.
    pub(crate) async fn while_in<T>(&self, what: &'static str, call: impl Future<Output = T>) -> T {
        self.set(Some((what, Instant::now())));
        let _reset = Reset(self);
        call.await
    }

    /// The call that has been going on for longer than `limit`.
    pub(crate) fn stuck_in(&self, limit: Duration) -> Option<&'static str> {
        let call = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        call.filter(|(_, since)| since.elapsed() > limit).map(|(what, _)| what)
    }

    fn set(&self, call: Option<(&'static str, Instant)>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = call;
    }
}

/// A call that is cancelled or panics is over, too.
struct Reset<'a>(&'a Busy);

impl Drop for Reset<'_> {
    fn drop(&mut self) {
        self.0.set(None);
    }
}
