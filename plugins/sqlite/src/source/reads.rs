//! Reads of existing rows that are going on: which pages are out, and in which page a key falls.

use model::{DestinationId, Page, Partition, StreamId};

use super::position::Bound;

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
    /// The last page that every destination of the read holds, and where it ends.
    done: Option<(u32, Bound)>,
    /// Ends of pages, ascending in both: those that were read in this process, and those that destinations told of. A page
    /// that is read again must end where a destination says that it ended.
    bounds: Vec<(u32, Bound)>,
    pub(crate) row_count: u64,
    pub(crate) row_count_estimated: Option<u64>,
    /// For a stream in one window: whether its copy was made, and up to which row of it is out.
    pub(crate) copied: Option<i64>,
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
    pub(crate) fn new(stream: StreamId, run: u32, cut: Cut) -> Self {
        Read {
            stream,
            run,
            cut,
            done: None,
            bounds: Vec::new(),
            row_count: 0,
            row_count_estimated: None,
            copied: None,
        }
    }

    /// Goes on with a read of which destinations hold pages: for each the number of its last page and that page's end,
    /// `None` for one that holds none yet.
    pub(crate) fn resume(stream: StreamId, run: u32, cut: Cut, held: Vec<Option<(u32, Bound)>>) -> Self {
        let mut read = Read::new(stream, run, cut);
        let everyone_holds_some = held.iter().all(Option::is_some);
        let mut bounds: Vec<(u32, Bound)> = held.into_iter().flatten().collect();
        bounds.sort();
        bounds.dedup_by_key(|(page, _)| *page);
        read.done = if everyone_holds_some {
            bounds.first().cloned()
        } else {
            None
        };
        read.bounds = bounds;
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

    /// The page that was asked for is out, and ends here.
    pub(crate) fn page_is_out(&mut self, number: u32, end: Bound, rows: u64) {
        self.row_count += rows;
        if let Err(at) = self.bounds.binary_search_by_key(&number, |(page, _)| *page) {
            self.bounds.insert(at, (number, end.clone()));
        }
        self.done = Some((number, end));
    }

    /// The page in which a key falls, which `compare` compares with a bound's key (bound against key).
    pub(crate) fn page_of(&self, is_below: impl Fn(&super::key::Key) -> bool) -> Page {
        if self.cut == Cut::OneWindow {
            return Page::new(0, Page::UNREAD);
        }
        let at = self.bounds.partition_point(|(_, bound)| match bound {
            Bound::Key(key) => is_below(key),
            Bound::End => false,
        });
        Page::new(0, self.bounds.get(at).map_or(Page::UNREAD, |(page, _)| *page))
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
    use super::super::key::{Key, KeyValue};
    use super::*;

    fn end(v: i64) -> Bound {
        Bound::Key(Key(vec![KeyValue::Integer(v)]))
    }

    fn page_of(read: &Read, v: i64) -> u32 {
        read.page_of(|bound| *bound < Key(vec![KeyValue::Integer(v)])).number
    }

    #[test]
    fn pages_read_again_end_where_a_destination_holds_them() {
        let mut read = Read::resume(
            StreamId::new("t"),
            1,
            Cut::ByKey,
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
        read.page_is_out(4, end(42), 10);
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
        read.page_is_out(5, end(50), 10);
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
        let read = Read::resume(StreamId::new("t"), 1, Cut::ByKey, vec![Some((2, end(20))), None]);
        let next = read.next_page().expect("pages are missing");
        assert_eq!((next.number, next.after, next.must_reach), (1, None, false));
    }

    #[test]
    fn read_whose_last_page_is_held_by_all_is_complete() {
        let read = Read::resume(StreamId::new("t"), 1, Cut::ByKey, vec![Some((2, Bound::End))]);
        assert_eq!(read.next_page(), None);
        assert_eq!(page_of(&read, 7), 2);
    }
}
