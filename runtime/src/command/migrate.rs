//! `highwater migrate`: the tables of every destination as the sources have them now, without a row.
//!
//! A source with a log may still hold changes from before a column came. They have the older shape, so a destination that pauses at a lost
//! column refuses them after its table was altered here; a run without `migrate` alters it in the log's order.

use std::collections::VecDeque;
use std::sync::Arc;

use api::{CommitPoint, Destination, Error, OutSchema, PlannedStream, Result, Retry, Transformer};
use config::DestinationPlan;
use model::{ChangeSet, Control, Delta, StreamSchema};
use serde_json::{Value, json};

use super::Cx;
use crate::assembly::Blueprint;
use crate::cli::MigrateArgs;
use crate::codes::E0742;
use crate::configuration::Configuration;
use crate::exit::{Ended, Exit};
use crate::running::{Looked, look_at_all, open_store, owner, report};
use crate::terminal::figures;

/// The engine's code for rows that were made by other transformers.
const OTHER_PLAN: &str = "E0704";

pub(super) async fn migrate(cx: &Cx, args: MigrateArgs) -> Ended {
    let mut configuration = Configuration::read(&cx.global, &args.files);
    cx.log_quietly(Some(&configuration.loaded));
    let plan = configuration.plan(&cx.terminal, cx.name)?.clone();
    let blueprints = configuration.blueprints(&args.pipeline)?;
    // The lock first: a running process makes its tables itself.
    let _store = open_store(&configuration.state_dir(&plan)).await?;
    let looked = look_at_all(blueprints).await;
    let mut exit = Exit::Done;
    for looked in &looked {
        exit = exit.worst(report(&mut configuration.loaded, looked));
    }
    if exit != Exit::Done {
        configuration.print_findings(&cx.terminal, cx.name);
        return Ok(exit);
    }
    let mut migrated = Vec::new();
    for looked in &looked {
        for destination in &looked.blueprint.plan.destinations {
            let one = Migrated {
                pipeline: looked.blueprint.plan.name.clone(),
                destination: destination.name.clone(),
                outcome: migrate_one(looked, destination).await,
            };
            one.say(cx);
            migrated.push(one);
        }
    }
    let errors = migrated.iter().filter_map(|one| one.outcome.as_ref().err());
    let exit = errors.fold(Exit::Done, |exit, error| exit.worst(Exit::of(error.retry())));
    if cx.terminal.is_json() {
        let destinations: Vec<Value> = migrated.iter().map(Migrated::as_json).collect();
        cx.answer_json(exit == Exit::Done, json!({ "destinations": destinations }));
    }
    Ok(exit)
}

/// What became of one destination: its tables.
struct Migrated {
    pipeline: String,
    destination: String,
    outcome: Result<Vec<String>>,
}

impl Migrated {
    fn say(&self, cx: &Cx) {
        if cx.terminal.is_json() {
            return;
        }
        let name = format!("{}/{}", self.pipeline, self.destination);
        match &self.outcome {
            Ok(tables) => {
                let tables = format!("{}: {}", figures::counted(tables.len(), "table"), tables.join(", "));
                cx.terminal.step("Migrated", format!("{name}, {tables}"));
            }
            Err(error) => cx.say_error(&name, error),
        }
    }

    fn as_json(&self) -> Value {
        let error = self.outcome.as_ref().err();
        json!({
            "pipeline": self.pipeline,
            "destination": self.destination,
            "ok": error.is_none(),
            "tables": self.outcome.as_ref().ok(),
            "code": error.map(Error::code),
            "error": error.map(Error::chain),
            "hint": error.and_then(Error::remedy),
        })
    }
}

