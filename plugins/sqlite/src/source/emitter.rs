//! Handing changesets to the runtime from a thread of our own, each with memory that was reserved for it.

use std::sync::Arc;

use api::{Emission, Reservation, Share};
use model::ChangeSet;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// What the runtime reads.
pub(crate) type Delivery = api::Result<Emission>;

/// The sending end. Waits on the runtime's executor, never while a view is open.
pub(crate) struct Emitter {
    handle: Handle,
    memory: Share,
    out: mpsc::Sender<Delivery>,
    stop: CancellationToken,
}

/// The source is to end at once.
#[derive(Debug)]
pub(crate) struct Stopped;

impl Emitter {
    pub(crate) fn new(handle: Handle, memory: Share, out: mpsc::Sender<Delivery>, stop: CancellationToken) -> Self {
        Emitter {
            handle,
            memory,
            out,
            stop,
        }
    }

    /// Waits for memory, until the source is told to stop or `also` is cancelled.
    pub(crate) fn reserve(&self, bytes: usize, also: Option<&CancellationToken>) -> Result<Reservation, Stopped> {
        if let Some(reservation) = self.memory.try_reserve(bytes) {
            return Ok(reservation);
        }
        let also = also.cloned().unwrap_or_default();
        self.handle.block_on(async {
            tokio::select! {
                reservation = self.memory.reserve(bytes) => Ok(reservation),
                () = self.stop.cancelled() => Err(Stopped),
                () = also.cancelled() => Err(Stopped),
                () = self.out.closed() => Err(Stopped),
            }
        })
    }

    /// The most that can be reserved.
    pub(crate) fn limit_bytes(&self) -> usize {
        self.memory.limit_bytes()
    }

    /// Hands a changeset on; waits while the runtime has no room.
    pub(crate) fn emit(&self, changeset: ChangeSet, mut reservation: Reservation) -> Result<(), Stopped> {
        if changeset.size_bytes > reservation.bytes() && reservation.bytes() < self.limit_bytes() {
            // One row was larger than all that a changeset may have. Given back first, so that nothing is held while
            // waiting: two sources that wait for each other's memory would wait for ever.
            drop(reservation);
            reservation = self.reserve(changeset.size_bytes, None)?;
        }
        reservation.shrink_to(changeset.size_bytes);
        self.send(Ok(Emission { changeset, reservation }))
    }

    /// Ends the flow with an error.
    pub(crate) fn fail(&self, error: api::Error) {
        // If nobody listens any more, nobody needs to know.
        let _ = self.send(Err(error));
    }

    fn send(&self, delivery: Delivery) -> Result<(), Stopped> {
        let delivery = match self.out.try_send(delivery) {
            Ok(()) => return Ok(()),
            Err(mpsc::error::TrySendError::Closed(_)) => return Err(Stopped),
            Err(mpsc::error::TrySendError::Full(delivery)) => delivery,
        };
        self.handle.block_on(async {
            tokio::select! {
                sent = self.out.send(delivery) => sent.map_err(|_| Stopped),
                () = self.stop.cancelled() => Err(Stopped),
            }
        })
    }
}

/// The runtime's end: cancel-safe, because what is not received stays in the channel.
pub(crate) struct Flow {
    pub(crate) deliveries: mpsc::Receiver<Delivery>,
    pub(crate) shared: Arc<super::shared::Shared>,
    pub(crate) path: std::path::PathBuf,
    /// The threads of this source, joined when the flow is dropped.
    pub(crate) threads: Vec<std::thread::JoinHandle<()>>,
}

#[async_trait::async_trait]
impl api::Reader for Flow {
    async fn next(&mut self) -> api::Result<Option<Emission>> {
        match self.deliveries.recv().await {
            Some(delivery) => delivery.map(Some),
            None if self.shared.has_ended() => Ok(None),
            None => Err(crate::error::Error::ThreadGone {
                path: self.path.clone(),
            }
            .into()),
        }
    }
}

impl Drop for Flow {
    fn drop(&mut self) {
        self.deliveries.close();
        // Frees what is waiting to be received, and with it the sender.
        while self.deliveries.try_recv().is_ok() {}
        self.shared.close();
        for thread in self.threads.drain(..) {
            // A panic has been printed by its thread; `next` has reported that the thread is gone.
            let _ = thread.join();
        }
    }
}
