//! Whether an appending destination got each change once, in order: nothing lost, nothing doubled, nothing early.
//!
//! The rows of one key form a chain: what the source did to it, one after the other. A destination meets a key first in a
//! page of existing rows, or when it is inserted; from then on it must get every link, exactly once and in order, up to
//! its checkpoint. Keys that it never met must not exist when their stream becomes live. No two changes leave the same
//! row behind, because each writes a number of its own (`rev`), so a link is recognized by its values.

use std::collections::HashMap;
use std::io;

use model::Checkpoint;

use crate::oracle::{Oracle, Place};
use crate::prefix::{Held, Verdict, Violation, log_seq};
use crate::shop::{Key, Table};
use crate::value::Row;
use crate::view::{TableView, View};

/// One appended row.
#[derive(Clone, Debug)]
pub struct Appended {
    /// The table.
    pub table: Table,
    /// What happened.
    pub what: What,
    /// Columns whose value the source did not send: they are as they were.
    pub unsent: Vec<usize>,
}

/// What an appended row says.
#[derive(Clone, Debug)]
pub enum What {
    /// A row was there when its page was read.
    Read(Row),
    /// The row of a key was inserted or changed: how it is now.
    Is(Row),
    /// A row went: how it was.
    Gone(Row),
    /// The table is read again, or was emptied: what was appended of it no longer counts.
    StartsAnew,
}

/// Checks the commits of one appending destination, one after the other.
pub struct ChainChecker {
    view: View,
    transaction: u64,
    chains: HashMap<(Table, Key), Chain>,
    held: HashMap<Table, Held>,
    /// The row that went last: what an update that moved it to another key did not send is taken from there.
    moved: Option<Row>,
}

/// What happened to one key.
#[derive(Default)]
struct Chain {
    /// The row that each change left; `None` if it took the row away.
    links: Vec<Option<Row>>,
    /// How many links are covered: got, or older than the first that was.
    got: usize,
    /// Whether the destination ever got one.
    is_met: bool,
}

impl ChainChecker {
    /// A destination that holds nothing yet.
    pub fn new(view: View) -> Self {
        ChainChecker {
            view,
            transaction: 0,
            chains: HashMap::new(),
            held: HashMap::new(),
            moved: None,
        }
    }

    /// Which part of the source it should see.
    pub fn view(&self) -> &View {
        &self.view
    }

    /// Sees more tables from now on; whether there are any.
    pub fn widen(&mut self, view: View, oracle: &mut Oracle) -> bool {
        let added: Vec<Table> = view
            .tables()
            .map(TableView::table)
            .filter(|&table| self.view.of(table).is_none())
            .collect();
        self.view = view;
        self.link(0, self.transaction, oracle, |table| added.contains(&table));
        !added.is_empty()
    }

    fn forget(&mut self, table: Table) {
        for (_, chain) in self.chains.iter_mut().filter(|((of, _), _)| *of == table) {
            (chain.got, chain.is_met) = (0, false);
        }
        self.held.remove(&table);
    }

    /// Holds one commit against the history: its rows in the order in which they were appended, and the checkpoint after it.
    pub fn check(&mut self, rows: &[Appended], checkpoint: &Checkpoint, oracle: &mut Oracle) -> io::Result<Verdict> {
        let mut verdict = Verdict {
            transaction: self.transaction,
            ..Verdict::default()
        };
        if let Some(seq) = log_seq(checkpoint) {
            match oracle.place(seq)? {
                Place::After(transaction) => verdict.transaction = transaction,
                Place::Inside(transaction) => verdict.violations.push(Violation::Torn { seq, transaction }),
            }
        }
        if verdict.transaction < self.transaction {
            let (from, to) = (self.transaction, verdict.transaction);
            verdict.violations.push(Violation::WentBack { from, to });
            verdict.transaction = from;
        }
        let grown = self.grow(verdict.transaction, oracle);
        for row in rows {
            verdict.violations.extend(self.take(row));
        }
        verdict.is_live = true;
        let tables: Vec<Table> = self.view.tables().map(TableView::table).collect();
        for table in tables {
            let held = Held::of(checkpoint, table);
            let was = self.held.insert(table, held).unwrap_or(Held::None);
            verdict.is_live &= held == Held::All;
            match (was, held) {
                (Held::All, Held::All) => {
                    let of_table = grown.iter().filter(|(of, _)| *of == table);
                    verdict
                        .violations
                        .extend(of_table.filter_map(|key| self.check_complete(key, true)));
                }
                (_, Held::All) => {
                    let keys: Vec<(Table, Key)> = self.chains.keys().filter(|(of, _)| *of == table).cloned().collect();
                    verdict
                        .violations
                        .extend(keys.iter().filter_map(|key| self.check_complete(key, false)));
                }
                (_, _) => {
                    let of_table = grown.iter().filter(|(of, _)| *of == table);
                    let met: Vec<&(Table, Key)> = of_table
                        .filter(|key| self.chains.get(*key).is_some_and(|c| c.is_met))
                        .collect();
                    verdict
                        .violations
                        .extend(met.into_iter().filter_map(|key| self.check_complete(key, true)));
                }
            }
        }
        Ok(verdict)
    }

