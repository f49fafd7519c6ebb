//! A COPY that goes to the server.

use bytes::{BufMut, Bytes, BytesMut};

use super::SIGNATURE;
use crate::types::{ColumnEncoder, Misfit};

/// Which value does not fit its column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyMisfit {
    /// The row of the batch.
    pub row: usize,
    /// Which of the encoders.
    pub column: usize,
    /// Why not.
    pub misfit: Misfit,
}

/// Writes rows in the binary format of COPY.
#[derive(Debug, Default)]
pub struct CopyEncoder {
    out: BytesMut,
    has_header: bool,
}

impl CopyEncoder {
    /// An encoder that has written nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends one row. After a misfit nothing of the row stays.
    pub fn append(&mut self, columns: &[ColumnEncoder<'_>], row: usize) -> Result<(), CopyMisfit> {
        if !self.has_header {
            self.put_header();
        }
        let start = self.out.len();
        self.out.put_i16(columns.len() as i16);
        for (i, column) in columns.iter().enumerate() {
            if let Err(misfit) = column.encode_with_len(row, &mut self.out) {
                self.out.truncate(start);
                return Err(CopyMisfit { row, column: i, misfit });
            }
        }
        Ok(())
    }

    /// Appends rows; [`take`](Self::take) what there is before it grows too large.
    pub fn append_rows(
        &mut self,
        columns: &[ColumnEncoder<'_>],
        rows: impl IntoIterator<Item = usize>,
    ) -> Result<(), CopyMisfit> {
        rows.into_iter().try_for_each(|row| self.append(columns, row))
    }

    fn put_header(&mut self) {
        self.out.put_slice(SIGNATURE);
        self.out.put_i32(0);
        self.out.put_i32(0);
        self.has_header = true;
    }

    /// Bytes that wait to be taken.
    pub fn size_bytes(&self) -> usize {
        self.out.len()
    }

    /// What was written since the last call; send it as it is.
    pub fn take(&mut self) -> Bytes {
        self.out.split().freeze()
    }

    /// What is left, and the end.
    pub fn finish(mut self) -> Bytes {
        if !self.has_header {
            self.put_header();
        }
        self.out.put_i16(-1);
        self.out.freeze()
    }
}
