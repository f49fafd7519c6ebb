//! The result of reading a configuration: typed, checked against the connectors, and ready to build pipelines from.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;
use serde_json::Value;

use crate::choice::choices;

/// Everything that a configuration asks for. Exists only if nothing in it is wrong.
#[derive(Debug, Clone)]
pub struct Plan {
    /// What concerns the whole process.
    pub runtime: RuntimePlan,
    /// The pipelines, in the order in which they are written; names are unique.
    pub pipelines: Vec<PipelinePlan>,
}

impl Plan {
    /// The pipeline of this name.
    pub fn pipeline(&self, name: &str) -> Option<&PipelinePlan> {
        self.pipelines.iter().find(|pipeline| pipeline.name == name)
    }
}

/// The `runtime:` block.
#[derive(Debug, Clone)]
pub struct RuntimePlan {
    /// Where checkpoints are kept. As written; a relative path is relative to the working directory.
    pub state_path: PathBuf,
    /// The budget for everything in flight, all pipelines together.
    pub memory_limit_bytes: u64,
    /// Between each source and its destinations.
    pub spool: SpoolPlan,
    /// HTTP.
    pub admin: AdminPlan,
    /// Logging.
    pub log: LogPlan,
    /// How long a drain may take.
    pub shutdown_timeout: Duration,
    /// Whether metrics carry the stream's name.
    pub stream_labels: StreamLabels,
}

/// The `runtime.spool:` block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpoolPlan {
    /// What it is made of.
    pub home: SpoolHome,
    /// How far a pipeline's destinations may be apart, for each pipeline.
    pub window_max_bytes: u64,
}

/// The `runtime.admin:` block.
#[derive(Debug, Clone)]
pub struct AdminPlan {
    /// Where HTTP listens; `None` if it does not. Beyond loopback there is always a token.
    pub listen: Option<SocketAddr>,
    /// What a caller must present.
    pub token: Option<SecretString>,
    /// The Unix socket; `None` leaves it in the state directory.
    pub socket: Option<PathBuf>,
}

/// The `runtime.log:` block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogPlan {
    /// `None` is text at a terminal and JSON otherwise.
    pub format: Option<LogFormat>,
    /// What is logged.
    pub level: LogLevel,
}

/// One pipeline.
#[derive(Debug, Clone)]
pub struct PipelinePlan {
    /// Its name; a key in everything that is stored.
    pub name: String,
    /// Where it reads.
    pub source: SourcePlan,
    /// Applied before the spool, for all destinations, in this order.
    pub transformers: Vec<TransformerPlan>,
    /// Where it writes, at least one, in the order in which they are written; names are unique.
    pub destinations: Vec<DestinationPlan>,
}

/// The source of a pipeline.
#[derive(Debug, Clone)]
pub struct SourcePlan {
    /// The connector.
    pub connector: String,
    /// The connector's own part, checked against its schema.
    pub spec: Spec,
    /// Which streams, and which of their columns.
    pub streams: StreamSelection,
}

/// Which streams a pipeline carries.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StreamSelection {
    /// Names or patterns with `*` and `?`; at least one.
    pub include: Vec<String>,
    /// Names or patterns that are left out again.
    pub exclude: Vec<String>,
    /// By stream: which columns.
    pub columns: BTreeMap<String, ColumnSelection>,
    /// By stream: what is set otherwise than the source says.
    pub overrides: BTreeMap<String, StreamOverride>,
}

/// Which columns of a stream; both lists empty is all.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ColumnSelection {
    /// If not empty, only these.
    pub include: Vec<String>,
    /// Not these.
    pub exclude: Vec<String>,
}

/// What is set for one stream.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StreamOverride {
    /// The columns that identify a row, instead of the source's key.
    pub key: Option<Vec<String>>,
    /// Whether existing rows are read.
    pub snapshot: Option<Snapshot>,
    /// By column: the type it is carried in. The words are the source connector's.
    pub columns: BTreeMap<String, String>,
}

/// One transformer in a chain.
#[derive(Debug, Clone)]
pub struct TransformerPlan {
    /// Its name in messages and metrics; unique in its chain.
    pub name: String,
    /// The connector.
    pub connector: String,
    /// The connector's own part, checked against its schema.
    pub spec: Spec,
}

/// One destination of a pipeline.
#[derive(Debug, Clone)]
pub struct DestinationPlan {
    /// Its name, unique in the pipeline.
    pub name: String,
    /// The connector.
    pub connector: String,
    /// The connector's own part, checked against its schema.
    pub spec: Spec,
    /// How rows are written.
    pub write: WriteMode,
    /// What a deleted row becomes.
    pub deletes: Deletes,
    /// What a changed schema does; `None` applies what widens and pauses otherwise.
    pub on_schema_change: Option<OnSchemaChange>,
    /// How much it gathers before it commits.
    pub batch: Batch,
    /// How it tries again.
    pub retry: Retry,
    /// What happens when it falls out of the spool's window.
    pub when_behind: WhenBehind,
    /// Applied for this destination only, in this order.
    pub transformers: Vec<TransformerPlan>,
    /// What the connector promises, for `validate` and `status`.
    pub guarantee: String,
    /// What it may keep in memory beside what it was handed.
    pub buffer_bytes: u64,
}

