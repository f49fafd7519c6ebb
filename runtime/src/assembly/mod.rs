//! From a configuration to pipelines that can be started.
//!
//! ```text
//! Registry ──► Catalog ──► config::load ──► check (offline) ──► Blueprint ──► discover ──► streams ──► PipelineSpec
//! ```

mod blueprint;
mod catalog;
mod check;
mod guarantee;
mod meaning;
mod registry;
mod streams;

pub(crate) use blueprint::{Blueprint, directory_of};
pub(crate) use catalog::catalog;
pub(crate) use check::check;
pub(crate) use registry::registry;
pub(crate) use streams::Resolved;
use streams::resolve;
