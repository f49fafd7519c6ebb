//! Plugins that others wrote, on CloudQuery's own SDKs, under our roles.
//!
//! Needs a Python with the package `cloudquery-plugin-sdk`: named by `HIGHWATER_TEST_PYTHON`, or in the virtual environment
//! that `./check` makes in the target directory. Without one each test says so and passes.
#![allow(clippy::unwrap_used)]

extern crate highwater_plugin_cloudquery as cloudquery;

mod destination;
mod python;
mod source;
