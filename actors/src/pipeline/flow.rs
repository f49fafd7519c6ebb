//! Starting and stopping a flow.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use api::{Context, Held, ReadExisting, SourceControl, Verdict};
use model::{Checkpoint, DestinationId, StreamId};
use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef};
use spool::{Attach, LaneId, MemorySpool, Spool};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::{LaneHandle, Pipeline, PipelineMsg};
use crate::FlowId;
use crate::backoff::Backoff;
use crate::busy::Busy;
use crate::checkpointer::CheckpointMsg;
use crate::credit::Edge;
use crate::destination::LaneInput;
use crate::fanout::{FanOutActor, FanOutArgs};
use crate::flow::Downstream;
use crate::joined::Joined;
use crate::source::{SourceActor, SourceArgs, SourceOpened};
use crate::status::Phase;
use crate::transformer::{TransformerActor, TransformerArgs};

/// How long to wait between rewinds of the source for a destination that keeps falling behind: each costs the others a replay.
const REWIND_BACKOFF: Backoff = Backoff {
    min: Duration::from_secs(2),
    max: Duration::from_secs(120),
    give_up_after: None,
};

/// The flow's state.
pub(super) enum Flow {
    /// Nothing runs; a timer may be set.
    Idle,
    /// Lanes are asked where they stand.
    Gathering,
    /// The source is being opened.
    Opening(Opening),
    /// Changesets flow.
    Flowing(Flowing),
}

/// What a flow is made of.
pub(super) struct Machinery {
    actors: Vec<ActorCell>,
    busies: Vec<(String, Busy)>,
    spool: Arc<MemorySpool>,
    stop: CancellationToken,
}

pub(super) struct Opening {
    machinery: Machinery,
    go: oneshot::Sender<()>,
}

pub(super) struct Flowing {
    machinery: Machinery,
    pub(super) control: Arc<dyn SourceControl>,
    _probe: Joined,
}

impl Flow {
    fn machinery(&self) -> Option<&Machinery> {
        match self {
            Flow::Idle | Flow::Gathering => None,
            Flow::Opening(opening) => Some(&opening.machinery),
            Flow::Flowing(flowing) => Some(&flowing.machinery),
        }
    }

    /// The component whose call has been going on for longer than `limit`.
    pub(super) fn stuck_in(&self, limit: Duration) -> Option<(String, &'static str)> {
        let busies = self.machinery().into_iter().flat_map(|machinery| &machinery.busies);
        busies
            .filter_map(|(component, busy)| busy.stuck_in(limit).map(|call| (component.clone(), call)))
            .next()
    }
}

impl Pipeline {
    /// Asks every lane where it stands; the first time they say so by themselves, when they are open.
    pub(super) fn gather(&mut self, myself: &ActorRef<PipelineMsg>, asks: bool) {
        self.stop_flow();
        self.flow_id = FlowId(self.flow_id.0 + 1);
        self.flow = Flow::Gathering;
        for lane in self.lanes.values_mut().filter(|lane| !lane.has_ended) {
            lane.stand = None;
            if asks {
                lane.tell(LaneInput::Regroup);
            }
        }
        let flow = self.flow_id;
        myself.send_after(self.spec.limits.open_wait_max, move || PipelineMsg::GatherTimeout(flow));
    }

    /// The lanes that have not answered take part with their hint, or join later.
    pub(super) async fn on_gather_timeout(&mut self, myself: &ActorRef<PipelineMsg>) -> Result<(), ActorProcessingErr> {
        match self.flow {
            Flow::Gathering => self.open(myself).await,
            _ => Ok(()),
        }
    }

    pub(super) fn start_flow_after(&mut self, myself: &ActorRef<PipelineMsg>, wait: Duration) {
        self.flow_id = FlowId(self.flow_id.0 + 1);
        let flow = self.flow_id;
        myself.send_after(wait, move || PipelineMsg::StartFlow(flow));
    }

