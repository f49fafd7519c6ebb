//! The pipeline supervisor: a fault stays inside its pipeline, and a sick destination inside its lane.
//!
//! A *flow* is one opening of the source with everything between it and the spool's cursors. It is numbered; messages of an earlier
//! flow are void. Its life:
//!
//! ```text
//! gathering ── every lane stands ──► opening ── source opened ──► flowing ── source ended ──► (lanes drain)
//!     ▲                                 │                            │
//!     └───────── after a wait ──────────┴──────── failed ────────────┘
//! ```
//!
//! Gathering asks every lane what it holds; the source is opened with the answers; each lane gets a cursor from where it stands.
//! The same path serves the first start, a failed source, and a destination that is out of the spool's reach.

mod flow;
mod resync;
mod scope;
mod verify;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use api::{Error, Kept, Lane, Owner, Retry, Share};
use model::{Checkpoint, DestinationId, PipelineId};
use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef, SupervisionEvent};
use state::{PendingRead, StateError, StateStore, Stored};
use tokio::sync::oneshot;
use tracing::{error, info, warn};

use crate::backoff::{Backoff, RestartBudget};
use crate::busy::Busy;
use crate::checkpointer::{CheckpointMsg, CheckpointerActor, CheckpointerArgs};
use crate::credit::Edge;
use crate::destination::{DestinationActor, DestinationArgs, DestinationMsg, LaneEnd, LaneInput};
use crate::joined::{Ended, Joined};
use crate::runtime::{Outcome, RuntimeMsg};
use crate::source::SourceOpened;
use crate::spec::{DestinationSpec, PipelineSpec};
use crate::status::{Board, Phase, Trouble};
use crate::verify::{Markers, SharedProgress, Verified, Verify};
use crate::{FlowId, metric};

pub use resync::{Resync, Resynced};

/// How often the watchdog looks.
const TICK: Duration = Duration::from_secs(1);

/// One pipeline and everything in it.
pub(crate) struct PipelineActor;

pub(crate) struct PipelineArgs {
    pub(crate) spec: PipelineSpec,
    pub(crate) store: Arc<dyn StateStore>,
    pub(crate) memory: Share,
    pub(crate) owner: Owner,
    pub(crate) take_over: bool,
    pub(crate) board: Board,
    pub(crate) runtime: ActorRef<RuntimeMsg>,
}

/// Where a lane stands.
pub(crate) struct Stand {
    pub(crate) destination: DestinationId,
    /// `None`: nobody knows; it was never opened, and the state directory says nothing.
    pub(crate) held: Option<Checkpoint>,
    pub(crate) is_up: bool,
    /// Whether it has a cursor of the present flow.
    pub(crate) is_attached: bool,
    pub(crate) needs_resync: Option<Error>,
}

