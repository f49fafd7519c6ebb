//! The commands and their own options.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use clap_complete::Shell;
use cloudquery::registry::HubPlugin;
use sdk::{Kind, ServeArgs};

/// A command.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make a demo database, keep changing it, and show rows arriving in Parquet and SQLite
    Quickstart(QuickstartArgs),
    /// Write a configuration for a source
    Init(InitArgs),
    /// Check a configuration: everything that is wrong in it, with its place and what to do
    Validate(ValidateArgs),
    /// Run all pipelines until stopped
    Run(RunArgs),
    /// Bring every destination to where the source stands now, then exit with a summary
    Sync(SyncArgs),
    /// Make the tables of every destination as the sources have them now, and alter those that follow no log. No rows are read
    Migrate(MigrateArgs),
    /// Try whether every source and destination is there and lets us in. Changes nothing
    TestConnection(TestConnectionArgs),
    /// List the streams that the sources have
    Streams(StreamsArgs),
    /// Show how the pipelines of a running runtime stand
    Status(StatusArgs),
    /// Read streams again for some destinations of a running pipeline, while everything else goes on
    Resync(ResyncArgs),
    /// Compare the rows of source and destinations at one position, and name those that differ
    Verify(VerifyArgs),
    /// Remove what was left behind for a pipeline: triggers, change tables, ledgers, checkpoints. Rows stay
    Forget(ForgetArgs),
    /// Look at the stored checkpoints
    #[command(subcommand)]
    State(StateCommand),
    /// CloudQuery's plugins: those that are installed, and be one
    #[command(subcommand, visible_alias = "plugins")]
    Plugin(PluginCommand),
    /// Print the JSON Schema of the configuration
    Schema(SchemaArgs),
    /// Explain a code such as E0104; without one, list all
    Explain(ExplainArgs),
    /// Print a completion script for a shell
    Completion(CompletionArgs),
    /// Print the version and what it was built from
    Version,
    /// Print the names of all fail-points
    #[cfg(feature = "failpoints")]
    #[command(hide = true)]
    Failpoints,
}

/// Options of `quickstart`.
#[derive(Debug, Args)]
pub(crate) struct QuickstartArgs {
    /// Where to put it
    #[arg(long, value_name = "DIR", default_value = "./highwater-quickstart")]
    pub(crate) dir: PathBuf,
    /// Delete it on exit
    #[arg(long)]
    pub(crate) ephemeral: bool,
    /// How many rows the demo script changes each second
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(0..=100_000))]
    pub(crate) rows_per_second: u32,
    /// Port of the admin API [default: 7400, or a free one]
    #[arg(long, value_name = "N")]
    pub(crate) port: Option<u16>,
}

/// Options of `init`.
#[derive(Debug, Args)]
pub(crate) struct InitArgs {
    /// The source: `sqlite:PATH`, or the path of a database file. Without it, questions are asked at a terminal
    #[arg(long, value_name = "SOURCE")]
    pub(crate) from: Option<String>,
    /// The destination: `parquet`, `csv`, `ndjson`, `sqlite` or `stdout`, with `:PATH` if wanted. Repeatable
    #[arg(long, value_name = "DESTINATION")]
    pub(crate) to: Vec<String>,
    /// Name of the pipeline [default: the database's]
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// Overwrite the file
    #[arg(long)]
    pub(crate) force: bool,
}

/// Options of `validate`.
#[derive(Debug, Args)]
pub(crate) struct ValidateArgs {
    /// Configuration files, instead of --config
    #[arg(value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// Also ask the systems: are they there, may we, do streams and columns exist. Changes nothing
    #[arg(long)]
    pub(crate) connect: bool,
    /// Warnings are errors
    #[arg(long)]
    pub(crate) deny_warnings: bool,
}

/// Options of `run`.
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// Configuration files, instead of --config
    #[arg(value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// Only these pipelines
    #[arg(long, value_name = "NAME")]
    pub(crate) pipeline: Vec<String>,
    /// When to end by itself: caught-up (every destination has everything that the source has)
    #[arg(long, value_name = "WHEN", hide_possible_values = true)]
    pub(crate) until: Option<Until>,
    /// Keep the state in a temporary directory, and delete it on exit
    #[arg(long)]
    pub(crate) ephemeral: bool,
    /// Fence another runtime that holds a destination, instead of being refused
    #[arg(long)]
    pub(crate) take_over: bool,
}

/// When `run` ends by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Until {
    /// When every destination has everything that the source has
    CaughtUp,
}

/// Options of `sync`.
#[derive(Debug, Args)]
pub(crate) struct SyncArgs {
    /// Configuration files, instead of --config
    #[arg(value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// Only these pipelines
    #[arg(long, value_name = "NAME")]
    pub(crate) pipeline: Vec<String>,
    /// Write the summary to a file, one JSON object for each pipeline and destination
    #[arg(long, value_name = "FILE")]
    pub(crate) summary: Option<PathBuf>,
    /// Fence another runtime that holds a destination, instead of being refused
    #[arg(long)]
    pub(crate) take_over: bool,
}

