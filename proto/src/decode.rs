//! From payloads to Arrow.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::buffer::Buffer;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow_ipc as fb;
use bytes::Bytes;

use crate::guard;

/// Bounds on what one payload may ask of us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a payload. Larger: a plugin may take that much memory for each message in flight.
    pub payload_bytes_max: usize,
    /// Columns, nested ones counted. PostgreSQL has 1,600 in a table; a plugin's nested types are smaller.
    pub columns_max: usize,
    /// Levels of nesting. Each is a level of our recursion.
    pub depth_max: usize,
    /// Rows of a batch, and items of a list's array: arrays of nulls and empty structs have rows without bytes.
    pub rows_max: usize,
    /// Schemas remembered, so that each is converted once and not with each record.
    pub schemas_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            payload_bytes_max: crate::MESSAGE_BYTES_MAX,
            columns_max: 10_000,
            depth_max: 32,
            rows_max: 1 << 24,
            schemas_max: 1_024,
        }
    }
}

/// Why a payload cannot be read. Names are cut and escaped; no cell value is in it.
#[derive(Debug, thiserror::Error)]
pub enum PayloadError {
    /// It is longer than the limit.
    #[error("cannot read a payload of {bytes} bytes: at most {bytes_max} are taken")]
    TooLong {
        /// Its length.
        bytes: usize,
        /// The limit.
        bytes_max: usize,
    },
    /// It is no sequence of IPC messages.
    #[error("cannot read a payload: {what} at byte {at}")]
    Framing {
        /// What is wrong.
        what: &'static str,
        /// Where.
        at: usize,
    },
    /// The metadata of a message is no flatbuffer.
    #[error("cannot read a payload: its metadata is damaged ({what})")]
    Flatbuffer {
        /// The verifier's word.
        what: String,
    },
    /// A part of it is not as it must be, or is more than the limits allow.
    #[error("cannot read {part} of a payload: {what}")]
    Refused {
        /// Which part.
        part: String,
        /// Why.
        what: String,
    },
    /// Arrow's own validation refused the arrays.
    #[error("cannot read the arrays of a payload")]
    Arrays(#[source] ArrowError),
}

impl PayloadError {
    pub(crate) fn refused(part: impl Into<String>, what: impl Into<String>) -> Self {
        PayloadError::Refused {
            part: part.into(),
            what: what.into(),
        }
    }
}

type Result<T, E = PayloadError> = std::result::Result<T, E>;

/// Reads the payloads of one peer; remembers the schemas that it has sent.
#[derive(Debug, Default)]
pub struct Decoder {
    limits: Limits,
    /// By the bytes of the schema message.
    known: HashMap<Bytes, SchemaRef>,
    /// The last of them: records of one table come in a row, and to compare is cheaper than to hash.
    last: Option<(Bytes, SchemaRef)>,
}

/// One IPC message: its metadata, its body.
struct Message {
    metadata: Bytes,
    body: Bytes,
}

impl Decoder {
    /// With limits of its own.
    pub fn new(limits: Limits) -> Self {
        Decoder {
            limits,
            known: HashMap::new(),
            last: None,
        }
    }

    /// The schema of a payload; a batch behind it is not looked at.
    pub fn schema(&mut self, payload: &Bytes) -> Result<SchemaRef> {
        self.check_length(payload)?;
        let mut at = 0;
        self.schema_at(payload, &mut at)
    }

    /// The schema and its one batch. The columns are slices of `payload` wherever alignment allows it.
    pub fn record(&mut self, payload: &Bytes) -> Result<RecordBatch> {
        let mut batches = self.records(payload, 1)?;
        batches
            .pop()
            .ok_or_else(|| PayloadError::refused("the batch", "there is none"))
    }

    /// The batches of a payload that may have several, as answers to a read do; at most `count_max`.
    pub fn records(&mut self, payload: &Bytes, count_max: usize) -> Result<Vec<RecordBatch>> {
        self.check_length(payload)?;
        let mut at = 0;
        let schema = self.schema_at(payload, &mut at)?;
        let mut batches = Vec::new();
        while let Some(message) = self.message(payload, &mut at)? {
            if batches.len() == count_max {
                return Err(PayloadError::refused(
                    "the batch",
                    "there are more of them than expected",
                ));
            }
            batches.push(self.batch(&schema, &message)?);
        }
        Ok(batches)
    }

