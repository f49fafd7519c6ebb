//! `highwater run`

use std::path::{Path, PathBuf};

use tracing::{info, warn};

use super::{Cx, serve};
use crate::assembly::Blueprint;
use crate::cli::{RunArgs, Until};
use crate::codes;
use crate::configuration::Configuration;
use crate::exit::{Ended, Exit, Failure, Stop};
use crate::http::Listen;
use crate::logging::{self, Wish};
use crate::running::{Goal, Options, Session};
use crate::signals::Signals;

pub(super) async fn run(cx: &Cx, args: RunArgs) -> Ended {
    let mut signals = Signals::listen()?;
    let mut configuration = Configuration::read(&cx.global, &args.files);
    let plan = configuration.plan(&cx.terminal, cx.name)?.clone();
    let wish = Wish {
        level: plan.runtime.log.level,
        format: plan.runtime.log.format,
    };
    logging::start(&cx.global, &cx.terminal, wish, configuration.loaded.secrets.clone());
    crate::metrics::install(plan.runtime.stream_labels);
    let blueprints = configuration.blueprints(&args.pipeline)?;
    log_start(&configuration, &blueprints);

    let ephemeral = if args.ephemeral { Some(Ephemeral::make()?) } else { None };
    let state_dir = match &ephemeral {
        Some(ephemeral) => ephemeral.0.clone(),
        None => configuration.state_dir(&plan),
    };
    let socket = match &ephemeral {
        Some(ephemeral) => ephemeral.0.join(crate::configuration::SOCKET),
        None => configuration.socket(&plan),
    };
    let admin = Listen {
        tcp: plan.runtime.admin.listen,
        any_port: false,
        token: plan.runtime.admin.token.clone(),
        socket,
    };
    let options = Options {
        state_dir,
        take_over: args.take_over,
        once: args.until.is_some(),
        admin: Some(admin),
    };
    let mut session = start(cx, &mut configuration, blueprints, options).await?;

    let goal = args.until.map(|Until::CaughtUp| Goal::NewestHead);
    let finish = serve::until_finished(&mut session, &mut signals, goal, std::future::pending()).await?;
    let running = session.running().clone();
    let statuses = running.status();
    match finish {
        serve::Finish::Ended => Ok(session.close().await.worst(serve::drained_verdict(&statuses))),
        serve::Finish::Asked => {
            serve::drain(&mut session, signals).await?;
            session.close().await;
            Ok(Exit::Done)
        }
        serve::Finish::CaughtUp => {
            serve::drain(&mut session, signals).await?;
            let drained = running.status();
            let exit = serve::verdict(&statuses)
                .worst(serve::drained_verdict(&drained))
                .worst(session.close().await);
            if exit != Exit::Done {
                cx.say_failure(&not_caught_up(exit, &drained));
            }
            Ok(exit)
        }
        serve::Finish::Refused(refusals) => {
            let stop = cx.say_refusals(refusals);
            session.drain().await;
            session.close().await;
            Err(stop)
        }
    }
}

/// Starts a session; what was found wrong with the configuration meanwhile is printed.
pub(super) async fn start(
    cx: &Cx,
    configuration: &mut Configuration,
    blueprints: Vec<Blueprint>,
    options: Options,
) -> Result<Session, Stop> {
    let Some(runtime) = configuration.loaded.plan.as_ref().map(|plan| plan.runtime.clone()) else {
        return Err(Stop::Said(Exit::Input));
    };
    let started = Session::start(&mut configuration.loaded, blueprints, &runtime, options).await;
    if let Err(Stop::Said(_)) = &started {
        configuration.print_findings(&cx.terminal, cx.name);
    }
    started
}

/// Why a bounded run is no success.
pub(super) fn not_caught_up(exit: Exit, statuses: &[actors::PipelineStatus]) -> Failure {
    let mut reasons = Vec::new();
    let mut hint = None;
    for status in statuses {
        for (name, trouble) in std::iter::once((status.pipeline.clone(), &status.trouble)).chain(
            status
                .destinations
                .iter()
                .map(|d| (format!("{}/{}", status.pipeline, d.destination), &d.trouble)),
        ) {
            if let Some(trouble) = trouble {
                reasons.push(format!("{name} has {}: {}", trouble.code, trouble.error));
                hint = hint.or_else(|| trouble.hint.clone());
            }
        }
    }
    let reasons = if reasons.is_empty() {
        "see the log".to_owned()
    } else {
        reasons.join("; ")
    };
    let failure = Failure {
        exit,
        ..Failure::environment(codes::E0734.id, format!("cannot catch up: {reasons}"))
    };
    match hint {
        Some(hint) => failure.hint(hint),
        None => failure.hint("`highwater status` of a running process shows each destination"),
    }
}

fn log_start(configuration: &Configuration, blueprints: &[Blueprint]) {
    let paths = configuration
        .paths
        .iter()
        .map(|path| path.display().to_string())
        .collect::<Vec<_>>()
        .join(",");
    info!(
        version = crate::build::VERSION,
        config = paths,
        hash = configuration.loaded.text_hash(),
        pipelines = blueprints.len(),
        "starting"
    );
    for finding in configuration
        .loaded
        .findings()
        .iter()
        .filter(|f| f.severity == config::Severity::Warning)
    {
        let place = finding
            .primary()
            .map(|place| format!("{}:{}:{}", place.file, place.line, place.column));
        warn!(
            code = finding.code,
            place,
            error = finding.message,
            "configuration doubtful"
        );
    }
}

/// A state directory that is gone when this is dropped.
struct Ephemeral(PathBuf);

impl Ephemeral {
    fn make() -> Result<Ephemeral, Failure> {
        let path = std::env::temp_dir().join(format!("highwater-{}", uuid::Uuid::new_v4()));
        let made = private(&path);
        made.map_err(|error| {
            Failure::environment(codes::E0731.id, format!("cannot make directory `{}`", path.display()))
                .caused_by(error)
        })?;
        Ok(Ephemeral(path))
    }
}

fn private(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().mode(0o700).create(path)
}

impl Drop for Ephemeral {
    fn drop(&mut self) {
        // It is in the system's directory for such things.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