/// Why a component of the flow ended.
#[derive(Debug)]
pub(crate) enum Failure {
    /// With an error.
    Error(Error),
    /// It panicked.
    Panic(String),
    /// A call took too long.
    Stuck(&'static str),
}

pub(crate) enum PipelineMsg {
    /// A lane says where it stands.
    Stand(Stand),
    /// A lane ended.
    LaneEnded {
        destination: DestinationId,
        ended: Ended<LaneEnd>,
    },
    /// The source is open.
    SourceOpened { flow: FlowId, opened: SourceOpened },
    /// A component of a flow failed.
    FlowFailed {
        flow: FlowId,
        component: String,
        failure: Failure,
    },
    /// Gathering has taken long enough.
    GatherTimeout(FlowId),
    /// Start a flow, unless another one has begun.
    StartFlow(FlowId),
    /// The state directory cannot be written.
    StateLost(StateError),
    /// Look whether something is stuck.
    Tick,
    /// Read streams again.
    Resync {
        request: Resync,
        answer: oneshot::Sender<Result<Resynced, Error>>,
    },
    /// Compare what the source has with what destinations hold.
    Verify {
        request: Verify,
        progress: SharedProgress,
        answer: oneshot::Sender<Result<Verified, Error>>,
    },
    /// Every lane commits what it has.
    Flush,
    /// Stop the source, commit everything, close.
    Drain,
    /// A task of the pipeline ended that nobody waits for.
    Done(Ended<()>),
    /// Everything is stored: this pipeline is over.
    Finished(Outcome),
}

pub(crate) struct Pipeline {
    spec: PipelineSpec,
    memory: Share,
    kept: Kept,
    board: Board,
    runtime: ActorRef<RuntimeMsg>,
    checkpointer: ActorRef<CheckpointMsg>,
    lanes: BTreeMap<DestinationId, LaneHandle>,
    flow: flow::Flow,
    flow_id: FlowId,
    /// Failures of the source in a row.
    attempt: u32,
    restarts: RestartBudget,
    rewinds: RestartBudget,
    /// Whether the source is to be taken from whoever reads it.
    take_over: bool,
    is_draining: bool,
    /// What it ends with when its lanes have drained, if that is not their own end.
    outcome: Option<Outcome>,
    is_over: bool,
    tasks: Vec<Joined>,
    /// Who waits for which lane to come by.
    markers: Markers,
    marker_count: u64,
}

struct LaneHandle {
    args: DestinationArgs,
    actor: ActorRef<DestinationMsg>,
    /// Where it stands; `None` while it is asked.
    stand: Option<Stand>,
    /// Reads that were asked for and have not begun to be durable.
    pending: Vec<PendingRead>,
    needs_resync: bool,
    has_ended: bool,
}

impl LaneHandle {
    fn tell(&self, input: LaneInput) {
        // A lane that is gone has said so, or will.
        let _ = self.actor.cast(DestinationMsg::Lane(input));
    }

    fn held(&self) -> Option<&Checkpoint> {
        self.stand
            .as_ref()
            .and_then(|stand| stand.held.as_ref())
            .or(self.args.hint.as_ref())
    }

    /// Whether everything is to be read again, whatever it holds.
    fn is_reset(&self) -> bool {
        self.needs_resync
            && self
                .args
                .streams
                .iter()
                .all(|stream| self.pending.iter().any(|read| read.streams.contains(stream)))
    }

    fn is_up(&self) -> bool {
        self.stand.as_ref().is_some_and(|stand| stand.is_up)
    }

    fn takes_part(&self) -> bool {
        !self.has_ended && (!self.needs_resync || self.is_reset())
    }
}

impl Actor for PipelineActor {
    type Msg = PipelineMsg;
    type State = Pipeline;
    type Arguments = PipelineArgs;

    async fn pre_start(
        &self,
        myself: ActorRef<PipelineMsg>,
        args: PipelineArgs,
    ) -> Result<Pipeline, ActorProcessingErr> {
        let PipelineArgs {
            spec,
            store,
            memory,
            owner,
            take_over,
            board,
            runtime,
        } = args;
        let stored = store.load(&spec.id).await?;
        let kept = Kept::from_stored(store.load_kept(&spec.id).await?);
        let checkpointer_args = CheckpointerArgs {
            id: spec.id.clone(),
            store,
            kept: kept.clone(),
            stored: stored.clone(),
            destinations: spec.destinations.iter().map(|d| d.id.clone()).collect(),
            board: board.clone(),
            interval: spec.limits.checkpoint_interval,
            pipeline: myself.clone(),
        };
        let (checkpointer, _) =
            Actor::spawn_linked(None, CheckpointerActor, checkpointer_args, myself.get_cell()).await?;
        let mut pipeline = Pipeline {
            restarts: RestartBudget::new(spec.limits.restarts_max, spec.limits.restarts_within),
            rewinds: RestartBudget::new(usize::MAX, Duration::from_secs(600)),
            memory,
            kept,
            board,
            runtime,
            checkpointer,
            lanes: BTreeMap::new(),
            flow: flow::Flow::Idle,
            flow_id: FlowId(0),
            attempt: 0,
            take_over,
            is_draining: false,
            outcome: None,
            is_over: false,
            tasks: Vec::new(),
            markers: Markers::default(),
            marker_count: 0,
            spec,
        };
        for spec in pipeline.spec.destinations.clone() {
            let stored = stored.get(&spec.id).cloned();
            pipeline.add_lane(&myself, spec, stored, &owner, take_over).await?;
        }
        pipeline.gather(&myself, false);
        myself.send_interval(TICK, || PipelineMsg::Tick);
        Ok(pipeline)
    }

