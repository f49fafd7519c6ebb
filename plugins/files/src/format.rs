//! The three file formats: what each writes, and what it cannot.

use std::io::Write;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, RecordBatch};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::csv::{Writer as CsvWriter, WriterBuilder as CsvWriterBuilder};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow::error::ArrowError;
use arrow::json::writer::LineDelimited;
use arrow::json::{Writer as JsonWriter, WriterBuilder as JsonWriterBuilder};
use model::StreamId;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression as Codec, ZstdLevel};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;

use crate::error::{Error, Result};
use crate::json::{self, Exact};
use crate::spec::Compression;
use crate::text;

/// A file format with its settings.
#[derive(Debug, Clone)]
pub(crate) enum Format {
    Parquet {
        compression: Compression,
        row_group_bytes: usize,
    },
    Csv {
        delimiter: u8,
        header: bool,
        null: String,
    },
    Ndjson,
}

/// Pages are closed at this size, per column: half the memory of the default at a percent of the size.
const PAGE_BYTES: usize = 512 << 10;

impl Format {
    /// The name in messages.
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Format::Parquet { .. } => "Parquet",
            Format::Csv { .. } => "CSV",
            Format::Ndjson => "NDJSON",
        }
    }

    /// The extension of files.
    pub(crate) const fn extension(&self) -> &'static str {
        match self {
            Format::Parquet { .. } => "parquet",
            Format::Csv { .. } => "csv",
            Format::Ndjson => "ndjson",
        }
    }

    /// Refuses a stream with a type that has no form here.
    pub(crate) fn check(&self, stream: &StreamId, columns: &Schema) -> Result<()> {
        for field in columns.fields() {
            let refusal = match self {
                Format::Parquet { .. } => parquet_refusal(field.data_type(), false),
                Format::Csv { .. } | Format::Ndjson => json_refusal(field.data_type()),
            };
            if let Some(what) = refusal {
                return Err(Error::Value {
                    stream: stream.clone(),
                    format: self.name(),
                    column: field.name().clone(),
                    what,
                });
            }
        }
        Ok(())
    }

    /// The columns as this format writes them.
    pub(crate) fn columns(&self, columns: &Schema) -> SchemaRef {
        let form = |field: &Arc<Field>| match self {
            Format::Parquet { .. } => {
                let data_type = parquet_type(field.data_type());
                Arc::new(Field::clone(field).with_data_type(data_type))
            }
            Format::Csv { .. } if is_text_in_csv(field.data_type()) => {
                Arc::new(Field::clone(field).with_data_type(DataType::Utf8))
            }
            Format::Csv { .. } | Format::Ndjson => Arc::clone(field),
        };
        Arc::new(Schema::new(columns.fields().iter().map(form).collect::<Vec<_>>()))
    }

    /// Begins a file of `columns`, which are as [`Format::columns`] says.
    pub(crate) fn writer<W: Write + Send>(
        &self,
        sink: W,
        columns: &SchemaRef,
        about: Vec<KeyValue>,
    ) -> Result<Encoder<W>, BoxError> {
        Ok(match self {
            Format::Parquet {
                compression,
                row_group_bytes,
            } => {
                let codec = match compression {
                    Compression::Zstd => Codec::ZSTD(ZstdLevel::try_new(1)?),
                    Compression::Snappy => Codec::SNAPPY,
                    Compression::None => Codec::UNCOMPRESSED,
                };
                let properties = WriterProperties::builder()
                    .set_compression(codec)
                    .set_created_by(format!("highwater {}", env!("CARGO_PKG_VERSION")))
                    .set_data_page_size_limit(PAGE_BYTES)
                    .set_dictionary_page_size_limit(PAGE_BYTES)
                    .set_max_row_group_bytes(Some(*row_group_bytes))
                    .set_key_value_metadata(Some(about))
                    .build();
                Encoder::Parquet(Box::new(ArrowWriter::try_new(
                    sink,
                    Arc::clone(columns),
                    Some(properties),
                )?))
            }
            Format::Csv {
                delimiter,
                header,
                null,
            } => {
                let writer = CsvWriterBuilder::new()
                    .with_delimiter(*delimiter)
                    .with_header(*header)
                    .with_null(null.clone());
                Encoder::Csv(Box::new(writer.build(sink)))
            }
            Format::Ndjson => Encoder::Ndjson(
                JsonWriterBuilder::new()
                    .with_explicit_nulls(true)
                    .with_encoder_factory(Arc::new(Exact))
                    .build(sink),
            ),
        })
    }

    /// Brings rows into the form of [`Format::columns`]. On `Err`: the column that cannot be, and why.
    pub(crate) fn rows(&self, rows: &RecordBatch, columns: &SchemaRef) -> Result<RecordBatch, (String, String)> {
        let column = |(field, array): (&Arc<Field>, &ArrayRef)| {
            let form = match self {
                Format::Parquet { .. } => parquet_form(field, array),
                Format::Csv { null, .. } => csv_form(field, array, null),
                Format::Ndjson => return Ok(Arc::clone(array)),
            };
            form.map_err(|what| (field.name().clone(), what))
        };
        let arrays = rows.schema_ref().fields().iter().zip(rows.columns()).map(column);
        let arrays = arrays.collect::<Result<Vec<_>, _>>()?;
        RecordBatch::try_new(Arc::clone(columns), arrays).map_err(|error| ("?".to_owned(), error.to_string()))
    }

    /// The column that the writer could not write.
    pub(crate) fn culprit(&self, rows: &RecordBatch) -> Option<String> {
        let fields = rows.schema_ref().fields().iter().zip(rows.columns());
        let cannot = |field: &Field, array: &ArrayRef| match self {
            Format::Ndjson => json::column_as_json(field, array).is_err(),
            Format::Parquet { .. } | Format::Csv { .. } => false,
        };
        fields
            .into_iter()
            .find(|(field, array)| cannot(field, array))
            .map(|(field, _)| field.name().clone())
    }
}

