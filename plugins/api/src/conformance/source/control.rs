use std::time::Duration;

use model::{Checkpoint, Partition};

use super::SourceHarness;
use super::changes::Random;
use super::stage::{Copy, DEADLINE, Stage};
use crate::conformance::{Promise, Unkept, ensure, ensure_eq};

/// A `next` that is dropped while it waits, or a moment before it would answer, loses nothing.
pub async fn dropped_next_loses_nothing(harness: &dyn SourceHarness) -> Promise {
    let mut stage = Stage::new(harness);
    stage.insert(0, 1..=300).await?;
    let mut copy = Copy::new("a").await?;
    let mut run = stage.go_on(&[&copy]).await?;
    run.read(&harness.streams(), None, true).await?;
    let mut changes = Random::new(31, harness, &[(1..=300).collect(), Vec::new()]);
    for round in 0..120 {
        if round % 4 == 0 {
            stage.apply(&changes.transaction(3)).await?;
        }
        let polls = changes.below(4);
        let patience = Duration::from_micros(changes.below(3_000));
        if let Some(emission) = drop_after(run.reader.next(), polls, patience).await {
            let emission = emission?.ok_or_else(|| Unkept::broken("the reader ended"))?;
            stage.deliver(&mut run, emission, &mut [&mut copy]).await?;
        }
    }
    stage.settle(&mut run, &mut [&mut copy]).await
}

/// Polls a future a few times, then waits a little for it, then drops it.
async fn drop_after<F: Future>(future: F, polls: u64, patience: Duration) -> Option<F::Output> {
    let mut future = std::pin::pin!(future);
    for _ in 0..polls {
        if let std::task::Poll::Ready(output) = futures::poll!(future.as_mut()) {
            return Some(output);
        }
        tokio::task::yield_now().await;
    }
    tokio::time::timeout(patience, future).await.ok()
}

fn orders(head: &crate::Head) -> Vec<model::Order> {
    head.marks.iter().map(|mark| mark.order).collect()
}

/// The head grows with changes, without a `next`, and is what the destination's mark becomes.
pub async fn head_moves_with_changes_and_is_reached(harness: &dyn SourceHarness) -> Promise {
    let mut stage = Stage::new(harness);
    let (mut copy, mut run) = stage.bring_up("a").await?;
    let before = run.control.head().await?;
    ensure!(!before.marks.is_empty(), "the head has no log");
    for id in 1..=3 {
        stage.insert(0, [id]).await?;
    }
    let after = run.control.head().await?;
    ensure!(
        orders(&after) > orders(&before),
        "three transactions moved the head from {:?} to {:?}",
        before.marks,
        after.marks
    );
    stage.settle(&mut run, &mut [&mut copy]).await?;
    for mark in run.control.head().await?.marks {
        let held = copy.session.checkpoint().mark(&Partition::log(mark.log.clone()));
        ensure!(
            held.covers(mark.order),
            "the head is {}, the destination is at {held:?}",
            mark.order
        );
        ensure!(
            mark.time.is_none_or(|time| time.micros() > 0),
            "the head is said to be of {:?}",
            mark.time
        );
    }
    Ok(())
}

/// Acknowledging again, or something older, changes nothing; the newest checkpoint stays good.
pub async fn acknowledge_is_monotonic_and_idempotent(harness: &dyn SourceHarness) -> Promise {
    let mut stage = Stage::new(harness);
    stage.insert(0, 1..=5).await?;
    let (mut copy, mut run) = stage.bring_up("a").await?;
    let early = copy.session.checkpoint().clone();
    for id in 6..=30 {
        stage.insert(0, [id]).await?;
    }
    stage.settle(&mut run, &mut [&mut copy]).await?;
    let late = copy.session.checkpoint().clone();
    for checkpoint in [
        &Checkpoint::default(),
        &early,
        &late,
        &late,
        &early,
        &Checkpoint::default(),
    ] {
        run.control.acknowledge(checkpoint).await?;
    }
    stage.insert(0, [31]).await?;
    stage.settle(&mut run, &mut [&mut copy]).await?;
    drop(run);
    let mut run = stage.go_on(&[&copy]).await?;
    stage.insert(0, [32]).await?;
    stage.settle(&mut run, &mut [&mut copy]).await
}

