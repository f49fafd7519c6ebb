use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes};
use postgres_protocol::message::backend::Message;
use tokio::io::ReadHalf;
use tokio::task::JoinHandle;

use super::command::{lost, parse, send, unexpected};
use super::connection::Connection;
use super::error::{ReplicationError, ServerError};
use super::lsn::Lsn;
use super::receiver::{Raw, Receiver};
use super::slot::{quoted_name, quoted_text};
use super::status::{Marks, Shared, silence, write_statuses};
use super::time::ServerTime;
use crate::connect::{Host, Transport};

/// What `pgoutput` is asked to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamOptions {
    /// The protocol's version, 1 to 4: see [`protocol_version_max`].
    pub proto_version: u32,
    /// The publications.
    pub publications: Vec<String>,
    /// Values in binary form, where the type has one (PostgreSQL 14).
    pub binary: bool,
    /// Whether large transactions are sent while they run.
    pub streaming: Streaming,
    /// Whether logical messages are sent (14).
    pub messages: bool,
    /// Whether prepared transactions are sent when they are prepared (15, protocol 3). The slot must have been made for it.
    pub two_phase: bool,
    /// `none`: only what was written here, not what came by replication (16). `None`: everything.
    pub origin: Option<String>,
}

/// Whether large transactions are sent while they run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Streaming {
    /// Only after they committed.
    #[default]
    Off,
    /// In blocks (14, protocol 2).
    On,
    /// In blocks, with the place and time of aborts (16, protocol 4).
    Parallel,
}

/// The newest version of the protocol that a server of this major version speaks.
pub fn protocol_version_max(major: u32) -> u32 {
    match major {
        16.. => 4,
        15 => 3,
        14 => 2,
        _ => 1,
    }
}

/// What every server can do: protocol 1, whole transactions, texts. Of no publication, which no server takes.
impl Default for StreamOptions {
    fn default() -> Self {
        StreamOptions::newest(0, Vec::new())
    }
}

impl StreamOptions {
    /// Everything that a server of this major version can do, but two-phase: the newest protocol, streamed transactions,
    /// binary values.
    pub fn newest(major: u32, publications: Vec<String>) -> Self {
        StreamOptions {
            proto_version: protocol_version_max(major),
            publications,
            binary: major >= 14,
            streaming: match major {
                16.. => Streaming::Parallel,
                14 | 15 => Streaming::On,
                _ => Streaming::Off,
            },
            messages: false,
            two_phase: false,
            origin: None,
        }
    }

    fn sql(&self) -> String {
        let names: Vec<String> = self.publications.iter().map(|name| quoted_name(name)).collect();
        let mut options = vec![
            ("proto_version", self.proto_version.to_string()),
            ("publication_names", names.join(",")),
        ];
        options.extend(self.binary.then(|| ("binary", "true".to_owned())));
        match self.streaming {
            Streaming::Off => {}
            Streaming::On => options.push(("streaming", "on".to_owned())),
            Streaming::Parallel => options.push(("streaming", "parallel".to_owned())),
        }
        options.extend(self.messages.then(|| ("messages", "true".to_owned())));
        options.extend(self.two_phase.then(|| ("two_phase", "true".to_owned())));
        options.extend(self.origin.clone().map(|origin| ("origin", origin)));
        let options = options
            .iter()
            .map(|(name, value)| format!("{name} {}", quoted_text(value)));
        options.collect::<Vec<_>>().join(", ")
    }
}

/// What the walsender sends.
#[derive(Debug, Clone)]
pub enum Frame {
    /// One message of the output plugin.
    Data(Data),
    /// A sign of life. On an idle database `wal_end` still moves: everything before it was sent.
    Keepalive(Keepalive),
}

/// One message of the output plugin.
#[derive(Clone)]
pub struct Data {
    /// Where in the log it comes from; 0 for some messages.
    pub wal_start: Lsn,
    /// The end of the log at the server.
    pub wal_end: Lsn,
    /// When it was sent.
    pub sent_at: ServerTime,
    /// The message, for [`pgoutput::Decoder`](super::pgoutput::Decoder). A slice of the chunk it came in: to keep it long keeps
    /// up to 256 KiB.
    pub bytes: Bytes,
}

