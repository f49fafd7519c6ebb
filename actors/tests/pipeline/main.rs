//! Whole pipelines: a scripted source, replicas that judge, faults that are armed at run time.

#![allow(clippy::unwrap_used)]

mod faults;
mod flow;
mod recovery;
mod stage;
