use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use model::{DestinationId, PipelineId};

use crate::{StateError, StateStore, Stored};

/// A store that lives as long as its last clone. For tests: what a clone writes, the others see.
#[derive(Debug, Clone, Default)]
pub struct MemoryStore(Arc<Mutex<BTreeMap<PipelineId, Pipeline>>>);

#[derive(Debug, Default)]
struct Pipeline {
    destinations: BTreeMap<DestinationId, Stored>,
    kept: BTreeMap<String, Bytes>,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        MemoryStore::default()
    }

    fn with<T>(&self, work: impl FnOnce(&mut BTreeMap<PipelineId, Pipeline>) -> T) -> T {
        // Each change is one assignment, so a panic elsewhere leaves nothing half done.
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[async_trait]
impl StateStore for MemoryStore {
    async fn load(&self, pipeline: &PipelineId) -> Result<BTreeMap<DestinationId, Stored>, StateError> {
        Ok(self.with(|all| all.get(pipeline).map(|p| p.destinations.clone()).unwrap_or_default()))
    }

    async fn put(
        &self,
        pipeline: &PipelineId,
        destination: &DestinationId,
        value: &Stored,
        expected_epoch: u64,
    ) -> Result<u64, StateError> {
        self.with(|all| {
            let held = all.get(pipeline).and_then(|p| p.destinations.get(destination));
            let found = held.map_or(0, |stored| stored.epoch);
            if found != expected_epoch {
                return Err(StateError::Epoch {
                    pipeline: pipeline.clone(),
                    destination: destination.clone(),
                    expected: expected_epoch,
                    found,
                });
            }
            let epoch = expected_epoch + 1;
            let value = Stored { epoch, ..value.clone() };
            let destinations = &mut all.entry(pipeline.clone()).or_default().destinations;
            destinations.insert(destination.clone(), value);
            Ok(epoch)
        })
    }

    async fn load_kept(&self, pipeline: &PipelineId) -> Result<BTreeMap<String, Bytes>, StateError> {
        Ok(self.with(|all| all.get(pipeline).map(|p| p.kept.clone()).unwrap_or_default()))
    }

    async fn put_kept(&self, pipeline: &PipelineId, kept: &BTreeMap<String, Bytes>) -> Result<(), StateError> {
        self.with(|all| all.entry(pipeline.clone()).or_default().kept = kept.clone());
        Ok(())
    }

    async fn pipelines(&self) -> Result<Vec<PipelineId>, StateError> {
        Ok(self.with(|all| all.keys().cloned().collect()))
    }

    async fn forget(&self, pipeline: &PipelineId) -> Result<bool, StateError> {
        Ok(self.with(|all| all.remove(pipeline).is_some()))
    }
}