    async fn handle(
        &self,
        myself: ActorRef<PipelineMsg>,
        message: PipelineMsg,
        pipeline: &mut Pipeline,
    ) -> Result<(), ActorProcessingErr> {
        if pipeline.is_over && !matches!(message, PipelineMsg::Finished(_) | PipelineMsg::StateLost(_)) {
            return Ok(());
        }
        match message {
            PipelineMsg::Stand(stand) => pipeline.on_stand(&myself, stand).await?,
            PipelineMsg::LaneEnded { destination, ended } => {
                pipeline.on_lane_ended(&myself, &destination, ended).await?
            }
            PipelineMsg::SourceOpened { flow, opened } if flow == pipeline.flow_id => {
                pipeline.on_opened(&myself, opened).await?
            }
            PipelineMsg::FlowFailed {
                flow,
                component,
                failure,
            } if flow == pipeline.flow_id => {
                pipeline.on_flow_failed(&myself, &component, failure);
            }
            PipelineMsg::GatherTimeout(flow) if flow == pipeline.flow_id => pipeline.on_gather_timeout(&myself).await?,
            PipelineMsg::StartFlow(flow) if flow == pipeline.flow_id => pipeline.gather(&myself, true),
            PipelineMsg::SourceOpened { .. }
            | PipelineMsg::FlowFailed { .. }
            | PipelineMsg::GatherTimeout(_)
            | PipelineMsg::StartFlow(_) => {}
            PipelineMsg::Tick => pipeline.on_tick(&myself).await?,
            PipelineMsg::Resync { request, answer } => pipeline.on_resync(&myself, request, answer),
            PipelineMsg::Verify {
                request,
                progress,
                answer,
            } => pipeline.on_verify(&myself, request, progress, answer),
            PipelineMsg::Flush => pipeline.lanes.values().for_each(|lane| lane.tell(LaneInput::Flush)),
            PipelineMsg::Drain => pipeline.on_drain(&myself),
            PipelineMsg::Done(Ended::Returned(())) => {}
            PipelineMsg::Done(Ended::Panicked(text)) => {
                return Err(format!("a task of the pipeline panicked: {text}").into());
            }
            PipelineMsg::StateLost(error) => {
                pipeline.runtime.cast(RuntimeMsg::StateLost(error))?;
                pipeline.is_over = true;
            }
            PipelineMsg::Finished(outcome) => {
                pipeline.board.facts().phase = if matches!(outcome, Outcome::Drained) {
                    Phase::Stopped
                } else {
                    Phase::Failed
                };
                pipeline.runtime.cast(RuntimeMsg::PipelineEnded {
                    pipeline: pipeline.spec.id.clone(),
                    outcome,
                })?;
                myself.stop(None);
            }
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<PipelineMsg>,
        event: SupervisionEvent,
        pipeline: &mut Pipeline,
    ) -> Result<(), ActorProcessingErr> {
        // What fails here is an actor's own few lines, not the connector in its task: that is reported by message.
        if let SupervisionEvent::ActorFailed(who, error) = event {
            let text = error.to_string();
            if let Some(destination) = pipeline.lane_of(&who) {
                pipeline
                    .on_lane_ended(&myself, &destination, Ended::Panicked(text))
                    .await?;
            } else if who.get_id() == pipeline.checkpointer.get_id() {
                return Err(error);
            } else {
                pipeline.on_flow_failed(&myself, "flow", Failure::Panic(text));
            }
        }
        Ok(())
    }
}

impl Pipeline {
    async fn add_lane(
        &mut self,
        myself: &ActorRef<PipelineMsg>,
        spec: DestinationSpec,
        stored: Option<Stored>,
        owner: &Owner,
        take_over: bool,
    ) -> Result<(), ActorProcessingErr> {
        let id = spec.id.clone();
        self.board.add_destination(
            id.clone(),
            spec.connector.clone(),
            spec.capabilities.guarantee.to_string(),
        );
        let edge = Arc::new(Edge::new(
            self.spec.limits.edge_messages_max,
            self.spec.limits.edge_bytes_max,
        ));
        self.board.set_edge(id.to_string(), Arc::clone(&edge));
        let args = DestinationArgs {
            lane: Lane {
                pipeline: self.spec.id.clone(),
                destination: id.clone(),
                lane: 0,
                owner: owner.clone(),
                take_over,
                plan_hash: spec.plan_hash.clone(),
            },
            spec,
            hint: stored.as_ref().map(|stored| stored.checkpoint.clone()),
            streams: self.spec.plan.streams.iter().map(|stream| stream.id.clone()).collect(),
            limits: self.spec.limits,
            memory: self.memory.clone(),
            board: self.board.clone(),
            busy: Busy::default(),
            edge,
            pipeline: myself.clone(),
            checkpointer: self.checkpointer.clone(),
            markers: self.markers.clone(),
            kept: self.kept.clone(),
        };
        let (actor, _) = Actor::spawn_linked(None, DestinationActor, args.clone(), myself.get_cell()).await?;
        let pending = stored.map(|stored| stored.pending_reads).unwrap_or_default();
        self.lanes.insert(
            id,
            LaneHandle {
                args,
                actor,
                stand: None,
                pending,
                needs_resync: false,
                has_ended: false,
            },
        );
        Ok(())
    }

