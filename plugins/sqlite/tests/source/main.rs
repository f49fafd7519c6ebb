//! The SQLite source against real database files.

#![allow(clippy::unwrap_used, missing_docs)]

mod conformance;
