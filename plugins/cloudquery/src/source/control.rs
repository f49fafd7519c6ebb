use std::sync::Arc;

use api::{Head, HeadMark, LagUnit, ReadExisting, ReadProgress, Result, SourceControl};
use async_trait::async_trait;
use model::{Checkpoint, Order, Partition};

use super::flow::{Flow, now};

pub(super) struct Control {
    flow: Arc<Flow>,
}

impl Control {
    pub(super) fn new(flow: Arc<Flow>) -> Self {
        Control { flow }
    }
}

#[async_trait]
impl SourceControl for Control {
    async fn head(&self) -> Result<Head> {
        let state = self.flow.state();
        if let (Partition::Log(log), true) = (&self.flow.log, state.is_scheduled()) {
            let now = now();
            return Ok(Head {
                marks: vec![HeadMark {
                    log: Arc::clone(log),
                    order: Order::new(0, now.micros() as u64, 0),
                    time: Some(now),
                }],
                unit: LagUnit::Micros,
            });
        }
        // A sync that is made once: what the system has since, nobody knows.
        let mark = match (&self.flow.log, state.head()) {
            (Partition::Log(log), Some(time)) => Some(HeadMark {
                log: Arc::clone(log),
                order: Order::new(0, time.micros() as u64, 0),
                time: Some(time),
            }),
            _ => None,
        };
        Ok(Head {
            marks: mark.into_iter().collect(),
            unit: LagUnit::None,
        })
    }

    async fn acknowledge(&self, everywhere: &Checkpoint) -> Result<()> {
        self.flow.state().everywhere = everywhere.clone();
        self.flow.changed.notify_waiters();
        Ok(())
    }

    async fn read_existing(&self, request: ReadExisting) -> Result<u32> {
        Ok(self.flow.ask(&request))
    }

    async fn reads(&self) -> Vec<ReadProgress> {
        self.flow.progress()
    }

    async fn close(&self) -> Result<()> {
        self.flow.state().is_closed = true;
        self.flow.changed.notify_waiters();
        Ok(())
    }
}
