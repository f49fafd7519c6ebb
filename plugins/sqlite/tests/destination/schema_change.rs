//! Columns that change their type, and what the stored values become.

use std::sync::Arc;

use api::conformance::sample;
use api::{DestinationOptions, OnSchemaChange, Retry};
use arrow::datatypes::{DataType, Field, TimeUnit};
use model::{StreamId, StreamSchema};
use serde_json::{Value, json};

use crate::database::Database;

fn shape(data_type: DataType) -> Arc<StreamSchema> {
    let fields = vec![
        Field::new("id", DataType::Int64, false),
        Field::new("v", data_type, true),
    ];
    sample::schema(StreamId::new("t"), fields, ["id"])
}

/// Writes one row in each shape, reopening in between; what the table holds then, or the error.
async fn check(policy: Option<OnSchemaChange>, old: (DataType, Value), new: (DataType, Value)) -> Vec<String> {
    let database = Database::new();
    let options = DestinationOptions {
        on_schema_change: policy,
        ..DestinationOptions::default()
    };
    let mut session = database.open(options).await;
    let (old_schema, new_schema) = (shape(old.0), shape(new.0));
    let batch = sample::changes(&old_schema)
        .insert(json!({"id": 1, "v": old.1}))
        .batch();
    session.apply(sample::changeset(None, 1, [batch])).await.unwrap();
    session.close().await.unwrap();
    let mut session = database.open(options).await;
    let batch = sample::changes(&new_schema)
        .at(2)
        .insert(json!({"id": 2, "v": new.1}))
        .batch();
    match session.apply(sample::changeset(Some(1), 2, [batch])).await {
        Ok(()) => database.lines("SELECT v, typeof(v) FROM t ORDER BY id"),
        Err(error) => {
            assert_eq!(error.retry(), Retry::Operator, "{error:?}");
            vec![error.to_string(), error.remedy().unwrap_or_default().to_owned()]
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn widened_values_take_the_form_of_the_new_type() {
    let micros = |zone: Option<&str>| DataType::Timestamp(TimeUnit::Microsecond, zone.map(Into::into));
    let seconds = |zone: Option<&str>| DataType::Timestamp(TimeUnit::Second, zone.map(Into::into));
    let cases = [
        (
            (DataType::Int32, json!(7)),
            (DataType::Float64, json!(1.5)),
            ["7.0, 'real'", "1.5, 'real'"],
        ),
        (
            (DataType::Int64, json!(7)),
            (DataType::Utf8, json!("x")),
            ["'7', 'text'", "'x', 'text'"],
        ),
        (
            (DataType::UInt32, json!(7)),
            (DataType::UInt64, json!(18446744073709551615_u64)),
            ["'7', 'text'", "'18446744073709551615', 'text'"],
        ),
        (
            (DataType::Int64, json!(-7)),
            (DataType::Decimal128(20, 2), json!("1.25")),
            ["'-7.00', 'text'", "'1.25', 'text'"],
        ),
        (
            (DataType::Decimal128(10, 2), json!("-0.50")),
            (DataType::Decimal128(12, 4), json!("1.2345")),
            ["'-0.5000', 'text'", "'1.2345', 'text'"],
        ),
        (
            (DataType::Date32, json!("2026-01-02")),
            (micros(None), json!("2026-01-03T00:00:01")),
            [
                "'2026-01-02 00:00:00.000000', 'text'",
                "'2026-01-03 00:00:01.000000', 'text'",
            ],
        ),
        (
            (seconds(Some("+00:00")), json!("2026-01-02T03:04:05Z")),
            (micros(Some("+00:00")), json!("2026-01-02T03:04:05.000007Z")),
            [
                "'2026-01-02 03:04:05.000000Z', 'text'",
                "'2026-01-02 03:04:05.000007Z', 'text'",
            ],
        ),
    ];
    for (old, new, expected) in cases {
        let said = format!("{old:?} -> {new:?}");
        assert_eq!(check(None, old, new).await, expected, "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn narrowed_column_waits_for_a_resync() {
    let found = check(None, (DataType::Utf8, json!("x")), (DataType::Int64, json!(1))).await;
    assert!(found[0].contains("column `v` was text and is now integer"), "{found:?}");
    let found = check(
        Some(OnSchemaChange::Apply),
        (DataType::Decimal128(10, 4), json!("1.0000")),
        (DataType::Decimal128(10, 2), json!("1.00")),
    )
    .await;
    assert!(
        found[0].contains("column `v` was decimal.4 and is now decimal.2"),
        "{found:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn pause_prints_statements_that_make_the_table_fit() {
    let policy = Some(OnSchemaChange::Pause);
    let found = check(policy, (DataType::Int64, json!(7)), (DataType::Utf8, json!("x"))).await;
    assert_eq!(found[0], "cannot write `t` to table `t`: column `v` is now text");
    let statements = found[1].split('`').nth(1).unwrap();
    let database = Database::new();
    let user = database.user();
    user.execute_batch("CREATE TABLE t (id INTEGER PRIMARY KEY, v INTEGER); INSERT INTO t VALUES (1, 7)")
        .unwrap();
    user.execute_batch(statements).unwrap();
    drop(user);
    assert_eq!(database.lines("SELECT v, typeof(v) FROM t"), ["'7', 'text'"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn read_that_empties_first_creates_our_own_misfit_anew_and_spares_the_users() {
    let wide = shape(DataType::Int64);
    for (prepare, is_ours) in [("", true), ("CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT)", false)] {
        let database = Database::new();
        database.user().execute_batch(prepare).unwrap();
        let mut session = database.open(DestinationOptions::default()).await;
        let batch = sample::changes(&shape(DataType::Utf8))
            .insert(json!({"id": 1, "v": "x"}))
            .batch();
        session.apply(sample::changeset(None, 1, [batch])).await.unwrap();
        let outcome = session.apply(sample::begin_read(&wide, 2, true)).await;
        assert_eq!(outcome.is_ok(), is_ours, "{outcome:?}");
        drop(session);
        let expected: &[&str] = if is_ours { &[] } else { &["1, 'x'"] };
        assert_eq!(database.lines("SELECT id, v FROM t"), expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn dropped_column_stays_and_is_null_in_new_rows() {
    let database = Database::new();
    let mut session = database.open(DestinationOptions::default()).await;
    let batch = sample::changes(&sample::items_with_note())
        .insert(json!({"id": 1, "name": "a", "amount": 1, "note": "n"}))
        .batch();
    session.apply(sample::changeset(None, 1, [batch])).await.unwrap();
    let batch = sample::changes(&sample::items())
        .at(2)
        .update(json!({"id": 1, "name": "b", "amount": 1}))
        .insert(json!({"id": 2, "name": "c", "amount": 2}))
        .batch();
    session.apply(sample::changeset(Some(1), 2, [batch])).await.unwrap();
    session.close().await.unwrap();
    assert_eq!(
        database.lines("SELECT id, name, note FROM items ORDER BY id"),
        ["1, 'b', 'n'", "2, 'c', NULL"]
    );
}
