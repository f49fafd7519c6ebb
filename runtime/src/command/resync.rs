//! `highwater resync`: the plan first, then the request to the running process.

use serde_json::json;

use super::Cx;
use super::status::escape;
use crate::cli::ResyncArgs;
use crate::client::Client;
use crate::codes;
use crate::exit::{Ended, Exit, Failure};
use crate::http::ResyncBody;
use crate::status::Pipeline;
use crate::terminal::figures;

pub(super) async fn resync(cx: &Cx, args: ResyncArgs) -> Ended {
    let client = Client::find(&cx.global, &cx.terminal, cx.name)?;
    let path = format!("/api/v1/pipelines/{}", escape(&args.pipeline));
    let body = client.get(&path).await?.body()?;
    let pipeline: Pipeline = serde_json::from_value(body).map_err(|error| {
        Failure::environment(codes::E0725.id, "cannot understand the runtime's answer").caused_by(error)
    })?;
    let streams = chosen(
        "stream",
        &args.stream,
        pipeline.streams.iter().map(|stream| stream.stream.as_str()),
        &args,
    )?;
    let known = pipeline
        .destinations
        .iter()
        .map(|destination| destination.destination.as_str());
    let destinations = chosen("destination", &args.destination, known, &args)?;
    say_plan(cx, &args, &streams, &destinations);
    if args.dry_run {
        if cx.terminal.is_json() {
            cx.answer_json(
                true,
                json!({"dry_run": true, "streams": streams, "destinations": destinations}),
            );
        }
        return Ok(Exit::Done);
    }
    cx.confirm("Go on?")?;
    let request = ResyncBody {
        streams: args.stream.clone(),
        destinations: args.destination.clone(),
        append: args.append,
    };
    let started = client.post(&format!("{path}/resync"), &json!(request)).await?.body()?;
    if cx.terminal.is_json() {
        cx.answer_json(true, started);
    } else {
        let what = format!("{} → {}", streams.join(", "), destinations.join(", "));
        let run = match started["run"].as_u64() {
            Some(run) => format!("resync {run} of {what}"),
            None => format!("resync of {what}, as soon as the source is open"),
        };
        cx.terminal.step(
            "Started",
            format!("{run}; watch with `highwater status {}`", args.pipeline),
        );
    }
    Ok(Exit::Done)
}

/// Those that were named, each of which must be there; all if none was.
fn chosen<'a>(
    what: &str,
    named: &[String],
    known: impl Iterator<Item = &'a str>,
    args: &ResyncArgs,
) -> Result<Vec<String>, Failure> {
    let known: Vec<&str> = known.collect();
    if let Some(unknown) = named.iter().find(|name| !known.contains(&name.as_str())) {
        return Err(Failure::input(
            "E0708",
            format!("cannot resync `{}`: it has no {what} `{unknown}`", args.pipeline),
        )
        .hint(format!("it has `{}`", known.join("`, `"))));
    }
    Ok(if named.is_empty() {
        known.iter().map(|name| (*name).to_owned()).collect()
    } else {
        named.to_vec()
    })
}

fn say_plan(cx: &Cx, args: &ResyncArgs, streams: &[String], destinations: &[String]) {
    cx.terminal.say(format!(
        "Plan: resync {} to {} of `{}`",
        figures::counted(streams.len(), "stream"),
        figures::counted(destinations.len(), "destination"),
        args.pipeline
    ));
    let how = if args.append {
        "read all rows again over what is there"
    } else {
        "empty the table, read all rows again"
    };
    for stream in streams {
        cx.terminal
            .say(format!("  {stream} → {}    {how}", destinations.join(", ")));
    }
    cx.terminal
        .say("  other streams and destinations keep running; changes arrive with their page");
}
