//! Connecting and replicating, against real servers.
#![allow(clippy::unwrap_used)]

mod certificates;
mod keepalives;
mod log;
mod logins;
mod man_in_the_middle;
mod several_hosts;
mod slots;
mod spec;
mod streaming;
mod tls;
mod world;