    fn check_length(&self, payload: &Bytes) -> Result<()> {
        let bytes_max = self.limits.payload_bytes_max;
        if payload.len() > bytes_max {
            let bytes = payload.len();
            return Err(PayloadError::TooLong { bytes, bytes_max });
        }
        Ok(())
    }

    fn schema_at(&mut self, payload: &Bytes, at: &mut usize) -> Result<SchemaRef> {
        let framing = |what, at| PayloadError::Framing { what, at };
        let metadata = metadata_at(payload, at)?.ok_or_else(|| framing("there is no schema", 0))?;
        if let Some((_, schema)) = self.last.as_ref().filter(|(last, _)| *last == metadata) {
            return Ok(Arc::clone(schema));
        }
        if let Some((known, schema)) = self.known.get_key_value(&metadata) {
            self.last = Some((known.clone(), Arc::clone(schema)));
            return Ok(Arc::clone(schema));
        }
        let message = guard::message(&metadata, &self.limits)?;
        let schema = message
            .header_as_schema()
            .ok_or_else(|| framing("the first message is no schema", 0))?;
        if message.bodyLength() != 0 {
            return Err(framing("the schema has a body", 0));
        }
        guard::schema(schema, &self.limits)?;
        let schema = Arc::new(fb::convert::fb_to_schema(schema));
        // A peer that sends a new schema with each record gains nothing by being remembered.
        if self.known.len() == self.limits.schemas_max {
            self.known.clear();
        }
        // A copy: the slice would keep the whole payload alive.
        self.known
            .insert(Bytes::copy_from_slice(&metadata), Arc::clone(&schema));
        Ok(schema)
    }

    /// The next message after the schema; `None` at the end of the stream.
    fn message(&self, payload: &Bytes, at: &mut usize) -> Result<Option<Message>> {
        let start = *at;
        let Some(metadata) = metadata_at(payload, at)? else {
            return Ok(None);
        };
        let body_len = guard::message(&metadata, &self.limits)?.bodyLength();
        let end = usize::try_from(body_len)
            .ok()
            .and_then(|len| at.checked_add(len))
            .filter(|&end| end <= payload.len())
            .ok_or(PayloadError::Framing {
                what: "a body is longer than the payload",
                at: start,
            })?;
        let body = payload.slice(*at..end);
        *at = end;
        Ok(Some(Message { metadata, body }))
    }

    fn batch(&self, schema: &SchemaRef, message: &Message) -> Result<RecordBatch> {
        // Verified when it was cut out of the payload; a flatbuffer is not kept beside the bytes that it lies in.
        let parsed = guard::message(&message.metadata, &self.limits)?;
        let batch = parsed
            .header_as_record_batch()
            .ok_or_else(|| PayloadError::refused("the batch", "the message is another one"))?;
        guard::batch(batch, schema, message.body.len(), &self.limits)?;
        let body = Buffer::from(message.body.clone());
        let version = parsed.version();
        fb::reader::read_record_batch(&body, batch, Arc::clone(schema), &HashMap::new(), None, &version)
            .map_err(PayloadError::Arrays)
    }
}

/// The metadata that starts at `at`; `None` at the end marker or the end of the payload. Moves `at` behind it.
fn metadata_at(payload: &Bytes, at: &mut usize) -> Result<Option<Bytes>> {
    const CONTINUATION: [u8; 4] = [0xff; 4];
    let start = *at;
    let framing = |what| PayloadError::Framing { what, at: start };
    if start == payload.len() {
        return Ok(None);
    }
    let word = |from: usize| {
        payload
            .get(from..from + 4)
            .and_then(|bytes| <[u8; 4]>::try_from(bytes).ok())
    };
    if word(start) != Some(CONTINUATION) {
        return Err(framing("there is no message"));
    }
    let len = word(start + 4).ok_or_else(|| framing("a message has no length"))?;
    let len = u32::from_le_bytes(len) as usize;
    if len == 0 {
        return Ok(None);
    }
    let from = start + 8;
    let end = from
        .checked_add(len)
        .filter(|&end| end <= payload.len())
        .ok_or_else(|| framing("a message is longer than the payload"))?;
    *at = end;
    Ok(Some(payload.slice(from..end)))
}
