//! What every [`StateStore`] promises, one function for each promise. A promise that is broken panics.
//!
//! Each takes `open`, which opens the same empty store again and again: a durable store is opened from its files, one that
//! lives in memory hands out the same memory. What one opening wrote, the next must find.
//!
//! ```no_run
//! # async fn example() {
//! let memory = highwater_state::MemoryStore::new();
//! highwater_state::conformance::put_is_found_again(|| memory.clone()).await;
//! # }
//! ```

use std::collections::BTreeMap;

use bytes::Bytes;
use model::{Checkpoint, DestinationId, Order, Page, Partition, PipelineId, Position, StreamId, StreamState};

use crate::{PendingRead, StateError, StateStore, Stored};

fn shop() -> PipelineId {
    PipelineId::from("shop")
}

fn warehouse() -> DestinationId {
    DestinationId::from("warehouse")
}

/// A value in which every field says something.
pub fn full_value() -> Stored {
    let orders = StreamId::in_schema("public", "or.ders");
    let range = Partition::Range {
        stream: orders.clone(),
        run: 3,
        range: 1,
    };
    let log = Partition::log("sqlite:7f3a");
    let mut reading = StreamState::reading(3, vec![0, 255, 7]);
    if let StreamState::Reading { given_up, .. } = &mut reading {
        given_up.push(Page::new(1, 4));
    }
    let checkpoint = Checkpoint {
        marks: BTreeMap::from([
            (log, Position::with_token(Order::new(1, u64::MAX, 2), vec![1, 0, 254])),
            (range, Position::at(Page::new(1, 9).order())),
        ]),
        streams: BTreeMap::from([
            (orders.clone(), reading),
            (StreamId::new("ключ"), StreamState::Live { run: 2 }),
        ]),
    };
    Stored {
        epoch: 0,
        generation: 41,
        source: Some("sqlite:7f3a".to_owned()),
        checkpoint,
        plan_hash: Some("9f2c".to_owned()),
        needs_resync: Some("the spool let it go at 128".to_owned()),
        pending_reads: vec![PendingRead {
            streams: vec![orders],
            empty_first: true,
            after_run: 3,
        }],
    }
}

/// A small value that says which one it is.
pub fn value_at(key: u64) -> Stored {
    Stored {
        checkpoint: Checkpoint {
            marks: BTreeMap::from([(Partition::log("log"), Position::at(Order::new(0, key, 0)))]),
            streams: BTreeMap::new(),
        },
        ..Stored::default()
    }
}

/// Nothing is stored in an empty store.
pub async fn empty_store_holds_nothing<S: StateStore>(open: impl Fn() -> S) {
    let store = open();
    assert!(store.load(&shop()).await.expect("load").is_empty());
    assert!(store.load_kept(&shop()).await.expect("load_kept").is_empty());
    assert!(store.pipelines().await.expect("pipelines").is_empty());
}

/// A value comes back whole, with the new epoch in it, at once and after the next opening.
pub async fn put_is_found_again<S: StateStore>(open: impl Fn() -> S) {
    let value = full_value();
    let store = open();
    let epoch = store.put(&shop(), &warehouse(), &value, 0).await.expect("put");
    assert_eq!(epoch, 1, "the first epoch");
    let expected = BTreeMap::from([(warehouse(), Stored { epoch, ..value })]);
    assert_eq!(store.load(&shop()).await.expect("load"), expected);
    drop(store);
    assert_eq!(open().load(&shop()).await.expect("load"), expected);
}

/// The epoch inside a value that is put means nothing.
pub async fn put_ignores_the_epoch_of_the_value<S: StateStore>(open: impl Fn() -> S) {
    let store = open();
    let value = Stored {
        epoch: 99,
        ..value_at(1)
    };
    assert_eq!(store.put(&shop(), &warehouse(), &value, 0).await.expect("put"), 1);
    assert_eq!(store.load(&shop()).await.expect("load")[&warehouse()].epoch, 1);
}

