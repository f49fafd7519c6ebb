//! The built binary, from outside: real files, real processes, real signals.
#![allow(clippy::unwrap_used, missing_docs)]

mod admin;
mod cloudquery;
mod cloudquery_config;
mod foreign;
mod offline;
mod runs;
mod site;
mod upkeep;
mod verify;
