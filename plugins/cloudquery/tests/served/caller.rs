//! Callers that are not ours: what they may send, and what they are told.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, TimeUnit};
use bytes::Bytes;
use model::StreamId;
use proto::plugin_v3::plugin_client::PluginClient;
use proto::plugin_v3::predicates_group::GroupingType;
use proto::plugin_v3::write::request::Message;
use proto::plugin_v3::{Predicate, PredicatesGroup, close, get_name, get_version, init, test_connection, write};
use proto::{Column, Encoder, Table, encode_schema};
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::peer::Peer;

pub struct Caller(pub PluginClient<Channel>);

pub fn table() -> Table {
    let utc = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let mut table = Table::named("cities");
    table.columns = vec![
        Column::new(Field::new("_cq_sync_time", utc, true)),
        Column::new(Field::new("_cq_source_name", DataType::Utf8, true)),
        Column::new(Field::new("id", DataType::Int64, false)).key(true),
        Column::new(Field::new("city", DataType::Utf8, true)),
    ];
    table
}

pub fn migrate() -> Message {
    Message::MigrateTable(write::MessageMigrateTable {
        table: encode_schema(&table().to_schema()).unwrap(),
        migrate_force: false,
    })
}

/// Rows of one sync: id and city.
pub fn insert(second: i64, rows: &[(i64, &str)]) -> Message {
    let time = TimestampMicrosecondArray::from(vec![second * 1_000_000; rows.len()]).with_timezone("UTC");
    let columns: Vec<ArrayRef> = vec![
        Arc::new(time),
        Arc::new(StringArray::from(vec!["sample"; rows.len()])),
        Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.0))),
        Arc::new(StringArray::from_iter_values(rows.iter().map(|row| row.1))),
    ];
    let schema = Arc::new(table().to_schema());
    let rows = RecordBatch::try_new(Arc::clone(&schema), columns).unwrap();
    Message::Insert(write::MessageInsert {
        record: Encoder::new(schema).unwrap().encode(&rows).unwrap(),
    })
}

fn stale(second: i64) -> Message {
    Message::Delete(write::MessageDeleteStale {
        source_name: "sample".to_owned(),
        sync_time: Some(prost_types::Timestamp {
            seconds: second,
            nanos: 0,
        }),
        table_name: "cities".to_owned(),
        ..write::MessageDeleteStale::default()
    })
}

fn equals(column: &str, value: ArrayRef) -> Predicate {
    let field = Field::new("value", value.data_type().clone(), true);
    let mut one = Table::named("value");
    one.columns.push(Column::new(field));
    let schema = Arc::new(one.to_schema());
    let rows = RecordBatch::try_new(Arc::clone(&schema), vec![value]).unwrap();
    Predicate {
        operator: 0,
        column: column.to_owned(),
        record: Encoder::new(schema).unwrap().encode(&rows).unwrap(),
    }
}

fn id(id: i64) -> Predicate {
    equals("id", Arc::new(Int64Array::from(vec![id])))
}

fn city(city: &str) -> Predicate {
    equals("city", Arc::new(StringArray::from(vec![city])))
}

fn delete(groups: Vec<(GroupingType, Vec<Predicate>)>) -> Message {
    let group = |(grouping_type, predicates): (GroupingType, Vec<Predicate>)| PredicatesGroup {
        grouping_type: grouping_type.into(),
        predicates,
    };
    Message::DeleteRecord(write::MessageDeleteRecord {
        table_name: "cities".to_owned(),
        where_clause: groups.into_iter().map(group).collect(),
        table_relations: Vec::new(),
    })
}

impl Caller {
    pub async fn dial(peer: &Peer) -> Caller {
        Caller(PluginClient::connect(format!("http://{}", peer.address)).await.unwrap())
    }

    pub async fn init(&self, spec: &'static str) -> Result<bool, Status> {
        let request = init::Request {
            spec: Bytes::from_static(spec.as_bytes()),
            no_connection: false,
            invocation_id: String::new(),
        };
        Ok(self.0.clone().init(request).await?.into_inner().supports_flush)
    }

    pub async fn write(&self, messages: Vec<Message>) -> Result<(), Status> {
        let requests: Vec<_> = messages
            .into_iter()
            .map(|message| write::Request { message: Some(message) })
            .collect();
        self.0.clone().write(tokio_stream::iter(requests)).await.map(drop)
    }
}

