//! A connector that is to be served.

use std::process::ExitCode;
use std::sync::Arc;

use api::{
    BuildContext, DestinationConnector, DestinationOptions, OnSchemaChange, Registry, SourceConnector,
    TransformerConnector,
};
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};
use cloudquery::serve::{Role, Served};

use crate::{LogFormat, ServeArgs, ServeError, serve};

/// What a connector does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// It is read.
    Source,
    /// It is written.
    Destination,
    /// It changes rows.
    Transformer,
}

impl Kind {
    /// The word.
    pub const fn name(self) -> &'static str {
        match self {
            Kind::Source => "source",
            Kind::Destination => "destination",
            Kind::Transformer => "transformer",
        }
    }
}

/// A connector with a name and a version, ready to be served.
#[derive(Clone)]
pub struct Plugin {
    kind: Kind,
    about: String,
    pub(crate) served: Served,
}

impl Plugin {
    /// Serves a source. `version` as in `env!("CARGO_PKG_VERSION")`.
    pub fn source<C: SourceConnector + 'static>(version: &str) -> Plugin {
        let mut registry = Registry::default();
        registry.source::<C>();
        Plugin::registered(Arc::new(registry), Kind::Source, C::NAME, version)
    }

    /// Serves a destination.
    pub fn destination<C: DestinationConnector + 'static>(version: &str) -> Plugin {
        let mut registry = Registry::default();
        registry.destination::<C>();
        Plugin::registered(Arc::new(registry), Kind::Destination, C::NAME, version)
    }

    /// Serves a transformer.
    pub fn transformer<C: TransformerConnector + 'static>(version: &str) -> Plugin {
        let mut registry = Registry::default();
        registry.transformer::<C>();
        Plugin::registered(Arc::new(registry), Kind::Transformer, C::NAME, version)
    }

    /// Serves a connector out of a registry. One that is not in it refuses every spec.
    ///
    /// Relative paths in a spec start where the process was started. A destination is built to follow the caller's tables: a
    /// caller's `migrate_table` is the order to alter.
    pub fn registered(registry: Arc<Registry>, kind: Kind, name: &str, version: &str) -> Plugin {
        let cx = BuildContext {
            base_dir: std::env::current_dir().unwrap_or_default(),
        };
        let (about, spec_schema) = match kind {
            Kind::Source => registry
                .sources
                .get(name)
                .map(|entry| (entry.about, &entry.spec_schema)),
            Kind::Destination => registry
                .destinations
                .get(name)
                .map(|entry| (entry.about, &entry.spec_schema)),
            Kind::Transformer => registry
                .transformers
                .get(name)
                .map(|entry| (entry.about, &entry.spec_schema)),
        }
        .map_or((String::new(), None), |(about, schema)| {
            (about.to_owned(), Some(schema.clone()))
        });
        let connector = name.to_owned();
        let unknown = move |name: &str| api::SpecError::at("", format!("there is no connector `{name}` here"));
        let role = match kind {
            Kind::Source => Role::Source(Arc::new(move |spec| match registry.sources.get(connector.as_str()) {
                Some(entry) => entry.build(spec, &cx),
                None => Err(unknown(&connector)),
            })),
            Kind::Destination => Role::Destination(Arc::new(move |spec| {
                let options = DestinationOptions {
                    on_schema_change: Some(OnSchemaChange::Apply),
                    ..DestinationOptions::default()
                };
                match registry.destinations.get(connector.as_str()) {
                    Some(entry) => entry.build(spec, options, &cx),
                    None => Err(unknown(&connector)),
                }
            })),
            Kind::Transformer => Role::Transformer(Arc::new(move |spec| {
                match registry.transformers.get(connector.as_str()) {
                    Some(entry) => entry.build(spec, &cx),
                    None => Err(unknown(&connector)),
                }
            })),
        };
        Plugin {
            kind,
            about,
            served: Served {
                name: name.to_owned(),
                version: format!("v{version}"),
                spec_schema,
                pipeline: String::new(),
                role,
            },
        }
    }

    /// The same, built otherwise than its registry says.
    #[must_use]
    pub fn built_by(mut self, role: Role) -> Plugin {
        self.served.role = role;
        self
    }

    /// The connector's name.
    pub fn name(&self) -> &str {
        &self.served.name
    }

    /// What it does.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// A whole `main`: reads the arguments that callers give, serves, and ends with 0 after INT or TERM.
    pub fn main(self) -> ExitCode {
        let matches = self.command().get_matches();
        // Usage errors end here, with 2.
        let Command::Serve(arguments) = Cli::from_arg_matches(&matches)
            .unwrap_or_else(|error| error.exit())
            .command;
        let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => return failed(&ServeError::Start(error)),
        };
        let outcome = runtime.block_on(serve(self, arguments.serve, arguments.log_format));
        // Whatever still blocks has had its time.
        runtime.shutdown_background();
        match outcome {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => failed(&error),
        }
    }

    fn command(&self) -> clap::Command {
        let name = format!("{}-{}", self.served.name, self.kind.name());
        Cli::command()
            .name(name)
            .version(self.served.version.clone())
            .about(self.about.clone())
    }
}

/// On stderr: stdout is for log lines.
fn failed(error: &ServeError) -> ExitCode {
    eprintln!("error: {}", error.chain());
    ExitCode::FAILURE
}

#[derive(Debug, Parser)]
#[command(disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Be a plugin, until INT or TERM. Logs go to stdout
    Serve(Arguments),
}

#[derive(Debug, clap::Args)]
struct Arguments {
    #[command(flatten)]
    serve: ServeArgs,
    /// How log lines look: text or json
    #[arg(long, value_name = "FORMAT", default_value = "json", hide_possible_values = true)]
    log_format: LogFormat,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use api::{SpecError, Transformer};

    use super::*;
    use crate::{LogLevel, Network};

    struct Nothing;

    impl TransformerConnector for Nothing {
        const NAME: &'static str = "nothing";
        const ABOUT: &'static str = "Does nothing.";
        type Spec = serde_json::Value;

        fn build(_: serde_json::Value, _: &BuildContext) -> Result<Box<dyn Transformer>, SpecError> {
            Err(SpecError::at("", "it does nothing"))
        }
    }

    #[test]
    fn arguments_of_cloudquerys_runtime_are_taken() {
        let vector = "nothing serve --log-level warn --log-format json --network unix --address /tmp/cq-abcdefghijklmnop.sock \
                      --no-sentry --license x --otel-endpoint localhost:4318 --otel-endpoint-insecure";
        let command = Plugin::transformer::<Nothing>("1.2.3").command();
        command.clone().debug_assert();
        let matches = command.try_get_matches_from(vector.split_whitespace()).unwrap();
        let Command::Serve(taken) = Cli::from_arg_matches(&matches).unwrap().command;
        assert_eq!(taken.serve.address.as_deref(), Some("/tmp/cq-abcdefghijklmnop.sock"));
        assert_eq!(
            (taken.serve.network, taken.serve.log_level),
            (Network::Unix, LogLevel::Warn)
        );
        assert_eq!(taken.log_format, LogFormat::Json);
    }

    #[test]
    fn a_connector_that_is_not_registered_refuses_every_spec() {
        let plugin = Plugin::registered(Arc::new(Registry::default()), Kind::Source, "none", "1.2.3");
        let Role::Source(build) = &plugin.served.role else {
            panic!("another role");
        };
        let refused = build(serde_json::Value::Null).err().unwrap();
        assert_eq!(refused.message, "there is no connector `none` here");
        assert_eq!((plugin.name(), plugin.kind()), ("none", Kind::Source));
    }
}
