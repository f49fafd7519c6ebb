//! `highwater migrate`: the tables of every destination as the sources have them now, without a row.
//!
//! A table that follows a log is left alone: changes of an older shape may be on their way, and those that follow alter it in the log's
//! order. What such a destination does not hold yet is made.

use std::collections::BTreeMap;
use std::sync::Arc;

use api::{CommitPoint, Destination, Error, Result, Retry};
use bytes::Bytes;
use config::DestinationPlan;
use model::{ChangeSet, Control, Delta, DestinationId, PipelineId, StreamSchema};
use serde_json::{Value, json};
use state::{StateError, StateStore};

use super::Cx;
use crate::assembly::Blueprint;
use crate::cli::MigrateArgs;
use crate::configuration::Configuration;
use crate::exit::{Ended, Exit};
use crate::running::{Looked, look_at_all, open_store, owner, report, schemas, transformed};
use crate::terminal::figures;

/// The engine's code for rows that were made by other transformers.
const OTHER_PLAN: &str = "E0704";

pub(super) async fn migrate(cx: &Cx, args: MigrateArgs) -> Ended {
    let mut configuration = Configuration::read(&cx.global, &args.files);
    cx.log_quietly(Some(&configuration.loaded));
    let plan = configuration.plan(&cx.terminal, cx.name)?.clone();
    let blueprints = configuration.blueprints(&args.pipeline)?;
    // The lock first: a running process makes its tables itself.
    let store = open_store(&configuration.state_dir(&plan)).await?;
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
                outcome: migrate_one(looked, destination, &store).await,
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

/// What became of one destination.
struct Migrated {
    pipeline: String,
    destination: String,
    outcome: Result<Tables>,
}

/// Tables of a destination, by what was done.
#[derive(Default)]
struct Tables {
    made: Vec<String>,
    /// They follow a log.
    left: Vec<String>,
}

/// What is kept of the tables of a destination, as a run would keep it.
async fn keep(store: &dyn StateStore, pipeline: &PipelineId, tables: BTreeMap<String, Bytes>) -> Result<()> {
    if tables.is_empty() {
        return Ok(());
    }
    let failed = |error: StateError| {
        let message = format!("cannot note the tables of `{pipeline}`");
        Error::new(error.code(), Retry::Operator, message).caused_by(error)
    };
    let mut kept = store.load_kept(pipeline).await.map_err(failed)?;
    kept.extend(tables);
    store.put_kept(pipeline, &kept).await.map_err(failed)
}

impl Migrated {
    fn say(&self, cx: &Cx) {
        if cx.terminal.is_json() {
            return;
        }
        let name = format!("{}/{}", self.pipeline, self.destination);
        match &self.outcome {
            Ok(Tables { made, left }) => {
                if !made.is_empty() || left.is_empty() {
                    let tables = format!("{}: {}", figures::counted(made.len(), "table"), made.join(", "));
                    cx.terminal.step("Migrated", format!("{name}, {tables}"));
                }
                if !left.is_empty() {
                    let tables = format!("{}: {}", figures::counted(left.len(), "table"), left.join(", "));
                    cx.terminal.step(
                        "Left",
                        format!("{name}, {tables}; the changes themselves alter what follows a log"),
                    );
                }
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
            "tables": self.outcome.as_ref().ok().map(|tables| &tables.made),
            "left": self.outcome.as_ref().ok().map(|tables| &tables.left),
            "code": error.map(Error::code),
            "error": error.map(Error::chain),
            "hint": error.and_then(Error::remedy),
        })
    }
}

async fn migrate_one(looked: &Looked, plan: &DestinationPlan, store: &dyn StateStore) -> Result<Tables> {
    let blueprint = &looked.blueprint;
    let schemas = schemas(looked)?;
    let mut destination = blueprint.make_destination(plan)?;
    let mut outcome = make_tables(blueprint, plan, destination.as_mut(), schemas).await;
    if outcome.is_ok() {
        let id = DestinationId::new(plan.name.as_str());
        let described = destination.described().into_iter();
        let tables = described
            .map(|(stream, table)| (actors::kept_table(&id, &stream), table))
            .collect();
        outcome = keep(store, &blueprint.id(), tables).await.and(outcome);
    }
    // What failed is what is worth telling.
    let closed = destination.close().await;
    let tables = outcome?;
    closed.map(|()| tables)
}

async fn make_tables(
    blueprint: &Blueprint,
    plan: &DestinationPlan,
    destination: &mut dyn Destination,
    schemas: Vec<Arc<StreamSchema>>,
) -> Result<Tables> {
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
    let has_log = !blueprint.source.capabilities().rereads;
    let mut transformers = blueprint.make_transformers(plan)?;
    let mut tables = Tables::default();
    for schema in schemas {
        let follows_log = has_log && held.streams.contains_key(schema.stream());
        for schema in transformed(schema, &mut transformers).await? {
            let name = schema.stream().to_string();
            if follows_log {
                tables.left.push(name);
                continue;
            }
            let control = ChangeSet::control(Delta::none(), Control::Schema { schema });
            destination.write(Arc::new(control)).await?;
            tables.made.push(name);
        }
    }
    // What it holds of rows is what it held.
    let at = CommitPoint {
        delta: &Delta::none(),
        checkpoint: &held,
    };
    destination.commit(at).await?;
    Ok(tables)
}
