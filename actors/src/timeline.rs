//! When what was committed at the source, so that lag is an age and not a guess.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use model::{Checkpoint, Commit, Mark, Order, Partition, Timestamp};

/// Entries kept for each log. Beyond it neighbours are merged: lag then errs to the larger side by one neighbour.
const ENTRIES_MAX: usize = 4096;

/// For each log, the changesets that were received and are not durable everywhere: where each ends, and when its oldest change
/// was committed.
#[derive(Default)]
pub(crate) struct Timeline {
    logs: BTreeMap<Arc<str>, VecDeque<Entry>>,
}

#[derive(Clone, Copy)]
struct Entry {
    end: Order,
    oldest: Timestamp,
}

impl Timeline {
    /// A changeset was received that moves `log` to `end`, with these commits.
    pub(crate) fn received(&mut self, log: &Arc<str>, end: Order, commits: impl Iterator<Item = Commit>) {
        let Some(oldest) = commits.map(|commit| commit.time).min() else {
            return;
        };
        let entries = self.logs.entry(Arc::clone(log)).or_default();
        if entries.back().is_some_and(|last| last.end >= end) {
            return; // A replay: the first time it was received counts.
        }
        entries.push_back(Entry { end, oldest });
        if entries.len() > ENTRIES_MAX {
            let merged: VecDeque<Entry> = entries
                .make_contiguous()
                .chunks(2)
                .map(|pair| Entry {
                    end: pair[pair.len() - 1].end,
                    oldest: pair.iter().map(|e| e.oldest).min().unwrap_or_default(),
                })
                .collect();
            *entries = merged;
        }
    }

    /// Everything up to `everywhere` is durable and will not be asked for.
    pub(crate) fn forget(&mut self, everywhere: &Checkpoint) {
        for (log, entries) in &mut self.logs {
            let mark = everywhere.mark(&Partition::Log(Arc::clone(log)));
            while entries.front().is_some_and(|entry| mark.covers(entry.end)) {
                entries.pop_front();
            }
        }
    }

    /// The commit time of the oldest change after `mark`, of those received.
    pub(crate) fn oldest_after(&self, log: &Arc<str>, mark: Mark) -> Option<Timestamp> {
        let entries = self.logs.get(log)?;
        let at = entries.partition_point(|entry| mark.covers(entry.end));
        entries.get(at).map(|entry| entry.oldest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn commit(time: i64) -> Commit {
        Commit {
            row_end: 1,
            order: Order::MIN,
            time: Timestamp(time),
        }
    }

    #[test]
    fn lag_counts_from_the_oldest_change_that_is_not_covered() {
        let log: Arc<str> = "log".into();
        let mut timeline = Timeline::default();
        for key in 1..=3 {
            timeline.received(
                &log,
                Order::new(0, key * 10, 0),
                std::iter::once(commit(key as i64 * 1000)),
            );
        }
        let at = |key| timeline.oldest_after(&log, Mark::At(Order::new(0, key, 0)));
        assert_eq!(timeline.oldest_after(&log, Mark::NotBegun), Some(Timestamp(1000)));
        assert_eq!(at(10), Some(Timestamp(2000)));
        assert_eq!(at(30), None);
    }

    #[test]
    fn merging_keeps_memory_bounded_and_never_makes_lag_smaller() {
        let log: Arc<str> = "log".into();
        let mut timeline = Timeline::default();
        for key in 1..=100_000u64 {
            timeline.received(&log, Order::new(0, key, 0), std::iter::once(commit(key as i64)));
        }
        assert!(timeline.logs[&log].len() <= ENTRIES_MAX);
        for key in [0u64, 10, 5_000, 99_999] {
            let oldest = timeline
                .oldest_after(&log, Mark::At(Order::new(0, key, 0)))
                .expect("more came later");
            assert!(oldest.0 <= key as i64 + 1);
        }
    }
}
