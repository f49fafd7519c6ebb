//! A COPY that comes from the server.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::SchemaRef;
use bytes::{Buf, Bytes, BytesMut};

use super::SIGNATURE;
use crate::types::{Column, ColumnDecoder, Misfit, PgType, Unsuited, key_text};

/// Why a COPY cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// The bytes are not the binary format, or not of these columns.
    #[error("cannot read a COPY: {why}")]
    Malformed {
        /// What is wrong.
        why: String,
    },
    /// A value does not fit.
    #[error("cannot read column `{column}` of the row with {key}: {misfit}")]
    Misfit {
        /// The column.
        column: String,
        /// The key columns' names and values, or which row of the COPY it is.
        key: String,
        /// Why not.
        misfit: Misfit,
    },
    /// NULL where the column may not be.
    #[error("cannot read column `{column}`: a NULL where none may be")]
    Null {
        /// The column.
        column: String,
    },
    /// Arrow refused the columns.
    #[error("cannot build a batch")]
    Arrow(#[source] arrow::error::ArrowError),
}

fn malformed(why: impl Into<String>) -> CopyError {
    CopyError::Malformed { why: why.into() }
}

/// Bytes of one row; PostgreSQL's own values end at 1 GiB.
const ROW_BYTES_MAX: usize = 1 << 30;

/// Reads the bytes of a COPY, in pieces of any size, into batches.
///
/// Does not allocate per value. Rows are appended until [`finish_batch`](Self::finish_batch) is called: look at
/// [`row_count`](Self::row_count) and [`size_bytes`](Self::size_bytes) after each piece.
#[derive(Debug)]
pub struct CopyDecoder {
    schema: SchemaRef,
    columns: Vec<ColumnDecoder>,
    types: Vec<Arc<PgType>>,
    key: Vec<usize>,
    /// The start of a row that has not arrived whole.
    rest: BytesMut,
    has_header: bool,
    is_ended: bool,
    row_count: usize,
    rows_before: u64,
}

impl CopyDecoder {
    /// A decoder of the columns into the schema's fields. `key` are the indices of the columns that name a row in errors.
    pub fn new(columns: &[Column], schema: SchemaRef, key: &[usize]) -> Result<Self, Unsuited> {
        let decoders = columns.iter().zip(schema.fields());
        let decoders = decoders.map(|(column, field)| ColumnDecoder::new(column, field));
        Ok(CopyDecoder {
            columns: decoders.collect::<Result<_, _>>()?,
            types: columns.iter().map(|column| Arc::clone(&column.ty)).collect(),
            schema,
            key: key.to_vec(),
            rest: BytesMut::new(),
            has_header: false,
            is_ended: false,
            row_count: 0,
            rows_before: 0,
        })
    }

    /// Rows since the last batch.
    pub fn row_count(&self) -> usize {
        self.row_count
    }

    /// About how much memory the rows since the last batch take.
    pub fn size_bytes(&self) -> usize {
        self.columns.iter().map(ColumnDecoder::size_bytes).sum()
    }

    /// Whether the end of the COPY was seen. A connection that breaks ends a stream too, without it.
    pub fn is_ended(&self) -> bool {
        self.is_ended
    }

    /// Reads a piece.
    pub fn push(&mut self, piece: Bytes) -> Result<(), CopyError> {
        if self.rest.is_empty() {
            let read = self.read(&piece)?;
            self.rest.extend_from_slice(&piece[read..]);
        } else {
            let mut whole = std::mem::take(&mut self.rest);
            whole.extend_from_slice(&piece);
            let read = self.read(&whole)?;
            whole.advance(read);
            self.rest = whole;
        }
        if self.rest.len() > ROW_BYTES_MAX {
            return Err(malformed("a row of more than 1 GiB"));
        }
        Ok(())
    }

    /// Reads whole rows; returns how many bytes they were.
    fn read(&mut self, bytes: &[u8]) -> Result<usize, CopyError> {
        let mut at = 0;
        if !self.has_header {
            let Some(len) = header_len(bytes)? else { return Ok(0) };
            self.has_header = true;
            at = len;
        }
        while !self.is_ended {
            let Some(row) = self.row_end(&bytes[at..])? else { break };
            if row.is_end {
                self.is_ended = true;
            } else {
                self.append(&bytes[at + 2..at + row.len])?;
            }
            at += row.len;
        }
        if self.is_ended && at < bytes.len() {
            return Err(malformed("bytes after the end"));
        }
        Ok(at)
    }

