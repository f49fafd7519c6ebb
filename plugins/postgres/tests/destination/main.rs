//! The destination against a real server.

#![allow(clippy::unwrap_used)]

mod conformance;
mod connection;
mod database;
mod existing_tables;
mod fencing;
mod pooler;
mod proxy;
mod refused_rows;
mod role;
mod schema_change;
mod speed;
mod upsert;
mod values;
