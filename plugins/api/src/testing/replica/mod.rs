//! A transactional destination in memory: the judge of what a source emitted and of what a runtime applied.
//!
//! A [`Replica`] is the system; [`Replica::destination`] makes a destination on it, any number of times. It keeps rows as
//! text, applies them by key or appends them, stores the checkpoint in the same step, fences stale owners, and refuses a
//! rival while an owner lives. Beside the rows it keeps [`violations`](Replica::violations): changes that cannot be true of
//! an exact copy, as an insert of a key that is there or a delete of one that is not.
//!
//! What is written and not committed lies beside the tables and is not counted as a buffer: this is for tests.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use model::{Checkpoint, DestinationId, PipelineId, SchemaId, StreamId};
use tokio::sync::watch;

use crate::conformance::Row;
use crate::{Destination, DestinationOptions, Lane, Owner};

mod destination;
mod steps;
mod table;

use destination::ReplicaDestination;
use table::Table;

/// Tables in memory; see the module. Clones share them.
#[derive(Clone)]
pub struct Replica(Arc<Shared>);

struct Shared {
    store: Mutex<Store>,
    commit_count: watch::Sender<u64>,
}

#[derive(Default)]
struct Store {
    tables: BTreeMap<StreamId, Table>,
    lanes: BTreeMap<LaneKey, Ledger>,
    violations: Vec<String>,
}

type LaneKey = (PipelineId, DestinationId, u16);

/// What is stored about a lane.
#[derive(Clone, Default)]
struct Ledger {
    generation: u64,
    owner: Option<Owner>,
    /// Held by the destination that is open: the session lock.
    lock: Weak<()>,
    checkpoint: Option<Checkpoint>,
    plan_hash: Option<String>,
    schemas: BTreeMap<StreamId, SchemaId>,
}

impl Default for Replica {
    fn default() -> Self {
        Self::new()
    }
}

impl Replica {
    /// An empty one.
    pub fn new() -> Self {
        Replica(Arc::new(Shared {
            store: Mutex::default(),
            commit_count: watch::Sender::new(0),
        }))
    }

    /// A destination on it.
    pub fn destination(&self, options: DestinationOptions) -> Box<dyn Destination> {
        Box::new(ReplicaDestination::new(self.clone(), options))
    }

    /// What a reader sees of a stream, in key order, then what was appended; `None` if it has no table.
    pub fn rows(&self, stream: &StreamId) -> Option<Vec<Row>> {
        self.store().tables.get(stream).map(Table::rows)
    }

    /// Number of rows of a stream; 0 if it has no table.
    pub fn row_count(&self, stream: &StreamId) -> usize {
        self.store().tables.get(stream).map_or(0, Table::row_count)
    }

    /// The checkpoint that a lane holds.
    pub fn checkpoint(&self, lane: &Lane) -> Option<Checkpoint> {
        self.store().lanes.get(&key_of(lane))?.checkpoint.clone()
    }

    /// Changes that an exact copy would never meet, in the order in which they were committed.
    pub fn violations(&self) -> Vec<String> {
        self.store().violations.clone()
    }

    /// Counts commits; a receiver wakes at each.
    pub fn commits(&self) -> watch::Receiver<u64> {
        self.0.commit_count.subscribe()
    }

    /// Waits until `is_true` of the replica, looking after each commit. `false` if it was not within `deadline`.
    pub async fn until(&self, deadline: Duration, mut is_true: impl FnMut(&Replica) -> bool) -> bool {
        let mut commits = self.commits();
        let wait = async {
            while !is_true(self) {
                if commits.changed().await.is_err() {
                    return false;
                }
            }
            true
        };
        tokio::time::timeout(deadline, wait).await.unwrap_or(false)
    }

    /// Another replica with the same rows and checkpoints, as a backup restored elsewhere would be.
    #[must_use]
    pub fn fork(&self) -> Replica {
        let store = self.store();
        let lanes = store.lanes.iter().map(|(lane, ledger)| {
            let ledger = Ledger {
                lock: Weak::new(),
                ..ledger.clone()
            };
            (lane.clone(), ledger)
        });
        let forked = Store {
            tables: store.tables.clone(),
            lanes: lanes.collect(),
            violations: store.violations.clone(),
        };
        Replica(Arc::new(Shared {
            store: Mutex::new(forked),
            commit_count: watch::Sender::new(0),
        }))
    }

    fn store(&self) -> MutexGuard<'_, Store> {
        self.0.store.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn key_of(lane: &Lane) -> LaneKey {
    (lane.pipeline.clone(), lane.destination.clone(), lane.lane)
}
