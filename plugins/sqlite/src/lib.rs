//! SQLite as a source and as a destination.
//!
//! The source ([`SqliteSourceConnector`]) captures changes by triggers ([`capture`]) and reads them in views
//! ([`source`]); what a declared type becomes in Arrow is one table, in [`column_type`].

mod capture;
pub mod column_type;
mod connection;
mod error;
mod source;
mod sql_text;

pub use connection::{Access, FileIdentity, OpenError, open};
pub use error::{Error, Refused, Treatment};
pub use source::{Capture, SqliteSource, SqliteSourceConnector, SqliteSourceSpec};
