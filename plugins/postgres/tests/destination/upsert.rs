//! Rows by key where it gets difficult.

use api::conformance::sample;
use api::{Deletes, DestinationOptions, Retry, WriteMode};
use serde_json::json;

use crate::database::Database;

fn options(deletes: Deletes) -> DestinationOptions {
    DestinationOptions {
        write: Some(WriteMode::Upsert),
        deletes,
        ..DestinationOptions::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn partial_change_of_a_row_that_is_not_there_is_refused() {
    let Some(database) = Database::new().await else { return };
    for batch in [
        sample::changes(&sample::items())
            .update(json!({"id": 1, "amount": 1}))
            .without(["name"])
            .batch(),
        sample::changes(&sample::items())
            .rekey(json!({"id": 1}), json!({"id": 2, "amount": 1}))
            .without(["name"])
            .batch(),
        sample::changes(&sample::items())
            .insert(json!({"id": 1, "name": "a"}))
            .delete(json!({"id": 1}))
            .update(json!({"id": 1, "amount": 1}))
            .without(["name"])
            .batch(),
    ] {
        let mut session = database.open(options(Deletes::Apply)).await;
        let error = session.apply(sample::changeset(None, 1, [batch])).await.unwrap_err();
        assert_eq!((error.code(), error.retry()), ("E0567", Retry::Operator), "{error:?}");
    }
    assert_eq!(database.rows(sample::items().stream()).await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn values_that_were_not_sent_survive_any_order_of_changes() {
    let Some(database) = Database::new().await else { return };
    let mut session = database.open(options(Deletes::Apply)).await;
    let rows = [1, 2, 3, 4].map(|id| json!({"id": id, "name": format!("n{id}"), "amount": id}));
    let batch = sample::changes(&sample::items()).inserts(rows).batch();
    session.apply(sample::changeset(None, 1, [batch])).await.unwrap();
    let batch = sample::changes(&sample::items())
        .at(2)
        // Two parts of one row.
        .update(json!({"id": 1, "amount": 10}))
        .without(["name"])
        .update(json!({"id": 1, "name": "m1"}))
        .without(["amount"])
        // A new row and a part of it.
        .insert(json!({"id": 9, "name": "n9", "amount": 9}))
        .update(json!({"id": 9, "amount": 90}))
        .without(["name"])
        // Moved twice, each time with a value missing.
        .rekey(json!({"id": 2}), json!({"id": 20, "amount": 20}))
        .without(["name"])
        .rekey(json!({"id": 20}), json!({"id": 21, "name": "m2"}))
        .without(["amount"])
        // A part, then gone, then new.
        .update(json!({"id": 3, "amount": 30}))
        .without(["name"])
        .delete(json!({"id": 3}))
        .insert(json!({"id": 3, "name": "new", "amount": null}))
        .batch();
    session.apply(sample::changeset(Some(1), 2, [batch])).await.unwrap();
    assert_eq!(
        database.lines("SELECT id, name, amount FROM items ORDER BY id").await,
        ["1, m1, 10", "3, new, NULL", "4, n4, 4", "9, n9, 90", "21, m2, 20"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn new_rows_among_other_changes_may_take_what_those_gave_up() {
    let Some(database) = Database::new().await else { return };
    database
        .run("CREATE TABLE items (id bigint PRIMARY KEY, name text UNIQUE, amount bigint)")
        .await;
    let mut session = database.open(options(Deletes::Apply)).await;
    let rows = [1, 2, 3].map(|id| json!({"id": id, "name": format!("n{id}"), "amount": id}));
    let batch = sample::changes(&sample::items()).inserts(rows).batch();
    session.apply(sample::changeset(None, 1, [batch])).await.unwrap();
    let batch = sample::changes(&sample::items())
        .at(2)
        .delete(json!({"id": 1}))
        .insert(json!({"id": 11, "name": "n1", "amount": 11}))
        .update(json!({"id": 2, "name": "m2", "amount": 2}))
        .insert(json!({"id": 12, "name": "n2", "amount": 12}))
        .insert(json!({"id": 13, "name": "gone", "amount": 13}))
        .delete(json!({"id": 13}))
        .insert(json!({"id": 14, "name": "gone", "amount": 14}))
        .batch();
    session.apply(sample::changeset(Some(1), 2, [batch])).await.unwrap();
    assert_eq!(
        database.lines("SELECT id, name, amount FROM items ORDER BY id").await,
        ["2, m2, 2", "3, n3, 3", "11, n1, 11", "12, n2, 12", "14, gone, 14"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn row_that_is_there_although_the_source_calls_it_new_is_overwritten() {
    let Some(database) = Database::new().await else { return };
    let mut session = database.open(options(Deletes::Apply)).await;
    let batch = sample::changes(&sample::items())
        .insert(json!({"id": 1, "name": "n1", "amount": 1}))
        .batch();
    session.apply(sample::changeset(None, 1, [batch])).await.unwrap();
    database
        .run("INSERT INTO items (id, name) VALUES (2, 'foreign'), (3, 'foreign')")
        .await;
    let batch = sample::changes(&sample::items())
        .at(2)
        .update(json!({"id": 1, "name": "m1", "amount": 1}))
        .insert(json!({"id": 2, "name": "n2", "amount": 2}))
        .insert(json!({"id": 3, "name": "n3", "amount": 3}))
        .delete(json!({"id": 3}))
        .insert(json!({"id": 4, "name": "n4", "amount": 4}))
        .batch();
    session.apply(sample::changeset(Some(1), 2, [batch])).await.unwrap();
    assert_eq!(
        database.lines("SELECT id, name, amount FROM items ORDER BY id").await,
        ["1, m1, 1", "2, n2, 2", "4, n4, 4"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn row_that_moves_is_not_left_behind_as_a_soft_deleted_one() {
    let Some(database) = Database::new().await else { return };
    let mut session = database.open(options(Deletes::Soft)).await;
    let rows = [1, 2].map(|id| json!({"id": id, "name": format!("n{id}")}));
    let batch = sample::changes(&sample::items()).inserts(rows).batch();
    session.apply(sample::changeset(None, 1, [batch])).await.unwrap();
    let batch = sample::changes(&sample::items())
        .at(2)
        .rekey(json!({"id": 1}), json!({"id": 3, "name": "moved"}))
        .delete(json!({"id": 2}))
        .batch();
    session.apply(sample::changeset(Some(1), 2, [batch])).await.unwrap();
    assert_eq!(
        database
            .lines("SELECT id, name, _highwater_deleted FROM items ORDER BY id")
            .await,
        ["2, n2, t", "3, moved, f"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn columns_of_the_users_own_survive_changes() {
    let Some(database) = Database::new().await else { return };
    database
        .run("CREATE TABLE items (id int8 PRIMARY KEY, name text, amount int8, mine text DEFAULT 'unset')")
        .await;
    let mut session = database.open(options(Deletes::Apply)).await;
    let batch = sample::changes(&sample::items())
        .insert(json!({"id": 1, "name": "a"}))
        .batch();
    session.apply(sample::changeset(None, 1, [batch])).await.unwrap();
    database.run("UPDATE items SET mine = 'set'").await;
    let batch = sample::changes(&sample::items())
        .at(2)
        .update(json!({"id": 1, "name": "b"}))
        .insert(json!({"id": 2, "name": "c"}))
        .batch();
    session.apply(sample::changeset(Some(1), 2, [batch])).await.unwrap();
    assert_eq!(
        database.lines("SELECT id, name, mine FROM items ORDER BY id").await,
        ["1, b, set", "2, c, unset"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn large_transaction_is_one_commit() {
    let Some(database) = Database::new().await else { return };
    let mut session = database.open(options(Deletes::Apply)).await;
    let piece = |first: i64| {
        let rows = (first..first + 5_000).map(|id| json!({"id": id, "name": "x".repeat(1_000), "amount": first}));
        vec![sample::changes(&sample::items()).inserts(rows).batch()]
    };
    let parts = sample::parts(None, 1, vec![piece(0), piece(5_000), piece(0), piece(10_000)]);
    for part in parts {
        let written = session.write(part).await.unwrap();
        assert!(written.buffered_bytes < 16 << 20, "{written:?}");
        assert_eq!(
            database.rows(sample::items().stream()).await,
            None,
            "nobody sees a part"
        );
    }
    session.commit().await.unwrap();
    assert_eq!(database.lines("SELECT count(*) FROM items").await, ["15000"]);
}
