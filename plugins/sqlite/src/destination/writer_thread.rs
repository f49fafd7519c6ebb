//! The thread that owns the connection: SQLite blocks, and an async task must not.
//!
//! Its fate: it ends when the destination is closed or dropped. Then it rolls back what was not committed, closes the
//! connection and gives the session lock back, in this order. A panic in it has the same effect.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;

use rusqlite::InterruptHandle;
use tokio::sync::oneshot;

use super::error::{Error, Result};
use super::session::Session;

type Job = Box<dyn FnOnce(&mut Option<Session>) + Send>;

/// Hands work to the thread, one piece at a time.
pub(crate) struct WriterThread {
    path: PathBuf,
    jobs: mpsc::Sender<Job>,
    /// Of the session's connection, once there is one.
    interrupt: Arc<Mutex<Option<InterruptHandle>>>,
    /// Whether a piece of work was handed over whose answer was not seen.
    is_working: bool,
}

impl WriterThread {
    /// Starts the thread; `path` is for messages.
    pub(crate) fn start(path: PathBuf, name: &str) -> Result<Self> {
        let (jobs, inbox) = mpsc::channel::<Job>();
        thread::Builder::new()
            .name(format!("sqlite-{name}"))
            .spawn(move || {
                let mut session = None;
                for job in inbox {
                    job(&mut session);
                }
            })
            .map_err(|source| Error::Thread {
                path: path.clone(),
                source,
            })?;
        Ok(WriterThread {
            path,
            jobs,
            interrupt: Arc::default(),
            is_working: false,
        })
    }

    /// Runs `work` on the thread.
    ///
    /// Cancellation: the work goes on without anybody waiting for it; whoever drops the future must assume nothing about
    /// its outcome and drop this too.
    pub(crate) async fn run<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut Option<Session>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (reply, answer) = oneshot::channel();
        let interrupt = Arc::clone(&self.interrupt);
        let job: Job = Box::new(move |session| {
            let outcome = work(session);
            let handle = session.as_ref().map(Session::interrupt_handle);
            *interrupt.lock().unwrap_or_else(PoisonError::into_inner) = handle;
            // Nobody waits any more if the caller was cut off.
            let _ = reply.send(outcome);
        });
        let gone = |path: &PathBuf| Error::ThreadGone { path: path.clone() };
        self.is_working = true;
        self.jobs.send(job).map_err(|_| gone(&self.path))?;
        let outcome = answer.await.map_err(|_| gone(&self.path))?;
        self.is_working = false;
        outcome
    }
}

impl Drop for WriterThread {
    fn drop(&mut self) {
        if !self.is_working {
            return;
        }
        // What it does is void, so it need not be finished: the next writer waits for the session lock.
        if let Some(handle) = &*self.interrupt.lock().unwrap_or_else(PoisonError::into_inner) {
            handle.interrupt();
        }
    }
}
