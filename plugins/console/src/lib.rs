//! The two smallest destinations: [`Null`] counts and discards, [`Stdout`] prints what it gets.
//!
//! Neither keeps a checkpoint: after a restart the runtime goes on from its own, so rows may come twice. That is
//! *at-least-once*, and `validate` says it.
//!
//! `null` is written to be copied: the tutorial *Write a destination* begins with it.

use model::Code;

mod cell;
mod null;
mod print;
mod stdout;

pub use null::{Counts, Null, NullSpec};
pub use stdout::{Format, Stdout, StdoutSpec};

/// What the messages of this crate carry.
pub const CODES: &[Code] = &[Code {
    id: "E0570",
    title: "standard output cannot be written",
    explain: "The `stdout` destination could not print: the program that reads the output has ended (`| head`), or the \
file that it is sent to is on a full disk.\n\nRows that were not printed are printed again after a restart. Start the \
reader again, or send the output elsewhere.",
}];

/// Hands the destinations over.
pub fn register(registry: &mut api::Registry) {
    registry.destination::<Null>().destination::<Stdout>();
}
