//! The transformer actor: a thin loop around a [`Transformer`], off the async threads.

use std::sync::Arc;

use api::{Error, Transformer, transform_changeset};
use model::{ChangeSet, PipelineId};
use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::sync::mpsc;

use crate::busy::Busy;
use crate::flow::{Carried, Downstream, Flow};
use crate::joined::{Ended, Joined};
use crate::pipeline::{Failure, PipelineMsg};
use crate::spec::TransformerSpec;
use crate::{FlowId, metric};

/// Transforms what comes, in order.
///
/// Fate: as the source actor's; a transformer keeps nothing that a new one would need.
pub(crate) struct TransformerActor;

pub(crate) struct TransformerArgs {
    pub(crate) flow: FlowId,
    pub(crate) id: PipelineId,
    pub(crate) spec: TransformerSpec,
    pub(crate) downstream: Downstream,
    pub(crate) busy: Busy,
    pub(crate) pipeline: ActorRef<PipelineMsg>,
}

pub(crate) enum TransformerMsg {
    Flow(Flow),
    Ended(Ended<Result<(), Error>>),
}

impl From<Flow> for TransformerMsg {
    fn from(flow: Flow) -> Self {
        TransformerMsg::Flow(flow)
    }
}

impl TryFrom<TransformerMsg> for Flow {
    type Error = ();

    fn try_from(message: TransformerMsg) -> Result<Self, ()> {
        match message {
            TransformerMsg::Flow(flow) => Ok(flow),
            TransformerMsg::Ended(_) => Err(()),
        }
    }
}

pub(crate) struct TransformerState {
    flow: FlowId,
    component: String,
    pipeline: ActorRef<PipelineMsg>,
    /// Bounded by the edge's credit, like the mailbox that it continues.
    inbox: mpsc::UnboundedSender<Flow>,
    _work: Joined,
}

impl Actor for TransformerActor {
    type Msg = TransformerMsg;
    type State = TransformerState;
    type Arguments = TransformerArgs;

    async fn pre_start(
        &self,
        myself: ActorRef<TransformerMsg>,
        args: TransformerArgs,
    ) -> Result<TransformerState, ActorProcessingErr> {
        let (inbox, receiver) = mpsc::unbounded_channel();
        let (flow, component, pipeline) = (args.flow, args.spec.name.clone(), args.pipeline.clone());
        let runtime = tokio::runtime::Handle::current();
        // A thread of its own: a transformer computes.
        let thread = tokio::task::spawn_blocking(move || runtime.block_on(run(args, receiver)));
        let work = async move {
            match thread.await {
                Ok(result) => result,
                Err(error) => std::panic::resume_unwind(error.into_panic()),
            }
        };
        Ok(TransformerState {
            flow,
            component,
            pipeline,
            inbox,
            _work: Joined::spawn(&myself, work, TransformerMsg::Ended),
        })
    }

    async fn handle(
        &self,
        myself: ActorRef<TransformerMsg>,
        message: TransformerMsg,
        state: &mut TransformerState,
    ) -> Result<(), ActorProcessingErr> {
        let ended = match message {
            TransformerMsg::Flow(flow) => {
                // If the work has ended, its end is on its way as a message.
                let _ = state.inbox.send(flow);
                return Ok(());
            }
            TransformerMsg::Ended(ended) => ended,
        };
        let failure = match ended {
            Ended::Returned(Ok(())) => None,
            Ended::Returned(Err(error)) => Some(Failure::Error(error)),
            Ended::Panicked(text) => Some(Failure::Panic(text)),
        };
        if let Some(failure) = failure {
            let component = state.component.clone();
            state.pipeline.cast(PipelineMsg::FlowFailed {
                flow: state.flow,
                component,
                failure,
            })?;
        }
        myself.stop(None);
        Ok(())
    }
}

async fn run(args: TransformerArgs, mut inbox: mpsc::UnboundedReceiver<Flow>) -> Result<(), Error> {
    let mut transformer = (args.spec.make)()?;
    let meter = Meter::new(&args.id, &args.spec.name);
    while let Some(flow) = inbox.recv().await {
        let Carried {
            changeset,
            permit,
            credit,
        } = match flow {
            Flow::ChangeSet(carried) => carried,
            Flow::End => {
                // A receiver that is gone needs no end.
                let _ = args.downstream.end();
                return Ok(());
            }
        };
        let out = args
            .busy
            .while_in("transform", meter.transform(transformer.as_mut(), &changeset))
            .await?;
        drop((changeset, credit));
        if args.downstream.send(Arc::new(out), permit).await.is_err() {
            return Ok(());
        }
    }
    Ok(())
}

/// Runs one transformer and counts; used before the spool and in each lane.
pub(crate) struct Meter {
    received: metrics::Counter,
    sent: metrics::Counter,
    filtered: metrics::Counter,
    seconds: metrics::Histogram,
}

impl Meter {
    pub(crate) fn new(pipeline: &PipelineId, component: &str) -> Self {
        let labels = [
            ("pipeline", pipeline.to_string()),
            ("component", component.to_owned()),
            ("component_kind", "transformer".to_owned()),
            ("connector", component.to_owned()),
        ];
        let short = [labels[0].clone(), labels[1].clone()];
        let phase = [labels[0].clone(), labels[1].clone(), ("phase", "transform".to_owned())];
        Meter {
            received: metrics::counter!(metric::RECEIVED_ROWS, &labels),
            sent: metrics::counter!(metric::SENT_ROWS, &labels),
            filtered: metrics::counter!(metric::FILTERED_ROWS, &short),
            seconds: metrics::histogram!(metric::PHASE_SECONDS, &phase),
        }
    }

    pub(crate) async fn transform(
        &self,
        transformer: &mut dyn Transformer,
        changeset: &ChangeSet,
    ) -> Result<ChangeSet, Error> {
        let started = std::time::Instant::now();
        let out = transform_changeset(transformer, changeset).await?;
        let (before, after) = (changeset.row_count() as u64, out.row_count() as u64);
        self.received.increment(before);
        self.sent.increment(after);
        self.filtered.increment(before.saturating_sub(after));
        self.seconds.record(started.elapsed().as_secs_f64());
        Ok(out)
    }
}
