//! Doubles and wrappers for tests: ordinary implementations of the roles, so that whatever drives a connector drives them.
//!
//! - [`FaultyDestination`], [`FaultySource`]: pass everything on and fail, panic, hang or lose an answer where
//!   [`Faults`] says so; armed and healed while they run.
//! - [`ThrottledDestination`]: slow by rows per second or by call; the pace can be changed while it runs.
//! - [`Replica`]: a transactional destination in memory; the judge of what a source emitted.
//! - [`ScriptedSource`]: a database in memory with a log, read as a real one would be.
//!
//! None of these is a connector: they are in no registry.

mod fault;
mod faulty_destination;
mod faulty_source;
mod replica;
mod scripted;
mod throttled;

pub use fault::{Call, Fault, Faults, When};
pub use faulty_destination::FaultyDestination;
pub use faulty_source::FaultySource;
pub use replica::Replica;
pub use scripted::{Script, ScriptedSource, Transaction};
pub use throttled::{Pace, ThrottledDestination};
