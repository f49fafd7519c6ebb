//! Tables of every shape, read while another process writes them, with kills.

use std::process::{Child, Command};

use api::testing::Replica;
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use crate::driver::{App, Run, connect};

/// What the writing process is told by its environment.
const WRITER: &str = "HIGHWATER_TEST_WRITER";

/// A process that changes `t` until it is killed.
struct Writer(Child);

impl Writer {
    fn start(app: &App) -> Self {
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "shapes::writing_process", "--include-ignored", "--nocapture"])
            .env(WRITER, app.path())
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        Writer(child)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// Not a test by itself: the other process of the tests below.
#[test]
#[ignore = "run by the tests that need a second process"]
fn writing_process() {
    let Some(path) = std::env::var_os(WRITER) else { return };
    let conn = connect(std::path::Path::new(&path));
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    loop {
        conn.execute_batch("BEGIN IMMEDIATE").unwrap();
        for _ in 0..rng.random_range(1..6) {
            let (k, v) = (rng.random_range(0..900), rng.random_range(0..1_000_000));
            let text = match rng.random_range(0..10) {
                0..4 => format!("UPDATE t SET v = {v} WHERE n = {k}"),
                4..7 => format!(
                    "INSERT OR REPLACE INTO t(k, n, v) VALUES ('k{}', {k}, {v})",
                    rng.random_range(0..900)
                ),
                7..9 => format!("DELETE FROM t WHERE n = {k}"),
                _ => format!("UPDATE OR IGNORE t SET k = 'K{v}' WHERE n = {k}"),
            };
            conn.execute_batch(&text).unwrap();
        }
        conn.execute_batch(if rng.random_bool(0.1) { "ROLLBACK" } else { "COMMIT" })
            .unwrap();
        std::thread::sleep(std::time::Duration::from_micros(300));
    }
}

const ROWS: &str = "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 899) INSERT INTO t(k, n, v) SELECT 'k' || i, i, i * 7 FROM n";

/// Brings a destination up while the other process writes, with a kill after every few changesets; at the end it is equal.
async fn check(table: &str, is_resumable: bool) {
    let mut app = App::new(&format!("{table}; {ROWS}"), &["t"]);
    app.changeset_bytes_max = 8 << 10;
    let replica = Replica::new();
    let writer = Writer::start(&app);
    let mut begins = 0;
    for kill_after in [3, 6, 9, 12, 40] {
        let mut run = Run::start(&app, &replica).await;
        for _ in 0..kill_after {
            run.step().await.unwrap();
        }
        begins += run.count("begin_read t");
    }
    drop(writer);
    let mut run = Run::start(&app, &replica).await;
    run.until_equal(&app, &["t"]).await;
    begins += run.count("begin_read t");
    assert_eq!(begins == 1, is_resumable, "{table}: {begins} reads");
}

#[tokio::test(flavor = "multi_thread")]
async fn integer_key_is_resumed_page_by_page() {
    check("CREATE TABLE t(n INTEGER PRIMARY KEY, k TEXT UNIQUE, v INT)", true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn text_key_is_resumed_page_by_page() {
    check("CREATE TABLE t(k TEXT PRIMARY KEY NOT NULL, n INT UNIQUE, v INT)", true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn composite_key_without_rowid_is_resumed_page_by_page() {
    check(
        "CREATE TABLE t(k TEXT, n INT UNIQUE, v INT, PRIMARY KEY(k, n)) WITHOUT ROWID",
        true,
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn descending_key_is_resumed_page_by_page() {
    check(
        "CREATE TABLE t(k TEXT NOT NULL, n INT NOT NULL, v INT, PRIMARY KEY(n DESC, k DESC)) STRICT",
        true,
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn key_in_another_collation_is_read_in_one_window() {
    check(
        "CREATE TABLE t(k TEXT PRIMARY KEY NOT NULL COLLATE NOCASE, n INT UNIQUE, v INT)",
        false,
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn table_without_a_key_is_appended_and_nothing_is_missed() {
    let app = App::new(
        "CREATE TABLE t(v TEXT); INSERT INTO t VALUES ('a'), ('a'), ('b')",
        &["t"],
    );
    let replica = Replica::new();
    let mut run = Run::start(&app, &replica).await;
    let is_live = |run: &Run| run.checkpoint().streams.values().any(|state| state.is_live());
    run.until(is_live).await;
    app.run("INSERT INTO t VALUES ('c'); VACUUM; UPDATE t SET v = 'd' WHERE v = 'b'");
    run.until(|run| run.replica.row_count(&model::StreamId::new("t")) == 5)
        .await;
    assert_eq!(run.count("begin_read t"), 1);
}
