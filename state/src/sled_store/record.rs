//! One value, self-contained: what a journal is a sequence of, and what the database holds under each key.
//!
//! ```text
//! offset  size  field
//!      0     4  "HWSR"
//!      4     2  format, u16: 1
//!      6     1  kind: 1 destination, 2 kept, 3 forgotten, 4 base
//!      7     1  0
//!      8     8  seq, u64: grows with every record of the directory, so that of two records of one key the later is known
//!     16     8  settled, u64: every record up to and with this seq was durable in the database when this one was written
//!     24     4  key length k, u32
//!     28     4  body length b, u32
//!     32     k  key: length of the pipeline's name, u16; the name; the destination's name (kind 1 alone)
//!   32+k     b  body, JSON
//! 32+k+b     4  crc32c of everything before it, u32
//! ```
//!
//! Numbers are little-endian. Magic, format, lengths and checksum keep their places in every later format, so that a value of
//! a newer version is told from a damaged one.
//!
//! | kind | key | body |
//! |---|---|---|
//! | destination | pipeline, destination | [`Stored`] |
//! | kept | pipeline | `{name: base64}` |
//! | forgotten | pipeline | none. Everything of the pipeline with a smaller seq is gone. In the journal alone |
//! | base | none | none. The records before it in this file are all values that there are. In the journal alone |

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use model::{DestinationId, PipelineId};

use crate::Stored;

/// The format of the state directory that this version writes; it reads this one and all before it.
pub const FORMAT: u16 = 1;
pub(super) const MAGIC: &[u8; 4] = b"HWSR";
const HEADER: usize = 32;
const CRC: usize = 4;

/// The largest body. A checkpoint of ten thousand streams that are all being read has some MiB.
pub(super) const BODY_BYTES_MAX: usize = 64 << 20;

/// The longest name: its length is a u16.
pub(super) const NAME_BYTES_MAX: usize = u16::MAX as usize;

/// Whose value it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Key {
    Destination(PipelineId, DestinationId),
    Kept(PipelineId),
}

impl Key {
    pub(super) fn pipeline(&self) -> &PipelineId {
        match self {
            Key::Destination(pipeline, _) | Key::Kept(pipeline) => pipeline,
        }
    }

    /// The key in the database: the kind, then the key of the record.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![Item::of(self).kind()];
        Item::of(self).put_key(&mut bytes);
        bytes
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Key::Destination(pipeline, destination) => write!(f, "`{pipeline}`/`{destination}`"),
            Key::Kept(pipeline) => write!(f, "the source of `{pipeline}`"),
        }
    }
}

/// What a record is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Item {
    Value(Key),
    Forgotten(PipelineId),
    Base,
}

impl Item {
    fn of(key: &Key) -> Item {
        Item::Value(key.clone())
    }

    fn kind(&self) -> u8 {
        match self {
            Item::Value(Key::Destination(..)) => 1,
            Item::Value(Key::Kept(_)) => 2,
            Item::Forgotten(_) => 3,
            Item::Base => 4,
        }
    }

    fn put_key(&self, out: &mut Vec<u8>) {
        let (pipeline, destination) = match self {
            Item::Value(Key::Destination(pipeline, destination)) => (pipeline.as_str(), destination.as_str()),
            Item::Value(Key::Kept(pipeline)) | Item::Forgotten(pipeline) => (pipeline.as_str(), ""),
            Item::Base => return,
        };
        debug_assert!(pipeline.len() <= NAME_BYTES_MAX);
        out.extend_from_slice(&(pipeline.len() as u16).to_le_bytes());
        out.extend_from_slice(pipeline.as_bytes());
        out.extend_from_slice(destination.as_bytes());
    }

    fn from_parts(kind: u8, key: &[u8]) -> Option<Item> {
        if kind == 4 {
            return key.is_empty().then_some(Item::Base);
        }
        let (length, names) = key.split_first_chunk::<2>()?;
        let (pipeline, destination) = names.split_at_checked(u16::from_le_bytes(*length) as usize)?;
        let pipeline = PipelineId::from(std::str::from_utf8(pipeline).ok()?);
        let destination = std::str::from_utf8(destination).ok()?;
        match kind {
            1 => Some(Item::Value(Key::Destination(pipeline, destination.into()))),
            2 if destination.is_empty() => Some(Item::Value(Key::Kept(pipeline))),
            3 if destination.is_empty() => Some(Item::Forgotten(pipeline)),
            _ => None,
        }
    }
}

/// One record, its body not yet understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) item: Item,
    pub(super) seq: u64,
    pub(super) settled: u64,
    pub(super) body: Vec<u8>,
}

/// What stands at the start of some bytes.
#[derive(Debug, PartialEq)]
pub(super) enum Parsed {
    /// A whole record, and its length.
    Whole(Record, usize),
    /// The beginning of a record whose end is missing.
    Unfinished,
    /// A whole record of a newer format.
    Newer(u16),
    /// Anything else.
    Damaged,
}