    fn lane_of(&self, who: &ActorCell) -> Option<DestinationId> {
        self.lanes
            .iter()
            .find(|(_, lane)| lane.actor.get_id() == who.get_id())
            .map(|(id, _)| id.clone())
    }

    async fn on_stand(&mut self, myself: &ActorRef<PipelineMsg>, stand: Stand) -> Result<(), ActorProcessingErr> {
        let Some(lane) = self.lanes.get_mut(&stand.destination) else {
            return Ok(());
        };
        if self.is_draining && !stand.is_attached {
            lane.tell(LaneInput::Abandon);
            return Ok(());
        }
        if let Some(error) = &stand.needs_resync {
            lane.needs_resync = true;
            let message = CheckpointMsg::NeedsResync {
                destination: stand.destination.clone(),
                reason: error.chain(),
            };
            self.checkpointer.cast(message)?;
        }
        if let Some(held) = &stand.held {
            lane.pending
                .retain(|read| !crate::checkpointer::is_fulfilled(read, held));
        }
        let joins = stand.is_up && !stand.is_attached && lane.takes_part();
        let destination = stand.destination.clone();
        lane.stand = Some(stand);
        match &self.flow {
            flow::Flow::Gathering if self.lanes.values().all(|lane| lane.has_ended || lane.stand.is_some()) => {
                self.open(myself).await?
            }
            flow::Flow::Flowing(_) if joins => self.join(myself, &destination).await?,
            _ => {}
        }
        Ok(())
    }

    async fn on_lane_ended(
        &mut self,
        myself: &ActorRef<PipelineMsg>,
        destination: &DestinationId,
        ended: Ended<LaneEnd>,
    ) -> Result<(), ActorProcessingErr> {
        match ended {
            Ended::Returned(LaneEnd::Drained | LaneEnd::Abandoned) => {
                if let Some(lane) = self.lanes.get_mut(destination) {
                    lane.has_ended = true;
                }
                if self.lanes.values().all(|lane| lane.has_ended) {
                    self.finish_drained(myself);
                }
            }
            Ended::Returned(LaneEnd::Fenced(error)) => {
                error!(pipeline = %self.spec.id, destination = %destination, code = error.code(), error = error.chain(), "pipeline fenced");
                self.fail(myself, Outcome::Fenced(Arc::new(error)));
            }
            Ended::Panicked(text) => {
                error!(pipeline = %self.spec.id, destination = %destination, error = text, "destination panicked");
                self.restart_lane(myself, destination, "panic").await?;
            }
        }
        Ok(())
    }

