//! Types against a real server: every value goes out in both forms and comes back in.

#![allow(clippy::unwrap_used)]

mod cases;
mod random;
mod refused;
mod round_trip;
mod server;
mod speed;
