//! The memory home against its promises: cursors, windows, rewinds, holding and letting go.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::FutureExt;
use highwater_spool::{Attach, Cursor, LaneId, MemorySpool, Next, Permit, Spool, WhenBehind};
use model::{
    ChangeSet, Checkpoint, Control, Delta, DestinationId, Order, Part, Partition, Place, Position, StreamId,
    StreamState,
};
use proptest::prelude::*;

fn order(key: u64) -> Order {
    Order::new(0, key, 0)
}

/// A changeset that moves the log from `key - 1` to `key` and claims to be of this size.
fn changeset(key: u64, size_bytes: usize) -> Arc<ChangeSet> {
    let delta = Delta::of(Partition::log("log"), Some(order(key - 1)), Position::at(order(key)));
    let mut changeset = ChangeSet::rows(delta, Vec::new());
    changeset.size_bytes = size_bytes;
    Arc::new(changeset)
}

fn part(part: Part, delta: Delta) -> Arc<ChangeSet> {
    Arc::new(ChangeSet::part(part, delta, Vec::new()))
}

/// A truncate between the rows of the transaction at `key`.
fn truncate_inside(key: u64) -> Arc<ChangeSet> {
    let place = Place {
        log: Partition::log("log"),
        order: order(key),
    };
    let stream = StreamId::new("items");
    Arc::new(ChangeSet::control_part(
        Part::Middle,
        Delta::none(),
        Control::Truncate { stream },
        place,
    ))
}

/// A destination that holds the log up to `key`.
fn at(key: u64) -> Checkpoint {
    let mut checkpoint = Checkpoint::default();
    checkpoint.marks.insert(Partition::log("log"), Position::at(order(key)));
    checkpoint
        .streams
        .insert(StreamId::new("items"), StreamState::Live { run: 1 });
    checkpoint
}

fn lane(name: &str, when_behind: WhenBehind) -> LaneId {
    LaneId {
        destination: DestinationId::new(name),
        when_behind,
    }
}

async fn cursor(spool: &MemorySpool, lane: &LaneId, from: u64) -> Box<dyn Cursor> {
    match spool.cursor(lane, &at(from)).await.unwrap() {
        Attach::Here(cursor) => cursor,
        Attach::OutOfReach => panic!("{from} is in reach"),
    }
}

fn key_of(next: Next) -> u64 {
    match next {
        Next::Delivery(delivery) => delivery.changeset.delta.moves[0].to.order.key(),
        other => panic!("not a delivery: {other:?}"),
    }
}

/// What a cursor gives without waiting.
fn ready(cursor: &mut Box<dyn Cursor>) -> Option<Next> {
    cursor.next().now_or_never().map(Result::unwrap)
}

fn append(spool: &MemorySpool, key: u64, size_bytes: usize) -> bool {
    spool
        .append(changeset(key, size_bytes), Permit::none())
        .now_or_never()
        .is_some()
}

const KIB: usize = 1024;

#[tokio::test]
async fn every_cursor_reads_everything_in_order() {
    let spool = MemorySpool::new(1 << 20);
    let (a, b) = (lane("a", WhenBehind::Hold), lane("b", WhenBehind::Hold));
    let (mut at_a, mut at_b) = (cursor(&spool, &a, 0).await, cursor(&spool, &b, 0).await);
    assert!((1..=5).all(|key| append(&spool, key, 10)));
    assert_eq!(
        (1..=5).map(|_| key_of(ready(&mut at_a).unwrap())).collect::<Vec<_>>(),
        [1, 2, 3, 4, 5]
    );
    assert_eq!(key_of(ready(&mut at_b).unwrap()), 1);
    assert!(ready(&mut at_a).is_none(), "nothing is left for `a`");
    spool.close().await;
    assert!(matches!(ready(&mut at_a), Some(Next::Closed)));
    assert_eq!(key_of(ready(&mut at_b).unwrap()), 2, "`b` reads on behind the close");
}

#[tokio::test]
async fn append_waits_for_a_lane_that_holds_and_names_it() {
    let spool = MemorySpool::new(4 * KIB);
    let (quick, slow) = (lane("quick", WhenBehind::Hold), lane("slow", WhenBehind::Hold));
    let (mut at_quick, mut at_slow) = (cursor(&spool, &quick, 0).await, cursor(&spool, &slow, 0).await);
    assert!(append(&spool, 1, KIB) && append(&spool, 2, KIB));
    ready(&mut at_quick).unwrap();
    ready(&mut at_quick).unwrap();
    assert!(
        !append(&spool, 3, KIB),
        "the window is full of what `slow` has not read"
    );
    assert_eq!(spool.status().held_by, Some(DestinationId::new("slow")));
    ready(&mut at_slow).unwrap();
    assert!(append(&spool, 3, KIB));
    assert_eq!(spool.status().held_by, None);
}

