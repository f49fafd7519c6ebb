//! Connecting and replicating, against real servers.
#![allow(clippy::unwrap_used)]

mod log;
mod world;
