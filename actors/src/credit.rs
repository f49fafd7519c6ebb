//! Permission to put one more changeset into a mailbox.
//!
//! ractor's mailboxes are unbounded, so the bound is ours: a changeset travels only with a [`Credit`] of its edge, taken
//! before the send, carried inside the message, given back when the receiver drops it. An edge is bounded in messages and in
//! bytes, and always admits one changeset, however large. Control messages need no credit.
//!
//! Everything that two threads must agree on is one word: bytes, messages, and whether a sender waits. Whoever gives credit
//! back changes the word once and learns from its old value whether to wake somebody, so no wake-up can fall between.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::{Mutex, Notify};

/// [`Room::held`] counts bytes below this bit and messages from it on.
const MESSAGE_SHIFT: u32 = 48;
/// A sender waits.
const WAITING: u64 = 1 << 63;
const BYTES_MAX: u64 = (1 << MESSAGE_SHIFT) - 1;
const MESSAGES_MAX: u32 = (1 << (63 - MESSAGE_SHIFT)) - 1;

/// One sender's way into one mailbox.
pub struct Edge {
    room: Arc<Room>,
    /// Those who wait do so one after the other: the word knows of one.
    queue: Mutex<()>,
    waited_micros: AtomicU64,
}

/// What sender and receiver share.
struct Room {
    held: AtomicU64,
    freed: Notify,
    messages_max: u64,
    bytes_max: u64,
}

/// The permission, carried inside the message; given back when dropped.
pub struct Credit {
    room: Arc<Room>,
    held: u64,
}

impl Edge {
    /// An edge that admits `messages_max` changesets of together `bytes_max` bytes at once.
    pub fn new(messages_max: u32, bytes_max: usize) -> Self {
        Edge {
            room: Arc::new(Room {
                held: AtomicU64::new(0),
                freed: Notify::new(),
                messages_max: messages_max.clamp(1, MESSAGES_MAX).into(),
                bytes_max: (bytes_max as u64).min(BYTES_MAX / 2),
            }),
            queue: Mutex::new(()),
            waited_micros: AtomicU64::new(0),
        }
    }

    /// Takes credit for a changeset of `bytes`; waits until the receiver has given enough back.
    ///
    /// Cost: two atomic steps, one for the word and one for the `Arc`; a clock is read only to time a wait.
    /// Cancel-safe: a dropped future took nothing.
    pub async fn take(&self, bytes: usize) -> Credit {
        let held = (1 << MESSAGE_SHIFT) | (bytes as u64).min(BYTES_MAX / 2);
        if !self.room.try_take(held) {
            let waited = Instant::now();
            let _turn = self.queue.lock().await;
            self.room.wait(held).await;
            self.waited_micros
                .fetch_add(waited.elapsed().as_micros() as u64, Ordering::Relaxed);
        }
        Credit {
            room: Arc::clone(&self.room),
            held,
        }
    }

    /// Changesets in the mailbox or being worked on.
    pub fn used_messages(&self) -> u32 {
        messages(self.room.held.load(Ordering::Relaxed)) as u32
    }

    /// The most that fit.
    pub fn limit_messages(&self) -> u32 {
        self.room.messages_max as u32
    }

    /// Their bytes.
    pub fn used_bytes(&self) -> u64 {
        self.room.held.load(Ordering::Relaxed) & BYTES_MAX
    }

    /// The most that fit; a changeset larger than this travels alone.
    pub fn limit_bytes(&self) -> u64 {
        self.room.bytes_max
    }

    /// Time that senders have waited here: the backpressure.
    pub fn waited(&self) -> Duration {
        Duration::from_micros(self.waited_micros.load(Ordering::Relaxed))
    }
}

impl Room {
    fn try_take(&self, held: u64) -> bool {
        self.held
            .fetch_update(Ordering::Acquire, Ordering::Relaxed, |now| {
                self.admits(now, held).then_some(now + held)
            })
            .is_ok()
    }

    async fn wait(&self, held: u64) {
        loop {
            let now = self.held.fetch_or(WAITING, Ordering::AcqRel) | WAITING;
            let taken = (now + held) & !WAITING;
            if !self.admits(now, held) {
                self.freed.notified().await;
            } else if self
                .held
                .compare_exchange(now, taken, Ordering::AcqRel, Ordering::Relaxed)
                .is_ok()
            {
                return;
            }
        }
    }

