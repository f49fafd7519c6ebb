//! A backlog of change rows: long, or too long.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rusqlite::Connection;

use super::super::install::{Occasion, ensure};
use super::super::removal::{Full, stop};
use super::super::verdict::Verdict;
use super::Db;
use crate::error::Error;

const TABLE: &str = "CREATE TABLE t(id INTEGER PRIMARY KEY, v TEXT)";

#[test]
fn backlog_without_a_mark_is_walked_over_before_anything_is_locked() {
    let mut db = Db::new(TABLE, &["t"]);
    db.run(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 50000)
         INSERT INTO t(v) SELECT 'x' FROM n",
    );
    // Every thousand steps of SQLite's machine: would a writer of the user's get its turn now?
    let writer = Connection::open(db.ours.path().unwrap()).unwrap();
    writer.busy_timeout(Duration::ZERO).unwrap();
    let (looks, refusals) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let counters = (Arc::clone(&looks), Arc::clone(&refusals));
    let look = move || {
        counters.0.fetch_add(1, Ordering::Relaxed);
        let is_refused = writer.execute_batch("BEGIN IMMEDIATE; ROLLBACK").is_err();
        counters.1.fetch_add(u32::from(is_refused), Ordering::Relaxed);
        false
    };
    db.ours.progress_handler(1_000, Some(look)).unwrap();
    assert_eq!(db.ensure(), Verdict::Intact);
    let (looks, refusals) = (looks.load(Ordering::Relaxed), refusals.load(Ordering::Relaxed));
    assert!(
        looks >= 100,
        "the backlog is not walked over at all: {looks} thousand steps"
    );
    assert!(
        refusals <= looks / 10,
        "locked during {refusals} of {looks} thousand steps"
    );
}

#[test]
fn capture_that_was_given_up_begins_anew_only_when_the_source_is_opened() {
    let mut db = Db::new(TABLE, &["t"]);
    let (full, history) = (Full { rows: 12, rows_max: 10 }, db.captured.history.clone());
    stop(&mut db.ours, &db.names, full).unwrap();
    let while_reading = ensure(&mut db.ours, &db.names, &db.streams, Occasion::Reading { verified: 0 });
    assert!(
        matches!(
            while_reading,
            Err(Error::ChangesFull {
                rows: 12,
                rows_max: 10,
                ..
            })
        ),
        "{while_reading:?}"
    );
    db.run("INSERT INTO t(v) VALUES ('not captured')");
    assert_eq!(db.ensure(), Verdict::Installed);
    assert!(db.captured.stopped_before);
    assert_ne!(db.captured.history, history);
}
