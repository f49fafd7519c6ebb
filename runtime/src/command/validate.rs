//! `highwater validate`

use std::collections::BTreeMap;
use std::time::Instant;

use bytes::Bytes;
use config::{DestinationPlan, Loaded, Part, Severity};
use model::{PipelineId, StreamId};
use serde_json::{Value, json};
use state::{SledStore, StateError};

use super::Cx;
use crate::cli::ValidateArgs;
use crate::configuration::Configuration;
use crate::envelope::Envelope;
use crate::exit::{Ended, Exit};
use crate::running::{self, Looked, look_at_all};
use crate::terminal::columns::{self, Align};

pub(super) fn validate(cx: &Cx, args: &ValidateArgs) -> Ended {
    let started = Instant::now();
    let mut configuration = Configuration::read(&cx.global, &args.files);
    cx.log_quietly(Some(&configuration.loaded));
    let mut exit = if configuration.loaded.has_errors() {
        Exit::Input
    } else {
        Exit::Done
    };
    let promises = promises(&configuration);
    if args.connect && exit == Exit::Done {
        cx.block_on(async {
            exit = connect(&mut configuration).await?;
            Ok(exit)
        })?;
    }
    let loaded = &configuration.loaded;
    let has_warnings = loaded
        .findings()
        .iter()
        .any(|finding| finding.severity == Severity::Warning);
    if args.deny_warnings && has_warnings {
        exit = exit.worst(Exit::Input);
    }
    let elapsed = started.elapsed();
    if cx.terminal.is_json() {
        let envelope = Envelope {
            summary: Some(loaded.summary(elapsed)),
            findings: loaded.findings(),
            ..Envelope::result(cx.name, exit == Exit::Done, json!({ "pipelines": promises }))
        };
        cx.terminal.answer(envelope.render());
    } else {
        let findings = loaded.render_findings(&cx.terminal.screen_out());
        if !findings.is_empty() {
            cx.terminal.answer(findings);
        }
        if exit == Exit::Done {
            cx.terminal.answer(render_promises(&promises));
        }
        cx.terminal.answer(loaded.render_summary(elapsed).trim_end());
    }
    Ok(exit)
}

/// Asks every source and destination what only they know.
async fn connect(configuration: &mut Configuration) -> Ended {
    let blueprints = configuration.blueprints(&[])?;
    let Some(runtime) = configuration.loaded.plan.as_ref().map(|plan| plan.runtime.clone()) else {
        return Ok(Exit::Input);
    };
    let kept = kept(configuration);
    let loaded = &mut configuration.loaded;
    let mut exit = Exit::Done;
    for looked in look_at_all(blueprints).await {
        exit = exit.worst(running::report(loaded, &looked));
        let blueprint = &looked.blueprint;
        if let Some(streams) = looked.streams() {
            let plan = blueprint.source_plan(streams.to_vec(), &runtime);
            let part = Part::source(&blueprint.plan.name);
            let checked = blueprint.source.check(&plan).await;
            exit = exit.worst(report_all(loaded, &part, checked));
        }
        exit = exit.worst(connect_destinations(loaded, &looked, kept.as_ref()).await);
    }
    Ok(exit)
}

/// What is kept for each pipeline; `None` if a runtime has it.
fn kept(configuration: &Configuration) -> Option<BTreeMap<PipelineId, BTreeMap<String, Bytes>>> {
    let dir = configuration.state_dir(configuration.loaded.plan.as_ref()?);
    match SledStore::read(&dir) {
        Ok((contents, _)) => Some(contents.pipelines.into_iter().map(|(id, of)| (id, of.kept)).collect()),
        Err(StateError::Missing { .. }) => Some(BTreeMap::new()),
        Err(_) => None,
    }
}

