//! SQLite as a source and as a destination.

pub(crate) mod capture;
pub(crate) mod connection;
pub(crate) mod error;
pub(crate) mod sql_text;
