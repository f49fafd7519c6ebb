use std::sync::Arc;

use api::conformance::sample;
use highwater_actors::{DestinationState, Resync};
use model::StreamId;

use crate::stage::{DEADLINE, Side, Stage, state_of, until_status};

fn resync(destination: Option<&Side>) -> Resync {
    Resync {
        streams: Vec::new(),
        destinations: destination.map(|side| side.id.clone()).into_iter().collect(),
        empty_first: true,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn resync_of_one_destination_leaves_the_other_alone() {
    let stage = Stage::new(["a", "b"]);
    (0..300).for_each(|id| stage.insert(id));
    let runtime = stage.start().await;
    stage.until_equal().await;
    let before = until_status(&runtime, "live", |s| {
        s.destinations.iter().all(|d| d.state == DestinationState::Live)
    })
    .await;
    let started = runtime
        .resync(&stage.pipeline(), resync(Some(&stage.sides[1])))
        .await
        .expect("accepted");
    assert_eq!(started.destinations, ["b"]);
    (300..400).for_each(|id| stage.insert(id));
    let rows_of_b = |s: &highwater_actors::PipelineStatus| s.destinations[1].rows;
    until_status(&runtime, "read again", |s| rows_of_b(s) >= rows_of_b(&before) + 300).await;
    stage.until_equal().await;
    let after = runtime.status().remove(0);
    assert_eq!(
        after.destinations[0].rows,
        before.destinations[0].rows + 100,
        "`a` got only the changes"
    );
    assert!(runtime.drain(DEADLINE).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn destination_and_stream_added_between_two_runs_are_brought_up() {
    let mut stage = Stage::new(["a"]);
    (0..200).for_each(|id| stage.insert(id));
    let runtime = stage.start().await;
    stage.until_equal().await;
    assert!(runtime.drain(DEADLINE).await);
    let events = sample::items_as(StreamId::new("more"));
    stage.script.add_stream(Arc::clone(&events));
    stage.streams.push(events);
    stage.sides.push(Side::new("b"));
    stage
        .script
        .commit(api::testing::Transaction::new().insert(&StreamId::new("more"), crate::stage::item(1)));
    (200..250).for_each(|id| stage.insert(id));
    let runtime = stage.start().await;
    stage.until_equal().await;
    assert!(runtime.drain(DEADLINE).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replaced_history_asks_for_a_resync_which_brings_it_up_again() {
    let stage = Stage::new(["a"]);
    (0..50).for_each(|id| stage.insert(id));
    let runtime = stage.start().await;
    stage.until_equal().await;
    assert!(runtime.drain(DEADLINE).await);
    stage.script.replace_history();
    (50..60).for_each(|id| stage.insert(id));
    let runtime = stage.start().await;
    let id = stage.sides[0].id.clone();
    let status = until_status(&runtime, "needs resync", |s| {
        state_of(s, &id) == DestinationState::NeedsResync
    })
    .await;
    assert!(
        status.destinations[0]
            .trouble
            .as_ref()
            .is_some_and(|trouble| trouble.hint.is_some())
    );
    runtime.resync(&stage.pipeline(), resync(None)).await.expect("accepted");
    stage.until_equal().await;
    until_status(&runtime, "live", |s| state_of(s, &id) == DestinationState::Live).await;
    assert!(runtime.drain(DEADLINE).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changed_transformers_ask_for_a_resync_of_that_destination_alone() {
    let mut stage = Stage::new(["a", "b"]);
    (0..50).for_each(|id| stage.insert(id));
    let runtime = stage.start().await;
    stage.until_equal().await;
    assert!(runtime.drain(DEADLINE).await);
    stage.sides[0].plan_hash = "another".to_owned();
    (50..80).for_each(|id| stage.insert(id));
    let runtime = stage.start().await;
    let id = stage.sides[0].id.clone();
    until_status(&runtime, "needs resync", |s| {
        state_of(s, &id) == DestinationState::NeedsResync
    })
    .await;
    stage.until_side_equal(&stage.sides[1]).await;
    runtime
        .resync(&stage.pipeline(), resync(Some(&stage.sides[0])))
        .await
        .expect("accepted");
    stage.until_equal().await;
    until_status(&runtime, "live", |s| state_of(s, &id) == DestinationState::Live).await;
    assert!(runtime.drain(DEADLINE).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn destination_that_went_back_says_so_and_a_resync_brings_it_up_again() {
    let mut stage = Stage::new(["a", "b"]);
    (0..50).for_each(|id| stage.insert(id));
    let runtime = stage.start().await;
    stage.until_equal().await;
    assert!(runtime.drain(DEADLINE).await);
    stage.sides[0].replica = api::testing::Replica::new();
    let runtime = stage.start().await;
    let id = stage.sides[0].id.clone();
    let status = until_status(&runtime, "needs resync", |s| {
        state_of(s, &id) == DestinationState::NeedsResync
    })
    .await;
    let trouble = status.destinations[0].trouble.clone().expect("a reason");
    assert!(trouble.error.contains("it went back"), "{}", trouble.error);
    runtime
        .resync(&stage.pipeline(), resync(Some(&stage.sides[0])))
        .await
        .expect("accepted");
    stage.until_equal().await;
    assert!(runtime.drain(DEADLINE).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn state_that_is_lost_costs_nothing_where_destinations_keep_their_checkpoint() {
    let mut stage = Stage::new(["a", "b"]);
    (0..50).for_each(|id| stage.insert(id));
    let runtime = stage.start().await;
    stage.until_equal().await;
    assert!(runtime.drain(DEADLINE).await);
    stage.store = Arc::new(state::MemoryStore::default());
    (50..80).for_each(|id| stage.insert(id));
    let runtime = stage.start().await;
    stage.until_equal().await;
    assert_eq!(runtime.status()[0].source.rows, 30, "only what is new is read");
    assert!(runtime.drain(DEADLINE).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn resync_of_an_unknown_stream_names_those_that_exist() {
    let stage = Stage::new(["a"]);
    let runtime = stage.start().await;
    let request = Resync {
        streams: vec![StreamId::new("nothing")],
        destinations: Vec::new(),
        empty_first: true,
    };
    let refused = runtime.resync(&stage.pipeline(), request).await.expect_err("unknown");
    assert_eq!(refused.to_string(), "cannot resync `shop`: it has no stream `nothing`");
    assert_eq!(refused.remedy(), Some("it has items"));
}
