//! The server's patience is 2 s here (`wal_sender_timeout`).

use std::time::Duration;

use highwater_plugin_postgres::replication::Frame;
use highwater_plugin_postgres::replication::pgoutput::{Decoder, Message};

use crate::world::{Database, next, server};

/// Longer than the server would wait twice.
const NOBODY_READS: Duration = Duration::from_secs(5);

#[tokio::test]
async fn stream_that_nobody_reads_lives_on_idle() {
    let Some(server) = server() else { return };
    let db = Database::create(server).await;
    let stream = db.stream(|_| {}).await;
    let pid = format!(
        "SELECT active_pid FROM pg_replication_slots WHERE slot_name = '{}'",
        db.name
    );
    let before = db.value(&pid).await;
    tokio::time::sleep(NOBODY_READS).await;
    assert_eq!(db.value(&pid).await, before, "{}", server.log());
    assert_ne!(before, "");
    drop(stream);
    db.drop_slot().await;
}

#[tokio::test]
async fn stream_that_nobody_reads_lives_on_with_the_network_full() {
    let Some(server) = server() else { return };
    let db = Database::create(server).await;
    db.run("CREATE TABLE t (id int, filler text)").await;
    let mut stream = db.stream(|_| {}).await;
    // More than the sockets' buffers hold.
    db.run("INSERT INTO t SELECT i, repeat('x', 1000) FROM generate_series(1, 30000) i")
        .await;
    let pid = format!(
        "SELECT active_pid FROM pg_replication_slots WHERE slot_name = '{}'",
        db.name
    );
    let before = db.value(&pid).await;
    tokio::time::sleep(NOBODY_READS).await;
    assert_eq!(db.value(&pid).await, before, "{}", server.log());
    let mut decoder = Decoder::new();
    let mut row_count = 0;
    loop {
        let Frame::Data(data) = next(&mut stream).await else {
            continue;
        };
        match decoder.decode(&data.bytes).unwrap() {
            Message::Insert(_) => row_count += 1,
            Message::Commit(_) | Message::StreamCommit { .. } => break,
            _ => {}
        }
    }
    assert_eq!(row_count, 30_000);
    drop(stream);
    db.drop_slot().await;
}
