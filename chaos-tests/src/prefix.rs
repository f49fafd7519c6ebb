//! Whether what a destination shows is a state that the source had: the one at the destination's own checkpoint.
//!
//! The invariant (the architecture's sections 1 and 9): a stream that is live has exactly the rows that it had at the source
//! after the transaction where the checkpoint's log mark lies, and that mark lies between transactions; a stream that is
//! being read has some of those rows and no others; a stream that is not held has none.

use std::cmp::Ordering;
use std::fmt;
use std::io;

use model::{Checkpoint, StreamState};

use crate::copy::Shown;
use crate::oracle::{Oracle, Place};
use crate::shop::{Key, Table};
use crate::state::State;
use crate::value::{Row, Value};
use crate::view::{TableView, View};

/// Something that must never be seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Violation {
    /// The checkpoint lies among the change rows of a transaction.
    Torn {
        /// The position.
        seq: i64,
        /// The transaction that is shown in part.
        transaction: u64,
    },
    /// The checkpoint was further before.
    WentBack {
        /// How far it was.
        from: u64,
        /// How far it is.
        to: u64,
    },
    /// A row that the source had is not there.
    Lost(Table, Key),
    /// A row is there more often than at the source.
    Doubled(Table, Key),
    /// A row is there that the source did not have at that point: it came too early, or was deleted.
    Unexpected(Table, Key),
    /// A row has another value than at the source.
    Differs {
        /// The table.
        table: Table,
        /// The row.
        key: Key,
        /// The column.
        column: String,
        /// What is there.
        found: Value,
        /// What the source had.
        expected: Value,
    },
    /// A file or manifest that should not be there, or is not what its manifest says.
    Files(String),
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Violation::Torn { seq, transaction } => {
                write!(f, "torn: the checkpoint is at {seq}, inside transaction {transaction}")
            }
            Violation::WentBack { from, to } => write!(f, "went back: from transaction {from} to {to}"),
            Violation::Lost(table, key) => write!(f, "lost: {table} {key:?}"),
            Violation::Doubled(table, key) => write!(f, "doubled: {table} {key:?}"),
            Violation::Unexpected(table, key) => write!(f, "unexpected: {table} {key:?}"),
            Violation::Differs {
                table,
                key,
                column,
                found,
                expected,
            } => {
                write!(
                    f,
                    "differs: {table} {key:?} has {column} {found:?}, expected {expected:?}"
                )
            }
            Violation::Files(what) => write!(f, "files: {what}"),
        }
    }
}

/// What a check found.
#[derive(Debug, Default)]
pub struct Verdict {
    /// The transaction after which the destination shows the source's state.
    pub transaction: u64,
    /// Whether every stream of the view is live.
    pub is_live: bool,
    /// What is wrong.
    pub violations: Vec<Violation>,
}

/// Checks one destination again and again, as it moves on.
pub struct PrefixChecker {
    view: View,
    transaction: u64,
    state: State,
}

impl PrefixChecker {
    /// A destination that holds nothing yet.
    pub fn new(view: View) -> Self {
        PrefixChecker {
            view,
            transaction: 0,
            state: State::default(),
        }
    }

    /// Which part of the source it should see.
    pub fn view(&self) -> &View {
        &self.view
    }

    /// Sees another part from now on.
    pub fn set_view(&mut self, view: View) {
        self.view = view;
    }

    /// Holds what is shown against the history.
    pub fn check(&mut self, shown: &Shown, oracle: &mut Oracle) -> io::Result<Verdict> {
        let mut verdict = Verdict::default();
        let place = log_seq(&shown.checkpoint)
            .map(|seq| Ok::<_, io::Error>((seq, oracle.place(seq)?)))
            .transpose()?;
        verdict.transaction = match place {
            None => 0,
            Some((_, Place::After(transaction))) => transaction,
            Some((seq, Place::Inside(transaction))) => {
                verdict.violations.push(Violation::Torn { seq, transaction });
                return Ok(verdict);
            }
        };
        if verdict.transaction < self.transaction {
            verdict.violations.push(Violation::WentBack {
                from: self.transaction,
                to: verdict.transaction,
            });
            (self.transaction, self.state) = (0, State::default());
        }
        oracle.advance(&mut self.state, self.transaction, verdict.transaction);
        self.transaction = verdict.transaction;
        verdict.is_live = true;
        for table in self.view.tables() {
            let held = Held::of(&shown.checkpoint, table.table());
            verdict.is_live &= held == Held::All;
            let found = shown.rows.get(&table.table()).map(Vec::as_slice).unwrap_or_default();
            compare(table, &self.state, found, held, &mut verdict.violations);
        }
        Ok(verdict)
    }
}

/// How much of a stream a checkpoint says is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// Nothing.
    None,
    /// Some pages.
    Some,
    /// Everything.
    All,
}

impl Held {
    /// What the checkpoint says of a table.
    pub fn of(checkpoint: &Checkpoint, table: Table) -> Held {
        let mut streams = checkpoint.streams.iter();
        match streams.find(|(stream, _)| stream.name() == table.name()) {
            None => Held::None,
            Some((_, StreamState::Reading { .. })) => Held::Some,
            Some((_, StreamState::Live { .. })) => Held::All,
        }
    }
}

/// The mark on the change log, if there is one. A mark inside a transaction lies before that transaction's own place.
pub fn log_seq(checkpoint: &Checkpoint) -> Option<i64> {
    checkpoint
        .log_marks()
        .map(|(_, position)| position.order.key() as i64 - i64::from(position.order.ordinal() > 0))
        .max()
}

/// Compares the rows found of one table with those that the source had.
pub fn compare(table: &TableView, state: &State, found: &[Row], held: Held, violations: &mut Vec<Violation>) {
    let mut found: Vec<(Key, &Row)> = found.iter().map(|row| (table.key(row), row)).collect();
    found.sort();
    let expected = state
        .rows(table.table())
        .filter_map(|(_, row)| table.row(row))
        .map(|row| (table.key(&row), row));
    let mut expected = expected.filter(|_| held != Held::None).peekable();
    let mut found = found.into_iter().peekable();
    let name = table.table();
    loop {
        let order = match (expected.peek(), found.peek()) {
            (None, None) => return,
            (None, Some(_)) => Ordering::Greater,
            (Some(_), None) => Ordering::Less,
            (Some((wanted, _)), Some((key, _))) => wanted.cmp(key),
        };
        let wanted = if order.is_le() { expected.next() } else { None };
        let seen = if order.is_ge() { found.next() } else { None };
        match (wanted, seen) {
            (Some((key, row)), Some((_, seen))) => {
                violations.extend(difference(table, &key, seen, &row));
                while found.next_if(|(next, _)| *next == key).is_some() {
                    violations.push(Violation::Doubled(name, key.clone()));
                }
            }
            (Some((key, _)), None) if held == Held::All => violations.push(Violation::Lost(name, key)),
            (Some(_), None) => {}
            (None, Some((key, _))) => violations.push(Violation::Unexpected(name, key)),
            (None, None) => return,
        }
    }
}

fn difference(table: &TableView, key: &Key, found: &Row, expected: &Row) -> Option<Violation> {
    let column = (0..expected.len()).find(|&i| found[i] != expected[i])?;
    Some(Violation::Differs {
        table: table.table(),
        key: key.clone(),
        column: table.columns().nth(column).unwrap_or_default().to_owned(),
        found: found[column].clone(),
        expected: expected[column].clone(),
    })
}
