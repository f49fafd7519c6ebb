//! The runtime supervisor: all pipelines of a process, and the handle that the outside holds.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use api::{Budget, Error, Owner, Retry};
use model::PipelineId;
use ractor::{Actor, ActorProcessingErr, ActorRef, SupervisionEvent};
use state::{StateError, StateStore};
use tokio::sync::{oneshot, watch};
use tracing::{error, info};

use crate::pipeline::{PipelineActor, PipelineArgs, PipelineMsg, Resync, Resynced};
use crate::spec::PipelineSpec;
use crate::status::{Board, Phase, PipelineStatus, Trouble};
use crate::verify::{SharedProgress, Verified, Verify};

/// How a pipeline ended.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// It was drained, or its bounded source ended: everything is durable.
    Drained,
    /// It failed.
    Failed(Arc<Error>),
    /// Another owner has taken it over.
    Fenced(Arc<Error>),
}

/// What `start` needs beside the pipelines.
pub struct RuntimeSpec {
    /// The pipelines.
    pub pipelines: Vec<PipelineSpec>,
    /// The state store.
    pub store: Arc<dyn StateStore>,
    /// The memory budget.
    pub memory: Budget,
    /// Who we are.
    pub owner: Owner,
    /// Whether to fence an owner that is alive.
    pub take_over: bool,
}

/// A running runtime.
#[derive(Clone)]
pub struct Runtime {
    actor: ActorRef<RuntimeMsg>,
    boards: Arc<BTreeMap<PipelineId, Board>>,
    ended: watch::Receiver<Ends>,
}

/// Which pipelines have ended, and how.
#[derive(Debug, Clone, Default)]
pub struct Ends {
    /// Pipelines that ended.
    pub outcomes: BTreeMap<PipelineId, Outcome>,
    /// The state directory failed: the process must end.
    pub state_lost: Option<Arc<StateError>>,
    /// Whether nothing runs any more.
    pub is_all: bool,
}

pub(crate) enum RuntimeMsg {
    PipelineEnded {
        pipeline: PipelineId,
        outcome: Outcome,
    },
    StateLost(StateError),
    Resync {
        pipeline: PipelineId,
        request: Resync,
        answer: oneshot::Sender<Result<Resynced, Error>>,
    },
    Verify {
        pipeline: PipelineId,
        request: Verify,
        progress: SharedProgress,
        answer: oneshot::Sender<Result<Verified, Error>>,
    },
    Flush,
    Drain,
}

struct RuntimeActor;

struct RuntimeState {
    pipelines: BTreeMap<PipelineId, ActorRef<PipelineMsg>>,
    boards: Arc<BTreeMap<PipelineId, Board>>,
    ends: watch::Sender<Ends>,
}

impl Runtime {
    /// Starts every pipeline.
    pub async fn start(spec: RuntimeSpec) -> Result<Self, Error> {
        let boards: BTreeMap<_, _> = spec
            .pipelines
            .iter()
            .map(|pipeline| {
                let streams = pipeline.plan.streams.iter().map(|stream| stream.id.clone()).collect();
                (
                    pipeline.id.clone(),
                    Board::new(pipeline.id.clone(), pipeline.connector.clone(), streams),
                )
            })
            .collect();
        let boards = Arc::new(boards);
        let (ends, ended) = watch::channel(Ends::default());
        let args = (spec, Arc::clone(&boards), ends);
        let (actor, _) = Actor::spawn(None, RuntimeActor, args).await.map_err(|error| {
            Error::new("E0709", Retry::Operator, "cannot start the runtime").caused_by(error.to_string())
        })?;
        Ok(Runtime { actor, boards, ended })
    }

    /// How every pipeline stands.
    pub fn status(&self) -> Vec<PipelineStatus> {
        self.boards.values().map(Board::status).collect()
    }

    /// The boards, by pipeline.
    pub fn boards(&self) -> &BTreeMap<PipelineId, Board> {
        &self.boards
    }

    /// Reads streams again.
    pub async fn resync(&self, pipeline: &PipelineId, request: Resync) -> Result<Resynced, Error> {
        let (answer, answered) = oneshot::channel();
        let gone = || {
            Error::new(
                "E0710",
                Retry::Operator,
                format!("cannot resync `{pipeline}`: it has stopped"),
            )
        };
        self.actor
            .cast(RuntimeMsg::Resync {
                pipeline: pipeline.clone(),
                request,
                answer,
            })
            .map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?
    }

    /// Compares what the source has with what destinations hold, at one position, while both go on. Takes as long as reading
    /// both sides once, and again where they differ.
    ///
    /// Cancellation: a dropped future ends the comparing.
    pub async fn verify(
        &self,
        pipeline: &PipelineId,
        request: Verify,
        progress: SharedProgress,
    ) -> Result<Verified, Error> {
        let (answer, answered) = oneshot::channel();
        let gone = || {
            Error::new(
                "E0710",
                Retry::Operator,
                format!("cannot verify `{pipeline}`: it has stopped"),
            )
        };
        let message = RuntimeMsg::Verify {
            pipeline: pipeline.clone(),
            request,
            progress,
            answer,
        };
        self.actor.cast(message).map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?
    }

    /// Every destination commits what it has, now.
    pub fn flush(&self) {
        // A runtime that is gone has drained.
        let _ = self.actor.cast(RuntimeMsg::Flush);
    }

