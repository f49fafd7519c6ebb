//! Speed, on request: `cargo test --release --test destination -- --ignored --nocapture speed`.

use std::sync::Arc;
use std::time::Instant;

use api::conformance::{Session, sample};
use api::{DestinationOptions, WriteMode};
use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use model::{Batch, Commit, Op, Ops};

use crate::database::Database;

const ROWS_PER_COMMIT: i64 = 50_000;

fn batch(first: i64, rows: i64, op: Op, at: u64) -> Batch {
    let schema = sample::items();
    let ids = first..first + rows;
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from_iter_values(ids.clone())),
        Arc::new(StringArray::from_iter_values(
            ids.clone().map(|id| format!("item {id}")),
        )),
        Arc::new(Int64Array::from_iter_values(ids.map(|id| id * at as i64))),
    ];
    let order = sample::position(at).order;
    Batch {
        partition: sample::log(),
        page: 0,
        rows: RecordBatch::try_new(Arc::clone(schema.arrow()), columns).unwrap(),
        schema,
        ops: Ops::all(op, rows as usize),
        before: None,
        unavailable: None,
        commits: vec![Commit {
            row_end: rows as usize,
            order,
            time: sample::time_of(order),
        }],
        page_tags: Vec::new(),
    }
}

async fn commits(session: &mut Session, what: &str, count: u64, op: Op) {
    let begun = Instant::now();
    let from = session.checkpoint().marks.get(&sample::log()).map(|at| at.order.key());
    let first = from.unwrap_or(0) + 1;
    for n in 0..count {
        let (from, at) = ((first + n > 1).then(|| first + n - 1), first + n);
        let batch = batch(n as i64 * ROWS_PER_COMMIT, ROWS_PER_COMMIT, op, at);
        session.apply(sample::changeset(from, at, [batch])).await.unwrap();
    }
    let rows = count as f64 * ROWS_PER_COMMIT as f64;
    println!("{what}: {:.0} rows/s", rows / begun.elapsed().as_secs_f64());
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "prints figures; run it alone and with --release"]
async fn speed_of_narrow_rows() {
    let Some(database) = Database::new().await else { return };
    let options = |write| DestinationOptions {
        write: Some(write),
        ..DestinationOptions::default()
    };
    let mut session = database.open(options(WriteMode::Append)).await;
    commits(&mut session, "append", 20, Op::Insert).await;
    session.close().await.unwrap();
    let Some(database) = Database::new().await else { return };
    let mut session = database.open(options(WriteMode::Upsert)).await;
    commits(&mut session, "new rows into a table with a key", 20, Op::Insert).await;
    commits(&mut session, "updates of whole rows", 20, Op::Update).await;
    commits(&mut session, "inserts of rows that are there", 20, Op::Insert).await;
    commits(&mut session, "deletes", 20, Op::Delete).await;
    let begun = Instant::now();
    let count = 500;
    let first = session.checkpoint().marks[&sample::log()].order.key() + 1;
    for at in first..first + count {
        let batch = batch(at as i64, 10, Op::Update, at);
        session
            .apply(sample::changeset(Some(at - 1), at, [batch]))
            .await
            .unwrap();
    }
    println!("a commit of 10 updates: {:?}", begun.elapsed() / count as u32);
}