/// Options of `migrate`.
#[derive(Debug, Args)]
pub(crate) struct MigrateArgs {
    /// Configuration files, instead of --config
    #[arg(value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// Only these pipelines
    #[arg(long, value_name = "NAME")]
    pub(crate) pipeline: Vec<String>,
}

/// Options of `test-connection`.
#[derive(Debug, Args)]
pub(crate) struct TestConnectionArgs {
    /// Configuration files, instead of --config
    #[arg(value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// Only these pipelines
    #[arg(long, value_name = "NAME")]
    pub(crate) pipeline: Vec<String>,
}

/// Options of `streams`.
#[derive(Debug, Args)]
pub(crate) struct StreamsArgs {
    /// Configuration files, instead of --config
    #[arg(value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// Only the sources of these pipelines
    #[arg(long, value_name = "NAME")]
    pub(crate) pipeline: Vec<String>,
    /// With the columns of each
    #[arg(long)]
    pub(crate) schema: bool,
}

/// Options of `status`.
#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    /// Only this pipeline
    #[arg(value_name = "PIPELINE")]
    pub(crate) pipeline: Option<String>,
    /// Exit with 4 if anything is degraded
    #[arg(long)]
    pub(crate) check: bool,
    /// Ask only whether the process is alive; exit with 4 if it is not
    #[arg(long, conflicts_with_all = ["pipeline", "check", "watch"])]
    pub(crate) live: bool,
    /// Show it again and again, until stopped
    #[arg(long)]
    pub(crate) watch: bool,
    /// Time between two looks of --watch
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = parse_interval)]
    pub(crate) interval: Duration,
}

/// Options of `resync`.
#[derive(Debug, Args)]
pub(crate) struct ResyncArgs {
    /// The pipeline
    #[arg(value_name = "PIPELINE")]
    pub(crate) pipeline: String,
    /// Streams to read again [default: all]
    #[arg(long, value_name = "STREAM")]
    pub(crate) stream: Vec<String>,
    /// Destinations to read them for [default: all]
    #[arg(long, value_name = "DESTINATION")]
    pub(crate) destination: Vec<String>,
    /// Do not empty the tables first: rows are written over, or appended
    #[arg(long)]
    pub(crate) append: bool,
    /// Print the plan and stop
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// Options of `verify`.
#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    /// The pipeline
    #[arg(value_name = "PIPELINE")]
    pub(crate) pipeline: String,
    /// Streams to compare. Repeatable [default: all]
    #[arg(long, value_name = "STREAM")]
    pub(crate) stream: Vec<String>,
    /// Destinations to compare with. Repeatable [default: all that can be read back]
    #[arg(long, value_name = "DESTINATION")]
    pub(crate) destination: Vec<String>,
    /// Compare only a share of the keys, such as 5%. Every row is read all the same
    #[arg(long, value_name = "SHARE", value_parser = parse_share)]
    pub(crate) sample: Option<f64>,
    /// Read no more rows than this in a second, source and destinations together
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) rows_per_second: Option<u32>,
    /// Where to write all differences as JSON, if there are any [default: ./verify-PIPELINE.json]
    #[arg(long, value_name = "FILE")]
    pub(crate) details: Option<PathBuf>,
}

/// Options of `forget`.
#[derive(Debug, Args)]
pub(crate) struct ForgetArgs {
    /// The pipeline
    #[arg(value_name = "PIPELINE")]
    pub(crate) pipeline: String,
    /// Only what was left at the source
    #[arg(long)]
    pub(crate) source: bool,
    /// Only what was left at this destination. Repeatable
    #[arg(long, value_name = "DESTINATION")]
    pub(crate) destination: Vec<String>,
}

/// Commands of `state`. They need the state directory, so they are refused while a runtime uses it.
#[derive(Debug, Subcommand)]
pub(crate) enum StateCommand {
    /// Show the stored checkpoints
    Show,
    /// Print all of it as JSON, for another program or version
    Export,
}

/// Commands of `plugin`.
#[derive(Debug, Subcommand)]
pub(crate) enum PluginCommand {
    /// Serve a connector as a plugin, until INT or TERM. Logs go to stdout, one JSON object a line
    Serve(PluginServeArgs),
    /// Write a crate with a plugin of your own in Rust: a sample that works, its tests, and how to go on
    New(PluginNewArgs),
    /// List the plugins that are installed beside the configuration
    List,
    /// Install plugins from a file or a mirror, and print the sum to pin each with
    Install(PluginInstallArgs),
    /// Start a plugin, and try whether it does what the protocol asks of it
    Check(PluginCheckArgs),
}

/// Options of `plugin install`.
#[derive(Debug, Args)]
pub(crate) struct PluginInstallArgs {
    /// Which, as `KIND/TEAM/NAME@VERSION`: `source/cloudquery/xkcd@v1.6.0` [default: those of the configuration]
    #[arg(value_name = "PLUGIN", value_parser = parse_plugin)]
    pub(crate) plugins: Vec<HubPlugin>,
    /// Where from: an executable or an archive, a directory, or a base URL [default: the mirror of the configuration]
    #[arg(long, value_name = "PLACE")]
    pub(crate) from: Option<String>,
}

