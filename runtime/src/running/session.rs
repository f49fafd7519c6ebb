//! One run of some pipelines: start, watch, drain.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actors::{Backoff, Ends, Outcome, Runtime, RuntimeSpec};
use api::{Budget, Error, Owner, PlannedStream, Retry};
use config::{Loaded, RuntimePlan};
use state::{StateError, StateStore};
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::look::{Looked, look_at, look_at_all, report};
use super::pipelines::{Running, failure_of, trouble};
use super::{heartbeat, open_store, owner};
use crate::assembly::Blueprint;
use crate::exit::{Exit, Failure, Stop, chain};
use crate::http;

/// What differs between the commands that run pipelines.
pub(crate) struct Options {
    /// Where the state is.
    pub(crate) state_dir: PathBuf,
    /// Fence an owner that is alive.
    pub(crate) take_over: bool,
    /// Whether it is to end where the sources stand: those with a schedule read once, now.
    pub(crate) once: bool,
    /// Where the admin API listens; `None` if it does not.
    pub(crate) admin: Option<http::Listen>,
}

/// How a source that is away is tried again.
const AWAY: Backoff = Backoff {
    min: Duration::from_millis(500),
    max: Duration::from_secs(60),
    give_up_after: None,
};
/// How long to wait for somebody to put right what a look at a source found wrong.
const OPERATOR_WAIT: Duration = Duration::from_secs(30);

/// Pipelines at work.
pub(crate) struct Session {
    running: Running,
    pipelines: JoinSet<End>,
    outcomes: Vec<Outcome>,
    stop: CancellationToken,
    heartbeat: JoinHandle<()>,
    http: Option<http::Server>,
    drain_max: Duration,
    started: Instant,
}

/// How the task of one pipeline ended.
enum End {
    Outcome(Outcome),
    StateLost(Arc<StateError>),
}

/// What one pipeline's task needs.
struct Bringing {
    running: Running,
    runtime: RuntimePlan,
    store: Arc<dyn StateStore>,
    memory: Budget,
    owner: Owner,
    once: bool,
    take_over: bool,
    scratch: PathBuf,
    stop: CancellationToken,
}

impl Session {
    /// Starts pipelines. What is wrong before anything runs is reported in `loaded` and is the end.
    pub(crate) async fn start(
        loaded: &mut Loaded,
        blueprints: Vec<Blueprint>,
        runtime: &RuntimePlan,
        options: Options,
    ) -> Result<Session, Stop> {
        let started = Instant::now();
        let store = Arc::new(open_store(&options.state_dir).await?);
        let looked = look_at_all(blueprints).await;
        check_all(loaded, &looked)?;
        let memory = Budget::new(runtime.memory_limit_bytes as usize);
        let blueprints = looked.iter().map(|looked| looked.blueprint.clone()).collect();
        let running = Running::new(blueprints, memory.clone(), loaded.text_hash());
        let http = match options.admin {
            Some(listen) => Some(http::Server::start(listen, running.clone(), Arc::clone(&store)).await?),
            None => None,
        };
        let stop = CancellationToken::new();
        let mut pipelines = JoinSet::new();
        for looked in looked {
            let bringing = Bringing {
                running: running.clone(),
                runtime: runtime.clone(),
                store: Arc::clone(&store) as Arc<dyn StateStore>,
                memory: memory.clone(),
                owner: owner(),
                take_over: options.take_over,
                once: options.once,
                scratch: options.state_dir.join("scratch"),
                stop: stop.clone(),
            };
            pipelines.spawn(bringing.bring_up(looked));
        }
        running.set_started();
        Ok(Session {
            heartbeat: tokio::spawn(heartbeat::beat(running.clone())),
            running,
            pipelines,
            outcomes: Vec::new(),
            stop,
            http,
            drain_max: runtime.shutdown_timeout,
            started,
        })
    }

    /// How the pipelines stand.
    pub(crate) fn running(&self) -> &Running {
        &self.running
    }

    /// Where the admin API listens.
    pub(crate) fn address(&self) -> Option<std::net::SocketAddr> {
        self.http.as_ref().and_then(http::Server::address)
    }

    /// How long a drain may take.
    pub(crate) fn drain_max(&self) -> Duration {
        self.drain_max
    }

    /// Waits until no pipeline runs any more, or the state directory failed. Cancel-safe.
    pub(crate) async fn ended(&mut self) -> Result<(), Failure> {
        while let Some(end) = self.pipelines.join_next().await {
            match end {
                Ok(End::Outcome(outcome)) => self.outcomes.push(outcome),
                Ok(End::StateLost(error)) => {
                    return Err(
                        Failure::environment(error.code(), chain(&*error)).hint(error.hint().unwrap_or_default())
                    );
                }
                Err(panic) => {
                    let error = Error::new("E0711", Retry::Never, "cannot supervise a pipeline").caused_by(panic);
                    self.outcomes.push(Outcome::Failed(Arc::new(error)));
                }
            }
        }
        Ok(())
    }

