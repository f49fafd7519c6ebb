use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use model::{ChangeSet, Checkpoint, Delta, DestinationId, PipelineId, SchemaId, StreamId, StreamSchema};
use serde::{Deserialize, Serialize};

use crate::{Error, Result, Retry, StoredView};

/// How rows are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WriteMode {
    /// Every change is a row of its own, with what happened in `_highwater_*` columns.
    Append,
    /// By key; deletes as [`Deletes`] says.
    Upsert,
    /// As upsert; after a resync, rows that the read did not meet are removed.
    Mirror,
}

impl WriteMode {
    /// The word in the config.
    pub const fn name(self) -> &'static str {
        match self {
            WriteMode::Append => "append",
            WriteMode::Upsert => "upsert",
            WriteMode::Mirror => "mirror",
        }
    }
}

/// What a delete at the source does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, Default)]
#[serde(rename_all = "lowercase")]
pub enum Deletes {
    /// It deletes.
    #[default]
    Apply,
    /// It sets `_highwater_deleted`.
    Soft,
    /// Nothing.
    Ignore,
}

/// What a changed schema does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnSchemaChange {
    /// Columns are added and widened; what cannot be is an error that names the change.
    Apply,
    /// A new table or file set.
    NewVersion,
    /// The destination parks, with the statement to run.
    Pause,
    /// Columns that the destination lacks are left out.
    Ignore,
}

/// The parts of a destination's config that mean the same for every connector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DestinationOptions {
    /// `None`: upsert where the stream has a key, else append.
    pub write: Option<WriteMode>,
    /// What a delete does.
    pub deletes: Deletes,
    /// `None`: apply when widening, else pause.
    pub on_schema_change: Option<OnSchemaChange>,
}

impl Default for DestinationOptions {
    fn default() -> Self {
        DestinationOptions {
            write: None,
            deletes: Deletes::Apply,
            on_schema_change: None,
        }
    }
}

impl DestinationOptions {
    /// The mode for a stream with or without a key.
    pub fn write_mode(&self, has_key: bool) -> WriteMode {
        self.write
            .unwrap_or(if has_key { WriteMode::Upsert } else { WriteMode::Append })
    }
}

/// What can be promised; the strongest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Guarantee {
    /// Each row's effect once, also after crashes.
    ExactlyOnce,
    /// The final state of each key is right; a replay may be seen in between.
    EffectivelyOnceByKey,
    /// A replay may double rows.
    AtLeastOnce,
}

impl fmt::Display for Guarantee {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Guarantee::ExactlyOnce => "exactly-once",
            Guarantee::EffectivelyOnceByKey => "effectively-once by key",
            Guarantee::AtLeastOnce => "at-least-once",
        })
    }
}

/// What a destination can do; checked at validation against what the source will send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capabilities {
    /// What it promises.
    pub guarantee: Guarantee,
    /// Write modes it has.
    pub writes: &'static [WriteMode],
    /// Whether it can delete rows by key.
    pub deletes: bool,
    /// Whether it can empty a table.
    pub truncate: bool,
    /// Whether it can delete by predicate.
    pub delete_where: bool,
    /// Whether it can leave columns alone whose value was not sent.
    pub unavailable: bool,
    /// Whether a schema change is part of the commit.
    pub ddl_in_transaction: bool,
    /// Whether it stores the checkpoint with the rows, so that its word wins over ours.
    pub keeps_checkpoint: bool,
    /// Whether it can read its rows back, for `verify`.
    pub reads_back: bool,
    /// What it may hold beyond a changeset between two commits.
    pub buffer_bytes: usize,
    /// Committing more often than this wastes work.
    pub commit_interval_min: Duration,
}

/// Who writes: what a rival is told, and what a stale writer is fenced by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// Unique for each process start.
    pub id: String,
    /// Where it runs.
    pub host: String,
    /// Its process id there.
    pub pid: u32,
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} pid {}", self.host, self.pid)
    }
}

/// One destination's cursor on the flow, and who drives it: the key of its ledger row and what must be stored there.
#[derive(Debug, Clone)]
pub struct Lane {
    /// The pipeline.
    pub pipeline: PipelineId,
    /// The destination.
    pub destination: DestinationId,
    /// 0 today; a deliver process has one for each Kafka partition.
    pub lane: u16,
    /// Who asks.
    pub owner: Owner,
    /// Whether to fence an owner that is alive, instead of refusing.
    pub take_over: bool,
    /// The meaning of the rows (transformers); stored with the checkpoint.
    pub plan_hash: String,
}

