//! What a shop's database goes through: a pure function of a seed.
//!
//! Each transaction ends with a row in [`Table::Mark`] that holds its number, so that a copy says by itself which prefix
//! it shows. Transactions that are rolled back have no number.

use std::sync::Arc;

use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::shop::{Key, Table};
use crate::state::{Change, State, Statement};
use crate::value::{Row, Value};

/// What kind of workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Profile {
    /// Where randomness starts.
    pub seed: u64,
    /// Rows that each keyed table has after the first transaction.
    pub rows_at_start: i64,
    /// Every how many transactions a large one comes; 0 for never.
    pub bulk_every: u64,
    /// How many rows the large one inserts; the next one deletes them again.
    pub bulk_rows: i64,
}

impl Profile {
    /// Small tables, no large transactions.
    pub fn small(seed: u64) -> Self {
        Profile {
            seed,
            rows_at_start: 50,
            bulk_every: 0,
            bulk_rows: 0,
        }
    }

    /// How many accounts and counters there are: money needs somewhere to go.
    fn numbers(&self) -> i64 {
        self.rows_at_start.max(2)
    }
}

/// What each account holds at first.
const BALANCE: i64 = 1_000;

/// One transaction.
#[derive(Clone, Debug)]
pub struct Transaction {
    /// 1, 2, 3, ...; a transaction that is rolled back carries the number that the next one has.
    pub number: u64,
    /// What is executed.
    pub statements: Vec<Statement>,
    /// What that changes.
    pub changes: Vec<Change>,
    /// Whether it ends with `ROLLBACK`.
    pub is_rolled_back: bool,
}

/// Yields transactions for ever.
pub struct Workload {
    profile: Profile,
    rng: ChaCha8Rng,
    state: State,
    committed: u64,
    filled: Vec<i64>,
    event_seq: [i64; WORKERS],
    /// Of the transaction that is being made.
    statements: Vec<Statement>,
    changes: Vec<Change>,
}

const WORKERS: usize = 4;

/// Keys of the churned table come from a small range, so that they are used again and again.
const CHURN_KEYS: i64 = 400;

impl Workload {
    /// Starts at the first transaction.
    pub fn new(profile: Profile) -> Self {
        Workload {
            profile,
            rng: ChaCha8Rng::seed_from_u64(profile.seed),
            state: State::default(),
            committed: 0,
            filled: Vec::new(),
            event_seq: [0; WORKERS],
            statements: Vec::new(),
            changes: Vec::new(),
        }
    }

    /// The number of the last transaction that was committed.
    pub fn committed(&self) -> u64 {
        self.committed
    }

    /// What the tables hold after it.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// The next transaction.
    pub fn next_transaction(&mut self) -> Transaction {
        let number = self.committed + 1;
        let is_rolled_back = number > 1 && self.rng.random_bool(0.05);
        let (event_seq, filled) = (self.event_seq, self.filled.clone());
        if number == 1 {
            self.open_shop();
        } else if self.profile.bulk_every > 0 && number.is_multiple_of(self.profile.bulk_every) {
            self.fill_or_drop_batch();
        } else {
            for _ in 0..self.rng.random_range(1..=3) {
                self.step();
            }
        }
        let mark: Row = [Value::Int(number as i64), self.rev()].into();
        self.run(Statement::Insert(Table::Mark, mark));
        let transaction = Transaction {
            number,
            statements: std::mem::take(&mut self.statements),
            changes: std::mem::take(&mut self.changes),
            is_rolled_back,
        };
        if is_rolled_back {
            self.state.undo(&transaction.changes);
            (self.event_seq, self.filled) = (event_seq, filled);
        } else {
            self.committed = number;
        }
        transaction
    }

    fn run(&mut self, statement: Statement) {
        let changes = self.state.execute(&statement);
        self.changes.extend(changes);
        self.statements.push(statement);
    }

    /// A number that no other change has.
    fn rev(&self) -> Value {
        Value::Int((((self.committed + 1) << 24) + self.changes.len() as u64) as i64)
    }

