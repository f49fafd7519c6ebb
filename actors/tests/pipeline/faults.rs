use std::time::Duration;

use api::Retry;
use api::testing::{Call, Fault, Transaction, When};
use highwater_actors::{DestinationState, Outcome};

use crate::stage::{DEADLINE, Stage, item, state_of, until_status};

/// Runs a stage of two destinations with a fault armed at the first, while rows keep coming.
async fn survives(call: Call, when: When, fault: Fault) {
    let stage = Stage::new(["sick", "well"]);
    (0..200).for_each(|id| stage.insert(id));
    let runtime = stage.start().await;
    stage.until_equal().await;
    stage.sides[0].faults.arm(call, when, fault);
    for id in 200..400 {
        stage.insert(id);
        tokio::time::sleep(Duration::from_micros(300)).await;
    }
    stage.until_side_equal(&stage.sides[1]).await;
    if when == When::Always {
        stage.sides[0].faults.heal();
    }
    stage.until_equal().await;
    assert!(stage.sides[0].faults.struck() > 0, "the fault never struck");
    assert!(runtime.drain(DEADLINE).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn destination_that_fails_to_write_resumes_without_a_row_twice() {
    survives(Call::Write, When::Nth(2), Fault::fail(Retry::After)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transaction_with_a_truncate_in_it_is_applied_once_after_a_failure_in_its_middle() {
    let stage = Stage::new(["sick", "well"]);
    let stream = stage.stream();
    (0..50).for_each(|id| stage.insert(id));
    let runtime = stage.start().await;
    stage.until_equal().await;
    for nth in 1..=3 {
        // Writing the part before the truncate, the truncate, the part after it.
        stage.sides[0]
            .faults
            .arm(Call::Write, When::Nth(nth), Fault::fail(Retry::After));
        let refill = Transaction::new().insert(stream, item(1_000)).truncate(stream);
        stage
            .script
            .commit((0..10).fold(refill, |refill, id| refill.insert(stream, item(id))));
        stage.until_equal().await;
        stage.insert(100);
        stage.until_equal().await;
    }
    assert_eq!(stage.sides[0].faults.struck(), 3);
    assert!(runtime.drain(DEADLINE).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn destination_that_fails_to_commit_resumes_without_a_row_twice() {
    survives(Call::Commit, When::Nth(1), Fault::fail(Retry::After)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lost_answer_of_a_commit_is_read_back_and_not_guessed() {
    survives(Call::Commit, When::Nth(2), Fault::lose_answer()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn destination_that_fails_for_a_while_catches_up_when_healed() {
    survives(Call::Write, When::Always, Fault::fail(Retry::After)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parked_destination_goes_on_when_an_operator_has_helped_it() {
    survives(Call::Commit, When::Always, Fault::fail(Retry::Operator)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn destination_that_panics_is_restarted_and_the_other_runs_on() {
    survives(Call::Write, When::Nth(1), Fault::Panic).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn destination_that_panics_in_commit_loses_and_doubles_nothing() {
    survives(Call::Commit, When::Nth(1), Fault::Panic).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn destination_that_cannot_be_opened_at_start_joins_later() {
    let stage = Stage::new(["late", "well"]);
    (0..100).for_each(|id| stage.insert(id));
    stage.sides[0]
        .faults
        .arm(Call::Open, When::Always, Fault::fail(Retry::After));
    let runtime = stage.start().await;
    stage.until_side_equal(&stage.sides[1]).await;
    (100..150).for_each(|id| stage.insert(id));
    stage.until_side_equal(&stage.sides[1]).await;
    let late = stage.sides[0].id.clone();
    until_status(&runtime, "retrying", |s| {
        state_of(s, &late) == DestinationState::Retrying
    })
    .await;
    stage.sides[0].faults.heal();
    stage.until_equal().await;
    assert!(runtime.drain(DEADLINE).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stuck_destination_is_restarted() {
    let mut stage = Stage::new(["stuck", "well"]);
    stage.limits.stuck_after = Duration::from_millis(300);
    let runtime = stage.start().await;
    stage.insert(1);
    stage.until_equal().await;
    stage.sides[0].faults.arm(Call::Write, When::Nth(1), Fault::Hang);
    (2..50).for_each(|id| stage.insert(id));
    stage.until_equal().await;
    assert!(stage.sides[0].faults.struck() > 0);
    assert!(runtime.drain(DEADLINE).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn source_that_fails_is_opened_again_and_nothing_is_lost_or_doubled() {
    for fault in [Fault::fail(Retry::After), Fault::Panic] {
        let stage = Stage::new(["a", "b"]);
        (0..100).for_each(|id| stage.insert(id));
        let runtime = stage.start().await;
        stage.until_equal().await;
        stage.source_faults.arm(Call::Next, When::Nth(3), fault);
        for id in 100..200 {
            stage.insert(id);
            tokio::time::sleep(Duration::from_micros(300)).await;
        }
        stage.until_equal().await;
        assert!(stage.source_faults.struck() > 0, "the fault never struck");
        assert!(runtime.drain(DEADLINE).await);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn source_that_can_never_be_read_fails_the_pipeline() {
    let stage = Stage::new(["a"]);
    stage
        .source_faults
        .arm(Call::Open, When::Always, Fault::fail(Retry::Never));
    let runtime = stage.start().await;
    let ends = tokio::time::timeout(DEADLINE, runtime.all_ended()).await.expect("ends");
    assert!(matches!(ends.outcomes[&stage.pipeline()], Outcome::Failed(_)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fenced_destination_stops_the_pipeline_and_is_not_retried() {
    let stage = Stage::new(["a", "b"]);
    let runtime = stage.start().await;
    stage.insert(1);
    stage.until_equal().await;
    stage.sides[0]
        .faults
        .arm(Call::Commit, When::Nth(1), Fault::fail(Retry::Fenced));
    stage.insert(2);
    let ends = tokio::time::timeout(DEADLINE, runtime.all_ended()).await.expect("ends");
    assert!(matches!(ends.outcomes[&stage.pipeline()], Outcome::Fenced(_)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failed_acknowledgement_is_made_good_by_the_next() {
    let stage = Stage::new(["a"]);
    let runtime = stage.start().await;
    stage.insert(1);
    stage.until_equal().await;
    stage
        .source_faults
        .arm(Call::Acknowledge, When::Nth(1), Fault::fail(Retry::After));
    stage.insert(2);
    // Not at once: checkpoints are stored, and acknowledged, a few times a second.
    until_status(&runtime, "refused", |_| stage.source_faults.struck() == 1).await;
    stage.insert(3);
    stage.until_equal().await;
    assert!(runtime.drain(DEADLINE).await);
    assert_eq!(stage.script.acknowledged(), stage.script.head());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn drain_ends_while_the_source_waits_for_its_next_try() {
    let stage = Stage::new(["a"]);
    stage.insert(1);
    let runtime = stage.start().await;
    stage.until_equal().await;
    stage
        .source_faults
        .arm(Call::Next, When::Always, Fault::fail(Retry::Operator));
    stage.insert(2);
    until_status(&runtime, "in trouble", |status| status.trouble.is_some()).await;
    assert!(
        runtime.drain(DEADLINE).await,
        "the lane waits for an end that nobody sends"
    );
}