/// What a format's own writer fails with.
pub(crate) type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A file being written.
pub(crate) enum Encoder<W: Write + Send> {
    Parquet(Box<ArrowWriter<W>>),
    Csv(Box<CsvWriter<W>>),
    Ndjson(JsonWriter<W, LineDelimited>),
}

impl<W: Write + Send> Encoder<W> {
    pub(crate) fn write(&mut self, rows: &RecordBatch) -> Result<(), BoxError> {
        match self {
            Encoder::Parquet(writer) => writer.write(rows)?,
            Encoder::Csv(writer) => writer.write(rows)?,
            Encoder::Ndjson(writer) => writer.write(rows)?,
        }
        Ok(())
    }

    /// Bytes held in memory until the next row group, its dictionaries and their indices included.
    pub(crate) fn buffered_bytes(&self) -> usize {
        match self {
            Encoder::Parquet(writer) => writer.memory_size(),
            Encoder::Csv(_) | Encoder::Ndjson(_) => 0,
        }
    }

    /// About how many bytes what is buffered will add to the file.
    pub(crate) fn pending_bytes(&self) -> usize {
        match self {
            Encoder::Parquet(writer) => writer.in_progress_size(),
            Encoder::Csv(_) | Encoder::Ndjson(_) => 0,
        }
    }

    /// Lets go of what is buffered.
    pub(crate) fn flush(&mut self) -> Result<(), BoxError> {
        match self {
            Encoder::Parquet(writer) => writer.flush()?,
            Encoder::Csv(_) | Encoder::Ndjson(_) => {}
        }
        Ok(())
    }

    /// Ends the file.
    pub(crate) fn finish(self) -> Result<W, BoxError> {
        Ok(match self {
            Encoder::Parquet(writer) => writer.into_inner()?,
            Encoder::Csv(writer) => writer.into_inner(),
            Encoder::Ndjson(mut writer) => {
                writer.finish()?;
                writer.into_inner()
            }
        })
    }
}