    /// Stops the sources, commits everything and closes. `false` if the deadline passed first.
    pub(crate) async fn drain(&mut self) -> bool {
        self.stop.cancel();
        let drains = self.running.runtimes().into_iter().map(|(_, runtime)| {
            let limit = self.drain_max;
            async move { runtime.drain(limit).await }
        });
        let are_drained = futures::future::join_all(drains).await;
        let is_drained = are_drained.into_iter().all(|is_drained| is_drained);
        // The tasks end with their pipelines; what a missed deadline left is not waited for.
        let _ = tokio::time::timeout(Duration::from_secs(5), self.ended()).await;
        is_drained
    }

    /// Ends what is left, and says how it all went: for `run`, failed only if every pipeline failed.
    pub(crate) async fn close(mut self) -> Exit {
        self.heartbeat.abort();
        self.pipelines.shutdown().await;
        if let Some(http) = self.http.take() {
            http.stop().await;
        }
        let failed = self
            .outcomes
            .iter()
            .filter(|outcome| failure_of(outcome).is_some())
            .count();
        let exit = if failed > 0 && failed == self.outcomes.len() {
            Exit::Failed
        } else {
            Exit::Done
        };
        info!(
            elapsed_seconds = self.started.elapsed().as_secs_f64(),
            exit = exit.code(),
            "stopped"
        );
        exit
    }

    /// Whether any pipeline failed so far.
    pub(crate) fn has_failed(&self) -> bool {
        self.outcomes.iter().any(|outcome| failure_of(outcome).is_some())
    }
}

/// What every source must answer before anything runs, except those that are away for now.
fn check_all(loaded: &mut Loaded, looked: &[Looked]) -> Result<(), Exit> {
    let mut exit = Exit::Done;
    for looked in looked.iter().filter(|looked| !looked.is_away()) {
        exit = exit.worst(report(loaded, looked));
    }
    if exit == Exit::Done { Ok(()) } else { Err(exit) }
}

impl Bringing {
    /// Brings a pipeline up, whenever its source lets it, and stays until its end.
    async fn bring_up(self, first: Looked) -> End {
        let name = first.blueprint.plan.name.clone();
        let stop = self.stop.clone();
        let found = tokio::select! {
            found = self.find_streams(first) => found,
            () = stop.cancelled() => {
                self.running.set_over(&name, None);
                return End::Outcome(Outcome::Drained);
            }
        };
        let (blueprint, streams) = found;
        match self.start(&blueprint, streams).await {
            Ok(runtime) => {
                self.running.set_runtime(&name, runtime.clone());
                // A drain that began meanwhile has not seen this one.
                if stop.is_cancelled() {
                    runtime.drain(self.runtime.shutdown_timeout).await;
                }
                end_of(runtime.all_ended().await)
            }
            Err(error) => {
                error!(
                    pipeline = name,
                    code = error.code(),
                    error = error.chain(),
                    "pipeline failed"
                );
                self.running.set_over(&name, Some(trouble(&error, 1)));
                End::Outcome(Outcome::Failed(Arc::new(error)))
            }
        }
    }

    /// Looks at the source until it has every stream.
    async fn find_streams(&self, first: Looked) -> (Blueprint, Vec<PlannedStream>) {
        let (mut looked, mut attempt) = (first, 1);
        loop {
            if let Some(streams) = looked.streams() {
                return (looked.blueprint.clone(), streams.to_vec());
            }
            let error = match &looked.resolved {
                Err(error) => error,
                Ok(resolved) => &first_finding(resolved),
            };
            let wait = match error.retry() {
                Retry::After => AWAY.wait(attempt),
                _ => OPERATOR_WAIT,
            };
            let name = &looked.blueprint.plan.name;
            warn!(
                pipeline = name,
                component = "source",
                code = error.code(),
                error = error.chain(),
                hint = error.remedy(),
                attempt,
                next_try_seconds = wait.as_secs_f64(),
                "source retrying"
            );
            self.running
                .set_waiting(name, trouble(error, attempt), Some(Instant::now() + wait));
            tokio::time::sleep(wait).await;
            looked = look_at(looked.blueprint).await;
            attempt += 1;
        }
    }

    async fn start(&self, blueprint: &Blueprint, streams: Vec<PlannedStream>) -> Result<Runtime, Error> {
        let spec = RuntimeSpec {
            pipelines: vec![blueprint.spec(streams, &self.runtime, &self.scratch, self.once)],
            store: Arc::clone(&self.store),
            memory: self.memory.clone(),
            owner: self.owner.clone(),
            take_over: self.take_over,
        };
        Runtime::start(spec).await
    }
}

fn first_finding(resolved: &crate::assembly::Resolved) -> Error {
    let mut findings = resolved.findings.iter().map(|(_, _, finding)| finding);
    let worst = findings.find(|finding| finding.severity == config::Severity::Error);
    let (code, message) = worst.map_or(("E0202", String::new()), |finding| {
        (finding.code, finding.message.clone())
    });
    let error = Error::new(code, Retry::Operator, message);
    match worst.and_then(|finding| finding.hints.first()) {
        Some(hint) => error.hint(hint),
        None => error,
    }
}

fn end_of(ends: Ends) -> End {
    match ends.state_lost {
        Some(error) => End::StateLost(error),
        None => End::Outcome(ends.outcomes.into_values().next().unwrap_or(Outcome::Drained)),
    }
}
