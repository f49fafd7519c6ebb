//! The protocol's service, over what a role makes of its calls.

use std::pin::Pin;
use std::sync::Arc;

use async_trait::async_trait;
use proto::plugin_v3::plugin_server::Plugin;
use proto::plugin_v3::{
    assess_tables, close, get_name, get_spec_schema, get_tables, get_version, init, read, sync, test_connection,
    transform, transform_schema, write,
};
use serde_json::Value;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};
use tracing::info;

use super::destination::DestinationCalls;
use super::source::SourceCalls;
use super::spec;
use super::transformer::TransformerCalls;
use super::{Role, Served};

pub(super) type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// The calls that a role answers. What it leaves out is not its to answer.
#[async_trait]
pub(super) trait Calls: Send + Sync + 'static {
    /// `source`, `destination` or `transformer`.
    fn role(&self) -> &'static str;

    /// Makes the component anew.
    async fn init(&self, spec: Value, no_connection: bool) -> Result<init::Response, Status>;

    /// What is wrong with a spec, or with the system that it names.
    async fn test_connection(&self, spec: Value) -> test_connection::Response;

    async fn close(&self) -> Result<(), Status> {
        Ok(())
    }

    /// The process is asked to end: what may take long ends now, other calls as they like.
    fn stop(&self) {}

    /// The process ends: what is open is let go.
    async fn end(&self) {}

    async fn get_tables(&self, _request: get_tables::Request) -> Result<get_tables::Response, Status> {
        Err(self.not_ours())
    }

    async fn sync(&self, _request: sync::Request) -> Result<Answers<sync::Response>, Status> {
        Err(self.not_ours())
    }

    async fn read(&self, _request: read::Request) -> Result<Answers<read::Response>, Status> {
        Err(self.not_ours())
    }

    async fn write(&self, _messages: Streaming<write::Request>) -> Result<(), Status> {
        Err(self.not_ours())
    }

    async fn write_stream(
        &self,
        _messages: Streaming<write::Request>,
    ) -> Result<ReceiverStream<Result<write::Response, Status>>, Status> {
        Err(self.not_ours())
    }

    async fn transform(&self, _records: Streaming<transform::Request>) -> Result<Answers<transform::Response>, Status> {
        Err(self.not_ours())
    }

    async fn transform_schema(
        &self,
        _request: transform_schema::Request,
    ) -> Result<transform_schema::Response, Status> {
        Err(self.not_ours())
    }

    async fn assess_tables(&self, _request: assess_tables::Request) -> Result<assess_tables::Response, Status> {
        Err(self.not_ours())
    }

    fn not_ours(&self) -> Status {
        Status::unimplemented(format!("this plugin is a {}", self.role()))
    }
}

/// A connection that works.
pub(super) fn reachable() -> test_connection::Response {
    test_connection::Response {
        success: true,
        ..test_connection::Response::default()
    }
}

/// One that does not, with a code of the protocol's habits or of ours.
pub(super) fn unreachable(code: &str, what: impl Into<String>) -> test_connection::Response {
    test_connection::Response {
        success: false,
        failure_code: code.to_owned(),
        failure_description: what.into(),
    }
}

pub(super) struct PluginService {
    name: String,
    version: String,
    spec_schema: Option<Value>,
    calls: Arc<dyn Calls>,
}

impl PluginService {
    pub(super) fn new(served: Served) -> Self {
        let (name, pipeline) = (served.name, served.pipeline);
        let calls: Arc<dyn Calls> = match served.role {
            Role::Source(build) => Arc::new(SourceCalls::new(&pipeline, build)),
            Role::Destination(build) => Arc::new(DestinationCalls::new(&name, &pipeline, build)),
            Role::Transformer(build) => Arc::new(TransformerCalls::new(build)),
        };
        PluginService {
            name,
            version: served.version,
            spec_schema: served.spec_schema,
            calls,
        }
    }

    pub(super) fn calls(&self) -> Arc<dyn Calls> {
        Arc::clone(&self.calls)
    }
}

#[tonic::async_trait]
impl Plugin for PluginService {
    type SyncStream = Answers<sync::Response>;
    type ReadStream = Answers<read::Response>;
    type WriteStreamStream = ReceiverStream<Result<write::Response, Status>>;
    type TransformStream = Answers<transform::Response>;

    async fn get_name(&self, _: Request<get_name::Request>) -> Result<Response<get_name::Response>, Status> {
        let name = self.name.clone();
        Ok(Response::new(get_name::Response { name }))
    }

    async fn get_version(&self, _: Request<get_version::Request>) -> Result<Response<get_version::Response>, Status> {
        let version = self.version.clone();
        Ok(Response::new(get_version::Response { version }))
    }

    async fn get_spec_schema(
        &self,
        _: Request<get_spec_schema::Request>,
    ) -> Result<Response<get_spec_schema::Response>, Status> {
        let json_schema = self.spec_schema.as_ref().map(Value::to_string);
        Ok(Response::new(get_spec_schema::Response { json_schema }))
    }

    async fn init(&self, request: Request<init::Request>) -> Result<Response<init::Response>, Status> {
        let request = request.into_inner();
        let spec = spec::parse(&request.spec)?;
        let response = self.calls.init(spec, request.no_connection).await?;
        info!(invocation_id = request.invocation_id, "plugin initialized");
        Ok(Response::new(response))
    }

    async fn test_connection(
        &self,
        request: Request<test_connection::Request>,
    ) -> Result<Response<test_connection::Response>, Status> {
        Ok(Response::new(match spec::parse(&request.into_inner().spec) {
            Ok(spec) => self.calls.test_connection(spec).await,
            Err(status) => unreachable("INVALID_SPEC", status.message()),
        }))
    }

    async fn get_tables(
        &self,
        request: Request<get_tables::Request>,
    ) -> Result<Response<get_tables::Response>, Status> {
        self.calls.get_tables(request.into_inner()).await.map(Response::new)
    }

    async fn sync(&self, request: Request<sync::Request>) -> Result<Response<Self::SyncStream>, Status> {
        self.calls.sync(request.into_inner()).await.map(Response::new)
    }

    async fn read(&self, request: Request<read::Request>) -> Result<Response<Self::ReadStream>, Status> {
        self.calls.read(request.into_inner()).await.map(Response::new)
    }

    async fn write(&self, request: Request<Streaming<write::Request>>) -> Result<Response<write::Response>, Status> {
        self.calls.write(request.into_inner()).await?;
        Ok(Response::new(write::Response::default()))
    }

    async fn write_stream(
        &self,
        request: Request<Streaming<write::Request>>,
    ) -> Result<Response<Self::WriteStreamStream>, Status> {
        self.calls.write_stream(request.into_inner()).await.map(Response::new)
    }

    async fn transform(
        &self,
        request: Request<Streaming<transform::Request>>,
    ) -> Result<Response<Self::TransformStream>, Status> {
        self.calls.transform(request.into_inner()).await.map(Response::new)
    }

    async fn transform_schema(
        &self,
        request: Request<transform_schema::Request>,
    ) -> Result<Response<transform_schema::Response>, Status> {
        self.calls
            .transform_schema(request.into_inner())
            .await
            .map(Response::new)
    }

    async fn assess_tables(
        &self,
        request: Request<assess_tables::Request>,
    ) -> Result<Response<assess_tables::Response>, Status> {
        self.calls.assess_tables(request.into_inner()).await.map(Response::new)
    }

    async fn close(&self, _: Request<close::Request>) -> Result<Response<close::Response>, Status> {
        self.calls.close().await?;
        Ok(Response::new(close::Response {}))
    }
}