/// A sign of life.
#[derive(Debug, Clone, Copy)]
pub struct Keepalive {
    /// Everything before it was sent.
    pub wal_end: Lsn,
    /// When it was sent.
    pub sent_at: ServerTime,
    /// Whether the server wants to hear from us at once. It does, without the reader's doing.
    pub reply_requested: bool,
}

impl fmt::Debug for Data {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Data({}, {} bytes)", self.wal_start, self.bytes.len())
    }
}

/// The change stream of a slot. Dropping it closes the connection.
pub struct Stream {
    from: ReadHalf<Transport>,
    receiver: Receiver,
    shared: Arc<Shared>,
    _writer: Writer,
    major: u32,
    host: Host,
}

/// Aborts the task with its owner.
struct Writer(JoinHandle<io::Result<()>>);

impl Drop for Writer {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Reports progress from elsewhere than the reader.
#[derive(Debug, Clone)]
pub struct StatusHandle(Arc<Shared>);

impl StatusHandle {
    /// Raises the marks and sends them soon; calls that come faster than the network share a message.
    pub fn report(&self, marks: Marks) {
        self.0.raise(marks);
        self.0.send_now(false);
    }

    /// The marks that the server is told.
    pub fn marks(&self) -> Marks {
        self.0.marks()
    }
}

const STARTING: &str = "start the change stream";
const READING: &str = "read the change stream";
const STOPPING: &str = "stop the change stream";

impl Connection {
    /// Starts the stream of a slot.
    ///
    /// `at` is where to go on: the server sends what committed after it, but **never what is before the slot's
    /// `confirmed_flush_lsn`**: asked for an older place it skips in silence, so compare before. [`Lsn::ZERO`] is the slot's own.
    ///
    /// Errors: the slot is missing, in use, invalid, or the plugin refuses the options. The connection is closed then.
    pub async fn start(mut self, slot: &str, at: Lsn, options: &StreamOptions) -> Result<Stream, ReplicationError> {
        let silence = silence(self.wal_sender_timeout().await?);
        let sql = format!(
            "START_REPLICATION SLOT {} LOGICAL {at} ({})",
            quoted_name(slot),
            options.sql()
        );
        send(&mut self.transport, STARTING, &sql).await?;
        loop {
            let mut raw = self
                .receiver
                .next(&mut self.transport)
                .await
                .map_err(|error| lost(STARTING, error))?;
            match raw.tag {
                // CopyBothResponse.
                b'W' => break,
                b'E' => return Err(refusal(STARTING, &mut raw)),
                b'N' | b'S' => {}
                other => return Err(unexpected(STARTING, format!("a message `{}`", char::from(other)))),
            }
        }
        let shared = Shared::starting_at(at);
        let (from, to) = tokio::io::split(self.transport);
        let writer = tokio::spawn(write_statuses(to, Arc::clone(&shared), silence));
        Ok(Stream {
            from,
            receiver: self.receiver,
            shared,
            _writer: Writer(writer),
            major: self.major,
            host: self.host,
        })
    }
}

impl Stream {
    /// The next frame.
    ///
    /// Cancel-safe. A request of the server for a reply is answered by the writer; the frame is returned all the same.
    ///
    /// Errors: the connection broke, the server ended the stream (it stops, or somebody terminated the session), or refused.
    pub async fn next(&mut self) -> Result<Frame, ReplicationError> {
        loop {
            let raw = self
                .receiver
                .next(&mut self.from)
                .await
                .map_err(|error| lost(READING, error))?;
            if let Some(frame) = self.frame(raw)? {
                return Ok(frame);
            }
        }
    }

    /// A frame that has already arrived, without waiting for the network.
    pub fn try_next(&mut self) -> Result<Option<Frame>, ReplicationError> {
        loop {
            match self.receiver.cut().map_err(|error| lost(READING, error))? {
                None => return Ok(None),
                Some(raw) => match self.frame(raw)? {
                    Some(frame) => return Ok(Some(frame)),
                    None => continue,
                },
            }
        }
    }

