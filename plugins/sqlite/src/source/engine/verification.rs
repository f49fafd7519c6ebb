//! A view of a captured database exactly as of one place in its change table, for `verify`.
//!
//! The engine opens it between two intervals: a read transaction on a connection of its own shows the rows as they are at one
//! moment, and the end of the change table at that moment is the view's place. The engine reads on up to there, hands the
//! marker out, and goes on. While the view is held the WAL cannot be started anew.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use api::{SourceView, VIEW_BATCH_BYTES};
use arrow::array::RecordBatch;
use async_trait::async_trait;
use model::{ChangeSet, Delta, Marker, Order, Partition, StreamId, StreamSchema};
use rusqlite::Connection;
use tokio::sync::oneshot;

use super::{Ended, Engine, begin_view};
use crate::capture::{marks, meta};
use crate::error::{Result, sql};
use crate::row_thread::{Put, RowThread};
use crate::source::pages;
use crate::source::rows::RowsBuilder;
use crate::source::shape::StreamShape;

/// Somebody wants a view.
pub(crate) struct ViewRequest {
    /// The view's own connection.
    pub(crate) conn: Connection,
    pub(crate) marker: Marker,
    pub(crate) answer: oneshot::Sender<Result<SqliteView>>,
}

/// A view that is open, and whose place the engine has not reached.
pub(crate) struct PendingView {
    request: ViewRequest,
    /// The last `seq` that it shows.
    at: i64,
}

impl PendingView {
    /// Up to where the log may be read now.
    pub(crate) fn at(&self) -> i64 {
        self.at
    }
}

impl Engine {
    /// Opens the view that somebody waits for, or hands its marker out; whether something was done.
    pub(super) fn step_verification(&mut self) -> Result<bool, Ended> {
        if let Some(pending) = &self.pending_view {
            if self.cursor < pending.at {
                return Ok(false);
            }
            return self.emit_marker().map(|()| true);
        }
        let Some(request) = self.setup.shared.pop_view() else {
            return Ok(false);
        };
        // There is something to look at, whatever becomes of the request.
        self.has_more = true;
        match self.open_view(&request.conn) {
            Ok(Some(at)) => {
                self.pending_view = Some(PendingView { request, at });
                Ok(true)
            }
            // Capture is put right by the next step, and then the request's turn comes.
            Ok(None) => {
                self.setup.shared.push_view(request);
                Ok(false)
            }
            Err(error) => {
                // Whoever asked may have gone.
                let _ = request.answer.send(Err(error));
                Ok(true)
            }
        }
    }

    /// Where the log ends in the view; `None` if capture is not as it was.
    fn open_view(&self, conn: &Connection) -> Result<Option<i64>> {
        begin_view(conn)?;
        let at = marks::head(conn, &self.setup.names)?;
        if meta::schema_version(conn)? == self.setup.captured.schema_version {
            return Ok(Some(at));
        }
        conn.execute_batch("ROLLBACK").map_err(sql("end a read view"))?;
        Ok(None)
    }

    fn emit_marker(&mut self) -> Result<(), Ended> {
        let memory = self.setup.emitter.reserve(0, Some(&self.setup.shared.closing))?;
        let delta = if self.cursor > self.announced {
            self.announce()?
        } else {
            Delta::none()
        };
        let Some(PendingView { request, .. }) = self.pending_view.take() else {
            return Ok(());
        };
        self.has_more = true;
        self.setup
            .emitter
            .emit(ChangeSet::marked(delta, request.marker), memory)?;
        let shapes = self.setup.plan.streams.iter();
        let shapes = shapes.filter_map(|planned| Some((planned.id.clone(), self.current_shape(&planned.id)?)));
        let view = SqliteView {
            conn: Arc::new(Mutex::new(request.conn)),
            log: match &self.partition {
                Partition::Log(log) => Arc::clone(log),
                Partition::Range { stream, .. } => stream.to_string().into(),
            },
            order: self.announced_order,
            shapes: shapes.collect(),
            reading: None,
        };
        // Whoever asked may have gone.
        let _ = request.answer.send(Ok(view));
        Ok(())
    }
}

/// An open view.
pub(crate) struct SqliteView {
    conn: Arc<Mutex<Connection>>,
    log: Arc<str>,
    order: Order,
    shapes: HashMap<StreamId, Arc<StreamShape>>,
    reading: Option<RowThread>,
}

#[async_trait]
impl SourceView for SqliteView {
    fn at(&self) -> (Arc<str>, Order) {
        (Arc::clone(&self.log), self.order)
    }

    async fn begin(&mut self, stream: &StreamId) -> api::Result<Option<Arc<StreamSchema>>> {
        self.reading = None;
        let Some(shape) = self.shapes.get(stream).map(Arc::clone) else {
            return Ok(None);
        };
        let schema = Arc::clone(&shape.schema);
        self.reading = Some(RowThread::start(&self.conn, move |conn, put| {
            read(conn, &shape, put).map_err(Into::into)
        }));
        Ok(Some(schema))
    }

    async fn next(&mut self) -> api::Result<Option<RecordBatch>> {
        match &mut self.reading {
            Some(reading) => reading.next().await,
            None => Ok(None),
        }
    }
}

fn read(conn: &Connection, shape: &Arc<StreamShape>, put: &mut Put<'_>) -> Result<()> {
    let text = format!(
        "SELECT {} FROM main.{}",
        pages::columns(shape, &[]),
        shape.table.quoted_name()
    );
    let doing = || sql("read the rows of a view");
    let mut statement = conn.prepare(&text).map_err(doing())?;
    let mut rows = statement.query([]).map_err(doing())?;
    let mut builder = RowsBuilder::new(shape);
    let mut bytes = 0;
    while let Some(row) = rows.next().map_err(doing())? {
        bytes += builder.push(row, 0)?;
        if bytes >= VIEW_BATCH_BYTES {
            bytes = 0;
            let full = std::mem::replace(&mut builder, RowsBuilder::new(shape));
            if !put(full.finish()?) {
                return Ok(());
            }
        }
    }
    put(builder.finish()?);
    Ok(())
}
