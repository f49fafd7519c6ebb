use schemars::JsonSchema;
use serde::Deserialize;

use crate::connect::ConnectSpec;

/// What `spec` holds for a PostgreSQL destination, beside the fields that say how to reach the server.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[schemars(extend("additionalProperties" = false))]
pub struct PostgresDestinationSpec {
    /// How to reach the server.
    #[serde(flatten)]
    pub connect: ConnectSpec,
    /// The schema that every table is written to. Without it each stream keeps the schema of its own name, and a stream
    /// without one goes to `public`. A schema that is missing is created.
    #[serde(default)]
    #[schemars(example = &"shop")]
    pub schema: Option<String>,
    /// The name of a stream's table; `{schema}` and `{name}` stand for the parts of the stream's name.
    #[serde(default = "default_table")]
    #[schemars(example = &"{schema}_{name}")]
    pub table: String,
    /// How durable a commit is on the server before it counts. `off` is not among the values: the source forgets what was
    /// acknowledged.
    #[serde(default)]
    pub synchronous_commit: SynchronousCommit,
    /// What the triggers of a target table do while we write.
    #[serde(default)]
    pub triggers: Triggers,
    /// What stands between us and the server.
    #[serde(default)]
    pub pooler: Pooler,
}

/// PostgreSQL's `synchronous_commit`, for the transactions of a destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SynchronousCommit {
    /// Flushed here, and by the synchronous standbys where there are any.
    #[default]
    On,
    /// Also visible to readers of the synchronous standbys.
    RemoteApply,
    /// Flushed here, and written by the synchronous standbys.
    RemoteWrite,
    /// Flushed here.
    Local,
}

impl SynchronousCommit {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            SynchronousCommit::On => "on",
            SynchronousCommit::RemoteApply => "remote_apply",
            SynchronousCommit::RemoteWrite => "remote_write",
            SynchronousCommit::Local => "local",
        }
    }
}

/// What becomes of triggers, and of foreign keys, which PostgreSQL checks by triggers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Triggers {
    /// A table with a trigger of yours is refused; foreign keys must be deferrable.
    #[default]
    Refuse,
    /// They fire for what we write; foreign keys must be deferrable.
    Fire,
    /// They do not fire and foreign keys are not checked, as under PostgreSQL's own subscriptions. Needs the right to set
    /// `session_replication_role`.
    Skip,
}

/// What stands between us and the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Pooler {
    /// Nothing, or a pooler that gives a session one server connection for its whole life.
    #[default]
    None,
    /// A pooler that may give each transaction another server connection. Nothing is kept between transactions then, also no
    /// session lock: a second runtime is not refused, it fences the first.
    Transaction,
}

fn default_table() -> String {
    "{name}".to_owned()
}
