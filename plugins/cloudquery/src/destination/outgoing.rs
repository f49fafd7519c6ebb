//! The one stream of messages to a plugin, and its answers.

use std::time::Duration;

use proto::plugin_v3::write::{self, request};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use crate::error::{Error, Result};
use crate::plugin::Plugin;

/// Messages that wait for the connection. Each is at most a few MiB.
const IN_FLIGHT: usize = 8;

/// An open write.
pub(super) struct Outgoing {
    send: mpsc::Sender<write::Request>,
    answer: Answer,
}

enum Answer {
    /// `Write`: one answer, after the half-close.
    AtEnd(JoinHandle<Result<(), Status>>),
    /// `WriteStream`: one for each flush.
    ForFlush(Box<Streaming<write::Response>>),
}

impl Outgoing {
    pub(super) async fn open(plugin: &Plugin, answers_flush: bool) -> Result<Outgoing> {
        let (send, receive) = mpsc::channel(IN_FLIGHT);
        let messages = ReceiverStream::new(receive);
        let mut client = plugin.client();
        let answer = if answers_flush {
            let answers = plugin.call("WriteStream", client.write_stream(messages)).await?;
            Answer::ForFlush(Box::new(answers))
        } else {
            Answer::AtEnd(tokio::spawn(async move { client.write(messages).await.map(drop) }))
        };
        Ok(Outgoing { send, answer })
    }

    /// Sends one message; waits for room as long as an answer may take.
    pub(super) async fn send(&mut self, plugin: &Plugin, message: request::Message) -> Result<()> {
        let request = write::Request { message: Some(message) };
        match self.send.send_timeout(request, plugin.timeout()).await {
            Ok(()) => Ok(()),
            Err(mpsc::error::SendTimeoutError::Timeout(_)) => Err(late(plugin, "Write")),
            // The plugin has ended the call: its answer says why.
            Err(mpsc::error::SendTimeoutError::Closed(_)) => Err(self.why_closed(plugin).await),
        }
    }

    async fn why_closed(&mut self, plugin: &Plugin) -> Error {
        let status = match &mut self.answer {
            Answer::AtEnd(task) => match within(plugin.timeout(), task).await {
                Some(Ok(Err(status))) => status,
                _ => Status::cancelled("the plugin ended the write"),
            },
            Answer::ForFlush(answers) => match within(plugin.timeout(), answers.message()).await {
                Some(Err(status)) => status,
                _ => Status::cancelled("the plugin ended the write"),
            },
        };
        plugin.failed("Write", &status).await
    }

    /// Asks for a flush and waits for its answer.
    pub(super) async fn flush(&mut self, plugin: &Plugin, id: u64) -> Result<()> {
        self.send(plugin, request::Message::Flush(write::MessageFlush { id }))
            .await?;
        let Answer::ForFlush(answers) = &mut self.answer else {
            return Ok(());
        };
        let answer = match within(plugin.timeout(), answers.message()).await {
            None => return Err(late(plugin, "WriteStream")),
            Some(Err(status)) => return Err(plugin.failed("WriteStream", &status).await),
            Some(Ok(None)) => {
                let status = Status::cancelled("the plugin ended the write before it answered the flush");
                return Err(plugin.failed("WriteStream", &status).await);
            }
            Some(Ok(Some(answer))) => answer,
        };
        if answer.flush_id != id {
            return Err(Error::Protocol {
                plugin: plugin.name().to_owned(),
                what: format!("it answered flush {} where {id} was asked for", answer.flush_id),
            });
        }
        if answer.flush_error.is_empty() && answer.failed_tables.is_empty() {
            return Ok(());
        }
        Err(Error::Flush {
            plugin: plugin.name().to_owned(),
            tables: answer.failed_tables,
            what: answer.flush_error,
        })
    }

    /// Half-closes and waits for the end of the call.
    pub(super) async fn finish(self, plugin: &Plugin) -> Result<()> {
        drop(self.send);
        let outcome = match self.answer {
            Answer::AtEnd(task) => match within(plugin.timeout(), task).await {
                None => return Err(late(plugin, "Write")),
                Some(Ok(outcome)) => outcome,
                Some(Err(panic)) => Err(Status::internal(panic.to_string())),
            },
            Answer::ForFlush(mut answers) => loop {
                match within(plugin.timeout(), answers.message()).await {
                    None => return Err(late(plugin, "WriteStream")),
                    Some(Ok(Some(_))) => {}
                    Some(Ok(None)) => break Ok(()),
                    Some(Err(status)) => break Err(status),
                }
            },
        };
        match outcome {
            Ok(()) => Ok(()),
            Err(status) => Err(plugin.failed("Write", &status).await),
        }
    }
}

async fn within<T>(timeout: Duration, answer: impl Future<Output = T>) -> Option<T> {
    tokio::time::timeout(timeout, answer).await.ok()
}

fn late(plugin: &Plugin, call: &'static str) -> Error {
    Error::Deadline {
        plugin: plugin.name().to_owned(),
        call,
        after: plugin.timeout(),
    }
}