    /// Raises the marks and sends them soon. `wants_reply`: the server answers with a keepalive.
    pub fn status(&self, marks: Marks, wants_reply: bool) {
        self.shared.raise(marks);
        self.shared.send_now(wants_reply);
    }

    /// For reporting from elsewhere.
    pub fn status_handle(&self) -> StatusHandle {
        StatusHandle(Arc::clone(&self.shared))
    }

    /// The server's major version.
    pub fn major(&self) -> u32 {
        self.major
    }

    fn frame(&self, mut raw: Raw) -> Result<Option<Frame>, ReplicationError> {
        match raw.tag {
            b'd' => self.copy_data(raw.into_body()).map(Some),
            b'E' => Err(refusal(READING, &mut raw)),
            b'N' | b'S' => Ok(None),
            // The server stops: it has sent everything and will send nothing more.
            b'c' | b'C' | b'Z' => Err(ReplicationError::Lost {
                doing: READING,
                source: io::Error::new(io::ErrorKind::ConnectionAborted, "the server ended the stream"),
            }),
            other => Err(unexpected(READING, format!("a message `{}`", char::from(other)))),
        }
    }

    fn copy_data(&self, mut body: Bytes) -> Result<Frame, ReplicationError> {
        let short = |_| unexpected(READING, "a frame that ends too early".to_owned());
        match body.try_get_u8().map_err(short)? {
            b'w' => {
                let wal_start = Lsn(body.try_get_u64().map_err(short)?);
                let wal_end = Lsn(body.try_get_u64().map_err(short)?);
                let sent_at = ServerTime(body.try_get_i64().map_err(short)?);
                self.received(wal_start);
                Ok(Frame::Data(Data {
                    wal_start,
                    wal_end,
                    sent_at,
                    bytes: body,
                }))
            }
            b'k' => {
                let wal_end = Lsn(body.try_get_u64().map_err(short)?);
                let sent_at = ServerTime(body.try_get_i64().map_err(short)?);
                let reply_requested = body.try_get_u8().map_err(short)? != 0;
                self.received(wal_end);
                if reply_requested {
                    self.shared.send_now(false);
                }
                Ok(Frame::Keepalive(Keepalive {
                    wal_end,
                    sent_at,
                    reply_requested,
                }))
            }
            other => Err(unexpected(READING, format!("a frame `{}`", char::from(other)))),
        }
    }

    fn received(&self, upto: Lsn) {
        self.shared.raise(Marks {
            received: upto,
            ..Marks::default()
        });
    }

    /// Ends the stream politely: sends the last marks, waits until the server says goodbye, and closes the connection. What
    /// arrives meanwhile is thrown away.
    ///
    /// The server finishes the transaction that it is sending first, so this has a limit: after `within` the connection is
    /// closed without goodbye (`Err`), which is just as safe but leaves the slot active for a moment longer.
    pub async fn stop(self, within: Duration) -> Result<(), ReplicationError> {
        let elapsed = |_| ReplicationError::Lost {
            doing: STOPPING,
            source: io::ErrorKind::TimedOut.into(),
        };
        tokio::time::timeout(within, self.stop_unbounded())
            .await
            .map_err(elapsed)?
    }

    // The connection cannot stream again: a walsender remembers the goodbye and ends the next stream at once (seen on 15).
    async fn stop_unbounded(mut self) -> Result<(), ReplicationError> {
        let lost = |source| ReplicationError::Lost {
            doing: STOPPING,
            source,
        };
        self.shared.stop();
        // Reading goes on while the writer writes, or a full network would keep it waiting.
        loop {
            let mut raw = self.receiver.next(&mut self.from).await.map_err(lost)?;
            match raw.tag {
                b'E' => return Err(refusal(STOPPING, &mut raw)),
                b'Z' => return Ok(()),
                _ => {}
            }
        }
    }
}

fn refusal(doing: &'static str, raw: &mut Raw) -> ReplicationError {
    match parse(&mut raw.bytes, doing) {
        Ok(Message::ErrorResponse(body)) => ReplicationError::Refused {
            doing,
            source: ServerError::read(body.fields()),
        },
        Ok(_) => unexpected(doing, "an error that is none".to_owned()),
        Err(error) => error,
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Stream({}, {:?})", self.host, self.shared.marks())
    }
}
