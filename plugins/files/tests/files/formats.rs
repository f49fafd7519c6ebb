//! What the formats write, byte for byte, and what they refuse.

use std::sync::Arc;

use api::conformance::sample;
use api::{Deletes, DestinationOptions, Retry, WriteMode};
use arrow::array::{Date32Array, Float64Array, Int64Array, RecordBatch, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field};
use model::{Batch, StreamId, StreamSchema};
use parquet::file::reader::{FileReader, SerializedFileReader};
use serde_json::{Value, json};

use crate::reading::data_files;
use crate::setup::{appending, build, item, open};

fn text_of_only_file(base: &std::path::Path) -> String {
    let files = data_files(&base.join("out"));
    assert_eq!(files.len(), 1);
    std::fs::read_to_string(&files[0]).unwrap()
}

fn three_changes() -> Batch {
    sample::changes(&sample::items())
        .at(7)
        .insert(json!({"id": 1, "name": "say \"hi\", twice", "amount": null}))
        .update(json!({"id": 1, "amount": 5}))
        .without(["name"])
        .at(9)
        .delete(json!({"id": 1, "name": "", "amount": 5}))
        .batch()
}

#[tokio::test]
async fn csv_tells_null_from_empty_and_says_what_was_not_sent() {
    let base = tempfile::tempdir().unwrap();
    let mut session = open("csv", json!({"delimiter": ";"}), base.path()).await;
    session
        .apply(sample::changeset(None, 9, [three_changes()]))
        .await
        .unwrap();
    let expected = "\
id;name;amount;_highwater_op;_highwater_position;_highwater_committed_at;_highwater_unavailable
1;\"say \"\"hi\"\", twice\";\\N;insert;7;{seven};\\N
1;\\N;5;update;7;{seven};\"[\"\"name\"\"]\"
1;;5;delete;9;{nine};\\N
";
    assert_eq!(with_times(text_of_only_file(base.path())), expected);
}

