//! The file destinations on real directories: what readers see, what crashes leave, and what a rival can do.
#![allow(clippy::unwrap_used)]

mod commits;
mod conformance;
mod crashes;
mod durability;
mod environment;
mod formats;
mod ownership;
mod reading;
mod replay;
mod setup;