/// Parquet has no interval of months, days and nanoseconds, and no timestamp of seconds.
fn parquet_type(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Interval(_) => DataType::Utf8,
        DataType::Timestamp(TimeUnit::Second, zone) => DataType::Timestamp(TimeUnit::Millisecond, zone.clone()),
        DataType::Decimal128(_, scale) | DataType::Decimal256(_, scale) if *scale < 0 => DataType::Utf8,
        other => other.clone(),
    }
}

fn parquet_form(field: &Field, array: &ArrayRef) -> Result<ArrayRef, String> {
    let no_form = |error: ArrowError| match error {
        ArrowError::CastError(_) | ArrowError::ArithmeticOverflow(_) => {
            format!("has a value beyond what {} can carry", field.data_type())
        }
        _ => format!("of type {} has no form", field.data_type()),
    };
    match array.data_type() {
        DataType::Interval(unit) => text::interval(array.as_ref(), *unit)
            .map(|text| Arc::new(text) as ArrayRef)
            .map_err(no_form),
        DataType::Timestamp(TimeUnit::Second, _) => {
            let options = CastOptions {
                safe: false,
                ..CastOptions::default()
            };
            cast_with_options(array, &parquet_type(array.data_type()), &options).map_err(no_form)
        }
        DataType::Decimal128(_, scale) | DataType::Decimal256(_, scale) if *scale < 0 => {
            match text::as_text(field, array.as_ref()).map_err(no_form)? {
                Some(text) => Ok(Arc::new(text)),
                None => Ok(Arc::clone(array)),
            }
        }
        _ => Ok(Arc::clone(array)),
    }
}

fn parquet_refusal(data_type: &DataType, is_nested: bool) -> Option<String> {
    match data_type {
        DataType::List(item) | DataType::LargeList(item) | DataType::Map(item, _) => {
            parquet_refusal(item.data_type(), true)
        }
        DataType::Struct(fields) if fields.is_empty() => Some("has a struct without fields".to_owned()),
        DataType::Struct(fields) => fields.iter().find_map(|field| parquet_refusal(field.data_type(), true)),
        nested if is_nested && parquet_type(nested) != *nested => Some(format!("has {nested} inside of another type")),
        _ => None,
    }
}

/// Whether the CSV form is made here, and Arrow's writer sees text.
fn is_text_in_csv(data_type: &DataType) -> bool {
    !matches!(
        data_type,
        DataType::Null | DataType::Boolean | DataType::Utf8 | DataType::LargeUtf8
    ) && !data_type.is_integer()
}

fn csv_form(field: &Field, array: &ArrayRef, null: &str) -> Result<ArrayRef, String> {
    let no_form = |_: ArrowError| format!("has a value of type {} that has no text form", field.data_type());
    let text = match array.data_type() {
        nested if nested.is_nested() => Some(json::column_as_json(field, array).map_err(no_form)?),
        DataType::Float32 | DataType::Float64 => text::floats(array.as_ref()).map_err(no_form)?,
        _ => text::as_text(field, array.as_ref()).map_err(no_form)?,
    };
    let array: ArrayRef = text.map_or_else(|| Arc::clone(array), |text| Arc::new(text));
    let is_ambiguous = match array.data_type() {
        _ if null.is_empty() => false,
        DataType::Utf8 => array.as_string::<i32>().iter().flatten().any(|value| value == null),
        DataType::LargeUtf8 => array.as_string::<i64>().iter().flatten().any(|value| value == null),
        _ => false,
    };
    match is_ambiguous {
        true => Err(format!("has a value that reads like `null: {null}`")),
        false => Ok(array),
    }
}

fn json_refusal(data_type: &DataType) -> Option<String> {
    match data_type {
        DataType::Map(entries, _) => match entries.data_type() {
            DataType::Struct(fields) if !matches!(fields[0].data_type(), DataType::Utf8 | DataType::LargeUtf8) => {
                Some(format!("is a map whose keys are {}, not text", fields[0].data_type()))
            }
            DataType::Struct(fields) => json_refusal(fields[1].data_type()),
            other => json_refusal(other),
        },
        DataType::List(item) | DataType::LargeList(item) => json_refusal(item.data_type()),
        DataType::Struct(fields) => fields.iter().find_map(|field| json_refusal(field.data_type())),
        _ => None,
    }
}
