//! Reading both ends of a pipeline as of one place in the source's log, so that they can be compared while writers run.
//!
//! The runtime does it so:
//!
//! ```text
//! control.view(streams, marker)      // the reader emits the marker exactly at the view's place
//! at each lane, when the marker comes by: commit, then destination.read_back(), then go on
//! for each stream: view.begin, view.next ...     through the transformers, then stored.as_stored
//!                  stored.begin, stored.next ...
//! ```
//!
//! A view is a snapshot: what is read from it twice is the same twice. It is held for minutes where tables are large, which
//! keeps old versions of rows alive in its system; dropping it lets go.

use std::sync::Arc;

use arrow::array::RecordBatch;
use async_trait::async_trait;
use model::{Order, StreamId, StreamSchema};

use crate::Result;

/// The source's rows, exactly as of one place in its log.
#[async_trait]
pub trait SourceView: Send {
    /// The log, and the order of the view's place in it: where a destination stands that has taken the marker.
    fn at(&self) -> (Arc<str>, Order);

    /// Starts reading a stream from its first row; ends an earlier reading. Returns its shape at that place, or `None` if
    /// there is no such table.
    async fn begin(&mut self, stream: &StreamId) -> Result<Option<Arc<StreamSchema>>>;

    /// The next rows, in any order; `None` after the last. A batch is about [`VIEW_BATCH_BYTES`] large.
    ///
    /// Cancellation: the view is of no more use.
    async fn next(&mut self) -> Result<Option<RecordBatch>>;
}

/// About how large a batch of a view is: both sides, and a copy as the destination has it, are in memory at once.
pub const VIEW_BATCH_BYTES: usize = 1 << 20;

/// A destination's rows, exactly as of its last commit.
#[async_trait]
pub trait StoredView: Send {
    /// Starts reading a stream from its first row; ends an earlier reading. `schema` is what the stream has at this
    /// destination, behind all transformers.
    async fn begin(&mut self, schema: &Arc<StreamSchema>) -> Result<Stored>;

    /// The next rows, in any order, with exactly the columns that `begin` named; `None` after the last.
    ///
    /// Cancellation: the view is of no more use.
    async fn next(&mut self) -> Result<Option<RecordBatch>>;

    /// Rows of the stream that was begun, as `next` would give them if they lay here: the same columns, with values that
    /// [`Fingerprints`](model::Fingerprints) finds equal.
    fn as_stored(&self, rows: &RecordBatch) -> Result<RecordBatch>;
}

/// What a destination can say of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stored {
    /// Its rows can be compared by the columns with these indices in the schema. The key's are among them.
    Comparable(Vec<usize>),
    /// They cannot: one clause that says why (`it appends a row for each change`).
    Not(String),
}

/// What cannot be compared because of how a destination is configured; the clauses are the same for every connector.
pub fn not_comparable(write: crate::WriteMode, deletes: crate::Deletes) -> Option<String> {
    match (write, deletes) {
        (crate::WriteMode::Append, _) => Some("it has a row for each change (`write: append`)".to_owned()),
        (_, crate::Deletes::Ignore) => Some("it keeps rows that the source has deleted (`deletes: ignore`)".to_owned()),
        _ => None,
    }
}
