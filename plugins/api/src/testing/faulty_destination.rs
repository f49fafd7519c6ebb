use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use model::{ChangeSet, StreamId, StreamSchema};

use super::{Call, Faults};
use crate::{Capabilities, CommitPoint, Destination, Error, Holds, Lane, Result, StoredView, Written};

/// A destination that goes wrong where its [`Faults`] say so.
pub struct FaultyDestination {
    inner: Box<dyn Destination>,
    faults: Faults,
}

impl FaultyDestination {
    /// Wraps a destination. Give each value that is made anew the same faults.
    pub fn new(inner: Box<dyn Destination>, faults: &Faults) -> Self {
        FaultyDestination {
            inner,
            faults: faults.clone(),
        }
    }
}

#[async_trait]
impl Destination for FaultyDestination {
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    async fn check(&mut self) -> Result<Vec<Error>> {
        self.faults.around(Call::Check, self.inner.check()).await
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
        self.faults.around(Call::Open, self.inner.open(lane)).await
    }

    async fn write(&mut self, changeset: Arc<ChangeSet>) -> Result<Written> {
        self.faults.around(Call::Write, self.inner.write(changeset)).await
    }

    async fn read_back(&mut self) -> Result<Box<dyn StoredView>> {
        self.inner.read_back().await
    }

    async fn commit(&mut self, at: CommitPoint<'_>) -> Result<()> {
        self.faults.around(Call::Commit, self.inner.commit(at)).await
    }

    async fn close(self: Box<Self>) -> Result<()> {
        let FaultyDestination { inner, faults } = *self;
        faults.around(Call::Close, inner.close()).await
    }

    async fn forget(&mut self, lane: &Lane) -> Result<Vec<String>> {
        self.faults.around(Call::Forget, self.inner.forget(lane)).await
    }
}
