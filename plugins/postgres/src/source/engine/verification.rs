//! A view of all rows exactly as of one place in the log, for `verify`.
//!
//! It is a [`Window`], opened beside those in which existing rows are read: the log is read up to its S, the marker goes out,
//! and the log goes on. The snapshot is held until the view is dropped, and with it what vacuum may not remove; locks are
//! held on one table at a time.

use std::collections::HashMap;
use std::sync::Arc;

use api::{SourceView, VIEW_BATCH_BYTES};
use arrow::array::RecordBatch;
use async_trait::async_trait;
use model::{ChangeSet, Delta, Marker, Order, Partition, StreamId, StreamSchema};
use tokio::sync::oneshot;
use tokio_util::task::AbortOnDropHandle;

use super::Engine;
use crate::copy::{CopyDecoder, CopyRows, RowsError};
use crate::replication::Lsn;
use crate::source::catalogue::{Table, now_and_end_of_log};
use crate::source::emitter::Ended;
use crate::source::error::{Error, sql};
use crate::source::page_copy::refused;
use crate::source::pages::copy_statement;
use crate::source::position;
use crate::source::publication::Publication;
use crate::source::shape::StreamShape;
use crate::source::window::{Door, Standing, Window, WindowReader};

/// Somebody wants a view.
pub(crate) struct ViewRequest {
    pub(crate) marker: Marker,
    pub(crate) streams: Vec<StreamId>,
    pub(crate) answer: oneshot::Sender<api::Result<PostgresView>>,
}

/// A view on its way.
#[derive(Default)]
pub(crate) enum Viewing {
    /// Nobody wants one.
    #[default]
    None,
    /// Its window is being opened; the log may be read up to the barrier, which S cannot be before.
    Opening {
        barrier: Lsn,
        opened: AbortOnDropHandle<api::Result<Window>>,
        request: ViewRequest,
    },
    /// It is open; the log may be read up to its S.
    Open { window: Box<Window>, request: ViewRequest },
}

impl Viewing {
    /// Up to where the log may be read now: commit records from there on wait.
    pub(crate) fn barrier(&self) -> Option<Lsn> {
        match self {
            Viewing::None => None,
            Viewing::Opening { barrier, .. } => Some(*barrier),
            Viewing::Open { window, .. } => Some(window.at),
        }
    }

    /// Whether the log is to be read up to a place that `upto` is short of.
    pub(crate) fn is_short_of(&self, upto: Lsn) -> bool {
        matches!(self, Viewing::Open { window, .. } if upto < window.at)
    }
}

impl Engine {
    /// What is done for a view between two transactions; whether something was.
    pub(super) async fn step_verification(&mut self) -> Result<bool, Ended> {
        match std::mem::take(&mut self.viewing) {
            Viewing::None => {
                let Some(request) = self.setup.shared.pop_view() else {
                    return Ok(false);
                };
                let (_, barrier) = now_and_end_of_log(&self.setup.client).await?;
                let slot = format!("highwater_view_{}", uuid::Uuid::new_v4().simple());
                let opening = Window::open(self.setup.settings.clone(), slot, self.setup.spec.window_wait);
                let shared = Arc::clone(&self.setup.shared);
                let opened = tokio::spawn(async move {
                    let opened = opening.await;
                    shared.woken.notify_one();
                    opened
                });
                self.viewing = Viewing::Opening {
                    // What is read already may lie beyond, if the server's view of its end is a moment old.
                    barrier: barrier.max(self.upto),
                    opened: AbortOnDropHandle::new(opened),
                    request,
                };
                Ok(true)
            }
            Viewing::Opening { opened, request, .. } if opened.is_finished() => {
                let opened = opened.await.map_err(|_| Error::TaskGone {
                    slot: self.setup.names.slot.clone(),
                })?;
                match opened {
                    Ok(window) => {
                        let window = Box::new(window);
                        self.viewing = Viewing::Open { window, request };
                    }
                    Err(error) => {
                        // Whoever asked may have gone.
                        let _ = request.answer.send(Err(error));
                    }
                }
                Ok(true)
            }
            Viewing::Open { window, request } if self.upto >= window.at => {
                self.flush().await?;
                if self.upto > position::end_of(self.announced) {
                    self.emit_progress().await?;
                }
                let memory = self.setup.emitter.reserve(0, Some(&self.setup.shared.closing)).await?;
                let marked = ChangeSet::marked(Delta::none(), request.marker);
                self.setup.emitter.emit(marked, memory).await?;
                let view = self.view(*window, &request.streams).await;
                // Whoever asked may have gone.
                let _ = request.answer.send(view);
                Ok(true)
            }
            waiting => {
                self.viewing = waiting;
                Ok(false)
            }
        }
    }