    /// Another actor for a lane whose own has gone, within the restart budget.
    async fn restart_lane(
        &mut self,
        myself: &ActorRef<PipelineMsg>,
        destination: &DestinationId,
        reason: &'static str,
    ) -> Result<(), ActorProcessingErr> {
        self.count_restart(destination.as_str(), reason);
        if !self.restarts.spend() {
            let message = format!(
                "cannot keep `{destination}` running: {} restarts within {:?}",
                self.spec.limits.restarts_max, self.spec.limits.restarts_within
            );
            let error = Error::new("E0705", Retry::Never, message)
                .hint("the log has each cause; fix it and start again, nothing is lost");
            self.fail(myself, Outcome::Failed(Arc::new(error)));
            return Ok(());
        }
        let Some(lane) = self.lanes.get_mut(destination) else {
            return Ok(());
        };
        lane.actor.kill();
        let mut args = lane.args.clone();
        args.busy = Busy::default();
        // What is in the old mailbox keeps its credit until it is dropped with it.
        args.edge = Arc::new(Edge::new(
            self.spec.limits.edge_messages_max,
            self.spec.limits.edge_bytes_max,
        ));
        args.hint = lane.held().cloned();
        self.board.set_edge(destination.to_string(), Arc::clone(&args.edge));
        let (actor, _) = Actor::spawn_linked(None, DestinationActor, args.clone(), myself.get_cell()).await?;
        lane.args = args;
        lane.actor = actor;
        Ok(())
    }

    fn count_restart(&self, component: &str, reason: &'static str) {
        let labels = [
            ("pipeline", self.spec.id.to_string()),
            ("component", component.to_owned()),
            ("reason", reason.to_owned()),
        ];
        metrics::counter!(metric::ACTOR_RESTARTS, &labels).increment(1);
    }

    async fn on_tick(&mut self, myself: &ActorRef<PipelineMsg>) -> Result<(), ActorProcessingErr> {
        let limit = self.spec.limits.stuck_after;
        let stuck: Vec<_> = self
            .lanes
            .iter()
            .filter(|(_, lane)| !lane.has_ended)
            .filter_map(|(id, lane)| lane.args.busy.stuck_in(limit).map(|call| (id.clone(), call)))
            .collect();
        for (destination, call) in stuck {
            warn!(pipeline = %self.spec.id, destination = %destination, call, limit_seconds = limit.as_secs_f64(), "destination stuck");
            self.restart_lane(myself, &destination, "stuck").await?;
        }
        if let Some((component, call)) = self.flow.stuck_in(limit) {
            self.on_flow_failed(myself, &component, Failure::Stuck(call));
        }
        Ok(())
    }

    fn on_flow_failed(&mut self, myself: &ActorRef<PipelineMsg>, component: &str, failure: Failure) {
        // A source that failed for good has sent its end behind what it read: the lanes commit that first.
        let is_final = matches!(&failure, Failure::Error(error) if error.retry() == Retry::Never);
        let is_flowing = matches!(self.flow, flow::Flow::Flowing(_));
        let drains = is_final && is_flowing && component == "source" && !self.is_draining;
        if !drains {
            self.stop_flow();
        }
        let (error, reason) = match failure {
            Failure::Error(error) => (error, "error"),
            Failure::Panic(text) => (
                Error::new(
                    "E0706",
                    Retry::After,
                    format!("cannot go on: `{component}` panicked: {text}"),
                ),
                "panic",
            ),
            Failure::Stuck(call) => (
                Error::new(
                    "E0707",
                    Retry::After,
                    format!("cannot go on: `{component}` is stuck in `{call}`"),
                ),
                "stuck",
            ),
        };
        self.count_restart(component, reason);
        let labels = [
            ("pipeline", self.spec.id.to_string()),
            ("component", component.to_owned()),
            ("code", error.code().to_owned()),
            ("retry", error.retry().name().to_owned()),
        ];
        metrics::counter!(metric::ERRORS, &labels).increment(1);
        self.attempt += 1;
        let is_spent = reason != "error" && !self.restarts.spend();
        let wait = match error.retry() {
            _ if self.is_draining || is_spent => None,
            Retry::After => Some(Backoff::default().wait(self.attempt)),
            Retry::Operator => Some(self.spec.limits.parked_retry),
            Retry::Never | Retry::Fenced => None,
        };
        let trouble = Trouble {
            code: error.code().to_owned(),
            error: error.chain(),
            hint: error.remedy().map(str::to_owned),
            retry: error.retry().name(),
            attempt: self.attempt,
            next_try_seconds: wait.map(|wait| wait.as_secs_f64()),
        };
        self.board.facts().trouble = Some((trouble, wait.map(|wait| Instant::now() + wait)));
        let next_try_seconds = wait.map(|wait| wait.as_secs_f64());
        warn!(
            pipeline = %self.spec.id, component, code = error.code(), error = error.chain(), hint = error.remedy(),
            attempt = self.attempt, next_try_seconds, "{}",
            if wait.is_some() { "source retrying" } else { "pipeline failed" },
        );
        match wait {
            Some(wait) => self.start_flow_after(myself, wait),
            None if self.is_draining => self.lanes.values().for_each(|lane| lane.tell(LaneInput::Regroup)),
            None if drains => {
                self.is_draining = true;
                self.outcome = Some(Outcome::Failed(Arc::new(error)));
                self.lanes.values().for_each(|lane| lane.tell(LaneInput::Abandon));
            }
            None => self.fail(myself, Outcome::Failed(Arc::new(error))),
        }
    }

