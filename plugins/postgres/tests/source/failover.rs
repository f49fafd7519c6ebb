//! A standby takes over: what is there goes on, what is not is said.

use std::sync::Arc;

use api::testing::Replica;
use api::{Held, Share, Verdict};
use test_systems::{Postgres, PostgresOptions};
use tokio_postgres::{Client, NoTls};

use crate::driver::{App, DEADLINE, Run};

async fn connect(server: &Postgres, database: &str) -> Arc<Client> {
    let deadline = std::time::Instant::now() + DEADLINE;
    loop {
        match tokio_postgres::connect(&server.url(database), NoTls).await {
            Ok((client, connection)) => {
                tokio::spawn(connection);
                return Arc::new(client);
            }
            Err(error) => assert!(std::time::Instant::now() < deadline, "{error}"),
        }
    }
}

async fn until(client: &Client, sql: &str) {
    let deadline = std::time::Instant::now() + DEADLINE;
    loop {
        let row = client.query_one(sql, &[]).await.unwrap();
        if row.get::<_, Option<bool>>(0) == Some(true) {
            return;
        }
        assert!(std::time::Instant::now() < deadline, "never true: {sql}");
        tokio::task::yield_now().await;
    }
}

/// A primary with a table, and a standby that follows it.
async fn pair(settings: &[(&str, &str)], of_standby: &[(&str, &str)]) -> Option<(Postgres, Postgres)> {
    let mut options = PostgresOptions::default().set("fsync", "off");
    for (name, value) in settings {
        options = options.set(name, value);
    }
    let mut primary = match Postgres::start_with(&options) {
        Ok(server) => server,
        Err(missing) => {
            println!("skipped: {missing}");
            return None;
        }
    };
    let client = connect(&primary, "postgres").await;
    client
        .batch_execute(
            "CREATE TABLE t(id int PRIMARY KEY, v text); INSERT INTO t SELECT g, 'v' FROM generate_series(1, 300) g;
             SELECT pg_create_physical_replication_slot('standby')",
        )
        .await
        .unwrap();
    drop(client);
    let standby = primary.standby(of_standby);
    Some((primary, standby))
}

/// What the destination holds when the primary goes.
async fn held_of(app: &App, replica: &Replica) -> Held {
    let mut run = Run::start(app, replica).await;
    run.until_equal(app, &["t"]).await;
    app.run("INSERT INTO t VALUES (1000, 'before')").await;
    run.until_equal(app, &["t"]).await;
    Held {
        destination: "warehouse".into(),
        checkpoint: run.checkpoint().clone(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn promoted_standby_without_the_slot_is_a_lost_position() {
    let Some((primary, standby)) = pair(&[], &[]).await else {
        return;
    };
    let app = App::on(&primary, "postgres", &["t"]);
    let held = held_of(&app, &Replica::new()).await;
    let follower = connect(&standby, "postgres").await;
    until(&follower, "SELECT count(*) = 301 FROM t").await;
    drop(primary);
    follower.query("SELECT pg_promote()", &[]).await.unwrap();
    until(&follower, "SELECT NOT pg_is_in_recovery()").await;
    let app = App::on(&standby, "postgres", &["t"]);
    let (mut opened, _scratch) = app.open(&[held], &Share::alone(1 << 20)).await.unwrap();
    match opened.verdicts.remove(&"warehouse".into()) {
        Some(Verdict::PositionLost(error)) => assert_eq!(
            (error.code(), error.remedy()),
            ("E0263", Some("run `highwater resync shop --destination warehouse`"))
        ),
        other => panic!("{other:?}"),
    }
}

/// From 17 on a slot follows to the standby, if asked to.
#[tokio::test(flavor = "multi_thread")]
async fn promoted_standby_with_the_slot_goes_on_where_the_primary_ended() {
    let of_standby = [
        ("sync_replication_slots", "on"),
        ("hot_standby_feedback", "on"),
        ("primary_slot_name", "standby"),
    ];
    let can = Postgres::start().is_ok_and(|server| server.major() >= 17);
    if !can {
        return println!("skipped: PostgreSQL before 17 has no failover slots");
    }
    let Some((primary, standby)) = pair(&[], &of_standby).await else {
        return;
    };
    let mut app = App::on(&primary, "postgres", &["t"]);
    app.spec["failover"] = true.into();
    let replica = Replica::new();
    let mut run = Run::start(&app, &replica).await;
    run.until_equal(&app, &["t"]).await;
    let leader = connect(&primary, "postgres").await;
    let follower = connect(&standby, "postgres").await;
    // A slot is there for good once the primary's own has moved past where the standby's began.
    let is_synced =
        "SELECT coalesce(bool_or(synced AND NOT temporary), false) FROM pg_replication_slots WHERE slot_name = 'shop'";
    let deadline = std::time::Instant::now() + DEADLINE;
    let mut id = 1000;
    while !follower.query_one(is_synced, &[]).await.unwrap().get::<_, bool>(0) {
        assert!(
            std::time::Instant::now() < deadline,
            "the slot does not come: {}",
            standby.log()
        );
        id += 1;
        leader
            .batch_execute(&format!(
                "INSERT INTO t VALUES ({id}, 'x'); SELECT pg_log_standby_snapshot()"
            ))
            .await
            .unwrap();
        run.until_equal(&app, &["t"]).await;
    }
    app.run("INSERT INTO t VALUES (500, 'not seen yet')").await;
    drop(run);
    until(&follower, "SELECT count(*) = 1 FROM t WHERE id = 500").await;
    drop((leader, primary));
    follower.query("SELECT pg_promote()", &[]).await.unwrap();
    until(&follower, "SELECT NOT pg_is_in_recovery()").await;
    let app = App::on(&standby, "postgres", &["t"]);
    app.run("INSERT INTO t VALUES (501, 'after')").await;
    let mut run = Run::start(&app, &replica).await;
    run.until_equal(&app, &["t"]).await;
    assert_eq!(run.count("begin_read public.t"), 0, "it went on: {:?}", run.seen);
}
