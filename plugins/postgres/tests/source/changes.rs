//! Changes as the log tells them: what is sent, what is not, and in which shape.

use api::testing::Replica;

use crate::driver::{App, Run, public};

macro_rules! app {
    ($schema:expr, $streams:expr) => {
        match App::new($schema, &$streams).await {
            Some(app) => app,
            None => return,
        }
    };
}
pub(crate) use app;

/// Read by the role that owns the tables.
macro_rules! owner {
    ($schema:expr, $streams:expr) => {
        match App::as_owner($schema, &$streams).await {
            Some(app) => app,
            None => return,
        }
    };
}
pub(crate) use owner;

#[tokio::test(flavor = "multi_thread")]
async fn truncate_of_several_tables_empties_each_and_rows_that_follow_stay() {
    let app = app!(
        "CREATE TABLE a(id int PRIMARY KEY, v text); CREATE TABLE b(id int PRIMARY KEY, v text);
         INSERT INTO a SELECT g, 'a' FROM generate_series(1, 300) g; INSERT INTO b SELECT g, 'b' FROM generate_series(1, 300) g",
        ["a", "b"]
    );
    let replica = Replica::new();
    let mut run = Run::start(&app, &replica).await;
    run.until_equal(&app, &["a", "b"]).await;
    app.run("TRUNCATE a, b").await;
    run.until_equal(&app, &["a", "b"]).await;
    assert_eq!((run.count("truncate public.a"), run.count("truncate public.b")), (1, 1));
    app.run("BEGIN; INSERT INTO a VALUES (1, 'x'); INSERT INTO b VALUES (1, 'kept'); TRUNCATE a; INSERT INTO a VALUES (2, 'y'); COMMIT")
        .await;
    run.until_equal(&app, &["a", "b"]).await;
    assert_eq!(run.count("truncate public.a"), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn truncate_in_a_transaction_shows_with_its_rows_whatever_part_was_the_last_before_a_kill() {
    const PARTS: [&str; 5] = ["first", "truncate public.a", "middle", "truncate public.a", "last"];
    let app = app!(
        "CREATE TABLE a(id int PRIMARY KEY, v text); INSERT INTO a SELECT g, 'a' FROM generate_series(1, 20) g",
        ["a"]
    );
    let replica = Replica::new();
    let mut run = Run::start(&app, &replica).await;
    run.acknowledges = false;
    run.until_equal(&app, &["a"]).await;
    let shown = || replica.rows(&public("a"));
    let before = shown();
    app.run("BEGIN; UPDATE a SET v = 'b' WHERE id = 1; TRUNCATE a; INSERT INTO a VALUES (2, 'y'); TRUNCATE a; INSERT INTO a VALUES (3, 'z'); COMMIT")
        .await;
    for taken in 1..=PARTS.len() {
        drop(run);
        run = Run::start(&app, &replica).await;
        run.acknowledges = false;
        let parts = |run: &Run| {
            run.seen
                .iter()
                .filter(|seen| *seen != "whole")
                .cloned()
                .collect::<Vec<_>>()
        };
        run.until(|run| parts(run).len() == taken).await;
        assert_eq!(parts(&run), PARTS[..taken]);
        assert_eq!(shown() == before, taken < PARTS.len(), "after {taken} parts");
    }
    run.until_equal(&app, &["a"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn large_value_that_was_not_sent_stays_as_it_is() {
    let app = app!(
        "CREATE TABLE t(id int PRIMARY KEY, n int, big text);
         ALTER TABLE t ALTER big SET STORAGE EXTERNAL;
         INSERT INTO t SELECT g, 0, repeat(md5(g::text), 200) FROM generate_series(1, 5) g",
        ["t"]
    );
    let mut run = Run::start(&app, &Replica::new()).await;
    run.until_equal(&app, &["t"]).await;
    app.run("UPDATE t SET n = 1 WHERE id < 4; UPDATE t SET id = 100 WHERE id = 5; UPDATE t SET big = 'new' WHERE id = 4; DELETE FROM t WHERE id = 1")
        .await;
    run.until_equal(&app, &["t"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn key_change_without_the_large_value_while_pages_are_read_begins_the_read_again() {
    let app = app!(
        "CREATE TABLE t(id int PRIMARY KEY, n int, big text);
         ALTER TABLE t ALTER big SET STORAGE EXTERNAL;
         INSERT INTO t SELECT g, 0, repeat(md5(g::text), 100) FROM generate_series(1, 1000) g",
        ["t"]
    );
    let replica = Replica::new();
    let mut run = Run::start(&app, &replica).await;
    run.until(|run| run.replica.row_count(&public("t")) > 200).await;
    drop(run);
    // Into a page that is held, out of one that is not.
    app.run("BEGIN; UPDATE t SET n = 7 WHERE id = 500; UPDATE t SET id = -1 WHERE id = 900; COMMIT")
        .await;
    let mut run = Run::start(&app, &replica).await;
    run.until_equal(&app, &["t"]).await;
    assert_eq!(run.count("begin_read public.t"), 1, "{:?}", run.seen);
}

#[tokio::test(flavor = "multi_thread")]
async fn whole_old_rows_make_key_changes_of_rows_without_a_key() {
    let app = app!(
        "CREATE TABLE t(id int, v text); ALTER TABLE t REPLICA IDENTITY FULL;
         INSERT INTO t SELECT g, 'v' FROM generate_series(1, 500) g",
        ["t"]
    );
    let mut app = app;
    app.streams[0].key = Some(vec!["id".to_owned()]);
    let mut run = Run::start(&app, &Replica::new()).await;
    run.until_equal(&app, &["t"]).await;
    app.run("UPDATE t SET id = -id WHERE id < 10; DELETE FROM t WHERE id > 400; UPDATE t SET v = NULL WHERE id = 20")
        .await;
    run.until_equal(&app, &["t"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn columns_that_come_and_go_in_the_middle_of_a_transaction_are_followed() {
    let app = app!("CREATE TABLE t(id int PRIMARY KEY, a text, b text)", ["t"]);
    let mut run = Run::start(&app, &Replica::new()).await;
    run.until_equal(&app, &["t"]).await;
    app.run(
        "BEGIN; INSERT INTO t VALUES (1, 'a', 'b'); ALTER TABLE t ADD c text; INSERT INTO t VALUES (2, 'a', 'b', 'c');
         ALTER TABLE t DROP b; INSERT INTO t VALUES (3, 'a', 'c'); UPDATE t SET c = 'later' WHERE id = 1; COMMIT;
         ALTER TABLE t RENAME a TO z; INSERT INTO t VALUES (4, 'z', 'c')",
    )
    .await;
    let last = [("id".to_owned(), Some("4".to_owned()))];
    run.until(|run| {
        let rows = run.replica.rows(&public("t")).unwrap_or_default();
        rows.iter()
            .any(|row| last.iter().all(|(name, value)| row.get(name) == Some(value)))
    })
    .await;
    let rows = run.replica.rows(&public("t")).unwrap();
    let c: Vec<Option<&str>> = rows.iter().map(|row| row["c"].as_deref()).collect();
    assert_eq!(c, [Some("later"), Some("c"), Some("c"), Some("c")]);
    assert_eq!(rows[3]["z"].as_deref(), Some("z"));
}

#[tokio::test(flavor = "multi_thread")]
async fn rolled_back_work_never_arrives() {
    let app = app!("CREATE TABLE t(id int PRIMARY KEY, v text)", ["t"]);
    let mut run = Run::start(&app, &Replica::new()).await;
    run.until_equal(&app, &["t"]).await;
    app.run(
        "BEGIN; INSERT INTO t VALUES (1, 'no'); ROLLBACK;
         BEGIN; INSERT INTO t VALUES (2, 'yes'); SAVEPOINT s; INSERT INTO t VALUES (3, 'no'); ROLLBACK TO s; INSERT INTO t VALUES (4, 'yes'); COMMIT",
    )
    .await;
    run.until_equal(&app, &["t"]).await;
    assert_eq!(run.replica.row_count(&public("t")), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_several_columns_are_read_page_by_page() {
    let app = app!(
        "CREATE TABLE t(a text COLLATE \"C\", b int, v text, PRIMARY KEY (b, a));
         INSERT INTO t SELECT 'k''' || (g % 7), g / 7, 'v' FROM generate_series(1, 1000) g",
        ["t"]
    );
    let replica = Replica::new();
    let mut run = Run::start(&app, &replica).await;
    run.until(|run| run.replica.row_count(&public("t")) > 300).await;
    app.run("UPDATE t SET v = 'w' WHERE b % 3 = 0; UPDATE t SET b = b + 1000 WHERE b % 10 = 1; DELETE FROM t WHERE b % 5 = 0")
        .await;
    drop(run);
    let mut run = Run::start(&app, &replica).await;
    run.until_equal(&app, &["t"]).await;
    assert_eq!(run.count("begin_read public.t"), 0, "the read went on: {:?}", run.seen);
}

#[tokio::test(flavor = "multi_thread")]
async fn partitioned_table_is_one_stream() {
    let app = app!(
        "CREATE TABLE t(id int PRIMARY KEY, v text) PARTITION BY RANGE (id);
         CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (0) TO (100); CREATE TABLE t2 PARTITION OF t FOR VALUES FROM (100) TO (1000);
         INSERT INTO t SELECT g, 'v' FROM generate_series(1, 300) g",
        ["t"]
    );
    let mut run = Run::start(&app, &Replica::new()).await;
    run.until_equal(&app, &["t"]).await;
    app.run("UPDATE t SET id = 400 WHERE id = 5; DELETE FROM t WHERE id = 150; UPDATE t SET v = 'w' WHERE id = 7")
        .await;
    run.until_equal(&app, &["t"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn generated_columns_are_left_out_of_rows_and_changes_alike() {
    let app = app!(
        "CREATE TABLE t(id int PRIMARY KEY, v text, g int GENERATED ALWAYS AS (id * 2) STORED);
         INSERT INTO t(id, v) VALUES (1, 'one')",
        ["t"]
    );
    let mut run = Run::start(&app, &Replica::new()).await;
    run.until(|run| run.replica.row_count(&public("t")) == 1).await;
    app.run("INSERT INTO t(id, v) VALUES (2, 'two')").await;
    run.until(|run| run.replica.row_count(&public("t")) == 2).await;
    let rows = run.replica.rows(&public("t")).unwrap();
    assert!(rows.iter().all(|row| !row.contains_key("g")), "{rows:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn transactions_sent_while_they_run_count_when_they_commit() {
    let mut app = app!(
        "CREATE TABLE t(id int PRIMARY KEY, v text); CREATE TABLE u(id int PRIMARY KEY, v text)",
        ["t", "u"]
    );
    app.spec["streaming"] = true.into();
    app.changeset_bytes_max = 64 << 10;
    let mut run = Run::start(&app, &Replica::new()).await;
    run.until_equal(&app, &["t", "u"]).await;
    app.run(
        "BEGIN; INSERT INTO t SELECT g, repeat('x', 1000) FROM generate_series(1, 1500) g;
         SAVEPOINT s; INSERT INTO t SELECT g, repeat('no', 500) FROM generate_series(1501, 3000) g; ROLLBACK TO s;
         INSERT INTO u VALUES (1, 'one'); UPDATE t SET v = 'last' WHERE id % 100 = 0; COMMIT;
         BEGIN; INSERT INTO u SELECT g, repeat('no', 500) FROM generate_series(2, 1500) g; ROLLBACK; INSERT INTO u VALUES (2, 'two')",
    )
    .await;
    run.until_equal(&app, &["t", "u"]).await;
    let text = "SELECT stream_txns FROM pg_stat_replication_slots WHERE slot_name = $1";
    let client = app.database.client().await;
    let deadline = std::time::Instant::now() + crate::driver::DEADLINE;
    loop {
        let row = client.query_one(text, &[&app.database.slot()]).await.unwrap();
        if row.get::<_, i64>(0) > 0 {
            break;
        }
        assert!(std::time::Instant::now() < deadline, "nothing was streamed");
        app.run("INSERT INTO u SELECT max(id) + 1, 'more' FROM u").await;
        run.until_equal(&app, &["u"]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn prepared_transaction_arrives_whole_when_it_is_committed() {
    let app = app!("CREATE TABLE t(id int PRIMARY KEY, v text)", ["t"]);
    let mut run = Run::start(&app, &Replica::new()).await;
    run.until_equal(&app, &["t"]).await;
    let name = &app.database.name;
    app.run(&format!(
        "BEGIN; INSERT INTO t VALUES (1, 'a'); INSERT INTO t VALUES (2, 'b'); PREPARE TRANSACTION 'kept_{name}'"
    ))
    .await;
    app.run(&format!(
        "BEGIN; INSERT INTO t VALUES (8, 'no'); PREPARE TRANSACTION 'not_{name}'"
    ))
    .await;
    app.run("INSERT INTO t VALUES (5, 'between')").await;
    run.until(|run| run.replica.row_count(&public("t")) > 0).await;
    assert_eq!(
        run.replica.row_count(&public("t")),
        1,
        "nothing of what is only prepared"
    );
    // Prepared before a kill, committed after it.
    let replica = run.replica.clone();
    drop(run);
    let mut run = Run::start(&app, &replica).await;
    app.run(&format!("ROLLBACK PREPARED 'not_{name}'")).await;
    app.run(&format!("COMMIT PREPARED 'kept_{name}'")).await;
    run.until(|run| run.replica.row_count(&public("t")) > 1).await;
    assert_eq!(
        run.replica.row_count(&public("t")),
        3,
        "both rows at once: {:?}",
        run.seen
    );
    run.until_equal(&app, &["t"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_that_inherit_are_streams_of_their_own() {
    let app = app!(
        "CREATE TABLE parent(id int PRIMARY KEY, v text); CREATE TABLE child(PRIMARY KEY (id)) INHERITS (parent);
         INSERT INTO parent SELECT g, 'p' FROM generate_series(1, 250) g; INSERT INTO child SELECT g, 'c' FROM generate_series(1, 250) g",
        ["parent", "child"]
    );
    let mut run = Run::start(&app, &Replica::new()).await;
    run.until(|run| run.count("end_read public.parent") > 0).await;
    run.until(|run| run.replica.row_count(&public("child")) == 250).await;
    assert_eq!(run.replica.row_count(&public("parent")), 250, "its own rows only");
    app.run("UPDATE parent SET v = 'w' WHERE id = 7").await;
    run.until_equal(&app, &["child"]).await;
}

/// From 18 on.
#[tokio::test(flavor = "multi_thread")]
async fn generated_columns_that_are_published_are_in_rows_and_changes_alike() {
    let mut app = app!(
        "CREATE TABLE t(id int PRIMARY KEY, v text, g int GENERATED ALWAYS AS (id * 2) STORED);
         INSERT INTO t(id, v) SELECT g, 'v' FROM generate_series(1, 250) g",
        ["t"]
    );
    let client = app.database.client().await;
    let version = client
        .query_one("SELECT current_setting('server_version_num')::int4", &[])
        .await
        .unwrap();
    if version.get::<_, i32>(0) < 180_000 {
        return println!("skipped: PostgreSQL before 18 does not publish generated columns");
    }
    app.run("CREATE PUBLICATION theirs FOR TABLE t WITH (publish_generated_columns = stored, publish_via_partition_root = true)")
        .await;
    app.spec["publication"] = "theirs".into();
    let mut run = Run::start(&app, &Replica::new()).await;
    run.until_equal(&app, &["t"]).await;
    app.run("INSERT INTO t(id, v) VALUES (1000, 'new'); UPDATE t SET id = 2000 WHERE id = 7")
        .await;
    run.until_equal(&app, &["t"]).await;
    let rows = run.replica.rows(&public("t")).unwrap();
    assert!(rows.iter().all(|row| row["g"].is_some()), "{rows:?}");
}