#[tokio::test]
async fn lane_that_may_be_let_go_is_let_go_instead() {
    let spool = MemorySpool::new(4 * KIB);
    let (quick, slow) = (lane("quick", WhenBehind::Hold), lane("slow", WhenBehind::LetGo));
    let (mut at_quick, mut at_slow) = (cursor(&spool, &quick, 0).await, cursor(&spool, &slow, 0).await);
    for key in 1..=4 {
        assert!(append(&spool, key, KIB), "nobody waits for `slow`");
        assert_eq!(key_of(ready(&mut at_quick).unwrap()), key);
    }
    assert!(matches!(ready(&mut at_slow), Some(Next::LetGo)));
    assert!(!at_slow.rewind(&at(0)), "what it needs is gone");
}

#[tokio::test]
async fn cache_serves_a_rewind_until_it_is_evicted() {
    let spool = MemorySpool::new(8 * KIB);
    let a = lane("a", WhenBehind::Hold);
    let mut at_a = cursor(&spool, &a, 0).await;
    for key in 1..=3 {
        assert!(append(&spool, key, KIB));
        ready(&mut at_a).unwrap();
    }
    assert!(at_a.rewind(&at(1)));
    assert_eq!(key_of(ready(&mut at_a).unwrap()), 2);
    ready(&mut at_a).unwrap();
    for key in 4..=10 {
        assert!(append(&spool, key, KIB), "what was read makes room");
        ready(&mut at_a).unwrap();
    }
    assert!(!at_a.rewind(&at(1)), "2 was evicted and is not durable");
    assert!(at_a.rewind(&at(9)), "10 is still there");
    assert_eq!(key_of(ready(&mut at_a).unwrap()), 10);
}

#[tokio::test]
async fn transaction_in_parts_is_rewound_to_its_first_part() {
    let spool = MemorySpool::new(1 << 20);
    let a = lane("a", WhenBehind::Hold);
    let mut at_a = cursor(&spool, &a, 0).await;
    append(&spool, 1, 10);
    let last = Delta::of(Partition::log("log"), Some(order(1)), Position::at(order(2)));
    for piece in [
        part(Part::First, Delta::none()),
        truncate_inside(2),
        part(Part::Middle, Delta::none()),
        part(Part::Last, last),
    ] {
        spool.append(piece, Permit::none()).await.unwrap();
    }
    (0..4).for_each(|_| drop(ready(&mut at_a).unwrap()));
    assert!(at_a.rewind(&at(1)));
    let Some(Next::Delivery(delivery)) = ready(&mut at_a) else {
        panic!("delivers")
    };
    assert_eq!(delivery.changeset.part, Part::First);
}

#[tokio::test]
async fn transaction_with_a_control_in_it_is_out_of_reach_when_it_was_evicted() {
    let spool = MemorySpool::new(8 * KIB);
    let a = lane("a", WhenBehind::Hold);
    let mut at_a = cursor(&spool, &a, 0).await;
    append(&spool, 1, 10);
    let last = Delta::of(Partition::log("log"), Some(order(1)), Position::at(order(2)));
    for piece in [
        part(Part::First, Delta::none()),
        truncate_inside(2),
        part(Part::Last, last),
    ] {
        spool.append(piece, Permit::none()).await.unwrap();
    }
    (0..4).for_each(|_| drop(ready(&mut at_a).unwrap()));
    for key in 3..=10 {
        assert!(append(&spool, key, KIB), "what was read makes room");
        ready(&mut at_a).unwrap();
    }
    let b = lane("b", WhenBehind::Hold);
    for key in [0, 1, 2] {
        assert!(!at_a.rewind(&at(key)), "what follows {key} is gone");
        assert!(matches!(spool.cursor(&b, &at(key)).await.unwrap(), Attach::OutOfReach));
    }
    assert!(at_a.rewind(&at(9)));
    assert_eq!(key_of(ready(&mut at_a).unwrap()), 10);
}

#[tokio::test]
async fn late_lane_is_out_of_reach_of_what_was_dropped_as_durable() {
    let spool = MemorySpool::new(1 << 20);
    let a = lane("a", WhenBehind::Hold);
    let mut at_a = cursor(&spool, &a, 0).await;
    for key in 1..=5 {
        append(&spool, key, 10);
        ready(&mut at_a).unwrap();
    }
    spool.durable(&a, &at(3)).await.unwrap();
    let b = lane("b", WhenBehind::Hold);
    assert!(matches!(spool.cursor(&b, &at(2)).await.unwrap(), Attach::OutOfReach));
    assert_eq!(key_of(ready(&mut cursor(&spool, &b, 3).await).unwrap()), 4);
}

