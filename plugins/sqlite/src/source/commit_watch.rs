//! Noticing that somebody committed, soon and at next to no cost.
//!
//! `PRAGMA data_version` changes when another connection commits; asking costs about 2.5 us. (inotify alone is unsound:
//! it fires at the write, and the commit becomes visible later, through mapped memory, without an event.)
//!
//! | since the last commit | asked every | because |
//! |---|---|---|
//! | 50 ms | 1 ms | more will follow at once; 4 % of a core while it lasts |
//! | 1 s | 5 ms | |
//! | longer | 10 ms | the first commit after a pause waits this long; 0.1 % of a core |

use std::time::{Duration, Instant};

use rusqlite::Connection;

use crate::error::{Result, sql};

pub(crate) struct CommitWatch {
    seen: Option<i64>,
    active_at: Instant,
}

impl CommitWatch {
    pub(crate) fn new() -> Self {
        CommitWatch {
            seen: None,
            active_at: Instant::now(),
        }
    }

    /// Whether another connection has committed since the last time it was asked; true at first.
    pub(crate) fn has_commit(&mut self, conn: &Connection) -> Result<bool> {
        let version: i64 = conn
            .prepare_cached("PRAGMA main.data_version")
            .and_then(|mut statement| statement.query_row([], |row| row.get(0)))
            .map_err(sql("ask for commits"))?;
        let has_commit = self.seen.replace(version) != Some(version);
        if has_commit {
            self.active_at = Instant::now();
        }
        Ok(has_commit)
    }

    /// How long to wait before it is asked again.
    pub(crate) fn pause(&self) -> Duration {
        let quiet = self.active_at.elapsed();
        let millis = if quiet < Duration::from_millis(50) {
            1
        } else if quiet < Duration::from_secs(1) {
            5
        } else {
            10
        };
        Duration::from_millis(millis)
    }
}
