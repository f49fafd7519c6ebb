//! Both sides of the wire: our destination role, talking to a destination that we serve.
#![allow(clippy::unwrap_used)]

extern crate highwater_plugin_cloudquery as cloudquery;

mod caller;
mod conformance;
mod peer;
mod sent;
