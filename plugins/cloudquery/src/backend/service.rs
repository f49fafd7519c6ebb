//! The protocol's side of a state table: what its clients in every SDK call.

use std::pin::Pin;
use std::sync::Arc;

use arrow::datatypes::Schema;
use bytes::Bytes;
use proto::plugin_v3::plugin_server::Plugin;
use proto::plugin_v3::write::request::Message;
use proto::plugin_v3::{
    assess_tables, close, get_name, get_spec_schema, get_tables, get_version, init, read, sync, test_connection,
    transform, transform_schema, write,
};
use proto::{Decoder, Encoder};
use tokio_stream::Stream;
use tonic::{Request, Response, Status, Streaming};

use super::Cursors;

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// One state table.
pub(super) struct Service {
    table: String,
    cursors: Arc<Cursors>,
}

impl Service {
    pub(super) fn new(table: String, cursors: Arc<Cursors>) -> Self {
        Service { table, cursors }
    }

    fn check(&self, schema: &Schema) -> Result<(), Status> {
        match schema.metadata().get("cq:table_name") {
            Some(table) if *table == self.table => Ok(()),
            _ => Err(Status::permission_denied("there is no such table here")),
        }
    }

    fn take(&self, decoder: &mut Decoder, message: Message) -> Result<(), Status> {
        match message {
            Message::MigrateTable(message) => {
                let schema = decoder.schema(&message.table).map_err(unreadable)?;
                self.check(&schema)
            }
            Message::Insert(message) => {
                let rows = decoder.record(&message.record).map_err(unreadable)?;
                self.check(rows.schema_ref())?;
                self.cursors.put(&rows).map_err(unreadable)
            }
            Message::Delete(_) | Message::DeleteRecord(_) | Message::Flush(_) => {
                Err(Status::unimplemented("a state table is only added to"))
            }
        }
    }

    fn read_all(&self, table: &Bytes) -> Result<read::Response, Status> {
        let schema = Decoder::default().schema(table).map_err(unreadable)?;
        self.check(&schema)?;
        let rows = self.cursors.batch(&schema).map_err(unreadable)?;
        let record = Encoder::new(schema)
            .and_then(|mut encoder| encoder.encode(&rows))
            .map_err(|error| Status::internal(error.to_string()))?;
        Ok(read::Response { record })
    }
}

fn unreadable(error: impl std::error::Error) -> Status {
    Status::invalid_argument(error.to_string())
}

fn not_here<T>() -> Result<Response<T>, Status> {
    Err(Status::unimplemented(
        "this keeps the cursors of a source plugin, and nothing else",
    ))
}

#[tonic::async_trait]
impl Plugin for Service {
    type SyncStream = Answers<sync::Response>;
    type ReadStream = Answers<read::Response>;
    type WriteStreamStream = Answers<write::Response>;
    type TransformStream = Answers<transform::Response>;

    async fn get_name(&self, _: Request<get_name::Request>) -> Result<Response<get_name::Response>, Status> {
        let name = "highwater-state".to_owned();
        Ok(Response::new(get_name::Response { name }))
    }

    async fn get_version(&self, _: Request<get_version::Request>) -> Result<Response<get_version::Response>, Status> {
        let version = env!("CARGO_PKG_VERSION").to_owned();
        Ok(Response::new(get_version::Response { version }))
    }

    async fn init(&self, _: Request<init::Request>) -> Result<Response<init::Response>, Status> {
        Ok(Response::new(init::Response::default()))
    }

    async fn write(&self, request: Request<Streaming<write::Request>>) -> Result<Response<write::Response>, Status> {
        let (mut messages, mut decoder) = (request.into_inner(), Decoder::default());
        while let Some(request) = messages.message().await? {
            // An empty message says nothing.
            if let Some(message) = request.message {
                self.take(&mut decoder, message)?;
            }
        }
        Ok(Response::new(write::Response::default()))
    }

    async fn read(&self, request: Request<read::Request>) -> Result<Response<Self::ReadStream>, Status> {
        let answer = self.read_all(&request.into_inner().table)?;
        Ok(Response::new(Box::pin(tokio_stream::once(Ok(answer)))))
    }

    async fn close(&self, _: Request<close::Request>) -> Result<Response<close::Response>, Status> {
        Ok(Response::new(close::Response {}))
    }

    async fn get_spec_schema(
        &self,
        _: Request<get_spec_schema::Request>,
    ) -> Result<Response<get_spec_schema::Response>, Status> {
        Ok(Response::new(get_spec_schema::Response::default()))
    }

    async fn test_connection(
        &self,
        _: Request<test_connection::Request>,
    ) -> Result<Response<test_connection::Response>, Status> {
        not_here()
    }

    async fn write_stream(
        &self,
        _: Request<Streaming<write::Request>>,
    ) -> Result<Response<Self::WriteStreamStream>, Status> {
        not_here()
    }

    async fn assess_tables(
        &self,
        _: Request<assess_tables::Request>,
    ) -> Result<Response<assess_tables::Response>, Status> {
        not_here()
    }

    async fn get_tables(&self, _: Request<get_tables::Request>) -> Result<Response<get_tables::Response>, Status> {
        not_here()
    }

    async fn sync(&self, _: Request<sync::Request>) -> Result<Response<Self::SyncStream>, Status> {
        not_here()
    }

    async fn transform(
        &self,
        _: Request<Streaming<transform::Request>>,
    ) -> Result<Response<Self::TransformStream>, Status> {
        not_here()
    }

    async fn transform_schema(
        &self,
        _: Request<transform_schema::Request>,
    ) -> Result<Response<transform_schema::Response>, Status> {
        not_here()
    }
}
