//! How fast COPY is read and written, without a server. Prints; run it alone, with `--release -- --ignored --nocapture`.

use std::sync::Arc;
use std::time::Instant;

use arrow::array::{
    BooleanArray, Decimal128Array, Int32Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{Field, Schema};
use bytes::Bytes;
use highwater_plugin_postgres::copy::{CopyDecoder, CopyEncoder};
use highwater_plugin_postgres::types::{Column, ColumnDecoder, ColumnEncoder, PgType, Scalar, field};

const ROWS: usize = 1_000_000;
/// Rows of one batch.
const BATCH: usize = 50_000;

fn column(name: &str, scalar: Scalar, typmod: i32) -> Column {
    Column {
        name: name.to_owned(),
        ty: PgType::scalar(scalar),
        typmod,
        nullable: false,
    }
}

fn columns() -> Vec<Column> {
    vec![
        column("id", Scalar::Int8, -1),
        column("customer", Scalar::Int4, -1),
        column("name", Scalar::Text, -1),
        column("at", Scalar::Timestamptz, -1),
        column("price", Scalar::Numeric, ((10 << 16) | 2) + 4),
        column("paid", Scalar::Bool, -1),
    ]
}

fn batch(columns: &[Column]) -> RecordBatch {
    let fields: Vec<Field> = columns.iter().map(|column| field(column, None).unwrap()).collect();
    let ids = 0..BATCH as i64;
    let price = Decimal128Array::from_iter_values(ids.clone().map(|id| i128::from(id * 7_919 % 9_999_999)));
    RecordBatch::try_new(
        Arc::new(Schema::new(fields)),
        vec![
            Arc::new(Int64Array::from_iter_values(ids.clone())),
            Arc::new(Int32Array::from_iter_values(ids.clone().map(|id| id as i32 / 7))),
            Arc::new(StringArray::from_iter_values(
                ids.clone().map(|id| format!("customer number {id}")),
            )),
            Arc::new(
                TimestampMicrosecondArray::from_iter_values(ids.clone().map(|id| 1_700_000_000_000_000 + id * 1_234))
                    .with_timezone("+00:00"),
            ),
            Arc::new(price.with_precision_and_scale(10, 2).unwrap()),
            Arc::new(BooleanArray::from_iter(ids.map(|id| Some(id % 3 == 0)))),
        ],
    )
    .unwrap()
}

#[test]
#[ignore = "a measurement"]
fn copy_of_narrow_rows_is_measured() {
    let columns = columns();
    let batch = batch(&columns);
    let schema = batch.schema();
    let start = Instant::now();
    let mut pieces = Vec::new();
    for _ in 0..ROWS / BATCH {
        let encoders: Vec<ColumnEncoder<'_>> = columns
            .iter()
            .zip(batch.columns())
            .zip(schema.fields())
            .map(|((column, array), field)| {
                ColumnEncoder::new(array.as_ref(), field, &column.ty, column.typmod).unwrap()
            })
            .collect();
        let mut copy = CopyEncoder::new();
        copy.append_rows(&encoders, 0..BATCH).unwrap();
        pieces.push(copy.finish());
    }
    let size: usize = pieces.iter().map(Bytes::len).sum();
    report("Arrow to COPY", start, size);
    let start = Instant::now();
    for piece in &pieces {
        let mut decoder = CopyDecoder::new(&columns, Arc::clone(&schema), &[0]).unwrap();
        // As a server sends it: a message for each row, in reads of some size.
        let mut at = 0;
        while at < piece.len() {
            let end = piece.len().min(at + 8_192);
            decoder.push(piece.slice(at..end)).unwrap();
            at = end;
        }
        assert_eq!(decoder.finish_batch().unwrap(), batch);
    }
    report("COPY to Arrow", start, size);
    let texts: Vec<Vec<String>> = (0..1_000)
        .map(|row| {
            let of = |i: usize| arrow::util::display::array_value_to_string(batch.column(i), row).unwrap();
            let at = of(3).replace('T', " ").replace('Z', "+00");
            vec![
                of(0),
                of(1),
                of(2),
                at,
                of(4),
                if of(5) == "true" { "t" } else { "f" }.to_owned(),
            ]
        })
        .collect();
    let start = Instant::now();
    let mut decoders: Vec<ColumnDecoder> = columns
        .iter()
        .zip(schema.fields())
        .map(|(column, field)| ColumnDecoder::new(column, field).unwrap())
        .collect();
    for row in 0..ROWS {
        for (decoder, text) in decoders.iter_mut().zip(&texts[row % texts.len()]) {
            decoder.append_text(text.as_bytes()).unwrap();
        }
    }
    report("text to Arrow", start, 0);
}

fn report(what: &str, start: Instant, size: usize) {
    let seconds = start.elapsed().as_secs_f64();
    println!(
        "{what}: {:.2} M rows/s of six columns, {:.0} MB/s",
        ROWS as f64 / seconds / 1e6,
        size as f64 / seconds / 1e6
    );
}
