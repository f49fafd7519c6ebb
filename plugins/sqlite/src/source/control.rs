//! Everything beside the flow of a captured database: its head, acknowledgement, requests to read.

use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use api::{Head, HeadMark, LagUnit, ReadExisting, ReadProgress, SourceControl, SourceView};
use async_trait::async_trait;
use model::{Checkpoint, Marker, Partition, StreamId};
use rusqlite::Connection;
use tokio::sync::oneshot;

use super::engine::ViewRequest;
use super::log::time_of;
use super::position::{self, Proof, proof_of, seq_of};
use super::reads::Request;
use super::shared::Shared;
use crate::capture::marks;
use crate::capture::names::Names;
use crate::connection::Access;
use crate::error::{Error, Result, patiently};

pub(crate) struct CapturedControl {
    inner: Arc<Inner>,
}

struct Inner {
    /// Its own connection: neither the reading nor the keeping ever holds it.
    conn: Mutex<Connection>,
    names: Names,
    shared: Arc<Shared>,
    log: Arc<str>,
    incarnation: u32,
    path: PathBuf,
}

impl CapturedControl {
    pub(crate) fn new(
        conn: Connection,
        names: Names,
        shared: Arc<Shared>,
        log: Arc<str>,
        incarnation: u32,
        path: PathBuf,
    ) -> Self {
        CapturedControl {
            inner: Arc::new(Inner {
                conn: Mutex::new(conn),
                names,
                shared,
                log,
                incarnation,
                path,
            }),
        }
    }

    async fn on_connection<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner, &mut Connection) -> Result<T> + Send + 'static,
    ) -> api::Result<T> {
        let inner = Arc::clone(&self.inner);
        let joined = tokio::task::spawn_blocking(move || {
            let mut conn = inner.conn.lock().unwrap_or_else(PoisonError::into_inner);
            work(&inner, &mut conn)
        })
        .await;
        match joined {
            Ok(done) => done.map_err(Into::into),
            Err(_) => Err(Error::ThreadGone {
                path: self.inner.path.clone(),
            }
            .into()),
        }
    }
}

#[async_trait]
impl SourceControl for CapturedControl {
    async fn head(&self) -> api::Result<Head> {
        self.on_connection(|inner, conn| {
            // Our own marks are nothing that a destination could lag behind.
            let newest = marks::newest_change(conn, &inner.names)?;
            let announced = inner.shared.announced.load(Ordering::Acquire);
            let seq = newest.map_or(0, |(seq, _)| seq).max(announced);
            let mark = HeadMark {
                log: Arc::clone(&inner.log),
                order: position::order(inner.incarnation, seq),
                time: newest.map(|(_, days)| time_of(days)),
            };
            Ok(Head {
                marks: vec![mark],
                unit: LagUnit::Rows,
            })
        })
        .await
    }

    async fn acknowledge(&self, everywhere: &Checkpoint) -> api::Result<()> {
        let partition = Partition::Log(Arc::clone(&self.inner.log));
        let Some(position) = everywhere.marks.get(&partition) else {
            return Ok(());
        };
        // A position of an earlier incarnation names a `seq` that may stand for another change by now.
        if position.order.incarnation() == self.inner.incarnation {
            let Proof { mark, .. } = proof_of(&partition, position)?;
            let Shared {
                anchor, acknowledged, ..
            } = &*self.inner.shared;
            anchor.fetch_max(mark.seq, Ordering::AcqRel);
            acknowledged.fetch_max(seq_of(position.order), Ordering::AcqRel);
        }
        Ok(())
    }

    async fn read_existing(&self, request: ReadExisting) -> api::Result<u32> {
        self.on_connection(move |inner, conn| {
            let floor = inner.shared.run_floor.load(Ordering::Acquire);
            let run = patiently(&inner.shared.stop, || marks::take_run(conn, &inner.names, floor))?;
            inner.shared.run_floor.fetch_max(run, Ordering::AcqRel);
            inner.shared.push_request(Request {
                streams: request.streams,
                destinations: request.destinations,
                empty_first: request.empty_first,
                run,
            });
            Ok(run)
        })
        .await
    }

    async fn reads(&self) -> Vec<ReadProgress> {
        self.inner.shared.reads()
    }

    async fn view(&self, _streams: &[StreamId], marker: Marker) -> api::Result<Box<dyn SourceView>> {
        let conn = self
            .on_connection(|inner, _| super::open_connection(&inner.path, Access::Read))
            .await?;
        let (answer, answered) = oneshot::channel();
        let request = ViewRequest { conn, marker, answer };
        let shared = &self.inner.shared;
        shared.push_view(request);
        let gone = || Error::ThreadGone {
            path: self.inner.path.clone(),
        };
        let view = tokio::select! {
            view = answered => view.map_err(|_| gone())?,
            () = shared.closing.cancelled() => Err(gone()),
        };
        Ok(Box::new(view?))
    }

    async fn close(&self) -> api::Result<()> {
        self.inner.shared.close();
        Ok(())
    }
}
