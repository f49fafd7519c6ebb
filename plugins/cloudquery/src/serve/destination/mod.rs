//! A destination behind the protocol.
//!
//! - `Init` makes it anew; what the one before had not committed is void.
//! - Everything written is committed at each flush that is asked for, at the end of each write, and at `Close`. What a write
//!   brought that breaks off before is void.
//! - After a failed write or commit nothing is accepted before the next `Init`: what was lost must be sent again, and only
//!   the caller knows it.

mod session;

use api::{Destination, Lane, Owner};
use async_trait::async_trait;
use model::{DestinationId, PipelineId};
use proto::plugin_v3::{assess_tables, init, read, test_connection, write};
use serde_json::Value;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use self::session::{Next, Open, Session, to_the_end};
use super::service::{Answers, Calls, reachable, unreachable};
use super::spec::{failed, refused};
use super::{Build, assess, read_back};

pub(super) struct DestinationCalls {
    name: String,
    pipeline: String,
    build: Build<dyn Destination>,
    session: Session,
}

impl DestinationCalls {
    pub(super) fn new(name: &str, pipeline: &str, build: Build<dyn Destination>) -> Self {
        DestinationCalls {
            name: name.to_owned(),
            pipeline: pipeline.to_owned(),
            build,
            session: Session::default(),
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

#[async_trait]
impl Calls for DestinationCalls {
    fn role(&self) -> &'static str {
        "destination"
    }

    async fn init(&self, spec: Value, no_connection: bool) -> Result<init::Response, Status> {
        let mut destination = (self.build)(spec).map_err(|error| refused(&error))?;
        let (session, lane) = (self.session.clone(), self.lane());
        to_the_end(async move {
            let open = async || {
                if no_connection {
                    return Ok(None);
                }
                let holds = destination.open(&lane).await;
                let holds = holds.map_err(|error| failed("failed to init plugin", &error))?;
                Ok(Some(Open::new(destination, holds.checkpoint.unwrap_or_default())))
            };
            session.renew(open).await
        })
        .await?;
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
        let mut stream = self.session.stream().await;
        to_the_end(async move {
            loop {
                match stream.next(&mut messages).await? {
                    Next::Taken => {}
                    Next::Flush(_) => {
                        let status = Status::invalid_argument("a flush belongs into WriteStream");
                        stream.break_off(&status).await;
                        return Err(status);
                    }
                    Next::End => return stream.commit().await,
                }
            }
        })
        .await
    }

    async fn write_stream(
        &self,
        mut messages: Streaming<write::Request>,
    ) -> Result<ReceiverStream<Result<write::Response, Status>>, Status> {
        let mut stream = self.session.stream().await;
        let (send, answers) = mpsc::channel(4);
        // Ends with the caller's stream, or with its first message that fails.
        tokio::spawn(async move {
            loop {
                let answer = match stream.next(&mut messages).await {
                    Ok(Next::Taken) => continue,
                    Ok(Next::Flush(id)) => Ok(stream.flush(id).await),
                    Ok(Next::End) => match stream.commit().await {
                        Ok(()) => return,
                        Err(status) => Err(status),
                    },
                    Err(status) => Err(status),
                };
                let is_over = answer.is_err();
                // A caller that no longer listens may still send: what it sends is taken until it ends or breaks off.
                let _ = send.send(answer).await;
                if is_over {
                    return;
                }
            }
        });
        Ok(ReceiverStream::new(answers))
    }

    async fn read(&self, request: read::Request) -> Result<Answers<read::Response>, Status> {
        let session = self.session.clone();
        let view = to_the_end(async move {
            let look = async |open: &mut Open| {
                let view = open.destination.read_back().await;
                view.map_err(|error| match error.code() {
                    "E0604" => Status::unimplemented(error.chain()),
                    _ => failed("failed to read records", &error),
                })
            };
            session.look(look).await
        });
        read_back::rows(view.await?, &request.table).await
    }

    async fn assess_tables(&self, request: assess_tables::Request) -> Result<assess_tables::Response, Status> {
        assess::assess(&request)
    }

    async fn close(&self) -> Result<(), Status> {
        let session = self.session.clone();
        to_the_end(async move { session.close().await }).await
    }

    async fn end(&self) {
        self.session.end().await;
    }
}
