//! What happens to a table between a snapshot and the reading of it.

use api::testing::Replica;

use crate::changes::owner;
use crate::driver::{App, Run, public};

/// Does this to a table of which some pages were read, and goes on: the destination ends as the source is.
async fn reads_what_is_there_after(ddl: &str) {
    let app = owner!(
        "CREATE TABLE t(id int PRIMARY KEY, v text); INSERT INTO t SELECT g, 'old' FROM generate_series(1, 5000) g",
        ["t"]
    );
    let replica = Replica::new();
    let mut run = Run::start(&app, &replica).await;
    // Some pages are out; the readers wait for room with the next ones, inside their window.
    run.until(|run| run.replica.row_count(&public("t")) >= 200).await;
    app.run(ddl).await;
    app.run("INSERT INTO t(id, v) VALUES (9999, 'after')").await;
    run.until_equal(&app, &["t"]).await;
}

macro_rules! case {
    ($name:ident, $ddl:expr) => {
        #[tokio::test(flavor = "multi_thread")]
        async fn $name() {
            reads_what_is_there_after($ddl).await;
        }
    };
}

case!(truncate_between_pages, "TRUNCATE t");
case!(
    truncate_and_refill_between_pages,
    "BEGIN; TRUNCATE t; INSERT INTO t SELECT g, 'new' FROM generate_series(1, 700) g; COMMIT"
);
case!(
    rewrite_with_a_volatile_default_between_pages,
    "ALTER TABLE t ADD w text DEFAULT md5(random()::text)"
);
case!(
    rewrite_by_a_new_type_between_pages,
    "ALTER TABLE t ALTER v TYPE varchar(100) USING v || '!'"
);
case!(
    column_dropped_and_added_between_pages,
    "ALTER TABLE t DROP v; ALTER TABLE t ADD v text DEFAULT 'NEW'"
);
case!(column_added_between_pages, "ALTER TABLE t ADD w text");
case!(vacuum_full_between_pages, "VACUUM FULL t");
case!(
    table_dropped_and_made_anew_between_pages,
    "DROP TABLE t; CREATE TABLE t(id int PRIMARY KEY, v text); INSERT INTO t SELECT g, 'new' FROM generate_series(1, 700) g"
);
case!(
    table_renamed_and_another_made_between_pages,
    "ALTER TABLE t RENAME TO was_t; CREATE TABLE t(id int PRIMARY KEY, v text); INSERT INTO t SELECT g, 'new' FROM generate_series(1, 700) g"
);

/// PostgreSQL itself refuses it: what is published has to be logged.
#[tokio::test(flavor = "multi_thread")]
async fn table_that_is_read_cannot_become_unlogged() {
    let app = owner!("CREATE TABLE t(id int PRIMARY KEY, v text)", ["t"]);
    let mut run = Run::start(&app, &Replica::new()).await;
    run.until_equal(&app, &["t"]).await;
    let client = app.database.client().await;
    let refused = client.batch_execute("ALTER TABLE t SET UNLOGGED").await.unwrap_err();
    let message = refused.as_db_error().unwrap().message().to_owned();
    assert!(message.contains("publication"), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn table_made_anew_while_nothing_ran_is_published_and_read_again() {
    let app = owner!(
        "CREATE TABLE t(id int PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'old')",
        ["t"]
    );
    let replica = Replica::new();
    let mut run = Run::start(&app, &replica).await;
    run.until_equal(&app, &["t"]).await;
    drop(run);
    app.run("DROP TABLE t; CREATE TABLE t(id int PRIMARY KEY, v text); INSERT INTO t VALUES (2, 'new')")
        .await;
    let mut run = Run::start(&app, &replica).await;
    run.until_equal(&app, &["t"]).await;
    assert_eq!(run.count("begin_read public.t"), 1, "{:?}", run.seen);
    app.run("INSERT INTO t VALUES (3, 'later')").await;
    run.until_equal(&app, &["t"]).await;
}
