//! Reads of existing rows that are going on: which pages are out, and in which page a key falls.

use std::time::{Duration, Instant};

use api::Pages;
use model::{DestinationId, Page, Partition, StreamId};

use super::key::{Key, KeyValue};
use super::position::Bound;

/// The page that is to be read next.
pub(crate) type NextPage = api::NextPage<Key>;

/// How a stream is cut. Stored with the stream's state, so that a resumed read goes on in the same way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cut {
    /// Page by page in key order, each page exact as of the window that it was read in.
    ByKey,
    /// Not at all: only what changes from now on.
    Nothing,
    /// All of it from one window, in the order in which it lies on disk; a kill starts it again.
    OneWindow,
}

/// Which file held a table when a read of it began. Rows of another one are other rows, whatever the log says: a rewrite is
/// not in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Incarnation {
    pub(crate) oid: u32,
    pub(crate) filenode: u32,
}

impl Cut {
    /// What is stored with the stream's state: `k`, `n` or `w`, then oid and file of the table, each a big-endian 32-bit integer.
    pub(crate) fn encode(self, of: Incarnation) -> Vec<u8> {
        let cut: u8 = match self {
            Cut::ByKey => b'k',
            Cut::Nothing => b'n',
            Cut::OneWindow => b'w',
        };
        let mut out = vec![cut];
        out.extend_from_slice(&of.oid.to_be_bytes());
        out.extend_from_slice(&of.filenode.to_be_bytes());
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<(Self, Incarnation)> {
        let (cut, rest) = bytes.split_first()?;
        let (oid, rest) = rest.split_first_chunk::<4>()?;
        let filenode: &[u8; 4] = rest.try_into().ok()?;
        let cut = match cut {
            b'k' => Cut::ByKey,
            b'n' => Cut::Nothing,
            b'w' => Cut::OneWindow,
            _ => return None,
        };
        let of = Incarnation {
            oid: u32::from_be_bytes(*oid),
            filenode: u32::from_be_bytes(*filenode),
        };
        Some((cut, of))
    }
}

/// One read of one stream.
#[derive(Debug)]
pub(crate) struct Read {
    pub(crate) stream: StreamId,
    pub(crate) run: u32,
    pub(crate) cut: Cut,
    pub(crate) of: Incarnation,
    pub(crate) pages: Pages<Key>,
    pub(crate) row_count: u64,
    pub(crate) row_count_estimated: Option<u64>,
    /// Bytes handed out, as they lie in memory.
    pub(crate) byte_count: u64,
    /// When it began in this process.
    pub(crate) since: Instant,
    /// For whom; `None` for everyone.
    pub(crate) destinations: Option<Vec<DestinationId>>,
}

impl Read {
    pub(crate) fn new(stream: StreamId, run: u32, cut: Cut, of: Incarnation) -> Self {
        Read {
            stream,
            run,
            cut,
            of,
            pages: Pages::default(),
            row_count: 0,
            row_count_estimated: None,
            byte_count: 0,
            since: Instant::now(),
            destinations: None,
        }
    }

    /// A read of no rows, which ends as it begins.
    pub(crate) fn of_nothing(stream: StreamId, run: u32) -> Self {
        let of = Incarnation { oid: 0, filenode: 0 };
        Read::resume(stream, run, Cut::Nothing, of, vec![Some((0, Bound::End))])
    }

    /// Goes on with a read of which destinations hold pages: for each the number of its last page and that page's end,
    /// `None` for one that holds none yet.
    pub(crate) fn resume(
        stream: StreamId,
        run: u32,
        cut: Cut,
        of: Incarnation,
        held: Vec<Option<(u32, Bound)>>,
    ) -> Self {
        let mut read = Read::new(stream, run, cut, of);
        read.pages = Pages::resume(held);
        read
    }

    /// How long the rest takes at the mean rate until now.
    pub(crate) fn left(&self) -> Option<Duration> {
        let estimated = self.row_count_estimated? as f64;
        let read = self.row_count as f64;
        let left = (estimated - read) / read * self.since.elapsed().as_secs_f64();
        Duration::try_from_secs_f64(left).ok()
    }

    /// Whether, `elapsed` after its window was opened, it is plain that it will not end within `window_max`.
    pub(crate) fn outlasts(&self, elapsed: Duration, window_max: Duration) -> bool {
        if elapsed >= window_max {
            return true;
        }
        // Before that the beginning says little of the rest; and only what is far off is begun again.
        let Some(estimated) = self.row_count_estimated.filter(|_| elapsed >= window_max / 4) else {
            return false;
        };
        let rate = self.row_count as f64 / elapsed.as_secs_f64();
        rate * window_max.as_secs_f64() * 1.5 < estimated as f64
    }

    /// The same read once more, emptied first.
    pub(crate) fn into_request(self) -> Request {
        Request {
            by_key: false,
            streams: vec![self.stream],
            destinations: self.destinations,
            empty_first: true,
            run: 0,
        }
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

    /// The page that was asked for is out, and ends here.
    pub(crate) fn page_is_out(&mut self, number: u32, end: Bound) {
        self.pages.passed(number, end);
    }

    /// The pages in which the keys of a change fall. A key that cannot be read falls in no page that was read.
    pub(crate) fn pages_of(&self, at: Option<&[KeyValue]>, before: Option<Option<&[KeyValue]>>) -> (Page, Page) {
        let page = |key: Option<&[KeyValue]>| key.map_or(Page::new(0, Page::UNREAD), |key| self.page_of(key));
        let at = page(at);
        (at, before.map_or(at, page))
    }

    /// The page in which a key falls.
    pub(crate) fn page_of(&self, key: &[KeyValue]) -> Page {
        match self.cut {
            Cut::ByKey => self.pages.page_of(|end| end.values.as_slice() < key),
            Cut::Nothing | Cut::OneWindow => Page::new(0, Page::UNREAD),
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
    /// By key wherever that is possible: in one window it took too long.
    pub(crate) by_key: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn read_outlasts_its_window_when_its_rate_says_so() {
        let mut read = Read::new(
            StreamId::new("t"),
            1,
            Cut::OneWindow,
            Incarnation { oid: 1, filenode: 2 },
        );
        let outlasts = |read: &Read, seconds| read.outlasts(Duration::from_secs(seconds), Duration::from_secs(60));
        assert!(outlasts(&read, 60));
        assert!(!outlasts(&read, 59), "nobody knows how much is left");
        (read.row_count, read.row_count_estimated) = (100, Some(1_000));
        assert!(!outlasts(&read, 10), "too early to say");
        assert!(outlasts(&read, 15));
        read.row_count = 200;
        assert!(!outlasts(&read, 15));
    }

    #[test]
    fn cut_is_the_same_after_it_was_stored() {
        let file = Incarnation { oid: 1, filenode: 2 };
        for cut in [Cut::ByKey, Cut::Nothing, Cut::OneWindow] {
            assert_eq!(Cut::decode(&cut.encode(file)), Some((cut, file)));
        }
        assert_eq!(Cut::decode(b"k123"), None);
    }
}
