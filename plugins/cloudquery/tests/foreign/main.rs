//! Plugins that others wrote, on CloudQuery's own SDKs, under our roles.
//!
//! Needs a Python with the package `cloudquery-plugin-sdk` (`test_systems::python` says where it is looked for). Without one
//! each test says so and passes.
#![allow(clippy::unwrap_used)]

extern crate highwater_plugin_cloudquery as cloudquery;

mod destination;
mod python;
mod source;
mod transformer;
