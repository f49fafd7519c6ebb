//! What was stored once must load for ever. Never change a file in `golden/`; add one when the form grows.

use std::collections::BTreeMap;

use bytes::Bytes;
use proptest::prelude::*;

use crate::{Checkpoint, Delta, Order, Page, Partition, Position, StreamId, StreamState};

fn of_every_kind() -> Checkpoint {
    let orders = StreamId::in_schema("public", "orders");
    let odd = StreamId::new("dots. and \"quotes\"");
    let range = |stream: &StreamId, run, range| Partition::Range {
        stream: stream.clone(),
        run,
        range,
    };
    let reading = StreamState::Reading {
        run: 3,
        ranges: Bytes::from_static(b"\x00\xffranges"),
        given_up: vec![Page::new(0, 2), Page::new(7, 1)],
    };
    Checkpoint {
        marks: BTreeMap::from([
            (
                Partition::log("wal-7193"),
                Position::with_token(Order::new(2, 991, 4), b"lsn/1".to_vec()),
            ),
            (Partition::log("wal-7194"), Position::at(Order::new(0, 5, 0))),
            (
                range(&orders, 3, 0),
                Position::with_token(Order::new(0, 12, 0), vec![0, 1, 254, 255]),
            ),
            (range(&orders, 3, 7), Position::at(Order::new(0, 1, 0))),
        ]),
        streams: BTreeMap::from([
            (orders, reading),
            (odd, StreamState::Live { run: 1 }),
            (StreamId::new("new"), StreamState::reading(3, Bytes::new())),
        ]),
    }
}

#[test]
fn stored_checkpoint_loads_for_ever() {
    let stored = include_str!("golden/checkpoint.json");
    assert_eq!(serde_json::from_str::<Checkpoint>(stored).unwrap(), of_every_kind());
}

#[test]
fn checkpoint_is_still_written_as_it_was() {
    let stored: serde_json::Value = serde_json::from_str(include_str!("golden/checkpoint.json")).unwrap();
    assert_eq!(serde_json::to_value(of_every_kind()).unwrap(), stored);
}

#[test]
fn stored_delta_loads_for_ever() {
    let delta = Delta::of(
        Partition::log("wal"),
        Some(Order::new(0, 3, 0)),
        Position::at(Order::new(1, 0, 2)),
    )
    .with_stream(StreamId::new("t"), StreamState::Live { run: 9 });
    let stored = r#"{"moves":[{"partition":{"log":"wal"},"from":"3","to":{"order":"1:0.2"}}],"streams":[["t",{"state":"live","run":9}]]}"#;
    assert_eq!(serde_json::from_str::<Delta>(stored).unwrap(), delta);
    assert_eq!(serde_json::to_string(&delta).unwrap(), stored);
}

#[test]
fn checkpoint_prints_as_in_incident_logs() {
    assert_eq!(
        format!("{:?}", of_every_kind()),
        "Ckpt(wal-7193:2:991.4+5B wal-7194:5 public.orders#3/0:12+4B public.orders#3/7:1 | \
         dots\\. and \"quotes\" live(1) new reading(3) public.orders reading(3, 2 given up))"
    );
}

fn any_state() -> impl Strategy<Value = StreamState> {
    let page = (any::<u16>(), any::<u32>()).prop_map(|(range, number)| Page::new(range, number));
    let reading = (any::<u32>(), any::<Vec<u8>>(), proptest::collection::vec(page, 0..3));
    prop_oneof![
        any::<u32>().prop_map(|run| StreamState::Live { run }),
        reading.prop_map(|(run, ranges, given_up)| StreamState::Reading {
            run,
            ranges: ranges.into(),
            given_up
        }),
    ]
}

fn any_checkpoint() -> impl Strategy<Value = Checkpoint> {
    let stream = || r#"[a-z."\\]{1,6}"#.prop_map(|text| StreamId::parse(&text));
    let partition = prop_oneof![
        "[a-z0-9:/ ]{0,8}".prop_map(Partition::log),
        (stream(), any::<u32>(), any::<u16>()).prop_map(|(stream, run, range)| Partition::Range { stream, run, range }),
    ];
    let order = (any::<u32>(), any::<u64>(), any::<u32>()).prop_map(|(i, k, o)| Order::new(i, k, o));
    let position = (order, any::<Vec<u8>>()).prop_map(|(order, token)| Position::with_token(order, token));
    let marks = proptest::collection::btree_map(partition, position, 0..4);
    let streams = proptest::collection::btree_map(stream(), any_state(), 0..4);
    (marks, streams).prop_map(|(marks, streams)| Checkpoint { marks, streams })
}

proptest! {
    #[test]
    fn every_checkpoint_survives_a_round_trip_through_json(checkpoint in any_checkpoint()) {
        let json = serde_json::to_string(&checkpoint).unwrap();
        prop_assert_eq!(serde_json::from_str::<Checkpoint>(&json).unwrap(), checkpoint);
    }
}
