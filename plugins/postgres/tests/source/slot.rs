//! The slot: what is acknowledged, what is lost, what is somebody else's.

use api::testing::Replica;
use api::{Held, Share, Verdict};

use crate::changes::{app, owner};
use crate::driver::{App, DEADLINE, Run, public};

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
    let app = owner!("CREATE TABLE t(id int PRIMARY KEY, v text)", ["t"]);
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

#[tokio::test(flavor = "multi_thread")]
async fn slot_follows_what_other_databases_write() {
    let app = app!("CREATE TABLE t(id int PRIMARY KEY, v text)", ["t"]);
    let mut run = Run::start(&app, &Replica::new()).await;
    run.until_equal(&app, &["t"]).await;
    let other = crate::database::Database::new().await.unwrap();
    other
        .run("CREATE TABLE noise(id int, v text); INSERT INTO noise SELECT g, repeat('x', 500) FROM generate_series(1, 2000) g")
        .await;
    let end: String = other
        .client()
        .await
        .query_one("SELECT pg_current_wal_lsn()::text", &[])
        .await
        .unwrap()
        .get(0);
    let is_past = format!("SELECT confirmed_flush_lsn >= '{end}' FROM pg_replication_slots WHERE slot_name = $1");
    let deadline = std::time::Instant::now() + DEADLINE;
    loop {
        let client = app.database.client().await;
        if client
            .query_one(&is_past, &[&app.database.slot()])
            .await
            .unwrap()
            .get(0)
        {
            break;
        }
        assert!(std::time::Instant::now() < deadline, "the slot stays before {end}");
        // As the runtime does every few seconds; nothing is written to this database.
        run.control.head().await.unwrap();
        let _ = tokio::time::timeout(std::time::Duration::from_millis(200), run.step()).await;
    }
    assert_eq!(run.replica.row_count(&public("t")), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn slot_of_ours_that_nobody_reads_is_reported_with_the_statement_that_drops_it() {
    let app = app!("CREATE TABLE t(id int PRIMARY KEY, v text)", ["t"]);
    let forgotten = format!("highwater_forgotten_{}", app.database.name);
    let make = format!("SELECT pg_create_logical_replication_slot('{forgotten}', 'pgoutput')");
    app.database.client().await.query(&make, &[]).await.unwrap();
    let mut run = Run::start(&app, &Replica::new()).await;
    run.until_equal(&app, &["t"]).await;
    let found = app.source().check(&app.plan()).await.unwrap();
    let about = |text: &str| found.iter().find(|error| error.to_string().contains(text));
    let told = about(&format!("`{forgotten}`")).unwrap();
    assert_eq!(told.code(), "W0259");
    assert!(told.to_string().contains("MiB of log"), "{told}");
    assert_eq!(
        told.remedy().unwrap(),
        format!("if no pipeline needs it: SELECT pg_drop_replication_slot('{forgotten}');")
    );
    let own = about(&format!("`{}`", app.database.slot())).unwrap();
    assert_eq!(own.code(), "N0260", "{own}");
    let drop = format!("SELECT pg_drop_replication_slot('{forgotten}')");
    app.database.client().await.query(&drop, &[]).await.unwrap();
}