/// While `next` waits for something to happen, the control answers.
pub async fn control_answers_while_next_waits(harness: &dyn SourceHarness) -> Promise {
    let mut stage = Stage::new(harness);
    let (mut copy, mut run) = stage.bring_up("a").await?;
    let held = copy.session.checkpoint().clone();
    let control = std::sync::Arc::clone(&run.control);
    let asked = async {
        control.head().await?;
        control.acknowledge(&held).await?;
        control.reads().await;
        Ok::<(), crate::Error>(())
    };
    let mut emissions = Vec::new();
    let waiting = async {
        loop {
            match run.reader.next().await {
                Ok(Some(emission)) => emissions.push(emission),
                Ok(None) => return Err(Unkept::broken("the reader ended")),
                Err(error) => return Err(error.into()),
            }
        }
    };
    tokio::select! {
        outcome = tokio::time::timeout(DEADLINE, asked) => match outcome {
            Ok(answered) => answered?,
            Err(_) => return Err(Unkept::broken(format!("the control did not answer within {DEADLINE:?}"))),
        },
        ended = waiting => return ended,
    }
    for emission in emissions {
        stage.deliver(&mut run, emission, &mut [&mut copy]).await?;
    }
    stage.insert(0, [1]).await?;
    stage.settle(&mut run, &mut [&mut copy]).await
}

/// `close` ends a `next` that waits; what the destination holds is good for another open.
pub async fn close_ends_a_reader_that_waits(harness: &dyn SourceHarness) -> Promise {
    let mut stage = Stage::new(harness);
    let (mut copy, mut run) = stage.bring_up("a").await?;
    let control = std::sync::Arc::clone(&run.control);
    let drain = async {
        while let Some(emission) = run.reader.next().await? {
            drop(emission);
        }
        Ok::<(), crate::Error>(())
    };
    let (drained, closed) = futures::join!(tokio::time::timeout(DEADLINE, drain), async {
        tokio::task::yield_now().await;
        tokio::time::timeout(DEADLINE, control.close()).await
    });
    closed.map_err(|_| Unkept::broken(format!("`close` did not return within {DEADLINE:?}")))??;
    drained.map_err(|_| Unkept::broken(format!("the reader did not end within {DEADLINE:?} of `close`")))??;
    drop(run);
    stage.insert(0, [1]).await?;
    let mut run = stage.go_on(&[&copy]).await?;
    stage.settle(&mut run, &mut [&mut copy]).await
}

/// `close` ends a reader that has much left to emit, at a consistent point, and soon.
pub async fn close_ends_a_reader_that_is_behind(harness: &dyn SourceHarness) -> Promise {
    let mut stage = Stage::new(harness);
    let (mut copy, mut run) = stage.bring_up("a").await?;
    for block in 0..20 {
        stage.insert(0, block * 100..(block + 1) * 100).await?;
    }
    let emission = run.next().await?;
    stage.deliver(&mut run, emission, &mut [&mut copy]).await?;
    run.control.close().await?;
    let mut last_part = model::Part::Whole;
    let drain = async {
        while let Some(emission) = run.reader.next().await? {
            last_part = emission.changeset.part;
            stage.deliver(&mut run, emission, &mut [&mut copy]).await?;
        }
        Ok::<(), Unkept>(())
    };
    tokio::time::timeout(DEADLINE, drain)
        .await
        .map_err(|_| Unkept::broken(format!("the reader did not end within {DEADLINE:?} of `close`")))??;
    ensure_eq!(
        last_part.ends_consistent(),
        true,
        "whether the reader ended between transactions"
    );
    drop(run);
    let mut run = stage.go_on(&[&copy]).await?;
    stage.settle(&mut run, &mut [&mut copy]).await
}