/// Options of `plugin check`.
#[derive(Debug, Args)]
pub(crate) struct PluginCheckArgs {
    /// The plugin's executable
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Its own settings, as JSON
    #[arg(long, value_name = "JSON", value_parser = parse_json)]
    pub(crate) spec: Option<serde_json::Value>,
}

/// Options of `plugin serve`. CloudQuery's runtime gives all of them but the first two.
#[derive(Debug, Args)]
pub(crate) struct PluginServeArgs {
    /// The connector
    #[arg(value_name = "CONNECTOR")]
    pub(crate) connector: String,
    /// What it serves as, where it can be several: source, destination or transformer
    #[arg(long = "as", value_name = "ROLE", hide_possible_values = true)]
    pub(crate) role: Option<Kind>,
    #[command(flatten)]
    pub(crate) serve: ServeArgs,
}

/// Options of `plugin new`.
#[derive(Debug, Args)]
pub(crate) struct PluginNewArgs {
    /// Its name: lower-case letters, digits, `-` and `_`. The crate and the folder are called so, too
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    /// What it does: source, destination or transformer
    #[arg(long, value_name = "KIND", hide_possible_values = true)]
    pub(crate) kind: Kind,
    /// The folder to make [default: ./NAME]
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
    /// A checkout of Highwater to build against
    #[arg(long, value_name = "CHECKOUT", conflicts_with = "git")]
    pub(crate) path: Option<PathBuf>,
    /// A git repository with Highwater to build against
    #[arg(long, value_name = "URL")]
    pub(crate) git: Option<String>,
}

/// Options of `schema`.
#[derive(Debug, Args)]
pub(crate) struct SchemaArgs {
    /// Only the spec of this connector
    #[arg(long, value_name = "NAME")]
    pub(crate) connector: Option<String>,
}

/// Options of `explain`.
#[derive(Debug, Args)]
pub(crate) struct ExplainArgs {
    /// The code
    #[arg(value_name = "CODE")]
    pub(crate) code: Option<String>,
}

/// Options of `completion`.
#[derive(Debug, Args)]
pub(crate) struct CompletionArgs {
    /// The shell
    #[arg(value_name = "SHELL")]
    pub(crate) shell: Shell,
}

fn parse_plugin(text: &str) -> Result<HubPlugin, String> {
    HubPlugin::parse(text)
        .ok_or_else(|| "expected `KIND/TEAM/NAME@VERSION`, such as `source/cloudquery/xkcd@v1.6.0`".to_owned())
}

fn parse_json(text: &str) -> Result<serde_json::Value, String> {
    serde_json::from_str(text).map_err(|error| format!("expected JSON: {error}"))
}

fn parse_interval(text: &str) -> Result<Duration, String> {
    match config::parse_duration(text) {
        Some(duration) if duration >= Duration::from_millis(100) => Ok(duration),
        Some(_) => Err("at least `100ms`".to_owned()),
        None => Err("expected a number and a unit, such as `1s`".to_owned()),
    }
}

fn parse_share(text: &str) -> Result<f64, String> {
    let share = match text.strip_suffix('%') {
        Some(percent) => percent.trim().parse::<f64>().map(|percent| percent / 100.0),
        None => text.parse::<f64>(),
    };
    match share {
        Ok(share) if share > 0.0 && share <= 1.0 => Ok(share),
        Ok(_) => Err("more than 0 % and at most 100 %".to_owned()),
        Err(_) => Err("expected a share, such as `5%`".to_owned()),
    }
}

impl Command {
    /// The word that was typed, for the JSON envelope.
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Command::Quickstart(_) => "quickstart",
            Command::Init(_) => "init",
            Command::Validate(_) => "validate",
            Command::Run(_) => "run",
            Command::Sync(_) => "sync",
            Command::Migrate(_) => "migrate",
            Command::TestConnection(_) => "test-connection",
            Command::Streams(_) => "streams",
            Command::Status(_) => "status",
            Command::Resync(_) => "resync",
            Command::Verify(_) => "verify",
            Command::Forget(_) => "forget",
            Command::State(StateCommand::Show) => "state show",
            Command::State(StateCommand::Export) => "state export",
            Command::Plugin(PluginCommand::Serve(_)) => "plugin serve",
            Command::Plugin(PluginCommand::New(_)) => "plugin new",
            Command::Plugin(PluginCommand::List) => "plugin list",
            Command::Plugin(PluginCommand::Install(_)) => "plugin install",
            Command::Plugin(PluginCommand::Check(_)) => "plugin check",
            Command::Schema(_) => "schema",
            Command::Explain(_) => "explain",
            Command::Completion(_) => "completion",
            Command::Version => "version",
            #[cfg(feature = "failpoints")]
            Command::Failpoints => "failpoints",
        }
    }
}
