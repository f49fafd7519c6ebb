//! Handing changesets to the runtime from a task of our own, each with memory that was reserved for it.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use api::{Emission, Reservation, Share};
use model::ChangeSet;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::error::Error;
use super::shared::Shared;

/// What the runtime reads.
pub(crate) type Delivery = api::Result<Emission>;

/// The sending end.
pub(crate) struct Emitter {
    memory: Share,
    out: mpsc::Sender<Delivery>,
    shared: Arc<Shared>,
}

/// Why a step did not finish.
#[derive(Debug)]
pub(crate) enum Ended {
    /// The source is to end at once.
    Stopped,
    /// It failed.
    Failed(api::Error),
}

impl From<api::Error> for Ended {
    fn from(error: api::Error) -> Self {
        Ended::Failed(error)
    }
}

impl From<Error> for Ended {
    fn from(error: Error) -> Self {
        Ended::Failed(error.into())
    }
}

impl Emitter {
    pub(crate) fn new(memory: Share, out: mpsc::Sender<Delivery>, shared: Arc<Shared>) -> Self {
        Emitter { memory, out, shared }
    }

    /// Waits for memory, until the source is told to stop or `also` is cancelled.
    pub(crate) async fn reserve(&self, bytes: usize, also: Option<&CancellationToken>) -> Result<Reservation, Ended> {
        if let Some(reservation) = self.memory.try_reserve(bytes) {
            return Ok(reservation);
        }
        let also = also.cloned().unwrap_or_default();
        let _busy = self.busy();
        tokio::select! {
            reservation = self.memory.reserve(bytes) => Ok(reservation),
            () = self.shared.stop.cancelled() => Err(Ended::Stopped),
            () = also.cancelled() => Err(Ended::Stopped),
            () = self.out.closed() => Err(Ended::Stopped),
        }
    }

    /// What memory is reserved from, for those who build changesets beside the engine.
    pub(crate) fn memory(&self) -> Share {
        self.memory.clone()
    }

    /// The most that can be reserved.
    pub(crate) fn limit_bytes(&self) -> usize {
        self.memory.limit_bytes()
    }

    /// Hands a changeset on; waits while the runtime has no room.
    pub(crate) async fn emit(&self, changeset: ChangeSet, mut reservation: Reservation) -> Result<(), Ended> {
        if changeset.size_bytes > reservation.bytes() && reservation.bytes() < self.limit_bytes() {
            // One row was larger than all that a changeset may have. Given back first, so that nothing is held while
            // waiting: two sources that wait for each other's memory would wait for ever.
            drop(reservation);
            reservation = self.reserve(changeset.size_bytes, None).await?;
        }
        reservation.shrink_to(changeset.size_bytes);
        self.send(Ok(Emission { changeset, reservation })).await
    }

    /// Ends the flow with an error.
    pub(crate) async fn fail(&self, error: api::Error) {
        // If nobody listens any more, nobody needs to know.
        let _ = self.send(Err(error)).await;
    }

    /// Completes when the runtime has dropped the reader.
    pub(crate) async fn closed(&self) {
        self.out.closed().await;
    }

    async fn send(&self, delivery: Delivery) -> Result<(), Ended> {
        let delivery = match self.out.try_send(delivery) {
            Ok(()) => return Ok(()),
            Err(mpsc::error::TrySendError::Closed(_)) => return Err(Ended::Stopped),
            Err(mpsc::error::TrySendError::Full(delivery)) => delivery,
        };
        let _busy = self.busy();
        tokio::select! {
            sent = self.out.send(delivery) => sent.map_err(|_| Ended::Stopped),
            () = self.shared.stop.cancelled() => Err(Ended::Stopped),
        }
    }

    fn busy(&self) -> Busy<'_> {
        self.shared.is_busy.store(true, Ordering::Release);
        Busy(&self.shared)
    }
}

/// While it lives, the engine does not read the log.
struct Busy<'a>(&'a Shared);

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.is_busy.store(false, Ordering::Release);
    }
}

/// The runtime's end: cancel-safe, because what is not received stays in the channel.
pub(crate) struct Flow {
    pub(crate) deliveries: mpsc::Receiver<Delivery>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) slot: String,
    /// The engine; it ends when the receiver is gone.
    pub(crate) engine: JoinHandle<()>,
}

#[async_trait::async_trait]
impl api::Reader for Flow {
    async fn next(&mut self) -> api::Result<Option<Emission>> {
        match self.deliveries.recv().await {
            Some(delivery) => delivery.map(Some),
            None if self.shared.has_ended() => Ok(None),
            None => Err(Error::TaskGone {
                slot: self.slot.clone(),
            }
            .into()),
        }
    }
}

impl Drop for Flow {
    fn drop(&mut self) {
        self.deliveries.close();
        // Aborted rather than joined: dropping is not async. Its connections close with it, which ends the walsender.
        self.shared.close();
        self.engine.abort();
    }
}
