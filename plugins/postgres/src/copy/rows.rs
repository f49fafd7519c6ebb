//! The rows of a COPY as batches, one after the other.

use std::pin::Pin;

use arrow::array::RecordBatch;
use futures::StreamExt as _;
use tokio_postgres::{Client, CopyOutStream};

use super::{CopyDecoder, CopyError};

/// A COPY that is read. Dropping it leaves the rest to the connection, which reads over it.
pub(crate) struct CopyRows {
    pieces: Pin<Box<CopyOutStream>>,
    decoder: CopyDecoder,
    batch_bytes: usize,
    is_over: bool,
}

/// Why rows cannot be read.
#[derive(Debug)]
pub(crate) enum RowsError {
    /// The server ended the COPY, or the connection broke.
    Server(tokio_postgres::Error),
    /// What it sent cannot be read.
    Copy(CopyError),
    /// It ended in the middle.
    BrokenOff,
}

impl CopyRows {
    /// Starts a `COPY ... TO STDOUT (FORMAT binary)`; batches are about `batch_bytes` large.
    pub(crate) async fn start(
        client: &Client,
        statement: &str,
        decoder: CopyDecoder,
        batch_bytes: usize,
    ) -> Result<Self, tokio_postgres::Error> {
        Ok(CopyRows {
            pieces: Box::pin(client.copy_out(statement).await?),
            decoder,
            batch_bytes,
            is_over: false,
        })
    }

    /// The next rows; `None` after the last.
    pub(crate) async fn next(&mut self) -> Result<Option<RecordBatch>, RowsError> {
        while !self.is_over {
            match self.pieces.next().await {
                Some(piece) => {
                    let piece = piece.map_err(RowsError::Server)?;
                    self.decoder.push(piece).map_err(RowsError::Copy)?;
                    if self.decoder.size_bytes() >= self.batch_bytes {
                        break;
                    }
                }
                None if self.decoder.is_ended() => self.is_over = true,
                None => return Err(RowsError::BrokenOff),
            }
        }
        if self.decoder.row_count() == 0 {
            return Ok(None);
        }
        self.decoder.finish_batch().map(Some).map_err(RowsError::Copy)
    }
}
