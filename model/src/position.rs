//! Where something stands in a source's history.

use std::fmt;
use std::sync::Arc;

use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::StreamId;

/// A place in one partition's order: `incarnation u32 ‖ key u64 ‖ ordinal u32`.
///
/// Compared only inside one [`Partition`]. The incarnation grows when the source's axis legitimately starts again (a
/// re-created slot after a resync), so that an order never goes back. The key is the source's own axis (a commit LSN, an
/// offset, a sequence number); the ordinal tells rows or commits with one key apart.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Order(u128);

impl Order {
    /// Before everything.
    pub const MIN: Order = Order(0);

    /// Builds an order from its three parts, most significant first.
    pub const fn new(incarnation: u32, key: u64, ordinal: u32) -> Self {
        Order(((incarnation as u128) << 96) | ((key as u128) << 32) | ordinal as u128)
    }

    /// The most significant part.
    pub const fn incarnation(self) -> u32 {
        (self.0 >> 96) as u32
    }

    /// The source's own axis.
    pub const fn key(self) -> u64 {
        (self.0 >> 32) as u64
    }

    /// The least significant part.
    pub const fn ordinal(self) -> u32 {
        self.0 as u32
    }

    /// Sixteen bytes whose byte order is this order.
    pub const fn to_be_bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.incarnation() != 0 {
            write!(f, "{}:", self.incarnation())?;
        }
        write!(f, "{}", self.key())?;
        if self.ordinal() != 0 {
            write!(f, ".{}", self.ordinal())?;
        }
        Ok(())
    }
}

impl fmt::Debug for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why a text is not an [`Order`].
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("cannot read order `{0}`: expected `[incarnation:]key[.ordinal]`")]
pub struct OrderParseError(String);

impl std::str::FromStr for Order {
    type Err = OrderParseError;

    /// Reads back what `Display` writes.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refuse = || OrderParseError(text.to_owned());
        let (incarnation, rest) = text
            .split_once(':')
            .map_or((Ok(0), text), |(i, rest)| (i.parse(), rest));
        let (key, ordinal) = rest.split_once('.').map_or((rest, Ok(0)), |(key, o)| (key, o.parse()));
        match (incarnation, key.parse(), ordinal) {
            (Ok(incarnation), Ok(key), Ok(ordinal)) => Ok(Order::new(incarnation, key, ordinal)),
            _ => Err(refuse()),
        }
    }
}

impl Serialize for Order {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Order {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// A consistent point of one partition: the order that is compared, and what the source needs to go on from there.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// What is compared; inclusive: everything up to and with it is covered.
    pub order: Order,
    /// Opaque to everyone but the source that made it.
    #[serde(default, skip_serializing_if = "Bytes::is_empty", with = "token")]
    pub token: Bytes,
}

impl Position {
    /// A position whose order says everything.
    pub fn at(order: Order) -> Self {
        Position {
            order,
            token: Bytes::new(),
        }
    }

    /// A position with what the source needs to resume.
    pub fn with_token(order: Order, token: impl Into<Bytes>) -> Self {
        Position {
            order,
            token: token.into(),
        }
    }
}

impl fmt::Debug for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.order)?;
        if !self.token.is_empty() {
            write!(f, "+{}B", self.token.len())?;
        }
        Ok(())
    }
}

/// Tokens travel as base64: they are bytes, and what stores them is text.
pub(crate) mod token {
    use base64::Engine as _;

    use super::{BASE64_STANDARD, Bytes, Deserialize, Deserializer, Serializer, de};

    pub(crate) fn serialize<S: Serializer>(token: &Bytes, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&BASE64_STANDARD.encode(token))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
        let text = String::deserialize(deserializer)?;
        BASE64_STANDARD.decode(text).map(Bytes::from).map_err(de::Error::custom)
    }
}

/// An independently ordered part of a source's history.
///
/// Stored as `{"log": id}` or `{"range": {"stream", "run", "range"}}`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Partition {
    /// A log. The id contains the identity of the history (system id, topic id, nonce), so that a re-created log is
    /// never taken for the old one.
    Log(Arc<str>),
    /// One range of one numbered read of a stream's existing rows. Orders are page numbers, from 1.
    Range {
        /// The stream being read.
        stream: StreamId,
        /// The number of the read.
        run: u32,
        /// The range inside it.
        range: u16,
    },
}

impl Partition {
    /// A log partition.
    pub fn log(id: impl Into<Arc<str>>) -> Self {
        Partition::Log(id.into())
    }

    /// Whether this is a log.
    pub fn is_log(&self) -> bool {
        matches!(self, Partition::Log(_))
    }
}

impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Partition::Log(id) => write!(f, "{id}"),
            Partition::Range { stream, run, range } => write!(f, "{stream}#{run}/{range}"),
        }
    }
}

impl fmt::Debug for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// One atomic step in reading a range: pages are numbered from 1, in the order in which they are read.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Page {
    /// The range.
    pub range: u16,
    /// The number inside the range.
    pub number: u32,
}

impl Page {
    /// Stands for "not read yet, and no number is known": later than every page that has one.
    pub const UNREAD: u32 = u32::MAX;

    /// Names a page.
    pub const fn new(range: u16, number: u32) -> Self {
        Page { range, number }
    }

    /// The page's order in its range's partition.
    pub const fn order(self) -> Order {
        Order::new(0, self.number as u64, 0)
    }
}

/// Microseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// Microseconds since the epoch.
    pub const fn micros(self) -> i64 {
        self.0
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}us", self.0)
    }
}