/// What a destination says that it holds.
#[derive(Debug, Clone, Default)]
pub struct Holds {
    /// The generation that this open took.
    pub generation: u64,
    /// What is durable; `None` if it keeps no checkpoint, or holds nothing yet.
    pub checkpoint: Option<Checkpoint>,
    /// The plan hash stored with it.
    pub plan_hash: Option<String>,
    /// The last schema applied to each stream.
    pub schemas: BTreeMap<StreamId, SchemaId>,
}

/// What `write` did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Written {
    /// Bytes that the destination holds in memory until the next commit; at most its declared buffer.
    pub buffered_bytes: usize,
}

/// What becomes durable with a commit.
#[derive(Debug, Clone, Copy)]
pub struct CommitPoint<'a> {
    /// How the checkpoint moves: `(from, to]` over everything written since the last commit.
    pub delta: &'a Delta,
    /// The checkpoint after the move: what to store.
    pub checkpoint: &'a Checkpoint,
}

/// A system that is written.
///
/// The runtime drives one lane so, and never calls two methods at once:
///
/// ```text
/// holds = destination.open(lane)                 // takes the generation; its checkpoint wins over ours
/// loop {
///     changeset = admit(cursor.next())           // only what this destination lacks
///     destination.write(changeset)               // accepted
///     if it is time, and the changeset ends at a consistent point {
///         destination.commit({ delta, checkpoint })          // durable
///     }
/// }                                              // on Err: drop it, make another, open, rewind the cursor to what it holds
/// destination.close()
/// ```
#[async_trait]
pub trait Destination: Send {
    /// What it can do with its current spec and options.
    fn capabilities(&self) -> Capabilities;

    /// Checks from outside what only the system knows. Changes nothing.
    async fn check(&mut self) -> Result<Vec<Error>> {
        Ok(Vec::new())
    }

    /// Says what would become of its tables, without changing anything. Needs no [`open`](Destination::open).
    ///
    /// `before`: what was [`described`](Destination::described); `None` if nobody can say. `now`: every stream as it would be sent.
    async fn assess(
        &mut self,
        _before: Option<&BTreeMap<StreamId, Bytes>>,
        _now: &[Arc<StreamSchema>],
    ) -> Result<Vec<Error>> {
        Ok(Vec::new())
    }

    /// What [`assess`](Destination::assess) wants to be told later of the tables that were made or altered since the last call, in a
    /// form of its own. The runtime asks after each commit, and keeps it.
    fn described(&mut self) -> Vec<(StreamId, Bytes)> {
        Vec::new()
    }

    /// Takes the lane: the next generation by compare-and-set, the session lock where there is one. Finishes or discards
    /// what an earlier owner staged.
    ///
    /// Returns: what is durable here.
    ///
    /// Errors: [`Retry::Operator`](crate::Retry::Operator) naming the owner if a living one holds the lane and `take_over`
    /// is not set.
    async fn open(&mut self, lane: &Lane) -> Result<Holds>;

    /// Takes a changeset. Accepted is not durable; readers of the system do not see it yet if it is transactional or staged.
    ///
    /// The changeset was cut down to what this destination lacks. All of its rows are applied, and schema changes too: a batch
    /// whose schema id differs from the applied one changes the table first.
    ///
    /// Ownership: the `Arc` is released on return; what is kept beyond is copied and at most the declared buffer.
    ///
    /// Errors: everything since the last commit is void. The runtime drops this value, makes a new one, opens that.
    async fn write(&mut self, changeset: Arc<ChangeSet>) -> Result<Written>;

    /// Makes everything accepted durable, with the checkpoint in the same transaction where the system has one, and only if
    /// the generation is still ours.
    ///
    /// Called: at consistent points only; also with nothing accepted, to move the checkpoint.
    ///
    /// Durability: on `Ok` rows and checkpoint survive power loss. On `Err` the outcome is unknown until `open` has read
    /// it back.
    ///
    /// Errors: [`Retry::Fenced`](crate::Retry::Fenced) if another owner has taken the lane.
    async fn commit(&mut self, at: CommitPoint<'_>) -> Result<()>;

    /// Opens a view of the lane's rows as of the last commit.
    ///
    /// Called: on an open destination with nothing accepted since its last commit. The view has connections of its own, and
    /// the lane goes on writing while it is read.
    ///
    /// Errors: leave the destination as it is. `E0604` from one that cannot read back.
    async fn read_back(&mut self) -> Result<Box<dyn StoredView>> {
        Err(Error::new(
            "E0604",
            Retry::Operator,
            "cannot read back: this connector does not read what it wrote",
        ))
    }

    /// Lets go of the system. What was not committed is void.
    async fn close(self: Box<Self>) -> Result<()>;

    /// Removes what this destination stores about the lane (ledger, staged files), but no rows; says what it removed.
    /// Idempotent.
    async fn forget(&mut self, _lane: &Lane) -> Result<Vec<String>> {
        Ok(Vec::new())
    }
}