/// A value replaces the one before it as a whole.
pub async fn put_replaces_the_whole_value<S: StateStore>(open: impl Fn() -> S) {
    let store = open();
    let first = store.put(&shop(), &warehouse(), &full_value(), 0).await.expect("put");
    let second = store
        .put(&shop(), &warehouse(), &value_at(2), first)
        .await
        .expect("put");
    assert_eq!(second, 2);
    let expected = Stored {
        epoch: second,
        ..value_at(2)
    };
    drop(store);
    assert_eq!(open().load(&shop()).await.expect("load")[&warehouse()], expected);
}

/// A write that names another epoch than the stored one is refused, names both, and changes nothing.
pub async fn put_refuses_another_epoch<S: StateStore>(open: impl Fn() -> S) {
    let store = open();
    store.put(&shop(), &warehouse(), &value_at(1), 0).await.expect("put");
    store.put(&shop(), &warehouse(), &value_at(2), 1).await.expect("put");
    for wrong in [0, 1, 3, u64::MAX] {
        let refused = store.put(&shop(), &warehouse(), &value_at(9), wrong).await;
        match refused {
            Err(error @ StateError::Epoch { expected, found, .. }) => {
                assert_eq!((expected, found), (wrong, 2));
                assert!(!error.is_fatal_io(), "a conflict is no I/O error");
            }
            other => panic!("expected a conflict, got {other:?}"),
        }
    }
    let other = store.put(&shop(), &DestinationId::from("lake"), &value_at(9), 1).await;
    assert!(matches!(other, Err(StateError::Epoch { found: 0, .. })), "{other:?}");
    let expected = Stored {
        epoch: 2,
        ..value_at(2)
    };
    assert_eq!(
        store.load(&shop()).await.expect("load"),
        BTreeMap::from([(warehouse(), expected)])
    );
}

/// Destinations and pipelines do not touch each other, however their names look.
pub async fn names_keep_values_apart<S: StateStore>(open: impl Fn() -> S) {
    let names = ["a", "b", "ab", "a/b", "a\0b", "", "a.b", "ü"];
    let store = open();
    let mut key = 0;
    for pipeline in names {
        for destination in names {
            key += 1;
            let put = store
                .put(&pipeline.into(), &destination.into(), &value_at(key), 0)
                .await;
            assert_eq!(put.expect("put"), 1);
        }
    }
    drop(store);
    let store = open();
    let mut key = 0;
    for pipeline in names {
        let loaded = store.load(&pipeline.into()).await.expect("load");
        assert_eq!(loaded.len(), names.len(), "{pipeline:?}");
        for destination in names {
            key += 1;
            let expected = Stored {
                epoch: 1,
                ..value_at(key)
            };
            assert_eq!(
                loaded[&DestinationId::from(destination)],
                expected,
                "{pipeline:?}/{destination:?}"
            );
        }
    }
}

/// What a source keeps is replaced as a whole, and comes back byte for byte.
pub async fn kept_values_are_replaced_as_a_whole<S: StateStore>(open: impl Fn() -> S) {
    let all: Vec<u8> = (0..=255).collect();
    let first = BTreeMap::from([
        ("run".to_owned(), Bytes::from_static(b"7")),
        ("slot".to_owned(), Bytes::from(all)),
        (String::new(), Bytes::new()),
    ]);
    let store = open();
    store.put_kept(&shop(), &first).await.expect("put_kept");
    assert_eq!(store.load_kept(&shop()).await.expect("load_kept"), first);
    assert!(
        store.load(&shop()).await.expect("load").is_empty(),
        "kept values are no destinations"
    );
    drop(store);

    let store = open();
    assert_eq!(store.load_kept(&shop()).await.expect("load_kept"), first);
    let second = BTreeMap::from([("run".to_owned(), Bytes::from_static(b"8"))]);
    store.put_kept(&shop(), &second).await.expect("put_kept");
    drop(store);
    assert_eq!(open().load_kept(&shop()).await.expect("load_kept"), second);
}

