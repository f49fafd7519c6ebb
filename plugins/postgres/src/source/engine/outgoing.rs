//! Handing on what was read: whole transactions together, large ones in parts, progress without rows.

use std::time::Instant;

use model::{Batch, ChangeSet, Control, Delta, Order, Part};

use super::{Engine, PROGRESS_EVERY};
use crate::replication::Lsn;
use crate::source::emitter::Ended;
use crate::source::position;

impl Engine {
    /// What is pending, cut where the transaction of `order` begins.
    pub(super) fn split(&mut self, order: Order) -> Result<(Vec<Batch>, Vec<Batch>), Ended> {
        let log = self.setup.log.clone();
        let batches = std::mem::take(&mut self.pending).finish(&log)?;
        let mut earlier = Vec::new();
        let mut current = Vec::new();
        for batch in batches {
            let of_earlier = batch.commits.partition_point(|commit| commit.order < order);
            let rows = of_earlier.checked_sub(1).map_or(0, |last| batch.commits[last].row_end);
            if rows > 0 {
                earlier.push(batch.slice(0..rows));
            }
            if rows < batch.len() {
                current.push(batch.slice(rows..batch.len()));
            }
        }
        Ok((earlier, current))
    }

    /// The transaction that is being read does not fit: what was before it goes out whole, and what there is of it as a part.
    pub(super) async fn emit_part(&mut self, order: Order) -> Result<(), Ended> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let (earlier, current) = self.split(order)?;
        let mut memory = match self.memory.take() {
            Some(memory) => memory,
            None => self.setup.emitter.reserve(self.changeset_max(), None).await?,
        };
        self.pending_since = None;
        if !earlier.is_empty() {
            let to = position::log_position(Lsn(order.key()), self.setup.timeline);
            let delta = self.moved_to(to);
            let changeset = ChangeSet::rows(delta, earlier);
            let its = memory.split_off(changeset.size_bytes);
            self.setup.emitter.emit(changeset, its).await?;
        }
        if !current.is_empty() {
            let part = if self.is_inside { Part::Middle } else { Part::First };
            self.is_inside = true;
            self.setup
                .emitter
                .emit(ChangeSet::part(part, Delta::none(), current), memory)
                .await?;
        }
        Ok(())
    }

    /// Hands on what is pending, which ends with a whole transaction.
    pub(super) async fn flush(&mut self) -> Result<(), Ended> {
        if self.pending.is_empty() {
            self.memory = None;
            return Ok(());
        }
        self.emit_pending(Part::Whole, true).await
    }

    pub(super) async fn emit_pending(&mut self, part: Part, is_end: bool) -> Result<(), Ended> {
        let log = self.setup.log.clone();
        let batches = std::mem::take(&mut self.pending).finish(&log)?;
        self.pending_since = None;
        let delta = if is_end {
            let to = position::log_position(self.upto, self.setup.timeline);
            self.moved_to(to)
        } else {
            Delta::none()
        };
        let memory = match self.memory.take() {
            Some(memory) => memory,
            None => self.setup.emitter.reserve(0, None).await?,
        };
        self.setup
            .emitter
            .emit(ChangeSet::part(part, delta, batches), memory)
            .await
    }

    /// Moves the announced position.
    pub(super) fn moved_to(&mut self, to: model::Position) -> Delta {
        let from = std::mem::replace(&mut self.announced, to.order);
        self.announced_at = Instant::now();
        self.progress_due = PROGRESS_EVERY;
        Delta::of(self.setup.log.clone(), Some(from), to)
    }

    pub(super) async fn emit_progress(&mut self) -> Result<(), Ended> {
        let memory = self.setup.emitter.reserve(0, Some(&self.setup.shared.closing)).await?;
        let to = position::log_position(self.upto, self.setup.timeline);
        let delta = self.moved_to(to);
        self.setup
            .emitter
            .emit(ChangeSet::rows(delta, Vec::new()), memory)
            .await
    }

    pub(super) async fn emit_control(&mut self, delta: Delta, control: Control) -> Result<(), Ended> {
        let memory = self.setup.emitter.reserve(0, None).await?;
        self.setup
            .emitter
            .emit(ChangeSet::control(delta, control), memory)
            .await
    }
}
