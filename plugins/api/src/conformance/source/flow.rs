//! What must hold of the flow of changesets, checked at each.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use model::{Batch, Body, ChangeSet, Control, Order, Part, Partition, StreamId};

use crate::Emission;
use crate::conformance::{Promise, Unkept, ensure, ensure_eq};

/// Follows one reader from its open on.
#[derive(Default)]
pub(super) struct FlowCheck {
    /// How far each log, and each range, was moved by what was emitted.
    at: BTreeMap<Partition, Order>,
    /// The open transaction's batches' orders, while parts of it travel.
    open: Option<Vec<(Partition, Order, Order)>>,
    /// The reads that have begun and not ended.
    reading: BTreeSet<(StreamId, u32)>,
    /// Reads that go on from before, which begin without a control.
    resumed: Vec<(StreamId, u32)>,
}

impl FlowCheck {
    /// Reads that go on from before the open.
    pub(super) fn resuming(resumed: Vec<(StreamId, u32)>) -> Self {
        FlowCheck {
            resumed,
            ..FlowCheck::default()
        }
    }

    pub(super) fn check(&mut self, emission: &Emission, share_limit: usize) -> Promise {
        let changeset = &emission.changeset;
        let reserved = emission.reservation.bytes();
        ensure!(
            reserved >= changeset.size_bytes.min(share_limit),
            "{changeset:?} came with a reservation of {reserved} bytes"
        );
        ensure!(
            reserved <= share_limit,
            "{changeset:?} came with a reservation of {reserved} bytes, more than the share's {share_limit}"
        );
        for batch in changeset.batches() {
            self.check_batch(batch)?;
        }
        self.check_parts(changeset)?;
        self.check_control(changeset)?;
        self.check_moves(changeset)
    }

    fn check_batch(&self, batch: &Batch) -> Promise {
        batch.check().map_err(Unkept::broken)?;
        ensure!(!batch.is_empty(), "a batch of `{}` has no rows", batch.schema.stream());
        let now = SystemTime::now() + Duration::from_secs(60);
        let latest = now
            .duration_since(UNIX_EPOCH)
            .map_or(i64::MAX, |since| since.as_micros() as i64);
        for commit in &batch.commits {
            ensure!(
                commit.time.micros() > 0 && commit.time.micros() < latest,
                "a commit of `{}` is said to be of {:?}",
                batch.schema.stream(),
                commit.time
            );
        }
        if let Partition::Range { stream, run, .. } = &batch.partition {
            let is_known =
                self.reading.contains(&(stream.clone(), *run)) || self.resumed.contains(&(stream.clone(), *run));
            ensure!(is_known, "rows of run {run} of `{stream}` came outside its read");
        }
        Ok(())
    }

    fn check_parts(&mut self, changeset: &ChangeSet) -> Promise {
        let placed = changeset
            .place
            .iter()
            .map(|place| (place.log.clone(), place.order, place.order));
        let orders: Vec<_> = changeset
            .batches()
            .iter()
            .filter(|batch| batch.partition.is_log())
            .filter_map(|batch| {
                Some((
                    batch.partition.clone(),
                    batch.commits.first()?.order,
                    batch.commits.last()?.order,
                ))
            })
            .chain(placed)
            .collect();
        let is_open = self.open.is_some();
        match changeset.part {
            Part::Whole => {
                ensure!(!is_open, "{changeset:?} came between the parts of a transaction");
                check_interval(changeset, &orders)
            }
            Part::First => {
                ensure!(!is_open, "{changeset:?} began a transaction inside another");
                ensure!(changeset.delta.is_empty(), "{changeset:?} moves positions");
                self.open = Some(orders);
                Ok(())
            }
            Part::Middle => {
                ensure!(is_open, "{changeset:?} came outside a transaction");
                ensure!(changeset.delta.is_empty(), "{changeset:?} moves positions");
                self.open.get_or_insert_default().extend(orders);
                Ok(())
            }
            Part::Last => {
                ensure!(is_open, "{changeset:?} came outside a transaction");
                let mut all = self.open.take().unwrap_or_default();
                all.extend(orders);
                check_interval(changeset, &all)
            }
        }
    }

    fn check_control(&mut self, changeset: &ChangeSet) -> Promise {
        match &changeset.body {
            Body::Control(Control::BeginRead { schema, run, .. }) => {
                self.reading.insert((schema.stream().clone(), *run));
                let says = changeset
                    .delta
                    .streams
                    .iter()
                    .any(|(stream, state)| stream == schema.stream() && state.run() == *run && !state.is_live());
                ensure!(
                    says,
                    "the begin of run {run} does not put `{}` into reading",
                    schema.stream()
                );
            }
            Body::Control(Control::EndRead { stream, run }) => {
                let key = (stream.clone(), *run);
                let was_known = self.reading.remove(&key) || self.resumed.contains(&key);
                ensure!(was_known, "run {run} of `{stream}` ended without a begin");
                let says = changeset
                    .delta
                    .streams
                    .iter()
                    .any(|(of, state)| of == stream && state.run() == *run && state.is_live());
                ensure!(says, "the end of run {run} does not make `{stream}` live");
            }
            Body::Control(_) | Body::Rows(_) => {}
        }
        Ok(())
    }

    fn check_moves(&mut self, changeset: &ChangeSet) -> Promise {
        for m in &changeset.delta.moves {
            if let Some(&at) = self.at.get(&m.partition) {
                let is_log = m.partition.is_log();
                ensure!(
                    m.from.is_some_and(|from| from <= at) || (!is_log && m.from.is_none()),
                    "{changeset:?} leaves a hole in `{}`: it starts after {:?}, and {at} was the end",
                    m.partition,
                    m.from
                );
                ensure!(
                    !is_log || m.to.order >= at,
                    "{changeset:?} moves `{}` back from {at}",
                    m.partition
                );
            }
            ensure!(
                m.from.is_none_or(|from| from <= m.to.order),
                "{changeset:?} moves `{}` from {:?} back to {}",
                m.partition,
                m.from,
                m.to.order
            );
            self.at.insert(m.partition.clone(), m.to.order);
        }
        Ok(())
    }
}

/// Rows of a log lie in the interval by which the changeset moves that log.
fn check_interval(changeset: &ChangeSet, orders: &[(Partition, Order, Order)]) -> Promise {
    for (partition, first, last) in orders {
        let moved = changeset.delta.moves.iter().find(|m| m.partition == *partition);
        let Some(moved) = moved else {
            return Err(Unkept::broken(format!(
                "{changeset:?} has rows of `{partition}` and does not move it"
            )));
        };
        ensure!(
            moved.from.is_none_or(|from| *first > from),
            "{changeset:?} has a row at {first}, which is not after its begin {:?}",
            moved.from
        );
        ensure!(
            *last <= moved.to.order,
            "{changeset:?} has a row at {last}, after its end {}",
            moved.to.order
        );
    }
    ensure_eq!(changeset.part.ends_consistent(), true, "an interval of {changeset:?}");
    Ok(())
}
