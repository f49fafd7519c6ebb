//! Payloads of which one thing is wrong.

use std::sync::Arc;

use arrow::array::{ArrayRef, DictionaryArray, Int32Array, NullArray, RecordBatch, RecordBatchOptions, StringArray};
use arrow::datatypes::{DataType, Field, Int32Type, Schema};
use arrow_ipc as fb;
use arrow_ipc::writer::StreamWriter;
use bytes::Bytes;
use proto::{Decoder, Limits};

use crate::sample;

fn refusal(payload: impl Into<Bytes>) -> String {
    Decoder::default().record(&payload.into()).unwrap_err().to_string()
}

fn numbers() -> Vec<u8> {
    let field = Field::new("n", DataType::Int32, true);
    let (table, rows) = sample::table("t", vec![(field, Arc::new(Int32Array::from(vec![1, 2, 3])))]);
    sample::payload(&table, &rows).to_vec()
}

/// As Arrow's own writer makes it, with any type.
fn stream(rows: &RecordBatch, count: usize) -> Vec<u8> {
    let mut writer = StreamWriter::try_new(Vec::new(), &rows.schema()).unwrap();
    for _ in 0..count {
        writer.write(rows).unwrap();
    }
    writer.finish().unwrap();
    writer.into_inner().unwrap()
}

fn one_column(values: ArrayRef) -> RecordBatch {
    let field = Field::new("c", values.data_type().clone(), true);
    RecordBatch::try_new(Arc::new(Schema::new(vec![field])), vec![values]).unwrap()
}

#[test]
fn framing_is_checked_before_anything_else() {
    assert_eq!(refusal(vec![]), "cannot read a payload: there is no schema at byte 0");
    assert_eq!(
        refusal(vec![1; 64]),
        "cannot read a payload: there is no message at byte 0"
    );
    let mut long = numbers();
    long[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
    assert_eq!(
        refusal(long),
        "cannot read a payload: a message is longer than the payload at byte 0"
    );
    let mut cut = numbers();
    cut.truncate(cut.len() - 20);
    assert!(refusal(cut).contains("a body is longer than the payload"));
}

#[test]
fn a_payload_without_the_end_marker_is_read() {
    let mut payload = numbers();
    payload.truncate(payload.len() - 8);
    assert_eq!(Decoder::default().record(&payload.into()).unwrap().num_rows(), 3);
}

#[test]
fn a_record_has_one_batch() {
    let rows = one_column(Arc::new(Int32Array::from(vec![1])));
    assert_eq!(
        refusal(stream(&rows, 0)),
        "cannot read the batch of a payload: there is none"
    );
    let two: Bytes = stream(&rows, 2).into();
    let error = Decoder::default().record(&two).unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot read the batch of a payload: there are more of them than expected"
    );
    assert_eq!(Decoder::default().records(&two, 2).unwrap().len(), 2);
}

#[test]
fn encodings_that_the_protocol_does_not_have_are_refused() {
    let words = StringArray::from(vec!["a", "b"]);
    let keys = Int32Array::from(vec![0, 1, 0]);
    let dictionary = DictionaryArray::<Int32Type>::try_new(keys, Arc::new(words.clone())).unwrap();
    let refused = refusal(stream(&one_column(Arc::new(dictionary)), 1));
    assert_eq!(refused, "cannot read column `c` of a payload: it is dictionary-encoded");
    let views = arrow::compute::cast(&words, &DataType::Utf8View).unwrap();
    let refused = refusal(stream(&one_column(views), 1));
    assert_eq!(
        refused,
        "cannot read column `c` of a payload: its type is none that plugins exchange"
    );
}

#[test]
fn depth_and_number_of_columns_have_limits() {
    let mut field = Field::new("leaf", DataType::Int32, true);
    for _ in 0..33 {
        field = Field::new("list", DataType::List(Arc::new(field)), true);
    }
    let deep = RecordBatch::new_empty(Arc::new(Schema::new(vec![field])));
    assert!(refusal(stream(&deep, 1)).contains("it is nested too deeply"));

    let fields: Vec<Field> = (0..11)
        .map(|i| Field::new(format!("c{i}"), DataType::Int32, true))
        .collect();
    let wide: Bytes = stream(&RecordBatch::new_empty(Arc::new(Schema::new(fields))), 1).into();
    let narrow = Limits {
        columns_max: 10,
        ..Limits::default()
    };
    let error = Decoder::new(narrow).record(&wide).unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot read column `c10` of a payload: there are too many columns"
    );
}

