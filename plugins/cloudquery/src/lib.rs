//! CloudQuery's plugins as components of a pipeline.
//!
//! - A plugin is another process, or another machine's: it may be slow, end, flood or send garbage. It hurts its own pipeline
//!   only, and every error names it, with what its process said last.
//! - Its process does not outlive us (`process`), and nothing that it sends reaches Arrow's reader unchecked (`proto`).
//! - [`serve`] is the other side: a destination of ours as such a plugin.

mod backend;
pub mod check;
mod codes;
mod conditions;
mod destination;
mod error;
#[cfg(test)]
mod mutations;
mod pattern;
mod plugin;
mod process;
pub mod registry;
pub mod serve;
mod source;
mod spec;
mod transformer;

pub use codes::CODES;
pub use destination::{
    CloudQueryDestination, CloudQueryDestinationConnector, CloudQueryDestinationSpec, KeyOf, MessageSize,
};
pub use source::{CloudQuerySource, CloudQuerySourceConnector, CloudQuerySourceSpec};
pub use spec::{Network, PluginSpec, Registry};
pub use transformer::{CloudQueryTransformer, CloudQueryTransformerConnector, CloudQueryTransformerSpec};

/// Named points at which a test can kill the process: before and after each step that a plugin makes durable.
pub const FAIL_POINTS: &[&str] = &[
    "cloudquery.destination.after_commit",
    "cloudquery.destination.before_close",
    "cloudquery.destination.before_commit",
    "cloudquery.registry.after_install",
    "cloudquery.registry.before_install",
    "cloudquery.source.before_end_reads",
];

/// Adds the connector in the roles that it has.
pub fn register(registry: &mut api::Registry) {
    registry
        .source::<CloudQuerySourceConnector>()
        .destination::<CloudQueryDestinationConnector>()
        .transformer::<CloudQueryTransformerConnector>();
}
