//! One comparison, from the marker to its result.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use api::{Error, Reservation, Retry, Share, SourceControl, SourceView, Transformer, VIEW_BATCH_BYTES};
use model::{DestinationId, Mark, Marker, Order, Partition, PipelineId, StreamId};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::compare::{Comparing, Contestant};
use super::{Arrived, Comparison, Verified, Verify, VerifyProgress};
use crate::spec::TransformerSpec;

/// How long a lane may take to come by. Longer than a long commit; a destination that is further behind cannot be compared now.
const ARRIVE_MAX: Duration = Duration::from_secs(900);

/// Memory to look at differing rows with, for each destination.
const INSPECT_BYTES: usize = 8 << 20;
/// Batches in memory at once for each side: one that is compared, one that was read ahead, one as it is stored.
const BATCHES: usize = 3;

/// What the comparing needs; it outlives the pipeline's message.
pub(crate) struct Work {
    pub(crate) pipeline: PipelineId,
    pub(crate) control: Arc<dyn SourceControl>,
    pub(crate) marker: Marker,
    pub(crate) request: Verify,
    pub(crate) streams: Vec<StreamId>,
    pub(crate) transformers: Vec<TransformerSpec>,
    pub(crate) parts: Vec<Part>,
    /// Those that cannot take part.
    pub(crate) left_out: Vec<Comparison>,
    pub(crate) memory: Share,
    pub(crate) progress: Arc<VerifyProgress>,
}

/// A destination that takes part.
pub(crate) struct Part {
    pub(crate) destination: DestinationId,
    pub(crate) arrives: oneshot::Receiver<Arrived>,
    pub(crate) transformers: Vec<TransformerSpec>,
}

fn failed(message: String) -> Error {
    Error::new("E0713", Retry::After, message)
}

impl Work {
    /// Compares, on a thread of its own; ends soon after this future is dropped.
    pub(crate) async fn run(self) -> Result<Verified, Error> {
        let stop = CancellationToken::new();
        let _stops = stop.clone().drop_guard();
        let runtime = tokio::runtime::Handle::current();
        let thread = tokio::task::spawn_blocking(move || {
            runtime.block_on(async move {
                tokio::select! {
                    verified = self.compare() => verified,
                    () = stop.cancelled() => Err(failed("cannot verify: nobody waits for it any more".to_owned())),
                }
            })
        });
        match thread.await {
            Ok(verified) => verified,
            Err(panic) => {
                Err(Error::new("E0706", Retry::Never, "cannot verify: the comparing panicked").caused_by(panic))
            }
        }
    }

    async fn compare(self) -> Result<Verified, Error> {
        let started = Instant::now();
        let _memory = self.reserve()?;
        self.progress.say("opening a view of the source");
        let view = self.control.view(&self.streams, self.marker).await?;
        let (log, order) = view.at();
        let Work {
            pipeline,
            request,
            streams,
            transformers,
            parts,
            mut left_out,
            progress,
            ..
        } = self;
        let mut contestants = Vec::new();
        for part in parts {
            progress.say(format!("waiting for {} to reach {order}", part.destination));
            contestants.push(arrive(&pipeline, part, &log, order).await?);
        }
        let mut comparing = Comparing {
            view,
            transformers: made(&transformers)?,
            contestants,
            pace: super::compare::Pace::new(request.rows_per_second),
            sample: super::compare::Sample::new(request.sample),
            inspect_bytes: INSPECT_BYTES,
            progress: Arc::clone(&progress),
        };
        let mut comparisons = Vec::new();
        for stream in &streams {
            progress.say(format!("comparing {stream}"));
            comparisons.extend(comparing.compare(stream).await?);
        }
        comparisons.append(&mut left_out);
        Ok(Verified {
            pipeline: pipeline.to_string(),
            position: BTreeMap::from([(log.to_string(), order.to_string())]),
            comparisons,
            sample: request.sample,
            elapsed_seconds: started.elapsed().as_secs_f64(),
        })
    }

    fn reserve(&self) -> Result<Reservation, Error> {
        let sides = 1 + self.parts.len();
        let buckets = 2 * model::BUCKETS * 24 * self.parts.len();
        let bytes = sides * BATCHES * VIEW_BATCH_BYTES + buckets + self.parts.len() * INSPECT_BYTES;
        self.memory.try_reserve(bytes).ok_or_else(|| {
            failed(format!(
                "cannot verify `{}`: {bytes} bytes of memory are not free now",
                self.pipeline
            ))
            .hint("raise `runtime.memory.limit`, or name one destination with `--destination`")
        })
    }
}

/// Waits until a lane has come by the marker.
async fn arrive(pipeline: &PipelineId, part: Part, log: &Arc<str>, order: Order) -> Result<Contestant, Error> {
    let who = &part.destination;
    let cannot = |why: String| failed(format!("cannot verify `{pipeline}`/`{who}`: {why}"));
    let arrived = tokio::time::timeout(ARRIVE_MAX, part.arrives).await;
    let arrived = arrived.map_err(|_| {
        cannot(format!("it has not reached {order} within {} s", ARRIVE_MAX.as_secs()))
            .hint(format!("`highwater status {pipeline}` shows how far behind it is"))
    })?;
    let arrived = arrived.map_err(|_| {
        cannot("it failed, or the source was opened again, before it reached the position".to_owned())
            .hint(format!("`highwater status {pipeline}` shows why; run it again then"))
    })?;
    let stands = arrived.checkpoint.mark(&Partition::Log(Arc::clone(log)));
    if stands != Mark::At(order) {
        return Err(cannot(format!("it stands at {stands:?}, not at {order}")).hint("run it again"));
    }
    Ok(Contestant {
        stored: arrived.stored?,
        transformers: made(&part.transformers)?,
        checkpoint: arrived.checkpoint,
        destination: part.destination,
    })
}

fn made(specs: &[TransformerSpec]) -> Result<Vec<Box<dyn Transformer>>, Error> {
    specs.iter().map(|spec| (spec.make)()).collect()
}

/// A view of a source that is compared.
pub(super) type View = Box<dyn SourceView>;