    /// Looks whether a whole row is there.
    fn row_end(&self, bytes: &[u8]) -> Result<Option<Row>, CopyError> {
        let Some(count) = bytes.first_chunk::<2>() else {
            return Ok(None);
        };
        let count = i16::from_be_bytes(*count);
        if count == -1 {
            return Ok(Some(Row { len: 2, is_end: true }));
        }
        if count != self.columns.len() as i16 {
            return Err(malformed(format!(
                "a row of {count} columns, expected {}",
                self.columns.len()
            )));
        }
        let mut at = 2;
        for _ in 0..count {
            let Some(len) = bytes.get(at..).and_then(<[u8]>::first_chunk::<4>) else {
                return Ok(None);
            };
            at += 4;
            match i32::from_be_bytes(*len) {
                -1 => {}
                len if len < 0 || len as usize > ROW_BYTES_MAX => {
                    return Err(malformed("a value of an impossible length"));
                }
                len => at += len as usize,
            }
        }
        Ok((at <= bytes.len()).then_some(Row { len: at, is_end: false }))
    }

    /// Appends the values of a whole row.
    fn append(&mut self, row: &[u8]) -> Result<(), CopyError> {
        let mut rest = row;
        for i in 0..self.columns.len() {
            // `row_end` has seen that the row is whole.
            let Some((len, tail)) = rest.split_first_chunk::<4>() else {
                return Err(malformed("a torn row"));
            };
            match i32::from_be_bytes(*len) {
                -1 => {
                    rest = tail;
                    if !self.schema.field(i).is_nullable() {
                        return Err(CopyError::Null {
                            column: self.schema.field(i).name().clone(),
                        });
                    }
                    self.columns[i].append_null();
                }
                len => {
                    let Some((value, tail)) = tail.split_at_checked(len as usize) else {
                        return Err(malformed("a torn row"));
                    };
                    rest = tail;
                    if let Err(misfit) = self.columns[i].append_binary(value) {
                        return Err(CopyError::Misfit {
                            column: self.schema.field(i).name().clone(),
                            key: self.key_of(row),
                            misfit,
                        });
                    }
                }
            }
        }
        self.row_count += 1;
        Ok(())
    }

    fn key_of(&self, row: &[u8]) -> String {
        let mut values = Vec::new();
        let mut rest = row;
        while let Some((len, tail)) = rest.split_first_chunk::<4>() {
            let len = usize::try_from(i32::from_be_bytes(*len)).ok();
            let (value, tail) = tail.split_at_checked(len.unwrap_or(0)).unwrap_or((tail, &[]));
            values.push(len.map(|_| value));
            rest = tail;
        }
        if self.key.is_empty() {
            return format!("number {} of this read", self.rows_before + self.row_count as u64 + 1);
        }
        let parts = self.key.iter().map(|&i| {
            let value = values.get(i).copied().flatten();
            format!("{} = {}", self.schema.field(i).name(), key_text(&self.types[i], value))
        });
        parts.collect::<Vec<_>>().join(", ")
    }

    /// The rows since the last batch.
    pub fn finish_batch(&mut self) -> Result<RecordBatch, CopyError> {
        let arrays: Vec<ArrayRef> = self.columns.iter_mut().map(ColumnDecoder::finish).collect();
        let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(self.row_count));
        self.rows_before += self.row_count as u64;
        self.row_count = 0;
        RecordBatch::try_new_with_options(Arc::clone(&self.schema), arrays, &options).map_err(CopyError::Arrow)
    }
}

struct Row {
    len: usize,
    is_end: bool,
}

/// How long the header is, if it is there whole.
fn header_len(bytes: &[u8]) -> Result<Option<usize>, CopyError> {
    let seen = bytes.len().min(SIGNATURE.len());
    if bytes[..seen] != SIGNATURE[..seen] {
        return Err(malformed("it does not begin with the signature of the binary format"));
    }
    let Some(extension) = bytes.get(15..).and_then(<[u8]>::first_chunk::<4>) else {
        return Ok(None);
    };
    let extension = i32::from_be_bytes(*extension);
    let extension = usize::try_from(extension).map_err(|_| malformed("a negative length in its header"))?;
    if extension > 1 << 16 {
        return Err(malformed("a header of more than 64 KiB"));
    }
    let len = 19 + extension;
    Ok((bytes.len() >= len).then_some(len))
}
