use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use model::{Checkpoint, PipelineId, StreamId};
use tokio_util::sync::CancellationToken;

use crate::Share;

/// What the runtime gives a source.
#[derive(Clone)]
pub struct Context {
    /// The pipeline that the source belongs to.
    pub pipeline: PipelineId,
    /// A directory for temporary files; empty at every open, removed afterwards. Nothing in it is state.
    pub scratch: PathBuf,
    /// Memory for changesets. A source reserves *before* it builds one, and hands the reservation on with it.
    pub memory: Share,
    /// Small values that survive with the checkpoints.
    pub kept: Kept,
    /// What goes wrong with single streams.
    pub tally: Tally,
    /// Whether a reader of another process that holds on to the source is to be ended: the user said so, and every destination
    /// is ours already, so that it can do no harm.
    pub take_over: bool,
    /// Whether the run ends where the source stands: one that reads on a schedule reads once, now, and ends.
    pub once: bool,
    /// Cancelled when the reader should end; a reader that waits for something slow watches it.
    pub stop: CancellationToken,
}

/// Counts of what went wrong with single streams while the source was read: for the summary of a run. The rows of a stream
/// that has an error are not complete; what an error means for the pipeline is said by errors, not by this.
#[derive(Debug, Clone, Default)]
pub struct Tally(Arc<Mutex<BTreeMap<StreamId, StreamTrouble>>>);

/// What went wrong with one stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StreamTrouble {
    /// Failures.
    pub errors: u64,
    /// What was doubtful.
    pub warnings: u64,
}

impl Tally {
    /// Counts failures of a stream.
    pub fn errors(&self, stream: &StreamId, count: u64) {
        self.with(|all| all.entry(stream.clone()).or_default().errors += count);
    }

    /// Counts warnings about a stream.
    pub fn warnings(&self, stream: &StreamId, count: u64) {
        self.with(|all| all.entry(stream.clone()).or_default().warnings += count);
    }

    /// So far, by stream.
    pub fn counts(&self) -> BTreeMap<StreamId, StreamTrouble> {
        self.with(|all| all.clone())
    }

    fn with<T>(&self, f: impl FnOnce(&mut BTreeMap<StreamId, StreamTrouble>) -> T) -> T {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// One value to keep, and the checkpoint from which on it is true.
#[derive(Debug, Clone)]
pub struct KeptValue {
    /// Its name.
    pub key: String,
    /// The value.
    pub value: Bytes,
    /// Stored as soon as every destination covers this.
    pub with: Checkpoint,
}

/// Values of one key that wait for their checkpoints. More: a source that moves its cursor all the time beside a destination that
/// commits seldom takes our memory. Less: the cursor that becomes visible is older.
const WAITING_MAX: usize = 64;

/// Small values of one pipeline that become visible together with a given checkpoint: the next run number, a slot's
/// identity, a plugin's cursors.
///
/// Durability: a value put with checkpoint C is stored before C, or anything later, is acknowledged to the source, and
/// not before every destination covers C. Reads give the newest value put in this process.
#[derive(Clone, Default)]
pub struct Kept(Arc<Mutex<KeptState>>);

#[derive(Default)]
struct KeptState {
    values: BTreeMap<String, Bytes>,
    waiting: Vec<KeptValue>,
}

impl Kept {
    /// From what was stored.
    pub fn from_stored(values: BTreeMap<String, Bytes>) -> Self {
        Kept(Arc::new(Mutex::new(KeptState {
            values,
            waiting: Vec::new(),
        })))
    }

    /// The newest value.
    pub fn get(&self, key: &str) -> Option<Bytes> {
        self.with(|state| {
            let waiting = state
                .waiting
                .iter()
                .rev()
                .find(|value| value.key == key)
                .map(|value| value.value.clone());
            waiting.or_else(|| state.values.get(key).cloned())
        })
    }

    /// Puts a value that becomes visible to a later process together with `with`; an empty checkpoint means at once.
    ///
    /// Of one key 64 values wait at most: then the newest but one is given up, which only makes its moment later.
    pub fn put(&self, key: impl Into<String>, value: impl Into<Bytes>, with: Checkpoint) {
        let (key, value) = (key.into(), value.into());
        self.with(|state| {
            let of_key = |waiting: &KeptValue| waiting.key == key;
            if state.waiting.iter().filter(|waiting| of_key(waiting)).count() >= WAITING_MAX
                && let Some(newest) = state.waiting.iter().rposition(of_key)
            {
                state.waiting.remove(newest);
            }
            state.waiting.push(KeptValue { key, value, with });
        });
    }

    /// Forgets what was put under a name and has not become visible yet. A source that is opened anew goes on from what every
    /// destination covers, and so must not see what one of them may lack.
    pub fn withdraw(&self, key: &str) {
        self.with(|state| state.waiting.retain(|value| value.key != key));
    }

    /// For the checkpointer: moves every value whose checkpoint `everywhere` covers into the stored set, and returns that
    /// set if it changed.
    pub fn ripen(&self, everywhere: &Checkpoint) -> Option<BTreeMap<String, Bytes>> {
        self.with(|state| {
            let (ripe, waiting): (Vec<_>, Vec<_>) = std::mem::take(&mut state.waiting)
                .into_iter()
                .partition(|value| everywhere.covers(&value.with));
            state.waiting = waiting;
            let changed = !ripe.is_empty();
            state
                .values
                .extend(ripe.into_iter().map(|value| (value.key, value.value)));
            changed.then(|| state.values.clone())
        })
    }

    fn with<T>(&self, f: impl FnOnce(&mut KeptState) -> T) -> T {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use model::{Order, Partition, Position};

    use super::*;

    fn at(key: u64) -> Checkpoint {
        let mut checkpoint = Checkpoint::default();
        let position = Position::at(Order::new(0, key, 0));
        checkpoint.marks.insert(Partition::log("x"), position);
        checkpoint
    }

    #[test]
    fn values_that_wait_are_few_and_the_oldest_and_the_newest_are_among_them() {
        let kept = Kept::default();
        for key in 1..=1_000 {
            kept.put("cursor", key.to_string(), at(key));
        }
        kept.put("other", "x", at(1));
        assert_eq!(kept.with(|state| state.waiting.len()), WAITING_MAX + 1);
        assert_eq!(kept.get("cursor").as_deref(), Some(b"1000".as_slice()));
        let ripe = kept.ripen(&at(10)).expect("some are covered");
        assert_eq!(ripe["cursor"].as_ref(), b"10");
        assert_eq!(kept.ripen(&at(999)).expect("more are")["cursor"].as_ref(), b"63");
        assert_eq!(kept.ripen(&at(1_000)).expect("all are")["cursor"].as_ref(), b"1000");
    }
}