    /// Stops the sources, commits everything, closes. `false` if the deadline passed first: nothing is lost, what was not
    /// committed is read again.
    pub async fn drain(&self, deadline: Duration) -> bool {
        // A runtime that is gone has drained.
        let _ = self.actor.cast(RuntimeMsg::Drain);
        tokio::time::timeout(deadline, self.all_ended()).await.is_ok()
    }

    /// Waits until nothing runs any more, or the state directory failed.
    pub async fn all_ended(&self) -> Ends {
        let mut ended = self.ended.clone();
        let ends = ended.wait_for(|ends| ends.is_all || ends.state_lost.is_some()).await;
        ends.map(|ends| ends.clone()).unwrap_or_default()
    }

    /// Which pipelines have ended so far.
    pub fn ends(&self) -> Ends {
        self.ended.borrow().clone()
    }
}

impl Actor for RuntimeActor {
    type Msg = RuntimeMsg;
    type State = RuntimeState;
    type Arguments = (RuntimeSpec, Arc<BTreeMap<PipelineId, Board>>, watch::Sender<Ends>);

    async fn pre_start(
        &self,
        myself: ActorRef<RuntimeMsg>,
        (spec, boards, ends): Self::Arguments,
    ) -> Result<RuntimeState, ActorProcessingErr> {
        let mut pipelines = BTreeMap::new();
        for pipeline in spec.pipelines {
            let id = pipeline.id.clone();
            let buffers: usize = pipeline.destinations.iter().map(|d| d.capabilities.buffer_bytes).sum();
            // The window, one changeset being built and one on its way, and what destinations hold.
            let floor = pipeline.window_max_bytes + 2 * pipeline.plan.changeset_bytes_max + buffers;
            let args = PipelineArgs {
                memory: spec.memory.share(floor),
                spec: pipeline,
                store: Arc::clone(&spec.store),
                owner: spec.owner.clone(),
                take_over: spec.take_over,
                board: boards[&id].clone(),
                runtime: myself.clone(),
            };
            let (actor, _) = Actor::spawn_linked(None, PipelineActor, args, myself.get_cell()).await?;
            pipelines.insert(id, actor);
        }
        Ok(RuntimeState {
            pipelines,
            boards,
            ends,
        })
    }

    async fn handle(
        &self,
        myself: ActorRef<RuntimeMsg>,
        message: RuntimeMsg,
        state: &mut RuntimeState,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            RuntimeMsg::PipelineEnded { pipeline, outcome } => state.ended(&myself, pipeline, outcome),
            RuntimeMsg::StateLost(error) => {
                error!(code = error.code(), error = %error, "state directory lost");
                state.ends.send_modify(|ends| ends.state_lost = Some(Arc::new(error)));
            }
            RuntimeMsg::Resync {
                pipeline,
                request,
                answer,
            } => match state.pipelines.get(&pipeline) {
                Some(actor) => actor.cast(PipelineMsg::Resync { request, answer })?,
                // The one who asked sees the dropped answer.
                None => drop(answer),
            },
            RuntimeMsg::Verify {
                pipeline,
                request,
                progress,
                answer,
            } => match state.pipelines.get(&pipeline) {
                Some(actor) => actor.cast(PipelineMsg::Verify {
                    request,
                    progress,
                    answer,
                })?,
                // The one who asked sees the dropped answer.
                None => drop(answer),
            },
            RuntimeMsg::Flush => state.tell_all(|| PipelineMsg::Flush),
            RuntimeMsg::Drain => state.tell_all(|| PipelineMsg::Drain),
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<RuntimeMsg>,
        event: SupervisionEvent,
        state: &mut RuntimeState,
    ) -> Result<(), ActorProcessingErr> {
        if let SupervisionEvent::ActorFailed(who, cause) = event {
            let failed = state
                .pipelines
                .iter()
                .find(|(_, actor)| actor.get_id() == who.get_id())
                .map(|(id, _)| id.clone());
            if let Some(pipeline) = failed {
                let error = Error::new("E0711", Retry::Never, format!("cannot supervise `{pipeline}`"))
                    .caused_by(cause.to_string());
                error!(pipeline = %pipeline, code = error.code(), error = error.chain(), "pipeline failed");
                if let Some(board) = state.boards.get(&pipeline) {
                    let mut facts = board.facts();
                    facts.phase = Phase::Failed;
                    facts.trouble = Some((
                        Trouble {
                            code: error.code().to_owned(),
                            error: error.chain(),
                            hint: None,
                            retry: error.retry().name(),
                            attempt: 1,
                            next_try_seconds: None,
                        },
                        None,
                    ));
                }
                state.ended(&myself, pipeline, Outcome::Failed(Arc::new(error)));
            }
        }
        Ok(())
    }
}

impl RuntimeState {
    fn tell_all(&self, message: impl Fn() -> PipelineMsg) {
        for actor in self.pipelines.values() {
            // A pipeline that is gone has ended.
            let _ = actor.cast(message());
        }
    }

    fn ended(&mut self, myself: &ActorRef<RuntimeMsg>, pipeline: PipelineId, outcome: Outcome) {
        info!(pipeline = %pipeline, outcome = outcome.name(), "pipeline ended");
        self.pipelines.remove(&pipeline);
        let is_all = self.pipelines.is_empty();
        self.ends.send_modify(|ends| {
            ends.outcomes.insert(pipeline, outcome);
            ends.is_all = is_all;
        });
        if is_all {
            myself.stop(None);
        }
    }
}

impl Outcome {
    /// The word in logs.
    pub fn name(&self) -> &'static str {
        match self {
            Outcome::Drained => "drained",
            Outcome::Failed(_) => "failed",
            Outcome::Fenced(_) => "fenced",
        }
    }
}