    fn on_drain(&mut self, myself: &ActorRef<PipelineMsg>) {
        if self.is_draining {
            return;
        }
        self.is_draining = true;
        info!(pipeline = %self.spec.id, "draining");
        if let flow::Flow::Flowing(flowing) = &self.flow {
            let control = Arc::clone(&flowing.control);
            let pipeline = self.spec.id.clone();
            let close = async move {
                if let Err(error) = control.close().await {
                    warn!(pipeline = %pipeline, code = error.code(), error = error.chain(), "source did not close");
                }
            };
            self.tasks.push(Joined::spawn(myself, close, PipelineMsg::Done));
            // Attached lanes drain when the source's end reaches them; the others have nothing to wait for.
            self.lanes.values().for_each(|lane| lane.tell(LaneInput::Abandon));
        } else {
            self.stop_flow();
            for lane in self.lanes.values() {
                // An attached lane lets go of its cursor first: no end will come through it.
                lane.tell(LaneInput::Regroup);
                lane.tell(LaneInput::Abandon);
            }
        }
        if self.lanes.values().all(|lane| lane.has_ended) {
            self.finish_drained(myself);
        }
    }

    fn fail(&mut self, myself: &ActorRef<PipelineMsg>, outcome: Outcome) {
        self.stop_flow();
        for lane in self.lanes.values() {
            lane.actor.stop(None);
        }
        if let Outcome::Failed(error) | Outcome::Fenced(error) = &outcome {
            self.board.facts().trouble = Some((
                Trouble {
                    code: error.code().to_owned(),
                    error: error.chain(),
                    hint: error.remedy().map(str::to_owned),
                    retry: error.retry().name(),
                    attempt: self.attempt,
                    next_try_seconds: None,
                },
                None,
            ));
        }
        self.finish(myself, outcome);
    }

    fn finish_drained(&mut self, myself: &ActorRef<PipelineMsg>) {
        let outcome = self.outcome.take().unwrap_or(Outcome::Drained);
        self.finish(myself, outcome);
    }

    /// Waits until the checkpointer has stored and acknowledged what it was told, then ends.
    fn finish(&mut self, myself: &ActorRef<PipelineMsg>, outcome: Outcome) {
        if std::mem::replace(&mut self.is_over, true) {
            return;
        }
        let (done, is_done) = oneshot::channel();
        // A checkpointer that is gone has nothing left to store.
        let _ = self.checkpointer.cast(CheckpointMsg::Flush(done));
        let wait = async move {
            let _ = is_done.await;
            outcome
        };
        self.tasks.push(Joined::spawn(myself, wait, |ended| match ended {
            Ended::Returned(outcome) => PipelineMsg::Finished(outcome),
            Ended::Panicked(text) => PipelineMsg::Done(Ended::Panicked(text)),
        }));
    }

    fn id(&self) -> &PipelineId {
        &self.spec.id
    }
}