/// Pipelines are listed in the order of their names, whichever kind of value they have.
pub async fn pipelines_are_listed_in_order<S: StateStore>(open: impl Fn() -> S) {
    let store = open();
    store.put(&"b".into(), &"x".into(), &value_at(1), 0).await.expect("put");
    store.put(&"b".into(), &"y".into(), &value_at(1), 0).await.expect("put");
    store.put_kept(&"a".into(), &BTreeMap::new()).await.expect("put_kept");
    store.put_kept(&"c".into(), &BTreeMap::new()).await.expect("put_kept");
    drop(store);
    let expected: Vec<PipelineId> = ["a", "b", "c"].map(PipelineId::from).to_vec();
    assert_eq!(open().pipelines().await.expect("pipelines"), expected);
}

/// Forgetting removes all of one pipeline and nothing of another, for good; epochs begin again.
pub async fn forget_removes_one_pipeline<S: StateStore>(open: impl Fn() -> S) {
    let store = open();
    let kept = BTreeMap::from([("run".to_owned(), Bytes::from_static(b"7"))]);
    for pipeline in ["shop", "shop2"] {
        store
            .put(&pipeline.into(), &"x".into(), &value_at(1), 0)
            .await
            .expect("put");
        store
            .put(&pipeline.into(), &"y".into(), &value_at(1), 0)
            .await
            .expect("put");
        store.put_kept(&pipeline.into(), &kept).await.expect("put_kept");
    }
    assert!(store.forget(&shop()).await.expect("forget"), "there was something");
    assert!(!store.forget(&shop()).await.expect("forget"), "now there is not");
    drop(store);

    let store = open();
    assert!(store.load(&shop()).await.expect("load").is_empty());
    assert!(store.load_kept(&shop()).await.expect("load_kept").is_empty());
    assert_eq!(store.pipelines().await.expect("pipelines"), [PipelineId::from("shop2")]);
    assert_eq!(store.load(&"shop2".into()).await.expect("load").len(), 2);
    assert_eq!(store.load_kept(&"shop2".into()).await.expect("load_kept"), kept);
    assert_eq!(store.put(&shop(), &"x".into(), &value_at(5), 0).await.expect("put"), 1);
    drop(store);
    assert_eq!(open().load(&shop()).await.expect("load").len(), 1);
}

/// Of many who want to replace the same value, one does; of many with different values, all do.
pub async fn concurrent_writes_are_decided_one_by_one<S: StateStore + 'static>(open: impl Fn() -> S) {
    let store = std::sync::Arc::new(open());
    let mut rivals = tokio::task::JoinSet::new();
    for key in 0..16 {
        let store = store.clone();
        rivals.spawn(async move { store.put(&shop(), &warehouse(), &value_at(key), 0).await });
    }
    let outcomes = rivals.join_all().await;
    assert_eq!(
        outcomes.iter().filter(|outcome| outcome.is_ok()).count(),
        1,
        "{outcomes:?}"
    );

    let mut strangers = tokio::task::JoinSet::new();
    for key in 0..32 {
        let store = store.clone();
        strangers.spawn(async move {
            let destination = DestinationId::new(format!("d{key}"));
            let mut epoch = 0;
            for _ in 0..4 {
                epoch = store
                    .put(&shop(), &destination, &value_at(key), epoch)
                    .await
                    .expect("put");
            }
            epoch
        });
    }
    assert!(strangers.join_all().await.into_iter().all(|epoch| epoch == 4));
    drop(store);
    let loaded = open().load(&shop()).await.expect("load");
    assert_eq!(loaded.len(), 33);
    for key in 0..32 {
        let expected = Stored {
            epoch: 4,
            ..value_at(key)
        };
        assert_eq!(loaded[&DestinationId::new(format!("d{key}"))], expected);
    }
}
