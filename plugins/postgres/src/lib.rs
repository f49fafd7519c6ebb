//! PostgreSQL as a source and as a destination.

pub mod connect;
pub mod copy;
pub mod destination;
pub mod identifier;
pub mod replication;
pub mod source;
pub mod types;

pub use destination::{PostgresDestination, PostgresDestinationConnector, PostgresDestinationSpec};
pub use source::{PostgresSource, PostgresSourceConnector, PostgresSourceSpec};
pub use types::OVERRIDE_TYPES;

/// Adds the connector in both roles.
pub fn register(registry: &mut api::Registry) {
    registry
        .source::<PostgresSourceConnector>()
        .destination::<PostgresDestinationConnector>();
}

/// What the errors, warnings and notes of both roles mean, a list for each part.
pub const CODES: [&[model::Code]; 4] = [connect::CODES, types::CODES, source::CODES, destination::CODES];

/// Every fail-point that a run passes, a list for each role.
pub const FAIL_POINTS: [&[&str]; 2] = [source::FAIL_POINTS, destination::FAIL_POINTS];