    pub(super) fn stop_flow(&mut self) {
        let flow = std::mem::replace(&mut self.flow, Flow::Idle);
        self.markers.give_up_all();
        if let Some(machinery) = flow.machinery() {
            machinery.stop.cancel();
            machinery.actors.iter().for_each(|actor| actor.kill());
            // A checkpointer that is gone takes the pipeline with it.
            let _ = self.checkpointer.cast(CheckpointMsg::FlowEnded);
        }
    }

    /// Opens the source with what every lane holds.
    pub(super) async fn open(&mut self, myself: &ActorRef<PipelineMsg>) -> Result<(), ActorProcessingErr> {
        let held: Vec<Held> = self
            .lanes
            .iter()
            .filter(|(_, lane)| lane.takes_part())
            .filter_map(|(id, lane)| {
                let checkpoint = if lane.is_reset() {
                    Checkpoint::default()
                } else {
                    lane.held()?.clone()
                };
                Some(Held {
                    destination: id.clone(),
                    checkpoint,
                })
            })
            .collect();
        let flow = self.flow_id;
        let limits = self.spec.limits;
        let spool = Arc::new(MemorySpool::new(self.spec.window_max_bytes));
        let stop = CancellationToken::new();
        let mut machinery = Machinery {
            actors: Vec::new(),
            busies: Vec::new(),
            spool: Arc::clone(&spool),
            stop: stop.clone(),
        };
        let mut edges = BTreeMap::new();
        let new_edge = || Arc::new(Edge::new(limits.edge_messages_max, limits.edge_bytes_max));

        let args = FanOutArgs {
            flow,
            spool: Arc::clone(&spool) as Arc<dyn Spool>,
            pipeline: myself.clone(),
        };
        let (actor, _) = Actor::spawn_linked(None, FanOutActor, args, myself.get_cell()).await?;
        machinery.actors.push(actor.get_cell());
        let edge = new_edge();
        edges.insert("spool".to_owned(), Arc::clone(&edge));
        let mut downstream = Downstream::new(edge, actor.get_derived());
        for spec in self.spec.transformers.iter().rev() {
            let busy = Busy::default();
            machinery.busies.push((spec.name.clone(), busy.clone()));
            let args = TransformerArgs {
                flow,
                id: self.id().clone(),
                spec: spec.clone(),
                downstream,
                busy,
                pipeline: myself.clone(),
            };
            let (actor, _) = Actor::spawn_linked(None, TransformerActor, args, myself.get_cell()).await?;
            machinery.actors.push(actor.get_cell());
            let edge = new_edge();
            edges.insert(spec.name.clone(), Arc::clone(&edge));
            downstream = Downstream::new(edge, actor.get_derived());
        }
        let (go, gone) = oneshot::channel();
        let busy = Busy::default();
        machinery.busies.push(("source".to_owned(), busy.clone()));
        let context = Context {
            pipeline: self.id().clone(),
            scratch: self.spec.scratch.clone(),
            memory: self.memory.clone(),
            kept: self.kept.clone(),
            tally: self.board.tally(),
            once: self.spec.once,
            take_over: self.take_over && self.lanes.values().all(LaneHandle::is_up),
            stop,
        };
        let args = SourceArgs {
            flow,
            connector: self.spec.connector.clone(),
            source: Arc::clone(&self.spec.source),
            plan: self.spec.plan.clone(),
            held,
            context,
            downstream,
            board: self.board.clone(),
            busy,
            pipeline: myself.clone(),
            go: gone,
        };
        let (actor, _) = Actor::spawn_linked(None, SourceActor, args, myself.get_cell()).await?;
        machinery.actors.push(actor.get_cell());
        self.board.set_flow(spool, edges);
        self.flow = Flow::Opening(Opening { machinery, go });
        Ok(())
    }

