//! Durable checkpoints: what each destination held when this runtime last heard of it, and what a source keeps beside it.
//!
//! Constraints:
//! - what is stored is a *hint*. A destination that keeps its own checkpoint is the authority, and its answer wins; but a
//!   destination that keeps none goes on from here, so a value must never step back without anybody saying so;
//! - one value per destination, whole and self-contained: nothing is assumed about two values being of the same moment;
//! - an acknowledgement to the source follows a [`put`](StateStore::put), so `put` returns only when the value survives a
//!   power loss;
//! - an I/O error of a write, a flush or an `fdatasync` ends the store, and the process should follow it
//!   ([`StateError::is_fatal_io`]): after a failed `fsync` nobody knows what the disk holds, and asking again is answered
//!   with a success that means nothing.
//!
//! [`SledStore`] is the store, and its module describes what is on disk. [`MemoryStore`] serves tests. Both are held to
//! [`conformance`]. Nothing outside this crate knows sled.

mod codes;
pub mod conformance;
mod error;
mod memory;
mod notice;
mod sled_store;
mod store;

pub use codes::CODES;
pub use error::StateError;
pub use memory::MemoryStore;
pub use notice::Notice;
pub use sled_store::{Contents, FORMAT, PipelineContents, SledStore};
pub use store::{PendingRead, StateStore, Stored};

/// Every fail-point of this crate. Those named `open` are passed by every open, the two of the rename also when the
/// journal is cut short, the others by every write.
pub const FAIL_POINTS: &[&str] = &[
    "state.open_locked",
    "state.open_read",
    "state.open_repaired",
    "state.before_journal_rename",
    "state.after_journal_rename",
    "state.open_before_format",
    "state.open_ready",
    "state.before_journal",
    "state.mid_journal_write",
    "state.before_journal_fsync",
    "state.after_journal_fsync",
    "state.before_flush",
    "state.after_flush",
    "state.after_fdatasync",
];
