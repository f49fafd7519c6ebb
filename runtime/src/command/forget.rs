//! `highwater forget`: removes what was left behind for a pipeline. Rows stay.

use model::{DestinationId, PipelineId};
use serde_json::json;
use state::{StateStore, Stored};

use super::Cx;
use crate::assembly::Blueprint;
use crate::cli::ForgetArgs;
use crate::configuration::Configuration;
use crate::exit::{Ended, Exit, Failure};
use crate::running::{open_store, owner};

pub(super) async fn forget(cx: &Cx, args: ForgetArgs) -> Ended {
    let configuration = Configuration::read(&cx.global, &[]);
    cx.log_quietly(Some(&configuration.loaded));
    let plan = configuration.plan(&cx.terminal, cx.name)?;
    let blueprints = configuration.blueprints(std::slice::from_ref(&args.pipeline))?;
    let Some(blueprint) = blueprints.into_iter().next() else {
        return Ok(Exit::Input);
    };
    let whole = !args.source && args.destination.is_empty();
    let destinations = destinations(&blueprint, &args, whole)?;
    // The lock first: what a running process uses is not taken away from it.
    let store = open_store(&configuration.state_dir(plan)).await?;
    say_plan(cx, &args, &destinations, whole);
    cx.confirm("Go on?")?;

    let pipeline = blueprint.id();
    let mut removed = Vec::new();
    if whole || args.source {
        removed.extend(blueprint.source.forget(&pipeline).await?);
    }
    for destination in &destinations {
        let lane = blueprint.lane(destination, owner());
        removed.extend(blueprint.make_destination(destination)?.forget(&lane).await?);
    }
    if whole {
        if store.forget(&pipeline).await? {
            removed.push(format!("checkpoints of `{pipeline}` in the state directory"));
        }
    } else {
        removed.extend(forget_checkpoints(&store, &pipeline, &destinations).await?);
    }
    if cx.terminal.is_json() {
        cx.answer_json(true, json!({ "removed": removed }));
    } else if removed.is_empty() {
        cx.terminal.say("There was nothing to remove.");
    } else {
        removed.iter().for_each(|what| cx.terminal.step("Removed", what));
    }
    Ok(Exit::Done)
}

fn destinations<'b>(
    blueprint: &'b Blueprint,
    args: &ForgetArgs,
    whole: bool,
) -> Result<Vec<&'b config::DestinationPlan>, Failure> {
    let all = &blueprint.plan.destinations;
    if let Some(unknown) = args
        .destination
        .iter()
        .find(|name| !all.iter().any(|plan| plan.name == **name))
    {
        let known: Vec<&str> = all.iter().map(|plan| plan.name.as_str()).collect();
        return Err(Failure::input(
            "E0708",
            format!("cannot forget `{unknown}`: `{}` has no such destination", args.pipeline),
        )
        .hint(format!("it has `{}`", known.join("`, `"))));
    }
    Ok(all
        .iter()
        .filter(|plan| whole || args.destination.contains(&plan.name))
        .collect())
}

fn say_plan(cx: &Cx, args: &ForgetArgs, destinations: &[&config::DestinationPlan], whole: bool) {
    cx.terminal.say(format!("Plan: forget `{}`", args.pipeline));
    if whole || args.source {
        cx.terminal
            .say("  at the source: what captures changes (triggers and change table, or slot and publication), with those that no destination has yet");
    }
    for destination in destinations {
        cx.terminal.say(format!(
            "  at `{}`: the ledger and staged files; rows stay",
            destination.name
        ));
    }
    if whole {
        cx.terminal
            .say("  in the state directory: all checkpoints of the pipeline");
    }
    cx.terminal.say("  the next run reads everything again");
}

/// A destination that holds nothing is a new one.
async fn forget_checkpoints(
    store: &dyn StateStore,
    pipeline: &PipelineId,
    destinations: &[&config::DestinationPlan],
) -> Result<Vec<String>, Failure> {
    let stored = store.load(pipeline).await?;
    let mut removed = Vec::new();
    for destination in destinations {
        let id = DestinationId::new(destination.name.as_str());
        if let Some(held) = stored.get(&id) {
            store.put(pipeline, &id, &Stored::default(), held.epoch).await?;
            removed.push(format!("checkpoint of `{pipeline}`/`{id}` in the state directory"));
        }
    }
    Ok(removed)
}
