//! Reads of existing rows: which pages are left, and the window that is open.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use model::{DestinationId, Page, StreamId, StreamSchema};
use serde_json::Value;

use super::{Key, State, key_of};

/// One numbered read.
pub(super) struct Read {
    pub(super) run: u32,
    pub(super) destinations: Option<Vec<DestinationId>>,
    pub(super) empty_first: bool,
    /// Streams whose `EndRead` was not emitted yet, in order.
    pub(super) streams: VecDeque<StreamRead>,
}

/// One stream of a read. Its one range is cut at fixed bounds.
pub(super) struct StreamRead {
    pub(super) schema: Arc<StreamSchema>,
    /// Upper bounds, inclusive, of all pages but the last; `None` until the read begins.
    pub(super) bounds: Option<Vec<Key>>,
    /// Pages that somebody lacks.
    pub(super) todo: BTreeSet<u32>,
    pub(super) row_count: u64,
    pub(super) is_skipped: bool,
}

/// Existing rows as of one position of the log.
pub(super) struct Window {
    pub(super) at: u64,
    pub(super) rows: BTreeMap<StreamId, Vec<Value>>,
    pub(super) pages_left: usize,
}

impl StreamRead {
    /// The page that a key falls in, once the read has begun.
    pub(super) fn page_of(&self, row: &Value) -> Page {
        let bounds = self.bounds.as_deref().unwrap_or_default();
        let key = key_of(&self.schema, row);
        Page::new(0, bounds.partition_point(|bound| *bound < key) as u32 + 1)
    }

    /// The bounds that cut these rows, in key order, into pages. An empty stream has one page without rows.
    pub(super) fn bounds_of(&self, rows: &[Value], page_rows: usize) -> Vec<Key> {
        let last_rows = rows.chunks(page_rows).filter_map(|page| page.last());
        let mut bounds: Vec<Key> = last_rows.map(|row| key_of(&self.schema, row)).collect();
        bounds.pop();
        bounds
    }
}

impl Window {
    /// A copy of the rows of every stream of the read, as they are now.
    pub(super) fn open(state: &State, read: &Read) -> Self {
        let rows = |stream: &StreamRead| {
            let id = stream.schema.stream();
            let rows = state
                .streams
                .get(id)
                .map(|table| table.rows.values().cloned().collect());
            (id.clone(), rows.unwrap_or_default())
        };
        Window {
            at: state.head,
            rows: read.streams.iter().map(rows).collect(),
            pages_left: state.pages_per_window,
        }
    }

    /// The rows of one page.
    pub(super) fn page(&self, stream: &StreamRead, number: u32) -> Vec<Value> {
        let rows = self.rows.get(stream.schema.stream()).map_or(&[][..], Vec::as_slice);
        rows.iter()
            .filter(|row| stream.page_of(row).number == number)
            .cloned()
            .collect()
    }
}
