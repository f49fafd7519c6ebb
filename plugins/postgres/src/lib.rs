//! PostgreSQL as a source and as a destination.

pub mod copy;
pub mod identifier;
pub mod types;
