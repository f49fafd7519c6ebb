//! Reading rows of a view on a thread, because SQLite blocks: one batch ahead of who takes them.

use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::RecordBatch;
use rusqlite::Connection;
use tokio::sync::mpsc;

/// A reading that goes on. Dropping it ends it at its next batch.
pub(crate) struct RowThread {
    batches: mpsc::Receiver<api::Result<RecordBatch>>,
}

/// Where batches go. `false`: nobody wants more.
pub(crate) type Put<'a> = dyn FnMut(RecordBatch) -> bool + 'a;

impl RowThread {
    /// Runs `read` on the connection, once an earlier reading has let go of it.
    pub(crate) fn start(
        conn: &Arc<Mutex<Connection>>,
        read: impl FnOnce(&Connection, &mut Put<'_>) -> api::Result<()> + Send + 'static,
    ) -> Self {
        let (sender, batches) = mpsc::channel(1);
        let conn = Arc::clone(conn);
        // Ends with the receiver; what goes wrong in it is sent.
        tokio::task::spawn_blocking(move || {
            let conn = conn.lock().unwrap_or_else(PoisonError::into_inner);
            let done = read(&conn, &mut |batch| sender.blocking_send(Ok(batch)).is_ok());
            if let Err(error) = done {
                // Nobody listens: nobody needs to know.
                let _ = sender.blocking_send(Err(error));
            }
        });
        RowThread { batches }
    }

    /// The next batch; `None` after the last.
    pub(crate) async fn next(&mut self) -> api::Result<Option<RecordBatch>> {
        self.batches.recv().await.transpose()
    }
}
