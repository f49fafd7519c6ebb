//! What the source's tables hold, and what each statement does to them: SQLite's semantics, written down a second time.

use std::collections::{BTreeMap, HashMap};

use crate::shop::{Key, Table};
use crate::value::{Row, Value};

/// One row before and after; what a change log should hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Where.
    pub table: Table,
    /// The row before; `None` for an insert.
    pub before: Option<Row>,
    /// The row after; `None` for a delete.
    pub after: Option<Row>,
}

/// A statement of the workload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Statement {
    /// `INSERT`.
    Insert(Table, Row),
    /// `INSERT OR IGNORE`.
    InsertOrIgnore(Table, Row),
    /// `INSERT OR REPLACE`: rows with the same key or the same unique value go.
    Replace(Table, Row),
    /// `INSERT ... ON CONFLICT DO UPDATE` of every column but the key.
    Upsert(Table, Row),
    /// `UPDATE` of some columns, possibly the key.
    Update(Table, Key, Vec<(usize, Value)>),
    /// `UPDATE OR REPLACE`.
    UpdateOrReplace(Table, Key, Vec<(usize, Value)>),
    /// `DELETE` of one row.
    Delete(Table, Key),
    /// `INSERT ... SELECT` of many rows into [`Table::Bulk`].
    FillBatch {
        /// The number of the batch.
        batch: i64,
        /// How many rows.
        rows: i64,
        /// The `rev` of the first.
        rev: i64,
    },
    /// `DELETE` of a whole batch.
    DropBatch {
        /// The number of the batch.
        batch: i64,
    },
}

/// Ids of different batches do not meet: no transaction has more rows than this.
pub const BATCH_ROWS_MAX: i64 = 10_000_000;

/// The rows of all tables.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    tables: HashMap<Table, BTreeMap<Key, Row>>,
    uniques: HashMap<(Table, Value), Key>,
}

impl State {
    /// The rows of one table.
    pub fn rows(&self, table: Table) -> impl ExactSizeIterator<Item = (&Key, &Row)> {
        static NONE: BTreeMap<Key, Row> = BTreeMap::new();
        self.tables.get(&table).unwrap_or(&NONE).iter()
    }

    /// How many rows a table has.
    pub fn len(&self, table: Table) -> usize {
        self.tables.get(&table).map_or(0, BTreeMap::len)
    }

    /// Whether no table has a row.
    pub fn is_empty(&self) -> bool {
        self.tables.values().all(BTreeMap::is_empty)
    }

    /// One row.
    pub fn get(&self, table: Table, key: &Key) -> Option<&Row> {
        self.tables.get(&table)?.get(key)
    }

    /// Applies a statement; what changed, in the order in which triggers see it.
    pub fn execute(&mut self, statement: &Statement) -> Vec<Change> {
        let changes = self.effects(statement);
        for change in &changes {
            self.apply(change);
        }
        changes
    }

    /// Applies one change.
    pub fn apply(&mut self, change: &Change) {
        let table = change.table;
        let rows = self.tables.entry(table).or_default();
        let unique = table.definition().unique;
        if let Some(before) = &change.before {
            rows.remove(&table.key(before));
            if let Some(column) = unique {
                self.uniques.remove(&(table, before[column].clone()));
            }
        }
        if let Some(after) = &change.after {
            rows.insert(table.key(after), after.clone());
            if let Some(column) = unique.filter(|&column| after[column] != Value::Null) {
                self.uniques.insert((table, after[column].clone()), table.key(after));
            }
        }
    }

    /// Takes changes back, the last first: a rolled back transaction.
    pub fn undo(&mut self, changes: &[Change]) {
        for change in changes.iter().rev() {
            self.apply(&Change {
                table: change.table,
                before: change.after.clone(),
                after: change.before.clone(),
            });
        }
    }

    fn effects(&self, statement: &Statement) -> Vec<Change> {
        let change = |table, before: Option<&Row>, after: Option<Row>| Change {
            table,
            before: before.cloned(),
            after,
        };
        match statement {
            Statement::Insert(table, row) => vec![change(*table, None, Some(row.clone()))],
            Statement::InsertOrIgnore(table, row) => match self.conflicts(*table, row, None).is_empty() {
                true => vec![change(*table, None, Some(row.clone()))],
                false => Vec::new(),
            },
            Statement::Replace(table, row) => {
                let gone = self.conflicts(*table, row, None);
                let gone = gone.into_iter().map(|row| change(*table, Some(row), None));
                gone.chain([change(*table, None, Some(row.clone()))]).collect()
            }
            Statement::Upsert(table, row) => {
                vec![change(*table, self.get(*table, &table.key(row)), Some(row.clone()))]
            }
            Statement::Update(table, key, set) => match self.get(*table, key) {
                Some(before) => vec![change(*table, Some(before), Some(with(before, set)))],
                None => Vec::new(),
            },
            Statement::UpdateOrReplace(table, key, set) => match self.get(*table, key) {
                Some(before) => {
                    let after = with(before, set);
                    let gone = self.conflicts(*table, &after, Some(key));
                    let gone = gone.into_iter().map(|row| change(*table, Some(row), None));
                    gone.chain([change(*table, Some(before), Some(after.clone()))])
                        .collect()
                }
                None => Vec::new(),
            },
            Statement::Delete(table, key) => match self.get(*table, key) {
                Some(before) => vec![change(*table, Some(before), None)],
                None => Vec::new(),
            },
            Statement::FillBatch { batch, rows, rev } => (0..*rows)
                .map(|i| change(Table::Bulk, None, Some(bulk_row(*batch, i, *rev))))
                .collect(),
            Statement::DropBatch { batch } => {
                let from: Key = [Value::Int(batch * BATCH_ROWS_MAX)].into();
                let to: Key = [Value::Int((batch + 1) * BATCH_ROWS_MAX)].into();
                let rows = self
                    .tables
                    .get(&Table::Bulk)
                    .into_iter()
                    .flat_map(|rows| rows.range(from.clone()..to.clone()));
                rows.map(|(_, row)| change(Table::Bulk, Some(row), None)).collect()
            }
        }
    }

    /// Rows that cannot stand beside `row`, but for the one at `own`.
    fn conflicts(&self, table: Table, row: &Row, own: Option<&Key>) -> Vec<&Row> {
        let by_key = Some(table.key(row));
        let unique = table.definition().unique;
        let by_unique = unique.and_then(|column| self.uniques.get(&(table, row[column].clone())).cloned());
        let mut keys: Vec<Key> = by_key.into_iter().chain(by_unique).collect();
        keys.dedup();
        keys.retain(|key| Some(key) != own);
        keys.iter().filter_map(|key| self.get(table, key)).collect()
    }
}

fn with(row: &Row, set: &[(usize, Value)]) -> Row {
    let mut values = row.to_vec();
    for (column, value) in set {
        values[*column] = value.clone();
    }
    values.into()
}

/// Row `i` of a batch; [`crate::writer`] says the same in SQL.
fn bulk_row(batch: i64, i: i64, rev: i64) -> Row {
    [
        Value::Int(batch * BATCH_ROWS_MAX + i),
        Value::Int(batch),
        Value::text(format!("row {i} of batch {batch}, and some words to give it weight")),
        Value::Int(rev + i),
    ]
    .into()
}
