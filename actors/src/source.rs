//! The source actor: a thin loop around a [`Reader`].

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use api::{Context, Emission, Error, Held, Opened, Plan, Reader, Retry, Source, SourceControl, Verdict};
use fail::fail_point;
use model::DestinationId;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use spool::Permit;
use tokio::sync::oneshot;

use crate::busy::Busy;
use crate::flow::Downstream;
use crate::joined::{Ended, Joined};
use crate::pipeline::{Failure, PipelineMsg};
use crate::status::Board;
use crate::{FlowId, metric};

/// Reads until the source ends, is closed or fails.
///
/// Fate: a failure or panic of its task is reported to the pipeline as a [`Failure`]; the pipeline starts the whole flow
/// again. Stopping the actor aborts the task.
pub(crate) struct SourceActor;

pub(crate) struct SourceArgs {
    pub(crate) flow: FlowId,
    pub(crate) connector: String,
    pub(crate) source: Arc<dyn Source>,
    pub(crate) plan: Plan,
    pub(crate) held: Vec<Held>,
    pub(crate) context: Context,
    pub(crate) downstream: Downstream,
    pub(crate) board: Board,
    pub(crate) busy: Busy,
    pub(crate) pipeline: ActorRef<PipelineMsg>,
    /// Sent once every destination has its cursor: nothing may be read before.
    pub(crate) go: oneshot::Receiver<()>,
}

/// What the pipeline learns when the source is open.
pub(crate) struct SourceOpened {
    pub(crate) verdicts: BTreeMap<DestinationId, Verdict>,
    pub(crate) control: Arc<dyn SourceControl>,
    pub(crate) identity: String,
}

pub(crate) enum SourceMsg {
    Ended(Ended<Result<(), Error>>),
}

impl Actor for SourceActor {
    type Msg = SourceMsg;
    type State = (FlowId, ActorRef<PipelineMsg>, Joined);
    type Arguments = SourceArgs;

    async fn pre_start(
        &self,
        myself: ActorRef<SourceMsg>,
        args: SourceArgs,
    ) -> Result<Self::State, ActorProcessingErr> {
        let (flow, pipeline) = (args.flow, args.pipeline.clone());
        Ok((flow, pipeline, Joined::spawn(&myself, run(args), SourceMsg::Ended)))
    }

    async fn handle(
        &self,
        myself: ActorRef<SourceMsg>,
        message: SourceMsg,
        state: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        let SourceMsg::Ended(ended) = message;
        let failure = match ended {
            Ended::Returned(Ok(())) => None,
            Ended::Returned(Err(error)) => Some(Failure::Error(error)),
            Ended::Panicked(text) => Some(Failure::Panic(text)),
        };
        if let Some(failure) = failure {
            state.1.cast(PipelineMsg::FlowFailed {
                flow: state.0,
                component: "source".to_owned(),
                failure,
            })?;
        }
        myself.stop(None);
        Ok(())
    }
}

/// Gives the source an empty directory for temporary files.
async fn ensure_empty(dir: &Path) -> Result<(), Error> {
    let cannot = |error: std::io::Error| {
        Error::new(
            "E0712",
            Retry::Operator,
            format!("cannot prepare the scratch directory `{}`", dir.display()),
        )
        .caused_by(error)
        .hint("it lies in the state directory, which must be writable and have room")
    };
    match tokio::fs::remove_dir_all(dir).await {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(cannot(error)),
        _ => {}
    }
    tokio::fs::create_dir_all(dir).await.map_err(cannot)
}

async fn run(args: SourceArgs) -> Result<(), Error> {
    ensure_empty(&args.context.scratch).await?;
    let opened = args
        .busy
        .while_in("open", args.source.open(&args.plan, &args.held, args.context.clone()))
        .await?;
    let Opened {
        verdicts,
        mut reader,
        control,
        identity,
    } = opened;
    let flow = args.flow;
    let opened = PipelineMsg::SourceOpened {
        flow,
        opened: SourceOpened {
            verdicts,
            control,
            identity,
        },
    };
    if args.pipeline.cast(opened).is_err() || args.go.await.is_err() {
        return Ok(()); // The pipeline is gone, or has given this flow up.
    }
    pump(
        reader.as_mut(),
        &args.downstream,
        &args.board,
        &args.plan,
        &args.connector,
    )
    .await
}

async fn pump(
    reader: &mut dyn Reader,
    downstream: &Downstream,
    board: &Board,
    plan: &Plan,
    connector: &str,
) -> Result<(), Error> {
    let labels = || {
        [
            ("pipeline", plan.pipeline.to_string()),
            ("component", "source".to_owned()),
            ("component_kind", "source".to_owned()),
            ("connector", connector.to_owned()),
        ]
    };
    let sent_rows = metrics::counter!(metric::SENT_ROWS, &labels());
    let sent_bytes = metrics::counter!(metric::SENT_BYTES, &labels());
    let sent_batches = metrics::counter!(metric::SENT_BATCHES, &labels());
    loop {
        let Emission { changeset, reservation } = match reader.next().await {
            Ok(Some(emission)) => emission,
            Ok(None) => break,
            Err(error) => {
                if error.retry() == Retry::Never {
                    // Nothing follows: what was read becomes durable before the pipeline ends.
                    let _ = downstream.end();
                }
                return Err(error);
            }
        };
        fail_point!("source.after_read");
        board.received(&changeset);
        sent_rows.increment(changeset.row_count() as u64);
        sent_bytes.increment(changeset.size_bytes as u64);
        sent_batches.increment(changeset.batches().len() as u64);
        for batch in changeset.batches().iter().filter(|batch| !batch.partition.is_log()) {
            let labels = [
                ("pipeline", plan.pipeline.to_string()),
                ("stream", batch.schema.stream().to_string()),
            ];
            metrics::counter!(metric::SNAPSHOT_ROWS, &labels).increment(batch.len() as u64);
        }
        if downstream
            .send(Arc::new(changeset), Permit::holding(reservation))
            .await
            .is_err()
        {
            return Ok(());
        }
    }
    // A receiver that is gone needs no end.
    let _ = downstream.end();
    Ok(())
}
