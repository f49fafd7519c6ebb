//! What applications write into the log with `pg_logical_emit_message`, as a stream of its own.
//!
//! | column | type | null | meaning |
//! |---|---|---|---|
//! | `lsn` | `pg_lsn` | no | Where the message ends in the log; the key: no two messages have the same. |
//! | `prefix` | `text` | yes | What kind of message it is, in the application's words. |
//! | `transactional` | `bool` | yes | Whether it belongs to a transaction. |
//! | `content` | `bytea` | yes | What it says. |
//!
//! A transactional message is a row of its transaction. One that is not comes alone, and takes its own place between
//! transactions: it ends at `lsn`, so its order's key is `lsn - 1`. Every commit record before it is below that, and one that
//! begins right behind it is above. The position after it is thus `lsn` as a flushed LSN, from where the server sends neither
//! this message again nor leaves out the next.
//!
//! There are no existing rows: a read of the stream ends as it begins.

use std::sync::Arc;

use api::PlannedStream;
use model::StreamId;

use super::changes::Relation;
use super::shape::{KeyFacts, SourceColumn, StreamShape, type_of};
use super::spec::MessagesSpec;
use crate::replication::Lsn;
use crate::replication::pgoutput::{Logical, Tuple};
use crate::types::{Scalar, TypeCatalogue};

/// The columns in their order.
const COLUMNS: [(&str, Scalar); 4] = [
    (KEY, Scalar::PgLsn),
    ("prefix", Scalar::Text),
    ("transactional", Scalar::Bool),
    ("content", Scalar::Bytea),
];

const KEY: &str = "lsn";

/// The stream of messages, of a pipeline that wants it.
#[derive(Debug, Clone)]
pub(crate) struct Messages {
    prefixes: Vec<String>,
    pub(crate) relation: Arc<Relation>,
}

impl Messages {
    /// The stream as a plan wants it.
    pub(crate) fn new(spec: &MessagesSpec, planned: &PlannedStream) -> api::Result<Self> {
        Ok(Messages {
            prefixes: spec.prefixes.clone(),
            relation: Arc::new(Relation {
                shape: Arc::new(shape(planned)?),
                identity: COLUMNS.iter().map(|(name, _)| *name == KEY).collect(),
            }),
        })
    }

    pub(crate) fn is(&self, stream: &StreamId) -> bool {
        self.relation.shape.stream() == stream
    }

    /// Whether messages with this prefix are passed on. `audit.*` means all that begin with `audit.`.
    pub(crate) fn wants(&self, prefix: &str) -> bool {
        let is_meant = |wanted: &String| match wanted.strip_suffix('*') {
            Some(beginning) => prefix.starts_with(beginning),
            None => wanted == prefix,
        };
        self.prefixes.is_empty() || self.prefixes.iter().any(is_meant)
    }
}

/// What the stream looks like.
pub(crate) fn shape(planned: &PlannedStream) -> api::Result<StreamShape> {
    let types = TypeCatalogue::builtin();
    let mut sent = Vec::new();
    for (name, scalar) in COLUMNS {
        sent.push(SourceColumn {
            name: name.to_owned(),
            ty: type_of(&types, scalar.oid(), &planned.id, name)?,
            typmod: -1,
        });
    }
    let facts = KeyFacts {
        key: vec![KEY.to_owned()],
        primary: Vec::new(),
    };
    StreamShape::new(planned, sent, &facts)
}

/// A message as a row, with its cells in `room`.
pub(crate) fn row<'a>(message: &Logical<'_>, room: &'a mut Vec<u8>) -> Tuple<'a> {
    let lsn = message.lsn.0.to_be_bytes();
    let is_transactional = [u8::from(message.is_transactional)];
    Tuple::of_binary(
        [&lsn, message.prefix.as_bytes(), &is_transactional, message.content],
        room,
    )
}

/// The key of the order of a message that belongs to no transaction.
pub(crate) fn place_of(message: &Logical<'_>) -> Lsn {
    Lsn(message.lsn.0.saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wants(prefixes: &[&str], prefix: &str) -> bool {
        let spec = MessagesSpec {
            prefixes: prefixes.iter().map(|&prefix| prefix.to_owned()).collect(),
            ..MessagesSpec::default()
        };
        Messages::new(&spec, &PlannedStream::new(spec.stream_id()))
            .expect("a shape")
            .wants(prefix)
    }

    #[test]
    fn prefixes_are_whole_or_end_in_a_star() {
        assert!(wants(&[], "anything"));
        assert!(wants(&["outbox", "audit.*"], "outbox"));
        assert!(wants(&["outbox", "audit.*"], "audit.login"));
        assert!(!wants(&["outbox", "audit.*"], "outbox2"));
        assert!(!wants(&["outbox", "audit.*"], "audit"));
    }
}
