//! Much at once: large transactions, large backlogs, large streams in one window, little memory.

use api::testing::Replica;
use api::{Share, Verdict};

use crate::driver::{App, Run};

const INSERT: &str = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 30000)
    INSERT INTO t SELECT coalesce((SELECT max(id) FROM t), 0) + i, 'value number ' || i FROM n";

#[tokio::test(flavor = "multi_thread")]
async fn large_transaction_is_cut_into_parts_of_the_size_asked_for() {
    let mut app = App::new("CREATE TABLE t(id INTEGER PRIMARY KEY, v TEXT)", &["t"]);
    app.changeset_bytes_max = 64 << 10;
    let replica = Replica::new();
    let memory = Share::alone(256 << 10);
    let mut run = Run::with_memory(&app, &replica, &memory).await;
    run.until_equal(&app, &["t"]).await;
    app.run(INSERT);
    run.until_equal(&app, &["t"]).await;
    assert!(
        run.count("first") == 1 && run.count("last") == 1 && run.count("middle") > 10,
        "{:?}",
        run.seen
    );
    assert!(run.size_bytes_max < 80 << 10, "a part of {} bytes", run.size_bytes_max);
}

#[tokio::test(flavor = "multi_thread")]
async fn backlog_of_what_was_written_while_nothing_ran_is_one_interval() {
    let mut app = App::new("CREATE TABLE t(id INTEGER PRIMARY KEY, v TEXT)", &["t"]);
    app.changeset_bytes_max = 64 << 10;
    let replica = Replica::new();
    let mut run = Run::start(&app, &replica).await;
    run.until_equal(&app, &["t"]).await;
    drop(run);
    for _ in 0..3 {
        app.run(INSERT);
    }
    let mut run = Run::start(&app, &replica).await;
    assert!(matches!(run.verdict, Verdict::Continue));
    run.until_equal(&app, &["t"]).await;
    assert_eq!((run.count("first"), run.count("last")), (1, 1), "{:?}", run.seen);
}

#[tokio::test(flavor = "multi_thread")]
async fn marks_bound_what_is_one_interval_while_it_runs() {
    let mut app = App::new("CREATE TABLE t(id INTEGER PRIMARY KEY, v TEXT)", &["t"]);
    app.changeset_bytes_max = 64 << 10;
    let replica = Replica::new();
    let mut run = Run::start(&app, &replica).await;
    run.until_equal(&app, &["t"]).await;
    let marks = || -> i64 {
        app.conn
            .query_row(
                "SELECT count(*) FROM _highwater_shop_changes WHERE layout = 0",
                [],
                |row| row.get(0),
            )
            .unwrap()
    };
    // The reader does not read on, and marks are written all the same.
    let deadline = std::time::Instant::now() + crate::driver::DEADLINE;
    let before = marks();
    while marks() < before + 3 {
        assert!(std::time::Instant::now() < deadline, "no marks");
        for _ in 0..40 {
            app.run("INSERT INTO t SELECT coalesce((SELECT max(id) FROM t), 0) + 1, 'x'");
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    run.until_equal(&app, &["t"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stream_in_one_window_may_be_larger_than_memory() {
    let mut app = App::new(
        "CREATE TABLE t(id TEXT PRIMARY KEY NOT NULL COLLATE NOCASE, v TEXT);
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000) INSERT INTO t SELECT 'k' || i, 'v' || i FROM n",
        &["t"],
    );
    app.changeset_bytes_max = 64 << 10;
    app.spec["page_rows"] = 100_000.into();
    let replica = Replica::new();
    let mut run = Run::with_memory(&app, &replica, &Share::alone(128 << 10)).await;
    for _ in 0..4 {
        run.step().await.unwrap();
    }
    app.run("UPDATE t SET v = 'changed' WHERE id IN ('k1', 'K20000'); DELETE FROM t WHERE id = 'k5'");
    run.until_equal(&app, &["t"]).await;
    assert!(run.size_bytes_max < 80 << 10, "a page of {} bytes", run.size_bytes_max);
}
