//! For sources that read existing rows in key order: where pages end, which comes next, and in which one a key falls.

use model::{Page, Position};

/// A key by which pages are cut. Its order must be the system's own.
pub trait PageKey: Clone + Ord {
    /// What is stored in a checkpoint.
    fn encode(&self) -> Vec<u8>;

    /// Reads what [`encode`](Self::encode) made; `None` for anything else.
    fn decode(bytes: &[u8]) -> Option<Self>;
}

/// Where a page ends.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Bound<K> {
    /// With this key, inclusive.
    Key(K),
    /// Nowhere: it was the last.
    End,
}

impl<K: PageKey> Bound<K> {
    /// The position of a range whose last whole page has this number and ends here. The token is `k` and the key, or `e`.
    pub fn position(&self, page: u32) -> Position {
        let token = match self {
            Bound::Key(key) => [b"k", key.encode().as_slice()].concat(),
            Bound::End => b"e".to_vec(),
        };
        Position::with_token(Page::new(0, page).order(), token)
    }

    /// The page number and bound of a range's position; `None` if its token is not one of these.
    pub fn of(position: &Position) -> Option<(u32, Self)> {
        let page = u32::try_from(position.order.key()).ok();
        let bound = match position.token.split_first() {
            Some((b'k', key)) => K::decode(key).map(Bound::Key),
            Some((b'e', [])) => Some(Bound::End),
            _ => None,
        };
        page.zip(bound)
    }
}

/// Where the pages of a read end, and which comes next.
#[derive(Debug, Clone)]
pub struct Pages<K> {
    /// The last page that every destination of the read holds, and where it ends.
    done: Option<(u32, Bound<K>)>,
    /// Ends of pages, ascending in both: those that were read in this process, and those that destinations told of. A page
    /// that is read again must end where a destination says that it ended.
    bounds: Vec<(u32, Bound<K>)>,
}

/// The page that is to be read next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NextPage<K> {
    /// Its number.
    pub number: u32,
    /// Its lower bound, exclusive; `None` at the beginning.
    pub after: Option<Bound<K>>,
    /// Where it must end at the latest, because a destination holds a later page that ends there.
    pub upto: Option<Bound<K>>,
    /// Whether it must reach `upto`, however many rows that takes: the next page is held by somebody already.
    pub must_reach: bool,
}

impl<K> Default for Pages<K> {
    fn default() -> Self {
        Pages {
            done: None,
            bounds: Vec::new(),
        }
    }
}

impl<K: Clone + Ord> Pages<K> {
    /// Goes on with a read of which destinations hold pages: for each the number of its last page and that page's end,
    /// `None` for one that holds none yet.
    pub fn resume(held: Vec<Option<(u32, Bound<K>)>>) -> Self {
        let everyone_holds_some = held.iter().all(Option::is_some);
        let mut bounds: Vec<(u32, Bound<K>)> = held.into_iter().flatten().collect();
        bounds.sort();
        bounds.dedup_by_key(|(page, _)| *page);
        Pages {
            done: bounds.first().filter(|_| everyone_holds_some).cloned(),
            bounds,
        }
    }

    /// The next page, or `None` if all are out.
    pub fn next(&self) -> Option<NextPage<K>> {
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
    pub fn passed(&mut self, number: u32, end: Bound<K>) {
        if let Err(at) = self.bounds.binary_search_by_key(&number, |(page, _)| *page) {
            self.bounds.insert(at, (number, end.clone()));
        }
        self.done = Some((number, end));
    }

    /// The page in which a key falls; `is_below` says whether a page's last key is below it.
    pub fn page_of(&self, is_below: impl Fn(&K) -> bool) -> Page {
        let at = self.bounds.partition_point(|(_, bound)| match bound {
            Bound::Key(key) => is_below(key),
            Bound::End => false,
        });
        Page::new(0, self.bounds.get(at).map_or(Page::UNREAD, |(page, _)| *page))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl PageKey for i64 {
        fn encode(&self) -> Vec<u8> {
            self.to_be_bytes().to_vec()
        }

        fn decode(bytes: &[u8]) -> Option<Self> {
            bytes.try_into().ok().map(i64::from_be_bytes)
        }
    }

    fn page_of(pages: &Pages<i64>, key: i64) -> u32 {
        pages.page_of(|end| *end < key).number
    }

    #[test]
    fn pages_read_again_end_where_a_destination_holds_them() {
        let end = Bound::Key;
        let mut pages = Pages::resume(vec![Some((5, end(50))), Some((3, end(30)))]);
        let next = |number, after, upto, must_reach| {
            Some(NextPage {
                number,
                after: Some(end(after)),
                upto,
                must_reach,
            })
        };
        assert_eq!(pages.next(), next(4, 30, Some(end(50)), false));
        assert_eq!(
            [30, 31, 50, 51].map(|key| page_of(&pages, key)),
            [3, 5, 5, Page::UNREAD]
        );
        pages.passed(4, end(42));
        assert_eq!(pages.next(), next(5, 42, Some(end(50)), true));
        assert_eq!([42, 43].map(|key| page_of(&pages, key)), [4, 5]);
        pages.passed(5, end(50));
        assert_eq!(pages.next(), next(6, 50, None, false));
    }

    #[test]
    fn read_begins_at_the_front_for_a_destination_that_holds_no_page() {
        let pages = Pages::resume(vec![Some((2, Bound::Key(20))), None]);
        let next = pages.next().expect("pages are missing");
        assert_eq!((next.number, next.after, next.must_reach), (1, None, false));
    }

    #[test]
    fn read_whose_last_page_is_held_by_all_is_complete() {
        let pages = Pages::<i64>::resume(vec![Some((2, Bound::End))]);
        assert_eq!(pages.next(), None);
        assert_eq!(page_of(&pages, 7), 2);
    }

    #[test]
    fn bound_is_the_same_after_it_was_stored_and_nothing_else_is_one() {
        for bound in [Bound::Key(7), Bound::End] {
            assert_eq!(Bound::of(&bound.position(3)), Some((3, bound)));
        }
        for token in [&b""[..], b"k", b"x", b"e1"] {
            let position = Position::with_token(Page::new(0, 3).order(), token.to_vec());
            assert_eq!(Bound::<i64>::of(&position), None, "{token:?}");
        }
    }
}
