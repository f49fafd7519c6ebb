//! A source behind the protocol: a sync ends where the log ended when it began.
//!
//! - The caller's state is where the last sync ended: a checkpoint, as ours are, and what else the source keeps. It lies in
//!   the caller's backend, and goes there at the end of a sync, or as checkpoints inside it where the caller asks for them.
//! - What the backend held at the start is durable everywhere, so only that is acknowledged to the source's system.
//! - Without a backend each sync reads everything, and nothing is left behind at the source.
//! - Inserts and updates are rows; deletes are `delete_record` messages by the key, in the order of the log.

mod outgoing;
mod position;
mod select;
mod state;
mod sync;

use std::sync::{Arc, Mutex, PoisonError};

use api::Source;
use async_trait::async_trait;
use model::StreamSchema;
use proto::plugin_v3::{get_tables, init, sync as wire, test_connection};
use proto::{TableCodec, encode_schema};
use serde_json::Value;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::Build;
use super::service::{Answers, Calls, reachable, unreachable};
use super::spec::{failed, invalid, invalid_in, refused};

/// Answers that wait for the caller.
const AHEAD: usize = 4;

/// Where the answers of a sync go.
type Send = mpsc::Sender<Result<wire::Response, Status>>;

pub(super) struct SourceCalls {
    pipeline: String,
    build: Build<dyn Source>,
    spec: Mutex<Option<Value>>,
    /// One sync at a time: it owns the source's slot or its triggers.
    busy: Arc<tokio::sync::Mutex<()>>,
    /// The process is to end.
    stop: CancellationToken,
}

impl SourceCalls {
    pub(super) fn new(pipeline: &str, build: Build<dyn Source>) -> Self {
        SourceCalls {
            pipeline: pipeline.to_owned(),
            build,
            spec: Mutex::new(None),
            busy: Arc::default(),
            stop: CancellationToken::new(),
        }
    }

    fn made(&self) -> Result<Box<dyn Source>, Status> {
        let spec = self.spec.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let spec = spec.ok_or_else(|| Status::failed_precondition("the plugin is not initialized"))?;
        (self.build)(spec).map_err(|error| refused(&error))
    }
}

/// The table that a stream is. Callers with a state backend delete nothing of an incremental table as stale.
fn codec(schema: &Arc<StreamSchema>) -> Result<TableCodec, Status> {
    let name = schema.stream().flat_name();
    let codec = TableCodec::of_stream(schema, name.as_str()).map_err(|error| invalid_in(&name, error))?;
    Ok(codec.described(|table| table.is_incremental = true))
}

#[async_trait]
impl Calls for SourceCalls {
    fn role(&self) -> &'static str {
        "source"
    }

    async fn init(&self, spec: Value, _no_connection: bool) -> Result<init::Response, Status> {
        (self.build)(spec.clone()).map_err(|error| refused(&error))?;
        *self.spec.lock().unwrap_or_else(PoisonError::into_inner) = Some(spec);
        Ok(init::Response { supports_flush: false })
    }

    async fn test_connection(&self, spec: Value) -> test_connection::Response {
        let source = match (self.build)(spec) {
            Ok(source) => source,
            Err(error) => return unreachable("INVALID_SPEC", refused(&error).message()),
        };
        match source.discover().await {
            Ok(_) => reachable(),
            Err(error) => unreachable("UNREACHABLE", error.chain()),
        }
    }

    async fn get_tables(&self, request: get_tables::Request) -> Result<get_tables::Response, Status> {
        let found = self.made()?.discover().await;
        let found = found.map_err(|error| failed("failed to get tables", &error))?;
        let all = if request.tables.is_empty() {
            vec!["*".to_owned()]
        } else {
            request.tables
        };
        let chosen = select::choose(found, &all, &request.skip_tables)
            .map_err(|what| Status::internal(format!("failed to get tables: {what}")))?;
        let table = |schema| encode_schema(codec(schema)?.wire()).map_err(invalid);
        Ok(get_tables::Response {
            tables: chosen.iter().map(table).collect::<Result<_, _>>()?,
        })
    }

    async fn sync(&self, request: wire::Request) -> Result<Answers<wire::Response>, Status> {
        let busy = Arc::clone(&self.busy).try_lock_owned();
        let busy = busy.map_err(|_| Status::unknown("failed to sync records: plugin already in use"))?;
        let source = self.made()?;
        let (pipeline, stop) = (self.pipeline.clone(), self.stop.child_token());
        let (send, answers) = mpsc::channel(AHEAD);
        // Ends at the head, with the first error, when the caller no longer listens, or with the process.
        tokio::spawn(async move {
            let outcome = sync::run(source, &pipeline, request, &send, stop).await;
            drop(busy);
            if let Err(status) = outcome {
                let text = format!("failed to sync records: {}", status.message());
                let _ = send.send(Err(Status::unknown(text))).await;
            }
        });
        Ok(Box::pin(ReceiverStream::new(answers)))
    }

    fn stop(&self) {
        self.stop.cancel();
    }

    /// Without a state backend a sync leaves nothing at the source, also where it is broken off.
    async fn end(&self) {
        self.stop.cancel();
        drop(self.busy.lock().await);
    }
}
