//! Who may write: the session lock, the generation, a ledger that went back.

use api::conformance::{Session, sample};
use api::{DestinationOptions, Lane, Retry};
use model::ChangeSet;
use serde_json::json;

use crate::database::Database;

pub(crate) fn lane_of(host: &str, take_over: bool) -> Lane {
    Lane {
        owner: sample::owner(host),
        take_over,
        ..sample::lane()
    }
}

pub(crate) fn insert(id: u64) -> ChangeSet {
    let batch = sample::changes(&sample::items())
        .at(id)
        .insert(json!({"id": id}))
        .batch();
    sample::changeset((id > 1).then_some(id - 1), id, [batch])
}

async fn open(database: &Database, lane: &Lane) -> api::Result<Session> {
    database.open_with(json!({}), DestinationOptions::default(), lane).await
}

#[tokio::test(flavor = "multi_thread")]
async fn owner_that_was_taken_over_is_told_by_whom_and_leaves_nothing() {
    let Some(database) = Database::new().await else { return };
    let mut first = open(&database, &lane_of("one", false)).await.unwrap();
    first.apply(insert(1)).await.unwrap();
    first.write(insert(2)).await.unwrap();
    let mut second = open(&database, &lane_of("two", true)).await.unwrap();
    let error = first.commit().await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "cannot write `shop`/`copy`: generation 1 is over, generation 2 belongs to two pid {}",
            std::process::id()
        )
    );
    assert_eq!((error.code(), error.retry()), ("E0542", Retry::Fenced));
    let error = open(&database, &lane_of("three", false)).await.err().unwrap();
    assert_eq!((error.code(), error.retry()), ("E0540", Retry::Operator));
    assert!(error.to_string().contains("two pid"), "{error}");
    assert!(error.remedy().unwrap().contains("pg_terminate_backend("), "{error:?}");
    second.apply(insert(2)).await.unwrap();
    second.close().await.unwrap();
    assert_eq!(database.lines("SELECT id FROM items ORDER BY id").await, ["1", "2"]);
    let third = open(&database, &lane_of("three", false)).await.unwrap();
    assert_eq!(third.holds().generation, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_a_pooler_a_newcomer_fences_instead_of_being_refused() {
    let Some(database) = Database::new().await else { return };
    let spec = json!({ "pooler": "transaction" });
    let options = DestinationOptions::default();
    let mut first = database
        .open_with(spec.clone(), options, &lane_of("one", false))
        .await
        .unwrap();
    first.write(insert(1)).await.unwrap();
    let mut second = database.open_with(spec, options, &lane_of("two", false)).await.unwrap();
    let error = first.commit().await.unwrap_err();
    assert_eq!((error.code(), error.retry()), ("E0542", Retry::Fenced));
    second.apply(insert(1)).await.unwrap();
    assert_eq!(database.lines("SELECT id FROM items").await, ["1"]);
    assert_eq!(
        database.lines("SELECT count(*) FROM pg_locks JOIN pg_database d ON d.oid = database WHERE locktype = 'advisory' AND datname = current_database()").await,
        ["0"]
    );
    assert_eq!(
        database
            .lines("SELECT count(*) FROM pg_class WHERE relpersistence = 't'")
            .await,
        ["0"],
        "nothing temporary outlives a transaction"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn ledger_that_went_back_is_noticed_at_the_next_commit() {
    let Some(database) = Database::new().await else { return };
    let mut session = database.open(DestinationOptions::default()).await;
    session.apply(insert(1)).await.unwrap();
    session.apply(insert(2)).await.unwrap();
    database.run("UPDATE _highwater.ledger SET commits = 1").await;
    let error = session.apply(insert(3)).await.unwrap_err();
    assert_eq!((error.code(), error.retry()), ("E0543", Retry::After));
    assert_eq!(
        error.to_string(),
        "cannot write `shop`/`copy`: its ledger went back, from generation 1, commit 2 to generation 1, commit 1"
    );
    assert_eq!(database.lines("SELECT id FROM items ORDER BY id").await, ["1", "2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn ledger_row_that_vanished_is_noticed_at_the_next_commit() {
    let Some(database) = Database::new().await else { return };
    let mut session = database.open(DestinationOptions::default()).await;
    session.apply(insert(1)).await.unwrap();
    database.run("DELETE FROM _highwater.ledger").await;
    let error = session.apply(insert(2)).await.unwrap_err();
    assert_eq!((error.code(), error.retry()), ("E0543", Retry::After));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_pipelines_never_write_one_table() {
    let Some(database) = Database::new().await else { return };
    let mut first = open(&database, &sample::lane()).await.unwrap();
    first.apply(insert(1)).await.unwrap();
    let other = Lane {
        pipeline: "other".into(),
        ..sample::lane()
    };
    let mut second = open(&database, &other).await.unwrap();
    let error = second.apply(insert(1)).await.unwrap_err();
    assert_eq!((error.code(), error.retry()), ("E0562", Retry::Operator));
    assert!(
        error.to_string().contains("`shop`/`copy` writes that table already"),
        "{error}"
    );
    let spec = json!({ "schema": "mine" });
    drop(second);
    let mut second = database
        .open_with(spec, DestinationOptions::default(), &other)
        .await
        .unwrap();
    second.apply(insert(1)).await.unwrap();
    assert_eq!(database.lines("SELECT id FROM mine.items").await, ["1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn row_of_another_lane_that_does_not_decode_is_named() {
    let Some(database) = Database::new().await else { return };
    let mut session = open(&database, &sample::lane()).await.unwrap();
    database
        .run(
            r#"INSERT INTO _highwater.ledger (pipeline, destination, lane, format, generation, owner, streams)
               VALUES ('old', 'copy', 0, 1, 1, '{}', 'not json')"#,
        )
        .await;
    let error = session.apply(insert(1)).await.unwrap_err();
    assert_eq!(error.code(), "E0541", "{error:?}");
    assert!(error.to_string().contains("`old`/`copy`"), "{error}");
    database
        .run("DELETE FROM _highwater.ledger WHERE pipeline = 'old'")
        .await;
    drop(session);
    let mut session = open(&database, &sample::lane()).await.unwrap();
    session.apply(insert(1)).await.unwrap();
    assert_eq!(database.lines("SELECT id FROM items").await, ["1"]);
}
