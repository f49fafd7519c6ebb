use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use model::{Checkpoint, PipelineId};
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
    /// Whether a reader of another process that holds on to the source is to be ended: the user said so, and every destination
    /// is ours already, so that it can do no harm.
    pub take_over: bool,
    /// Whether the run ends where the source stands: one that reads on a schedule reads once, now, and ends.
    pub once: bool,
    /// Cancelled when the reader should end; a reader that waits for something slow watches it.
    pub stop: CancellationToken,
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
    pub fn put(&self, key: impl Into<String>, value: impl Into<Bytes>, with: Checkpoint) {
        self.with(|state| {
            state.waiting.push(KeptValue {
                key: key.into(),
                value: value.into(),
                with,
            })
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
