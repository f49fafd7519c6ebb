//! Windows beside transactions that do not end and DDL that waits.

use std::time::{Duration, Instant};

use api::testing::Replica;

use crate::changes::app;
use crate::driver::{App, DEADLINE, Run, public};

async fn count(app: &App, sql: &str) -> i64 {
    app.database.client().await.query_one(sql, &[]).await.unwrap().get(0)
}

async fn until(app: &App, sql: &str, expected: i64) {
    let deadline = std::time::Instant::now() + DEADLINE;
    loop {
        let found = count(app, sql).await;
        if found == expected {
            break;
        }
        assert!(
            std::time::Instant::now() < deadline,
            "{found}, expected {expected}: {sql}"
        );
        tokio::task::yield_now().await;
    }
}

const TEMPORARY: &str = "SELECT count(*) FROM pg_replication_slots WHERE temporary AND database = current_database()";
const WALSENDERS: &str =
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND backend_type = 'walsender'";

/// Creation of a slot waits for it, and a client that only goes away leaves backend and slot there until it ends.
#[tokio::test(flavor = "multi_thread")]
async fn wait_for_a_transaction_that_stays_open_leaves_nothing_behind_after_a_kill() {
    let mut app = app!(
        "CREATE TABLE t(id int PRIMARY KEY, v text); INSERT INTO t SELECT g, 'v' FROM generate_series(1, 500) g;
         CREATE TABLE other(id int)",
        ["t"]
    );
    let replica = Replica::new();
    // The pipeline's own slot is made before.
    drop(Run::start(&app, &replica).await);
    let (mut blocker, connection) = tokio_postgres::connect(&app.database.url(), tokio_postgres::NoTls)
        .await
        .unwrap();
    tokio::spawn(connection);
    let transaction = blocker.transaction().await.unwrap();
    transaction.execute("INSERT INTO other VALUES (1)", &[]).await.unwrap();
    app.spec["window_wait"] = "1s".into();
    let mut run = Run::start(&app, &replica).await;
    until(&app, TEMPORARY, 1).await;
    drop(run);
    until(&app, TEMPORARY, 0).await;
    until(&app, WALSENDERS, 0).await;
    // And tried again until the transaction ends.
    run = Run::start(&app, &replica).await;
    until(&app, TEMPORARY, 1).await;
    until(&app, TEMPORARY, 0).await;
    assert_eq!(run.replica.row_count(&public("t")), 0);
    transaction.commit().await.unwrap();
    run.until_equal(&app, &["t"]).await;
}

