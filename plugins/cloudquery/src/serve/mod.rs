//! Our connectors as plugins: what speaks the protocol's other side.
//!
//! Any caller of the protocol can use them: CloudQuery's own runtime with `registry: local` and `registry: grpc`, and ours
//! alike.

mod assess;
mod authority;
mod destination;
#[cfg(test)]
mod mutations;
mod read_back;
mod request_body;
mod service;
mod source;
mod spec;
mod tables;
mod transformer;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use api::{Destination, Source, SpecError, Transformer};
use proto::discovery_v1::discovery_server::{Discovery, DiscoveryServer};
use proto::discovery_v1::get_versions;
use proto::plugin_v3::plugin_server::PluginServer;
use serde_json::Value;
use tokio::net::{TcpListener, UnixListener};
use tokio_stream::StreamExt;
use tokio_stream::wrappers::{TcpListenerStream, UnixListenerStream};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};
use tower::util::MapRequestLayer;
use tracing::info;

use authority::CleanAuthority;
use request_body::with_cancels;
use service::PluginService;

/// Builds a component from the spec that the caller sent.
pub type Build<T> = Arc<dyn Fn(Value) -> Result<Box<T>, SpecError> + Send + Sync>;

/// A connector that is served as a plugin.
#[derive(Clone)]
pub struct Served {
    /// The connector's name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The JSON Schema of its spec.
    pub spec_schema: Option<Value>,
    /// Whose rows these are: what a destination keeps its ledger under, and a source its triggers or its slot.
    pub pipeline: String,
    /// What it does, and how it is made; that is called at each `Init`.
    pub role: Role,
}

/// What a served connector does.
#[derive(Clone)]
pub enum Role {
    /// It is read.
    Source(Build<dyn Source>),
    /// It is written.
    Destination(Build<dyn Destination>),
    /// It changes rows.
    Transformer(Build<dyn Transformer>),
}

/// Where a plugin listens.
pub enum Listener {
    /// On a port.
    Tcp(TcpListener),
    /// On a socket file, which is removed at the end.
    Unix(UnixListener, PathBuf),
}

impl Listener {
    /// On `host:port`.
    pub async fn tcp(address: &str) -> io::Result<Listener> {
        TcpListener::bind(address).await.map(Listener::Tcp)
    }

    /// On a socket file that does not exist yet.
    pub fn unix(path: PathBuf) -> io::Result<Listener> {
        let listener = UnixListener::bind(&path)?;
        Ok(Listener::Unix(listener, path))
    }

    /// Where it listens, as a caller writes it.
    pub fn address(&self) -> String {
        match self {
            Listener::Tcp(listener) => listener
                .local_addr()
                .map_or_else(|_| String::new(), |at| at.to_string()),
            Listener::Unix(_, path) => path.display().to_string(),
        }
    }
}

/// How long calls that are under way may take to end.
const DRAIN_MAX: Duration = Duration::from_secs(3);
/// How long letting go may take. Together well below the five seconds until callers kill: the process has to end, too.
const END_MAX: Duration = Duration::from_millis(500);

/// Serves a connector on a listener until `stop` is done, and returns at most three and a half seconds later. Syncs are broken off then,
/// and leave at the source what they would have left; other calls get three seconds; what a destination holds open is let go.
///
/// Every plugin listens in the clear and without a token, so a port should be of the loopback interface.
pub async fn serve(
    served: Served,
    listener: Listener,
    stop: impl Future<Output = ()>,
) -> Result<(), tonic::transport::Error> {
    let service = PluginService::new(served);
    let calls = service.calls();
    let late = CancellationToken::new();
    let (calls_at_stop, stopped) = (Arc::clone(&calls), late.clone());
    let stop = async move {
        stop.await;
        calls_at_stop.stop();
        stopped.cancel();
    };
    let plugin = PluginServer::new(service)
        .max_decoding_message_size(proto::MESSAGE_BYTES_MAX)
        .max_encoding_message_size(proto::MESSAGE_BYTES_MAX);
    let router = tonic::transport::Server::builder()
        // As at the other side: the default window of 64 KiB makes a large record wait.
        .initial_stream_window_size(8 << 20)
        .initial_connection_window_size(16 << 20)
        .layer(MapRequestLayer::new(with_cancels))
        .add_service(DiscoveryServer::new(Versions))
        .add_service(plugin);
    let serving = async {
        match listener {
            Listener::Tcp(listener) => {
                let connections = TcpListenerStream::new(listener).map(|connection| {
                    let connection = connection?;
                    // An answer is small, and is not to wait for the next one.
                    connection.set_nodelay(true)?;
                    Ok::<_, io::Error>(CleanAuthority::new(connection))
                });
                router.serve_with_incoming_shutdown(connections, stop).await
            }
            Listener::Unix(listener, path) => {
                let connections = UnixListenerStream::new(listener);
                let connections = connections.map(|connection| connection.map(CleanAuthority::new));
                let _file = SocketFile(path);
                router.serve_with_incoming_shutdown(connections, stop).await
            }
        }
    };
    let too_late = async {
        late.cancelled().await;
        tokio::time::sleep(DRAIN_MAX).await;
    };
    let outcome = tokio::select! {
        outcome = serving => outcome,
        () = too_late => {
            info!(seconds = DRAIN_MAX.as_secs(), "calls were still open at the end");
            Ok(())
        }
    };
    if tokio::time::timeout(END_MAX, calls.end()).await.is_err() {
        info!(seconds = END_MAX.as_secs_f64(), "the connector did not let go in time");
    }
    outcome
}

/// Removed at the end, also where that does not wait for the last call.
struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Whoever started us may have removed it already.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Says that we speak version 3.
struct Versions;

#[tonic::async_trait]
impl Discovery for Versions {
    async fn get_versions(
        &self,
        _request: Request<get_versions::Request>,
    ) -> Result<Response<get_versions::Response>, Status> {
        Ok(Response::new(get_versions::Response { versions: vec![3] }))
    }
}
