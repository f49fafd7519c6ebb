//! Existing rows on several connections: by key and as they lie on disk, whatever the key, and with little memory.

use api::Share;
use api::testing::Replica;

use crate::changes::app;
use crate::driver::{App, DEADLINE, Run, public};

/// 2,000 rows of about half a kilobyte: some 150 blocks.
const WIDE: &str = "repeat(md5(g::text), 15) FROM generate_series(1, 2000) g";

/// Reads a table while it changes, and what follows.
async fn is_read_whole(columns: &str, key: &str, change: &str) {
    let mut app = app!(
        &format!(
            "CREATE TABLE t({columns}, v text); ALTER TABLE t REPLICA IDENTITY FULL; INSERT INTO t SELECT {key}, {WIDE}"
        ),
        ["t"]
    );
    // Where the table has no key, the user says what it is.
    app.streams[0].key = Some(vec!["id".to_owned()]);
    let mut run = Run::start(&app, &Replica::new()).await;
    run.until(|run| run.replica.row_count(&public("t")) > 0).await;
    app.run(change).await;
    run.until_equal(&app, &["t"]).await;
    app.run("UPDATE t SET v = 'last' WHERE v LIKE 'a%'").await;
    run.until_equal(&app, &["t"]).await;
    assert_eq!(run.count("begin_read public.t"), 1, "{:?}", run.seen);
}

macro_rules! table {
    ($name:ident, $columns:expr, $key:expr, $change:expr) => {
        #[tokio::test(flavor = "multi_thread")]
        async fn $name() {
            is_read_whole($columns, $key, $change).await;
        }
    };
}

table!(
    table_without_a_key_is_read_in_ranges_of_blocks,
    "id int",
    "g",
    "UPDATE t SET v = 'changed' WHERE id % 10 = 0; DELETE FROM t WHERE id % 7 = 0"
);
table!(
    numeric_keys_are_read_in_ranges_of_blocks,
    "id numeric PRIMARY KEY",
    "g + 0.5",
    "UPDATE t SET id = id * 10 WHERE id < 100; DELETE FROM t WHERE id > 1900"
);
table!(
    float_keys_are_read_in_ranges_of_blocks,
    "id float8 PRIMARY KEY",
    "g + 0.5",
    "UPDATE t SET id = -id WHERE id < 10; DELETE FROM t WHERE id > 1900"
);
table!(
    collated_text_keys_are_read_in_ranges_of_blocks,
    "id text PRIMARY KEY",
    "'K' || md5(g::text)",
    "UPDATE t SET id = lower(id) WHERE id < 'K5'"
);
table!(
    scattered_keys_are_read_page_by_page,
    "id int PRIMARY KEY",
    "g * 7919 % 100003",
    "DELETE FROM t WHERE id % 5 = 0; INSERT INTO t SELECT -g * 7919 % 100003 - 1, 'new' FROM generate_series(1, 300) g"
);

