use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use model::{ChangeSet, StreamId, StreamSchema};

use crate::{Capabilities, CommitPoint, Destination, Error, Holds, Lane, Result, StoredView, Written};

/// How slow a [`ThrottledDestination`] is; shared, so that a test can change it while it runs.
#[derive(Clone, Default)]
pub struct Pace(Arc<Mutex<PaceState>>);

#[derive(Clone, Copy, Default)]
struct PaceState {
    rows_per_second: Option<f64>,
    write_delay: Duration,
    commit_delay: Duration,
}

impl Pace {
    /// As fast as the destination is.
    pub fn full() -> Self {
        Self::default()
    }

    /// Limits the rate of rows; `None` lifts the limit.
    pub fn rows_per_second(&self, rate: Option<f64>) -> &Self {
        self.with(|state| state.rows_per_second = rate);
        self
    }

    /// Makes each write and each commit take this much longer.
    pub fn delays(&self, write: Duration, commit: Duration) -> &Self {
        self.with(|state| (state.write_delay, state.commit_delay) = (write, commit));
        self
    }

    fn now(&self) -> PaceState {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with(&self, change: impl FnOnce(&mut PaceState)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// A destination that takes its time.
pub struct ThrottledDestination {
    inner: Box<dyn Destination>,
    pace: Pace,
}

impl ThrottledDestination {
    /// Wraps a destination.
    pub fn new(inner: Box<dyn Destination>, pace: &Pace) -> Self {
        ThrottledDestination {
            inner,
            pace: pace.clone(),
        }
    }
}

#[async_trait]
impl Destination for ThrottledDestination {
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    async fn check(&mut self) -> Result<Vec<Error>> {
        self.inner.check().await
    }

    async fn assess(
        &mut self,
        before: Option<&BTreeMap<StreamId, Bytes>>,
        now: &[Arc<StreamSchema>],
    ) -> Result<Vec<Error>> {
        self.inner.assess(before, now).await
    }

    fn described(&mut self) -> Vec<(StreamId, Bytes)> {
        self.inner.described()
    }

    async fn open(&mut self, lane: &Lane) -> Result<Holds> {
        self.inner.open(lane).await
    }

    async fn write(&mut self, changeset: Arc<ChangeSet>) -> Result<Written> {
        let pace = self.pace.now();
        let for_rows = pace
            .rows_per_second
            .map_or(0.0, |rate| changeset.row_count() as f64 / rate.max(1e-3));
        tokio::time::sleep(pace.write_delay + Duration::from_secs_f64(for_rows)).await;
        self.inner.write(changeset).await
    }

    async fn read_back(&mut self) -> Result<Box<dyn StoredView>> {
        self.inner.read_back().await
    }

    async fn commit(&mut self, at: CommitPoint<'_>) -> Result<()> {
        tokio::time::sleep(self.pace.now().commit_delay).await;
        self.inner.commit(at).await
    }

    async fn close(self: Box<Self>) -> Result<()> {
        self.inner.close().await
    }

    async fn forget(&mut self, lane: &Lane) -> Result<Vec<String>> {
        self.inner.forget(lane).await
    }
}
