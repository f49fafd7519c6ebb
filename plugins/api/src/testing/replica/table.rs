use std::collections::{BTreeMap, BTreeSet};

use model::{Op, Predicate, Test};

use crate::conformance::{Row, text_of};

/// The text of the key columns, in key order.
pub(super) type Key = Vec<Option<String>>;

/// The rows of one stream.
#[derive(Clone)]
pub(super) struct Table {
    /// The columns that it has.
    pub(super) columns: BTreeSet<String>,
    keyed: BTreeMap<Key, Row>,
    appended: Vec<Row>,
    /// Whether every row is known to be the source's, so that a contradiction is one.
    is_exact: bool,
    /// While a mirrored read goes on: keys of before that it has not met.
    unmet: Option<BTreeSet<Key>>,
}

/// Empty, and so far an exact copy.
impl Default for Table {
    fn default() -> Self {
        Table {
            columns: BTreeSet::new(),
            keyed: BTreeMap::new(),
            appended: Vec::new(),
            is_exact: true,
            unmet: None,
        }
    }
}

impl Table {
    pub(super) fn rows(&self) -> Vec<Row> {
        let whole = |row: &Row| {
            let cell = |column: &String| (column.clone(), row.get(column).cloned().flatten());
            self.columns.iter().map(cell).collect()
        };
        self.keyed.values().chain(&self.appended).map(whole).collect()
    }

    pub(super) fn row_count(&self) -> usize {
        self.keyed.len() + self.appended.len()
    }

    pub(super) fn append(&mut self, row: Row) {
        self.columns.extend(row.keys().cloned());
        self.appended.push(row);
    }

    /// Puts the columns that were sent under `key`; those that were not stay what they were. Returns a contradiction.
    pub(super) fn put(&mut self, op: Op, old_key: Option<Key>, key: Key, sent: Row, is_whole: bool) -> Option<String> {
        let moves = old_key.as_ref().is_some_and(|old| *old != key);
        let from = if moves { old_key.as_ref().unwrap_or(&key) } else { &key };
        let was = self.keyed.remove(from);
        let is_alive = |row: &Row| {
            row.get("_highwater_deleted")
                .is_none_or(|mark| mark.as_deref() != Some("true"))
        };
        let was_alive = was.as_ref().is_some_and(is_alive);
        let contradiction = match op {
            _ if !self.is_exact => None,
            Op::Insert if was_alive => Some(format!("insert of a key that is there: {key:?}")),
            Op::Update if !was_alive => Some(format!("update of a key that is not there: {from:?}")),
            Op::Update if moves && self.keyed.get(&key).is_some_and(is_alive) => {
                Some(format!("move of {from:?} to a key that is there: {key:?}"))
            }
            _ => None,
        };
        if let Some(unmet) = &mut self.unmet {
            unmet.remove(&key);
        }
        let mut row = if is_whole { Row::new() } else { was.unwrap_or_default() };
        self.columns.extend(sent.keys().cloned());
        row.extend(sent);
        self.keyed.insert(key, row);
        contradiction
    }

    pub(super) fn delete(&mut self, key: &Key) -> Option<String> {
        let was = self.keyed.remove(key);
        (was.is_none() && self.is_exact).then(|| format!("delete of a key that is not there: {key:?}"))
    }

    pub(super) fn mark_deleted(&mut self, key: &Key) {
        self.columns.insert("_highwater_deleted".to_owned());
        if let Some(row) = self.keyed.get_mut(key) {
            row.insert("_highwater_deleted".to_owned(), Some("true".to_owned()));
        }
    }

    pub(super) fn clear(&mut self) {
        self.keyed.clear();
        self.appended.clear();
        self.is_exact = true;
        self.unmet = None;
    }

    pub(super) fn delete_where(&mut self, predicate: &Predicate) {
        self.keyed.retain(|_, row| !matches(row, predicate));
        self.appended.retain(|row| !matches(row, predicate));
    }

    pub(super) fn begin_read(&mut self, empty_first: bool, is_mirrored: bool) {
        if empty_first || self.row_count() == 0 {
            self.clear();
            return;
        }
        self.is_exact = false;
        self.unmet = is_mirrored.then(|| self.keyed.keys().cloned().collect());
    }

    pub(super) fn end_read(&mut self) {
        if let Some(unmet) = self.unmet.take() {
            self.keyed.retain(|key, _| !unmet.contains(key));
            self.is_exact = true;
        }
    }
}

fn matches(row: &Row, predicate: &Predicate) -> bool {
    predicate.terms.iter().all(|(column, test, value)| {
        let (Some(Some(left)), Some(right)) = (row.get(column), text_of(value.as_ref(), 0)) else {
            return false;
        };
        // Numbers as numbers; everything else as text, which is what is kept.
        let ordering = match (left.parse::<i128>(), right.parse::<i128>()) {
            (Ok(left), Ok(right)) => left.cmp(&right),
            _ => left.cmp(&right),
        };
        match test {
            Test::Eq => ordering.is_eq(),
            Test::Lt => ordering.is_lt(),
            Test::LtEq => ordering.is_le(),
            Test::Gt => ordering.is_gt(),
            Test::GtEq => ordering.is_ge(),
        }
    })
}
