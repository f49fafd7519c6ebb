//! The slot: what is acknowledged, what is lost, what is somebody else's.

use api::testing::Replica;
use api::{Held, Share, Verdict};

use crate::changes::app;
use crate::driver::{App, DEADLINE, Run};

async fn flushed(app: &App) -> String {
    let client = app.database.client().await;
    let text = "SELECT confirmed_flush_lsn::text FROM pg_replication_slots WHERE slot_name = $1";
    client.query_one(text, &[&app.database.slot()]).await.unwrap().get(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn slot_moves_only_with_what_was_acknowledged() {
    let app = app!("CREATE TABLE t(id int PRIMARY KEY, v text)", ["t"]);
    let mut run = Run::start(&app, &Replica::new()).await;
    run.acknowledges = false;
    run.until_equal(&app, &["t"]).await;
    let before = flushed(&app).await;
    app.run("INSERT INTO t VALUES (1, 'one')").await;
    run.until_equal(&app, &["t"]).await;
    assert_eq!(flushed(&app).await, before, "nothing was acknowledged");
    run.control.acknowledge(run.checkpoint()).await.unwrap();
    let deadline = std::time::Instant::now() + DEADLINE;
    while flushed(&app).await == before {
        assert!(std::time::Instant::now() < deadline, "the slot stays at {before}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn slot_that_was_moved_on_is_a_hard_stop() {
    let app = app!("CREATE TABLE t(id int PRIMARY KEY, v text)", ["t"]);
    let mut run = Run::start(&app, &Replica::new()).await;
    run.acknowledges = false;
    run.until_equal(&app, &["t"]).await;
    let held = Held {
        destination: "warehouse".into(),
        checkpoint: run.checkpoint().clone(),
    };
    run.control.close().await.unwrap();
    while run.next().await.unwrap().is_some() {}
    drop(run);
    app.run("INSERT INTO t VALUES (1, 'one')").await;
    let advance = format!(
        "SELECT pg_replication_slot_advance('{}', pg_current_wal_lsn())",
        app.database.slot()
    );
    let deadline = std::time::Instant::now() + DEADLINE;
    while app.database.client().await.query(&advance, &[]).await.is_err() {
        assert!(std::time::Instant::now() < deadline, "the slot stays in use");
    }
    let (mut opened, _scratch) = app.open(&[held], &Share::alone(1 << 20)).await.unwrap();
    match opened.verdicts.remove(&"warehouse".into()) {
        Some(Verdict::PositionLost(error)) => {
            assert_eq!(error.code(), "E0263");
            assert_eq!(
                error.remedy(),
                Some("run `highwater resync shop --destination warehouse`")
            );
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn forget_removes_slot_and_publication_and_says_so() {
    let app = app!("CREATE TABLE t(id int PRIMARY KEY, v text)", ["t"]);
    let mut run = Run::start(&app, &Replica::new()).await;
    run.until_equal(&app, &["t"]).await;
    drop(run);
    let removed = app.source().forget(&"shop".into()).await.unwrap();
    assert_eq!(
        removed,
        [
            format!("replication slot `{}`", app.database.slot()),
            "publication `highwater_shop`".to_owned()
        ]
    );
    assert_eq!(app.source().forget(&"shop".into()).await.unwrap(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn no_temporary_slot_is_left_after_a_read() {
    let app = app!(
        "CREATE TABLE t(id int PRIMARY KEY, v text); INSERT INTO t SELECT g, 'v' FROM generate_series(1, 500) g",
        ["t"]
    );
    let mut run = Run::start(&app, &Replica::new()).await;
    run.until_equal(&app, &["t"]).await;
    let text = "SELECT count(*) FROM pg_replication_slots WHERE temporary AND database = current_database()";
    let deadline = std::time::Instant::now() + DEADLINE;
    loop {
        let left: i64 = app.database.client().await.query_one(text, &[]).await.unwrap().get(0);
        if left == 0 {
            break;
        }
        assert!(std::time::Instant::now() < deadline, "{left} temporary slots are left");
    }
}
