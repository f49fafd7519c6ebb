//! Our connectors as plugins: what speaks the protocol's other side.
//!
//! Any caller of the protocol can use them, CloudQuery's own runtime with `registry: grpc` and ours alike.

mod destination;
mod tables;

use std::sync::Arc;

use api::{Destination, SpecError};
use proto::discovery_v1::discovery_server::{Discovery, DiscoveryServer};
use proto::discovery_v1::get_versions;
use proto::plugin_v3::plugin_server::PluginServer;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};

use destination::DestinationPlugin;

/// Builds a destination from the spec that the caller sent.
pub type BuildDestination = Arc<dyn Fn(Value) -> Result<Box<dyn Destination>, SpecError> + Send + Sync>;

/// A connector that is served as a destination plugin.
#[derive(Clone)]
pub struct ServedDestination {
    /// The connector's name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The JSON Schema of its spec.
    pub spec_schema: Option<Value>,
    /// Makes it; called at each `Init`.
    pub build: BuildDestination,
}

/// Serves a destination on a listener until `stop` is done; calls that are under way then end in peace.
///
/// Every plugin listens in the clear and without a token, so the listener should be of the loopback interface.
pub async fn serve_destination(
    served: ServedDestination,
    listener: TcpListener,
    stop: impl Future<Output = ()>,
) -> Result<(), tonic::transport::Error> {
    let plugin = PluginServer::new(DestinationPlugin::new(served))
        .max_decoding_message_size(proto::MESSAGE_BYTES_MAX)
        .max_encoding_message_size(proto::MESSAGE_BYTES_MAX);
    tonic::transport::Server::builder()
        // As at the other side: the default window of 64 KiB makes a large record wait.
        .initial_stream_window_size(8 << 20)
        .initial_connection_window_size(16 << 20)
        .add_service(DiscoveryServer::new(Versions))
        .add_service(plugin)
        .serve_with_incoming_shutdown(TcpListenerStream::new(listener), stop)
        .await
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
