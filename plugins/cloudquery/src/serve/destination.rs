//! A destination behind the protocol.
//!
//! - `Init` makes it anew; what the one before had not committed is void.
//! - Everything written is committed at each flush that is asked for, at the end of each write, and at `Close`.
//! - After a failed write or commit nothing is accepted before the next `Init`: what was lost must be sent again, and only
//!   the caller knows it.

use std::collections::BTreeSet;
use std::sync::Arc;

use api::{CommitPoint, Destination, Lane, Owner};
use async_trait::async_trait;
use model::{Body, ChangeSet, Checkpoint, Control, Delta, DestinationId, PipelineId};
use proto::plugin_v3::write::request::Message;
use proto::plugin_v3::{assess_tables, init, read, test_connection, write};
use serde_json::Value;
use tokio::sync::{Mutex, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use super::service::{Answers, Calls, reachable, unreachable};
use super::spec::{failed, refused};
use super::tables::Tables;
use super::{Build, assess, read_back};

pub(super) struct DestinationCalls {
    name: String,
    pipeline: String,
    build: Build<dyn Destination>,
    /// Two writes may be open at once, a sync's and a state client's; each message is whole.
    open: Arc<Mutex<Option<Open>>>,
}

struct Open {
    destination: Box<dyn Destination>,
    tables: Tables,
    checkpoint: Checkpoint,
    pending: Delta,
    /// The tables of which something is not committed.
    touched: BTreeSet<String>,
}

impl DestinationCalls {
    pub(super) fn new(name: &str, pipeline: &str, build: Build<dyn Destination>) -> Self {
        DestinationCalls {
            name: name.to_owned(),
            pipeline: pipeline.to_owned(),
            build,
            open: Arc::new(Mutex::new(None)),
        }
    }

    fn lane(&self) -> Lane {
        Lane {
            pipeline: PipelineId::from(self.pipeline.as_str()),
            destination: DestinationId::from(self.name.as_str()),
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

fn not_open() -> Status {
    Status::failed_precondition("write failed: the plugin is not initialized, or has failed since")
}

fn control_of(changeset: &ChangeSet) -> Option<&Control> {
    match &changeset.body {
        Body::Control(control) => Some(control),
        Body::Rows(_) => None,
    }
}

/// Writes one message. After an error of the destination there is nothing open any more.
async fn take(open: &Mutex<Option<Open>>, message: Message) -> Result<(), Status> {
    let mut guard = open.lock().await;
    let this = guard.as_mut().ok_or_else(not_open)?;
    for changeset in this.tables.changesets(message)? {
        this.pending.then(&changeset.delta);
        let of_rows = changeset.batches().iter().map(|batch| batch.schema.stream());
        let streams = of_rows.chain(control_of(&changeset).map(Control::stream));
        this.touched.extend(streams.map(|stream| stream.name().to_owned()));
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
        self.touched.clear();
        Ok(())
    }
}

/// Lets a destination go whose work is void or done.
async fn let_go(open: Open) {
    if let Err(error) = open.destination.close().await {
        tracing::debug!(error = error.chain(), "a destination did not close in peace");
    }
}

#[async_trait]
impl Calls for DestinationCalls {
    fn role(&self) -> &'static str {
        "destination"
    }

    async fn init(&self, spec: Value, no_connection: bool) -> Result<init::Response, Status> {
        let mut destination = (self.build)(spec).map_err(|error| refused(&error))?;
        let mut open = self.open.lock().await;
        if let Some(earlier) = open.take() {
            // It may hold a lock that the next one needs.
            let_go(earlier).await;
        }
        if !no_connection {
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
                touched: BTreeSet::new(),
            });
        }
        Ok(init::Response { supports_flush: true })
    }

    async fn test_connection(&self, spec: Value) -> test_connection::Response {
        let mut destination = match (self.build)(spec) {
            Ok(destination) => destination,
            Err(error) => return unreachable("INVALID_SPEC", refused(&error).message()),
        };
        match destination.check().await {
            Err(error) => unreachable("UNREACHABLE", error.chain()),
            Ok(found) => match found.first() {
                Some(error) => unreachable(error.code(), error.chain()),
                None => reachable(),
            },
        }
    }

    async fn write(&self, mut messages: Streaming<write::Request>) -> Result<(), Status> {
        while let Some(request) = messages.message().await? {
            match request.message {
                Some(Message::Flush(_)) => return Err(Status::invalid_argument("a flush belongs into WriteStream")),
                Some(message) => take(&self.open, message).await?,
                None => return Err(Status::invalid_argument("a message of an unknown kind")),
            }
        }
        commit(&self.open).await
    }

    async fn write_stream(
        &self,
        mut messages: Streaming<write::Request>,
    ) -> Result<ReceiverStream<Result<write::Response, Status>>, Status> {
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
                        Some(Message::Flush(flush)) => Ok(Some(flushed(&open, flush.id).await)),
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
        Ok(ReceiverStream::new(answers))
    }

    async fn read(&self, request: read::Request) -> Result<Answers<read::Response>, Status> {
        let mut open = self.open.lock().await;
        let this = open.as_mut().ok_or_else(not_open)?;
        // A view shows what is committed, and a caller expects to read what it wrote.
        if let Err(status) = this.commit().await {
            *open = None;
            return Err(status);
        }
        let view = this.destination.read_back().await;
        let view = view.map_err(|error| match error.code() {
            "E0604" => Status::unimplemented(error.chain()),
            _ => failed("failed to read records", &error),
        })?;
        read_back::rows(view, &request.table).await
    }

    async fn assess_tables(&self, request: assess_tables::Request) -> Result<assess_tables::Response, Status> {
        assess::assess(&request)
    }

    async fn close(&self) -> Result<(), Status> {
        if let Some(mut closing) = self.open.lock().await.take() {
            closing.commit().await?;
            let closed = closing.destination.close().await;
            closed.map_err(|error| failed("failed to close plugin", &error))?;
        }
        Ok(())
    }

    /// What was not committed is void: its caller is gone, and will send it again.
    async fn end(&self) {
        if let Some(open) = self.open.lock().await.take() {
            let_go(open).await;
        }
    }
}

/// The answer to a flush. A commit that fails is said in it, with the tables of which something may be lost.
async fn flushed(open: &Mutex<Option<Open>>, id: u64) -> write::Response {
    let touched = match &*open.lock().await {
        Some(open) => open.touched.iter().cloned().collect(),
        None => Vec::new(),
    };
    let (flush_error, failed_tables) = match commit(open).await {
        Ok(()) => (String::new(), Vec::new()),
        Err(status) => (status.message().to_owned(), touched),
    };
    write::Response {
        flush_id: id,
        flush_error,
        failed_tables,
    }
}
