//! What a sync says, read off the wire by a task of its own.
//!
//! The task exists so that `next` can be dropped at any time, and so that records which have arrived can be gathered
//! without waiting for more.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use model::Control;
use prost::Message as _;
use proto::plugin_v3::sync::response::Message as Wire;
use proto::plugin_v3::sync::{self, MessageDeleteRecord};
use proto::{Decoder, Table, TableCodec};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tonic::Streaming;

use crate::conditions;
use crate::error::{Error, Result, one_line};
use crate::plugin::{Plugin, SharedPlugin};

/// How long rows wait for others. A changeset costs as much as hundreds of rows, at each of its stations; that a row waits, nobody
/// sees.
const LINGER_MAX: Duration = Duration::from_millis(5);
/// Messages read ahead. Python and JavaScript send one row in each.
const READ_AHEAD: usize = 256;
/// Bytes of messages read ahead; a larger message is alone.
const READ_AHEAD_BYTES: u32 = 32 << 20;

/// One message of a sync.
pub(super) enum Message {
    /// A table begins, or its shape changes.
    Table(Arc<TableCodec>),
    /// Rows of it, in our types.
    Rows(Arc<TableCodec>, RecordBatch),
    /// Rows of it went.
    Deleted(Arc<TableCodec>, Vec<Control>),
    /// It failed; the sync goes on.
    Failed { table: String, what: String },
    /// Cursors that count every row before it.
    Checkpoint(RecordBatch),
}

/// A message that was read ahead, and its part of the bytes.
type Ahead = (Result<Message>, Option<OwnedSemaphorePermit>);

/// The messages of one sync; the task ends with it.
pub(super) struct Messages {
    received: mpsc::Receiver<Ahead>,
    task: JoinHandle<()>,
    /// Until when one waits for more to what was received.
    linger_until: Option<Instant>,
}

impl Drop for Messages {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Messages {
    pub(super) fn start(plugin: SharedPlugin, request: sync::Request) -> Messages {
        let (send, received) = mpsc::channel(READ_AHEAD);
        let takes_checkpoints = request.supports_checkpoints;
        let task = tokio::spawn(async move {
            // Of an earlier sync. It may be half over when its call has an answer.
            plugin.take_failed_tables().await;
            match plugin.call("Sync", plugin.client().sync(request)).await {
                Ok(stream) => {
                    let tables = Tables::new(plugin.name(), takes_checkpoints);
                    read(plugin, tables, stream, send).await;
                }
                Err(error) => drop(send.send((Err(error), None)).await),
            }
        });
        Messages {
            received,
            task,
            linger_until: None,
        }
    }

    /// The next message; `None` when the sync ended well. Cancel-safe.
    pub(super) async fn next(&mut self) -> Option<Result<Message>> {
        self.linger_until = None;
        self.received.recv().await.map(|(message, _)| message)
    }

    /// The next message, if it is here or comes in a moment after the last [`next`](Self::next): `None` if none has. Inside, as
    /// there. Cancel-safe.
    pub(super) async fn soon(&mut self) -> Option<Option<Result<Message>>> {
        if let Ok((message, _)) = self.received.try_recv() {
            return Some(Some(message));
        }
        let until = *self.linger_until.get_or_insert_with(|| Instant::now() + LINGER_MAX);
        let next = tokio::time::timeout_at(until, self.received.recv()).await;
        if next.is_err() {
            self.linger_until = None;
        }
        next.ok().map(|next| next.map(|(message, _)| message))
    }
}

async fn read(
    plugin: SharedPlugin,
    mut tables: Tables,
    mut stream: Streaming<sync::Response>,
    send: mpsc::Sender<Ahead>,
) {
    let room = Arc::new(Semaphore::new(READ_AHEAD_BYTES as usize));
    loop {
        let mut bytes = 0;
        let message = match tokio::time::timeout(plugin.timeout(), stream.message()).await {
            Ok(Ok(Some(response))) => {
                bytes = u32::try_from(response.encoded_len())
                    .unwrap_or(u32::MAX)
                    .min(READ_AHEAD_BYTES);
                tables.take(response)
            }
            Ok(Ok(None)) => return log_failures(&plugin, &send).await,
            Ok(Err(status)) => Err(plugin.failed("Sync", &status).await),
            Err(_) => Err(Error::Deadline {
                plugin: plugin.name().to_owned(),
                call: "Sync",
                after: plugin.timeout(),
            }),
        };
        let is_over = message.is_err();
        // Never closed, so there is always a permit in the end.
        let permit = Arc::clone(&room).acquire_many_owned(bytes).await.ok();
        if send.send((message, permit)).await.is_err() || is_over {
            return;
        }
    }
}

/// Passes on of which tables the plugin has only logged that something is missing.
async fn log_failures(plugin: &Plugin, send: &mpsc::Sender<Ahead>) {
    for (table, what) in plugin.take_failed_tables().await {
        let (table, what) = (one_line(&table), one_line(&what));
        if send.send((Ok(Message::Failed { table, what }), None)).await.is_err() {
            return;
        }
    }
}

/// The tables that a sync has announced.
pub(super) struct Tables {
    plugin: String,
    takes_checkpoints: bool,
    decoder: Decoder,
    codecs: HashMap<String, Arc<TableCodec>>,
}

impl Tables {
    pub(super) fn new(plugin: &str, takes_checkpoints: bool) -> Self {
        Tables {
            plugin: plugin.to_owned(),
            takes_checkpoints,
            decoder: Decoder::default(),
            codecs: HashMap::new(),
        }
    }

