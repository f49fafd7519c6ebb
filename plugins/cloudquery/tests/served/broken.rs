//! Writes that do not come to their end, and what is left of them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use api::testing::{Call, Fault, When};
use arrow::array::{ArrayRef, BinaryArray, RecordBatch};
use arrow::datatypes::{DataType, Field};
use proto::plugin_v3::write::request::Message;
use proto::plugin_v3::write::{self, MessageFlush, MessageInsert};
use proto::{Column, Encoder, Table};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status};

use crate::caller::{Caller, cities, insert, migrate};
use crate::peer::Peer;

/// Waits for something that the plugin does by itself.
pub async fn until(what: &str, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}: not in time");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn request(message: Message) -> write::Request {
    write::Request { message: Some(message) }
}

/// A record of a table that nobody made, with a document in it that is none.
fn crooked(table: &str) -> Message {
    let json = [
        ("ARROW:extension:name", "json"),
        ("ARROW:extension:metadata", "json-serialized"),
    ];
    let json = json.map(|(key, value)| (key.to_owned(), value.to_owned()));
    let mut described = Table::named(table);
    let document = Field::new("document", DataType::Binary, true).with_metadata(json.into());
    described.columns.push(Column::new(document));
    let schema = Arc::new(described.to_schema());
    let documents: ArrayRef = Arc::new(BinaryArray::from(vec![&b"{}"[..], &b"\xff"[..]]));
    let rows = RecordBatch::try_new(Arc::clone(&schema), vec![documents]).unwrap();
    Message::Insert(MessageInsert {
        record: Encoder::new(schema).unwrap().encode(&rows).unwrap(),
    })
}

#[derive(Debug, Clone, Copy)]
enum End {
    /// The caller cancels the call.
    Cancel,
    /// The caller's process is gone.
    Vanish,
}