async fn connect_destinations(
    loaded: &mut Loaded,
    looked: &Looked,
    kept: Option<&BTreeMap<PipelineId, BTreeMap<String, Bytes>>>,
) -> Exit {
    let blueprint = &looked.blueprint;
    let pipeline = PipelineId::from(blueprint.plan.name.as_str());
    let mut exit = Exit::Done;
    for destination in &blueprint.plan.destinations {
        let described = kept.map(|kept| {
            let of_pipeline = kept.get(&pipeline);
            let id = destination.name.as_str().into();
            of_pipeline
                .map(|kept| actors::kept_tables(kept, &id))
                .unwrap_or_default()
        });
        let part = Part::destination(&blueprint.plan.name, &destination.name);
        let checked = check_destination(looked, destination, described.as_ref()).await;
        exit = exit.worst(report_all(loaded, &part, checked));
    }
    exit
}

/// What a destination finds, and what would become of its tables.
async fn check_destination(
    looked: &Looked,
    plan: &DestinationPlan,
    described: Option<&BTreeMap<StreamId, Bytes>>,
) -> api::Result<Vec<api::Error>> {
    let blueprint = &looked.blueprint;
    let mut destination = blueprint.make_destination(plan)?;
    let mut found = destination.check().await?;
    // A stream whose shape only a reading shows is not compared.
    if let (true, Ok(schemas)) = (looked.streams().is_some(), running::schemas(looked)) {
        let mut transformers = blueprint.make_transformers(plan)?;
        let mut now = Vec::new();
        for schema in schemas {
            now.extend(running::transformed(schema, &mut transformers).await?);
        }
        found.extend(destination.assess(described, &now).await?);
    }
    Ok(found)
}

fn report_all(loaded: &mut Loaded, part: &Part, checked: api::Result<Vec<api::Error>>) -> Exit {
    let (found, mut exit) = match checked {
        Ok(found) => (found, Exit::Done),
        Err(error) => {
            let exit = Exit::of(error.retry());
            (vec![error], exit)
        }
    };
    for error in found {
        if error.code().starts_with('E') {
            exit = exit.worst(Exit::of(error.retry()));
        }
        running::report_error(loaded, part, &error);
    }
    exit
}

/// What every destination is promised.
fn promises(configuration: &Configuration) -> Vec<Value> {
    let pipelines = configuration.loaded.plan.iter().flat_map(|plan| &plan.pipelines);
    pipelines
        .map(|pipeline| {
            let destination = |destination: &config::DestinationPlan| {
                json!({
                    "destination": destination.name,
                    "connector": destination.connector,
                    "write": write(destination),
                    "guarantee": destination.guarantee,
                })
            };
            let destinations: Vec<Value> = pipeline.destinations.iter().map(destination).collect();
            json!({"pipeline": pipeline.name, "source": pipeline.source.connector, "destinations": destinations})
        })
        .collect()
}

fn write(destination: &config::DestinationPlan) -> &'static str {
    match destination.write {
        config::WriteMode::ByKey => "upsert by key, else append",
        config::WriteMode::Always(config::Write::Append) => "append",
        config::WriteMode::Always(config::Write::Upsert) => "upsert",
        config::WriteMode::Always(config::Write::Mirror) => "mirror",
    }
}

fn render_promises(pipelines: &[Value]) -> String {
    let text = |value: &Value, field: &str| value[field].as_str().unwrap_or_default().to_owned();
    let mut screen = String::new();
    for pipeline in pipelines {
        screen.push_str(&format!(
            "{}: {}\n",
            text(pipeline, "pipeline"),
            text(pipeline, "source")
        ));
        let destinations = pipeline["destinations"]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default();
        let cells = |d: &Value| ["destination", "connector", "write", "guarantee"].map(|field| text(d, field));
        let rows: Vec<Vec<String>> = destinations
            .iter()
            .map(|d| {
                let [name, connector, write, guarantee] = cells(d);
                vec![format!("  → {name}"), connector, write, guarantee]
            })
            .collect();
        screen.push_str(&columns::render(&[Align::Left; 4], &rows));
    }
    screen
}
