//! Everything beside the flow of a polled database.

use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use api::{Head, HeadMark, LagUnit, ReadExisting, ReadProgress, SourceControl};
use async_trait::async_trait;
use bytes::Bytes;
use model::{Checkpoint, Order, Partition};
use rusqlite::Connection;

use super::RUN;
use super::cursor::{Polled, newest};
use crate::source::blocking;
use crate::source::reads::Request;
use crate::source::shared::Shared;

pub(super) struct PollControl {
    pub(super) shared: Arc<Shared>,
    pub(super) kept: api::Kept,
    pub(super) path: PathBuf,
    /// A connection of its own, and what it looks at.
    pub(super) looks_at: Arc<Mutex<(Connection, Vec<Polled>)>>,
}

#[async_trait]
impl SourceControl for PollControl {
    /// The largest cursors. Cheap where the cursor has an index.
    async fn head(&self) -> api::Result<Head> {
        let looks_at = Arc::clone(&self.looks_at);
        blocking(&self.path, move || {
            let looks_at = looks_at.lock().unwrap_or_else(PoisonError::into_inner);
            let (conn, streams) = &*looks_at;
            let mut marks = Vec::with_capacity(streams.len());
            for stream in streams {
                let newest = newest(conn, stream)?;
                marks.push(HeadMark {
                    log: log_of(&stream.partition),
                    order: newest.as_ref().map_or(Order::MIN, |cursor| cursor.order),
                    time: newest.and_then(|cursor| cursor.time()),
                });
            }
            Ok(Head {
                marks,
                unit: LagUnit::None,
            })
        })
        .await
    }

    /// Nothing is kept for anybody.
    async fn acknowledge(&self, _everywhere: &Checkpoint) -> api::Result<()> {
        Ok(())
    }

    async fn read_existing(&self, request: ReadExisting) -> api::Result<u32> {
        let run = self.shared.run_floor.fetch_add(1, Ordering::AcqRel) + 1;
        self.kept
            .put(RUN, Bytes::copy_from_slice(&run.to_be_bytes()), Checkpoint::default());
        self.shared.push_request(Request {
            streams: request.streams,
            destinations: request.destinations,
            empty_first: request.empty_first,
            run,
        });
        Ok(run)
    }

    async fn reads(&self) -> Vec<ReadProgress> {
        self.shared.reads()
    }

    async fn close(&self) -> api::Result<()> {
        self.shared.close();
        Ok(())
    }
}

fn log_of(partition: &Partition) -> Arc<str> {
    match partition {
        Partition::Log(log) => Arc::clone(log),
        Partition::Range { stream, .. } => stream.to_string().into(),
    }
}
