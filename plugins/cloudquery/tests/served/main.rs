//! Both sides of the wire: our destination role, talking to a destination that we serve; and callers of every kind.
#![allow(clippy::unwrap_used)]

extern crate highwater_plugin_cloudquery as cloudquery;

mod broken;
mod caller;
mod conformance;
mod peer;
mod sent;
mod stopped;
