//! `highwater sync`: one bounded pass.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use actors::{DestinationStatus, PipelineStatus};
use serde_json::{Value, json};

use super::run::{not_caught_up, start};
use super::{Cx, serve};
use crate::cli::SyncArgs;
use crate::codes;
use crate::configuration::Configuration;
use crate::exit::{Ended, Exit, Failure};
use crate::http::Listen;
use crate::running::{Goal, Options};
use crate::signals::Signals;
use crate::terminal::columns::{self, Align};
use crate::terminal::figures;

mod progress;

pub(super) use progress::{Watcher, watch};

pub(super) async fn sync(cx: &Cx, args: SyncArgs) -> Ended {
    let started = Instant::now();
    let mut signals = Signals::listen()?;
    let mut configuration = Configuration::read(&cx.global, &args.files);
    cx.log_quietly(Some(&configuration.loaded));
    let plan = configuration.plan(&cx.terminal, cx.name)?.clone();
    crate::metrics::install(plan.runtime.stream_labels);
    let blueprints = configuration.blueprints(&args.pipeline)?;
    let destinations: usize = blueprints
        .iter()
        .map(|blueprint| blueprint.plan.destinations.len())
        .sum();
    cx.terminal.step(
        "Validated",
        validated(blueprints.len(), destinations, configuration.elapsed),
    );
    // Only the socket: a bounded pass beside a running service must not fight for its port.
    let admin = Listen {
        tcp: None,
        any_port: false,
        token: None,
        socket: configuration.socket(&plan),
    };
    let options = Options {
        state_dir: configuration.state_dir(&plan),
        take_over: args.take_over,
        once: true,
        admin: Some(admin),
    };
    let mut session = start(cx, &mut configuration, blueprints, options).await?;

    let watcher = Watcher::new(&cx.terminal);
    let running = session.running().clone();
    let finish = {
        let beside = watch(watcher, running.clone());
        serve::until_finished(&mut session, &mut signals, Some(Goal::FirstHead), beside).await?
    };
    let before = running.status();
    let was_asked = matches!(finish, serve::Finish::Asked);
    if let serve::Finish::Refused(refusals) = finish {
        let stop = cx.say_refusals(refusals);
        session.drain().await;
        session.close().await;
        return Err(stop);
    }
    serve::drain(&mut session, signals).await?;
    let has_failed = session.has_failed();
    session.close().await;
    let after = running.status();
    let mut exit = serve::verdict(&before).worst(serve::drained_verdict(&after));
    if has_failed || was_asked {
        exit = exit.worst(Exit::Failed);
    }
    let summary = summary(&before, &after, started.elapsed());
    if let Some(path) = &args.summary {
        write_summary(path, &summary)?;
    }
    answer(cx, &summary, started.elapsed());
    if was_asked {
        cx.terminal
            .complain("Stopped before it was done; the next run goes on from here.");
    } else if exit != Exit::Done {
        cx.say_failure(&not_caught_up(exit, &after));
    }
    Ok(exit)
}

/// `1 pipeline, 2 destinations in 3 ms`.
pub(super) fn validated(pipelines: usize, destinations: usize, elapsed: Duration) -> String {
    format!(
        "{}, {} in {} ms",
        figures::counted(pipelines, "pipeline"),
        figures::counted(destinations, "destination"),
        elapsed.as_millis()
    )
}

/// One object for each pipeline and destination.
fn summary(before: &[PipelineStatus], after: &[PipelineStatus], elapsed: Duration) -> Vec<Value> {
    let mut lines = Vec::new();
    for (pipeline, ended) in before.iter().zip(after) {
        for (destination, end) in pipeline.destinations.iter().zip(&ended.destinations) {
            let trouble = destination.trouble.as_ref().or(pipeline.trouble.as_ref());
            lines.push(json!({
                "type": "summary",
                "pipeline": pipeline.pipeline,
                "destination": destination.destination,
                "connector": destination.connector,
                "ok": serve::verdict(std::slice::from_ref(pipeline)) == Exit::Done || destination.state.is_well(),
                "state": destination.state.name(),
                "rows": end.rows,
                "durable": end.durable,
                "errors": end.errors,
                "tables": tables(ended, end),
                "code": trouble.map(|trouble| trouble.code.as_str()),
                "error": trouble.map(|trouble| trouble.error.as_str()),
                "elapsed_seconds": elapsed.as_secs_f64(),
            }));
        }
    }
    lines
}

/// By table: rows that are durable, and what went wrong with it at the source. One that failed is there without rows, too.
fn tables(pipeline: &PipelineStatus, destination: &DestinationStatus) -> Value {
    let rows = &destination.rows_by_stream;
    let trouble = &pipeline.trouble_by_stream;
    let names: BTreeSet<&String> = pipeline
        .streams
        .iter()
        .map(|stream| &stream.stream)
        .chain(rows.keys())
        .chain(trouble.keys())
        .collect();
    let one = |name: &String| {
        let trouble = trouble.get(name).copied().unwrap_or_default();
        json!({
            "rows": rows.get(name).copied().unwrap_or_default(),
            "errors": trouble.errors,
            "warnings": trouble.warnings,
        })
    };
    names
        .into_iter()
        .map(|name| (name.clone(), one(name)))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

fn write_summary(path: &Path, summary: &[Value]) -> Result<(), Failure> {
    let write = || -> std::io::Result<()> {
        let mut file = std::fs::File::create(path)?;
        summary.iter().try_for_each(|line| writeln!(file, "{line}"))
    };
    write().map_err(|error| {
        Failure::environment(codes::E0731.id, format!("cannot write summary `{}`", path.display())).caused_by(error)
    })
}

fn answer(cx: &Cx, summary: &[Value], elapsed: Duration) {
    if cx.terminal.is_json() {
        summary.iter().for_each(|line| cx.terminal.answer(line.to_string()));
        return;
    }
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let row = |line: &Value| {
        let position = line["durable"]
            .as_object()
            .and_then(|logs| logs.values().next())
            .map_or_else(|| "–".into(), text);
        vec![
            format!("{}/{}", text(&line["pipeline"]), text(&line["destination"])),
            text(&line["connector"]),
            text(&line["state"]),
            figures::counted(line["rows"].as_u64().unwrap_or_default() as usize, "row"),
            format!("at {position}"),
        ]
    };
    let rows: Vec<_> = summary.iter().map(row).collect();
    let align = [Align::Left, Align::Left, Align::Left, Align::Right, Align::Left];
    cx.terminal.answer(columns::render(&align, &rows).trim_end());
    cx.terminal
        .step("Finished", format!("in {}", figures::seconds(elapsed.as_secs_f64())));
}
