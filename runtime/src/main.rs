//! The binary `highwater`: command line, HTTP, metrics, logs and terminal; builds pipelines out of the other crates.
//!
//! | module | has |
//! |---|---|
//! | [`cli`], [`command`] | what can be typed, and one file for each command |
//! | [`configuration`], [`assembly`] | reading, checking, and from a plan to what the actors need |
//! | [`running`] | a session of pipelines: start, watch, drain |
//! | [`http`], [`metrics`], [`status`], [`client`] | what the outside sees, and how a command asks a running process |
//! | [`logging`], [`terminal`], [`envelope`] | lines for machines and for people |
//! | [`exit`], [`codes`], [`signals`] | how it ends, and what the endings mean |

mod assembly;
mod build;
mod cli;
mod client;
mod codes;
mod command;
mod configuration;
mod envelope;
mod exit;
#[cfg(feature = "failpoints")]
mod failpoints;
mod http;
mod logging;
mod metrics;
mod running;
mod signals;
mod status;
mod terminal;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    // Usage errors, help and version end here, with 2 and 0.
    let cli = cli::Cli::parse_from(cli::as_plugin(std::env::args_os().collect()));
    command::run(cli)
}
