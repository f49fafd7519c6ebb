//! The PostgreSQL source against real servers.
#![allow(clippy::unwrap_used, missing_docs)]

mod changes;
mod checks;
mod conformance;
mod database;
mod driver;
mod existing_rows;
mod failover;
mod limits;
mod messages;
mod replaced_tables;
mod role;
mod slot;
mod speed;
mod windows;
