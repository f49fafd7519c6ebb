//! Permission to put one more changeset into a mailbox.
//!
//! ractor's mailboxes are unbounded, so the bound is ours: a changeset travels only with a [`Credit`] of its edge, taken
//! before the send, carried inside the message, given back when the receiver drops it. An edge is bounded in messages and in
//! bytes, and always admits one changeset, however large. Control messages need no credit.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

/// Bytes are counted in these, so that a semaphore's 32 bits reach 4 TiB.
const UNIT_BYTES: usize = 1024;
/// [`Room::held`] counts bytes below this bit and messages from it on.
const MESSAGE_SHIFT: u32 = 48;

/// One sender's way into one mailbox.
pub struct Edge {
    room: Arc<Room>,
    messages_max: u32,
    units_max: u32,
    /// What the smallest changeset takes, so that one count bounds both bytes and messages.
    units_min: u32,
    waited_micros: AtomicU64,
}

/// What sender and receiver share.
struct Room {
    units: Semaphore,
    held: AtomicU64,
}

/// The permission, carried inside the message; given back when dropped.
pub struct Credit {
    room: Arc<Room>,
    units: u32,
    held: u64,
}

impl Edge {
    /// An edge that admits `messages_max` changesets of together `bytes_max` bytes at once.
    pub fn new(messages_max: u32, bytes_max: usize) -> Self {
        let units_max = (bytes_max / UNIT_BYTES).clamp(messages_max.max(1) as usize, u32::MAX as usize >> 3) as u32;
        Edge {
            room: Arc::new(Room {
                units: Semaphore::new(units_max as usize),
                held: AtomicU64::new(0),
            }),
            messages_max,
            units_max,
            units_min: units_max / messages_max.max(1),
            waited_micros: AtomicU64::new(0),
        }
    }

    /// Takes credit for a changeset of `bytes`; waits until the receiver has given enough back.
    ///
    /// Cost: one atomic step each for the semaphore, the count and the `Arc`; a clock is read only to time a wait.
    /// Cancel-safe: a dropped future took nothing.
    pub async fn take(&self, bytes: usize) -> Credit {
        let units = bytes
            .div_ceil(UNIT_BYTES)
            .clamp(self.units_min as usize, self.units_max as usize) as u32;
        if let Ok(permit) = self.room.units.try_acquire_many(units) {
            permit.forget();
        } else {
            let waited = Instant::now();
            self.wait(units).await;
            self.waited_micros
                .fetch_add(waited.elapsed().as_micros() as u64, Ordering::Relaxed);
        }
        let held = (1 << MESSAGE_SHIFT) | (bytes as u64).min((1 << MESSAGE_SHIFT) - 1);
        self.room.held.fetch_add(held, Ordering::Relaxed);
        Credit {
            room: Arc::clone(&self.room),
            units,
            held,
        }
    }

    /// Waits until a quarter of the mailbox is free, or as much as is needed, and takes what is needed: a sender that was
    /// woken for every single message that leaves would cost more than the messages.
    async fn wait(&self, units: u32) {
        let Ok(mut permit) = self.room.units.acquire_many(units.max(self.units_max / 4)).await else {
            unreachable!("the semaphore of an edge is never closed")
        };
        if let Some(needed) = permit.split(units as usize) {
            needed.forget();
        }
    }

    /// Changesets in the mailbox or being worked on.
    pub fn used_messages(&self) -> u32 {
        (self.room.held.load(Ordering::Relaxed) >> MESSAGE_SHIFT) as u32
    }

    /// The most that fit.
    pub fn limit_messages(&self) -> u32 {
        self.messages_max
    }

    /// Their bytes.
    pub fn used_bytes(&self) -> u64 {
        self.room.held.load(Ordering::Relaxed) & ((1 << MESSAGE_SHIFT) - 1)
    }

    /// The most that fit; a changeset larger than this travels alone.
    pub fn limit_bytes(&self) -> u64 {
        u64::from(self.units_max) * UNIT_BYTES as u64
    }

    /// Time that senders have waited here: the backpressure.
    pub fn waited(&self) -> Duration {
        Duration::from_micros(self.waited_micros.load(Ordering::Relaxed))
    }
}

impl Drop for Credit {
    fn drop(&mut self) {
        self.room.held.fetch_sub(self.held, Ordering::Relaxed);
        self.room.units.add_permits(self.units as usize);
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
        assert_eq!(edge.used_bytes(), 1 << 30);
        assert!(edge.room.units.try_acquire().is_err());
        drop(large);
        assert_eq!((edge.used_bytes(), edge.used_messages()), (0, 0));
    }

    #[tokio::test]
    async fn small_changesets_are_bounded_in_number() {
        let edge = Edge::new(3, 1 << 20);
        let held = [edge.take(0).await, edge.take(1).await, edge.take(2000).await];
        assert_eq!((edge.used_messages(), edge.used_bytes()), (3, 2001));
        assert!(edge.room.units.try_acquire_many(edge.units_min).is_err());
        drop(held);
        assert_eq!((edge.used_messages(), edge.used_bytes()), (0, 0));
        assert_eq!(edge.room.units.available_permits(), 1024);
    }

    #[tokio::test]
    async fn sender_that_waited_takes_only_what_it_needs() {
        let edge = Arc::new(Edge::new(8, 8 * UNIT_BYTES));
        let mut held = Vec::new();
        for _ in 0..8 {
            held.push(edge.take(1).await);
        }
        let ninth = tokio::spawn({
            let edge = Arc::clone(&edge);
            async move { edge.take(1).await }
        });
        held.truncate(6);
        let ninth = ninth.await.expect("a quarter is free");
        assert_eq!(edge.room.units.available_permits(), 1);
        drop((held, ninth));
        assert_eq!(edge.room.units.available_permits(), 8);
    }
}