pub fn cities(peer: &Peer) -> Vec<String> {
    let rows = peer.replica.rows(&StreamId::new("cities")).unwrap_or_default();
    let text = |row: &api::conformance::Row, column: &str| row[column].clone().unwrap_or_default();
    let mut cities: Vec<String> = rows
        .iter()
        .map(|row| format!("{} {}", text(row, "id"), text(row, "city")))
        .collect();
    cities.sort();
    cities
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_spelling_of_an_empty_spec_is_taken() {
    let peer = Peer::start().await;
    let caller = Caller::dial(&peer).await;
    for spec in ["null", "", "{}"] {
        assert!(caller.init(spec).await.unwrap(), "flush is supported");
    }
    let refused = caller.init(r#"{"refuse": true}"#).await.unwrap_err();
    assert_eq!(refused.code(), Code::Internal);
    assert_eq!(
        refused.message(),
        "failed to init plugin: /refuse: it was asked to; leave it out"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn name_version_and_connection_need_no_init() {
    let peer = Peer::start().await;
    let mut client = Caller::dial(&peer).await.0;
    assert_eq!(
        client.get_name(get_name::Request {}).await.unwrap().into_inner().name,
        "replica"
    );
    assert_eq!(
        client
            .get_version(get_version::Request {})
            .await
            .unwrap()
            .into_inner()
            .version,
        "v1.2.3"
    );
    let test = |spec: &'static str| test_connection::Request {
        spec: Bytes::from_static(spec.as_bytes()),
    };
    assert!(client.test_connection(test("null")).await.unwrap().into_inner().success);
    let refused = client
        .test_connection(test(r#"{"refuse": 1}"#))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        (refused.success, refused.failure_code.as_str()),
        (false, "INVALID_SPEC")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_of_one_write_take_effect_in_order() {
    let peer = Peer::start().await;
    let caller = Caller::dial(&peer).await;
    caller.init("{}").await.unwrap();
    let messages = vec![
        migrate(),
        insert(1, &[(1, "Rome"), (2, "Oslo")]),
        delete(vec![(GroupingType::And, vec![id(1)])]),
        insert(1, &[(1, "Paris"), (3, "Bern")]),
        // The same key twice in one record: the last one counts.
        insert(1, &[(4, "Bonn"), (4, "Berlin")]),
    ];
    caller.write(messages).await.unwrap();
    assert_eq!(cities(&peer), ["1 Paris", "2 Oslo", "3 Bern", "4 Berlin"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn groups_are_joined_by_and_and_their_conditions_as_they_say() {
    let peer = Peer::start().await;
    let caller = Caller::dial(&peer).await;
    caller.init("{}").await.unwrap();
    let all = [(1, "Rome"), (2, "Oslo"), (3, "Rome"), (4, "Bern")];
    caller.write(vec![migrate(), insert(1, &all)]).await.unwrap();
    let (and, or) = (GroupingType::And, GroupingType::Or);
    caller
        .write(vec![migrate(), delete(vec![(and, vec![id(1), city("Oslo")])])])
        .await
        .unwrap();
    assert_eq!(cities(&peer).len(), 4, "no row has both");
    let one_of_two = vec![(or, vec![id(1), id(2), id(4)]), (or, vec![city("Rome"), city("Bern")])];
    caller.write(vec![migrate(), delete(one_of_two)]).await.unwrap();
    assert_eq!(cities(&peer), ["2 Oslo", "3 Rome"]);
    caller.write(vec![delete(Vec::new())]).await.unwrap();
    assert_eq!(cities(&peer), [""; 0], "no condition at all is every row");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stale_is_strictly_older() {
    let peer = Peer::start().await;
    let caller = Caller::dial(&peer).await;
    caller.init("{}").await.unwrap();
    caller
        .write(vec![migrate(), insert(1, &[(1, "Rome")]), stale(1)])
        .await
        .unwrap();
    assert_eq!(cities(&peer), ["1 Rome"]);
    caller
        .write(vec![migrate(), insert(2, &[(2, "Oslo")]), stale(2)])
        .await
        .unwrap();
    assert_eq!(cities(&peer), ["2 Oslo"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn close_and_init_again_go_on() {
    let peer = Peer::start().await;
    let mut caller = Caller::dial(&peer).await;
    for round in 1..=3 {
        caller.init("{}").await.unwrap();
        caller
            .write(vec![migrate(), insert(round, &[(round, "Rome")])])
            .await
            .unwrap();
        caller.0.close(close::Request {}).await.unwrap();
    }
    assert_eq!(cities(&peer), ["1 Rome", "2 Rome", "3 Rome"]);
    let error = caller.write(vec![migrate()]).await.unwrap_err();
    assert_eq!(error.code(), Code::FailedPrecondition);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_is_an_invalid_argument_and_takes_nothing_with_it() {
    let peer = Peer::start().await;
    let caller = Caller::dial(&peer).await;
    caller.init("{}").await.unwrap();
    caller.write(vec![migrate(), insert(1, &[(1, "Rome")])]).await.unwrap();
    let garbage = Message::Insert(write::MessageInsert {
        record: Bytes::from_static(b"garbage"),
    });
    let error = caller.write(vec![garbage]).await.unwrap_err();
    assert_eq!(error.code(), Code::InvalidArgument, "{error}");
    caller.write(vec![insert(1, &[(2, "Oslo")])]).await.unwrap();
    assert_eq!(cities(&peer), ["1 Rome", "2 Oslo"]);
}
