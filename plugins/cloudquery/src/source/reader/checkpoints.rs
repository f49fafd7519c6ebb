//! Cursors that move inside a sync, where a plugin sends checkpoints.
//!
//! - A checkpoint counts every row before it on the stream. Its cursors are kept with the position behind the last of those rows,
//!   so a later process sees them only when that is durable in every destination.
//! - In the first sync of all, an incremental table is read like any other until the first checkpoint. There its read ends, and
//!   what follows are changes in the log: else a sync that takes days would begin anew after each crash. That is for the first
//!   sync only. Later, the end of a read that is not whole would take rows away from a destination that mirrors.
//! - Until a sync was complete, cursors are good for the read that they were kept in, and for no other: a later read of the
//!   first sync may have got less far, and ended.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use model::{ChangeSet, Checkpoint, Control, Delta, Order, Position, StreamState};

use super::{CURSORS, READ_OF_CURSORS, Ready, Sync, Values, placed};
use crate::error::Error;

/// How long a sync that broke waits for its last checkpoint. A destination that is down must not keep the source from being tried.
const DURABLE_WAIT_MAX: Duration = Duration::from_secs(30);

impl Sync {
    /// Takes a checkpoint's cursors in; they are kept with the next changeset.
    pub(super) fn checkpoint(&mut self, rows: &RecordBatch) -> Result<(), Error> {
        let (Some(backend), Some(running)) = (&self.backend, &mut self.run) else {
            return Ok(());
        };
        running.has_checkpoint = backend.checkpoint(rows).map_err(|error| Error::Protocol {
            plugin: self.spec.source_name().to_owned(),
            what: format!("its checkpoint cannot be kept ({error})"),
        })?;
        Ok(())
    }

    /// Keeps the cursors of the checkpoints that have come, whose rows are all in `ready` or beyond.
    pub(super) fn keep_checkpoint(&mut self) {
        let Some(running) = &mut self.run else {
            return;
        };
        // A sync for some destinations only brings nobody else further.
        if !std::mem::take(&mut running.has_checkpoint) || running.run.destinations.is_some() {
            return;
        }
        if !running.goes_on && !self.turn() {
            return;
        }
        let (Some(backend), Some(running)) = (&self.backend, &self.run) else {
            return;
        };
        let order = running.log_from.unwrap_or_else(|| self.flow.state().last_order());
        let mut with = Checkpoint::default();
        with.marks.insert(self.flow.log.clone(), Position::at(order));
        let mut values = vec![(CURSORS, backend.checkpointed())];
        if running.has_turned {
            let run = running.run.number;
            let turned = running.begun.iter().filter(|begun| begun.is_log);
            with.streams
                .extend(turned.map(|begun| (begun.schema.stream().clone(), StreamState::Live { run })));
            values.push((READ_OF_CURSORS, run.to_string().into_bytes()));
        }
        self.keep(values, with);
    }

    /// Keeps values together with the newest changeset that is not handed out, or with what was handed out.
    pub(super) fn keep(&mut self, values: Values, with: Checkpoint) {
        match self.ready.back_mut() {
            // Not before: what is never handed out never becomes durable, and a later position would cover it.
            Some(ready) => ready.keep = Some((values, with)),
            None => self.put(values, with),
        }
    }

    pub(super) fn put(&mut self, values: Values, with: Checkpoint) {
        for (key, value) in values {
            self.cx.kept.put(key, value, with.clone());
        }
        self.handed_out = Some(with);
    }

    /// Waits until the checkpoint that was handed out last is durable everywhere: the next try begins further on then. One that
    /// comes at once takes everything with it that is on its way. Cancel-safe.
    pub(super) async fn await_handed_out(&mut self) {
        let Some(with) = &self.handed_out else {
            return;
        };
        let flow = Arc::clone(&self.flow);
        let is_durable = async {
            loop {
                let changed = flow.changed.notified();
                tokio::pin!(changed);
                // Registered before the look, so that an acknowledgement in between is not missed.
                changed.as_mut().enable();
                if flow.state().everywhere.covers(with) {
                    return true;
                }
                if flow.state().is_closed {
                    return false;
                }
                changed.await;
            }
        };
        tokio::select! {
            is_durable = is_durable => if is_durable {
                self.tries.succeeded();
            },
            () = tokio::time::sleep(DURABLE_WAIT_MAX) => {}
            () = self.cx.stop.cancelled() => {}
        }
        self.handed_out = None;
    }

    /// Ends the reads of the incremental tables, if this is the first sync: their rows are changes from here on.
    fn turn(&mut self) -> bool {
        let mut state = self.flow.state();
        if !state.is_before_first_complete() {
            return false;
        }
        let order = state.next_order();
        drop(state);
        let Some(running) = &mut self.run else {
            return false;
        };
        (running.goes_on, running.has_turned, running.log_from) = (true, true, Some(order));
        // The position first: a table that is live without one was read to its end.
        let delta = Delta::of(self.flow.log.clone(), None, Position::at(order));
        self.ready.push_back(Ready::of(ChangeSet::rows(delta, Vec::new())));
        let incremental = self.starter.incremental();
        for begun in &mut running.begun {
            if incremental.contains(begun.schema.stream()) {
                begun.is_log = true;
                let ended = end_of_read(begun.schema.stream(), running.run.number);
                let (delta, control) = ended;
                self.ready
                    .push_back(Ready::of(placed(&self.flow.log, &running.run, delta, control)));
            }
        }
        true
    }
}

/// The end of a read, which makes a table live.
pub(super) fn end_of_read(stream: &model::StreamId, run: u32) -> (Delta, Control) {
    let delta = Delta::none().with_stream(stream.clone(), StreamState::Live { run });
    let control = Control::EndRead {
        stream: stream.clone(),
        run,
    };
    (delta, control)
}

/// Whether kept cursors are to be gone on from: before the first complete sync, only those of the newest read.
pub(in super::super) fn are_of_newest_read(newest: Order, read: Option<&[u8]>, newest_read: u32) -> bool {
    let is_complete = newest.key() > 0;
    is_complete || read.is_some_and(|read| read == newest_read.to_string().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn before_the_first_complete_sync_cursors_are_good_for_their_own_read_only() {
        let (first, complete) = (Order::new(0, 0, 7), Order::new(0, 1_700_000_000_000_000, 0));
        assert!(are_of_newest_read(first, Some(b"3"), 3));
        assert!(!are_of_newest_read(first, Some(b"3"), 4), "a later read got less far");
        assert!(!are_of_newest_read(first, None, 3));
        assert!(are_of_newest_read(complete, Some(b"3"), 4));
    }
}
