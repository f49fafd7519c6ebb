//! Running pipelines: supervised actors, credit, the commit path. The only crate that knows ractor.
//!
//! ```text
//! runtime supervisor
//! └─ pipeline supervisor        one per pipeline: a fault stays inside it
//!    ├─ source actor            a loop around dyn Reader
//!    ├─ transformer actors      computing on threads of their own
//!    ├─ fan-out actor           appends to the spool; a cursor on it per destination
//!    ├─ destination actors      open, apply, commit, come back
//!    └─ checkpointer            durable marks → state store → acknowledge the minimum
//! ```
//!
//! Invariants:
//! - a changeset is in a mailbox only with credit for it ([`credit`]), so every mailbox is bounded in messages and bytes;
//! - a handler never waits: reading, transforming and writing run in a task that the actor owns, and the handler forwards;
//! - an actor is thin: connectors are plain trait objects, tested without an actor system;
//! - nothing that must happen lives in `post_stop`, which ractor does not run after a kill or a panic.

pub mod credit;
pub mod metric;

mod backoff;
mod busy;
mod checkpointer;
mod codes;
mod destination;
mod fanout;
pub mod flow;
mod joined;
mod pipeline;
mod runtime;
mod source;
mod spec;
mod status;
mod timeline;
mod transformer;
mod verify;

pub use backoff::{Backoff, RestartBudget};
pub use codes::CODES;
pub use destination::{kept_table, kept_tables};
pub use pipeline::{Resync, Resynced};
pub use runtime::{Ends, Outcome, Runtime, RuntimeSpec};
pub use spec::{BatchLimits, DestinationSpec, Limits, Make, PipelineSpec, TransformerSpec};
pub use status::{
    Board, DestinationState, DestinationStatus, PipelineState, PipelineStatus, ReadStatus, SourceStatus, SpoolView,
    StreamStatus, Trouble,
};
pub use verify::{ComparedAs, Comparison, DIFFERENCES_MAX, SharedProgress, Verified, Verify, VerifyProgress};

/// Every fail-point of this crate.
pub const FAIL_POINTS: &[&str] = &[
    "source.after_read",
    "lane.after_open",
    "lane.before_write",
    "lane.after_write",
    "lane.before_commit",
    "lane.after_commit",
    "checkpointer.before_state",
    "checkpointer.after_state",
    "checkpointer.before_acknowledge",
    "checkpointer.after_acknowledge",
];

/// The number of one opening of a source; what belongs to an earlier one is void.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FlowId(pub(crate) u64);
