use std::sync::Arc;

use async_trait::async_trait;
use model::{Checkpoint, Marker, PipelineId, StreamId, StreamSchema};

use super::{Call, Faults};
use crate::{
    Context, Emission, Error, Head, Held, Opened, Plan, ReadExisting, ReadProgress, Reader, Result, Source,
    SourceCapabilities, SourceControl, SourceView,
};

/// A source that goes wrong where its [`Faults`] say so; so do the readers and controls that it opens.
pub struct FaultySource {
    inner: Box<dyn Source>,
    faults: Faults,
}

impl FaultySource {
    /// Wraps a source. Give each value that is made anew the same faults.
    pub fn new(inner: Box<dyn Source>, faults: &Faults) -> Self {
        FaultySource {
            inner,
            faults: faults.clone(),
        }
    }
}

#[async_trait]
impl Source for FaultySource {
    fn capabilities(&self) -> SourceCapabilities {
        self.inner.capabilities()
    }

    async fn discover(&self) -> Result<Vec<Arc<StreamSchema>>> {
        self.faults.around(Call::Discover, self.inner.discover()).await
    }

    async fn check(&self, plan: &Plan) -> Result<Vec<Error>> {
        self.faults.around(Call::Check, self.inner.check(plan)).await
    }

    async fn open(&self, plan: &Plan, held: &[Held], cx: Context) -> Result<Opened> {
        let opened = self.faults.around(Call::Open, self.inner.open(plan, held, cx)).await?;
        let faults = self.faults.clone();
        Ok(Opened {
            reader: Box::new(FaultyReader {
                inner: opened.reader,
                faults: faults.clone(),
            }),
            control: Arc::new(FaultyControl {
                inner: opened.control,
                faults,
            }),
            ..opened
        })
    }

    async fn forget(&self, pipeline: &PipelineId) -> Result<Vec<String>> {
        self.faults.around(Call::Forget, self.inner.forget(pipeline)).await
    }
}

struct FaultyReader {
    inner: Box<dyn Reader>,
    faults: Faults,
}

#[async_trait]
impl Reader for FaultyReader {
    async fn next(&mut self) -> Result<Option<Emission>> {
        self.faults.around(Call::Next, self.inner.next()).await
    }
}

struct FaultyControl {
    inner: Arc<dyn SourceControl>,
    faults: Faults,
}

#[async_trait]
impl SourceControl for FaultyControl {
    async fn head(&self) -> Result<Head> {
        self.faults.around(Call::Head, self.inner.head()).await
    }

    async fn acknowledge(&self, everywhere: &Checkpoint) -> Result<()> {
        self.faults
            .around(Call::Acknowledge, self.inner.acknowledge(everywhere))
            .await
    }

    async fn read_existing(&self, request: ReadExisting) -> Result<u32> {
        self.faults
            .around(Call::ReadExisting, self.inner.read_existing(request))
            .await
    }

    async fn reads(&self) -> Vec<ReadProgress> {
        self.inner.reads().await
    }

    async fn slot(&self) -> Option<crate::SourceSlot> {
        self.inner.slot().await
    }

    async fn view(&self, streams: &[StreamId], marker: Marker) -> Result<Box<dyn SourceView>> {
        self.inner.view(streams, marker).await
    }

    async fn close(&self) -> Result<()> {
        self.faults.around(Call::Close, self.inner.close()).await
    }
}
