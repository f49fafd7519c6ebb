//! The SQLite destination on real files: the conformance suite, what other programs see, fencing, kills.
#![allow(clippy::unwrap_used, missing_docs)]

mod conformance;
mod crash;
mod database;
mod existing_tables;
mod fencing;
mod forms;
mod model_map;
mod opening;
mod readers;
mod schema_change;
mod speed;
mod upsert;
