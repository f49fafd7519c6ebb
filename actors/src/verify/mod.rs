//! Comparing source and destinations at one position while everything runs.
//!
//! ```text
//! pipeline    a number for a marker; every destination that takes part is noted under it
//! source      opens a view, and emits the marker exactly at the view's place
//! lanes       each, when the marker comes by: commits, opens a view of what it wrote, goes on
//! comparing   on a thread of its own: buckets first, then the rows of buckets that differ
//! ```
//!
//! Invariants:
//! - no lane waits for another one, and none for the comparing: what a lane does for it is one early commit;
//! - a flow that starts again, and a lane that fails, give up the markers that they have not passed;
//! - both sides are read from snapshots, so what is read twice is the same twice.

mod compare;
mod markers;
mod work;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use model::{DestinationId, Difference, StreamId};
use serde::{Deserialize, Serialize};

pub(crate) use markers::{Arrived, Markers};
pub(crate) use work::{Part, Work};

/// A request to compare what the source has with what destinations hold.
#[derive(Debug, Clone, Default)]
pub struct Verify {
    /// Streams; empty for all.
    pub streams: Vec<StreamId>,
    /// Destinations; empty for all that can be read back.
    pub destinations: Vec<DestinationId>,
    /// The share of keys that are compared, in `(0, 1]`; `None` for all. Every row is read all the same.
    pub sample: Option<f64>,
    /// Rows read in a second, at source and destinations together; `None` for as fast as can be.
    pub rows_per_second: Option<f64>,
}

/// What came of it.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq)]
pub struct Verified {
    /// The pipeline.
    pub pipeline: String,
    /// The position at which it was compared: the order in each log.
    pub position: BTreeMap<String, String>,
    /// One for each stream and destination.
    pub comparisons: Vec<Comparison>,
    /// The share of keys that were compared, if not all.
    pub sample: Option<f64>,
    /// How long it took.
    pub elapsed_seconds: f64,
}

impl Verified {
    /// Whether everything that was compared is equal.
    pub fn is_equal(&self) -> bool {
        self.comparisons
            .iter()
            .all(|comparison| comparison.outcome != ComparedAs::Different)
    }
}

/// What a comparison said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ComparedAs {
    /// Every row is the same.
    Equal,
    /// Some are not.
    Different,
    /// They were not compared; the reason says why.
    NotCompared,
}

/// One stream at one destination.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq)]
pub struct Comparison {
    /// The stream.
    pub stream: String,
    /// The destination.
    pub destination: String,
    /// What came of it.
    pub outcome: ComparedAs,
    /// Why it was not compared.
    pub reason: Option<String>,
    /// Rows that should be there.
    pub source_rows: u64,
    /// Rows that are.
    pub destination_rows: u64,
    /// How many parts the keys were compared in, ...
    pub buckets: u64,
    /// ... of which differ.
    pub buckets_different: u64,
    /// ... of which were looked into row by row; fewer than differ if they hold more rows than fit into memory.
    pub buckets_inspected: u64,
    /// Names of the key columns.
    pub key: Vec<String>,
    /// Columns that the destination does not have.
    pub columns_left_out: Vec<String>,
    /// The rows that differ, in the order of their keys; the first [`DIFFERENCES_MAX`].
    pub differences: Vec<Difference>,
    /// How many rows differ in the buckets that were inspected.
    pub difference_count: u64,
}

/// Differences that are named. More would be a resync's work, not a reader's.
pub const DIFFERENCES_MAX: usize = 10_000;

impl Comparison {
    pub(crate) fn new(stream: &StreamId, destination: &DestinationId) -> Self {
        Comparison {
            stream: stream.to_string(),
            destination: destination.to_string(),
            outcome: ComparedAs::Equal,
            reason: None,
            source_rows: 0,
            destination_rows: 0,
            buckets: 0,
            buckets_different: 0,
            buckets_inspected: 0,
            key: Vec::new(),
            columns_left_out: Vec::new(),
            differences: Vec::new(),
            difference_count: 0,
        }
    }

    pub(crate) fn not_compared(mut self, reason: impl Into<String>) -> Self {
        self.outcome = ComparedAs::NotCompared;
        self.reason = Some(reason.into());
        self
    }
}

/// How far a comparison is; shared with whoever watches.
#[derive(Debug, Default)]
pub struct VerifyProgress {
    source_rows: AtomicU64,
    destination_rows: AtomicU64,
    doing: Mutex<String>,
}

impl VerifyProgress {
    /// Rows read at the source so far.
    pub fn source_rows(&self) -> u64 {
        self.source_rows.load(Ordering::Relaxed)
    }

    /// Rows read back so far.
    pub fn destination_rows(&self) -> u64 {
        self.destination_rows.load(Ordering::Relaxed)
    }

    /// What is being done: `waiting for replica to reach 17`, `comparing public.orders`.
    pub fn doing(&self) -> String {
        self.doing.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn say(&self, doing: impl Into<String>) {
        *self.doing.lock().unwrap_or_else(PoisonError::into_inner) = doing.into();
    }

    pub(crate) fn read_at_source(&self, rows: usize) {
        self.source_rows.fetch_add(rows as u64, Ordering::Relaxed);
    }

    pub(crate) fn read_back(&self, rows: usize) {
        self.destination_rows.fetch_add(rows as u64, Ordering::Relaxed);
    }
}

/// How far a comparison is, shared.
pub type SharedProgress = Arc<VerifyProgress>;
