//! The status as it is sent, with only what is shown. Unknown fields are passed over, so that a newer process can be asked.

use std::collections::BTreeMap;

use serde::Deserialize;

/// A pipeline.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Pipeline {
    pub(crate) pipeline: String,
    pub(crate) state: String,
    pub(crate) up_seconds: f64,
    pub(crate) source: Source,
    pub(crate) destinations: Vec<Destination>,
    #[serde(default)]
    pub(crate) streams: Vec<Stream>,
    #[serde(default)]
    pub(crate) spool: Spool,
    #[serde(default)]
    pub(crate) trouble: Option<Trouble>,
}

/// A source.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Source {
    pub(crate) connector: String,
    #[serde(default)]
    pub(crate) head: BTreeMap<String, String>,
    #[serde(default)]
    pub(crate) slot: Option<Slot>,
    #[serde(default)]
    pub(crate) rows_per_second: f64,
}

/// What the source's system keeps the log by.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Slot {
    pub(crate) name: String,
    pub(crate) is_active: bool,
    pub(crate) retained_bytes: u64,
    #[serde(default)]
    pub(crate) safe_bytes: Option<u64>,
    #[serde(default)]
    pub(crate) acknowledged: Option<String>,
    #[serde(default)]
    pub(crate) received: Option<String>,
}

/// A destination.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Destination {
    pub(crate) destination: String,
    pub(crate) connector: String,
    pub(crate) state: String,
    pub(crate) lag_seconds: Option<f64>,
    #[serde(default)]
    pub(crate) lag_rows: Option<u64>,
    #[serde(default)]
    pub(crate) lag_bytes: Option<u64>,
    #[serde(default)]
    pub(crate) durable: BTreeMap<String, String>,
    #[serde(default)]
    pub(crate) rows: u64,
    #[serde(default)]
    pub(crate) rows_per_second: f64,
    #[serde(default)]
    pub(crate) errors: u64,
    #[serde(default)]
    pub(crate) trouble: Option<Trouble>,
}

/// A stream.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Stream {
    pub(crate) stream: String,
    #[serde(default)]
    pub(crate) destinations: BTreeMap<String, String>,
    #[serde(default)]
    pub(crate) read: Option<Read>,
}

/// A read of existing rows.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Read {
    pub(crate) rows: u64,
    #[serde(default)]
    pub(crate) bytes: u64,
    #[serde(default)]
    pub(crate) rows_estimated: Option<u64>,
    #[serde(default)]
    pub(crate) progress_ratio: Option<f64>,
    #[serde(default)]
    pub(crate) remaining_seconds: Option<f64>,
}

/// The spool.
#[derive(Debug, Clone, Default, Deserialize)]
pub(crate) struct Spool {
    #[serde(default)]
    pub(crate) held_by: Option<String>,
    #[serde(default)]
    pub(crate) window_max_bytes: u64,
}

/// A failure.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Trouble {
    pub(crate) code: String,
    pub(crate) error: String,
    #[serde(default)]
    pub(crate) hint: Option<String>,
    pub(crate) attempt: u32,
    #[serde(default)]
    pub(crate) next_try_seconds: Option<f64>,
}

impl Pipeline {
    /// Whether somebody should look.
    pub(crate) fn is_well(&self) -> bool {
        let is_going = !matches!(self.state.as_str(), "degraded" | "failed");
        is_going && self.trouble.is_none() && self.destinations.iter().all(Destination::is_well)
    }
}

impl Destination {
    pub(crate) fn is_well(&self) -> bool {
        matches!(self.state.as_str(), "starting" | "reading" | "live" | "stopped")
    }
}
