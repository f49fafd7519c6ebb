//! The part that `run`, `sync` and `quickstart` share: until what a session goes on, and how it is ended.

use std::time::Instant;

use actors::{DestinationState, PipelineState, PipelineStatus, Trouble};
use api::Retry;
use tracing::info;

use super::Cx;
use crate::codes;
use crate::exit::{Exit, Failure, Stop};
use crate::running::{Goal, Running, Session};
use crate::signals::{Asked, Signals};

/// Why a session ends.
pub(super) enum Finish {
    /// Somebody asked for it.
    Asked,
    /// The bounded run is over.
    CaughtUp,
    /// Nothing runs any more.
    Ended,
    /// Nothing could be opened.
    Refused(Vec<(String, Trouble)>),
}

/// Lets a session go on until something ends it; `beside` runs meanwhile.
pub(super) async fn until_finished(
    session: &mut Session,
    signals: &mut Signals,
    goal: Option<Goal>,
    beside: impl Future<Output = std::convert::Infallible>,
) -> Result<Finish, Failure> {
    let running = session.running().clone();
    let caught_up = async {
        match goal {
            Some(goal) => running.caught_up(goal).await,
            None => std::future::pending().await,
        }
    };
    let refused = running.refused();
    tokio::pin!(caught_up, refused, beside);
    loop {
        tokio::select! {
            biased;
            asked = signals.next() => match asked {
                Asked::Drain => return Ok(Finish::Asked),
                Asked::Status => log_status(&running),
            },
            ended = session.ended() => {
                ended?;
                return Ok(Finish::Ended);
            }
            refusals = &mut refused => return Ok(Finish::Refused(refusals)),
            () = &mut caught_up => return Ok(Finish::CaughtUp),
            never = &mut beside => match never {},
        }
    }
}

/// Drains a session; from now on a second signal ends the process as it stands.
pub(super) async fn drain(session: &mut Session, signals: Signals) -> Result<(), Failure> {
    let started = Instant::now();
    signals.end_at_next();
    info!(limit_seconds = session.drain_max().as_secs_f64(), "shutting down");
    if session.drain().await {
        info!(elapsed_seconds = started.elapsed().as_secs_f64(), "shut down");
        return Ok(());
    }
    let message = format!(
        "cannot drain within {} s: some destination has not committed",
        session.drain_max().as_secs()
    );
    Err(Failure {
        exit: Exit::Failed,
        ..Failure::environment(codes::E0735.id, message)
    }
    .hint("nothing is lost: the next run goes on from the last checkpoint; a longer `runtime.shutdown.timeout` helps"))
}

/// What a bounded run has to say for itself, from how everything stood at its end.
pub(super) fn verdict(statuses: &[PipelineStatus]) -> Exit {
    let of = |status: &PipelineStatus| {
        let own = match &status.trouble {
            Some(trouble) if trouble.retry == Retry::Operator.name() => Exit::Environment,
            _ if status.state == PipelineState::Failed => Exit::Failed,
            _ => Exit::Done,
        };
        status.destinations.iter().fold(own, |exit, destination| {
            exit.worst(match destination.state {
                DestinationState::Parked => Exit::Environment,
                DestinationState::NeedsResync => Exit::Failed,
                _ => Exit::Done,
            })
        })
    };
    statuses.iter().map(of).fold(Exit::Done, Exit::worst)
}

/// The same, once everything was drained: a destination that does not hold all that was read has failed, too. Its last commit
/// may have gone wrong when nobody waited for another try.
pub(super) fn drained_verdict(statuses: &[PipelineStatus]) -> Exit {
    let holds_all = |status: &PipelineStatus| {
        status.destinations.iter().all(|destination| {
            let durable = |log: &String| destination.durable.get(log);
            let mut received = status.source.received.iter();
            received.all(|(log, order)| durable(log).is_some_and(|durable| durable >= order))
        })
    };
    match statuses.iter().all(holds_all) {
        true => Exit::Done,
        false => Exit::Failed,
    }
}

impl Cx {
    /// Says what keeps everything from starting.
    pub(super) fn say_refusals(&self, refusals: Vec<(String, Trouble)>) -> Stop {
        for (component, trouble) in &refusals {
            let failure = Failure {
                exit: Exit::Environment,
                code: codes::of_text(&trouble.code),
                message: format!("{component}: {}", trouble.error),
                hint: trouble.hint.clone(),
            };
            self.say_failure(&failure);
        }
        Stop::Said(Exit::Environment)
    }
}

fn log_status(running: &Running) {
    for pipeline in running.status() {
        let troubles = pipeline.trouble.as_ref().map(|trouble| trouble.error.as_str());
        info!(
            pipeline = pipeline.pipeline,
            state = pipeline.state.name(),
            rows = pipeline.source.rows,
            error = troubles,
            "status"
        );
        for destination in &pipeline.destinations {
            info!(
                pipeline = pipeline.pipeline,
                destination = destination.destination,
                state = destination.state.name(),
                lag_seconds = destination.lag_seconds,
                rows = destination.rows,
                error = destination.trouble.as_ref().map(|trouble| trouble.error.as_str()),
                "status"
            );
        }
    }
}
