//! The checkpointer: durable marks → state store → acknowledge the minimum to the source.
//!
//! The one ordering rule: a position is acknowledged to the source only after every destination that must have it is durable
//! there **and** the state store has returned.
//!
//! At most one write is in flight, and one in [`checkpoint_interval`](crate::Limits::checkpoint_interval); what becomes
//! durable meanwhile is folded into the next.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use api::{Kept, SourceControl};
use fail::fail_point;
use model::{Checkpoint, DestinationId, PipelineId, StreamId};
use ractor::{Actor, ActorProcessingErr, ActorRef};
use spool::{LaneId, Spool, WhenBehind};
use state::{PendingRead, StateError, StateStore, Stored};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout_at};
use tracing::warn;

use crate::joined::{Ended, Joined};
use crate::metric;
use crate::pipeline::PipelineMsg;
use crate::status::Board;

/// Stores checkpoints and acknowledges.
///
/// Fate: an I/O error of the state directory is fatal to the process and is reported as such; a panic of its task counts as the
/// same, because nobody knows what was stored.
pub(crate) struct CheckpointerActor;

pub(crate) struct CheckpointerArgs {
    pub(crate) id: PipelineId,
    pub(crate) store: Arc<dyn StateStore>,
    pub(crate) kept: Kept,
    /// What was loaded; destinations that are not in it start from nothing.
    pub(crate) stored: BTreeMap<DestinationId, Stored>,
    pub(crate) destinations: Vec<DestinationId>,
    pub(crate) board: Board,
    /// The time between two stores.
    pub(crate) interval: Duration,
    pub(crate) pipeline: ActorRef<PipelineMsg>,
}

pub(crate) enum CheckpointMsg {
    /// A destination says what it holds.
    Durable {
        destination: DestinationId,
        checkpoint: Checkpoint,
        generation: u64,
        plan_hash: String,
    },
    /// A flow begins: whom to acknowledge to, and whose cache to trim.
    Flow {
        control: Arc<dyn SourceControl>,
        spool: Arc<dyn Spool>,
        identity: String,
    },
    /// The flow is over.
    FlowEnded,
    /// A destination cannot go on; durable before acknowledgement passes its mark.
    NeedsResync { destination: DestinationId, reason: String },
    /// It is brought up again from nothing: until that has begun to be durable, everything is held back for it.
    Reset { destination: DestinationId },
    /// A read was asked for; durable when the answer comes.
    Pending {
        destination: DestinationId,
        read: PendingRead,
        done: oneshot::Sender<()>,
    },
    /// Answers when everything said before is stored and acknowledged.
    Flush(oneshot::Sender<()>),
    /// The task ended.
    Ended(Ended<Result<(), StateError>>),
}

pub(crate) struct CheckpointerState {
    inbox: mpsc::UnboundedSender<CheckpointMsg>,
    pipeline: ActorRef<PipelineMsg>,
    _work: Joined,
}

impl Actor for CheckpointerActor {
    type Msg = CheckpointMsg;
    type State = CheckpointerState;
    type Arguments = CheckpointerArgs;

    async fn pre_start(
        &self,
        myself: ActorRef<CheckpointMsg>,
        args: CheckpointerArgs,
    ) -> Result<CheckpointerState, ActorProcessingErr> {
        let (inbox, receiver) = mpsc::unbounded_channel();
        let pipeline = args.pipeline.clone();
        let work = Joined::spawn(&myself, Keeper::new(args).run(receiver), CheckpointMsg::Ended);
        Ok(CheckpointerState {
            inbox,
            pipeline,
            _work: work,
        })
    }

    async fn handle(
        &self,
        myself: ActorRef<CheckpointMsg>,
        message: CheckpointMsg,
        state: &mut CheckpointerState,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            CheckpointMsg::Ended(Ended::Returned(Ok(()))) => myself.stop(None),
            CheckpointMsg::Ended(Ended::Returned(Err(error))) => {
                state.pipeline.cast(PipelineMsg::StateLost(error))?;
                myself.stop(None);
            }
            CheckpointMsg::Ended(Ended::Panicked(text)) => {
                return Err(format!("the checkpointer panicked: {text}").into());
            }
            // If the work has ended, its end is on its way as a message.
            message => drop(state.inbox.send(message)),
        }
        Ok(())
    }
}

struct Keeper {
    args: CheckpointerArgs,
    stored: BTreeMap<DestinationId, Stored>,
    /// Which of them differ from the store.
    dirty: BTreeMap<DestinationId, ()>,
    /// Destinations whose state is unknown: nothing may be acknowledged until each has said what it holds.
    unknown: Vec<DestinationId>,
    flow: Option<FlowEnds>,
    acknowledged: Checkpoint,
    answers: Vec<oneshot::Sender<()>>,
}

/// The two ends of a flow that the checkpointer talks to.
struct FlowEnds {
    control: Arc<dyn SourceControl>,
    spool: Arc<dyn Spool>,
    identity: String,
}

impl Keeper {
    fn new(args: CheckpointerArgs) -> Self {
        let stored = args.stored.clone();
        let unknown = args
            .destinations
            .iter()
            .filter(|id| !stored.contains_key(id))
            .cloned()
            .collect();
        Keeper {
            args,
            stored,
            dirty: BTreeMap::new(),
            unknown,
            flow: None,
            acknowledged: Checkpoint::default(),
            answers: Vec::new(),
        }
    }

