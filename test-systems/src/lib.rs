//! Real servers for tests: each starts its own, on a free port, in a temporary directory, and stops it when dropped.
//!
//! A server that this machine does not have is [`Missing`]: the test says so and is skipped, it does not pass.

mod foreign;
pub mod go;
pub mod javascript;
mod pipeline;
mod port;
pub mod postgres;
pub mod python;

pub use foreign::{process_of, processes_of};
pub use pipeline::Pipeline;
pub use port::free_port;
pub use postgres::{Postgres, PostgresOptions, Shutdown};

/// Why a test cannot have its server, and what to install.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing(pub String);

impl std::fmt::Display for Missing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl std::error::Error for Missing {}
