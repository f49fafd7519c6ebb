//! Tasks that somebody owns.
//!
//! A panic in a detached task is invisible to ractor, and a handler that awaits blocks its mailbox. So the work of an actor runs
//! in a task of its own that the actor owns: its end, whatever it is, comes back as a message, and it is aborted when its
//! owner goes.

use std::any::Any;
use std::future::Future;

use ractor::{ActorRef, Message};
use tokio::task::{AbortHandle, JoinError};

/// A task that ends with its owner.
pub(crate) struct Joined {
    work: AbortHandle,
}

/// How a task ended.
#[derive(Debug)]
pub(crate) enum Ended<T> {
    /// By itself.
    Returned(T),
    /// It panicked, with this message.
    Panicked(String),
}

impl Joined {
    /// Runs `work`; `owner` gets `message(end)` when it is over, unless it was aborted.
    pub(crate) fn spawn<M: Message, T: Send + 'static>(
        owner: &ActorRef<M>,
        work: impl Future<Output = T> + Send + 'static,
        message: impl FnOnce(Ended<T>) -> M + Send + 'static,
    ) -> Self {
        let handle = tokio::spawn(work);
        let joined = Joined {
            work: handle.abort_handle(),
        };
        let owner = owner.clone();
        tokio::spawn(async move {
            let ended = match handle.await {
                Ok(value) => Ended::Returned(value),
                Err(error) if error.is_panic() => Ended::Panicked(panic_text(error)),
                Err(_aborted) => return,
            };
            // An owner that is gone has nobody left to tell.
            let _ = owner.cast(message(ended));
        });
        joined
    }

    /// Whether it is over.
    pub(crate) fn is_finished(&self) -> bool {
        self.work.is_finished()
    }

    /// Ends the task at its next await.
    pub(crate) fn abort(&self) {
        self.work.abort();
    }
}

impl Drop for Joined {
    fn drop(&mut self) {
        self.abort();
    }
}

fn panic_text(error: JoinError) -> String {
    let payload: Box<dyn Any + Send> = error.into_panic();
    payload
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without a message".to_owned())
}
