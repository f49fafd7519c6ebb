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