    /// The view of a window whose place the log is read up to.
    async fn view(&mut self, window: Window, streams: &[StreamId]) -> api::Result<PostgresView> {
        let mut tables = HashMap::new();
        let publication = Publication::find(&self.setup.client, &self.setup.names.publication).await?;
        for table in window.tables(streams).await? {
            let id = StreamId::in_schema(table.schema.as_str(), table.name.as_str());
            if let Some(planned) = self.planned(&id).cloned() {
                let shape = self.shape_of(&planned, &table, publication.as_ref()).await?;
                tables.insert(id, (shape, table));
            }
        }
        let log = match &self.setup.log {
            Partition::Log(log) => Arc::clone(log),
            Partition::Range { stream, .. } => stream.to_string().into(),
        };
        let door = window.into_door();
        Ok(PostgresView {
            reader: door.clone().reader().await?,
            door,
            log,
            order: self.announced,
            tables,
            reading: None,
        })
    }
}

/// An open view.
pub(crate) struct PostgresView {
    reader: WindowReader,
    door: Door,
    log: Arc<str>,
    order: Order,
    tables: HashMap<StreamId, (Arc<StreamShape>, Table)>,
    reading: Option<(Arc<StreamShape>, CopyRows)>,
}

#[async_trait]
impl SourceView for PostgresView {
    fn at(&self) -> (Arc<str>, Order) {
        (Arc::clone(&self.log), self.order)
    }

    async fn begin(&mut self, stream: &StreamId) -> api::Result<Option<Arc<StreamSchema>>> {
        if self.reading.take().is_some() {
            // A COPY that is not at its end would be read over to it on this connection.
            self.reader = self.door.clone().reader().await?;
        }
        let Some((shape, table)) = self.tables.get(stream) else {
            return Ok(None);
        };
        let columns: Vec<String> = shape
            .columns
            .iter()
            .map(|column| shape.sent[column.at].name.clone())
            .collect();
        if self.reader.begin(table, &columns).await? == Standing::Changed {
            return Err(Error::NoWindow {
                why: format!("`{stream}` was truncated, rewritten, altered or dropped since it was taken"),
            }
            .into());
        }
        let of_server: Vec<_> = shape.columns.iter().map(|column| column.of_server.clone()).collect();
        let decoder = CopyDecoder::new(&of_server, Arc::clone(shape.schema.arrow()), shape.schema.key())
            .map_err(|unsuited| unreadable(stream, unsuited.to_string()))?;
        let statement = copy_statement(shape, table, "");
        let rows = CopyRows::start(&self.reader.connection, &statement, decoder, VIEW_BATCH_BYTES);
        let rows = rows.await.map_err(sql("read the rows of a view"))?;
        self.reading = Some((Arc::clone(shape), rows));
        Ok(Some(Arc::clone(&shape.schema)))
    }

    async fn next(&mut self) -> api::Result<Option<RecordBatch>> {
        let Some((shape, rows)) = &mut self.reading else {
            return Ok(None);
        };
        let next = rows.next().await.map_err(|error| match error {
            RowsError::Server(source) => sql("read the rows of a view")(source),
            RowsError::Copy(error) => refused(shape, error),
            RowsError::BrokenOff => unreadable(shape.stream(), "the COPY of its rows broke off".to_owned()),
        })?;
        if next.is_none() {
            self.reading = None;
            self.reader.end().await?;
        }
        Ok(next)
    }
}

fn unreadable(stream: &StreamId, why: String) -> api::Error {
    Error::BadChange {
        stream: stream.to_string(),
        why,
    }
    .into()
}
