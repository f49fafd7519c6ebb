//! Permission to put one more changeset into a mailbox.
//!
//! ractor's mailboxes are unbounded, so the bound is ours: a changeset travels only with a [`Credit`] of its edge, taken
//! before the send, carried inside the message, given back when the receiver drops it. An edge is bounded in messages and in
//! bytes, and always admits one changeset, however large. Control messages need no credit.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bytes are counted in these, so that a semaphore's 32 bits reach 4 TiB.
const UNIT_BYTES: usize = 1024;

/// One sender's way into one mailbox.
pub struct Edge {
    messages: Arc<Semaphore>,
    units: Arc<Semaphore>,
    messages_max: u32,
    units_max: u32,
    waited_micros: AtomicU64,
}

/// The permission, carried inside the message; given back when dropped.
pub struct Credit {
    _message: OwnedSemaphorePermit,
    _units: OwnedSemaphorePermit,
}

impl Edge {
    /// An edge that admits `messages_max` changesets of together `bytes_max` bytes at once.
    pub fn new(messages_max: u32, bytes_max: usize) -> Self {
        let units_max = (bytes_max / UNIT_BYTES).clamp(1, u32::MAX as usize >> 3) as u32;
        Edge {
            messages: Arc::new(Semaphore::new(messages_max as usize)),
            units: Arc::new(Semaphore::new(units_max as usize)),
            messages_max,
            units_max,
            waited_micros: AtomicU64::new(0),
        }
    }

    /// Takes credit for a changeset of `bytes`; waits until the receiver has given enough back.
    ///
    /// Cost: the fast path reads no clock; only a wait is timed. Cancel-safe: a dropped future took nothing.
    pub async fn take(&self, bytes: usize) -> Credit {
        let units = (bytes.div_ceil(UNIT_BYTES)).clamp(1, self.units_max as usize) as u32;
        if let Ok(message) = Arc::clone(&self.messages).try_acquire_owned()
            && let Ok(units) = Arc::clone(&self.units).try_acquire_many_owned(units)
        {
            return Credit {
                _message: message,
                _units: units,
            };
        }
        let waited = Instant::now();
        let credit = self.wait(units).await;
        self.waited_micros
            .fetch_add(waited.elapsed().as_micros() as u64, Ordering::Relaxed);
        credit
    }

    async fn wait(&self, units: u32) -> Credit {
        let message = Arc::clone(&self.messages).acquire_owned().await;
        let units = Arc::clone(&self.units).acquire_many_owned(units).await;
        match (message, units) {
            (Ok(message), Ok(units)) => Credit {
                _message: message,
                _units: units,
            },
            _ => unreachable!("the semaphores of an edge are never closed"),
        }
    }

    /// Changesets in the mailbox or being worked on.
    pub fn used_messages(&self) -> u32 {
        self.messages_max - self.messages.available_permits() as u32
    }

    /// The most that fit.
    pub fn limit_messages(&self) -> u32 {
        self.messages_max
    }

    /// Their bytes.
    pub fn used_bytes(&self) -> u64 {
        (u64::from(self.units_max) - self.units.available_permits() as u64) * UNIT_BYTES as u64
    }

    /// The most that fit.
    pub fn limit_bytes(&self) -> u64 {
        u64::from(self.units_max) * UNIT_BYTES as u64
    }

    /// Time that senders have waited here: the backpressure.
    pub fn waited(&self) -> Duration {
        Duration::from_micros(self.waited_micros.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn sender_waits_when_credit_is_zero_and_goes_on_when_it_returns() {
        let edge = Arc::new(Edge::new(2, 1 << 20));
        let (first, _second) = (edge.take(10).await, edge.take(10).await);
        let third = tokio::spawn({
            let edge = Arc::clone(&edge);
            async move { edge.take(10).await }
        });
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert!(!third.is_finished());
        drop(first);
        third.await.expect("credit came back");
        assert_eq!(edge.used_messages(), 1);
    }

    #[tokio::test]
    async fn changeset_larger_than_the_edge_is_admitted_alone() {
        let edge = Edge::new(8, 4096);
        let large = edge.take(1 << 30).await;
        assert_eq!(edge.used_bytes(), 4096);
        drop(large);
        assert_eq!((edge.used_bytes(), edge.used_messages()), (0, 0));
    }
}
