//! `highwater plugin install`: plugins of CloudQuery's hub, from a file or a mirror, beside the configuration.

use std::path::Path;

use cloudquery::registry::{HubPlugin, Kind, MIRROR_VARIABLE, install as install_one};
use config::Plan;
use serde_json::{Value, json};

use super::super::Cx;
use super::list::as_json;
use crate::cli::PluginInstallArgs;
use crate::configuration::Configuration;
use crate::exit::{Ended, Exit, Failure};

/// The code of what a registry refuses.
const REGISTRY: &str = "E0810";

pub(in crate::command) async fn install(cx: &Cx, args: PluginInstallArgs) -> Ended {
    let configuration = Configuration::read(&cx.global, &[]);
    cx.log_quietly(Some(&configuration.loaded));
    let wanted = if args.plugins.is_empty() {
        of_plan(configuration.plan(&cx.terminal, cx.name)?)
    } else {
        // Plugins that are named need no configuration.
        let known = configuration.loaded.plan.as_ref().map(of_plan).unwrap_or_default();
        args.plugins.into_iter().map(|plugin| named(plugin, &known)).collect()
    };
    let from = args
        .from
        .map(|from| if from.contains("://") { from } else { absolute(&from) });
    if let Some(file) = from.as_deref().filter(|from| Path::new(from).is_file())
        && wanted.len() > 1
    {
        let message = format!("cannot install {} plugins from `{file}`: a file is one", wanted.len());
        return Err(Failure::input(REGISTRY, message)
            .hint("name the plugin, as `KIND/TEAM/NAME@VERSION`")
            .into());
    }
    let base = configuration.directory();
    let variable = std::env::var(MIRROR_VARIABLE).ok().filter(|mirror| !mirror.is_empty());
    let mut done = Vec::new();
    for Wanted { plugin, mirror } in wanted {
        let Some(from) = from.clone().or(mirror).or_else(|| variable.clone()) else {
            let failure = Failure::input(REGISTRY, format!("cannot install `{plugin}`: nothing says where from"));
            return Err(failure
                .hint(format!(
                    "add `--from FILE`, `--from DIRECTORY` or `--from URL`, or set `{MIRROR_VARIABLE}`"
                ))
                .into());
        };
        let one = install_one(&plugin, &from, &base).await;
        let one = one.map_err(|what| Failure::environment(REGISTRY, format!("cannot install `{plugin}`: {what}")))?;
        cx.terminal
            .step("Installed", format!("{plugin} as {}", one.path.display()));
        if !cx.terminal.is_json() {
            cx.terminal.answer(format!("sha256: {}", one.sha256));
        }
        done.push(one);
    }
    if cx.terminal.is_json() {
        let plugins: Vec<Value> = done.iter().map(as_json).collect();
        cx.answer_json(true, json!({ "plugins": plugins }));
    } else if done.is_empty() {
        cx.terminal.say("The configuration names no plugin of the hub.");
    }
    Ok(Exit::Done)
}

/// From where the command was started.
fn absolute(path: &str) -> String {
    let path = Path::new(path);
    let whole = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    whole.display().to_string()
}

/// What to install, and where the configuration says that it is.
struct Wanted {
    plugin: HubPlugin,
    mirror: Option<String>,
}

fn named(plugin: HubPlugin, known: &[Wanted]) -> Wanted {
    let known = known.iter().find(|known| known.plugin == plugin);
    let mirror = known.and_then(|known| known.mirror.clone());
    Wanted { plugin, mirror }
}

/// The plugins of the hub in a configuration, each once.
fn of_plan(plan: &Plan) -> Vec<Wanted> {
    let mut wanted: Vec<Wanted> = Vec::new();
    let mut take = |kind, connector: &str, spec: &config::Spec| {
        let plugin = &spec.value()["plugin"];
        let text = |field: &str| plugin[field].as_str();
        let is_of_hub = connector == "cloudquery" && text("registry").is_none_or(|registry| registry == "cloudquery");
        let named = text("path").zip(text("version")).filter(|_| is_of_hub);
        let plugin = named.and_then(|(path, version)| HubPlugin::new(kind, path, version).ok());
        if let Some(plugin) = plugin.filter(|plugin| wanted.iter().all(|wanted| wanted.plugin != *plugin)) {
            let mirror = text("mirror").map(str::to_owned);
            wanted.push(Wanted { plugin, mirror });
        }
    };
    for pipeline in &plan.pipelines {
        take(Kind::Source, &pipeline.source.connector, &pipeline.source.spec);
        for transformer in &pipeline.transformers {
            take(Kind::Transformer, &transformer.connector, &transformer.spec);
        }
        for destination in &pipeline.destinations {
            take(Kind::Destination, &destination.connector, &destination.spec);
            for transformer in &destination.transformers {
                take(Kind::Transformer, &transformer.connector, &transformer.spec);
            }
        }
    }
    wanted
}