#[tokio::test(flavor = "multi_thread")]
async fn partitions_without_a_comparable_key_are_read_in_ranges_of_blocks() {
    let app = app!(
        &format!(
            "CREATE TABLE t(id numeric PRIMARY KEY, v text) PARTITION BY RANGE (id);
             CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (0) TO (300); CREATE TABLE t2 PARTITION OF t DEFAULT;
             INSERT INTO t SELECT g, {WIDE}"
        ),
        ["t"]
    );
    let mut run = Run::start(&app, &Replica::new()).await;
    app.run("UPDATE t SET id = id + 0.5 WHERE id < 500").await;
    run.until_equal(&app, &["t"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn asked_for_disk_order_it_reads_a_table_with_a_key_as_it_lies() {
    let mut app = app!(
        &format!("CREATE TABLE t(id int PRIMARY KEY, v text); INSERT INTO t SELECT g, {WIDE}"),
        ["t"]
    );
    app.spec["read_order"] = "disk".into();
    let found = app.source().check(&app.plan()).await.unwrap();
    let told: Vec<String> = found.iter().map(|error| format!("{} {error}", error.code())).collect();
    assert_eq!(
        told,
        ["N0257 `public.t` is read as it lies on disk, from one snapshot: `read_order` says so"]
    );
    let replica = Replica::new();
    let mut run = Run::start(&app, &replica).await;
    run.until(|run| run.replica.row_count(&public("t")) > 0).await;
    drop(run);
    let mut run = Run::start(&app, &replica).await;
    run.until_equal(&app, &["t"]).await;
    assert_eq!(run.count("begin_read public.t"), 1, "it begins again: {:?}", run.seen);
}

/// Tables of 16 MB, so that it makes a difference.
#[tokio::test(flavor = "multi_thread")]
async fn order_is_chosen_by_how_keys_lie() {
    let mut app = app!(
        "CREATE TABLE ordered(id int PRIMARY KEY, v text); CREATE TABLE scattered(id uuid PRIMARY KEY, v text);
         INSERT INTO ordered SELECT g, repeat('x', 200) FROM generate_series(1, 60000) g;
         INSERT INTO scattered SELECT md5(g::text)::uuid, repeat('x', 200) FROM generate_series(1, 60000) g",
        ["ordered", "scattered"]
    );
    let told = async |app: &App| {
        let found = app.source().check(&app.plan()).await.unwrap();
        found.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    };
    let found = told(&app).await;
    assert!(
        found.contains("`public.ordered` is read by key, page by page: its keys lie in order"),
        "{found}"
    );
    let expected = "`public.scattered` is read as it lies on disk, from one snapshot: its keys are scattered";
    assert!(found.contains(expected), "{found}");
    // Of a window so short that the log would have to wait for longer.
    app.spec["window_max"] = "1ms".into();
    let found = told(&app).await;
    let expected = "`public.scattered` is read by key, page by page: its keys are scattered";
    assert!(
        found.contains(expected) && found.contains("to start again after a kill"),
        "{found}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn several_connections_read_one_table_at_the_same_time() {
    let mut app = app!(
        &format!("CREATE TABLE t(id int PRIMARY KEY, v text); INSERT INTO t SELECT g, {WIDE}"),
        ["t"]
    );
    // A page of 100 rows is several times as large, so that each reader has to wait in the middle of its first.
    app.changeset_bytes_max = 4 << 10;
    let mut run = Run::start(&app, &Replica::new()).await;
    run.until(|run| run.count("begin_read public.t") == 1).await;
    let readers = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
                   AND query LIKE 'COPY (SELECT %' AND state <> 'idle'";
    let deadline = std::time::Instant::now() + DEADLINE;
    loop {
        let count: i64 = app
            .database
            .client()
            .await
            .query_one(readers, &[])
            .await
            .unwrap()
            .get(0);
        if count == 4 {
            break;
        }
        assert!(std::time::Instant::now() < deadline, "{count} connections read");
        tokio::task::yield_now().await;
    }
    run.until_equal(&app, &["t"]).await;
}

/// Rows that differ by a factor of a thousand, pages larger than a changeset, and memory for few of either.
#[tokio::test(flavor = "multi_thread")]
async fn pages_larger_than_a_changeset_are_read_within_the_memory_there_is() {
    let mut app = app!(
        "CREATE TABLE a(id int PRIMARY KEY, v text); CREATE TABLE b(id int PRIMARY KEY, v text); CREATE TABLE c(id int, v text);
         ALTER TABLE c REPLICA IDENTITY FULL;
         INSERT INTO a SELECT g, repeat(md5(g::text), CASE WHEN g % 100 < 40 THEN 250 ELSE 1 END) FROM generate_series(1, 1000) g;
         INSERT INTO b SELECT g, repeat(md5(g::text), CASE WHEN g > 700 THEN 250 ELSE 1 END) FROM generate_series(1, 1000) g;
         INSERT INTO c SELECT g, repeat(md5(g::text), CASE WHEN g > 700 THEN 250 ELSE 1 END) FROM generate_series(1, 1000) g",
        ["a", "b", "c"]
    );
    app.streams[2].key = Some(vec!["id".to_owned()]);
    app.changeset_bytes_max = 64 << 10;
    for limit in [64 << 10, 200 << 10, 1 << 20] {
        let memory = Share::alone(limit);
        let replica = Replica::new();
        let mut run = Run::with_memory(&app, &replica, &memory).await;
        let ended = ["a", "b", "c"].map(|name| format!("end_read public.{name}"));
        run.until(|run| ended.iter().all(|ended| run.count(ended) == 1)).await;
        run.until_equal(&app, &["a", "b", "c"]).await;
        let parts = run.seen.iter().filter(|seen| *seen == "middle").count();
        assert!(parts > 0, "no page came in parts: {:?}", run.seen);
        assert!(
            run.size_bytes_max < 200 << 10,
            "a changeset of {} bytes",
            run.size_bytes_max
        );
        drop(run);
        app.source().forget(&"shop".into()).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_tables_are_read_through_many_windows_while_they_change() {
    let names: Vec<String> = (0..12).map(|i| format!("t{i}")).collect();
    let tables: String = names
        .iter()
        .map(|name| {
            format!(
                "CREATE TABLE {name}(id int PRIMARY KEY, v text); INSERT INTO {name} SELECT g, 'v' FROM generate_series(1, 700) g;"
            )
        })
        .collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let Some(mut app) = App::new(&tables, &names).await else {
        return;
    };
    app.spec["window_max"] = "1ms".into();
    let mut run = Run::start(&app, &Replica::new()).await;
    for name in &names {
        app.run(&format!(
            "UPDATE {name} SET v = 'w' WHERE id % 3 = 0; UPDATE {name} SET id = -id WHERE id % 50 = 0"
        ))
        .await;
        let row_count = run.replica.row_count(&public(name));
        run.until(|run| row_count > 0 || run.replica.row_count(&public(name)) > 0)
            .await;
    }
    run.until_equal(&app, &names).await;
}
