//! `highwater verify`: asks the running process, or runs the pipeline to the source's position and compares there.

mod answer;

use std::path::PathBuf;
use std::time::Duration;

use actors::{ComparedAs, Verified};
use serde_json::{Value, json};

use super::run::{not_caught_up, start};
use super::status::escape;
use super::sync::{Watcher, watch};
use super::{Cx, serve};
use crate::cli::VerifyArgs;
use crate::client::Client;
use crate::codes;
use crate::configuration::Configuration;
use crate::exit::{Ended, Exit, Failure, Stop};
use crate::http::{Listen, VerifyBody};
use crate::running::{Goal, JobError, JobState, JobView, Options, Running, Session};
use crate::signals::Signals;
use crate::terminal::{Progress, figures};

/// How often a job is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(100);

pub(super) async fn verify(cx: &Cx, args: VerifyArgs) -> Ended {
    let body = VerifyBody {
        streams: args.stream.clone(),
        destinations: args.destination.clone(),
        sample: args.sample,
        rows_per_second: args.rows_per_second.map(f64::from),
    };
    let client = Client::find(&cx.global, &cx.terminal, cx.name)?;
    let mut signals = Signals::listen()?;
    let verified = match client.get("/api/v1/info").await {
        Ok(info) => {
            info.body()?;
            asked(cx, &client, &args, &body, &mut signals).await?
        }
        // Nobody runs it; an address that was named is another matter.
        Err(_) if cx.global.address.is_none() => by_itself(cx, &args, &body, signals).await?,
        Err(failure) => return Err(failure.into()),
    };
    conclude(cx, &args, &verified)
}

/// Has the running process do it, and waits for it.
async fn asked(
    cx: &Cx,
    client: &Client,
    args: &VerifyArgs,
    body: &VerifyBody,
    signals: &mut Signals,
) -> Result<Verified, Stop> {
    let path = format!("/api/v1/pipelines/{}/verify", escape(&args.pipeline));
    let started = client.post(&path, &json!(body)).await?.body()?;
    let job = started["job"].as_u64().unwrap_or_default();
    let path = format!("/api/v1/jobs/{job}");
    let progress = cx.terminal.progress();
    loop {
        let view: JobView = understood(client.get(&path).await?.body()?)?;
        if let Some(verified) = outcome(view, progress.as_ref())? {
            return Ok(verified);
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK_EVERY) => {}
            _ = signals.next() => {
                client.delete(&path).await?.body()?;
                return Err(stopped(cx));
            }
        }
    }
}

/// Runs the pipeline until it has caught up, and compares then.
async fn by_itself(cx: &Cx, args: &VerifyArgs, body: &VerifyBody, mut signals: Signals) -> Result<Verified, Stop> {
    let mut configuration = Configuration::read(&cx.global, &[]);
    cx.log_quietly(Some(&configuration.loaded));
    let plan = configuration.plan(&cx.terminal, cx.name)?.clone();
    crate::metrics::install(plan.runtime.stream_labels);
    let blueprints = configuration.blueprints(std::slice::from_ref(&args.pipeline))?;
    cx.terminal.step(
        "Running",
        format!(
            "`{}`, which nobody runs now, up to the source's position",
            args.pipeline
        ),
    );
    let admin = Listen {
        tcp: None,
        any_port: false,
        token: None,
        socket: configuration.socket(&plan),
    };
    let options = Options {
        state_dir: configuration.state_dir(&plan),
        take_over: false,
        once: true,
        admin: Some(admin),
    };
    let mut session = start(cx, &mut configuration, blueprints, options).await?;
    let verified = in_session(cx, args, body, &mut session, &mut signals).await;
    let drained = serve::drain(&mut session, signals).await;
    session.close().await;
    let verified = verified?;
    drained?;
    Ok(verified)
}

