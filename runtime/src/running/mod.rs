//! Pipelines at work: from a checked configuration to a supervised session, and its end.
//!
//! - The state directory is locked first; then every source is asked once for its streams. What is wrong at that moment
//!   ends the command, with the line of the configuration. A source that is only away for now is tried again and again,
//!   and keeps no other pipeline waiting: each has a supervision tree of its own.
//! - What the outside sees of all that is [`Running`]: cheap to clone, asked by HTTP, status, metrics and the terminal.

mod caught_up;
mod heartbeat;
mod jobs;
mod look;
mod pipelines;
mod refused;
mod schemas;
mod session;
mod store;

pub(crate) use caught_up::Goal;
pub(crate) use jobs::{JobError, JobState, JobView};
pub(crate) use look::{Looked, look_at_all, report, report_error};
pub(crate) use pipelines::Running;
pub(crate) use schemas::{schemas, transformed};
pub(crate) use session::{Options, Session};
pub(crate) use store::{open_store, owner};
