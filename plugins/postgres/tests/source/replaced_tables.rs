//! What happens to a table between a snapshot and the reading of it.

use api::testing::Replica;

use crate::changes::app;
use crate::driver::{App, Run, public};

/// Does this to a table of which some pages were read, and goes on: the destination ends as the source is.
async fn reads_what_is_there_after(ddl: &str) {
    let app = app!(
        "CREATE TABLE t(id int PRIMARY KEY, v text); INSERT INTO t SELECT g, 'old' FROM generate_series(1, 1000) g",
        ["t"]
    );
    let replica = Replica::new();
    let mut run = Run::start(&app, &replica).await;
    // Some pages are out; the reader waits for room with the next one, inside its window.
    run.until(|run| run.replica.row_count(&public("t")) >= 200).await;
    app.run(ddl).await;
    app.run("INSERT INTO t(id, v) VALUES (5000, 'after')").await;
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
