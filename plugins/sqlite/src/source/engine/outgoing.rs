//! Handing on the log, controls and progress: nothing beyond what marks have issued.

use std::sync::atomic::Ordering;
use std::time::Instant;

use api::Reservation;
use model::{Batch, ChangeSet, Control, Delta, Part};

use super::{Ended, Engine, Setup};
use crate::capture::marks;
use crate::error::{Result, patiently};
use crate::source::log::Chunk;
use crate::source::position::{self, Proof};

impl Engine {
    pub(super) fn emit_chunk(&mut self, chunk: Chunk, memory: Reservation) -> Result<(), Ended> {
        let Chunk {
            batches,
            upto,
            is_consistent,
            mark,
        } = chunk;
        self.cursor = upto;
        self.mark = mark.unwrap_or(self.mark);
        if is_consistent && self.interval_end.is_some_and(|end| upto >= end) {
            self.interval_end = None;
        }
        if batches.is_empty() && (!self.is_inside || !is_consistent) {
            return Ok(());
        }
        let batches = batches
            .into_iter()
            .map(|batch| batch.finish(&self.partition))
            .collect::<Result<Vec<Batch>>>()?;
        let part = match (self.is_inside, is_consistent) {
            (false, true) => Part::Whole,
            (false, false) => Part::First,
            (true, false) => Part::Middle,
            (true, true) => Part::Last,
        };
        let delta = if is_consistent { self.announce()? } else { Delta::none() };
        self.is_inside = !is_consistent;
        self.setup.emitter.emit(ChangeSet::part(part, delta, batches), memory)?;
        Ok(())
    }

    /// Moves the announced position to the cursor.
    pub(super) fn announce(&mut self) -> Result<Delta> {
        self.ensure_issued()?;
        let fingerprint = marks::fingerprint(&self.setup.conn, &self.setup.names, self.cursor)?.unwrap_or(0);
        let proof = Proof {
            mark: self.mark,
            fingerprint,
        };
        let to = position::log_position(self.incarnation, self.cursor, proof);
        let from = std::mem::replace(&mut self.announced_order, to.order);
        self.announced = self.cursor;
        self.announced_at = Instant::now();
        self.setup.shared.announced.store(self.announced, Ordering::Release);
        Ok(Delta::of(self.partition.clone(), Some(from), to))
    }

    pub(super) fn announce_progress(&mut self) -> Result<(), Ended> {
        let memory = self.setup.emitter.reserve(0, Some(&self.setup.shared.closing))?;
        let delta = self.announce()?;
        self.setup.emitter.emit(ChangeSet::rows(delta, Vec::new()), memory)?;
        Ok(())
    }

    pub(super) fn emit_control(&mut self, delta: Delta, control: Control) -> Result<(), Ended> {
        let memory = self.setup.emitter.reserve(0, None)?;
        self.setup.emitter.emit(ChangeSet::control(delta, control), memory)?;
        Ok(())
    }

    /// A huge transaction can carry the log beyond what the last mark allowed to hand out.
    fn ensure_issued(&mut self) -> Result<()> {
        while self.cursor > self.issued {
            let expected = self.setup.captured.schema_version;
            let Setup {
                conn, names, shared, ..
            } = &mut self.setup;
            if patiently(&shared.stop, || marks::commit(conn, names, expected))?.is_none() {
                self.put_right()?;
            }
            self.issued = marks::issued(&self.setup.conn, &self.setup.names)?;
        }
        Ok(())
    }
}