/// Begins a write, lets the plugin take two messages, and breaks it off.
async fn break_off(peer: &Peer, how: End, in_stream: bool) {
    let before = peer.faults.count(Call::Write);
    let (send, messages) = mpsc::channel(4);
    send.send(request(migrate())).await.unwrap();
    send.send(request(insert(1, &[(1, "Rome")]))).await.unwrap();
    let address = peer.address.clone();
    // A runtime of its own: with it goes the connection.
    let (ended, is_ended) = tokio::sync::oneshot::channel::<()>();
    let (seen, is_seen) = tokio::sync::oneshot::channel::<()>();
    let caller = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let call = runtime.spawn(async move {
            let mut client = proto::plugin_v3::plugin_client::PluginClient::connect(format!("http://{address}"))
                .await
                .unwrap();
            let messages = ReceiverStream::new(messages);
            if in_stream {
                let mut answers = client.write_stream(messages).await.unwrap().into_inner();
                answers.message().await.map(drop)
            } else {
                client.write(messages).await.map(drop)
            }
        });
        runtime.block_on(async {
            let _ = is_ended.await;
        });
        if let End::Cancel = how {
            call.abort();
            // The connection stays open until the plugin has seen it.
            runtime.block_on(async {
                let _ = is_seen.await;
            });
        }
        runtime.shutdown_background();
    });
    until("both messages", || peer.faults.count(Call::Write) == before + 2).await;
    let closed = peer.faults.count(Call::Close);
    ended.send(()).unwrap();
    until(
        &format!("{how:?}, in a stream of answers: {in_stream}: the destination is let go"),
        || peer.faults.count(Call::Close) == closed + 1,
    )
    .await;
    drop((send, seen));
    tokio::task::spawn_blocking(|| caller.join().unwrap()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_broken_write_brought_is_void_and_nothing_is_taken_before_the_next_init() {
    let peer = Peer::start().await;
    let caller = Caller::dial(&peer).await;
    // This client does not cancel a call by dropping its answers as long as it has something to send; the frame that does so
    // takes the same way in for both calls.
    for (round, (how, in_stream)) in [(End::Vanish, false), (End::Cancel, false), (End::Vanish, true)]
        .into_iter()
        .enumerate()
    {
        caller.init("{}").await.unwrap();
        break_off(&peer, how, in_stream).await;
        // A state client that knows nothing of it would store a cursor ahead of the rows.
        let refused = caller.write(vec![migrate()]).await.unwrap_err();
        assert_eq!(refused.code(), Code::FailedPrecondition, "{refused}");
        assert!(
            refused.message().contains("an earlier write failed or broke off"),
            "{refused}"
        );
        caller.init("{}").await.unwrap();
        let next = 10 + round as i64;
        caller
            .write(vec![migrate(), insert(1, &[(next, "Oslo")])])
            .await
            .unwrap();
        let expected: Vec<String> = (10..=next).map(|id| format!("{id} Oslo")).collect();
        assert_eq!(cities(&peer), expected, "{how:?}, in a stream of answers: {in_stream}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_that_breaks_off_with_everything_flushed_takes_nothing_with_it() {
    let peer = Peer::start().await;
    let caller = Caller::dial(&peer).await;
    caller.init("{}").await.unwrap();
    let (send, messages) = mpsc::channel(4);
    for message in [
        migrate(),
        insert(1, &[(1, "Rome")]),
        Message::Flush(MessageFlush { id: 7 }),
    ] {
        send.send(request(message)).await.unwrap();
    }
    let mut client = caller.0.clone();
    let mut answers = client
        .write_stream(ReceiverStream::new(messages))
        .await
        .unwrap()
        .into_inner();
    let answer = answers.message().await.unwrap().unwrap();
    assert_eq!((answer.flush_id, answer.flush_error.as_str()), (7, ""));
    // Refused by itself, and nothing of it was written.
    send.send(request(crooked("rooms"))).await.unwrap();
    let refused = answers.message().await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
    caller.write(vec![insert(1, &[(2, "Oslo")])]).await.unwrap();
    assert_eq!(cities(&peer), ["1 Rome", "2 Oslo"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_record_names_its_table_and_its_message_and_leaves_no_hole() {
    let peer = Peer::start().await;
    let caller = Caller::dial(&peer).await;
    caller.init("{}").await.unwrap();
    caller.write(vec![migrate()]).await.unwrap();
    let refused = caller.write(vec![crooked("rooms")]).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
    assert!(
        refused
            .message()
            .starts_with("message 1 of the write: table `rooms`: cannot carry column `document`, row 1:"),
        "{refused}"
    );
    caller.write(vec![insert(1, &[(1, "Rome")])]).await.unwrap();
    assert_eq!(cities(&peer), ["1 Rome"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_destination_that_fails_or_panics_is_named_and_given_up() {
    for (fault, code, said) in [
        (
            Fault::fail(api::Retry::After),
            Code::Internal,
            "write failed: message 2 of the write, table `cities`:",
        ),
        (Fault::Panic, Code::Internal, "write failed: the connector panicked"),
    ] {
        let peer = Peer::start().await;
        let caller = Caller::dial(&peer).await;
        caller.init("{}").await.unwrap();
        peer.faults.arm(Call::Write, When::Nth(2), fault);
        let failed = caller
            .write(vec![migrate(), insert(1, &[(1, "Rome")])])
            .await
            .unwrap_err();
        assert_eq!(failed.code(), code);
        assert!(failed.message().starts_with(said), "{failed}");
        let refused = caller.write(vec![migrate()]).await.unwrap_err();
        assert_eq!(refused.code(), Code::FailedPrecondition, "{refused}");
        caller.init("{}").await.unwrap();
        caller.write(vec![migrate(), insert(1, &[(2, "Oslo")])]).await.unwrap();
        assert_eq!(cities(&peer), ["2 Oslo"]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_fails_names_its_tables() {
    let peer = Peer::start().await;
    let caller = Caller::dial(&peer).await;
    caller.init("{}").await.unwrap();
    peer.faults
        .arm(Call::Commit, When::Nth(1), Fault::fail(api::Retry::After));
    let failed = caller
        .write(vec![migrate(), insert(1, &[(1, "Rome")])])
        .await
        .unwrap_err();
    assert!(
        failed.message().starts_with("write failed: commit of `cities`:"),
        "{failed}"
    );
    assert_eq!(cities(&peer), [""; 0]);
}

/// Its first rows were void with the second `Init`, so an answer that they are durable would be a lie.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_that_was_open_at_an_init_is_told_so() {
    let peer = Peer::start().await;
    let caller = Caller::dial(&peer).await;
    caller.init("{}").await.unwrap();
    let (send, messages) = mpsc::channel(4);
    send.send(request(migrate())).await.unwrap();
    send.send(request(insert(1, &[(1, "Rome")]))).await.unwrap();
    let mut client = caller.0.clone();
    let open: tokio::task::JoinHandle<Result<(), Status>> =
        tokio::spawn(async move { client.write(ReceiverStream::new(messages)).await.map(drop) });
    until("both messages", || peer.faults.count(Call::Write) == 2).await;
    caller.init("{}").await.unwrap();
    drop(send);
    let told = open.await.unwrap().unwrap_err();
    assert!(
        told.message().contains("initialized again while this write was open"),
        "{told}"
    );
    // The new session is untouched by it.
    caller.write(vec![migrate(), insert(1, &[(2, "Oslo")])]).await.unwrap();
    assert_eq!(cities(&peer), ["2 Oslo"]);
}
