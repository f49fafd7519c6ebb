//! The SQLite source against real database files.

#![allow(clippy::unwrap_used, missing_docs)]

mod conformance;
mod driver;
mod following_ddl;
mod misfits;
mod opening;
mod polling;
mod restored;
mod shapes;
mod speed;
mod volume;
