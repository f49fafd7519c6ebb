//! Everything beside the flow: the head of the log, acknowledgement, requests to read.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use api::{Head, HeadMark, Kept, LagUnit, ReadExisting, ReadProgress, SourceControl, SourceSlot, SourceView};
use async_trait::async_trait;
use model::{Checkpoint, Marker, Order, Partition, StreamId, Timestamp};
use tokio::sync::{Mutex, oneshot};

use super::catalogue::now_and_end_of_log;
use super::engine::ViewRequest;
use super::error::Error;
use super::position::{end_of, order_before};
use super::reads::Request;
use super::shared::Shared;
use super::slot_watch::{OurSlot, SlotWatch};
use crate::connect::{Connection, Settings};

/// The value of `kept` that numbers reads.
pub(crate) const RUN: &str = "postgres.run";

/// How long the head waits for the log to be seen as far as the server has written it. An idle server answers in a
/// millisecond; what takes longer is lag, and is told as such.
const HEAD_PATIENCE: Duration = Duration::from_millis(200);

pub(crate) struct Control {
    pub(crate) shared: Arc<Shared>,
    pub(crate) log: Arc<str>,
    pub(crate) kept: Kept,
    pub(crate) settings: Settings,
    /// Its own connection: neither the engine nor a read ever holds it. Made again when it breaks.
    pub(crate) connection: Mutex<Option<Connection>>,
    /// What is told of the slot beside its log.
    pub(crate) watch: std::sync::Mutex<SlotWatch>,
}

impl Control {
    /// The server's clock, and the end of what it has written.
    async fn probe(&self) -> api::Result<(Timestamp, crate::replication::Lsn)> {
        let mut held = self.connection.lock().await;
        let connection = match held.take() {
            Some(connection) => connection,
            None => self.settings.connect().await?,
        };
        let probed = now_and_end_of_log(&connection).await?;
        if let Err(error) = self.look_at_slots(&connection).await {
            tracing::debug!(
                code = error.code(),
                error = error.chain(),
                "the slot cannot be looked at"
            );
        }
        *held = Some(connection);
        Ok(probed)
    }

    /// Tells how much log the slot keeps, and warns before it is lost.
    async fn look_at_slots(&self, connection: &Connection) -> api::Result<()> {
        let slots = OurSlot::all(connection).await?;
        // Nothing is left half-done by a panic inside this short section.
        self.watch.lock().unwrap_or_else(PoisonError::into_inner).see(&slots);
        Ok(())
    }
}

#[async_trait]
impl SourceControl for Control {
    /// Where nothing for us was written since the newest commit that we know of, that commit is the head: other tables'
    /// traffic is nothing that a destination could lag behind. Where it cannot be known yet, the end of the log is.
    async fn head(&self) -> api::Result<Head> {
        let (now, end) = self.probe().await?;
        let is_all_seen = self.shared.reaches(end, HEAD_PATIENCE).await;
        let (order, time) = if is_all_seen {
            let time = self.shared.newest_time.load(Ordering::Acquire);
            (
                Order::new(0, self.shared.newest.load(Ordering::Acquire), 0),
                (time > 0).then_some(Timestamp(time)),
            )
        } else {
            (order_before(end), Some(now))
        };
        Ok(Head {
            marks: vec![HeadMark {
                log: Arc::clone(&self.log),
                order,
                time,
            }],
            unit: LagUnit::Bytes,
        })
    }

    async fn acknowledge(&self, everywhere: &Checkpoint) -> api::Result<()> {
        if let Some(position) = everywhere.marks.get(&Partition::Log(Arc::clone(&self.log))) {
            fail::fail_point!("postgres.source.before_acknowledge");
            self.shared.acknowledge(end_of(position.order));
        }
        Ok(())
    }

    async fn read_existing(&self, request: ReadExisting) -> api::Result<u32> {
        let run = self.shared.run_floor.fetch_add(1, Ordering::AcqRel) + 1;
        self.kept.put(RUN, run.to_be_bytes().to_vec(), Checkpoint::default());
        self.shared.push_request(Request {
            streams: request.streams,
            destinations: request.destinations,
            empty_first: request.empty_first,
            run,
            by_key: false,
        });
        Ok(run)
    }

    async fn reads(&self) -> Vec<ReadProgress> {
        self.shared.reads()
    }

    async fn slot(&self) -> Option<SourceSlot> {
        let watch = self.watch.lock().unwrap_or_else(PoisonError::into_inner);
        watch.figures(self.shared.received())
    }

    async fn view(&self, streams: &[StreamId], marker: Marker) -> api::Result<Box<dyn SourceView>> {
        let (answer, answered) = oneshot::channel();
        self.shared.push_view(ViewRequest {
            marker,
            streams: streams.to_vec(),
            answer,
        });
        let gone = || Error::TaskGone {
            slot: self.log.to_string(),
        };
        let view = tokio::select! {
            view = answered => view.map_err(|_| gone())?,
            () = self.shared.closing.cancelled() => return Err(gone().into()),
        };
        Ok(Box::new(view?))
    }

    async fn close(&self) -> api::Result<()> {
        self.shared.close();
        Ok(())
    }
}
