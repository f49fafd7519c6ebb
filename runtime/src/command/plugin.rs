//! `highwater plugin serve`: a connector as a plugin of CloudQuery's protocol.
//!
//! - Nothing is contacted before the caller says what to: it waits five seconds for us to listen.
//! - stdout has log lines and nothing else; the caller counts those that warn.
//! - INT and TERM end it with 0, within the five seconds that the caller waits.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use api::{BuildContext, DestinationOptions, OnSchemaChange, Registry};
use cloudquery::serve::{Listener, Role, Served};
use config::LogLevel;
use serde_json::Value;
use tracing::info;

use super::Cx;
use crate::assembly;
use crate::cli::{LogFormat, PluginServeArgs, ServeLogLevel, ServeNetwork, ServeRole};
use crate::codes;
use crate::exit::{Ended, Exit, Failure};
use crate::logging;
use crate::signals::Signals;

/// Where plugins listen if nobody says.
const ADDRESS: &str = "localhost:7777";
/// How long calls that are under way may take to end: less than the five seconds until the caller kills.
const DRAIN_MAX: Duration = Duration::from_secs(3);

pub(super) async fn serve(cx: &Cx, args: PluginServeArgs) -> Ended {
    let mut signals = Signals::listen()?;
    let registry = Arc::new(assembly::registry());
    let role = role(&registry, &args)?;
    let module = format!("{}-{}", args.connector, name(role));
    logging::start_as_plugin(
        level(args.log_level),
        cx.global.log_format.unwrap_or(LogFormat::Json),
        module,
    );
    let served = served(registry, &args, role);
    let address = args.address.as_deref().unwrap_or(ADDRESS);
    let listener = match args.network {
        ServeNetwork::Tcp => Listener::tcp(address).await,
        ServeNetwork::Unix => Listener::unix(PathBuf::from(address)),
    };
    let listener = listener.map_err(|error| {
        Failure::environment(codes::E0738.id, format!("cannot listen on `{address}`")).caused_by(error)
    })?;
    info!(
        address = listener.address(),
        plugin = args.connector,
        "plugin server listening"
    );
    let (asked, is_asked) = tokio::sync::oneshot::channel();
    let serving = cloudquery::serve::serve(served, listener, async {
        // Whether it was asked or its other half is gone: it ends.
        let _ = is_asked.await;
    });
    let stopping = async {
        signals.next_end().await;
        let _ = asked.send(());
        tokio::time::sleep(DRAIN_MAX).await;
    };
    tokio::select! {
        outcome = serving => outcome.map_err(|error| {
            Failure::environment(codes::E0738.id, format!("cannot serve on `{address}`")).caused_by(error)
        })?,
        () = stopping => info!(seconds = DRAIN_MAX.as_secs(), "calls were still open at the end"),
    }
    Ok(Exit::Done)
}

/// What the connector is to be, if it can.
fn role(registry: &Registry, args: &PluginServeArgs) -> Result<ServeRole, Failure> {
    let name_of = args.connector.as_str();
    let can: Vec<ServeRole> = [
        (ServeRole::Source, registry.sources.contains_key(name_of)),
        (ServeRole::Destination, registry.destinations.contains_key(name_of)),
        (ServeRole::Transformer, registry.transformers.contains_key(name_of)),
    ]
    .into_iter()
    .filter_map(|(role, can)| can.then_some(role))
    .collect();
    let listed = can.iter().map(|&role| name(role)).collect::<Vec<_>>().join("`, `");
    match (args.role, &can[..]) {
        (_, []) => Err(
            Failure::input("E0112", format!("cannot serve `{name_of}`: there is no such connector"))
                .hint("run `highwater schema` to see all of them"),
        ),
        (Some(role), can) if can.contains(&role) => Ok(role),
        (None, &[role]) => Ok(role),
        (Some(role), _) => {
            let message = format!("cannot serve `{name_of}` as `{}`: it is none", name(role));
            Err(Failure::input("E0112", message).hint(format!("it can be `{listed}`")))
        }
        (None, _) => {
            let message = format!("cannot serve `{name_of}`: it can be several things");
            Err(Failure::input("E0112", message).hint(format!("add `--as` with one of `{listed}`")))
        }
    }
}

const fn name(role: ServeRole) -> &'static str {
    match role {
        ServeRole::Source => "source",
        ServeRole::Destination => "destination",
        ServeRole::Transformer => "transformer",
    }
}

const fn level(level: ServeLogLevel) -> LogLevel {
    match level {
        ServeLogLevel::Trace => LogLevel::Trace,
        ServeLogLevel::Debug => LogLevel::Debug,
        ServeLogLevel::Info => LogLevel::Info,
        ServeLogLevel::Warn => LogLevel::Warn,
        ServeLogLevel::Error => LogLevel::Error,
    }
}

/// How the caller's specs are built from: relative paths start where the caller started us.
fn served(registry: Arc<Registry>, args: &PluginServeArgs, role: ServeRole) -> Served {
    let connector = args.connector.clone();
    let cx = BuildContext {
        base_dir: std::env::current_dir().unwrap_or_default(),
    };
    let spec_schema: Option<Value> = match role {
        ServeRole::Source => registry
            .sources
            .get(connector.as_str())
            .map(|entry| entry.spec_schema.clone()),
        ServeRole::Destination => registry
            .destinations
            .get(connector.as_str())
            .map(|entry| entry.spec_schema.clone()),
        ServeRole::Transformer => registry
            .transformers
            .get(connector.as_str())
            .map(|entry| entry.spec_schema.clone()),
    };
    let name = connector.clone();
    let role = match role {
        ServeRole::Source => Role::Source(Arc::new(move |spec| {
            registry.sources[connector.as_str()].build(spec, &cx)
        })),
        ServeRole::Destination => Role::Destination(Arc::new(move |spec| {
            // A caller's `migrate_table` is the order to alter the table.
            let options = DestinationOptions {
                on_schema_change: Some(OnSchemaChange::Apply),
                ..DestinationOptions::default()
            };
            registry.destinations[connector.as_str()].build(spec, options, &cx)
        })),
        ServeRole::Transformer => Role::Transformer(Arc::new(move |spec| match connector.as_str() {
            // The caller keeps the names of tables, so they may change.
            "basic" => transform::build_renaming(transform::read_basic(spec)?),
            other => registry.transformers[other].build(spec, &cx),
        })),
    };
    Served {
        name,
        version: format!("v{}", crate::build::VERSION),
        spec_schema,
        pipeline: args.pipeline.clone(),
        role,
    }
}
