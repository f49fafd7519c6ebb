//! The source's tables: each is there for one way in which replication goes wrong.

use std::fmt;
use std::sync::Arc;

use crate::value::{Row, Value};

/// A table of the source.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Table {
    /// Balances between which money moves: the sum is the same at every consistent point.
    Account,
    /// Numbers that only grow, under text keys: a value that falls is a replay.
    Counter,
    /// Rows that are only ever added and have no key: nothing but exactly-once delivery keeps them from doubling.
    Event,
    /// Inserted, changed, deleted, inserted again, moved to other keys, replaced over a unique column; every storage class.
    Churn,
    /// A composite key that changes, in a table without rowids.
    Pair,
    /// Large transactions.
    Bulk,
    /// One row for each transaction, written last: says which prefix a copy shows.
    Mark,
}

/// How a table looks.
pub struct Definition {
    /// Its name.
    pub name: &'static str,
    /// The statement that makes it.
    pub ddl: &'static str,
    /// Its columns.
    pub columns: &'static [&'static str],
    /// The columns that tell rows apart, as indices; for [`Table::Event`] SQLite is not told.
    pub identity: &'static [usize],
    /// Whether SQLite is told.
    pub has_key: bool,
    /// A column that is unique besides the key.
    pub unique: Option<usize>,
    /// The column that holds a number which no two changes share.
    pub rev: usize,
}

impl Table {
    /// All of them, in the order in which they are made.
    pub const ALL: [Table; 7] = [
        Table::Account,
        Table::Counter,
        Table::Event,
        Table::Churn,
        Table::Pair,
        Table::Bulk,
        Table::Mark,
    ];

    /// How it looks.
    pub const fn definition(self) -> &'static Definition {
        match self {
            Table::Account => &Definition {
                name: "account",
                ddl: "CREATE TABLE account (id INTEGER PRIMARY KEY, balance INTEGER NOT NULL, rev INTEGER NOT NULL)",
                columns: &["id", "balance", "rev"],
                identity: &[0],
                has_key: true,
                unique: None,
                rev: 2,
            },
            Table::Counter => &Definition {
                name: "counter",
                ddl: "CREATE TABLE counter (name TEXT NOT NULL PRIMARY KEY, n INTEGER NOT NULL, rev INTEGER NOT NULL)",
                columns: &["name", "n", "rev"],
                identity: &[0],
                has_key: true,
                unique: None,
                rev: 2,
            },
            Table::Event => &Definition {
                name: "event",
                ddl: "CREATE TABLE event (worker INTEGER, seq INTEGER, payload TEXT, rev INTEGER NOT NULL)",
                columns: &["worker", "seq", "payload", "rev"],
                identity: &[0, 1],
                has_key: false,
                unique: None,
                rev: 3,
            },
            Table::Churn => &Definition {
                name: "churn",
                ddl: "CREATE TABLE churn (id INTEGER PRIMARY KEY, code TEXT UNIQUE, whole INTEGER, real REAL, words TEXT, bytes BLOB, rev INTEGER NOT NULL)",
                columns: &["id", "code", "whole", "real", "words", "bytes", "rev"],
                identity: &[0],
                has_key: true,
                unique: Some(1),
                rev: 6,
            },
            Table::Pair => &Definition {
                name: "pair",
                ddl: "CREATE TABLE pair (a TEXT NOT NULL, b INTEGER NOT NULL, note TEXT, rev INTEGER NOT NULL, PRIMARY KEY (a, b)) WITHOUT ROWID",
                columns: &["a", "b", "note", "rev"],
                identity: &[0, 1],
                has_key: true,
                unique: None,
                rev: 3,
            },
            Table::Bulk => &Definition {
                name: "bulk",
                ddl: "CREATE TABLE bulk (id INTEGER PRIMARY KEY, batch INTEGER NOT NULL, payload TEXT NOT NULL, rev INTEGER NOT NULL)",
                columns: &["id", "batch", "payload", "rev"],
                identity: &[0],
                has_key: true,
                unique: None,
                rev: 3,
            },
            Table::Mark => &Definition {
                name: "txn_mark",
                ddl: "CREATE TABLE txn_mark (txn INTEGER PRIMARY KEY, rev INTEGER NOT NULL)",
                columns: &["txn", "rev"],
                identity: &[0],
                has_key: true,
                unique: None,
                rev: 1,
            },
        }
    }

    /// Its name.
    pub const fn name(self) -> &'static str {
        self.definition().name
    }

    /// The table of that name.
    pub fn named(name: &str) -> Option<Table> {
        Table::ALL.into_iter().find(|table| table.name() == name)
    }

    /// What tells `row` apart from the others of its table.
    pub fn key(self, row: &Row) -> Key {
        self.definition().identity.iter().map(|&i| row[i].clone()).collect()
    }

    /// The number that no two changes share.
    pub fn rev(self, row: &Row) -> &Value {
        &row[self.definition().rev]
    }
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The identity of a row inside its table.
pub type Key = Arc<[Value]>;