async fn in_session(
    cx: &Cx,
    args: &VerifyArgs,
    body: &VerifyBody,
    session: &mut Session,
    signals: &mut Signals,
) -> Result<Verified, Stop> {
    let running = session.running().clone();
    let beside = watch(Watcher::new(&cx.terminal), running.clone());
    match serve::until_finished(session, signals, Some(Goal::FirstHead), beside).await? {
        serve::Finish::CaughtUp => {}
        serve::Finish::Asked => return Err(stopped(cx)),
        serve::Finish::Refused(refusals) => return Err(cx.say_refusals(refusals)),
        serve::Finish::Ended => return Err(unfinished(&running, Exit::Failed)),
    }
    let exit = serve::verdict(&running.status());
    if exit != Exit::Done {
        return Err(unfinished(&running, exit));
    }
    let wrong = |why: String| Failure::input(codes::E0728.id, why);
    let started = running.verify(&args.pipeline, body.request().map_err(wrong)?)?;
    let job = started.unwrap_or_else(|other| other);
    let progress = cx.terminal.progress();
    let done = async {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            match running.job(job) {
                Some(view) if view.state == JobState::Running => {
                    if let Some(progress) = &progress {
                        progress.set(doing(&view));
                    }
                }
                view => return view,
            }
        }
    };
    tokio::select! {
        view = done => match view {
            Some(view) => outcome(view, None)?.ok_or_else(|| stopped(cx)),
            None => Err(stopped(cx)),
        },
        finish = serve::until_finished(session, signals, None, std::future::pending()) => match finish? {
            serve::Finish::Asked => Err(stopped(cx)),
            _ => Err(unfinished(&running, Exit::Failed)),
        },
    }
}

fn unfinished(running: &Running, exit: Exit) -> Stop {
    not_caught_up(exit, &running.status()).into()
}

fn stopped(cx: &Cx) -> Stop {
    cx.terminal.complain("Stopped before it was done; nothing was changed.");
    Stop::Said(Exit::Failed)
}

fn understood<T: serde::de::DeserializeOwned>(body: Value) -> Result<T, Failure> {
    serde_json::from_value(body).map_err(|error| {
        Failure::environment(codes::E0725.id, "cannot understand the runtime's answer").caused_by(error)
    })
}

fn doing(view: &JobView) -> String {
    let rows = view.progress.source_rows + view.progress.destination_rows;
    format!("{}, {} rows read", view.progress.doing, figures::count(rows))
}

/// What a job has come to; `None` while it goes on.
fn outcome(view: JobView, progress: Option<&Progress>) -> Result<Option<Verified>, Failure> {
    let doing = doing(&view);
    match (view.state, view.result, view.error) {
        (JobState::Done, Some(verified), _) => Ok(Some(verified)),
        (JobState::Failed, _, Some(error)) => Err(failure(error)),
        (JobState::Running, ..) => {
            if let Some(progress) = progress {
                progress.set(doing);
            }
            Ok(None)
        }
        _ => Err(Failure::environment(
            codes::E0725.id,
            format!("cannot wait for job {}: somebody has ended it", view.job),
        )),
    }
}

fn failure(error: JobError) -> Failure {
    let code = codes::find(&error.code).unwrap_or(codes::E0725);
    let exit = match code.id {
        "E0708" | "E0714" | "E0603" | "E0604" => Exit::Input,
        _ => Exit::Failed,
    };
    Failure {
        exit,
        hint: error.hint,
        ..Failure::environment(code.id, error.message)
    }
}

/// Prints what came of it, and writes the details where something differs.
fn conclude(cx: &Cx, args: &VerifyArgs, verified: &Verified) -> Ended {
    let is_equal = verified.is_equal();
    let details = if is_equal {
        None
    } else {
        Some(write_details(args, verified)?)
    };
    if cx.terminal.is_json() {
        let mut result = json!(verified);
        result["details"] = json!(details.as_ref().map(|path| path.display().to_string()));
        cx.answer_json(is_equal, result);
    } else {
        answer::say(cx, verified);
        if let Some(details) = &details {
            cx.terminal.step("Details", details.display().to_string());
        }
        cx.terminal
            .step("Finished", format!("in {}", figures::seconds(verified.elapsed_seconds)));
    }
    let is_anything = |outcome| verified.comparisons.iter().any(|of| of.outcome != outcome);
    match (is_equal, is_anything(ComparedAs::NotCompared)) {
        (false, _) => Ok(Exit::No),
        (true, true) => Ok(Exit::Done),
        // Nothing was compared: that is no yes.
        (true, false) => Ok(Exit::Input),
    }
}

fn write_details(args: &VerifyArgs, verified: &Verified) -> Result<PathBuf, Failure> {
    let safe = |c: char| {
        if c.is_alphanumeric() || matches!(c, '-' | '_' | '.') {
            c
        } else {
            '_'
        }
    };
    let path = match &args.details {
        Some(path) => path.clone(),
        None => PathBuf::from(format!(
            "verify-{}.json",
            args.pipeline.chars().map(safe).collect::<String>()
        )),
    };
    let text = format!("{:#}\n", json!(verified));
    std::fs::write(&path, text).map_err(|error| {
        Failure::environment(codes::E0731.id, format!("cannot write `{}`", path.display())).caused_by(error)
    })?;
    Ok(path)
}
