//! SQLite as a source and as a destination.
//!
//! The source ([`SqliteSourceConnector`]) captures changes by triggers and reads them in views; what a declared type becomes
//! in Arrow is one table, in [`column_type`]. The destination ([`SqliteDestinationConnector`]) commits rows and checkpoint in
//! one transaction. Both open files through [`open`], which says what is wrong where SQLite would not.

mod capture;
pub mod column_type;
mod connection;
pub mod destination;
mod error;
mod row_thread;
pub mod source;
mod sql_text;

pub use column_type::OVERRIDE_TYPES;
pub use connection::{Access, FileIdentity, OpenError, open};
pub use destination::{SqliteDestinationConnector, SqliteDestinationSpec};
pub use error::{Error, Refused, Treatment};
pub use source::{Capture, SqliteSource, SqliteSourceConnector, SqliteSourceSpec};

/// What the errors, warnings and notes of both roles mean.
pub const CODES: &[model::Code] =
    &joined::<_, { source::CODES.len() + destination::CODES.len() }>(source::CODES, destination::CODES);

/// Every fail-point that a run passes, in either role.
pub const FAIL_POINTS: &[&str] = &joined::<_, { source::FAIL_POINTS.len() + destination::FAIL_POINTS.len() }>(
    source::FAIL_POINTS,
    destination::FAIL_POINTS,
);

/// One list after the other; neither is empty.
const fn joined<T: Copy, const N: usize>(first: &[T], second: &[T]) -> [T; N] {
    let mut all = [first[0]; N];
    let mut i = 0;
    while i < N {
        all[i] = if i < first.len() {
            first[i]
        } else {
            second[i - first.len()]
        };
        i += 1;
    }
    all
}
