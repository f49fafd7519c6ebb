//! Capture against real database files: what is logged must always explain how a table came to look as it does.

#![allow(clippy::unwrap_used)]

mod backlog;
mod ddl;
mod property;

use std::collections::BTreeMap;

use rusqlite::Connection;
use rusqlite::types::Value;

use super::install::{Captured, Occasion, ensure};
use super::names::Names;
use super::triggers::ChangeOp;
use super::verdict::Verdict;

/// A database file with capture, seen from the user's side (`user`) and from ours (`ours`).
pub(super) struct Db {
    _dir: tempfile::TempDir,
    pub(super) user: Connection,
    pub(super) ours: Connection,
    pub(super) names: Names,
    pub(super) streams: Vec<String>,
    pub(super) captured: Captured,
}

/// A row as its values print, types included: a multiset of these is a table.
pub(super) type Rows = BTreeMap<String, usize>;

impl Db {
    pub(super) fn new(schema: &str, streams: &[&str]) -> Db {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("user.db");
        let user = Connection::open(&path).unwrap();
        user.pragma_update(None, "journal_mode", "WAL").unwrap();
        user.pragma_update(None, "foreign_keys", true).unwrap();
        user.execute_batch(schema).unwrap();
        let mut ours = Connection::open(&path).unwrap();
        let names = Names::of_pipeline("shop");
        let streams: Vec<String> = streams.iter().map(|s| (*s).to_owned()).collect();
        let captured = ensure(&mut ours, &names, &streams, Occasion::Opening).unwrap();
        Db {
            _dir: dir,
            user,
            ours,
            names,
            streams,
            captured,
        }
    }

    pub(super) fn run(&self, sql: &str) {
        self.user.execute_batch(sql).unwrap_or_else(|e| panic!("{sql}: {e}"));
    }

    /// Runs `ensure` and gives the verdict on the first stream.
    pub(super) fn ensure(&mut self) -> Verdict {
        self.captured = ensure(&mut self.ours, &self.names, &self.streams, Occasion::Opening).unwrap();
        self.captured.verdicts[0].1.clone()
    }

    pub(super) fn rows(&self, table: &str) -> Rows {
        let mut rows = Rows::new();
        let mut statement = self.user.prepare(&format!("SELECT * FROM \"{table}\"")).unwrap();
        let len = statement.column_count();
        let mut cursor = statement.query([]).unwrap();
        while let Some(row) = cursor.next().unwrap() {
            let values: Vec<Value> = (0..len).map(|i| row.get(i).unwrap()).collect();
            *rows.entry(format!("{values:?}")).or_default() += 1;
        }
        rows
    }

    /// Applies the log after `from` of `stream` to `rows`; answers the newest `seq`.
    ///
    /// A row to be removed must be there exactly as the log says it was.
    pub(super) fn apply(&self, rows: &mut Rows, stream: &str, from: i64) -> Result<i64, String> {
        let mut upto = from;
        let mut statement = self
            .ours
            .prepare(&format!(
                "SELECT * FROM main.{} WHERE seq > ?1 ORDER BY seq",
                self.names.changes()
            ))
            .unwrap();
        let columns: BTreeMap<String, usize> = statement
            .column_names()
            .enumerate()
            .map(|(i, name)| (name.to_owned(), i))
            .collect();
        let mut cursor = statement.query([from]).unwrap();
        while let Some(row) = cursor.next().unwrap() {
            upto = row.get(0).unwrap();
            let (number, op): (i64, i64) = (row.get(1).unwrap(), row.get(2).unwrap());
            let Some(layout) = self.captured.layouts.get(&number).filter(|l| l.stream == stream) else {
                continue;
            };
            let image = |prefix: &str| {
                let values: Vec<Value> = (0..layout.table.columns.len())
                    .map(|i| row.get(columns[&format!("{prefix}{i}")]).unwrap())
                    .collect();
                format!("{values:?}")
            };
            let (old, new) = (image("o"), image("n"));
            if op != ChangeOp::Insert as i64 {
                match rows.get_mut(&old) {
                    Some(1) => drop(rows.remove(&old)),
                    Some(n) => *n -= 1,
                    None => {
                        return Err(format!(
                            "seq {upto}, op {op}: the log removes {old}, which is not there"
                        ));
                    }
                }
            }
            if op != ChangeOp::Delete as i64 {
                *rows.entry(new).or_default() += 1;
            }
        }
        Ok(upto)
    }
}
