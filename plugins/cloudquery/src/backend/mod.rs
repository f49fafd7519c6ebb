//! Where a source plugin keeps its cursors: a plugin of our own that does nothing else.
//!
//! - The source plugin dials it by itself, as a client of the protocol, so it listens on TCP, which every SDK can dial.
//! - What is written is seen by who reads it during the same sync, and by nobody else: the sync decides whether its cursors
//!   are kept ([`Backend::changed`]) or forgotten ([`Backend::begin`]).
//! - Whoever may open a port of this machine may dial it. The table has a name that only the source plugin is told.
//!
//! A row is `key` utf8, `value` utf8 and, from Go, `version` uint64; columns are taken by their place.

mod cursors;
mod service;

use std::sync::Arc;

use proto::discovery_v1::discovery_server::{Discovery, DiscoveryServer};
use proto::discovery_v1::get_versions;
use proto::plugin_v3::plugin_server::PluginServer;
use proto::plugin_v3::sync::BackendOptions;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::task::AbortOnDropHandle;
use tonic::{Request, Response, Status};

use arrow::array::RecordBatch;
pub(crate) use cursors::{CursorError, Cursors};
use service::Service;

/// A backend that listens as long as this value lives.
pub(crate) struct Backend {
    options: BackendOptions,
    cursors: Arc<Cursors>,
    /// What the sync began with, and its checkpoints. What a plugin writes into the table by itself may be ahead of its rows.
    checkpointed: Cursors,
    _server: AbortOnDropHandle<()>,
}

impl Backend {
    pub(crate) async fn start() -> std::io::Result<Backend> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let options = BackendOptions {
            connection: listener.local_addr()?.to_string(),
            table_name: format!("highwater_state_{}", uuid::Uuid::new_v4().simple()),
        };
        let cursors = Arc::new(Cursors::default());
        let service = Service::new(options.table_name.clone(), Arc::clone(&cursors));
        let server = tonic::transport::Server::builder()
            .add_service(DiscoveryServer::new(Versions))
            .add_service(PluginServer::new(service).max_decoding_message_size(proto::MESSAGE_BYTES_MAX))
            .serve_with_incoming(TcpListenerStream::new(listener));
        let server = tokio::spawn(async move {
            if let Err(error) = server.await {
                tracing::error!(%error, "the state backend of a source plugin ended");
            }
        });
        Ok(Backend {
            options,
            cursors,
            checkpointed: Cursors::default(),
            _server: AbortOnDropHandle::new(server),
        })
    }

    /// What the source plugin is told.
    pub(crate) fn options(&self) -> BackendOptions {
        self.options.clone()
    }

    /// Begins a sync with what an earlier one left.
    pub(crate) fn begin(&self, stored: &[u8]) {
        self.cursors.replace(stored);
        self.checkpointed.replace(stored);
    }

    /// Takes the rows of a checkpoint in. Whether the sync has got further by its checkpoints.
    pub(crate) fn checkpoint(&self, rows: &RecordBatch) -> Result<bool, CursorError> {
        self.cursors.put(rows)?;
        self.checkpointed.put(rows)?;
        Ok(self.checkpointed.changed().is_some())
    }

    /// What the sync began with and its checkpoints since, to be kept.
    pub(crate) fn checkpointed(&self) -> Vec<u8> {
        self.checkpointed.stored()
    }

    /// What the sync has left, to be kept; `None` if it changed nothing.
    pub(crate) fn changed(&self) -> Option<Vec<u8>> {
        self.cursors.changed()
    }
}

struct Versions;

#[tonic::async_trait]
impl Discovery for Versions {
    async fn get_versions(
        &self,
        _: Request<get_versions::Request>,
    ) -> Result<Response<get_versions::Response>, Status> {
        Ok(Response::new(get_versions::Response { versions: vec![3] }))
    }
}
