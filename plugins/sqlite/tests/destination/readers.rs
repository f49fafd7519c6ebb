//! What other programs see while the destination writes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use api::DestinationOptions;
use api::conformance::sample;
use model::{Checkpoint, StreamId};
use serde_json::json;

use crate::database::Database;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reader_sees_whole_commits_with_their_checkpoint_only() {
    const COMMITS: u64 = 150;
    const ACCOUNTS: u64 = 20;
    let database = Arc::new(Database::new());
    let mut session = database.open(DestinationOptions::default()).await;
    let accounts = sample::items_as(StreamId::new("accounts"));
    let transfers = sample::items_as(StreamId::new("transfers"));
    let batch = sample::changes(&accounts)
        .inserts((0..ACCOUNTS).map(|id| json!({"id": id, "amount": 100})))
        .batch();
    let empty = sample::changes(&transfers)
        .insert(json!({"id": 0, "amount": 0}))
        .batch();
    session.apply(sample::changeset(None, 1, [batch, empty])).await.unwrap();

    let (stop, looks) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let reader = {
        let (database, stop, looks) = (Arc::clone(&database), Arc::clone(&stop), Arc::clone(&looks));
        std::thread::spawn(move || {
            let conn = database.reader();
            let mut orders = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                let view = conn.unchecked_transaction().unwrap();
                let number = |sql: &str| view.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
                let sum = number("SELECT sum(amount) FROM accounts");
                let transfers = number("SELECT count(*) FROM transfers");
                let checkpoint: String = view
                    .query_row("SELECT checkpoint FROM _highwater_ledger", [], |row| row.get(0))
                    .unwrap();
                let checkpoint: Checkpoint = serde_json::from_str(&checkpoint).unwrap();
                let order = checkpoint.marks[&sample::log()].order.key() as i64;
                assert_eq!((sum, transfers), (100 * ACCOUNTS as i64, order), "at {checkpoint:?}");
                orders.push(order);
                looks.fetch_add(1, Ordering::Relaxed);
            }
            orders.dedup();
            orders.len()
        })
    };
    let mut amounts = vec![100_i64; ACCOUNTS as usize];
    for order in 2..=COMMITS {
        let (from, to) = ((order % ACCOUNTS) as usize, (order * 7 % ACCOUNTS) as usize);
        amounts[from] -= 1;
        let taken = sample::changes(&accounts)
            .at(order)
            .update(json!({"id": from, "amount": amounts[from]}));
        amounts[to] += 1;
        let given = sample::changes(&accounts)
            .at(order)
            .update(json!({"id": to, "amount": amounts[to]}));
        let noted = sample::changes(&transfers)
            .at(order)
            .insert(json!({"id": order, "amount": 1}));
        let batches = [taken.batch(), noted.batch(), given.batch()];
        session
            .apply(sample::changeset(Some(order - 1), order, batches))
            .await
            .unwrap();
    }
    let deadline = Instant::now() + Duration::from_secs(10);
    while looks.load(Ordering::Relaxed) < 20 && Instant::now() < deadline {
        tokio::task::yield_now().await;
    }
    stop.store(true, Ordering::Relaxed);
    let distinct = reader.join().unwrap();
    assert!(distinct > 1, "the reader saw one commit only");
    session.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn reader_that_stays_does_not_keep_commits_back() {
    let database = Database::new();
    let mut session = database.open(DestinationOptions::default()).await;
    session
        .apply(sample::begin_read(&sample::items(), 1, true))
        .await
        .unwrap();
    let conn = database.reader();
    let view = conn.unchecked_transaction().unwrap();
    let count = |view: &rusqlite::Connection| -> i64 {
        view.query_row("SELECT count(*) FROM items", [], |row| row.get(0))
            .unwrap()
    };
    assert_eq!(count(&view), 0);
    for order in 1..=20 {
        let batch = sample::changes(&sample::items())
            .at(order)
            .insert(json!({"id": order}))
            .batch();
        let from = (order > 1).then_some(order - 1);
        session.apply(sample::changeset(from, order, [batch])).await.unwrap();
    }
    assert_eq!(count(&view), 0, "a view changed while it was open");
    drop(view);
    assert_eq!(count(&conn), 20);
    session.close().await.unwrap();
}
