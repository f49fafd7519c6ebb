//! A destination behind the protocol.
//!
//! - `Init` makes it anew; what the one before had not committed is void.
//! - Everything written is committed at each flush that is asked for, at the end of each write, and at `Close`.
//! - After a failed write or commit nothing is accepted before the next `Init`: what was lost must be sent again, and only
//!   the caller knows it.

use std::pin::Pin;
use std::sync::Arc;

use api::{CommitPoint, Destination, Lane, Owner};
use model::{Checkpoint, Delta, DestinationId, PipelineId};
use proto::plugin_v3::plugin_server::Plugin;
use proto::plugin_v3::write::request::Message;
use proto::plugin_v3::{
    assess_tables, close, get_name, get_spec_schema, get_tables, get_version, init, read, sync, test_connection,
    transform, transform_schema, write,
};
use serde_json::Value;
use tokio::sync::{Mutex, mpsc};
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::ServedDestination;
use super::tables::Tables;

pub(super) struct DestinationPlugin {
    served: ServedDestination,
    /// Two writes may be open at once, a sync's and a state client's; each message is whole.
    open: Arc<Mutex<Option<Open>>>,
}

struct Open {
    destination: Box<dyn Destination>,
    tables: Tables,
    checkpoint: Checkpoint,
    pending: Delta,
}

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

impl DestinationPlugin {
    pub(super) fn new(served: ServedDestination) -> Self {
        DestinationPlugin {
            served,
            open: Arc::new(Mutex::new(None)),
        }
    }

    fn build(&self, spec: &[u8]) -> Result<Box<dyn Destination>, Status> {
        // `null`, nothing and `{}` are the same: their callers differ.
        let spec = match spec {
            [] => Value::Null,
            spec => serde_json::from_slice(spec)
                .map_err(|error| Status::internal(format!("failed to init plugin: the spec is no JSON: {error}")))?,
        };
        let spec = if spec.is_null() {
            Value::Object(Default::default())
        } else {
            spec
        };
        (self.served.build)(spec).map_err(|error| {
            let hint = error.hint.as_ref().map_or(String::new(), |hint| format!("; {hint}"));
            Status::internal(format!(
                "failed to init plugin: {}: {}{hint}",
                error.pointer, error.message
            ))
        })
    }

    fn lane(&self) -> Lane {
        Lane {
            pipeline: PipelineId::from("cloudquery"),
            destination: DestinationId::from(self.served.name.as_str()),
            lane: 0,
            owner: Owner {
                id: uuid::Uuid::new_v4().to_string(),
                host: rustix::system::uname().nodename().to_string_lossy().into_owned(),
                pid: std::process::id(),
            },
            take_over: false,
            plan_hash: String::new(),
        }
    }
}

fn failed(what: &str, error: &api::Error) -> Status {
    let hint = error.remedy().map_or(String::new(), |hint| format!("; {hint}"));
    Status::internal(format!("{what}: {}{hint}", error.chain()))
}

fn not_open() -> Status {
    Status::failed_precondition("write failed: the plugin is not initialized, or has failed since")
}

/// Writes one message. After an error there is nothing open any more.
async fn take(open: &Mutex<Option<Open>>, message: Message) -> Result<(), Status> {
    let mut guard = open.lock().await;
    let this = guard.as_mut().ok_or_else(not_open)?;
    for changeset in this.tables.changesets(message)? {
        this.pending.then(&changeset.delta);
        if let Err(error) = this.destination.write(Arc::new(changeset)).await {
            *guard = None;
            return Err(failed("write failed", &error));
        }
    }
    Ok(())
}

async fn commit(open: &Mutex<Option<Open>>) -> Result<(), Status> {
    let mut guard = open.lock().await;
    let this = guard.as_mut().ok_or_else(not_open)?;
    let outcome = this.commit().await;
    if outcome.is_err() {
        *guard = None;
    }
    outcome
}

impl Open {
    async fn commit(&mut self) -> Result<(), Status> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let mut checkpoint = self.checkpoint.clone();
        checkpoint
            .apply(&self.pending)
            .map_err(|error| Status::internal(format!("write failed: {error}")))?;
        let at = CommitPoint {
            delta: &self.pending,
            checkpoint: &checkpoint,
        };
        let outcome = self.destination.commit(at).await;
        outcome.map_err(|error| failed("write failed", &error))?;
        (self.checkpoint, self.pending) = (checkpoint, Delta::none());
        Ok(())
    }
}

#[tonic::async_trait]
impl Plugin for DestinationPlugin {
    type SyncStream = Answers<sync::Response>;
    type ReadStream = Answers<read::Response>;
    type WriteStreamStream = ReceiverStream<Result<write::Response, Status>>;
    type TransformStream = Answers<transform::Response>;

    async fn get_name(&self, _: Request<get_name::Request>) -> Result<Response<get_name::Response>, Status> {
        let name = self.served.name.clone();
        Ok(Response::new(get_name::Response { name }))
    }

    async fn get_version(&self, _: Request<get_version::Request>) -> Result<Response<get_version::Response>, Status> {
        let version = self.served.version.clone();
        Ok(Response::new(get_version::Response { version }))
    }

    async fn get_spec_schema(
        &self,
        _: Request<get_spec_schema::Request>,
    ) -> Result<Response<get_spec_schema::Response>, Status> {
        let json_schema = self.served.spec_schema.as_ref().map(Value::to_string);
        Ok(Response::new(get_spec_schema::Response { json_schema }))
    }