impl Record {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut key = Vec::new();
        self.item.put_key(&mut key);
        let mut out = Vec::with_capacity(HEADER + key.len() + self.body.len() + CRC);
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&FORMAT.to_le_bytes());
        out.extend_from_slice(&[self.item.kind(), 0]);
        out.extend_from_slice(&self.seq.to_le_bytes());
        out.extend_from_slice(&self.settled.to_le_bytes());
        out.extend_from_slice(&(key.len() as u32).to_le_bytes());
        out.extend_from_slice(&(self.body.len() as u32).to_le_bytes());
        out.extend_from_slice(&key);
        out.extend_from_slice(&self.body);
        out.extend_from_slice(&crc32c::crc32c(&out).to_le_bytes());
        out
    }

    pub(super) fn parse(bytes: &[u8]) -> Parsed {
        let begun = bytes.len().min(MAGIC.len());
        if bytes.is_empty() || bytes[..begun] != MAGIC[..begun] {
            return Parsed::Damaged;
        }
        let Some(header) = bytes.first_chunk::<HEADER>() else {
            return Parsed::Unfinished;
        };
        let (key_len, body_len) = (u32_at(header, 24) as usize, u32_at(header, 28) as usize);
        if body_len > BODY_BYTES_MAX || key_len > 4 * NAME_BYTES_MAX {
            return Parsed::Damaged;
        }
        let body_at = HEADER + key_len;
        let crc_at = body_at + body_len;
        let Some(sum) = bytes.get(crc_at..crc_at + CRC) else {
            return Parsed::Unfinished;
        };
        if sum != crc32c::crc32c(&bytes[..crc_at]).to_le_bytes() {
            return Parsed::Damaged;
        }
        let format = u16::from_le_bytes([header[4], header[5]]);
        if format > FORMAT {
            return Parsed::Newer(format);
        }
        match Item::from_parts(header[6], &bytes[HEADER..body_at]) {
            Some(item) => Parsed::Whole(
                Record {
                    item,
                    seq: u64_at(header, 8),
                    settled: u64_at(header, 16),
                    body: bytes[body_at..crc_at].to_vec(),
                },
                crc_at + CRC,
            ),
            None => Parsed::Damaged,
        }
    }
}

fn u32_at(header: &[u8; HEADER], at: usize) -> u32 {
    u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
}

fn u64_at(header: &[u8; HEADER], at: usize) -> u64 {
    u64::from(u32_at(header, at)) | u64::from(u32_at(header, at + 4)) << 32
}

/// A body, understood.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    Destination(Box<Stored>),
    Kept(BTreeMap<String, Bytes>),
}

impl Value {
    pub(super) fn encode(&self) -> Result<Vec<u8>, serde_json::Error> {
        match self {
            Value::Destination(stored) => serde_json::to_vec(stored),
            Value::Kept(kept) => serde_json::to_vec(&kept_as_text(kept)),
        }
    }

    pub(super) fn decode(key: &Key, body: &[u8]) -> Result<Value, serde_json::Error> {
        match key {
            Key::Destination(..) => serde_json::from_slice(body).map(Value::Destination),
            Key::Kept(_) => {
                let text: BTreeMap<String, String> = serde_json::from_slice(body)?;
                let decode = |(name, text): (String, String)| match BASE64_STANDARD.decode(&text) {
                    Ok(bytes) => Ok((name, Bytes::from(bytes))),
                    Err(refused) => Err(serde::de::Error::custom(refused)),
                };
                text.into_iter().map(decode).collect::<Result<_, _>>().map(Value::Kept)
            }
        }
    }

    pub(super) fn epoch(&self) -> u64 {
        match self {
            Value::Destination(stored) => stored.epoch,
            Value::Kept(_) => 0,
        }
    }
}

/// Kept values are bytes, and JSON has none.
pub(super) fn kept_as_text(kept: &BTreeMap<String, Bytes>) -> BTreeMap<&str, String> {
    kept.iter()
        .map(|(name, bytes)| (name.as_str(), BASE64_STANDARD.encode(bytes)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        Record {
            item: Item::Value(Key::Destination("shop".into(), "warehouse".into())),
            seq: 7,
            settled: 6,
            body: b"{}".to_vec(),
        }
    }

    #[test]
    fn record_survives_a_round_trip_with_every_kind() {
        for item in [
            record().item,
            Item::Value(Key::Destination("".into(), "".into())),
            Item::Value(Key::Kept("a\0b".into())),
            Item::Forgotten("shop".into()),
            Item::Base,
        ] {
            let record = Record { item, ..record() };
            let bytes = record.encode();
            assert_eq!(Record::parse(&bytes), Parsed::Whole(record, bytes.len()));
        }
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_noticed() {
        let bytes = record().encode();
        for bit in 0..bytes.len() * 8 {
            let mut bent = bytes.clone();
            bent[bit / 8] ^= 1 << (bit % 8);
            let parsed = Record::parse(&bent);
            assert!(
                matches!(parsed, Parsed::Damaged | Parsed::Unfinished),
                "bit {bit}: {parsed:?}"
            );
        }
        for cut in 1..bytes.len() {
            assert_eq!(Record::parse(&bytes[..cut]), Parsed::Unfinished, "cut at {cut}");
        }
    }

    #[test]
    fn newer_format_is_told_from_damage() {
        let mut bytes = record().encode();
        bytes[4] = 2;
        let crc_at = bytes.len() - CRC;
        let sum = crc32c::crc32c(&bytes[..crc_at]).to_le_bytes();
        bytes[crc_at..].copy_from_slice(&sum);
        assert_eq!(Record::parse(&bytes), Parsed::Newer(2));
    }
}
