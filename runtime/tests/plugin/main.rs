//! Connectors served as plugins of CloudQuery's protocol, by the built program and over the wire: callers that behave as
//! CloudQuery's own, and what its suite of tests for writers asks for.
#![allow(clippy::unwrap_used)]

mod authority;
mod beyond;
mod caller;
mod manners;
mod migrations;
mod new;
mod place;
mod process;
mod sample;
mod sources;
mod table;
mod transformers;
mod writes;
