//! What is done while a read view is open, and what follows from what it showed.

use rusqlite::Connection;

use super::{Ended, Engine, Setup, Step, TRIGGER_CHECK_EVERY};
use crate::capture::{install, marks, meta};
use crate::error::{Error, Result, is_busy, sql};
use crate::source::log::{Chunk, Wanted};
use crate::source::reads::PageOut;

/// What one view showed.
struct Seen {
    head: i64,
    chunk: Chunk,
    page: Option<PageOut>,
}

impl Engine {
    pub(super) fn step_in_a_view(&mut self) -> Result<Step, Ended> {
        let Setup {
            plan, shared, emitter, ..
        } = &self.setup;
        let changeset_max = plan.changeset_bytes_max.min(emitter.limit_bytes()).max(1);
        // While a read goes on, one reservation serves a piece of log and a page.
        let (log_max, page_max) = match self.reads.is_empty() {
            true => (changeset_max, 0),
            false => (changeset_max / 4, changeset_max - changeset_max / 4),
        };
        // Inside an interval closing waits for its end.
        let also = (!self.is_inside).then_some(&shared.closing);
        let mut memory = emitter.reserve(changeset_max, also)?;

        begin_view(&self.setup.conn)?;
        let seen = self.look(log_max, page_max);
        end_view(&self.setup.conn);
        let Some(Seen { head, chunk, page }) = seen? else {
            drop(memory);
            // What is done about it is a commit of our own, which the watch does not see.
            self.has_more = true;
            return match self.put_right() {
                // A writer of the user's holds the lock. Nothing is read until this is done.
                Err(Error::Sql { source, .. }) if is_busy(&source) => Ok(Step::Wait),
                done => done.map(|()| Step::Again).map_err(Ended::from),
            };
        };
        self.verified = head;
        self.has_more = chunk.upto < head;
        let did_read = chunk.upto > self.cursor || page.is_some();
        let page_memory = memory.split_off(page_max);
        self.emit_chunk(chunk, memory)?;
        if let Some(page) = page {
            self.emit_page(page, head, page_memory)?;
        }
        Ok(if did_read { Step::Again } else { Step::Wait })
    }

    /// Everything that is done while a view is open; `None` if capture is not as it was.
    fn look(&mut self, log_max: usize, page_max: usize) -> Result<Option<Seen>> {
        if !self.is_as_it_was()? {
            return Ok(None);
        }
        let head = marks::head(&self.setup.conn, &self.setup.names)?;
        if head < self.cursor {
            return Err(self.gone("the end of the change table"));
        }
        let upto = self.end_of_interval(head);
        let wanted = Wanted {
            from: self.cursor,
            upto,
            bytes_max: log_max,
            known_upto: self.known_upto,
        };
        let chunk = self.log.read(&self.setup.conn, &self.reads, wanted)?;
        let reaches_head = chunk.is_consistent && chunk.upto == head;
        let page = if reaches_head && page_max > 0 {
            self.page_in_view(page_max)?
        } else {
            None
        };
        Ok(Some(Seen { head, chunk, page }))
    }

    fn is_as_it_was(&mut self) -> Result<bool> {
        if meta::schema_version(&self.setup.conn)? != self.setup.captured.schema_version {
            return Ok(false);
        }
        if self.triggers_checked_at.elapsed() >= TRIGGER_CHECK_EVERY {
            self.triggers_checked_at = std::time::Instant::now();
            return install::triggers_are_in_place(&self.setup.conn, &self.setup.captured);
        }
        Ok(true)
    }

    /// Fixes where the interval ends when it begins; a stream that must be read again or a view ends it earlier.
    fn end_of_interval(&mut self, head: i64) -> i64 {
        let next_gap = self
            .rereads
            .iter()
            .map(|reread| reread.at - 1)
            .min()
            .unwrap_or(i64::MAX);
        let head = self.pending_view.as_ref().map_or(head, |view| head.min(view.at()));
        *self.interval_end.get_or_insert(head.min(next_gap.max(self.cursor)))
    }
}

/// Opens a read transaction: everything until [`end_view`] is seen as of one moment.
pub(crate) fn begin_view(conn: &Connection) -> Result<()> {
    conn.execute_batch("BEGIN").map_err(sql("open a read view"))
}

/// Ends it. By COMMIT, because a copy into the scratch database belongs to it.
pub(crate) fn end_view(conn: &Connection) {
    if conn.execute_batch("COMMIT").is_err() {
        // The transaction is over already, or as good as over: SQLite rolled it back when the statement failed whose error
        // is on its way.
        let _ = conn.execute_batch("ROLLBACK");
    }
}
