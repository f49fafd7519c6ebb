//! Between a source and its destinations: a window of recent changesets, and a cursor on it for each destination.
//!
//! Constraints:
//! - a changeset is kept once, however many cursors will read it;
//! - a slow cursor is its own problem as far as the home allows: the memory home makes the others wait or lets the slow one
//!   go, and says which; nothing is ever dropped in silence;
//! - a retry needs no source: what every cursor has read stays, while there is room, until it is durable everywhere.
//!
//! [`Spool`] has three homes: memory ([`MemorySpool`]), disk and Kafka. The last two are to come; the traits are theirs too.

mod memory;

use std::any::Any;
use std::sync::Arc;

use async_trait::async_trait;
use model::{ChangeSet, Checkpoint, DestinationId};

pub use memory::{LaneStatus, MemorySpool, SpoolStatus};

/// The memory that was reserved for a changeset. Opaque: it is given back when the last holder drops it.
pub struct Permit(#[allow(dead_code, reason = "held for its drop")] Option<Box<dyn Any + Send + Sync>>);

impl Permit {
    /// Carries a reservation.
    pub fn holding(reservation: impl Any + Send + Sync) -> Self {
        Permit(Some(Box::new(reservation)))
    }

    /// Carries nothing.
    pub fn none() -> Self {
        Permit(None)
    }
}

impl std::fmt::Debug for Permit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.is_some() { "Permit" } else { "Permit(none)" })
    }
}

/// What happens to a destination that falls out of the window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhenBehind {
    /// The others wait for it.
    Hold,
    /// It is let go, to be caught up later by a rewind of the source.
    LetGo,
}

/// Whose cursor it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaneId {
    /// The destination.
    pub destination: DestinationId,
    /// What happens when it falls behind.
    pub when_behind: WhenBehind,
}

/// The answer to a wish for a cursor.
pub enum Attach {
    /// The cursor; its first changeset is the first that the checkpoint does not cover.
    Here(Box<dyn Cursor>),
    /// The window no longer has everything after that checkpoint: the source must be rewound.
    OutOfReach,
}

/// One step of a cursor.
#[derive(Debug)]
pub enum Next {
    /// A changeset.
    Delivery(Delivery),
    /// The point of `stop_at` is reached.
    Stopped,
    /// The lane was let go: there was no room to keep what it had not read.
    LetGo,
    /// The spool was closed, and everything in it was read.
    Closed,
}

/// A changeset and the memory that it occupies until the last holder drops it.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// The changeset.
    pub changeset: Arc<ChangeSet>,
    pub(crate) permit: Arc<Permit>,
}

impl Delivery {
    /// Something else made of the same memory (a transformed changeset, charged to the one it came from).
    #[must_use]
    pub fn with(&self, changeset: Arc<ChangeSet>) -> Self {
        Delivery {
            changeset,
            permit: Arc::clone(&self.permit),
        }
    }
}

/// Why a spool cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// Appended after `close`.
    #[error("cannot append to the spool: it is closed")]
    Closed,
}

/// A window of changesets with one cursor for each destination.
#[async_trait]
pub trait Spool: Send + Sync {
    /// Appends a changeset.
    ///
    /// Waits while there is no room and a lane that must be waited for has not read the oldest changeset. Cancel-safe: a
    /// dropped future appended nothing.
    ///
    /// Returns: `Some` if the spool has taken custody up to that checkpoint, so that it may be acknowledged to the source
    /// although destinations lag. The memory home never does.
    async fn append(&self, changeset: Arc<ChangeSet>, permit: Permit) -> Result<Option<Checkpoint>, SpoolError>;

    /// A cursor for a lane that holds `from`. Dropping it frees the lane.
    async fn cursor(&self, lane: &LaneId, from: &Checkpoint) -> Result<Attach, SpoolError>;

    /// Everything up to `upto` is durable at this lane and need not be kept for its retries.
    async fn durable(&self, lane: &LaneId, upto: &Checkpoint) -> Result<(), SpoolError>;

    /// No more changesets will come; cursors end when they have read what is there.
    async fn close(&self);
}

/// One destination's place in a spool.
#[async_trait]
pub trait Cursor: Send {
    /// The next step. Cancel-safe: a dropped future moved nothing.
    async fn next(&mut self) -> Result<Next, SpoolError>;

    /// Goes back to the first changeset that `to` does not cover. `false`: it is no longer there, and the cursor stays
    /// where it is; the source must be rewound.
    fn rewind(&mut self, to: &Checkpoint) -> bool;

    /// Makes `next` answer [`Next::Stopped`] once everything that `at` covers was delivered.
    fn stop_at(&mut self, at: &Checkpoint);
}