#[tokio::test]
async fn ndjson_has_every_column_in_every_line() {
    let base = tempfile::tempdir().unwrap();
    let mut session = open("ndjson", json!({}), base.path()).await;
    session
        .apply(sample::changeset(None, 9, [three_changes()]))
        .await
        .unwrap();
    let expected = "\
{\"id\":1,\"name\":\"say \\\"hi\\\", twice\",\"amount\":null,\"_highwater_op\":\"insert\",\"_highwater_position\":\"7\",\
\"_highwater_committed_at\":\"{seven}\",\"_highwater_unavailable\":null}
{\"id\":1,\"name\":null,\"amount\":5,\"_highwater_op\":\"update\",\"_highwater_position\":\"7\",\
\"_highwater_committed_at\":\"{seven}\",\"_highwater_unavailable\":[\"name\"]}
{\"id\":1,\"name\":\"\",\"amount\":5,\"_highwater_op\":\"delete\",\"_highwater_position\":\"9\",\
\"_highwater_committed_at\":\"{nine}\",\"_highwater_unavailable\":null}
";
    assert_eq!(with_times(text_of_only_file(base.path())), expected);
}

/// The sample's commit times as words.
fn with_times(text: String) -> String {
    let at = |order| {
        let time = sample::time_of(sample::position(order).order);
        let array = TimestampMicrosecondArray::from(vec![time.micros()]).with_timezone("+00:00");
        api::conformance::text_of(&array, 0).unwrap()
    };
    text.replace(&at(7), "{seven}").replace(&at(9), "{nine}")
}

fn one_column(data_type: DataType, column: arrow::array::ArrayRef) -> Batch {
    let fields = vec![
        Field::new("id", DataType::Int64, false),
        Field::new("v", data_type, true),
    ];
    let schema: Arc<StreamSchema> = sample::schema(StreamId::new("t"), fields, ["id"]);
    let ids = Int64Array::from_iter_values(0..column.len() as i64);
    let rows = RecordBatch::try_new(Arc::clone(schema.arrow()), vec![Arc::new(ids), column]).unwrap();
    let inserts = (0..rows.num_rows()).map(|id| json!({"id": id}));
    let batch = sample::changes(&schema).inserts(inserts).batch();
    Batch { rows, ..batch }
}

#[tokio::test]
async fn float_that_is_no_number_is_a_word_and_not_null() {
    for (format, expected) in [
        (
            "csv",
            vec!["0,NaN,", "1,Infinity,", "2,-Infinity,", "3,1e300,", "4,-0.0,"],
        ),
        (
            "ndjson",
            vec![
                "\"v\":\"NaN\"",
                "\"v\":\"Infinity\"",
                "\"v\":\"-Infinity\"",
                "\"v\":1e+300",
                "\"v\":-0.0",
            ],
        ),
    ] {
        let base = tempfile::tempdir().unwrap();
        let mut session = open(format, json!({"path": "./out/{stream}"}), base.path()).await;
        let values = vec![f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e300, -0.0];
        let batch = one_column(DataType::Float64, Arc::new(Float64Array::from(values)));
        session.apply(sample::changeset(None, 1, [batch])).await.unwrap();
        let text = text_of_only_file(base.path());
        for part in expected {
            assert!(
                text.replace("1e300", "1e+300")
                    .contains(&part.replace("1e300", "1e+300")),
                "{part} in {text}"
            );
        }
    }
}

#[tokio::test]
async fn value_without_a_form_is_refused_by_column_and_not_shown() {
    for format in ["csv", "ndjson"] {
        let base = tempfile::tempdir().unwrap();
        let mut session = open(format, json!({}), base.path()).await;
        let batch = one_column(DataType::Date32, Arc::new(Date32Array::from(vec![123_456_789])));
        let error = session.apply(sample::changeset(None, 1, [batch])).await.unwrap_err();
        assert_eq!((error.code(), error.retry()), ("E0555", Retry::Never), "{error:?}");
        let said = error.chain();
        assert!(
            said.contains("`t`") && said.contains("`v`") && !said.contains("123456789"),
            "{said}"
        );
    }
}

#[tokio::test]
async fn csv_refuses_a_text_that_reads_like_null() {
    let base = tempfile::tempdir().unwrap();
    let mut session = open("csv", json!({"null": "NULL"}), base.path()).await;
    let row = json!({"id": 1, "name": "NULL"});
    let batch = sample::changes(&sample::items()).insert(row).batch();
    let error = session.apply(sample::changeset(None, 1, [batch])).await.unwrap_err();
    let expected = "cannot write `items` as CSV: column `name` has a value that reads like `null: NULL`";
    assert_eq!((error.to_string().as_str(), error.retry()), (expected, Retry::Never));
}

#[tokio::test]
async fn reserved_column_is_refused() {
    let base = tempfile::tempdir().unwrap();
    let mut session = open("parquet", json!({}), base.path()).await;
    let fields = vec![Field::new("_Highwater_OP", DataType::Int64, true)];
    let schema = sample::schema(StreamId::new("t"), fields, []);
    let batch = sample::changes(&schema).insert(json!({"_Highwater_OP": 1})).batch();
    let error = session.apply(sample::changeset(None, 1, [batch])).await.unwrap_err();
    let expected = "cannot append rows of `t`: its column `_Highwater_OP` has a reserved name";
    assert_eq!((error.to_string().as_str(), error.retry()), (expected, Retry::Never));
}

#[tokio::test]
async fn large_transaction_passes_through_a_small_buffer() {
    let base = tempfile::tempdir().unwrap();
    let spec = json!({"row_group_bytes": "1MiB", "compression": "none"});
    let mut destination = build("parquet", spec, appending(), base.path()).unwrap();
    let declared = destination.capabilities().buffer_bytes;
    destination.open(&sample::lane()).await.unwrap();
    // Four streams, 48 MiB that do not compress, in parts.
    let streams: Vec<_> = (0..4)
        .map(|n| sample::items_as(StreamId::new(format!("s{n}"))))
        .collect();
    let mut random: u128 = 1;
    let mut name = || {
        random = random
            .wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835)
            .wrapping_add(1);
        format!("{random:032x}").repeat(30)
    };
    let pieces: Vec<Vec<Batch>> = (0..12)
        .map(|part| {
            let rows = |s: &Arc<StreamSchema>, name: &mut dyn FnMut() -> String| {
                let rows: Vec<Value> = (0..1_000)
                    .map(|id| json!({"id": part * 1_000 + id, "name": name()}))
                    .collect();
                sample::changes(s).inserts(rows).batch()
            };
            streams.iter().map(|s| rows(s, &mut name)).collect()
        })
        .collect();
    for part in sample::parts(None, 1, pieces) {
        let written = destination.write(Arc::new(part)).await.unwrap();
        assert!(
            written.buffered_bytes <= declared,
            "{} of {declared}",
            written.buffered_bytes
        );
    }
    assert_eq!(
        data_files(&base.path().join("out")).len(),
        0,
        "nothing is visible before the commit"
    );
    let (delta, checkpoint) = (sample::delta(None, 1), model::Checkpoint::default());
    let at = api::CommitPoint {
        delta: &delta,
        checkpoint: &checkpoint,
    };
    destination.commit(at).await.unwrap();
    let files = data_files(&base.path().join("out"));
    assert_eq!(files.len(), 4);
    for path in files {
        let reader = SerializedFileReader::new(std::fs::File::open(path).unwrap()).unwrap();
        assert_eq!(reader.metadata().file_metadata().num_rows(), 12_000);
        assert!(reader.num_row_groups() > 5, "{} row groups", reader.num_row_groups());
    }
}

#[tokio::test]
async fn parquet_file_names_its_stream() {
    let base = tempfile::tempdir().unwrap();
    let mut session = open("parquet", json!({"compression": "snappy"}), base.path()).await;
    let batch = sample::changes(&sample::items()).insert(item(1)).batch();
    session.apply(sample::changeset(None, 1, [batch])).await.unwrap();
    let file = std::fs::File::open(&data_files(&base.path().join("out"))[0]).unwrap();
    let reader = SerializedFileReader::new(file).unwrap();
    let metadata = reader.metadata().file_metadata().key_value_metadata().unwrap();
    let value = metadata
        .iter()
        .find(|pair| pair.key == "highwater.stream")
        .unwrap()
        .value
        .clone();
    assert_eq!(value.as_deref(), Some("items"));
}

#[test]
fn spec_that_cannot_work_is_refused_where_it_is_wrong() {
    let upsert = DestinationOptions {
        write: Some(WriteMode::Upsert),
        ..DestinationOptions::default()
    };
    let soft = DestinationOptions {
        deletes: Deletes::Soft,
        ..appending()
    };
    let good = json!({"path": "./out/{stream}"});
    let with = |field: &str, value: &str| {
        let mut spec = good.clone();
        spec[field] = json!(value);
        spec
    };
    for (connector, spec, options, pointer, message) in [
        ("csv", good.clone(), upsert, "", "connector `csv` cannot upsert"),
        (
            "parquet",
            good.clone(),
            soft,
            "",
            "connector `parquet` appends, so there is no row that `deletes: soft` could mark",
        ),
        (
            "parquet",
            with("path", "./out/"),
            appending(),
            "/path",
            "`path` is `./out/`, which puts the files of all streams together",
        ),
        (
            "parquet",
            with("row_group_bytes", "8"),
            appending(),
            "/row_group_bytes",
            "`row_group_bytes` is `8`: expected a number and a unit, such as `64MiB`",
        ),
        (
            "parquet",
            with("row_group_bytes", "1GiB"),
            appending(),
            "/row_group_bytes",
            "`row_group_bytes` is `1GiB`: expected 64KiB to 256MiB",
        ),
        (
            "csv",
            with("delimiter", "ab"),
            appending(),
            "/delimiter",
            "`delimiter` is `ab`: expected one ASCII character",
        ),
        (
            "csv",
            with("null", "0"),
            appending(),
            "/null",
            "`null` is `0`, which could be a value",
        ),
        (
            "csv",
            with("null", "a,b"),
            appending(),
            "/null",
            "`null` is `a,b`, which could be a value",
        ),
        (
            "ndjson",
            with("file_bytes_max", "1B"),
            appending(),
            "/file_bytes_max",
            "`file_bytes_max` is `1B`: expected 64KiB to 1048576MiB",
        ),
    ] {
        let error = build(connector, spec, options, "/".as_ref()).err().unwrap();
        assert_eq!((error.pointer.as_str(), error.message.as_str()), (pointer, message));
    }
}
