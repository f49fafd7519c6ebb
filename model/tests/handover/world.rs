//! The source's database: what it is now, and every state that it had.

use std::collections::BTreeMap;
use std::sync::Arc;

use rand::Rng;

use crate::Rng8;

pub(crate) const TABLES: [&str; 3] = ["orders", "customers", "events"];
const KEY_COUNT: i64 = 24;

/// Key to value. Every write uses a value that nothing had before, so that an old version is never taken for a new one.
pub(crate) type Table = BTreeMap<i64, i64>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    Insert { new: (i64, i64) },
    Update { old: (i64, i64), new: (i64, i64) },
    Delete { old: (i64, i64) },
}

#[derive(Debug)]
pub(crate) enum Work {
    Rows(Vec<(usize, Change)>),
    Truncate(usize),
    /// Rows, then a truncate, then rows.
    Refill {
        before: Vec<(usize, Change)>,
        table: usize,
        after: Vec<(usize, Change)>,
    },
}

#[derive(Debug)]
pub(crate) struct Transaction {
    pub(crate) order: u64,
    pub(crate) work: Work,
}

pub(crate) struct World {
    pub(crate) log: Vec<Transaction>,
    /// The tables after each transaction; the first is the state before any.
    states: Vec<(u64, [Arc<Table>; 3])>,
    /// The source forgot the log up to here, because it was acknowledged.
    pub(crate) pruned: u64,
    next_value: i64,
}

impl World {
    pub(crate) fn new(rng: &mut Rng8) -> Self {
        let mut world = World {
            log: Vec::new(),
            states: Vec::new(),
            pruned: 0,
            next_value: 100,
        };
        let tables = [0; 3].map(|_| {
            let count = rng.random_range(0..12);
            let rows = (0..count).map(|_| (rng.random_range(0..KEY_COUNT), world.value()));
            Arc::new(rows.collect::<Table>())
        });
        world.states.push((1, tables));
        world
    }

    fn value(&mut self) -> i64 {
        self.next_value += 1;
        self.next_value
    }

    /// The newest order.
    pub(crate) fn head(&self) -> u64 {
        self.states.last().map_or(0, |&(order, _)| order)
    }

    /// The tables as of `order`.
    pub(crate) fn tables_at(&self, order: u64) -> &[Arc<Table>; 3] {
        let after = self.states.partition_point(|&(at, _)| at <= order);
        &self.states[after.saturating_sub(1)].1
    }

    /// The transactions after `order`.
    pub(crate) fn log_after(&self, order: u64) -> &[Transaction] {
        &self.log[self.log.partition_point(|transaction| transaction.order <= order)..]
    }

    pub(crate) fn commit_something(&mut self, rng: &mut Rng8) {
        let order = self.head() + rng.random_range(1..4);
        let mut tables = self.tables_at(self.head()).clone();
        let table = rng.random_range(0..3);
        let work = match rng.random_range(0..100) {
            0..2 => {
                tables[table] = Arc::new(Table::new());
                Work::Truncate(table)
            }
            2..5 => {
                let before = self.change_tables(rng, &mut tables, 0..3);
                tables[table] = Arc::new(Table::new());
                let after = self.change_tables(rng, &mut tables, 0..5);
                Work::Refill { before, table, after }
            }
            5..14 => Work::Rows(self.change_tables(rng, &mut tables, 6..14)),
            _ => Work::Rows(self.change_tables(rng, &mut tables, 1..5)),
        };
        self.states.push((order, tables));
        self.log.push(Transaction { order, work });
    }

    fn change_tables(
        &mut self,
        rng: &mut Rng8,
        tables: &mut [Arc<Table>; 3],
        count: std::ops::Range<usize>,
    ) -> Vec<(usize, Change)> {
        let mut changes = Vec::new();
        for _ in 0..rng.random_range(count) {
            let t = rng.random_range(0..3);
            let table = Arc::make_mut(&mut tables[t]);
            self.change_something(rng, table, |change| changes.push((t, change)));
        }
        changes
    }

    fn change_something(&mut self, rng: &mut Rng8, table: &mut Table, mut done: impl FnMut(Change)) {
        let key = rng.random_range(0..KEY_COUNT);
        let new = (key, self.value());
        let existing = table.range(key..).next().or_else(|| table.iter().next());
        let existing = existing.map(|(&key, &value)| (key, value));
        match (existing, rng.random_range(0..10)) {
            (Some(old), 0..3) => {
                let new = (old.0, new.1);
                table.insert(new.0, new.1);
                done(Change::Update { old, new });
            }
            (Some(old), 3..5) if !table.contains_key(&key) => {
                table.remove(&old.0);
                table.insert(new.0, new.1);
                done(Change::Update { old, new });
            }
            (Some(old), 5..7) => {
                table.remove(&old.0);
                done(Change::Delete { old });
            }
            // Deleted and there again, in one transaction.
            (Some(old), 7) => {
                let new = (old.0, new.1);
                table.insert(new.0, new.1);
                done(Change::Delete { old });
                done(Change::Insert { new });
            }
            _ if !table.contains_key(&key) => {
                table.insert(new.0, new.1);
                done(Change::Insert { new });
            }
            _ => {}
        }
    }
}