    fn open_shop(&mut self) {
        for id in 0..self.profile.numbers() {
            let row = [Value::Int(id), Value::Int(BALANCE), self.rev()].into();
            self.run(Statement::Insert(Table::Account, row));
            let row = [Value::text(counter_name(id)), Value::Int(0), self.rev()].into();
            self.run(Statement::Insert(Table::Counter, row));
        }
        for id in 0..self.profile.rows_at_start.min(CHURN_KEYS) {
            let row = self.churn_row(id * (CHURN_KEYS / self.profile.rows_at_start.clamp(1, CHURN_KEYS)));
            self.run(Statement::Insert(Table::Churn, row));
        }
        self.append_events();
    }

    fn step(&mut self) {
        match self.rng.random_range(0..100) {
            0..30 => self.transfer(),
            30..48 => self.count(),
            48..65 => self.append_events(),
            65..92 => self.churn(),
            _ => self.move_pair(),
        }
    }

    fn any_key(&mut self, table: Table) -> Option<Key> {
        let count = self.state.len(table);
        let at = self.rng.random_range(0..count.max(1));
        self.state.rows(table).nth(at).map(|(key, _)| key.clone())
    }

    fn transfer(&mut self) {
        let amount = self.rng.random_range(1..=500);
        for amount in [-amount, amount] {
            let key: Key = [Value::Int(self.any_number())].into();
            let balance = self
                .state
                .get(Table::Account, &key)
                .and_then(|row| row[1].as_int())
                .unwrap_or_default();
            let set = vec![(1, Value::Int(balance + amount)), (2, self.rev())];
            self.run(Statement::Update(Table::Account, key, set));
        }
    }

    fn count(&mut self) {
        for _ in 0..self.rng.random_range(1..=4) {
            let key: Key = [Value::text(counter_name(self.any_number()))].into();
            let n = self
                .state
                .get(Table::Counter, &key)
                .and_then(|row| row[1].as_int())
                .unwrap_or_default();
            let set = vec![(1, Value::Int(n + 1)), (2, self.rev())];
            self.run(Statement::Update(Table::Counter, key, set));
        }
    }

    /// The number of an account or a counter.
    fn any_number(&mut self) -> i64 {
        self.rng.random_range(0..self.profile.numbers())
    }

    fn append_events(&mut self) {
        let worker = self.rng.random_range(0..WORKERS);
        for _ in 0..self.rng.random_range(1..=6) {
            self.event_seq[worker] += 1;
            let seq = self.event_seq[worker];
            let payload = match self.rng.random_range(0..10) {
                0 => Value::Null,
                1 => Value::text(""),
                _ => Value::text(format!("{worker} did {seq}")),
            };
            let row = [Value::Int(worker as i64), Value::Int(seq), payload, self.rev()].into();
            self.run(Statement::Insert(Table::Event, row));
        }
    }

    fn churn(&mut self) {
        for _ in 0..self.rng.random_range(1..=4) {
            let id = self.rng.random_range(0..CHURN_KEYS);
            let key: Key = [Value::Int(id)].into();
            let is_there = self.state.get(Table::Churn, &key).is_some();
            let row = self.churn_row(id);
            let statement = match (self.rng.random_range(0..10), is_there) {
                (0..3, true) => Statement::Delete(Table::Churn, key),
                (3..6, true) => Statement::Update(Table::Churn, key, self.churn_columns(&row)),
                (6, true) => match self.free_churn_key() {
                    Some(to) => Statement::Update(Table::Churn, key, vec![(0, to), (6, row[6].clone())]),
                    None => Statement::Delete(Table::Churn, key),
                },
                // Takes the key, and with the code perhaps another row's place as well.
                (7, true) => {
                    let to = Value::Int(self.rng.random_range(0..CHURN_KEYS));
                    let set = vec![(0, to), (1, self.any_code()), (6, row[6].clone())];
                    Statement::UpdateOrReplace(Table::Churn, key, set)
                }
                (8, true) => Statement::InsertOrIgnore(Table::Churn, row),
                (8, false) if self.is_free_code(&row[1]) => Statement::InsertOrIgnore(Table::Churn, row),
                (9, true) => Statement::Upsert(Table::Churn, self.with_own_code(row)),
                (_, true) => Statement::Replace(Table::Churn, with_code(&row, self.any_code())),
                (0..3, false) => Statement::Replace(Table::Churn, with_code(&row, self.any_code())),
                (_, false) => Statement::Insert(Table::Churn, row),
            };
            self.run(statement);
        }
    }

