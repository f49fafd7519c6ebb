//! Reads of existing rows that are going on: which pages are out, and in which page a key falls.

use std::time::{Duration, Instant};

use model::{DestinationId, Page, Partition, StreamId};

use super::key::KeyValue;
use super::position::Bound;

/// How a stream is cut. Stored with the stream's state, so that a resumed read goes on in the same way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cut {
    /// Page by page in key order, each page exact as of the window that it was read in.
    ByKey,
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
    /// What is stored with the stream's state: `k` or `w`, then oid and file of the table, each a big-endian 32-bit integer.
    pub(crate) fn encode(self, of: Incarnation) -> Vec<u8> {
        let cut: u8 = match self {
            Cut::ByKey => b'k',
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
    pub(crate) pages: Pages,
    pub(crate) row_count: u64,
    pub(crate) row_count_estimated: Option<u64>,
    /// Bytes handed out, as they lie in memory.
    pub(crate) byte_count: u64,
    /// When it began in this process.
    pub(crate) since: Instant,
    /// For whom; `None` for everyone.
    pub(crate) destinations: Option<Vec<DestinationId>>,
}

/// Where the pages of a read end, and which comes next.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pages {
    /// The last page that every destination of the read holds, and where it ends.
    done: Option<(u32, Bound)>,
    /// Ends of pages, ascending in both: those that were read in this process, and those that destinations told of. A page
    /// that is read again must end where a destination says that it ended.
    bounds: Vec<(u32, Bound)>,
}

impl Pages {
    /// The next page, or `None` if all are out.
    pub(crate) fn next(&self) -> Option<NextPage> {
        if matches!(self.done, Some((_, Bound::End))) {
            return None;
        }
        let (last, after) = match &self.done {
            Some((page, bound)) => (*page, Some(bound.clone())),
            None => (0, None),
        };
        let number = last + 1;
        let known = self.bounds.iter().find(|(page, _)| *page >= number);
        Some(NextPage {
            number,
            after,
            upto: known.map(|(_, bound)| bound.clone()),
            must_reach: known.is_some_and(|(page, _)| *page == number),
        })
    }

    /// The page that was asked for ends here.
    pub(crate) fn passed(&mut self, number: u32, end: Bound) {
        if let Err(at) = self.bounds.binary_search_by_key(&number, |(page, _)| *page) {
            self.bounds.insert(at, (number, end.clone()));
        }
        self.done = Some((number, end));
    }
}

/// The page that is to be read next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NextPage {
    pub(crate) number: u32,
    /// Its lower bound, exclusive; `None` at the beginning.
    pub(crate) after: Option<Bound>,
    /// Where it must end at the latest, because a destination holds a later page that ends there.
    pub(crate) upto: Option<Bound>,
    /// Whether it must reach `upto`, however many rows that takes: the next page is held by somebody already.
    pub(crate) must_reach: bool,
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
        let everyone_holds_some = held.iter().all(Option::is_some);
        let mut bounds: Vec<(u32, Bound)> = held.into_iter().flatten().collect();
        bounds.sort();
        bounds.dedup_by_key(|(page, _)| *page);
        read.pages.done = if everyone_holds_some {
            bounds.first().cloned()
        } else {
            None
        };
        read.pages.bounds = bounds;
        read
    }

    /// How long the rest takes at the mean rate until now.
    pub(crate) fn left(&self) -> Option<Duration> {
        let estimated = self.row_count_estimated? as f64;
        let read = self.row_count as f64;
        let left = (estimated - read) / read * self.since.elapsed().as_secs_f64();
        Duration::try_from_secs_f64(left).ok()
    }

    /// The same read once more, emptied first.
    pub(crate) fn into_request(self) -> Request {
        Request {
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
        if self.cut == Cut::OneWindow {
            return Page::new(0, Page::UNREAD);
        }
        let at = self.pages.bounds.partition_point(|(_, bound)| match bound {
            Bound::Key(end) => end.values.as_slice() < key,
            Bound::End => false,
        });
        Page::new(0, self.pages.bounds.get(at).map_or(Page::UNREAD, |(page, _)| *page))
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

#[cfg(test)]
mod tests {
    use super::super::key::Key;
    use super::*;

    const FILE: Incarnation = Incarnation { oid: 1, filenode: 2 };

    fn key(v: i64) -> Key {
        Key {
            values: vec![KeyValue::Integer(v)],
            texts: vec![v.to_string()],
        }
    }

    fn end(v: i64) -> Bound {
        Bound::Key(key(v))
    }

    fn page_of(read: &Read, v: i64) -> u32 {
        read.page_of(&[KeyValue::Integer(v)]).number
    }

    #[test]
    fn pages_read_again_end_where_a_destination_holds_them() {
        let mut read = Read::resume(
            StreamId::new("t"),
            1,
            Cut::ByKey,
            FILE,
            vec![Some((5, end(50))), Some((3, end(30)))],
        );
        let next = read.next_page().expect("pages are missing");
        assert_eq!(
            next,
            NextPage {
                number: 4,
                after: Some(end(30)),
                upto: Some(end(50)),
                must_reach: false
            }
        );
        assert_eq!(
            (
                page_of(&read, 30),
                page_of(&read, 31),
                page_of(&read, 50),
                page_of(&read, 51)
            ),
            (3, 5, 5, Page::UNREAD)
        );
        read.page_is_out(4, end(42));
        let next = read.next_page().expect("pages are missing");
        assert_eq!(
            next,
            NextPage {
                number: 5,
                after: Some(end(42)),
                upto: Some(end(50)),
                must_reach: true
            }
        );
        assert_eq!((page_of(&read, 42), page_of(&read, 43)), (4, 5));
        read.page_is_out(5, end(50));
        assert_eq!(
            read.next_page(),
            Some(NextPage {
                number: 6,
                after: Some(end(50)),
                upto: None,
                must_reach: false
            })
        );
    }

    #[test]
    fn read_begins_at_the_front_for_a_destination_that_holds_no_page() {
        let read = Read::resume(StreamId::new("t"), 1, Cut::ByKey, FILE, vec![Some((2, end(20))), None]);
        let next = read.next_page().expect("pages are missing");
        assert_eq!((next.number, next.after, next.must_reach), (1, None, false));
    }

    #[test]
    fn read_whose_last_page_is_held_by_all_is_complete() {
        let read = Read::resume(StreamId::new("t"), 1, Cut::ByKey, FILE, vec![Some((2, Bound::End))]);
        assert_eq!(read.next_page(), None);
        assert_eq!(page_of(&read, 7), 2);
    }

    #[test]
    fn cut_is_the_same_after_it_was_stored() {
        for cut in [Cut::ByKey, Cut::OneWindow] {
            assert_eq!(Cut::decode(&cut.encode(FILE)), Some((cut, FILE)));
        }
        assert_eq!(Cut::decode(b"k123"), None);
    }
}
