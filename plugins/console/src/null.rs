//! `null`: counts and discards. What it takes to be a destination, and nothing more.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use api::{
    BuildContext, Capabilities, CommitPoint, Destination, DestinationConnector, DestinationOptions, Guarantee, Holds,
    Lane, Result, SpecError, WriteMode, Written,
};
use async_trait::async_trait;
use model::ChangeSet;
use schemars::JsonSchema;
use serde::Deserialize;

/// The spec of `null`: it has nothing to say.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NullSpec {}

/// The connector `null`.
pub struct Null;

impl DestinationConnector for Null {
    const NAME: &'static str = "null";
    const ABOUT: &'static str = "Counts rows and discards them: for measuring a source.";
    type Spec = NullSpec;

    fn build(
        _spec: NullSpec,
        _options: DestinationOptions,
        _cx: &BuildContext,
    ) -> Result<Box<dyn Destination>, SpecError> {
        Ok(Box::new(NullDestination::new(&Counts::default())))
    }

    fn capabilities() -> Capabilities {
        Capabilities {
            // After a restart rows come again, and it could not tell.
            guarantee: Guarantee::AtLeastOnce,
            // Whatever is asked for, it does nothing: that it can.
            writes: &[WriteMode::Append, WriteMode::Upsert, WriteMode::Mirror],
            deletes: true,
            truncate: true,
            delete_where: true,
            unavailable: true,
            ddl_in_transaction: true,
            keeps_checkpoint: false,
            reads_back: false,
            buffer_bytes: 0,
            commit_interval_min: Duration::ZERO,
        }
    }
}

/// What was discarded. Clones share the figures, so that a bench can watch them.
#[derive(Debug, Clone, Default)]
pub struct Counts(Arc<Figures>);

#[derive(Debug, Default)]
struct Figures {
    rows: AtomicU64,
    bytes: AtomicU64,
    commits: AtomicU64,
}

impl Counts {
    /// A destination that counts here.
    pub fn destination(&self) -> Box<dyn Destination> {
        Box::new(NullDestination::new(self))
    }

    /// Rows written, committed or not.
    pub fn rows(&self) -> u64 {
        self.0.rows.load(Ordering::Relaxed)
    }

    /// Their Arrow bytes.
    pub fn bytes(&self) -> u64 {
        self.0.bytes.load(Ordering::Relaxed)
    }

    /// Commits.
    pub fn commits(&self) -> u64 {
        self.0.commits.load(Ordering::Relaxed)
    }
}

struct NullDestination {
    counts: Counts,
}

impl NullDestination {
    fn new(counts: &Counts) -> Self {
        NullDestination { counts: counts.clone() }
    }
}

#[async_trait]
impl Destination for NullDestination {
    fn capabilities(&self) -> Capabilities {
        Null::capabilities()
    }

    async fn open(&mut self, _lane: &Lane) -> Result<Holds> {
        // Nothing is held: the runtime goes on from its own checkpoint.
        Ok(Holds::default())
    }

    async fn write(&mut self, changeset: Arc<ChangeSet>) -> Result<Written> {
        self.counts
            .0
            .rows
            .fetch_add(changeset.row_count() as u64, Ordering::Relaxed);
        self.counts
            .0
            .bytes
            .fetch_add(changeset.size_bytes as u64, Ordering::Relaxed);
        Ok(Written::default())
    }

    async fn commit(&mut self, _at: CommitPoint<'_>) -> Result<()> {
        self.counts.0.commits.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    async fn close(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}
