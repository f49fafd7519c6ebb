//! Databases that are not what they were: restored, copied over, replaced.

use api::Verdict;
use api::testing::Replica;

use crate::driver::{App, Run};

const SCHEMA: &str = "CREATE TABLE t(id INTEGER PRIMARY KEY, v TEXT); INSERT INTO t VALUES (1, 'a')";

/// Copies the database file as a backup would, while nothing is connected to the copy.
fn backup(app: &App) -> std::path::PathBuf {
    let to = app.dir.path().join("backup.db");
    let _ = std::fs::remove_file(&to);
    app.conn
        .execute("VACUUM INTO ?1", [to.to_string_lossy().as_ref()])
        .unwrap();
    to
}

fn restore(app: &mut App, backup: &std::path::Path) {
    let away = rusqlite::Connection::open_in_memory().unwrap();
    drop(std::mem::replace(&mut app.conn, away));
    for suffix in ["-wal", "-shm"] {
        let _ = std::fs::remove_file(app.dir.path().join(format!("app.db{suffix}")));
    }
    std::fs::rename(backup, app.path()).unwrap();
    app.conn = crate::driver::connect(&app.path());
    app.conn.pragma_update(None, "journal_mode", "WAL").unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn destination_beyond_a_restored_backup_is_told_and_comes_back_by_a_read() {
    let mut app = App::new(SCHEMA, &["t"]);
    let (ahead, behind) = (Replica::new(), Replica::new());
    let mut run = Run::start(&app, &behind).await;
    run.acknowledges = false;
    run.until_equal(&app, &["t"]).await;
    drop(run);
    let saved = backup(&app);
    app.run("INSERT INTO t VALUES (2, 'lost in the restore')");
    let mut run = Run::start(&app, &ahead).await;
    run.acknowledges = false;
    run.until_equal(&app, &["t"]).await;
    drop(run);
    restore(&mut app, &saved);
    // The restored database goes on, and uses the same sequence numbers for other changes.
    for id in 10..40 {
        app.run(&format!("INSERT INTO t VALUES ({id}, 'after the restore')"));
    }
    let run = Run::start(&app, &ahead).await;
    assert!(matches!(run.verdict, Verdict::OtherHistory(_)), "{:?}", run.verdict);
    drop(run);
    // One that is not beyond the backup goes on as if nothing had happened.
    let mut run = Run::start(&app, &behind).await;
    assert!(matches!(run.verdict, Verdict::Continue), "{:?}", run.verdict);
    run.until_equal(&app, &["t"]).await;
    drop(run);
    // The other is brought back by a resync: it forgets where it stood, and is read anew.
    let mut run = Run::start(&app, &ahead).await;
    run.forget_position().await;
    let request = api::ReadExisting {
        streams: vec![model::StreamId::new("t")],
        destinations: None,
        empty_first: true,
    };
    run.control.read_existing(request).await.unwrap();
    run.until_equal(&app, &["t"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn file_replaced_while_it_is_read_is_noticed() {
    let app = App::new(SCHEMA, &["t"]);
    let replica = Replica::new();
    let mut run = Run::start(&app, &replica).await;
    run.until_equal(&app, &["t"]).await;
    let saved = backup(&app);
    std::fs::rename(saved, app.path()).unwrap();
    let error = loop {
        if let Err(error) = run.next().await {
            break error;
        }
    };
    assert_eq!(error.code(), "E0217", "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn position_before_what_was_pruned_is_lost() {
    let app = App::new(SCHEMA, &["t"]);
    let replica = Replica::new();
    let mut run = Run::start(&app, &replica).await;
    run.until_equal(&app, &["t"]).await;
    let old = replica.fork();
    app.run("INSERT INTO t VALUES (2, 'b')");
    run.until_equal(&app, &["t"]).await;
    app.run("INSERT INTO t VALUES (3, 'c')");
    run.until_equal(&app, &["t"]).await;
    let left = || -> i64 {
        app.conn
            .query_row(
                "SELECT count(*) FROM _highwater_shop_changes WHERE layout <> 0",
                [],
                |row| row.get(0),
            )
            .unwrap()
    };
    let deadline = std::time::Instant::now() + crate::driver::DEADLINE;
    while left() > 0 {
        assert!(
            std::time::Instant::now() < deadline,
            "{} change rows are never pruned",
            left()
        );
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    drop(run);
    let run = Run::start(&app, &old).await;
    let Verdict::PositionLost(error) = &run.verdict else {
        panic!("{:?}", run.verdict)
    };
    assert_eq!(error.code(), "E0228");
    assert!(
        error
            .remedy()
            .is_some_and(|hint| hint.contains("highwater resync shop --destination copy")),
        "{error:?}"
    );
}