    fn admits(&self, now: u64, more: u64) -> bool {
        let fits = messages(now) < self.messages_max && (now & BYTES_MAX) + (more & BYTES_MAX) <= self.bytes_max;
        fits || messages(now) == 0
    }

    /// Whether a waiting sender should look again: a quarter is free. One that was woken for every single message that
    /// leaves would cost more than the messages.
    fn has_quarter(&self, now: u64) -> bool {
        let fits = messages(now) <= self.messages_max * 3 / 4 && now & BYTES_MAX <= self.bytes_max / 4 * 3;
        fits || messages(now) == 0
    }
}

fn messages(held: u64) -> u64 {
    (held & !WAITING) >> MESSAGE_SHIFT
}

impl Drop for Credit {
    fn drop(&mut self) {
        let now = self.room.held.fetch_sub(self.held, Ordering::AcqRel) - self.held;
        if now & WAITING != 0 && self.room.has_quarter(now) {
            self.room.freed.notify_one();
        }
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
        assert!(!edge.room.try_take(1 << MESSAGE_SHIFT));
        drop(large);
        assert_eq!((edge.used_bytes(), edge.used_messages()), (0, 0));
    }

    #[tokio::test]
    async fn small_changesets_are_bounded_in_number() {
        let edge = Edge::new(3, 1 << 20);
        let held = [edge.take(0).await, edge.take(1).await, edge.take(2000).await];
        assert_eq!((edge.used_messages(), edge.used_bytes()), (3, 2001));
        assert!(!edge.room.try_take(1 << MESSAGE_SHIFT));
        drop(held);
        assert_eq!((edge.used_messages(), edge.used_bytes()), (0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_sender_is_woken_when_a_quarter_is_free() {
        let edge = Arc::new(Edge::new(8, 8));
        let mut held = Vec::new();
        for _ in 0..8 {
            held.push(edge.take(1).await);
        }
        let ninth = tokio::spawn({
            let edge = Arc::clone(&edge);
            async move { edge.take(1).await }
        });
        tokio::time::sleep(Duration::from_millis(1)).await;
        held.truncate(7);
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert!(!ninth.is_finished());
        held.truncate(6);
        let ninth = ninth.await.expect("a quarter is free");
        assert_eq!((edge.used_messages(), edge.used_bytes()), (7, 7));
        assert_eq!(edge.room.held.load(Ordering::Relaxed) & WAITING, 0);
        drop((held, ninth));
        assert_eq!((edge.used_messages(), edge.used_bytes()), (0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn sender_that_stops_waiting_took_nothing_and_the_next_one_gets_on() {
        let edge = Arc::new(Edge::new(1, 8));
        let first = edge.take(1).await;
        for _ in 0..3 {
            let given_up = tokio::time::timeout(Duration::from_millis(1), edge.take(1)).await;
            assert!(given_up.is_err());
        }
        let waiting: Vec<_> = (0..3)
            .map(|_| {
                let edge = Arc::clone(&edge);
                tokio::spawn(async move { drop(edge.take(1).await) })
            })
            .collect();
        tokio::time::sleep(Duration::from_millis(1)).await;
        drop(first);
        for task in waiting {
            task.await.expect("each gets its turn");
        }
        assert_eq!((edge.used_messages(), edge.used_bytes()), (0, 0));
    }

    /// Many messages between two threads through a narrow mailbox: a wake-up that got lost would hang here.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn no_wake_up_is_lost_between_two_threads() {
        for messages_max in [1, 2, 3, 16] {
            let edge = Edge::new(messages_max, 1 << 20);
            let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
            let drain = tokio::spawn(async move {
                let mut seen = 0;
                while let Some(credit) = receiver.recv().await {
                    seen += 1;
                    drop(credit);
                }
                seen
            });
            for bytes in 0..50_000 {
                assert!(sender.send(edge.take(bytes % 300_000).await).is_ok());
            }
            drop(sender);
            assert_eq!(drain.await.expect("all arrive"), 50_000);
            assert_eq!((edge.used_messages(), edge.used_bytes()), (0, 0));
        }
    }
}
