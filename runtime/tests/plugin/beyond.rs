//! What CloudQuery's suite for writers lacks.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray, UInt64Array};
use arrow::datatypes::DataType;
use proto::plugin_v3::predicates_group::GroupingType;
use proto::plugin_v3::write;
use proto::plugin_v3::write::request::Message;
use proto::{Encoder, Table};
use tokio_stream::wrappers::ReceiverStream;

use crate::place::Place;
use crate::table::{column, delete_record, equals, insert, migrate, not_null, table};

crate::at_each_place! {
    messages_of_one_write_take_effect_in_order
    groups_are_joined_by_and_and_their_conditions_as_they_say
    tables_may_be_interleaved_and_rows_come_before_their_table
    state_tables_of_both_shapes_are_kept_beside_an_open_sync
    names_that_need_quotes_keep_them
    flush_is_durable_when_it_is_answered_and_a_killed_write_is_void
    close_and_init_go_on_where_they_were
    garbage_takes_nothing_with_it
}

fn cities() -> Table {
    table(
        "cities",
        vec![
            not_null("id", DataType::Int64).key(true),
            column("city", DataType::Utf8),
        ],
    )
}

fn ids(ids: &[i64]) -> ArrayRef {
    Arc::new(Int64Array::from(ids.to_vec()))
}

fn texts(texts: &[&str]) -> ArrayRef {
    Arc::new(StringArray::from(texts.to_vec()))
}

fn some(rows: &[(i64, &str)]) -> Message {
    let (of_ids, of_texts): (Vec<i64>, Vec<&str>) = rows.iter().copied().unzip();
    insert(&cities(), vec![ids(&of_ids), texts(&of_texts)])
}

async fn messages_of_one_write_take_effect_in_order(place: Place) {
    let first = vec![(GroupingType::And, vec![equals("id", ids(&[1]))])];
    let messages = vec![
        migrate(&cities()),
        some(&[(1, "Rome"), (2, "Oslo")]),
        delete_record("cities", first),
        some(&[(1, "Paris"), (3, "Bern")]),
        some(&[(4, "Bonn"), (4, "Berlin")]),
    ];
    place.caller.write(messages).await.unwrap();
    assert_eq!(
        place.caller.read(&cities()).await.unwrap(),
        ["1,Paris", "2,Oslo", "3,Bern", "4,Berlin"]
    );
}

async fn groups_are_joined_by_and_and_their_conditions_as_they_say(place: Place) {
    let (and, or) = (GroupingType::And, GroupingType::Or);
    let (id, city) = (|id| equals("id", ids(&[id])), |city| equals("city", texts(&[city])));
    let caller = &place.caller;
    let all = some(&[(1, "Rome"), (2, "Oslo"), (3, "Rome"), (4, "Bern")]);
    caller.write(vec![migrate(&cities()), all]).await.unwrap();
    let both = vec![(and, vec![id(1), city("Oslo")])];
    caller.write(vec![delete_record("cities", both)]).await.unwrap();
    assert_eq!(place.count("cities").await, 4, "no row has both");
    let any = vec![(or, vec![id(1), id(2), id(4)]), (or, vec![city("Rome"), city("Bern")])];
    caller.write(vec![delete_record("cities", any)]).await.unwrap();
    assert_eq!(caller.read(&cities()).await.unwrap(), ["2,Oslo", "3,Rome"]);
}

async fn tables_may_be_interleaved_and_rows_come_before_their_table(place: Place) {
    let other = table("others", vec![not_null("id", DataType::Int64).key(true)]);
    let mut messages = Vec::new();
    for id in 0..50 {
        messages.push(some(&[(id, "x")]));
        messages.push(insert(&other, vec![ids(&[id])]));
    }
    // No migration at all: each record says what its table looks like.
    place.caller.write(messages).await.unwrap();
    assert_eq!((place.count("cities").await, place.count("others").await), (50, 50));
}

