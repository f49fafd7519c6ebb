//! What the source went through: the state after each transaction, and which transaction a position of its change log
//! belongs to.

use std::io;
use std::path::PathBuf;

use crate::state::{Change, State};
use crate::workload::{Profile, Workload};
use crate::writer::{Lies, read_positions};

/// One change and the transaction that it belongs to.
#[derive(Clone, Debug)]
pub struct Event {
    /// The transaction.
    pub transaction: u64,
    /// The change.
    pub change: Change,
}

/// The source's whole history, from its seed; and the writer's notes.
pub struct Oracle {
    workload: Workload,
    events: Vec<Event>,
    /// `ends[n]` is how many events the first `n` transactions have.
    ends: Vec<usize>,
    places: Box<dyn Places>,
}

/// Knows where transactions lie in the source's change log.
pub trait Places {
    /// Where a position of the change log lies.
    fn place(&mut self, seq: i64) -> io::Result<Place>;

    /// The last transaction that the writer began to commit, 0 if it wrote none.
    fn last_written(&mut self) -> io::Result<u64>;
}

impl Oracle {
    /// The history of a profile whose writer notes positions at `log`.
    pub fn new(profile: Profile, log: impl Into<PathBuf>) -> Self {
        Self::with_places(
            profile,
            Positions {
                path: log.into(),
                known: Vec::new(),
            },
        )
    }

    /// The history of a profile, at a source where `places` knows positions.
    pub fn with_places(profile: Profile, places: impl Places + 'static) -> Self {
        Oracle {
            workload: Workload::new(profile),
            events: Vec::new(),
            ends: vec![0],
            places: Box::new(places),
        }
    }

    /// The changes of the transactions in `(after, until]`.
    pub fn events(&mut self, after: u64, until: u64) -> &[Event] {
        while self.workload.committed() < until {
            let transaction = self.workload.next_transaction();
            if transaction.is_rolled_back {
                continue;
            }
            let number = transaction.number;
            self.events.extend(transaction.changes.into_iter().map(|change| Event {
                transaction: number,
                change,
            }));
            self.ends.push(self.events.len());
        }
        &self.events[self.ends[after as usize]..self.ends[until as usize]]
    }

    /// Moves `state` from the end of transaction `from` to the end of `to`.
    pub fn advance(&mut self, state: &mut State, from: u64, to: u64) {
        for event in self.events(from, to) {
            state.apply(&event.change);
        }
    }

    /// The tables after a transaction.
    pub fn state_after(&mut self, transaction: u64) -> State {
        let mut state = State::default();
        self.advance(&mut state, 0, transaction);
        state
    }

    /// Where a position of the change log lies.
    pub fn place(&mut self, seq: i64) -> io::Result<Place> {
        self.places.place(seq)
    }

    /// The last transaction that the writer began to commit, if it wrote any.
    pub fn last_written(&mut self) -> io::Result<u64> {
        self.places.last_written()
    }
}

/// Where a position of the change log lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// After a transaction, and before the first change row of the next.
    After(u64),
    /// Among the change rows of a transaction: no consistent point.
    Inside(u64),
}

struct Positions {
    path: PathBuf,
    known: Vec<Lies>,
}

impl Places for Positions {
    fn place(&mut self, seq: i64) -> io::Result<Place> {
        self.refresh()?;
        Ok(self.place_of(seq))
    }

    fn last_written(&mut self) -> io::Result<u64> {
        self.refresh()?;
        Ok(self.known.last().map_or(0, |lies| lies.number))
    }
}

impl Positions {
    fn refresh(&mut self) -> io::Result<()> {
        // The last one may have been of a transaction that did not happen, and be written anew.
        self.known.pop();
        self.known.extend(read_positions(&self.path, self.known.len())?);
        Ok(())
    }

    fn place_of(&self, seq: i64) -> Place {
        // A change table that was forgotten and made again counts from 1: only its last life is looked at.
        let born = self
            .known
            .windows(2)
            .rposition(|pair| pair[1].after < pair[0].until)
            .map_or(0, |i| i + 1);
        let begun = born + self.known[born..].partition_point(|lies| lies.after < seq);
        match self.known[born..begun].last() {
            Some(last) if last.until > seq => Place::Inside(last.number),
            _ => Place::After(self.quiet_until(begun, seq)),
        }
    }

    /// Transactions before the first capture have no change rows, and lie at the same `seq` as each other.
    fn quiet_until(&self, mut index: usize, seq: i64) -> u64 {
        while self
            .known
            .get(index)
            .is_some_and(|lies| lies.after == seq && lies.until == seq)
        {
            index += 1;
        }
        index as u64
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn positions(known: &[(i64, i64)]) -> Positions {
        let known = known
            .iter()
            .zip(1..)
            .map(|(&(after, until), number)| Lies { number, after, until });
        Positions {
            path: PathBuf::new(),
            known: known.collect(),
        }
    }

    #[test]
    fn position_is_after_a_transaction_or_inside_one() {
        // Two transactions before capture; a mark of the source's own at 4; then two more.
        let positions = positions(&[(0, 0), (0, 0), (0, 3), (4, 6), (6, 9)]);
        let places: Vec<Place> = (0..=10).map(|seq| positions.place_of(seq)).collect();
        use Place::{After, Inside};
        let expected = [2, 0, 0, 3, 3, 0, 4, 0, 0, 5, 5].map(After);
        for (seq, place) in places.iter().enumerate() {
            match seq {
                1 | 2 => assert_eq!(*place, Inside(3)),
                5 => assert_eq!(*place, Inside(4)),
                7 | 8 => assert_eq!(*place, Inside(5)),
                _ => assert_eq!(*place, expected[seq], "{seq}"),
            }
        }
    }

    #[test]
    fn change_table_that_was_made_again_counts_anew() {
        let positions = positions(&[(0, 5), (5, 9), (0, 0), (0, 4)]);
        assert_eq!(positions.place_of(0), Place::After(3));
        assert_eq!(positions.place_of(2), Place::Inside(4));
        assert_eq!(positions.place_of(4), Place::After(4));
    }

    #[test]
    fn states_agree_however_they_are_reached() {
        let mut oracle = Oracle::new(Profile::small(5), "");
        let mut state = oracle.state_after(100);
        oracle.advance(&mut state, 100, 180);
        assert_eq!(state, oracle.state_after(180));
    }
}