    async fn run(mut self, mut inbox: mpsc::UnboundedReceiver<CheckpointMsg>) -> Result<(), StateError> {
        let mut next_store = Instant::now();
        while let Some(message) = inbox.recv().await {
            self.note(message).await;
            // Unless somebody waits for it. A timeout alone lets what is there pass, however late it is.
            while self.answers.is_empty()
                && Instant::now() < next_store
                && let Ok(Some(message)) = timeout_at(next_store, inbox.recv()).await
            {
                self.note(message).await;
            }
            while let Ok(message) = inbox.try_recv() {
                self.note(message).await;
            }
            next_store = Instant::now() + self.args.interval;
            self.store().await?;
            self.acknowledge().await?;
            for answer in self.answers.drain(..) {
                // Whoever asked may have gone.
                let _ = answer.send(());
            }
        }
        Ok(())
    }

    async fn note(&mut self, message: CheckpointMsg) {
        match message {
            CheckpointMsg::Durable {
                destination,
                checkpoint,
                generation,
                plan_hash,
            } => {
                self.unknown.retain(|id| *id != destination);
                let identity = self.flow.as_ref().map(|flow| flow.identity.clone());
                let stored = self.stored.entry(destination.clone()).or_default();
                stored.pending_reads.retain(|read| !is_fulfilled(read, &checkpoint));
                if !checkpoint.is_empty() && stored.pending_reads.is_empty() {
                    stored.needs_resync = None;
                }
                stored.checkpoint = checkpoint;
                stored.generation = generation;
                stored.plan_hash = Some(plan_hash);
                stored.source = identity.or_else(|| stored.source.take());
                self.dirty.insert(destination, ());
            }
            CheckpointMsg::Flow {
                control,
                spool,
                identity,
            } => {
                self.flow = Some(FlowEnds {
                    control,
                    spool,
                    identity,
                });
                self.acknowledged = Checkpoint::default();
            }
            CheckpointMsg::FlowEnded => self.flow = None,
            CheckpointMsg::NeedsResync { destination, reason } => {
                self.unknown.retain(|id| *id != destination);
                let stored = self.stored.entry(destination.clone()).or_default();
                if stored.needs_resync.as_ref() != Some(&reason) {
                    stored.needs_resync = Some(reason);
                    self.dirty.insert(destination, ());
                }
            }
            CheckpointMsg::Reset { destination } => {
                let stored = self.stored.entry(destination.clone()).or_default();
                stored.checkpoint = Checkpoint::default();
                stored.needs_resync = None;
                self.dirty.insert(destination, ());
            }
            CheckpointMsg::Pending {
                destination,
                read,
                done,
            } => {
                self.stored
                    .entry(destination.clone())
                    .or_default()
                    .pending_reads
                    .push(read);
                self.dirty.insert(destination, ());
                self.answers.push(done);
            }
            CheckpointMsg::Flush(done) => self.answers.push(done),
            CheckpointMsg::Ended(_) => {}
        }
    }

    async fn store(&mut self) -> Result<(), StateError> {
        for (destination, ()) in std::mem::take(&mut self.dirty) {
            let Some(stored) = self.stored.get_mut(&destination) else {
                continue;
            };
            let started = std::time::Instant::now();
            fail_point!("checkpointer.before_state");
            stored.epoch = self
                .args
                .store
                .put(&self.args.id, &destination, stored, stored.epoch)
                .await?;
            fail_point!("checkpointer.after_state");
            let labels = [
                ("pipeline", self.args.id.to_string()),
                ("destination", destination.to_string()),
            ];
            metrics::histogram!(metric::CHECKPOINT_SECONDS, &labels).record(started.elapsed().as_secs_f64());
            let now = SystemTime::now()
                .duration_since(SystemTime::UNIX_EPOCH)
                .unwrap_or_default();
            metrics::gauge!(metric::CHECKPOINT_TIME, &labels).set(now.as_secs_f64());
            if let Some(FlowEnds { spool, .. }) = &self.flow {
                let lane = LaneId {
                    destination: destination.clone(),
                    when_behind: WhenBehind::Hold,
                };
                // A closed spool keeps nothing that could be trimmed.
                let _ = spool.durable(&lane, &stored.checkpoint).await;
            }
        }
        Ok(())
    }

    /// What every destination that must have it holds; those that need a resync do not count.
    fn everywhere(&self) -> Option<Checkpoint> {
        if !self.unknown.is_empty() {
            return None;
        }
        let counted = self
            .args
            .destinations
            .iter()
            .filter_map(|id| self.stored.get(id))
            .filter(|stored| stored.needs_resync.is_none());
        Some(Checkpoint::everywhere(counted.map(|stored| &stored.checkpoint)))
    }

    async fn acknowledge(&mut self) -> Result<(), StateError> {
        let Some(FlowEnds { control, .. }) = &self.flow else {
            return Ok(());
        };
        let Some(everywhere) = self.everywhere().filter(|everywhere| *everywhere != self.acknowledged) else {
            return Ok(());
        };
        if let Some(kept) = self.args.kept.ripen(&everywhere) {
            self.args.store.put_kept(&self.args.id, &kept).await?;
        }
        fail_point!("checkpointer.before_acknowledge");
        if let Err(error) = control.acknowledge(&everywhere).await {
            // The source keeps more than it must; the next acknowledgement covers this one.
            warn!(pipeline = %self.args.id, code = error.code(), error = error.chain(), "acknowledgement failed");
            return Ok(());
        }
        fail_point!("checkpointer.after_acknowledge");
        let mut facts = self.args.board.facts();
        facts.timeline.forget(&everywhere);
        facts.acknowledged = everywhere.clone();
        drop(facts);
        self.acknowledged = everywhere;
        Ok(())
    }
}

/// Whether a checkpoint shows that a read which was asked for has begun to be durable.
pub(crate) fn is_fulfilled(read: &PendingRead, checkpoint: &Checkpoint) -> bool {
    read.streams.iter().all(|stream: &StreamId| {
        checkpoint
            .streams
            .get(stream)
            .is_some_and(|state| state.run() > read.after_run)
    })
}