    /// A row whose code no other row has.
    fn churn_row(&mut self, id: i64) -> Row {
        let rev = self.rev();
        let code = match self.rng.random_range(0..6) {
            0 => Value::Null,
            _ => Value::text(format!("code-{id}-{}", rev.as_int().unwrap_or_default())),
        };
        let whole = pick(&mut self.rng, &extreme_integers());
        let real = pick(&mut self.rng, &extreme_reals());
        let words = pick(&mut self.rng, &extreme_texts());
        let bytes = pick(&mut self.rng, &extreme_blobs());
        [Value::Int(id), code, whole, real, words, bytes, rev].into()
    }

    fn churn_columns(&mut self, row: &Row) -> Vec<(usize, Value)> {
        let mut set: Vec<(usize, Value)> = (1..6)
            .filter(|_| self.rng.random_bool(0.5))
            .map(|i| (i, row[i].clone()))
            .collect();
        set.push((6, row[6].clone()));
        set
    }

    /// The code of some row, or one that nobody has.
    fn any_code(&mut self) -> Value {
        let code = self
            .any_key(Table::Churn)
            .and_then(|key| Some(self.state.get(Table::Churn, &key)?[1].clone()));
        code.unwrap_or(Value::Null)
    }

    fn is_free_code(&self, code: &Value) -> bool {
        *code == Value::Null || self.state.rows(Table::Churn).all(|(_, row)| row[1] != *code)
    }

    fn with_own_code(&self, row: Row) -> Row {
        let own = self
            .state
            .get(Table::Churn, &Table::Churn.key(&row))
            .map(|row| row[1].clone());
        with_code(&row, own.unwrap_or(Value::Null))
    }

    fn free_churn_key(&mut self) -> Option<Value> {
        let id = Value::Int(self.rng.random_range(0..CHURN_KEYS));
        let key: Key = [id.clone()].into();
        self.state.get(Table::Churn, &key).is_none().then_some(id)
    }

    fn move_pair(&mut self) {
        const LETTERS: [&str; 6] = ["a", "B", "b", "ä", "", "a "];
        let to: Key = [
            Value::text(*LETTERS.choose(&mut self.rng).unwrap_or(&"a")),
            Value::Int(self.rng.random_range(-8..8)),
        ]
        .into();
        let is_free = self.state.get(Table::Pair, &to).is_none();
        let from = self.any_key(Table::Pair);
        let statement = match (from, is_free, self.rng.random_range(0..4)) {
            (_, false, 0) => Statement::Delete(Table::Pair, to),
            (_, false, _) => {
                let note = Value::text(format!("note {}", self.rng.random_range(0..1_000)));
                Statement::Update(Table::Pair, to, vec![(2, note), (3, self.rev())])
            }
            (Some(from), true, 0..2) => {
                let set = vec![(0, to[0].clone()), (1, to[1].clone()), (3, self.rev())];
                Statement::Update(Table::Pair, from, set)
            }
            (_, true, _) => {
                let row = [to[0].clone(), to[1].clone(), Value::Null, self.rev()].into();
                Statement::Insert(Table::Pair, row)
            }
        };
        self.run(statement);
    }

    fn fill_or_drop_batch(&mut self) {
        match self.filled.pop() {
            Some(batch) => self.run(Statement::DropBatch { batch }),
            None => {
                let batch = (self.committed + 1) as i64;
                let rev = self.rev().as_int().unwrap_or_default();
                let rows = self.profile.bulk_rows;
                self.run(Statement::FillBatch { batch, rows, rev });
                self.filled.push(batch);
            }
        }
    }
}

