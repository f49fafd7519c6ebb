//! Reads of existing rows that are going on: which pages are out, and in which page a key falls.

use std::sync::Arc;

use api::Pages;
use arrow::array::RecordBatch;
use model::{Batch, ChangeSet, Delta, DestinationId, Order, Page, Partition, StreamId};

use super::engine::now;
use super::key::Key;
use super::position::Bound;
use super::shape::StreamShape;

/// The page that is to be read next.
pub(crate) type NextPage = api::NextPage<Key>;

/// How a stream is cut. Stored with the stream's state, so that a resumed read goes on in the same way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cut {
    /// Page by page in key order, each page exact as of its own window.
    ByKey,
    /// All at once: everything is exact as of one window, and a kill starts it again.
    OneWindow,
}

impl Cut {
    pub(crate) fn encode(self) -> &'static [u8] {
        match self {
            Cut::ByKey => b"key",
            Cut::OneWindow => b"window",
        }
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        [Cut::ByKey, Cut::OneWindow]
            .into_iter()
            .find(|cut| cut.encode() == bytes)
    }
}

/// One read of one stream.
#[derive(Debug)]
pub(crate) struct Read {
    pub(crate) stream: StreamId,
    pub(crate) run: u32,
    pub(crate) cut: Cut,
    pub(crate) pages: Pages<Key>,
    pub(crate) row_count: u64,
    pub(crate) row_count_estimated: Option<u64>,
    /// For a stream in one window: whether its copy was made, and up to which row of it is out.
    pub(crate) copied: Option<i64>,
}

/// A page that was read and is to be handed on.
pub(crate) struct PageOut {
    /// Which of the reads.
    pub(crate) read: usize,
    pub(crate) number: u32,
    pub(crate) shape: Arc<StreamShape>,
    pub(crate) rows: RecordBatch,
    pub(crate) end: Bound,
}

impl Read {
    pub(crate) fn new(stream: StreamId, run: u32, cut: Cut) -> Self {
        Read {
            stream,
            run,
            cut,
            pages: Pages::default(),
            row_count: 0,
            row_count_estimated: None,
            copied: None,
        }
    }

    /// Goes on with a read of which destinations hold pages: for each the number of its last page and that page's end,
    /// `None` for one that holds none yet.
    pub(crate) fn resume(stream: StreamId, run: u32, cut: Cut, held: Vec<Option<(u32, Bound)>>) -> Self {
        let mut read = Read::new(stream, run, cut);
        read.pages = Pages::resume(held);
        read
    }

    pub(crate) fn partition(&self) -> Partition {
        Partition::Range {
            stream: self.stream.clone(),
            run: self.run,
            range: 0,
        }
    }

    /// The next page, or `None` if all are out.
    pub(crate) fn next_page(&self) -> Option<NextPage> {
        self.pages.next()
    }

    /// The page that was asked for, as a changeset; it is exact as of `window`.
    pub(crate) fn hand_out(&mut self, page: PageOut, window: Order) -> ChangeSet {
        let partition = self.partition();
        let from = (page.number > 1).then(|| Page::new(0, page.number - 1).order());
        let delta = Delta::of(partition.clone(), from, page.end.position(page.number));
        let count = page.rows.num_rows();
        self.row_count += count as u64;
        self.pages.passed(page.number, page.end);
        let batches = match count {
            0 => Vec::new(),
            _ => vec![Batch::of_page(
                partition,
                page.number,
                Arc::clone(&page.shape.schema),
                page.rows,
                window,
                now(),
            )],
        };
        ChangeSet::rows(delta, batches)
    }

    /// The page in which a key falls; `is_below` says whether a page's last key is below it.
    pub(crate) fn page_of(&self, is_below: impl Fn(&Key) -> bool) -> Page {
        match self.cut {
            Cut::ByKey => self.pages.page_of(is_below),
            Cut::OneWindow => Page::new(0, Page::UNREAD),
        }
    }
}

/// A request that waits for its `BeginRead`s.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) streams: Vec<StreamId>,
    pub(crate) destinations: Option<Vec<DestinationId>>,
    pub(crate) empty_first: bool,
    pub(crate) run: u32,
}
