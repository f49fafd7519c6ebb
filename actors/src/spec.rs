//! What the runtime hands over to build a pipeline from.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use api::{Capabilities, Destination, Plan, Result, Source, Transformer};
use model::{DestinationId, PipelineId};
use spool::WhenBehind;

use crate::Backoff;

/// Makes a component anew: at the first start, and after every failure.
pub type Make<T> = Arc<dyn Fn() -> Result<Box<T>> + Send + Sync>;

/// One pipeline.
#[derive(Clone)]
pub struct PipelineSpec {
    /// Its name.
    pub id: PipelineId,
    /// The source connector's name.
    pub connector: String,
    /// The source.
    pub source: Arc<dyn Source>,
    /// What to read.
    pub plan: Plan,
    /// Transformers before the spool, in order.
    pub transformers: Vec<TransformerSpec>,
    /// Destinations.
    pub destinations: Vec<DestinationSpec>,
    /// The most that the spool keeps.
    pub window_max_bytes: usize,
    /// A directory for the source's temporary files; it is emptied, and belongs to nobody else.
    pub scratch: PathBuf,
    /// Whether the run ends where the source stands.
    pub once: bool,
    /// Times and sizes that have good defaults.
    pub limits: Limits,
}

/// One transformer.
#[derive(Clone)]
pub struct TransformerSpec {
    /// Its configured name.
    pub name: String,
    /// Makes it.
    pub make: Make<dyn Transformer>,
}

/// One destination.
#[derive(Clone)]
pub struct DestinationSpec {
    /// Its name.
    pub id: DestinationId,
    /// The connector's name.
    pub connector: String,
    /// Makes it.
    pub make: Make<dyn Destination>,
    /// What it can do.
    pub capabilities: Capabilities,
    /// Transformers of this destination alone, in order.
    pub transformers: Vec<TransformerSpec>,
    /// When to commit: what comes first.
    pub batch: BatchLimits,
    /// Tries after failures that pass.
    pub retry: Backoff,
    /// What happens when it falls out of the spool's window.
    pub when_behind: WhenBehind,
    /// The meaning of the rows that it gets: a hash of the transformers before it.
    pub plan_hash: String,
}

/// How much a destination gathers before it commits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchLimits {
    /// After this many bytes.
    pub bytes_max: u64,
    /// After this many rows.
    pub rows_max: u64,
    /// After this long.
    pub wait_max: Duration,
}

/// Times and sizes of a pipeline.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Changesets in one mailbox. More smooth out bursts; each is memory that nobody can use elsewhere.
    pub edge_messages_max: u32,
    /// Bytes in one mailbox.
    pub edge_bytes_max: usize,
    /// How often the source's head is asked for.
    pub probe_interval: Duration,
    /// How long a destination may take to open before the others start without it.
    pub open_wait_max: Duration,
    /// How long one call into a connector may take before its actor counts as stuck and is restarted.
    pub stuck_after: Duration,
    /// How long a parked destination waits before it looks again whether somebody has helped it.
    pub parked_retry: Duration,
    /// Restarts after panics and stuck calls before the pipeline fails.
    pub restarts_max: usize,
    /// ... within this time.
    pub restarts_within: Duration,
    /// Progress without rows is committed at most this often, or a source and a destination in one server would feed each
    /// other for ever.
    pub progress_interval: Duration,
    /// Checkpoints are stored and acknowledged at most this often: each costs a few syncs, and what becomes durable
    /// meanwhile goes into the same one. A destination that keeps its own checkpoint repeats nothing for it.
    pub checkpoint_interval: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            edge_messages_max: 16,
            edge_bytes_max: 8 << 20,
            probe_interval: Duration::from_secs(1),
            open_wait_max: Duration::from_secs(10),
            stuck_after: Duration::from_secs(300),
            parked_retry: Duration::from_secs(30),
            restarts_max: 10,
            restarts_within: Duration::from_secs(600),
            progress_interval: Duration::from_secs(10),
            checkpoint_interval: Duration::from_millis(100),
        }
    }
}