fn counter_name(id: i64) -> Arc<str> {
    match id % 4 {
        0 => format!("c{id}"),
        1 => format!("C{id}"),
        2 => format!("zähler '{id}'"),
        _ => format!("\"{id}\" ; --"),
    }
    .into()
}

fn with_code(row: &Row, code: Value) -> Row {
    let mut values = row.to_vec();
    values[1] = code;
    values.into()
}

fn pick(rng: &mut ChaCha8Rng, values: &[Value]) -> Value {
    values.choose(rng).cloned().unwrap_or(Value::Null)
}

fn extreme_integers() -> Vec<Value> {
    let integers = [
        0,
        1,
        -1,
        i64::MAX,
        i64::MIN,
        1 << 53,
        (1 << 53) + 1,
        u32::MAX as i64,
        i32::MIN as i64,
    ];
    integers.into_iter().map(Value::Int).chain([Value::Null]).collect()
}

fn extreme_reals() -> Vec<Value> {
    let reals = [
        0.1,
        -2.5,
        1e300,
        -1e-300,
        f64::MIN_POSITIVE,
        5e-324,
        f64::INFINITY,
        f64::NEG_INFINITY,
        3.0,
        f64::MAX,
    ];
    reals.into_iter().map(Value::Real).chain([Value::Null]).collect()
}

fn extreme_texts() -> Vec<Value> {
    let texts = [
        "",
        "plain",
        "NULL",
        "it's",
        "\"quoted\"",
        "line\nbreak",
        "nul\0inside",
        "emoji \u{1f980}",
        "\u{202e}rtl",
        "1e5",
    ];
    texts
        .into_iter()
        .map(Value::text)
        .chain([Value::Null, Value::text("long ".repeat(400))])
        .collect()
}

fn extreme_blobs() -> Vec<Value> {
    let blobs: [&[u8]; 4] = [b"", b"\0", b"\xff\xfe\x00text", &[7; 300]];
    blobs.into_iter().map(Value::blob).chain([Value::Null]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profile() -> Profile {
        Profile {
            bulk_every: 40,
            bulk_rows: 500,
            ..Profile::small(7)
        }
    }

    #[test]
    fn same_seed_yields_the_same_history() {
        let (mut one, mut two) = (Workload::new(profile()), Workload::new(profile()));
        for _ in 0..500 {
            assert_eq!(one.next_transaction().statements, two.next_transaction().statements);
        }
        let mut other = Workload::new(Profile { seed: 8, ..profile() });
        let differs = (0..20).any(|_| other.next_transaction().statements != one.next_transaction().statements);
        assert!(differs);
    }

    #[test]
    fn money_is_neither_made_nor_lost() {
        let mut workload = Workload::new(profile());
        for _ in 0..500 {
            workload.next_transaction();
            let sum: i64 = workload
                .state()
                .rows(Table::Account)
                .filter_map(|(_, row)| row[1].as_int())
                .sum();
            assert_eq!(sum, 50 * BALANCE);
        }
    }

    #[test]
    fn every_kind_of_change_is_there() {
        let mut workload = Workload::new(profile());
        let mut seen = std::collections::BTreeMap::<&str, usize>::new();
        for _ in 0..1_000 {
            let transaction = workload.next_transaction();
            let replaced = |s: &Statement| matches!(s, Statement::Replace(..) | Statement::UpdateOrReplace(..));
            for (what, count) in [
                ("rolled back", transaction.is_rolled_back as usize),
                ("replace", transaction.statements.iter().filter(|s| replaced(s)).count()),
                (
                    "insert",
                    transaction.changes.iter().filter(|c| c.before.is_none()).count(),
                ),
                (
                    "delete",
                    transaction.changes.iter().filter(|c| c.after.is_none()).count(),
                ),
                ("key moved", transaction.changes.iter().filter(|c| moves_key(c)).count()),
            ] {
                *seen.entry(what).or_default() += count;
            }
        }
        assert!(seen.values().all(|&count| count > 20), "{seen:?}");
    }

    fn moves_key(change: &Change) -> bool {
        match (&change.before, &change.after) {
            (Some(before), Some(after)) => change.table.key(before) != change.table.key(after),
            _ => false,
        }
    }
}