#[tokio::test]
async fn memory_is_given_back_when_the_last_holder_drops_it() {
    struct Held(Arc<AtomicUsize>);
    impl Drop for Held {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
    let freed = Arc::new(AtomicUsize::new(0));
    let spool = MemorySpool::new(1 << 20);
    let a = lane("a", WhenBehind::Hold);
    let mut at_a = cursor(&spool, &a, 0).await;
    spool
        .append(changeset(1, 10), Permit::holding(Held(Arc::clone(&freed))))
        .await
        .unwrap();
    let delivery = ready(&mut at_a).unwrap();
    spool.durable(&a, &at(1)).await.unwrap();
    assert_eq!(freed.load(Ordering::SeqCst), 0, "the reader still has it");
    drop(delivery);
    assert_eq!(freed.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn cursor_stops_where_it_was_told_to() {
    let spool = MemorySpool::new(1 << 20);
    let mut at_a = cursor(&spool, &lane("a", WhenBehind::Hold), 0).await;
    at_a.stop_at(&at(2));
    assert!((1..=4).all(|key| append(&spool, key, 10)));
    assert_eq!(
        [key_of(ready(&mut at_a).unwrap()), key_of(ready(&mut at_a).unwrap())],
        [1, 2]
    );
    assert!(matches!(ready(&mut at_a), Some(Next::Stopped)));
}

#[derive(Debug, Clone)]
enum Step {
    Append(usize),
    Read(usize),
    Durable(usize),
    Rewind(usize),
}

fn step(lanes: usize) -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1usize..2000).prop_map(Step::Append),
        6 => (0..lanes).prop_map(Step::Read),
        2 => (0..lanes).prop_map(Step::Durable),
        1 => (0..lanes).prop_map(Step::Rewind),
    ]
}

/// A lane of the property test: applies what it is delivered to a checkpoint, as a real one does.
struct Applied {
    lane: LaneId,
    cursor: Box<dyn Cursor>,
    accepted: Checkpoint,
    durable: Checkpoint,
    is_gone: bool,
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever is appended, read, made durable and rewound: a lane never meets a hole, the window stays within its bound,
    /// and a lane is out of reach only if it may be let go or something it had read was evicted.
    #[test]
    fn lanes_never_meet_a_hole_and_the_window_stays_bounded(steps in prop::collection::vec(step(3), 1..200), max_kib in 2usize..12) {
        let spool = MemorySpool::new(max_kib * KIB);
        let kinds = [WhenBehind::Hold, WhenBehind::Hold, WhenBehind::LetGo];
        let mut lanes: Vec<Applied> = kinds
            .iter()
            .enumerate()
            .map(|(i, &kind)| {
                let lane = lane(&format!("d{i}"), kind);
                let Attach::Here(cursor) = spool.cursor(&lane, &at(0)).now_or_never().unwrap().unwrap() else { panic!("empty") };
                Applied { lane, cursor, accepted: at(0), durable: at(0), is_gone: false }
            })
            .collect();
        let mut head = 0;
        for step in steps {
            match step {
                Step::Append(size) => head += u64::from(append(&spool, head + 1, size)),
                Step::Read(i) if !lanes[i].is_gone => match ready(&mut lanes[i].cursor) {
                    Some(Next::Delivery(delivery)) => {
                        let applied = &mut lanes[i];
                        let admission = applied.accepted.admit(&applied.lane.destination, &delivery.changeset).expect("no hole");
                        applied.accepted.apply(&admission.delta).expect("no hole");
                    }
                    Some(Next::LetGo) => {
                        prop_assert_eq!(lanes[i].lane.when_behind, WhenBehind::LetGo);
                        lanes[i].is_gone = true;
                    }
                    Some(other) => prop_assert!(false, "{:?}", other),
                    None => prop_assert_eq!(&lanes[i].accepted, &at(head), "nothing to read, so everything was read"),
                },
                Step::Durable(i) => {
                    lanes[i].durable = lanes[i].accepted.clone();
                    spool.durable(&lanes[i].lane, &lanes[i].durable).now_or_never().unwrap().unwrap();
                }
                Step::Rewind(i) if !lanes[i].is_gone => {
                    let to = lanes[i].durable.clone();
                    if lanes[i].cursor.rewind(&to) {
                        lanes[i].accepted = to;
                    } else {
                        // It reads on from where it was; a real lane would ask for a rewind of the source.
                        let may_be_gone = lanes[i].lane.when_behind == WhenBehind::LetGo;
                        prop_assert!(may_be_gone || lanes[i].accepted != to, "nothing was accepted beyond what is durable");
                    }
                }
                Step::Read(_) | Step::Rewind(_) => {}
            }
            let status = spool.status();
            let largest = 2000 + KIB;
            prop_assert!(status.window_bytes <= status.window_max_bytes.max(largest), "{} bytes", status.window_bytes);
        }
    }
}
