//! From Arrow to payloads.

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow_ipc::writer::{
    CompressionContext, DictionaryTracker, IpcDataGenerator, IpcWriteOptions, StreamWriter, write_message,
};
use bytes::Bytes;

const END: [u8; 8] = [0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0];

/// Why something cannot be put into a payload.
#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    /// Arrow's writer refused it.
    #[error("cannot write a payload")]
    Arrow(#[from] ArrowError),
    /// One row alone is longer than the other side takes.
    #[error("cannot send a row of {bytes} bytes: the plugin takes messages of at most {bytes_max}")]
    RowTooLong {
        /// Length of the payload with that row alone.
        bytes: usize,
        /// The limit.
        bytes_max: usize,
    },
    /// The columns are not those that the encoder was made for.
    #[error("cannot write a payload: the columns of the rows differ from the table's")]
    OtherSchema,
}

/// A schema as a payload of its own.
pub fn encode_schema(schema: &Schema) -> Result<Bytes, EncodeError> {
    let mut writer = StreamWriter::try_new(Vec::new(), schema)?;
    writer.finish()?;
    Ok(writer.into_inner()?.into())
}

/// Writes records of one schema. The schema's bytes, most of a small record, are made once.
pub struct Encoder {
    schema: SchemaRef,
    prefix: Vec<u8>,
    options: IpcWriteOptions,
    compression: CompressionContext,
}

impl Encoder {
    /// For records of this schema, metadata included.
    pub fn new(schema: SchemaRef) -> Result<Self, EncodeError> {
        let mut prefix = Vec::from(encode_schema(&schema)?);
        prefix.truncate(prefix.len() - END.len());
        Ok(Encoder {
            schema,
            prefix,
            // Alignment to 8 is what the format asks for; 64 would pad each small record.
            options: IpcWriteOptions::try_new(8, false, arrow_ipc::MetadataVersion::V5)?,
            compression: CompressionContext::default(),
        })
    }

    /// The schema that every record carries.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// One record. Only the types of the columns matter: names, marks and metadata are the encoder's.
    pub fn encode(&mut self, rows: &RecordBatch) -> Result<Bytes, EncodeError> {
        let same = rows.num_columns() == self.schema.fields().len()
            && rows
                .columns()
                .iter()
                .zip(self.schema.fields())
                .all(|(column, field)| column.data_type() == field.data_type());
        if !same {
            return Err(EncodeError::OtherSchema);
        }
        let mut dictionaries = DictionaryTracker::new(false);
        let (_, encoded) =
            IpcDataGenerator::default().encode(rows, &mut dictionaries, &self.options, &mut self.compression)?;
        let mut payload =
            Vec::with_capacity(self.prefix.len() + encoded.ipc_message.len() + encoded.arrow_data.len() + 32);
        payload.extend_from_slice(&self.prefix);
        write_message(&mut payload, encoded, &self.options)?;
        payload.extend_from_slice(&END);
        Ok(payload.into())
    }

    /// As many records as it takes to keep each at or below `bytes_max`, in row order; none for no rows.
    pub fn encode_split(&mut self, rows: &RecordBatch, bytes_max: usize) -> Result<Vec<Bytes>, EncodeError> {
        let mut records = Vec::new();
        // Ranges still to be written, the next one last.
        let mut open = vec![(0, rows.num_rows())];
        while let Some((start, end)) = open.pop() {
            if start == end {
                continue;
            }
            let record = self.encode(&rows.slice(start, end - start))?;
            if record.len() <= bytes_max {
                records.push(record);
            } else if end - start == 1 {
                let bytes = record.len();
                return Err(EncodeError::RowTooLong { bytes, bytes_max });
            } else {
                let middle = start + (end - start) / 2;
                open.push((middle, end));
                open.push((start, middle));
            }
        }
        Ok(records)
    }
}