    /// The source is open: hands out verdicts and cursors, lets it read, and asks for the reads that are missing.
    pub(super) async fn on_opened(
        &mut self,
        myself: &ActorRef<PipelineMsg>,
        opened: SourceOpened,
    ) -> Result<(), ActorProcessingErr> {
        let Flow::Opening(Opening { machinery, go }) = std::mem::replace(&mut self.flow, Flow::Idle) else {
            return Ok(());
        };
        let SourceOpened {
            mut verdicts,
            control,
            identity,
        } = opened;
        let spool = Arc::clone(&machinery.spool);
        info!(pipeline = %self.id(), connector = self.spec.connector, identity, "source opened");
        // Once only: whoever holds the source later may be one who took over from us.
        self.take_over = false;
        let mut wanted: Vec<(DestinationId, Vec<StreamId>, bool)> = Vec::new();
        for (id, lane) in &mut self.lanes {
            if let Some(Verdict::PositionLost(error) | Verdict::OtherHistory(error)) = verdicts.remove(id) {
                lane.needs_resync = true;
                let reason = error.chain();
                self.checkpointer.cast(CheckpointMsg::NeedsResync {
                    destination: id.clone(),
                    reason,
                })?;
                if !lane.is_reset() {
                    lane.tell(LaneInput::NeedsResync(error));
                }
            }
            if lane.takes_part() && lane.held().is_some() {
                attach(&spool, &self.checkpointer, id, lane).await?;
                wanted.extend(reads_wanted(id, lane));
            }
        }
        let flow_control = Arc::clone(&control);
        self.checkpointer.cast(CheckpointMsg::Flow {
            control: flow_control,
            spool: spool as Arc<dyn Spool>,
            identity,
        })?;
        if go.send(()).is_err() {
            return Ok(()); // The source has failed meanwhile; its message is on the way.
        }
        let reads = grouped(wanted, self.lanes.len());
        self.tasks.retain(|task| !task.is_finished());
        self.tasks.push(Joined::spawn(
            myself,
            request_reads(self.id().to_string(), Arc::clone(&control), reads),
            PipelineMsg::Done,
        ));
        let probe = probe(
            Arc::clone(&control),
            self.board.clone(),
            self.spec.limits.probe_interval,
            self.id().to_string(),
        );
        let _probe = Joined::spawn(myself, probe, PipelineMsg::Done);
        self.flow = Flow::Flowing(Flowing {
            machinery,
            control,
            _probe,
        });
        let mut facts = self.board.facts();
        facts.phase = Phase::Flowing;
        facts.trouble = None;
        drop(facts);
        self.attempt = 0;
        info!(pipeline = %self.id(), destinations = self.lanes.len(), "pipeline live");
        Ok(())
    }

    /// A lane is up and has no cursor: it gets one if the spool still has everything that it lacks, else the source is rewound.
    pub(super) async fn join(
        &mut self,
        myself: &ActorRef<PipelineMsg>,
        destination: &DestinationId,
    ) -> Result<(), ActorProcessingErr> {
        let Flow::Flowing(flowing) = &self.flow else {
            return Ok(());
        };
        let (spool, control) = (Arc::clone(&flowing.machinery.spool), Arc::clone(&flowing.control));
        let Some(lane) = self.lanes.get_mut(destination) else {
            return Ok(());
        };
        // Held by nobody: the source was not told of it, so a fresh one may join, but no old one that it must judge.
        let is_known = !lane.is_reset() && lane.held().is_some_and(|held| !held.is_empty());
        if is_known && attach(&spool, &self.checkpointer, destination, lane).await? {
            let reads = grouped(reads_wanted(destination, lane).into_iter().collect(), self.lanes.len());
            self.tasks.push(Joined::spawn(
                myself,
                request_reads(self.id().to_string(), control, reads),
                PipelineMsg::Done,
            ));
            return Ok(());
        }
        self.rewinds.spend();
        let wait = if self.rewinds.spent() <= 1 {
            Duration::ZERO
        } else {
            REWIND_BACKOFF.wait(self.rewinds.spent() as u32 - 1)
        };
        debug!(pipeline = %self.id(), destination = %destination, wait_seconds = wait.as_secs_f64(), "source will be rewound");
        let flow = self.flow_id;
        myself.send_after(wait, move || PipelineMsg::StartFlow(flow));
        Ok(())
    }
}

