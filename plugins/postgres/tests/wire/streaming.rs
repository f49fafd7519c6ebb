//! Transactions that are sent while they run.

use std::collections::BTreeMap;

use highwater_plugin_postgres::replication::pgoutput::{Decoder, Message};
use highwater_plugin_postgres::replication::{Frame, Stream};

use crate::world::{Database, next, server};

/// What a reader of streamed blocks knows when a transaction ends.
#[derive(Debug, Default)]
struct Seen {
    blocks: usize,
    /// Of each (sub-)transaction.
    rows: BTreeMap<u32, usize>,
    aborted: Vec<u32>,
}

/// Reads until a streamed transaction commits (`true`) or is rolled back whole.
async fn read_to_the_end(stream: &mut Stream, decoder: &mut Decoder) -> (Seen, u32, bool) {
    let mut seen = Seen::default();
    let mut top = 0;
    loop {
        let Frame::Data(data) = next(stream).await else {
            continue;
        };
        match decoder.decode(&data.bytes).unwrap() {
            Message::StreamStart(start) => {
                assert_eq!(start.is_first, seen.blocks == 0);
                seen.blocks += 1;
                top = start.xid;
            }
            Message::Insert(insert) => {
                assert!(decoder.is_streaming());
                *seen.rows.entry(insert.xid.unwrap()).or_default() += 1;
            }
            Message::StreamAbort(abort) if abort.xid == abort.subxid => return (seen, abort.xid, false),
            Message::StreamAbort(abort) => {
                assert_eq!(abort.xid, top);
                seen.aborted.push(abort.subxid);
                seen.rows.remove(&abort.subxid);
            }
            Message::StreamCommit { xid, .. } => return (seen, xid, true),
            Message::Relation(_) | Message::StreamStop => {}
            other => panic!("{other:?} in a streamed transaction"),
        }
    }
}

#[tokio::test]
async fn big_transaction_is_streamed_in_blocks_and_what_was_rolled_back_is_told() {
    let Some(server) = server() else { return };
    let db = Database::create(server).await;
    if db.major < 14 {
        return eprintln!("skipped: PostgreSQL {} streams no transactions", db.major);
    }
    db.run("CREATE TABLE t (id int, filler text)").await;
    let mut stream = db.stream(|_| {}).await;
    let insert = |from, to| format!("INSERT INTO t SELECT i, repeat('x', 100) FROM generate_series({from}, {to}) i;");
    let transaction = format!(
        "BEGIN; {} SAVEPOINT s; {} ROLLBACK TO s; {} COMMIT",
        insert(1, 3_000),
        insert(3_001, 7_000),
        insert(7_001, 9_000)
    );
    db.run(&transaction).await;
    let mut decoder = Decoder::new();
    let (seen, xid, is_committed) = read_to_the_end(&mut stream, &mut decoder).await;
    assert!(is_committed && seen.blocks > 1, "{seen:?}");
    assert_eq!(seen.rows.values().sum::<usize>(), 5_000, "{seen:?}");
    assert!(
        seen.aborted.iter().all(|subxid| *subxid != xid) && !seen.aborted.is_empty(),
        "{seen:?}"
    );

    db.run(&format!("BEGIN; {} ROLLBACK", insert(1, 3_000))).await;
    // The server streams a transaction it knows to be running; this one may be over before it looks.
    db.run(&format!("BEGIN; {} COMMIT", insert(1, 3_000))).await;
    loop {
        let (seen, _, is_committed) = read_to_the_end(&mut stream, &mut decoder).await;
        if is_committed {
            assert_eq!(seen.rows.values().sum::<usize>(), 3_000);
            break;
        }
    }
    drop(stream);
    db.drop_slot().await;
}