#[test]
fn rows_that_take_no_bytes_have_a_limit() {
    let few = Limits {
        rows_max: 1_000,
        ..Limits::default()
    };
    let nulls: Bytes = stream(&one_column(Arc::new(NullArray::new(1_001))), 1).into();
    let error = Decoder::new(few.clone()).record(&nulls).unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot read the batch of a payload: its number of rows is out of range"
    );
    let rows = RecordBatchOptions::new().with_row_count(Some(1_001));
    let nothing = RecordBatch::try_new_with_options(Arc::new(Schema::empty()), vec![], &rows).unwrap();
    assert!(Decoder::new(few).record(&stream(&nothing, 1).into()).is_err());
}

#[test]
fn a_payload_longer_than_the_limit_is_not_looked_at() {
    let short = Limits {
        payload_bytes_max: 100,
        ..Limits::default()
    };
    let payload: Bytes = numbers().into();
    let error = Decoder::new(short).record(&payload).unwrap_err().to_string();
    let expected = format!(
        "cannot read a payload of {} bytes: at most 100 are taken",
        payload.len()
    );
    assert_eq!(error, expected);
}

/// Replaces one of the places behind the schema where these eight bytes stand.
fn replace(payload: &mut [u8], from: i64, to: i64, nth: usize) {
    let schema_end = 8 + u32::from_le_bytes(payload[4..8].try_into().unwrap()) as usize;
    let places: Vec<usize> = (schema_end..payload.len() - 8)
        .filter(|&at| payload[at..at + 8] == from.to_le_bytes())
        .collect();
    payload[places[nth]..places[nth] + 8].copy_from_slice(&to.to_le_bytes());
}

#[test]
fn lengths_and_places_are_held_against_the_body() {
    // Three rows: the batch's length, then its one node's. The values are 12 bytes, behind no validity bitmap.
    let damage = |from, to, nth| {
        let mut payload = numbers();
        replace(&mut payload, from, to, nth);
        refusal(payload)
    };
    let column = |what: &str| format!("cannot read column `n` of a payload: {what}");
    let refusals: Vec<String> = (0..2).map(|nth| damage(3, 1 << 20, nth)).collect();
    let differs = column("its length differs from the batch's");
    let too_short = column("its values are too short");
    assert!(refusals.contains(&too_short), "{refusals:?}");
    assert!(
        refusals
            .iter()
            .all(|refused| *refused == differs || *refused == too_short),
        "{refusals:?}"
    );
    assert_eq!(damage(12, 1 << 40, 0), column("a buffer lies outside the body"));
    assert_eq!(damage(12, -1, 0), column("a buffer's place is negative"));
    assert_eq!(damage(12, 8, 0), too_short);
    assert_eq!(damage(12, 13, 0), column("its values are no whole numbers"));
}

#[test]
fn offsets_are_whole_numbers() {
    // Arrow reads such an array, and panics when it writes it again.
    let field = Field::new("t", DataType::Utf8, true);
    let (table, rows) = sample::table("t", vec![(field, Arc::new(StringArray::from(vec!["a", "b", "c"])))]);
    let mut payload = sample::payload(&table, &rows).to_vec();
    replace(&mut payload, 16, 17, 0);
    assert_eq!(
        refusal(payload),
        "cannot read column `t` of a payload: its offsets are no whole numbers"
    );
}

#[test]
fn a_declared_uncompressed_size_is_never_believed() {
    // The writer's own compression is not linked in, so the mark is made by hand: the codec's name is enough.
    let mut builder = flatbuffers::FlatBufferBuilder::new();
    let compression = fb::BodyCompression::create(&mut builder, &fb::BodyCompressionArgs::default());
    let nodes = builder.create_vector(&[fb::FieldNode::new(3, 0)]);
    let buffers = builder.create_vector(&[fb::Buffer::new(0, 0), fb::Buffer::new(0, 16)]);
    let batch = fb::RecordBatch::create(
        &mut builder,
        &fb::RecordBatchArgs {
            length: 3,
            nodes: Some(nodes),
            buffers: Some(buffers),
            compression: Some(compression),
            variadicBufferCounts: None,
        },
    );
    let message = fb::Message::create(
        &mut builder,
        &fb::MessageArgs {
            version: fb::MetadataVersion::V5,
            header_type: fb::MessageHeader::RecordBatch,
            header: Some(batch.as_union_value()),
            bodyLength: 16,
            custom_metadata: None,
        },
    );
    builder.finish(message, None);
    let message = builder.finished_data();
    let mut payload = numbers();
    let schema_end = 8 + u32::from_le_bytes(payload[4..8].try_into().unwrap()) as usize;
    payload.truncate(schema_end);
    payload.extend([0xff; 4]);
    payload.extend((message.len() as u32).to_le_bytes());
    payload.extend_from_slice(message);
    payload.extend(i64::MAX.to_le_bytes());
    payload.extend([0; 8]);
    assert_eq!(
        refusal(payload),
        "cannot read the batch of a payload: its buffers are compressed"
    );
}