async fn migrate_one(looked: &Looked, plan: &DestinationPlan) -> Result<Vec<String>> {
    let blueprint = &looked.blueprint;
    let schemas = schemas(looked)?;
    let mut transformers = blueprint.make_transformers(plan)?;
    let mut behind = Vec::new();
    for schema in schemas {
        behind.extend(transformed(schema, &mut transformers).await?);
    }
    let mut destination = blueprint.make_destination(plan)?;
    let outcome = make_tables(blueprint, plan, destination.as_mut(), &behind).await;
    // What failed is what is worth telling.
    let closed = destination.close().await;
    outcome.and(closed)?;
    Ok(behind.iter().map(|schema| schema.stream().to_string()).collect())
}

async fn make_tables(
    blueprint: &Blueprint,
    plan: &DestinationPlan,
    destination: &mut dyn Destination,
    schemas: &[Arc<StreamSchema>],
) -> Result<()> {
    let lane = blueprint.lane(plan, owner());
    let holds = destination.open(&lane).await?;
    // A commit says whose meaning the rows have, and these would get another one.
    let held = holds.checkpoint.unwrap_or_default();
    if holds.plan_hash.is_some_and(|stored| stored != lane.plan_hash) && !held.is_empty() {
        let message = format!(
            "cannot migrate `{}`: its rows were made by other transformers",
            plan.name
        );
        let hint = format!(
            "run `highwater resync {} --destination {}`, or undo the change",
            lane.pipeline, plan.name
        );
        return Err(Error::new(OTHER_PLAN, Retry::Never, message).hint(hint));
    }
    for schema in schemas {
        let control = Control::Schema {
            schema: Arc::clone(schema),
        };
        destination
            .write(Arc::new(ChangeSet::control(Delta::none(), control)))
            .await?;
    }
    // What it holds of rows is what it held.
    let at = CommitPoint {
        delta: &Delta::none(),
        checkpoint: &held,
    };
    destination.commit(at).await
}

/// The schemas of the streams as a run would send them.
fn schemas(looked: &Looked) -> Result<Vec<Arc<StreamSchema>>> {
    let Ok(resolved) = &looked.resolved else {
        return Ok(Vec::new());
    };
    let planned = |stream: &PlannedStream| -> Option<Result<Arc<StreamSchema>>> {
        let schema = resolved
            .discovered
            .iter()
            .find(|schema| *schema.stream() == stream.id)?;
        Some(planned(schema, stream))
    };
    resolved.streams.iter().filter_map(planned).collect()
}

fn planned(schema: &Arc<StreamSchema>, stream: &PlannedStream) -> Result<Arc<StreamSchema>> {
    let cannot = |why: &str| Error::new(E0742.id, Retry::Never, format!("cannot migrate `{}`: {why}", stream.id));
    if !stream.types.is_empty() {
        let error = cannot("its columns have types of their own, which the source makes when it is read");
        return Err(error.hint("run `highwater sync`"));
    }
    if stream.exclude.is_empty() && stream.key.is_none() {
        return Ok(Arc::clone(schema));
    }
    let fields = schema.arrow().fields().iter();
    let fields = fields
        .filter(|field| !stream.exclude.contains(field.name()))
        .map(|field| field.as_ref().clone())
        .collect();
    let own = || schema.key_names().map(str::to_owned).collect();
    let key = stream.key.clone().unwrap_or_else(own);
    let schema = StreamSchema::new(stream.id.clone(), fields, key);
    schema
        .map(Arc::new)
        .map_err(|error| cannot("its key is not carried").caused_by(error))
}

/// What a stream is behind a chain of transformers.
async fn transformed(
    schema: Arc<StreamSchema>,
    transformers: &mut [Box<dyn Transformer>],
) -> Result<Vec<Arc<StreamSchema>>> {
    let mut schemas = VecDeque::from([schema]);
    for transformer in transformers {
        for _ in 0..schemas.len() {
            let Some(schema) = schemas.pop_front() else { break };
            let behind: Vec<OutSchema> = transformer.output_schema(&schema).await?;
            schemas.extend(behind.into_iter().map(|out| out.schema));
        }
    }
    Ok(schemas.into())
}
