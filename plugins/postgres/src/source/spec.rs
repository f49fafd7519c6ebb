//! The source's part of the configuration.

use std::collections::BTreeMap;
use std::time::Duration;

use model::{PipelineId, StreamId};
use schemars::JsonSchema;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use crate::connect::ConnectSpec;

/// How a PostgreSQL database is read.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[schemars(title = "postgres source", extend("additionalProperties" = false))]
pub struct PostgresSourceSpec {
    /// The server and the database, and who reads it. The role needs REPLICATION, and SELECT on the tables.
    #[serde(flatten)]
    pub connect: ConnectSpec,
    /// Schemas whose tables are listed; all schemas of users if empty.
    #[serde(default)]
    pub schemas: Vec<String>,
    /// The publication that names the tables. Made for the pipeline, and kept in step with its streams, if not set:
    /// `highwater_<pipeline>`.
    #[serde(default)]
    #[schemars(example = &"highwater_shop")]
    pub publication: Option<String>,
    /// The replication slot that keeps the log for this pipeline: `highwater_<pipeline>` if not set. Lower-case letters,
    /// digits and `_`.
    #[serde(default)]
    #[schemars(regex(pattern = "^[a-z0-9_]{1,63}$"), example = &"highwater_shop")]
    pub slot: Option<String>,
    /// Whether Highwater makes the publication and the slot if they are missing, and adds tables to the publication. Without
    /// it a missing one is an error that shows the statement to run.
    #[serde(default = "yes")]
    pub create: bool,
    /// Whether the slot follows a failover to a standby (PostgreSQL 17 and later). Counts when the slot is made.
    #[serde(default)]
    pub failover: bool,
    /// Whether large transactions are sent while they run. They wait here until they commit, in memory and then in the scratch
    /// directory, so that less is left to send at the commit; otherwise they wait on the server's disk.
    #[serde(default)]
    pub streaming: bool,
    /// Passes on what applications write with `pg_logical_emit_message`, as a stream of its own. Not together with `streaming`.
    #[serde(default)]
    pub messages: Option<MessagesSpec>,
    /// How many connections read existing rows at the same time, from one snapshot.
    #[serde(default = "default_connections")]
    #[schemars(range(min = 1, max = 64))]
    pub connections: usize,
    /// In which order existing rows are read.
    #[serde(default)]
    pub read_order: ReadOrder,
    /// Rows of one page, at most, when existing rows are read; a page is no larger than a changeset.
    #[serde(default = "default_page_rows")]
    #[schemars(range(min = 1, max = 10_000_000))]
    pub page_rows: u64,
    /// How long pages are read from one snapshot of the database before a new one is taken. A longer one costs the database
    /// bloat and holds the changes of other streams back; a shorter one costs a wait for running transactions each time.
    #[serde(default = "default_window_max", deserialize_with = "duration")]
    #[schemars(with = "String", extend("x-unit" = "duration"), example = "60s")]
    pub window_max: Duration,
    /// How long to wait for transactions that were running when a snapshot is asked for, before it is tried again later.
    #[serde(default = "default_window_wait", deserialize_with = "duration")]
    #[schemars(with = "String", extend("x-unit" = "duration"), example = "5s")]
    pub window_wait: Duration,
}

/// Which logical messages are passed on, and as which stream.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MessagesSpec {
    /// Those with one of these prefixes; one that ends in `*` means all that begin so. All messages if empty.
    #[serde(default)]
    pub prefixes: Vec<String>,
    /// What the stream is called.
    #[serde(default = "default_messages_stream")]
    #[schemars(length(min = 1))]
    pub stream: String,
}

impl Default for MessagesSpec {
    fn default() -> Self {
        MessagesSpec {
            prefixes: Vec::new(),
            stream: default_messages_stream(),
        }
    }
}

impl MessagesSpec {
    pub(crate) fn stream_id(&self) -> StreamId {
        StreamId::parse(&self.stream)
    }
}

/// No table of a schema has this id, because it has no schema.
fn default_messages_stream() -> String {
    "_messages".to_owned()
}

/// In which order existing rows are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ReadOrder {
    /// By key where keys lie about in order or the table is too large to be read again after a kill; else as it lies on disk.
    #[default]
    Auto,
    /// By key, page by page, wherever the order of the key can be told outside the server. A kill costs one page.
    Key,
    /// As it lies on disk: the fastest. Everything is read from one snapshot, and again after a kill.
    Disk,
}

fn yes() -> bool {
    true
}

/// Two saturate two cores of a server; with more than four the network or the destination is the limit.
fn default_connections() -> usize {
    4
}

fn default_page_rows() -> u64 {
    50_000
}

fn default_window_max() -> Duration {
    Duration::from_secs(60)
}

fn default_window_wait() -> Duration {
    Duration::from_secs(5)
}

/// `500ms`, `5s`, `1m`.
fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse::<jiff::SignedDuration>()
        .ok()
        .and_then(|duration| Duration::try_from(duration).ok())
        .filter(|duration| !duration.is_zero())
        .ok_or_else(|| {
            D::Error::custom(format!(
                "`{text}` is no duration: write a number and a unit, such as `500ms`"
            ))
        })
}

/// What the pipeline's slot and publication are called.
#[derive(Debug, Clone)]
pub(crate) struct Names {
    pub(crate) pipeline: String,
    pub(crate) slot: String,
    pub(crate) publication: String,
    /// The slots of other pipelines of the configuration, as they are called unless their specs say otherwise.
    pub(crate) slots_of_others: BTreeMap<String, PipelineId>,
}

impl Names {
    pub(crate) fn new(spec: &PostgresSourceSpec, pipeline: &str) -> Self {
        Self::among(spec, pipeline, &[])
    }

    /// With the slots of other pipelines in mind.
    pub(crate) fn among(spec: &PostgresSourceSpec, pipeline: &str, configured: &[PipelineId]) -> Self {
        let own = own_name(pipeline);
        Names {
            pipeline: pipeline.to_owned(),
            slot: spec.slot.clone().unwrap_or_else(|| own.clone()),
            publication: spec.publication.clone().unwrap_or(own),
            slots_of_others: configured
                .iter()
                .filter(|other| other.as_str() != pipeline)
                .map(|other| (own_name(other.as_str()), other.clone()))
                .collect(),
        }
    }

    /// Whether we made up the name of the publication, so that it is ours to keep in step.
    pub(crate) fn is_own_publication(&self) -> bool {
        self.publication == own_name(&self.pipeline)
    }
}

/// `highwater_` and the pipeline's name in what a slot's name may be made of. Where that loses something, a hash tells
/// apart what would look the same.
fn own_name(pipeline: &str) -> String {
    const LEN_MAX: usize = 63;
    let plain: String = pipeline
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() {
                c.to_ascii_lowercase()
            } else {
                '_'
            }
        })
        .collect();
    let name = format!("highwater_{plain}");
    if plain == pipeline && name.len() <= LEN_MAX {
        return name;
    }
    let hash = xxhash_rust::xxh3::xxh3_64(pipeline.as_bytes()) as u32;
    let room = LEN_MAX - 9;
    format!("{}_{hash:08x}", name.get(..room).unwrap_or(&name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_different_pipelines_differ_and_fit() {
        assert_eq!(own_name("shop"), "highwater_shop");
        assert_ne!(own_name("Shop"), own_name("shop"));
        assert_ne!(own_name("a-b"), own_name("a_b"));
        let long = own_name(&"x".repeat(100));
        assert_eq!(long.len(), 63);
        assert_ne!(long, own_name(&"x".repeat(101)));
    }
}