    async fn init(&self, request: Request<init::Request>) -> Result<Response<init::Response>, Status> {
        let request = request.into_inner();
        let mut destination = self.build(&request.spec)?;
        let mut open = self.open.lock().await;
        if let Some(earlier) = open.take() {
            // It may hold a lock that the next one needs.
            if let Err(error) = earlier.destination.close().await {
                tracing::debug!(
                    error = error.chain(),
                    "the destination of before did not close in peace"
                );
            }
        }
        if !request.no_connection {
            let holds = destination
                .open(&self.lane())
                .await
                .map_err(|error| failed("failed to init plugin", &error))?;
            let checkpoint = holds.checkpoint.unwrap_or_default();
            *open = Some(Open {
                destination,
                tables: Tables::new(&checkpoint),
                checkpoint,
                pending: Delta::none(),
            });
        }
        Ok(Response::new(init::Response { supports_flush: true }))
    }

    async fn test_connection(
        &self,
        request: Request<test_connection::Request>,
    ) -> Result<Response<test_connection::Response>, Status> {
        let refused = |code: &str, what: String| {
            Ok(Response::new(test_connection::Response {
                success: false,
                failure_code: code.to_owned(),
                failure_description: what,
            }))
        };
        let mut destination = match self.build(&request.into_inner().spec) {
            Ok(destination) => destination,
            Err(status) => return refused("INVALID_SPEC", status.message().to_owned()),
        };
        match destination.check().await {
            Err(error) => refused("UNREACHABLE", error.chain()),
            Ok(found) => match found.first() {
                Some(error) => refused(error.code(), error.chain()),
                None => Ok(Response::new(test_connection::Response {
                    success: true,
                    ..test_connection::Response::default()
                })),
            },
        }
    }

    async fn write(&self, request: Request<Streaming<write::Request>>) -> Result<Response<write::Response>, Status> {
        let mut messages = request.into_inner();
        while let Some(request) = messages.message().await? {
            match request.message {
                Some(Message::Flush(_)) => return Err(Status::invalid_argument("a flush belongs into WriteStream")),
                Some(message) => take(&self.open, message).await?,
                None => return Err(Status::invalid_argument("a message of an unknown kind")),
            }
        }
        commit(&self.open).await?;
        Ok(Response::new(write::Response::default()))
    }

    async fn write_stream(
        &self,
        request: Request<Streaming<write::Request>>,
    ) -> Result<Response<Self::WriteStreamStream>, Status> {
        let mut messages = request.into_inner();
        let open = Arc::clone(&self.open);
        let (send, answers) = mpsc::channel(4);
        // Ends with the caller's stream, or with its first message that fails.
        tokio::spawn(async move {
            loop {
                let outcome = match messages.message().await {
                    Err(status) => Err(status),
                    Ok(None) => {
                        if let Err(status) = commit(&open).await {
                            let _ = send.send(Err(status)).await;
                        }
                        return;
                    }
                    Ok(Some(request)) => match request.message {
                        Some(Message::Flush(flush)) => flushed(&open, flush.id).await.map(Some),
                        Some(message) => take(&open, message).await.map(|()| None),
                        None => Err(Status::invalid_argument("a message of an unknown kind")),
                    },
                };
                let is_over = outcome.is_err();
                if let Some(answer) = outcome.transpose()
                    && (send.send(answer).await.is_err() || is_over)
                {
                    return;
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(answers)))
    }

    async fn close(&self, _: Request<close::Request>) -> Result<Response<close::Response>, Status> {
        let mut open = self.open.lock().await;
        if let Some(mut closing) = open.take() {
            closing.commit().await?;
            let closed = closing.destination.close().await;
            closed.map_err(|error| failed("failed to close plugin", &error))?;
        }
        Ok(Response::new(close::Response {}))
    }

    async fn assess_tables(
        &self,
        _: Request<assess_tables::Request>,
    ) -> Result<Response<assess_tables::Response>, Status> {
        Err(Status::unimplemented("a change of tables is judged when it is made"))
    }

    async fn read(&self, _: Request<read::Request>) -> Result<Response<Self::ReadStream>, Status> {
        Err(Status::unimplemented("rows are not read back"))
    }

    async fn get_tables(&self, _: Request<get_tables::Request>) -> Result<Response<get_tables::Response>, Status> {
        Err(Status::unimplemented("this plugin is a destination"))
    }

    async fn sync(&self, _: Request<sync::Request>) -> Result<Response<Self::SyncStream>, Status> {
        Err(Status::unimplemented("this plugin is a destination"))
    }

    async fn transform(
        &self,
        _: Request<Streaming<transform::Request>>,
    ) -> Result<Response<Self::TransformStream>, Status> {
        Err(Status::unimplemented("this plugin is a destination"))
    }

    async fn transform_schema(
        &self,
        _: Request<transform_schema::Request>,
    ) -> Result<Response<transform_schema::Response>, Status> {
        Err(Status::unimplemented("this plugin is a destination"))
    }
}

/// The answer to a flush. A commit that fails is said in it, and ends nothing but what was not committed.
async fn flushed(open: &Mutex<Option<Open>>, id: u64) -> Result<write::Response, Status> {
    let flush_error = match commit(open).await {
        Ok(()) => String::new(),
        Err(status) => status.message().to_owned(),
    };
    Ok(write::Response {
        flush_id: id,
        flush_error,
        failed_tables: Vec::new(),
    })
}