/// How rows are written, after defaults.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WriteMode {
    /// Nothing was set: upsert where the stream has a key, else append.
    ByKey,
    /// As set, or all that the connector can do.
    Always(Write),
}

/// How much a destination gathers before it commits; what comes first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// Bytes in memory.
    pub bytes_max: u64,
    /// Rows.
    pub rows_max: u64,
    /// Time since the first row.
    pub wait_max: Duration,
}

impl Default for Batch {
    /// 8 MiB is several times what one write costs in fixed parts; 20 ms is below what anybody sees.
    fn default() -> Self {
        Self {
            bytes_max: 8 << 20,
            rows_max: 65_536,
            wait_max: Duration::from_millis(20),
        }
    }
}

impl Batch {
    /// For files and object stores, where a small object costs every reader: 128 MiB or a minute.
    pub fn for_files() -> Self {
        Self {
            bytes_max: 128 << 20,
            rows_max: u64::MAX,
            wait_max: Duration::from_secs(60),
        }
    }
}

/// How a destination tries again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retry {
    /// The first wait.
    pub backoff_min: Duration,
    /// The longest.
    pub backoff_max: Duration,
    /// After which it gives up; `None` never does.
    pub give_up_after: Option<Duration>,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            backoff_min: Duration::from_millis(200),
            backoff_max: Duration::from_secs(60),
            give_up_after: None,
        }
    }
}

/// A connector's own part of the configuration: what its schema wanted, in JSON.
///
/// Secrets in it are plain text for the connector's eyes; `Debug` and [`Spec::redacted`] show stars.
#[derive(Clone, PartialEq)]
pub struct Spec {
    value: Value,
    /// JSON pointers of the secrets.
    secrets: Vec<String>,
}

impl Spec {
    pub(crate) fn new(value: Value, secrets: Vec<String>) -> Self {
        Self { value, secrets }
    }

    /// The value, secrets included.
    pub fn value(&self) -> &Value {
        &self.value
    }

    /// The value with `***` for each secret.
    pub fn redacted(&self) -> Value {
        let mut value = self.value.clone();
        for secret in &self.secrets {
            if let Some(place) = value.pointer_mut(secret) {
                *place = Value::from(crate::secrets::STARS);
            }
        }
        value
    }
}

impl fmt::Debug for Spec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.redacted())
    }
}

choices! {
    /// How rows are written.
    pub enum Write {
        /// Every change becomes a row; nothing is ever changed or removed.
        Append = "append",
        /// The row with the same key is replaced.
        Upsert = "upsert",
        /// As `upsert`, and rows that vanished are removed after a resync.
        Mirror = "mirror",
    }
}

choices! {
    /// What a deleted row becomes.
    pub enum Deletes {
        /// It is deleted; an appending destination writes a row that says so.
        Apply = "apply",
        /// It stays, with `_highwater_deleted` set.
        Soft = "soft",
        /// It stays as it is.
        Ignore = "ignore",
    }
}

choices! {
    /// What a changed schema does.
    pub enum OnSchemaChange {
        /// The table is altered.
        Apply = "apply",
        /// A new table or folder begins.
        NewVersion = "new_version",
        /// The destination waits for somebody to decide.
        Pause = "pause",
        /// The old shape is kept, and what does not fit is left out.
        Ignore = "ignore",
    }
}

choices! {
    /// What happens when a destination falls out of the spool's window.
    pub enum WhenBehind {
        /// The others wait for it; nothing is read twice.
        Hold = "hold",
        /// It is let go, and caught up later by reading the source again.
        Rewind = "rewind",
    }
    later {
        "detach" => "use `rewind`, which lets a destination go as well; `detach` needs the disk spool, which does not exist yet",
    }
}

choices! {
    /// What the spool is made of.
    pub enum SpoolHome {
        /// A window in memory.
        Memory = "memory",
    }
    later {
        "disk" => "use `home: memory`; a destination that is behind holds the others there, or is rewound",
        "kafka" => "use `home: memory`",
    }
}

choices! {
    /// Whether existing rows of a stream are read.
    pub enum Snapshot {
        /// They are, once.
        Initial = "initial",
        /// Only changes are.
        Skip = "skip",
    }
}

choices! {
    /// How log lines look.
    pub enum LogFormat {
        /// For people.
        Text = "text",
        /// One JSON object a line.
        Json = "json",
    }
}

choices! {
    /// What is logged.
    pub enum LogLevel {
        /// Someone must act.
        Error = "error",
        /// We are coping; look soon.
        Warn = "warn",
        /// Lifecycle.
        Info = "info",
        /// Each batch.
        Debug = "debug",
        /// Protocols.
        Trace = "trace",
    }
}

choices! {
    /// Whether metrics carry the stream's name.
    pub enum StreamLabels {
        /// Up to 200 streams a pipeline, then `other`.
        Auto = "auto",
        /// Always.
        On = "on",
        /// Never.
        Off = "off",
    }
}
