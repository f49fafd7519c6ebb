//! The destination actor: its mailbox takes changesets against credit, its task drives the lane.

mod kept_tables;
mod lane;
mod pump;

use std::sync::Arc;

use api::{Error, Kept, Lane, Share};
use model::{Checkpoint, DestinationId, StreamId};
use ractor::{Actor, ActorProcessingErr, ActorRef};
use spool::{Cursor, Delivery};
use tokio::sync::mpsc;

use crate::busy::Busy;
use crate::checkpointer::CheckpointMsg;
use crate::credit::{Credit, Edge};
use crate::joined::{Ended, Joined};
use crate::pipeline::PipelineMsg;
use crate::spec::{DestinationSpec, Limits};
use crate::status::Board;
use crate::verify::Markers;

pub use kept_tables::{kept_table, kept_tables};

/// Applies what its cursor delivers, commits, and comes back after failures.
///
/// Fate: expected errors are handled inside, by the lane: the destination is made and opened anew and its cursor goes back to what
/// it holds. A panic ends the actor, and the pipeline makes another one within the restart budget. Stopping the actor
/// aborts its tasks; what was not committed is void.
pub(crate) struct DestinationActor;

#[derive(Clone)]
pub(crate) struct DestinationArgs {
    pub(crate) spec: DestinationSpec,
    pub(crate) lane: Lane,
    /// What the state directory says that it holds; `None` if it says nothing.
    pub(crate) hint: Option<Checkpoint>,
    /// Streams of the plan: others are dropped from its checkpoint, so that they are read again when they come back.
    pub(crate) streams: Vec<StreamId>,
    pub(crate) limits: Limits,
    pub(crate) memory: Share,
    pub(crate) board: Board,
    pub(crate) busy: Busy,
    pub(crate) edge: Arc<Edge>,
    pub(crate) pipeline: ActorRef<PipelineMsg>,
    pub(crate) checkpointer: ActorRef<CheckpointMsg>,
    pub(crate) markers: Markers,
    /// What the destination describes of its tables goes there.
    pub(crate) kept: Kept,
}

/// What a destination actor is told.
pub(crate) enum DestinationMsg {
    /// For its lane.
    Lane(LaneInput),
    /// Its lane ended.
    Ended(Ended<LaneEnd>),
}

/// What a lane is told.
pub(crate) enum LaneInput {
    /// A changeset from its cursor. Those of an earlier epoch are void: the cursor went back meanwhile.
    Delivery {
        epoch: u64,
        delivery: Delivery,
        credit: Credit,
    },
    /// Its cursor ended.
    CursorEnded { epoch: u64, why: CursorEnd },
    /// The flow will start again: let go of the cursor, and say where you stand.
    Regroup,
    /// Here is a cursor, from where you stand; with `reset`, from nothing.
    Attach { cursor: Box<dyn Cursor>, reset: bool },
    /// It cannot go on from what it holds.
    NeedsResync(Error),
    /// Commit now what you have.
    Flush,
    /// Close if you are not attached: there will be no flow any more.
    Abandon,
}

/// Why a cursor ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CursorEnd {
    /// The source ended or was closed, and everything was delivered.
    Closed,
    /// It fell out of the window.
    LetGo,
}

/// How a lane ended.
pub(crate) enum LaneEnd {
    /// Everything was committed, and the destination closed.
    Drained,
    /// Told to, while it was down.
    Abandoned,
    /// Another owner has taken it over.
    Fenced(Error),
}

pub(crate) struct DestinationActorState {
    id: DestinationId,
    pipeline: ActorRef<PipelineMsg>,
    /// Deliveries in it are bounded by the edge's credit; everything else is rare.
    inbox: mpsc::UnboundedSender<LaneInput>,
    _work: Joined,
}

impl Actor for DestinationActor {
    type Msg = DestinationMsg;
    type State = DestinationActorState;
    type Arguments = DestinationArgs;

    async fn pre_start(
        &self,
        myself: ActorRef<DestinationMsg>,
        args: DestinationArgs,
    ) -> Result<DestinationActorState, ActorProcessingErr> {
        let (inbox, receiver) = mpsc::unbounded_channel();
        let (id, pipeline) = (args.spec.id.clone(), args.pipeline.clone());
        let work = lane::LaneDriver::new(args, myself.clone(), receiver).run();
        Ok(DestinationActorState {
            id,
            pipeline,
            inbox,
            _work: Joined::spawn(&myself, work, DestinationMsg::Ended),
        })
    }

    async fn handle(
        &self,
        myself: ActorRef<DestinationMsg>,
        message: DestinationMsg,
        state: &mut DestinationActorState,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            DestinationMsg::Lane(input) => {
                // If the lane has ended, its end is on its way as a message.
                let _ = state.inbox.send(input);
            }
            DestinationMsg::Ended(ended) => {
                let destination = state.id.clone();
                state.pipeline.cast(PipelineMsg::LaneEnded { destination, ended })?;
                myself.stop(None);
            }
        }
        Ok(())
    }
}
