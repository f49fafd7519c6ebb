//! The fan-out actor: puts what comes into the spool, where each destination has its cursor.

use std::sync::Arc;

use ractor::{Actor, ActorProcessingErr, ActorRef};
use spool::{Spool, SpoolError};
use tokio::sync::mpsc;

use crate::FlowId;
use crate::flow::{Carried, Flow};
use crate::joined::{Ended, Joined};
use crate::pipeline::{Failure, PipelineMsg};

/// Appends to the spool. Waiting for room in it keeps the credit, so the source waits, too.
///
/// Fate: as the source actor's.
pub(crate) struct FanOutActor;

pub(crate) struct FanOutArgs {
    pub(crate) flow: FlowId,
    pub(crate) spool: Arc<dyn Spool>,
    pub(crate) pipeline: ActorRef<PipelineMsg>,
}

pub(crate) enum FanOutMsg {
    Flow(Flow),
    Ended(Ended<Result<(), SpoolError>>),
}

impl From<Flow> for FanOutMsg {
    fn from(flow: Flow) -> Self {
        FanOutMsg::Flow(flow)
    }
}

impl TryFrom<FanOutMsg> for Flow {
    type Error = ();

    fn try_from(message: FanOutMsg) -> Result<Self, ()> {
        match message {
            FanOutMsg::Flow(flow) => Ok(flow),
            FanOutMsg::Ended(_) => Err(()),
        }
    }
}

pub(crate) struct FanOutState {
    flow: FlowId,
    pipeline: ActorRef<PipelineMsg>,
    inbox: mpsc::UnboundedSender<Flow>,
    _work: Joined,
}

impl Actor for FanOutActor {
    type Msg = FanOutMsg;
    type State = FanOutState;
    type Arguments = FanOutArgs;

    async fn pre_start(
        &self,
        myself: ActorRef<FanOutMsg>,
        args: FanOutArgs,
    ) -> Result<FanOutState, ActorProcessingErr> {
        let (inbox, receiver) = mpsc::unbounded_channel();
        let work = Joined::spawn(&myself, run(args.spool, receiver), FanOutMsg::Ended);
        Ok(FanOutState {
            flow: args.flow,
            pipeline: args.pipeline,
            inbox,
            _work: work,
        })
    }

    async fn handle(
        &self,
        myself: ActorRef<FanOutMsg>,
        message: FanOutMsg,
        state: &mut FanOutState,
    ) -> Result<(), ActorProcessingErr> {
        let failure = match message {
            FanOutMsg::Flow(flow) => {
                // If the work has ended, its end is on its way as a message.
                let _ = state.inbox.send(flow);
                return Ok(());
            }
            FanOutMsg::Ended(Ended::Returned(Ok(()))) => None,
            FanOutMsg::Ended(Ended::Returned(Err(error))) => Some(Failure::Panic(error.to_string())),
            FanOutMsg::Ended(Ended::Panicked(text)) => Some(Failure::Panic(text)),
        };
        if let Some(failure) = failure {
            state.pipeline.cast(PipelineMsg::FlowFailed {
                flow: state.flow,
                component: "spool".to_owned(),
                failure,
            })?;
        }
        myself.stop(None);
        Ok(())
    }
}

async fn run(spool: Arc<dyn Spool>, mut inbox: mpsc::UnboundedReceiver<Flow>) -> Result<(), SpoolError> {
    while let Some(flow) = inbox.recv().await {
        match flow {
            Flow::ChangeSet(Carried {
                changeset,
                permit,
                credit,
            }) => {
                spool.append(changeset, permit).await?;
                drop(credit);
            }
            Flow::End => {
                spool.close().await;
                return Ok(());
            }
        }
    }
    // Stopped before the end: the spool stays open, so that no lane takes this for a drain.
    Ok(())
}
