use std::time::Duration;

use api::testing::Transaction;
use highwater_actors::{DestinationState, Outcome};
use spool::WhenBehind;

use crate::stage::{DEADLINE, Stage, item, state_of, until_status};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn existing_rows_and_changes_reach_every_destination() {
    let stage = Stage::new(["a", "b"]);
    (0..500).for_each(|id| stage.insert(id));
    let runtime = stage.start().await;
    stage.until_equal().await;
    let stream = stage.stream().clone();
    stage.script.commit(
        Transaction::new()
            .delete(&stream, item(3))
            .update(&stream, item(4))
            .rekey(&stream, item(5), item(5_000)),
    );
    (500..700).for_each(|id| stage.insert(id));
    stage.until_equal().await;
    assert!(runtime.drain(DEADLINE).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn drain_commits_everything_that_was_received_and_ends_as_drained() {
    let stage = Stage::new(["a"]);
    let runtime = stage.start().await;
    (0..300).for_each(|id| stage.insert(id));
    until_status(&runtime, "received", |status| status.source.rows >= 300).await;
    assert!(runtime.drain(DEADLINE).await);
    assert!(matches!(runtime.ends().outcomes[&stage.pipeline()], Outcome::Drained));
    assert_eq!(stage.sides[0].replica.row_count(stage.stream()), 300);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn full_batch_is_committed_although_more_is_waiting() {
    let mut stage = Stage::new(["a"]);
    stage.script.set_pages(50, 1_000);
    stage.sides[0].batch.rows_max = 100;
    stage.sides[0].batch.wait_max = Duration::from_secs(3600);
    // Slower than the source, so that something always waits.
    stage.sides[0].pace.delays(Duration::from_millis(2), Duration::ZERO);
    (0..5_000).for_each(|id| stage.insert(id));
    let commits = stage.sides[0].replica.commits();
    let runtime = stage.start().await;
    stage.until_equal().await;
    let count = *commits.borrow();
    assert!(count >= 50, "5,000 rows in {count} commits of at most 100 rows");
    assert!(runtime.drain(DEADLINE).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn second_runtime_goes_on_where_the_first_stopped() {
    let stage = Stage::new(["a", "b"]);
    (0..100).for_each(|id| stage.insert(id));
    let runtime = stage.start().await;
    stage.until_equal().await;
    assert!(runtime.drain(DEADLINE).await);
    (100..200).for_each(|id| stage.insert(id));
    let runtime = stage.start().await;
    stage.until_equal().await;
    let status = until_status(&runtime, "live", |s| {
        s.destinations.iter().all(|d| d.state == DestinationState::Live)
    })
    .await;
    assert_eq!(status.source.rows, 100, "nothing is read twice");
    assert!(runtime.drain(DEADLINE).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn source_is_acknowledged_only_what_every_destination_has_durable() {
    let stage = Stage::new(["a", "b"]);
    let runtime = stage.start().await;
    until_status(&runtime, "live", |s| {
        s.destinations.iter().all(|d| d.state == DestinationState::Live)
    })
    .await;
    stage.sides[1].pace.delays(Duration::ZERO, Duration::from_secs(3600));
    (0..50).for_each(|id| stage.insert(id));
    stage.until_side_equal(&stage.sides[0]).await;
    let first = stage.script.acknowledged();
    assert!(
        first < stage.script.head(),
        "acknowledged {first} although `b` has committed nothing of it"
    );
    stage.sides[1].pace.delays(Duration::ZERO, Duration::ZERO);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acknowledgement_follows_when_everything_is_durable() {
    let stage = Stage::new(["a", "b"]);
    let runtime = stage.start().await;
    (0..50).for_each(|id| stage.insert(id));
    stage.until_equal().await;
    let head = stage.script.head();
    let started = std::time::Instant::now();
    while stage.script.acknowledged() < head {
        assert!(
            started.elapsed() < DEADLINE,
            "acknowledged {} of {head}",
            stage.script.acknowledged()
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(runtime.drain(DEADLINE).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_destination_that_holds_is_named_and_nothing_is_lost() {
    let mut stage = Stage::new(["quick", "slow"]);
    stage.window_max_bytes = 32 << 10;
    let runtime = stage.start().await;
    until_status(&runtime, "live", |s| {
        s.destinations.iter().all(|d| d.state == DestinationState::Live)
    })
    .await;
    stage.sides[1].pace.delays(Duration::from_millis(200), Duration::ZERO);
    (0..400).for_each(|id| {
        stage.insert(id);
        std::thread::sleep(Duration::from_micros(200));
    });
    let slow = stage.sides[1].id.clone();
    let status = until_status(&runtime, "holding", |s| state_of(s, &slow) == DestinationState::Holding).await;
    assert_eq!(status.spool.held_by.as_deref(), Some("slow"));
    stage.sides[1].pace.delays(Duration::ZERO, Duration::ZERO);
    stage.until_equal().await;
    assert!(runtime.drain(DEADLINE).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_destination_that_is_let_go_leaves_the_other_alone_and_catches_up() {
    let mut stage = Stage::new(["quick", "slow"]);
    stage.window_max_bytes = 32 << 10;
    stage.sides[1].when_behind = WhenBehind::LetGo;
    let runtime = stage.start().await;
    until_status(&runtime, "live", |s| {
        s.destinations.iter().all(|d| d.state == DestinationState::Live)
    })
    .await;
    stage.sides[1].pace.delays(Duration::from_millis(300), Duration::ZERO);
    for id in 0..400 {
        stage.insert(id);
        tokio::time::sleep(Duration::from_micros(500)).await;
    }
    stage.until_side_equal(&stage.sides[0]).await;
    stage.sides[1].pace.delays(Duration::ZERO, Duration::ZERO);
    stage.until_equal().await;
    assert!(runtime.drain(DEADLINE).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transaction_larger_than_the_budget_arrives_whole() {
    let mut stage = Stage::new(["a", "b"]);
    stage.memory_bytes = 256 << 10;
    stage.window_max_bytes = 64 << 10;
    let runtime = stage.start().await;
    until_status(&runtime, "live", |s| {
        s.destinations.iter().all(|d| d.state == DestinationState::Live)
    })
    .await;
    let stream = stage.stream().clone();
    let large = (0..40_000).fold(Transaction::new(), |transaction, id| {
        transaction.insert(&stream, item(id))
    });
    stage.script.commit(large);
    stage.until_equal().await;
    assert!(runtime.drain(DEADLINE).await);
}
