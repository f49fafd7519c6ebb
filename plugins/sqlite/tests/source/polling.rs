//! What only `capture: poll` does.

use api::ReadExisting;
use api::testing::Replica;
use model::StreamId;

use crate::driver::{App, Run};

#[tokio::test(flavor = "multi_thread")]
async fn stream_read_again_for_everyone_drops_the_read_that_was_going_on() {
    let mut app = App::new(
        "CREATE TABLE t(id INTEGER PRIMARY KEY, version INTEGER);
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000)
         INSERT INTO t SELECT i, i FROM n",
        &["t"],
    );
    app.spec = serde_json::json!({
        "path": "app.db", "capture": "poll", "cursor": { "t": "version" }, "poll_every": "5ms", "page_rows": 10
    });
    let mut run = Run::start(&app, &Replica::new()).await;
    run.until(|run| run.count("begin_read t") == 1 && run.count("whole") >= 3)
        .await;
    let again = ReadExisting {
        streams: vec![StreamId::new("t")],
        destinations: None,
        empty_first: true,
    };
    let second = run.control.read_existing(again).await.unwrap();
    run.until(|run| run.count("begin_read t") == 2).await;
    let going_on: Vec<u32> = run.control.reads().await.iter().map(|read| read.run).collect();
    assert_eq!(going_on, [second]);
    run.until_equal(&app, &["t"]).await;
    assert_eq!(run.count("end_read t"), 1);
}
