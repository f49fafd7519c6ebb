//! Payloads there and back, and payloads that nobody should have sent.
#![allow(clippy::unwrap_used)]

extern crate highwater_proto as proto;

mod damage;
mod damaged;
mod mutations;
mod sample;
mod tables;
mod values;
