//! `highwater plugin serve`: a connector as a plugin of CloudQuery's protocol. What serving is lies in the SDK.

use std::sync::Arc;

use api::Registry;
use cloudquery::serve::Role;
use sdk::{Kind, Plugin};

use super::super::Cx;
use crate::assembly;
use crate::cli::{LogFormat, PluginServeArgs};
use crate::codes;
use crate::exit::{Ended, Exit, Failure};

pub(in crate::command) async fn serve(cx: &Cx, args: PluginServeArgs) -> Ended {
    let registry = Arc::new(assembly::registry());
    let kind = kind(&registry, &args)?;
    let mut plugin = Plugin::registered(registry, kind, &args.connector, crate::build::VERSION);
    if (kind, args.connector.as_str()) == (Kind::Transformer, "basic") {
        // The caller keeps the names of tables, so they may change.
        let build = |spec| transform::build_renaming(transform::read_basic(spec)?);
        plugin = plugin.built_by(Role::Transformer(Arc::new(build)));
    }
    let format = match cx.global.log_format {
        Some(LogFormat::Text) => sdk::LogFormat::Text,
        Some(LogFormat::Json) | None => sdk::LogFormat::Json,
    };
    let served = sdk::serve(plugin, args.serve, format).await;
    served.map_err(|error| Failure::environment(codes::E0738.id, error.chain()))?;
    Ok(Exit::Done)
}

/// What the connector is to be, if it can.
fn kind(registry: &Registry, args: &PluginServeArgs) -> Result<Kind, Failure> {
    let name = args.connector.as_str();
    let can: Vec<Kind> = [
        (Kind::Source, registry.sources.contains_key(name)),
        (Kind::Destination, registry.destinations.contains_key(name)),
        (Kind::Transformer, registry.transformers.contains_key(name)),
    ]
    .into_iter()
    .filter_map(|(kind, can)| can.then_some(kind))
    .collect();
    let listed = can.iter().map(|kind| kind.name()).collect::<Vec<_>>().join("`, `");
    match (args.role, &can[..]) {
        (_, []) => Err(
            Failure::input("E0112", format!("cannot serve `{name}`: there is no such connector"))
                .hint("run `highwater schema` to see all of them"),
        ),
        (Some(kind), can) if can.contains(&kind) => Ok(kind),
        (None, &[kind]) => Ok(kind),
        (Some(kind), _) => {
            let message = format!("cannot serve `{name}` as `{}`: it is none", kind.name());
            Err(Failure::input("E0112", message).hint(format!("it can be `{listed}`")))
        }
        (None, _) => {
            let message = format!("cannot serve `{name}`: it can be several things");
            Err(Failure::input("E0112", message).hint(format!("add `--as` with one of `{listed}`")))
        }
    }
}
