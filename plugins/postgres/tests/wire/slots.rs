//! Making slots: snapshots, waiting transactions, and what is left behind.

use std::time::{Duration, Instant};

use highwater_plugin_postgres::replication::{ReplicationError, Snapshot};

use crate::world::{Database, PATIENCE, server};

#[tokio::test]
async fn creation_gives_up_after_lock_timeout_and_leaves_nothing() {
    let Some(server) = server() else { return };
    let db = Database::create(server).await;
    let blocker = db.settings.connect().await.unwrap();
    blocker
        .batch_execute("BEGIN; SELECT pg_current_xact_id()")
        .await
        .unwrap();
    let mut replication = db.settings.replicate().await.unwrap();
    for temporary in [true, false] {
        let mut slot = db.slot();
        slot.temporary = temporary;
        slot.lock_timeout = Duration::from_millis(300);
        let began = Instant::now();
        let error = replication.create_slot(&slot).await.unwrap_err();
        assert!(error.is_lock_timeout(), "{error:?}");
        assert_eq!(error.retry(), api::Retry::After);
        assert!(began.elapsed() < PATIENCE / 2);
        let slots = format!(
            "SELECT count(*) FROM pg_replication_slots WHERE slot_name = '{}'",
            db.name
        );
        assert_eq!(db.value(&slots).await, "0");
    }
    // The connection can go on, and succeeds as soon as nobody is in the way.
    blocker.batch_execute("COMMIT").await.unwrap();
    let created = replication.create_slot(&db.slot()).await.unwrap();
    assert_eq!(created.name, db.name);
    db.drop_slot().await;
}

#[tokio::test]
async fn client_that_goes_away_while_it_waits_leaves_neither_backend_nor_slot() {
    let Some(server) = server() else { return };
    let db = Database::create(server).await;
    let blocker = db.settings.connect().await.unwrap();
    blocker
        .batch_execute("BEGIN; SELECT pg_current_xact_id()")
        .await
        .unwrap();
    let mut replication = db.settings.replicate().await.unwrap();
    let mut slot = db.slot();
    slot.lock_timeout = Duration::from_secs(2);
    let waiting = format!(
        "SELECT count(*) = 1 FROM pg_stat_activity WHERE datname = '{}' AND backend_type = 'walsender' AND wait_event_type = 'Lock'",
        db.name
    );
    tokio::select! {
        created = replication.create_slot(&slot) => panic!("{created:?} in spite of an open transaction"),
        () = db.wait_for(&waiting) => {}
    }
    drop(replication);
    db.wait_for(&format!(
        "SELECT count(*) = 0 FROM pg_stat_activity WHERE datname = '{}' AND backend_type = 'walsender'",
        db.name
    ))
    .await;
    let slots = format!(
        "SELECT count(*) FROM pg_replication_slots WHERE slot_name = '{}'",
        db.name
    );
    assert_eq!(db.value(&slots).await, "0");
    // The blocker was there all the time.
    blocker.batch_execute("COMMIT").await.unwrap();
}

#[tokio::test]
async fn exported_snapshot_shows_what_had_committed_and_goes_with_the_connection() {
    let Some(server) = server() else { return };
    let db = Database::create(server).await;
    db.run("CREATE TABLE t (id int); INSERT INTO t VALUES (1)").await;
    let mut replication = db.settings.replicate().await.unwrap();
    let mut slot = db.slot();
    slot.temporary = true;
    slot.snapshot = Snapshot::Export;
    let created = replication.create_slot(&slot).await.unwrap();
    db.run("INSERT INTO t VALUES (2)").await;
    let name = created.snapshot_name.expect("an exported snapshot has a name");
    let reader = db.settings.connect().await.unwrap();
    let begin = format!("BEGIN ISOLATION LEVEL REPEATABLE READ; SET TRANSACTION SNAPSHOT '{name}'");
    reader.batch_execute(&begin).await.unwrap();
    let row = reader.query_one("SELECT count(*) FROM t", &[]).await.unwrap();
    assert_eq!(row.get::<_, i64>(0), 1);
    drop(replication);
    let gone = format!(
        "SELECT count(*) = 0 FROM pg_replication_slots WHERE slot_name = '{}'",
        db.name
    );
    db.wait_for(&gone).await;
    reader.batch_execute("COMMIT").await.unwrap();
    assert!(
        reader.batch_execute(&begin).await.is_err(),
        "the snapshot ended with its exporter"
    );
}

#[tokio::test]
async fn failover_slot_is_made_or_refused_by_version() {
    let Some(server) = server() else { return };
    let db = Database::create(server).await;
    let mut replication = db.settings.replicate().await.unwrap();
    let mut slot = db.slot();
    slot.failover = true;
    let created = replication.create_slot(&slot).await;
    if db.major >= 17 {
        assert_eq!(created.unwrap().name, db.name);
        let sql = format!(
            "SELECT failover FROM pg_replication_slots WHERE slot_name = '{}'",
            db.name
        );
        assert_eq!(db.value(&sql).await, "t");
        return db.drop_slot().await;
    }
    let error = created.unwrap_err();
    assert!(
        matches!(error, ReplicationError::TooOld { needed: 17, .. }),
        "{error:?}"
    );
}

#[tokio::test]
async fn refusals_are_told_apart() {
    let Some(server) = server() else { return };
    let db = Database::create(server).await;
    let stream = db.stream(|_| {}).await;
    let options = highwater_plugin_postgres::replication::StreamOptions::newest(db.major, vec![db.name.clone()]);
    let at = highwater_plugin_postgres::replication::Lsn::ZERO;
    let replicate = || async { db.settings.replicate().await.unwrap() };
    let in_use = replicate().await.start(&db.name, at, &options).await.unwrap_err();
    assert!(in_use.is_in_use(), "{in_use:?}");
    assert_eq!(in_use.retry(), api::Retry::After);
    let missing = replicate().await.start("no_such_slot", at, &options).await.unwrap_err();
    assert!(missing.is_missing_object(), "{missing:?}");
    assert_eq!(missing.retry(), api::Retry::Operator);
    let twice = replicate().await.create_slot(&db.slot()).await.unwrap_err();
    assert_eq!(twice.sqlstate(), Some("42710"), "{twice:?}");
    drop(stream);
    db.drop_slot().await;
}
