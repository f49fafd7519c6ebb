//! Connections that are lost, and sessions that are in the way.

use std::time::{Duration, Instant};

use api::conformance::sample;
use api::{DestinationOptions, Retry};
use serde_json::json;

use crate::database::Database;
use crate::fencing::insert;
use crate::proxy::{Cut, Proxy};

#[tokio::test(flavor = "multi_thread")]
async fn commit_whose_reply_is_lost_is_read_back_and_the_session_goes_on() {
    let Some(database) = Database::new().await else { return };
    let proxy = Proxy::to(database.port()).await;
    let spec = json!({ "url": database.url_at(proxy.port()) });
    let options = DestinationOptions::default();
    let mut session = database.open_with(spec, options, &sample::lane()).await.unwrap();
    session.apply(insert(1)).await.unwrap();
    for id in 2..=4 {
        proxy.arm(Cut::BeforeReply);
        session.apply(insert(id)).await.unwrap();
    }
    assert_eq!(proxy.cuts(), 3);
    session.apply(insert(5)).await.unwrap();
    let held = session.checkpoint().clone();
    session.close().await.unwrap();
    assert_eq!(
        database.lines("SELECT id FROM items ORDER BY id").await,
        ["1", "2", "3", "4", "5"]
    );
    let session = database.open(options).await;
    assert_eq!((session.holds().generation, session.checkpoint()), (2, &held));
}

#[tokio::test(flavor = "multi_thread")]
async fn commit_that_never_reached_the_server_is_tried_again_from_the_last_one() {
    let Some(database) = Database::new().await else { return };
    let proxy = Proxy::to(database.port()).await;
    let spec = json!({ "url": database.url_at(proxy.port()) });
    let options = DestinationOptions::default();
    let mut session = database
        .open_with(spec.clone(), options, &sample::lane())
        .await
        .unwrap();
    session.apply(insert(1)).await.unwrap();
    let held = session.checkpoint().clone();
    proxy.arm(Cut::BeforeCommit);
    let error = session.apply(insert(2)).await.unwrap_err();
    assert_eq!((error.code(), error.retry()), ("E0546", Retry::After), "{error:?}");
    drop(session);
    let mut session = database.open_with(spec, options, &sample::lane()).await.unwrap();
    assert_eq!(*session.checkpoint(), held);
    session.apply(insert(2)).await.unwrap();
    assert_eq!(database.lines("SELECT id FROM items ORDER BY id").await, ["1", "2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn server_process_that_is_ended_asks_for_another_try() {
    let Some(database) = Database::new().await else { return };
    let options = DestinationOptions::default();
    let mut session = database.open(options).await;
    session.apply(insert(1)).await.unwrap();
    database
        .run(
            "SELECT pg_terminate_backend(pid) FROM pg_locks JOIN pg_database d ON d.oid = database \
             WHERE locktype = 'advisory' AND datname = current_database()",
        )
        .await;
    let error = session.apply(insert(2)).await.unwrap_err();
    assert_eq!(error.retry(), Retry::After, "{error:?}");
    drop(session);
    database.open(options).await.apply(insert(2)).await.unwrap();
    assert_eq!(database.lines("SELECT id FROM items ORDER BY id").await, ["1", "2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn deadlock_with_another_session_is_tried_again() {
    let Some(database) = Database::new().await else { return };
    let mut session = database.open(DestinationOptions::default()).await;
    let rows = [1, 2].map(|id| json!({"id": id, "name": "old"}));
    let batch = sample::changes(&sample::items()).inserts(rows).batch();
    session.apply(sample::changeset(None, 1, [batch])).await.unwrap();
    let other = database.user().await;
    other
        .batch_execute("BEGIN; UPDATE items SET amount = 2 WHERE id = 2")
        .await
        .unwrap();
    let writing = tokio::spawn(async move {
        let batch = sample::changes(&sample::items())
            .at(2)
            .update(json!({"id": 1, "name": "new"}))
            .update(json!({"id": 2, "name": "new"}))
            .batch();
        session.apply(sample::changeset(Some(1), 2, [batch])).await
    });
    wait_until(
        &database,
        "SELECT count(*) > 0 FROM pg_locks JOIN pg_stat_activity USING (pid) \
         WHERE NOT granted AND datname = current_database()",
    )
    .await;
    // Whoever waits first looks for the deadlock first: that is the destination.
    other
        .batch_execute("UPDATE items SET amount = 1 WHERE id = 1; COMMIT")
        .await
        .unwrap();
    writing.await.unwrap().unwrap();
    assert_eq!(
        database.lines("SELECT id, name FROM items ORDER BY id").await,
        ["1, new", "2, new"]
    );
    let log = database.log();
    assert!(log.contains("deadlock detected"), "{log}");
}

/// Waits until a query answers true.
async fn wait_until(database: &Database, sql: &str) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while database.lines(sql).await != ["t"] {
        assert!(Instant::now() < deadline, "never true: {sql}");
    }
}
