//! Rows of a table, as a caller reads them: a state client, or a suite of tests.

use std::sync::Arc;

use api::{Stored, StoredView};
use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, RecordBatch, StringArray, make_array, new_null_array};
use arrow::compute::CastOptions;
use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef};
use arrow::error::ArrowError;
use bytes::Bytes;
use proto::plugin_v3::read;
use proto::{Decoder, Encoder, Table, TableCodec};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::service::Answers;
use super::spec::{failed, invalid};

/// Records that wait for the caller; each is about a MiB.
const AHEAD: usize = 2;
const READ: &str = "failed to read records";

/// All rows of the table with this schema.
pub(super) async fn rows(mut view: Box<dyn StoredView>, table: &Bytes) -> Result<Answers<read::Response>, Status> {
    let schema = Decoder::default().schema(table).map_err(invalid)?;
    let codec = TableCodec::of_table(Table::of_schema(&schema).map_err(invalid)?).map_err(invalid)?;
    let begun = view.begin(codec.ours()).await;
    let columns = match begun.map_err(|error| failed(READ, &error))? {
        Stored::Comparable(columns) => columns,
        Stored::Not(why) => return Err(Status::unimplemented(format!("{READ}: {why}"))),
    };
    let mut encoder = Encoder::new(Arc::clone(codec.wire())).map_err(invalid)?;
    let (send, answers) = mpsc::channel(AHEAD);
    // Ends with the rows, or when the caller no longer listens.
    tokio::spawn(async move {
        loop {
            let answer = match view.next().await {
                Ok(None) => return,
                Ok(Some(rows)) if rows.num_rows() == 0 => continue,
                Ok(Some(rows)) => record(&rows, &columns, &codec, &mut encoder),
                Err(error) => Err(failed(READ, &error)),
            };
            let is_over = answer.is_err();
            if send.send(answer).await.is_err() || is_over {
                return;
            }
        }
    });
    Ok(Box::pin(ReceiverStream::new(answers)))
}

fn record(
    rows: &RecordBatch,
    columns: &[usize],
    codec: &TableCodec,
    encoder: &mut Encoder,
) -> Result<read::Response, Status> {
    let unread = |error: &dyn std::fmt::Display| Status::unimplemented(format!("{READ}: {error}"));
    let fields = codec.ours().arrow().fields();
    let mut arrays: Vec<ArrayRef> = Vec::with_capacity(fields.len());
    for (at, field) in fields.iter().enumerate() {
        arrays.push(match columns.iter().position(|&column| column == at) {
            Some(place) => typed(rows.column(place), field).map_err(|error| unread(&error))?,
            None => new_null_array(field.data_type(), rows.num_rows()),
        });
    }
    // A column that is not there is null, also where the table says that none is.
    let nullable = |fields: &Fields| -> SchemaRef {
        let fields = fields.iter().map(|field| Field::clone(field).with_nullable(true));
        Arc::new(Schema::new(fields.collect::<Vec<_>>()))
    };
    let typed = RecordBatch::try_new(nullable(fields), arrays).map_err(|error| unread(&error))?;
    let arrays = codec.rows_to_wire(&typed).map_err(|error| unread(&error))?;
    let wire = RecordBatch::try_new(nullable(codec.wire().fields()), arrays).map_err(|error| unread(&error))?;
    let record = encoder.encode(&wire).map_err(|error| unread(&error))?;
    Ok(read::Response { record })
}

/// A column in the type of its table. A view may show texts: the spelling of what lies there.
fn typed(values: &ArrayRef, field: &Field) -> Result<ArrayRef, ArrowError> {
    let exact = CastOptions {
        safe: false,
        ..CastOptions::default()
    };
    let to = field.data_type();
    match (values.data_type(), to) {
        (from, to) if from == to => Ok(Arc::clone(values)),
        (DataType::Utf8, DataType::Binary | DataType::LargeBinary | DataType::FixedSizeBinary(_)) => {
            let bytes: BinaryArray = values
                .as_string::<i32>()
                .iter()
                .map(|text| text.map(bytes_of).transpose())
                .collect::<Result<BinaryArray, ArrowError>>()?;
            arrow::compute::cast_with_options(&bytes, to, &exact)
        }
        (DataType::Utf8, DataType::Boolean) => {
            let is_true = |text: &str| matches!(text, "1" | "true" | "t");
            let values = values.as_string::<i32>().iter().map(|text| text.map(is_true));
            Ok(Arc::new(values.collect::<arrow::array::BooleanArray>()))
        }
        (DataType::Utf8, DataType::Timestamp(unit, Some(_))) => {
            // The library reads offsets only; an instant is the same in each zone.
            let zoned = DataType::Timestamp(*unit, Some("+00:00".into()));
            let instants = arrow::compute::cast_with_options(values, &zoned, &exact)?;
            Ok(make_array(
                instants.to_data().into_builder().data_type(to.clone()).build()?,
            ))
        }
        (DataType::Utf8, to) if to.is_nested() => of_json(values.as_string(), to),
        _ => arrow::compute::cast_with_options(values, to, &exact),
    }
}

/// Lists and structs that lie there as JSON.
fn of_json(texts: &StringArray, to: &DataType) -> Result<ArrayRef, ArrowError> {
    let schema = Arc::new(Schema::new(vec![Field::new("value", to.clone(), true)]));
    let lines: String = texts
        .iter()
        .map(|text| format!("{{\"value\":{}}}\n", text.unwrap_or("null")))
        .collect();
    let mut decoder = arrow::json::ReaderBuilder::new(Arc::clone(&schema))
        .with_batch_size(texts.len().max(1))
        .build_decoder()?;
    decoder.decode(lines.as_bytes())?;
    let rows = decoder.flush()?.unwrap_or_else(|| RecordBatch::new_empty(schema));
    Ok(Arc::clone(rows.column(0)))
}

/// `x'00ff'` or `\\x00ff`, or hexadecimal digits with dashes or colons between them.
fn bytes_of(text: &str) -> Result<Vec<u8>, ArrowError> {
    let quoted = text.strip_prefix("x'").and_then(|rest| rest.strip_suffix('\''));
    let digits = quoted.or(text.strip_prefix("\\x")).unwrap_or(text);
    let mut bytes = Vec::with_capacity(digits.len() / 2);
    let mut high = None;
    for c in digits.chars().filter(|c| !matches!(c, '-' | ':')) {
        let digit = c
            .to_digit(16)
            .ok_or_else(|| ArrowError::ParseError("a value of bytes is not hexadecimal".to_owned()))?
            as u8;
        high = match high {
            None => Some(digit << 4),
            Some(high) => {
                bytes.push(high | digit);
                None
            }
        };
    }
    match high {
        None => Ok(bytes),
        Some(_) => Err(ArrowError::ParseError(
            "a value of bytes ends in the middle of one".to_owned(),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::bytes_of;

    #[test]
    fn bytes_are_read_in_each_spelling_and_nothing_else_is() {
        for text in ["x'00ff10'", "\\x00ff10", "00FF10", "00-ff-10", "00:ff:10"] {
            assert_eq!(bytes_of(text).ok(), Some(vec![0, 0xff, 0x10]), "{text}");
        }
        for text in ["00f", "x'00", "zz", "\\y00"] {
            assert!(bytes_of(text).is_err(), "{text}");
        }
    }
}