    /// Adds what the source did up to `transaction`; which keys that touched.
    fn grow(&mut self, transaction: u64, oracle: &mut Oracle) -> Vec<(Table, Key)> {
        let from = std::mem::replace(&mut self.transaction, transaction);
        self.link(from, transaction, oracle, |_| true)
    }

    /// Adds what the transactions in `(from, to]` did to some tables; which keys that touched.
    fn link(&mut self, from: u64, to: u64, oracle: &mut Oracle, is_meant: impl Fn(Table) -> bool) -> Vec<(Table, Key)> {
        let mut touched = Vec::new();
        let chains = &mut self.chains;
        let mut add = |table: Table, key: Key, row: Option<Row>| {
            chains.entry((table, key.clone())).or_default().links.push(row);
            touched.push((table, key));
        };
        for event in oracle.events(from, to) {
            let table = event.change.table;
            let Some(view) = self.view.of(table).filter(|_| is_meant(table)) else {
                continue;
            };
            let Some((before, after)) = view.change(&event.change) else {
                continue;
            };
            let before = before.map(|row| view.key(&row));
            let after = after.map(|row| (view.key(&row), row));
            let stays = before.as_ref() == after.as_ref().map(|(key, _)| key);
            if let Some(key) = before.filter(|_| !stays) {
                add(table, key, None);
            }
            if let Some((key, row)) = after {
                add(table, key, Some(row));
            }
        }
        touched
    }

    /// Finds the link that an appended row stands for, and steps onto it.
    fn take(&mut self, appended: &Appended) -> Option<Violation> {
        let table = appended.table;
        let (row, left, is_read) = match &appended.what {
            What::StartsAnew => {
                self.forget(table);
                return None;
            }
            What::Read(row) => (row, Some(row), true),
            What::Is(row) => (row, Some(row), false),
            What::Gone(row) => (row, None, false),
        };
        let key = self.view.of(table).map(|view| view.key(row)).unwrap_or_default();
        let row = &self.filled(row, &(table, key.clone()), &appended.unsent);
        let left = left.map(|_| row);
        self.moved = left.is_none().then(|| row.clone());
        let Some(chain) = self.chains.get_mut(&(table, key.clone())) else {
            return Some(Violation::Unexpected(table, key));
        };
        // A row that goes is appended as it was.
        let is_as_it_was = left.is_some() || chain.links[..chain.got].last() == Some(&Some(row.clone()));
        match chain.step(left, is_read) {
            Ok(()) => (!is_as_it_was).then_some(Violation::Unexpected(table, key)),
            Err(Misstep::Again) => Some(Violation::Doubled(table, key)),
            Err(Misstep::Over) => Some(Violation::Lost(table, key)),
            Err(Misstep::Nowhere) => Some(Violation::Unexpected(table, key)),
        }
    }

    /// The row with what was not sent as it was before.
    fn filled(&self, row: &Row, id: &(Table, Key), unsent: &[usize]) -> Row {
        let of_key = self
            .chains
            .get(id)
            .and_then(|chain| chain.links[..chain.got].last().cloned().flatten());
        let Some(before) = of_key.or_else(|| self.moved.clone()).filter(|_| !unsent.is_empty()) else {
            return row.clone();
        };
        let value = |at: usize| if unsent.contains(&at) { &before[at] } else { &row[at] };
        (0..row.len()).map(|at| value(at).clone()).collect()
    }

    fn check_complete(&self, id: &(Table, Key), was_live: bool) -> Option<Violation> {
        let chain = self.chains.get(id)?;
        let is_complete = match chain.is_met {
            true => chain.got == chain.links.len(),
            // Deleted before its page was read.
            false => !was_live && chain.links.last().is_none_or(Option::is_none),
        };
        (!is_complete).then(|| Violation::Lost(id.0, id.1.clone()))
    }
}

enum Misstep {
    /// The link was taken before.
    Again,
    /// The link is there, but others before it were not taken.
    Over,
    /// There is no such link.
    Nowhere,
}

impl Chain {
    /// Steps onto the next link, or for the first time onto the one that looks so.
    fn step(&mut self, left: Option<&Row>, is_read: bool) -> Result<(), Misstep> {
        let is_it = |link: &Option<Row>| link.as_ref() == left;
        let at = match self.is_met {
            false => self
                .links
                .iter()
                .rposition(is_it)
                .filter(|_| left.is_some())
                .ok_or(Misstep::Nowhere)?,
            true if !is_read && self.links.get(self.got).is_some_and(is_it) => self.got,
            true if is_read || (left.is_some() && self.links[..self.got].iter().any(is_it)) => {
                return Err(Misstep::Again);
            }
            true if self.links[self.got..].iter().any(is_it) => return Err(Misstep::Over),
            true => return Err(Misstep::Nowhere),
        };
        (self.got, self.is_met) = (at + 1, true);
        Ok(())
    }
}
