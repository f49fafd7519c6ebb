//! The command line: one definition for parsing, help, completion and documentation.

mod commands;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::builder::FalseyValueParser;
use clap::{ArgAction, Args, Parser, ValueEnum};

pub(crate) use commands::{
    Command, CompletionArgs, ExplainArgs, ForgetArgs, InitArgs, MigrateArgs, PluginCheckArgs, PluginCommand,
    PluginInstallArgs, PluginNewArgs, PluginServeArgs, QuickstartArgs, ResyncArgs, RunArgs, SchemaArgs, StateCommand,
    StatusArgs, StreamsArgs, SyncArgs, TestConnectionArgs, Until, ValidateArgs, VerifyArgs,
};

/// Keeps destinations in step with a source, all the time.
#[derive(Debug, Parser)]
#[command(name = "highwater", version = crate::build::VERSION, max_term_width = 110, disable_help_subcommand = true)]
#[command(subcommand_required = true, arg_required_else_help = false)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
    #[command(flatten)]
    pub(crate) global: Global,
}

/// Options of every command.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Global {
    /// Configuration: a file or a directory, repeatable [default: ./highwater.yaml, ./highwater.d/,
    /// /etc/highwater/highwater.yaml]
    #[arg(
        short,
        long,
        global = true,
        value_name = "PATH",
        env = "HIGHWATER_CONFIG",
        hide_env = true
    )]
    pub(crate) config: Vec<PathBuf>,

    /// A running runtime: `http://HOST:PORT` or `unix:PATH` [default: the socket in the state directory]
    #[arg(long, global = true, value_name = "URL", env = "HIGHWATER_ADDRESS", hide_env = true)]
    pub(crate) address: Option<String>,

    /// A file with `NAME=value` lines for `${NAME}`; the environment itself wins
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "HIGHWATER_ENV_FILE",
        hide_env = true
    )]
    pub(crate) env_file: Option<PathBuf>,

    /// How the answer on stdout looks: text or json
    #[arg(
        short,
        long,
        global = true,
        value_name = "FORMAT",
        env = "HIGHWATER_OUTPUT",
        hide_env = true
    )]
    #[arg(default_value = "text", hide_default_value = true, hide_possible_values = true)]
    pub(crate) output: Output,

    /// Colours: auto, always or never; NO_COLOR and CLICOLOR_FORCE are respected
    #[arg(long, global = true, value_name = "WHEN", env = "HIGHWATER_COLOR", hide_env = true)]
    #[arg(default_value = "auto", hide_default_value = true, hide_possible_values = true)]
    pub(crate) color: Color,

    /// No progress display
    #[arg(long, global = true, env = "HIGHWATER_NO_PROGRESS", hide_env = true)]
    #[arg(action = ArgAction::SetTrue, value_parser = FalseyValueParser::new())]
    pub(crate) no_progress: bool,

    /// Nothing beyond ASCII on the screen
    #[arg(long, global = true, env = "HIGHWATER_ASCII", hide_env = true)]
    #[arg(action = ArgAction::SetTrue, value_parser = FalseyValueParser::new())]
    pub(crate) ascii: bool,

    /// Only warnings and errors; -qq nothing
    #[arg(short, long, global = true, action = ArgAction::Count, env = "HIGHWATER_QUIET", hide_env = true)]
    #[arg(conflicts_with = "verbose")]
    pub(crate) quiet: u8,

    /// More: -v debug, -vv trace
    #[arg(short, long, global = true, action = ArgAction::Count, env = "HIGHWATER_VERBOSE", hide_env = true)]
    pub(crate) verbose: u8,

    /// How log lines look: text or json [default: text at a terminal, else json]
    #[arg(
        long,
        global = true,
        value_name = "FORMAT",
        env = "HIGHWATER_LOG_FORMAT",
        hide_env = true
    )]
    #[arg(hide_possible_values = true)]
    pub(crate) log_format: Option<LogFormat>,

    /// Do not ask
    #[arg(short, long, global = true, env = "HIGHWATER_YES", hide_env = true)]
    #[arg(action = ArgAction::SetTrue, value_parser = FalseyValueParser::new())]
    pub(crate) yes: bool,
}

/// How the answer on stdout looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// For people.
    Text,
    /// One JSON value.
    Json,
}

/// When to colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    /// At a terminal.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

impl From<config::LogFormat> for LogFormat {
    fn from(format: config::LogFormat) -> Self {
        match format {
            config::LogFormat::Text => LogFormat::Text,
            config::LogFormat::Json => LogFormat::Json,
        }
    }
}

/// A program that is started as `highwater-destination-sqlite serve ...` is a plugin, whatever else stands there: CloudQuery's
/// runtime can be told a path, but no arguments, so the connector is in the name of a link to this program.
pub(crate) fn as_plugin(args: Vec<OsString>) -> Vec<OsString> {
    let named = args
        .first()
        .and_then(|program| Path::new(program).file_name()?.to_str());
    let Some((role, connector)) = named.and_then(|name| name.strip_prefix("highwater-")?.split_once('-')) else {
        return args;
    };
    if !["source", "destination", "transformer"].contains(&role) {
        return args;
    }
    let asked = args.get(1).is_some_and(|word| word == "serve");
    let words = ["highwater", "plugin", "serve", connector, "--as", role].map(OsString::from);
    words
        .into_iter()
        .chain(args.iter().skip(if asked { 2 } else { 1 }).cloned())
        .collect()
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn plugin(args: &str) -> String {
        let args = as_plugin(args.split(' ').map(OsString::from).collect());
        let words: Vec<_> = args.iter().map(|word| word.to_string_lossy()).collect();
        words.join(" ")
    }

    #[test]
    fn name_of_a_link_says_what_is_served() {
        assert_eq!(
            plugin("/opt/highwater-destination-sqlite serve --log-level info"),
            "highwater plugin serve sqlite --as destination --log-level info"
        );
        assert_eq!(
            plugin("highwater-transformer-json-flatten serve"),
            "highwater plugin serve json-flatten --as transformer"
        );
        for other in [
            "highwater validate",
            "/usr/bin/highwater-0.2.1 run",
            "highwater-musl-x serve",
        ] {
            assert_eq!(plugin(other), other);
        }
    }

    #[test]
    fn arguments_of_cloudquerys_runtime_are_taken() {
        let vector = "highwater-destination-sqlite serve --log-level info --log-format json --network unix --address \
/tmp/cq-abcdefghijklmnop.sock --no-sentry --license x --otel-endpoint localhost:4318 --otel-endpoint-insecure";
        let args = as_plugin(vector.split_whitespace().map(OsString::from).collect());
        let cli = Cli::try_parse_from(args).expect("it parses");
        let Command::Plugin(PluginCommand::Serve(args)) = cli.command else {
            panic!("another command");
        };
        assert_eq!(args.serve.address.as_deref(), Some("/tmp/cq-abcdefghijklmnop.sock"));
        assert_eq!(
            (args.serve.network, args.serve.log_level),
            (sdk::Network::Unix, sdk::LogLevel::Info)
        );
        assert_eq!(
            (args.connector.as_str(), args.role),
            ("sqlite", Some(sdk::Kind::Destination))
        );
        assert_eq!(cli.global.log_format, Some(LogFormat::Json));
    }

    #[test]
    fn command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