/// Gives a lane a cursor from where it stands; `false` if that is out of the spool's reach.
async fn attach(
    spool: &Arc<MemorySpool>,
    checkpointer: &ActorRef<CheckpointMsg>,
    id: &DestinationId,
    lane: &mut LaneHandle,
) -> Result<bool, ActorProcessingErr> {
    let reset = lane.is_reset();
    let from = if reset {
        Checkpoint::default()
    } else {
        lane.held().cloned().unwrap_or_default()
    };
    let lane_id = LaneId {
        destination: id.clone(),
        when_behind: lane.args.spec.when_behind,
    };
    match spool.cursor(&lane_id, &from).await? {
        Attach::Here(cursor) => {
            lane.tell(LaneInput::Attach { cursor, reset });
            if reset {
                lane.needs_resync = false;
                checkpointer.cast(CheckpointMsg::Reset {
                    destination: id.clone(),
                })?;
            }
            if let Some(stand) = &mut lane.stand {
                stand.is_attached = true;
                if reset {
                    stand.held = Some(Checkpoint::default());
                }
            }
            Ok(true)
        }
        Attach::OutOfReach => Ok(false),
    }
}

/// The streams that a lane must read: those that it does not hold, and those it was asked to read again.
fn reads_wanted(id: &DestinationId, lane: &LaneHandle) -> Vec<(DestinationId, Vec<StreamId>, bool)> {
    let held = lane.held().cloned().unwrap_or_default();
    let mut wanted = Vec::new();
    for empty_first in [true, false] {
        let asked = |stream: &&StreamId| {
            lane.pending
                .iter()
                .any(|read| read.empty_first == empty_first && read.streams.contains(stream))
        };
        let streams: Vec<StreamId> = lane
            .args
            .streams
            .iter()
            .filter(|stream| asked(stream) || (!empty_first && !held.streams.contains_key(*stream)))
            .filter(|stream| {
                empty_first
                    || !wanted
                        .iter()
                        .any(|(_, earlier, _): &(_, Vec<StreamId>, _)| earlier.contains(stream))
            })
            .cloned()
            .collect();
        if !streams.is_empty() {
            wanted.push((id.clone(), streams, empty_first));
        }
    }
    wanted
}

/// One request for all who want the same.
fn grouped(wanted: Vec<(DestinationId, Vec<StreamId>, bool)>, lane_count: usize) -> Vec<ReadExisting> {
    let mut groups: BTreeMap<(Vec<StreamId>, bool), Vec<DestinationId>> = BTreeMap::new();
    for (id, streams, empty_first) in wanted {
        groups.entry((streams, empty_first)).or_default().push(id);
    }
    groups
        .into_iter()
        .map(|((streams, empty_first), destinations)| {
            let destinations = (destinations.len() < lane_count).then_some(destinations);
            ReadExisting {
                streams,
                destinations,
                empty_first,
            }
        })
        .collect()
}

async fn request_reads(pipeline: String, control: Arc<dyn SourceControl>, reads: Vec<ReadExisting>) {
    for read in reads {
        let stream_count = read.streams.len();
        match control.read_existing(read).await {
            Ok(run) => info!(pipeline, run, streams = stream_count, "read started"),
            // The reader fails for the same reason, and the flow starts again.
            Err(error) => warn!(pipeline, code = error.code(), error = error.chain(), "read not started"),
        }
    }
}

/// Asks the source every so often where its head is, so that lag is true when nothing flows.
async fn probe(control: Arc<dyn SourceControl>, board: crate::status::Board, interval: Duration, pipeline: String) {
    let mut ticks = tokio_stream::wrappers::IntervalStream::new(tokio::time::interval(interval));
    while tokio_stream::StreamExt::next(&mut ticks).await.is_some() {
        match control.head().await {
            Ok(head) => board.probed(head, control.reads().await, control.slot().await),
            Err(error) => debug!(pipeline, code = error.code(), error = error.chain(), "head unknown"),
        }
    }
}
