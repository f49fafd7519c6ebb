//! What our role sends, seen in the rows of the destination that we serve.

use std::sync::Arc;

use api::conformance::{Session, sample};
use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use model::{Batch, Control, Delta, Order, Page, Partition, Position, StreamId, StreamState, Timestamp};
use serde_json::json;

use crate::peer::Peer;

fn ids(peer: &Peer, stream: &StreamId) -> Vec<String> {
    let rows = peer
        .replica
        .rows(&StreamId::new(stream.flat_name()))
        .unwrap_or_default();
    let mut ids: Vec<String> = rows
        .into_iter()
        .map(|row| row["id"].clone().unwrap_or_default())
        .collect();
    ids.sort();
    ids
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_seen_before_its_commit_and_everything_after() {
    let peer = Peer::start().await;
    let items = sample::items();
    let mut session = Session::open(peer.upserting(), &sample::lane()).await.unwrap();
    session.write(sample::begin_read(&items, 1, false)).await.unwrap();
    session.write(sample::end_read(items.stream(), 1)).await.unwrap();
    let rows = sample::changes(&items)
        .at(1)
        .inserts((1..=3).map(|id| json!({"id": id, "name": "x"})));
    session.write(sample::changeset(None, 1, [rows.batch()])).await.unwrap();
    assert_eq!(ids(&peer, items.stream()), [""; 0]);
    session.commit().await.unwrap();
    assert_eq!(ids(&peer, items.stream()), ["1", "2", "3"]);
    session.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_later_session_goes_on_where_the_first_one_stopped() {
    let peer = Peer::start().await;
    let items = sample::items();
    for round in 1..=3_u64 {
        let mut session = Session::open(peer.upserting(), &sample::lane()).await.unwrap();
        let row = sample::changes(&items)
            .at(round)
            .insert(json!({"id": round, "name": "x"}));
        session
            .apply(sample::changeset(None, round, [row.batch()]))
            .await
            .unwrap();
        session.close().await.unwrap();
    }
    assert_eq!(ids(&peer, items.stream()), ["1", "2", "3"]);
}

/// A read as the source role makes it: its rows say when their sync began.
async fn sync(session: &mut Session, run: u32, micros: u64, ids: &[i64]) {
    use arrow::datatypes::{DataType, Field, TimeUnit};
    let utc = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let source = [("cloudquery.source".to_owned(), "sample".to_owned())];
    let fields = vec![
        Field::new("_cq_sync_time", utc, true),
        Field::new("_cq_source_name", DataType::Utf8, true).with_metadata(source.into()),
        Field::new("id", DataType::Int64, false),
    ];
    let schema = sample::schema(StreamId::new("synced"), fields, ["id"]);
    let stream = schema.stream().clone();
    let here = Order::new(0, micros, 0);
    let begin = Control::BeginRead {
        schema: schema.clone(),
        run,
        destinations: None,
        empty_first: false,
    };
    let delta = Delta::of(Partition::log("cloudquery:sample"), None, Position::at(here))
        .with_stream(stream.clone(), StreamState::reading(run, bytes::Bytes::new()));
    session.write(model::ChangeSet::control(delta, begin)).await.unwrap();
    if !ids.is_empty() {
        let times = TimestampMicrosecondArray::from(vec![micros as i64; ids.len()]).with_timezone("UTC");
        let columns: Vec<ArrayRef> = vec![
            Arc::new(times),
            Arc::new(StringArray::from(vec!["sample"; ids.len()])),
            Arc::new(Int64Array::from(ids.to_vec())),
        ];
        let rows = RecordBatch::try_new(Arc::clone(schema.arrow()), columns).unwrap();
        let page = Page::new(0, 1);
        let partition = Partition::Range {
            stream: stream.clone(),
            run,
            range: 0,
        };
        let batch = Batch::of_page(partition, 1, schema, rows, here, Timestamp(micros as i64));
        let delta = sample::page_delta(&stream, run, page);
        session.write(model::ChangeSet::rows(delta, vec![batch])).await.unwrap();
    }
    session.write(sample::end_read(&stream, run)).await.unwrap();
    session.commit().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_mirrored_sync_did_not_meet_goes() {
    let peer = Peer::start().await;
    let mut session = Session::open(peer.mirroring(), &sample::lane()).await.unwrap();
    sync(&mut session, 1, 1_000_000, &[1, 2, 3]).await;
    sync(&mut session, 2, 2_000_000, &[2, 4]).await;
    assert_eq!(ids(&peer, &StreamId::new("synced")), ["2", "4"]);
    sync(&mut session, 3, 3_000_000, &[]).await;
    assert_eq!(ids(&peer, &StreamId::new("synced")), [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_larger_than_a_message_names_its_table() {
    let peer = Peer::start().await;
    let mut session = Session::open(peer.upserting(), &sample::lane()).await.unwrap();
    let row = json!({"id": 1, "name": "x".repeat(5 << 20)});
    let rows = sample::changes(&sample::items()).at(1).insert(row);
    let error = session
        .write(sample::changeset(None, 1, [rows.batch()]))
        .await
        .unwrap_err();
    assert_eq!((error.code(), error.retry()), ("E0807", api::Retry::Never));
    assert!(
        error.chain().contains("the plugin takes messages of at most"),
        "{}",
        error.chain()
    );
}
