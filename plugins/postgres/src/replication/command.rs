use std::io;

use bytes::BytesMut;
use fallible_iterator::FallibleIterator;
use postgres_protocol::message::backend::Message;
use postgres_protocol::message::frontend;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};

use super::error::{ReplicationError, ServerError};
use super::receiver::Receiver;

/// One row of texts.
pub(super) type Row = Vec<Option<String>>;

/// Answers of commands are short; a query that gives more belongs on the other connection.
const ROWS_MAX: usize = 100_000;

/// Sends a command or a query and waits for its whole answer.
pub(super) async fn run(
    transport: &mut (impl AsyncRead + AsyncWrite + Unpin),
    receiver: &mut Receiver,
    doing: &'static str,
    sql: &str,
) -> Result<Vec<Row>, ReplicationError> {
    send(transport, doing, sql).await?;
    let mut rows = Vec::new();
    let mut refused = None;
    loop {
        match next(transport, receiver, doing).await? {
            Message::DataRow(body) => {
                if rows.len() == ROWS_MAX {
                    return Err(unexpected(doing, format!("more than {ROWS_MAX} rows")));
                }
                rows.push(
                    row(&body).map_err(|error| unexpected(doing, format!("a row that cannot be read ({error})")))?,
                );
            }
            Message::ErrorResponse(body) => refused = Some(ServerError::read(body.fields())),
            Message::ReadyForQuery(_) => break,
            Message::CopyInResponse(_) | Message::CopyOutResponse(_) => {
                return Err(unexpected(doing, "a COPY that nobody asked for".to_owned()));
            }
            _ => {}
        }
    }
    match refused {
        Some(source) => Err(ReplicationError::Refused { doing, source }),
        None => Ok(rows),
    }
}

pub(super) async fn send(
    transport: &mut (impl AsyncWrite + Unpin),
    doing: &'static str,
    sql: &str,
) -> Result<(), ReplicationError> {
    let mut out = BytesMut::new();
    let lost = |source| ReplicationError::Lost { doing, source };
    frontend::query(sql, &mut out).map_err(lost)?;
    transport.write_all(&out).await.map_err(lost)?;
    transport.flush().await.map_err(lost)
}

pub(super) async fn next(
    transport: &mut (impl AsyncRead + Unpin),
    receiver: &mut Receiver,
    doing: &'static str,
) -> Result<Message, ReplicationError> {
    let mut raw = receiver.next(transport).await.map_err(|error| lost(doing, error))?;
    parse(&mut raw.bytes, doing)
}

pub(super) fn parse(bytes: &mut BytesMut, doing: &'static str) -> Result<Message, ReplicationError> {
    match Message::parse(bytes) {
        Ok(Some(message)) => Ok(message),
        Ok(None) => Err(unexpected(doing, "a message that is not whole".to_owned())),
        Err(error) => Err(unexpected(doing, format!("a message that cannot be read ({error})"))),
    }
}

/// A failure of the network, or of the framing.
pub(super) fn lost(doing: &'static str, source: io::Error) -> ReplicationError {
    match source.kind() {
        io::ErrorKind::InvalidData => unexpected(doing, source.to_string()),
        _ => ReplicationError::Lost { doing, source },
    }
}

pub(super) fn unexpected(doing: &'static str, what: String) -> ReplicationError {
    ReplicationError::Protocol { doing, what }
}

fn row(body: &postgres_protocol::message::backend::DataRowBody) -> io::Result<Row> {
    let buffer = body.buffer();
    body.ranges()
        .map(|range| {
            let cell = range.and_then(|range| buffer.get(range));
            cell.map(|bytes| std::str::from_utf8(bytes).map(str::to_owned).map_err(io::Error::other))
                .transpose()
        })
        .collect()
}
