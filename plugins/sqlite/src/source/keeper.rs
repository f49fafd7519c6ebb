//! The thread that writes into the user's database beside the reading: marks and prunes.
//!
//! It has a connection of its own, so that waiting for a writer of the user's never holds up reading, and it goes on
//! while the reader waits for destinations.
//!
//! | what | when |
//! |---|---|
//! | a mark | 10,000 change rows after the last one, or 1 s after it if there are change rows |
//! | a prune of at most 1,000 rows | after acknowledgement; with a pause between two, during which writers get their turn |
//! | a warning | when more than `changes_warn` rows wait, once a minute |
//! | the end of capture | when more than `changes_max` rows wait and nothing was acknowledged for `changes_stalled_after` |

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::shared::Shared;
use super::spec::ChangesLimits;
use crate::capture::marks;
use crate::capture::names::Names;
use crate::capture::removal::{self, Full};
use crate::error::{Error, Result, is_passing};

const MARK_ROWS: i64 = 10_000;
const MARK_EVERY: Duration = Duration::from_secs(1);
/// How often is looked whether a mark is due. Shorter finds 10,000 rows sooner, longer costs less.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Between two prunes of a long row of them: about one part pruning to three parts of peace for the user's writers.
const PRUNE_PAUSE: Duration = Duration::from_millis(3);
const WARN_EVERY: Duration = Duration::from_secs(60);

pub(crate) struct Keeper {
    conn: Connection,
    names: Names,
    shared: Arc<Shared>,
    limits: ChangesLimits,
    last_mark: i64,
    marked_at: Instant,
    /// What was acknowledged when it was last seen to move.
    acknowledged: i64,
    acknowledged_at: Instant,
    warned_at: Option<Instant>,
    pruned: i64,
}

impl Keeper {
    pub(crate) fn new(conn: Connection, names: Names, shared: Arc<Shared>, limits: ChangesLimits) -> Result<Self> {
        let last_mark = marks::newest(&conn, &names)?.map_or(0, |mark| mark.seq);
        let pruned = marks::pruned(&conn, &names)?;
        Ok(Keeper {
            conn,
            names,
            shared,
            limits,
            last_mark,
            marked_at: Instant::now(),
            acknowledged: pruned,
            acknowledged_at: Instant::now(),
            warned_at: None,
            pruned,
        })
    }

    /// Works until the source is closed.
    pub(crate) fn run(mut self) {
        while !self.shared.closing.is_cancelled() {
            let pause = match self.look() {
                Ok(pause) => pause,
                // Somebody else holds the write lock: that is their good right.
                Err(Error::Sql { source, .. }) if is_passing(&source) => LOOK_EVERY,
                Err(error) => {
                    self.shared.fail(error);
                    return;
                }
            };
            self.shared.rest(pause);
        }
    }

    fn look(&mut self) -> Result<Duration> {
        let head = marks::head(&self.conn, &self.names)?;
        self.mark_if_due(head)?;
        let acknowledged = self.shared.acknowledged.load(Ordering::Acquire);
        if acknowledged > self.acknowledged {
            self.acknowledged = acknowledged;
            self.acknowledged_at = Instant::now();
        }
        self.watch_limits(head)?;
        if acknowledged > self.pruned {
            let anchor = self.shared.anchor.load(Ordering::Acquire);
            if marks::prune(&mut self.conn, &self.names, acknowledged, anchor)? == marks::PRUNE_ROWS_MAX {
                return Ok(PRUNE_PAUSE);
            }
            self.pruned = acknowledged;
        }
        Ok(LOOK_EVERY)
    }

    fn mark_if_due(&mut self, head: i64) -> Result<()> {
        let rows = head - self.last_mark;
        let is_due = rows >= MARK_ROWS || (rows > 0 && self.marked_at.elapsed() >= MARK_EVERY);
        if !is_due {
            return Ok(());
        }
        let expected = self.shared.schema_version.load(Ordering::Acquire);
        if let Some(mark) = marks::commit(&mut self.conn, &self.names, expected)? {
            self.last_mark = mark.seq;
        }
        self.marked_at = Instant::now();
        Ok(())
    }

    fn watch_limits(&mut self, head: i64) -> Result<()> {
        let waiting = u64::try_from(head - self.acknowledged).unwrap_or(0);
        if waiting > self.limits.rows_max && self.acknowledged_at.elapsed() > self.limits.stalled_after {
            let full = Full {
                rows: waiting,
                rows_max: self.limits.rows_max,
            };
            removal::stop(&mut self.conn, &self.names, full)?;
            return Err(full.error(&self.conn));
        }
        if waiting > self.limits.rows_warn && self.warned_at.is_none_or(|at| at.elapsed() >= WARN_EVERY) {
            self.warned_at = Some(Instant::now());
            tracing::warn!(
                code = "W0211",
                pipeline = self.names.pipeline(),
                rows = waiting,
                rows_max = self.limits.rows_max,
                "the change table fills up: destinations have not taken its rows"
            );
        }
        Ok(())
    }
}
