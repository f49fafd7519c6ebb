//! What a plugin is started with. CloudQuery's runtime gives all of it but the pipeline.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use tracing_subscriber::filter::LevelFilter;

/// Arguments of `serve`.
#[derive(Debug, Clone, Args)]
pub struct ServeArgs {
    /// What the destination keeps its ledger under, and the source its triggers or its slot: runs at the same time need one each
    #[arg(long, value_name = "NAME", default_value = "cloudquery")]
    pub pipeline: String,
    /// Where to listen: `HOST:PORT`, or the path of a socket with `--network unix` [default: localhost:7777]
    #[arg(long, value_name = "ADDRESS")]
    pub address: Option<String>,
    /// The kind of address: tcp or unix
    #[arg(long, value_name = "NETWORK", default_value = "tcp", hide_possible_values = true)]
    pub network: Network,
    /// What is logged: trace, debug, info, warn or error
    #[arg(long, value_name = "LEVEL", default_value = "info", hide_possible_values = true)]
    pub log_level: LogLevel,
    /// Taken and not needed: nothing is sent anywhere
    #[arg(long, hide = true)]
    pub no_sentry: bool,
    /// Taken and not needed
    #[arg(long, hide = true, value_name = "PATH")]
    pub license: Option<PathBuf>,
    /// Taken and not used yet
    #[arg(long, hide = true, value_name = "URL")]
    pub otel_endpoint: Option<String>,
    /// Taken and not used yet
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub otel_endpoint_insecure: Option<bool>,
}

/// The kind of address that a plugin listens on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Network {
    /// A port.
    Tcp,
    /// A socket file.
    Unix,
}

/// The protocol's levels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogLevel {
    /// Everything.
    Trace,
    /// For whoever looks for a mistake.
    Debug,
    /// What happens.
    Info,
    /// What is doubtful.
    Warn,
    /// What went wrong.
    Error,
}

impl From<LogLevel> for LevelFilter {
    fn from(level: LogLevel) -> Self {
        match level {
            LogLevel::Trace => LevelFilter::TRACE,
            LogLevel::Debug => LevelFilter::DEBUG,
            LogLevel::Info => LevelFilter::INFO,
            LogLevel::Warn => LevelFilter::WARN,
            LogLevel::Error => LevelFilter::ERROR,
        }
    }
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line, which is what callers read.
    Json,
}