    pub(super) fn take(&mut self, response: sync::Response) -> Result<Message> {
        match response.message {
            Some(Wire::MigrateTable(message)) => self.table(&message.table),
            Some(Wire::Insert(message)) => self.rows(&message.record),
            Some(Wire::Error(message)) => Ok(Message::Failed {
                table: one_line(&message.table_name),
                what: one_line(&message.error),
            }),
            Some(Wire::DeleteRecord(message)) => self.deleted(&message),
            Some(Wire::Checkpoint(message)) if self.takes_checkpoints => {
                let rows = self.decoder.record(&message.record);
                rows.map(Message::Checkpoint).map_err(|source| self.payload(source))
            }
            Some(Wire::Checkpoint(_)) => Err(self.broken("it sent a checkpoint, and was not asked to")),
            None => Err(self.broken("it sent a message of a kind that we do not know")),
        }
    }

    fn table(&mut self, payload: &bytes::Bytes) -> Result<Message> {
        let schema = self.decoder.schema(payload).map_err(|source| self.payload(source))?;
        let codec = Table::of_schema(&schema)
            .map_err(Into::into)
            .and_then(TableCodec::of_table)
            .map_err(|source| self.convert(source))?;
        let codec = Arc::new(codec);
        self.codecs.insert(codec.table().name.clone(), Arc::clone(&codec));
        Ok(Message::Table(codec))
    }

    fn deleted(&mut self, message: &MessageDeleteRecord) -> Result<Message> {
        let table = one_line(&message.table_name);
        if !message.table_relations.is_empty() {
            return Err(Error::Unsupported {
                plugin: self.plugin.clone(),
                verb: format!("delete rows of `{table}`"),
                what: "deletes by conditions of related tables are not passed on".to_owned(),
                hint: "leave the table out of `streams`",
            });
        }
        let codec = self.codecs.get(&message.table_name).cloned();
        let codec = codec.ok_or_else(|| {
            let what = format!("it deleted rows of `{table}` before it announced that table");
            self.broken(&what)
        })?;
        let deletes = conditions::deletes(&mut self.decoder, &codec, &message.where_clause);
        let deletes = deletes.map_err(|error| {
            let what = format!("its delete of rows of `{table}` cannot be used ({error})");
            self.broken(&what)
        })?;
        Ok(Message::Deleted(codec, deletes))
    }

    fn rows(&mut self, payload: &bytes::Bytes) -> Result<Message> {
        let rows = self.decoder.record(payload).map_err(|source| self.payload(source))?;
        let name = rows.schema_ref().metadata().get("cq:table_name");
        let name = name.ok_or_else(|| self.broken("it sent rows without the name of their table"))?;
        let codec = self.codecs.get(name).cloned().ok_or_else(|| {
            let what = format!("it sent rows of `{}` before it announced that table", one_line(name));
            self.broken(&what)
        })?;
        let rows = codec.rows_from_wire(&rows).map_err(|source| self.convert(source))?;
        Ok(Message::Rows(codec, rows))
    }

    fn broken(&self, what: &str) -> Error {
        Error::Protocol {
            plugin: self.plugin.clone(),
            what: what.to_owned(),
        }
    }

    fn payload(&self, source: proto::PayloadError) -> Error {
        Error::Payload {
            plugin: self.plugin.clone(),
            source,
        }
    }

    fn convert(&self, source: proto::ConvertError) -> Error {
        Error::Convert {
            plugin: self.plugin.clone(),
            source,
        }
    }
}
