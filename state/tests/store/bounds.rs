use std::time::{Duration, Instant};

use highwater_state::conformance::value_at;
use highwater_state::{SledStore, StateStore as _, Stored};

use crate::scene::{block_on, open, shop, size_bytes};

/// Writes `count` values of about `size` bytes, spread over eight destinations.
fn churn(store: &SledStore, count: u64, size: usize) {
    block_on(async {
        let mut epochs = [0; 8];
        for write in 0..count {
            let which = (write % 8) as usize;
            let value = Stored {
                source: Some("x".repeat(size)),
                ..value_at(write)
            };
            let destination = format!("d{which}");
            epochs[which] = store
                .put(&shop(), &destination.as_str().into(), &value, epochs[which])
                .await
                .unwrap();
        }
    });
}

/// `writers` destinations, each written to `count` times, all at once.
fn write_together(store: &SledStore, writers: u32, count: u32) -> Duration {
    let begun = Instant::now();
    block_on(async {
        let one = async |writer: u32| {
            let destination = format!("{writer} of {writers}");
            let mut epoch = 0;
            for _ in 0..count {
                let value = value_at(epoch);
                epoch = store
                    .put(&shop(), &destination.as_str().into(), &value, epoch)
                    .await
                    .unwrap();
            }
        };
        futures::future::join_all((0..writers).map(one)).await;
    });
    begun.elapsed()
}

#[test]
fn writes_that_wait_for_each_other_share_a_sync() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    let alone = write_together(&store, 1, 100) / 100;
    let together = write_together(&store, 16, 50) / (16 * 50);
    println!("{alone:?} a write alone, {together:?} when 16 write at once");
    assert!(together < alone, "{together:?} a write, and {alone:?} alone");
}

fn check_last(store: &SledStore, count: u64) {
    let stored = block_on(store.load(&shop())).unwrap();
    assert_eq!(stored.values().map(|stored| stored.epoch).sum::<u64>(), count);
}

#[test]
fn journal_stays_small() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    churn(&store, 1_200, 4_000);
    let journal_bytes = size_bytes(&dir.path().join("journal"));
    assert!(journal_bytes < 3 << 20, "5 MB were written, {journal_bytes} are there");
    drop(store);
    let (store, notices) = open(dir.path());
    assert_eq!(notices, []);
    check_last(&store, 1_200);
}

#[test]
fn database_stays_small_with_values_that_sled_never_gives_back() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    churn(&store, 240, 300_000);
    let database_bytes = size_bytes(&dir.path().join("sled"));
    assert!(
        database_bytes < 48 << 20,
        "72 MB were written, {database_bytes} are there"
    );
    drop(store);
    let (store, notices) = open(dir.path());
    assert_eq!(notices, []);
    check_last(&store, 240);
}

#[test]
#[ignore = "takes minutes; prints the figures of the documentation"]
fn hundred_thousand_writes_leave_a_small_directory_that_opens_fast() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    let begun = Instant::now();
    churn(&store, 100_000, 450);
    let each = begun.elapsed() / 100_000;
    drop(store);
    let journal_bytes = size_bytes(&dir.path().join("journal"));
    let database_bytes = size_bytes(&dir.path().join("sled"));
    let begun = Instant::now();
    let (store, _) = open(dir.path());
    let opened = begun.elapsed();
    check_last(&store, 100_000);
    println!("{each:?} a write; journal {journal_bytes} bytes, database {database_bytes} bytes; opens in {opened:?}");
    assert!(journal_bytes < 3 << 20 && database_bytes < 8 << 20);
    assert!(opened.as_secs_f64() < 1.0);
}