/// A reader's lock keeps DDL waiting, whose transaction keeps the next slot waiting: no deadlock, if the reader is done first.
#[tokio::test(flavor = "multi_thread")]
async fn ddl_that_waits_for_a_page_and_the_next_window_come_about() {
    let mut app = app!(
        "CREATE TABLE t(id int PRIMARY KEY, v text); CREATE TABLE other(id int);
         INSERT INTO t SELECT g, 'old' FROM generate_series(1, 5000) g",
        ["t"]
    );
    app.spec["window_max"] = "1ms".into();
    let mut run = Run::start(&app, &Replica::new()).await;
    run.until(|run| run.replica.row_count(&public("t")) >= 200).await;
    let (client, connection) = tokio_postgres::connect(&app.database.url(), tokio_postgres::NoTls)
        .await
        .unwrap();
    tokio::spawn(connection);
    let ddl = tokio::spawn(async move {
        client
            .batch_execute("BEGIN; INSERT INTO other VALUES (1); ALTER TABLE t ADD w text; COMMIT")
            .await
    });
    run.until_equal(&app, &["t"]).await;
    tokio::time::timeout(DEADLINE, ddl).await.unwrap().unwrap().unwrap();
    run.until_equal(&app, &["t"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn table_that_somebody_locks_waits_while_another_is_read() {
    let app = app!(
        "CREATE TABLE t(id int PRIMARY KEY, v text); CREATE TABLE u(id int PRIMARY KEY, v text);
         INSERT INTO t SELECT g, 'old' FROM generate_series(1, 6000) g; INSERT INTO u SELECT g, 'old' FROM generate_series(1, 6000) g",
        ["t", "u"]
    );
    let mut run = Run::start(&app, &Replica::new()).await;
    // The window is open: from now on it waits for no transaction.
    run.until(|run| run.replica.row_count(&public("t")) > 0).await;
    let (client, connection) = tokio_postgres::connect(&app.database.url(), tokio_postgres::NoTls)
        .await
        .unwrap();
    tokio::spawn(connection);
    // Nobody takes what is read, and yet the lock is had.
    let lock = client.batch_execute("BEGIN; LOCK TABLE t IN ACCESS EXCLUSIVE MODE");
    tokio::time::timeout(DEADLINE, lock).await.unwrap().unwrap();
    run.until(|run| run.replica.row_count(&public("u")) == 6000).await;
    assert!(run.replica.row_count(&public("t")) < 6000);
    client.batch_execute("COMMIT").await.unwrap();
    run.until_equal(&app, &["t", "u"]).await;
}

/// Random keys, a destination that is slow, and a stream beside it whose changes must not wait until all is read.
#[tokio::test(flavor = "multi_thread")]
async fn table_that_takes_too_long_in_one_piece_is_read_by_key_so_that_the_log_goes_on() {
    let mut app = app!(
        "CREATE TABLE t(id text COLLATE \"C\" PRIMARY KEY, v text); CREATE TABLE u(id int PRIMARY KEY, v text);
         INSERT INTO t SELECT md5(g::text), repeat('x', 1400) FROM generate_series(1, 9000) g; ANALYZE t",
        ["u", "t"]
    );
    app.changeset_bytes_max = 64 << 10;
    app.spec["page_rows"] = 10_000.into();
    app.spec["window_max"] = "1s".into();
    let mut run = Run::start(&app, &Replica::new()).await;
    run.until(|run| run.replica.row_count(&public("t")) > 0).await;
    let told: Vec<String> = {
        let found = app.source().check(&app.plan()).await.unwrap();
        found.iter().map(ToString::to_string).collect()
    };
    assert!(
        told.iter().any(|told| told.contains("read as it lies on disk")),
        "{told:?}"
    );
    app.run("INSERT INTO u VALUES (1, 'beside')").await;
    let written_at = Instant::now();
    while run.replica.row_count(&public("u")) == 0 {
        // A slow destination: all of the table would take it half a minute.
        tokio::time::sleep(Duration::from_millis(150)).await;
        assert!(run.step().await.unwrap());
    }
    let waited = written_at.elapsed();
    assert!(
        waited < Duration::from_secs(10),
        "the change of another table waited {waited:?}"
    );
    assert_eq!(run.count("end_read public.t"), 0, "and not because all was read");
    run.until_equal(&app, &["t", "u"]).await;
    assert_eq!(
        run.count("begin_read public.t"),
        2,
        "in one piece, and by key: {:?}",
        run.seen
    );
}

/// A snapshot that stays open keeps the whole database from being vacuumed.
#[tokio::test(flavor = "multi_thread")]
async fn snapshot_is_let_go_in_time_although_nobody_takes_what_was_read() {
    let mut app = app!(
        "CREATE TABLE t(id int PRIMARY KEY, v text); INSERT INTO t SELECT g, 'old' FROM generate_series(1, 6000) g",
        ["t"]
    );
    app.spec["window_max"] = "1s".into();
    let mut run = Run::start(&app, &Replica::new()).await;
    run.until(|run| run.replica.row_count(&public("t")) > 0).await;
    until(
        &app,
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND backend_type = 'client backend'
         AND pid <> pg_backend_pid() AND (backend_xmin IS NOT NULL OR state = 'idle in transaction')",
        0,
    )
    .await;
    assert!(run.replica.row_count(&public("t")) < 6000, "not because all was read");
    run.until_equal(&app, &["t"]).await;
}
