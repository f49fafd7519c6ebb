//! Tables that a user made: used where every value keeps its form, refused by name where not.

use api::conformance::sample;
use api::{DestinationOptions, Retry, WriteMode};
use arrow::datatypes::{DataType, Field};
use model::StreamId;
use serde_json::json;

use crate::database::Database;

/// Writes one item into a database that `sql` prepared; the outcome as text.
async fn check(write: WriteMode, sql: &str) -> String {
    let database = Database::new();
    database.user().execute_batch(sql).unwrap();
    let options = DestinationOptions {
        write: Some(write),
        ..DestinationOptions::default()
    };
    let mut session = database.open(options).await;
    let batch = sample::changes(&sample::items())
        .insert(json!({"id": 1, "name": "12", "amount": 3}))
        .batch();
    let outcome = session.apply(sample::changeset(None, 1, [batch])).await;
    match outcome {
        Ok(()) => database
            .lines("SELECT id, name, amount, typeof(name) FROM items ORDER BY id")
            .join(" | "),
        Err(error) => {
            assert_eq!(error.retry(), Retry::Operator, "{error:?}");
            format!("{error} [{}]", error.remedy().unwrap_or_default())
        }
    }
}

async fn refused(write: WriteMode, sql: &str, said: &[&str]) {
    let outcome = check(write, sql).await;
    for part in said {
        assert!(outcome.contains(part), "{sql}\n  should say {part:?}\n  says {outcome}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn compatible_table_is_used_as_it_is() {
    let row = "1, '12', 3, 'text'";
    for sql in [
        "CREATE TABLE items (id INTEGER PRIMARY KEY, name VARCHAR(3), amount BIGINT)",
        "CREATE TABLE Items (ID INT NOT NULL UNIQUE, Name TEXT, Amount NUMERIC, extra TEXT, more INT NOT NULL DEFAULT 7)",
        "CREATE TABLE items (id PRIMARY KEY, name, amount) WITHOUT ROWID",
        "CREATE TABLE items (id ANY PRIMARY KEY, name TEXT, amount INT) STRICT",
        "CREATE TABLE items (a INTEGER PRIMARY KEY, id INT, name TEXT, amount INT); CREATE UNIQUE INDEX u ON items(id DESC)",
    ] {
        assert_eq!(check(WriteMode::Upsert, sql).await, row, "{sql}");
    }
    let sql = "CREATE TABLE items (a INTEGER PRIMARY KEY, id INT NOT NULL, name TEXT, amount INT)";
    assert_eq!(check(WriteMode::Append, sql).await, row, "{sql}");
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_columns_are_added_to_a_users_table() {
    let sql = "CREATE TABLE items (id INTEGER PRIMARY KEY); INSERT INTO items VALUES (0)";
    assert_eq!(
        check(WriteMode::Upsert, sql).await,
        "0, NULL, NULL, 'null' | 1, '12', 3, 'text'"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn table_that_would_change_values_or_refuse_rows_is_refused() {
    let upsert = WriteMode::Upsert;
    refused(
        upsert,
        "CREATE TABLE items (id INTEGER PRIMARY KEY, name NUMERIC, amount INT)",
        &["column `name` is declared `NUMERIC`, which would convert the values of text"],
    )
    .await;
    refused(
        upsert,
        "CREATE TABLE items (id INTEGER, name TEXT, amount INT)",
        &[
            "has no unique key (id)",
            "CREATE UNIQUE INDEX \"items_key\" ON \"items\" (\"id\")",
        ],
    )
    .await;
    refused(
        upsert,
        "CREATE TABLE items (id TEXT PRIMARY KEY COLLATE NOCASE, name TEXT, amount INT)",
        &["compares by NOCASE"],
    )
    .await;
    refused(
        upsert,
        "CREATE TABLE items (id INTEGER PRIMARY KEY, name TEXT, amount INT, who TEXT NOT NULL)",
        &["`who` is NOT NULL without a default"],
    )
    .await;
    refused(
        upsert,
        "CREATE TABLE items (id INTEGER PRIMARY KEY, name TEXT, amount INT AS (id + 1))",
        &["`amount` is generated"],
    )
    .await;
    refused(upsert, "CREATE VIEW items AS SELECT 1 AS id", &["it is a view"]).await;
    refused(
        WriteMode::Append,
        "CREATE TABLE items (id INTEGER PRIMARY KEY, name TEXT, amount INT)",
        &["its key (id) allows one row for each value"],
    )
    .await;
    refused(
        upsert,
        "CREATE TABLE items (id INTEGER PRIMARY KEY, name TEXT CHECK (length(name) > 2), amount INT)",
        &["cannot write rows of `items`", "drop it"],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_sqlite_cannot_keep_apart_are_refused() {
    let int = |name: &str| Field::new(name, DataType::Int64, true);
    let cases = [
        (
            sample::schema(StreamId::new("t"), vec![int("a"), int("_Highwater_op")], []),
            "cannot write `t`: its column name `_Highwater_op` starts with `_highwater_`, which is reserved",
        ),
        (
            sample::schema(StreamId::new("sqlite_x"), vec![int("a")], []),
            "cannot write `sqlite_x`: its table name `sqlite_x` is reserved by SQLite",
        ),
        (
            sample::schema(StreamId::new("t"), vec![int("a\0")], []),
            "cannot write `t`: its column name `a\\0` contains a zero byte",
        ),
    ];
    for (schema, said) in cases {
        let database = Database::new();
        let mut session = database.open(DestinationOptions::default()).await;
        let error = session.apply(sample::begin_read(&schema, 1, true)).await.unwrap_err();
        assert_eq!(error.to_string(), said);
        assert_eq!(error.retry(), Retry::Operator);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn stream_without_a_key_cannot_be_upserted() {
    let database = Database::new();
    let options = DestinationOptions {
        write: Some(WriteMode::Upsert),
        ..DestinationOptions::default()
    };
    let mut session = database.open(options).await;
    let batch = sample::changes(&sample::events()).insert(json!({"at": 1})).batch();
    let error = session.apply(sample::changeset(None, 1, [batch])).await.unwrap_err();
    assert_eq!(error.to_string(), "cannot upsert into `events`: the stream has no key");
    assert!(error.remedy().unwrap().contains("write: append"), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_pipelines_do_not_write_one_table() {
    let database = Database::new();
    let batch = || sample::changes(&sample::items()).insert(json!({"id": 1})).batch();
    let mut first = database.open(DestinationOptions::default()).await;
    first.apply(sample::changeset(None, 1, [batch()])).await.unwrap();
    let lane = api::Lane {
        pipeline: "other".into(),
        ..sample::lane()
    };
    let mut second = database.open_lane(DestinationOptions::default(), &lane).await.unwrap();
    let error = second.apply(sample::changeset(None, 1, [batch()])).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot write `items` to table `items`: `shop`/`copy` writes that table already"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn table_that_was_dropped_is_not_created_empty_in_silence() {
    let database = Database::new();
    let mut session = database.open(DestinationOptions::default()).await;
    let insert = |id, from: Option<u64>, to| {
        let batch = sample::changes(&sample::items())
            .at(to)
            .insert(json!({"id": id}))
            .batch();
        sample::changeset(from, to, [batch])
    };
    session.apply(insert(1, None, 1)).await.unwrap();
    session.close().await.unwrap();
    database.user().execute_batch("DROP TABLE items").unwrap();
    let mut session = database.open(DestinationOptions::default()).await;
    let error = session.apply(insert(2, Some(1), 2)).await.unwrap_err();
    assert_eq!(error.to_string(), "cannot write `items`: its table `items` is gone");
    drop(session);
    // A read brings it back.
    let mut session = database.open(DestinationOptions::default()).await;
    session
        .apply(sample::begin_read(&sample::items(), 2, false))
        .await
        .unwrap();
    session.close().await.unwrap();
    assert_eq!(database.rows("items"), Some(Vec::new()));
}
