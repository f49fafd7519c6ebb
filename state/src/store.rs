use std::collections::BTreeMap;

use async_trait::async_trait;
use bytes::Bytes;
use model::{Checkpoint, DestinationId, PipelineId, StreamId};
use serde::{Deserialize, Serialize};

use crate::StateError;

/// Where checkpoints survive the process.
///
/// The loop that drives it, once per commit of a destination:
///
/// ```text
/// destination.commit(C)  ──►  epoch = put(pipeline, destination, C, epoch)  ──►  source.acknowledge(min over destinations)
/// ```
///
/// *Durability*: when a writing method returns `Ok`, what it wrote survives a power loss. When it returns `Err`, nothing
/// changed, unless [`StateError::is_fatal_io`] holds: then the outcome is known only at the next start.
///
/// *Cancellation*: a writing method whose future is dropped may or may not take effect; never half of it.
///
/// *Order*: writes for one destination take effect in the order of their epochs. Writes for different destinations know
/// nothing of each other, and a store may make several durable at once.
#[async_trait]
pub trait StateStore: Send + Sync {
    /// What is stored for each destination of `pipeline`; empty where nothing is.
    async fn load(&self, pipeline: &PipelineId) -> Result<BTreeMap<DestinationId, Stored>, StateError>;

    /// Replaces the value of one destination, and returns its new epoch, `expected_epoch + 1`.
    ///
    /// `expected_epoch` is the epoch of the value being replaced, 0 where there must be none; anything else is refused with
    /// [`StateError::Epoch`] and changes nothing. [`Stored::epoch`] of `value` is ignored: the new epoch is stored there.
    async fn put(
        &self,
        pipeline: &PipelineId,
        destination: &DestinationId,
        value: &Stored,
        expected_epoch: u64,
    ) -> Result<u64, StateError>;

    /// The values that the pipeline's source keeps (the next run number, a slot's identity); empty where it keeps none.
    async fn load_kept(&self, pipeline: &PipelineId) -> Result<BTreeMap<String, Bytes>, StateError>;

    /// Replaces all values that the pipeline's source keeps.
    async fn put_kept(&self, pipeline: &PipelineId, kept: &BTreeMap<String, Bytes>) -> Result<(), StateError>;

    /// Every pipeline of which anything is stored, in the order of their names.
    async fn pipelines(&self) -> Result<Vec<PipelineId>, StateError>;

    /// Removes everything of `pipeline` in one step. `false` where there was nothing, which writes nothing.
    ///
    /// Epochs begin again at 1 afterwards.
    async fn forget(&self, pipeline: &PipelineId) -> Result<bool, StateError>;
}

/// What is stored for one destination.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Stored {
    /// How often the value was written, from 1. The store counts.
    pub epoch: u64,
    /// The generation under which the destination was open.
    #[serde(default)]
    pub generation: u64,
    /// The identity of the history that the checkpoint speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// What the destination holds.
    #[serde(default)]
    pub checkpoint: Checkpoint,
    /// A hash of the transformers and the stream list: a changed meaning asks for a resync.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan_hash: Option<String>,
    /// Why the destination must be read again. Durable before acknowledgement passes the destination's mark, so that a
    /// destination that was let go is never taken for one that merely lags.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub needs_resync: Option<String>,
    /// Reads that were asked for and are not begun.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pending_reads: Vec<PendingRead>,
}

/// A read of existing rows that was asked for: it outlives a crash between the wish and its first page.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PendingRead {
    /// What is to be read.
    pub streams: Vec<StreamId>,
    /// Whether the destination's rows are removed first.
    #[serde(default)]
    pub empty_first: bool,
    /// Fulfilled for a stream when the destination holds a run of it that is greater.
    #[serde(default)]
    pub after_run: u32,
}