/// Go's client has a version, Python's has not; both go on while a sync's write is open.
async fn state_tables_of_both_shapes_are_kept_beside_an_open_sync(place: Place) {
    let python = table(
        "state",
        vec![column("key", DataType::Utf8).key(true), column("value", DataType::Utf8)],
    );
    let mut go = python.clone();
    go.columns.push(column("version", DataType::UInt64));
    let (send, messages) = tokio::sync::mpsc::channel(8);
    let mut client = place.caller.0.clone();
    let sync = tokio::spawn(async move { client.write(ReceiverStream::new(messages)).await });
    let request = |message| write::Request { message: Some(message) };
    send.send(request(migrate(&cities()))).await.unwrap();
    send.send(request(some(&[(1, "Rome")]))).await.unwrap();

    let caller = &place.caller;
    caller.write(vec![migrate(&python)]).await.unwrap();
    assert_eq!(caller.read(&python).await.unwrap(), [""; 0]);
    let row = vec![texts(&["cursor"]), texts(&["1"])];
    caller.write(vec![insert(&python, row)]).await.unwrap();
    assert_eq!(caller.read(&python).await.unwrap(), ["cursor,1"]);

    caller.write(vec![migrate(&go)]).await.unwrap();
    let version: ArrayRef = Arc::new(UInt64Array::from(vec![7]));
    let row = vec![texts(&["cursor"]), texts(&["2"]), version];
    caller.write(vec![insert(&go, row)]).await.unwrap();
    assert_eq!(caller.read(&go).await.unwrap(), ["cursor,2,7"]);
    // Nothing changed: a record without rows.
    let schema = Arc::new(go.to_schema());
    let empty = RecordBatch::new_empty(Arc::clone(&schema));
    let record = Encoder::new(schema).unwrap().encode(&empty).unwrap();
    caller
        .write(vec![Message::Insert(write::MessageInsert { record })])
        .await
        .unwrap();

    send.send(request(some(&[(2, "Oslo")]))).await.unwrap();
    drop(send);
    sync.await.unwrap().unwrap();
    assert_eq!(caller.read(&cities()).await.unwrap(), ["1,Rome", "2,Oslo"]);
}

async fn names_that_need_quotes_keep_them(place: Place) {
    let name = "select \"from\" 'where'; é";
    let odd = table(
        name,
        vec![
            not_null("Order", DataType::Int64).key(true),
            column("a \"b\" c", DataType::Utf8),
        ],
    );
    let caller = &place.caller;
    caller
        .write(vec![migrate(&odd), insert(&odd, vec![ids(&[1]), texts(&["x"])])])
        .await
        .unwrap();
    assert_eq!(caller.read(&odd).await.unwrap(), ["1,x"]);
    caller.write(vec![delete_record(name, Vec::new())]).await.unwrap();
    assert_eq!(caller.read(&odd).await.unwrap(), [""; 0]);
}

async fn flush_is_durable_when_it_is_answered_and_a_killed_write_is_void(mut place: Place) {
    let (send, messages) = tokio::sync::mpsc::channel(8);
    let mut client = place.caller.0.clone();
    let mut answers = client
        .write_stream(ReceiverStream::new(messages))
        .await
        .unwrap()
        .into_inner();
    let request = |message| write::Request { message: Some(message) };
    send.send(request(migrate(&cities()))).await.unwrap();
    for id in 1..=3 {
        send.send(request(some(&[(id as i64, "flushed")]))).await.unwrap();
        send.send(request(Message::Flush(write::MessageFlush { id })))
            .await
            .unwrap();
        let answer = answers.message().await.unwrap().unwrap();
        assert_eq!((answer.flush_id, answer.flush_error.as_str()), (id, ""));
        assert_eq!(place.count("cities").await, id);
    }
    send.send(request(some(&[(4, "not flushed")]))).await.unwrap();
    place.process.signal(rustix::process::Signal::KILL);
    place.process.wait(std::time::Duration::from_secs(5));
    assert!(answers.message().await.is_err());
    assert_eq!(place.count("cities").await, 3);
}

async fn close_and_init_go_on_where_they_were(place: Place) {
    for id in 1..=3 {
        place.caller.init(&place.spec).await.unwrap();
        place
            .caller
            .write(vec![migrate(&cities()), some(&[(id, "x")])])
            .await
            .unwrap();
        place.caller.close().await.unwrap();
    }
    // Twice without a close, as before two sources of one run.
    place.caller.init(&place.spec).await.unwrap();
    place.caller.init(&place.spec).await.unwrap();
    assert_eq!(place.caller.read(&cities()).await.unwrap(), ["1,x", "2,x", "3,x"]);
}

async fn garbage_takes_nothing_with_it(place: Place) {
    let caller = &place.caller;
    caller
        .write(vec![migrate(&cities()), some(&[(1, "Rome")])])
        .await
        .unwrap();
    let record = bytes::Bytes::from_static(b"garbage");
    let garbage = Message::Insert(write::MessageInsert { record });
    let error = caller.write(vec![garbage]).await.unwrap_err();
    assert_eq!(error.code(), tonic::Code::InvalidArgument, "{error}");
    let unknown = vec![(GroupingType::And, vec![equals("nothing", ids(&[1]))])];
    let error = caller.write(vec![delete_record("cities", unknown)]).await.unwrap_err();
    assert!(error.message().contains("`nothing`"), "{error}");
    caller.write(vec![some(&[(2, "Oslo")])]).await.unwrap();
    assert_eq!(caller.read(&cities()).await.unwrap(), ["1,Rome", "2,Oslo"]);
}
