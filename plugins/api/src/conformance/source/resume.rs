use std::collections::BTreeMap;

use model::{Checkpoint, Partition};

use super::changes::Random;
use super::stage::{Copy, Stage};
use super::{Change, SourceHarness};
use crate::conformance::{Promise, Unkept, ensure, require};
use crate::{Held, Verdict};

/// From every checkpoint that a destination ever held, also in the middle of a read, the source leads it to the same
/// state, without being asked for a read again.
pub async fn every_held_checkpoint_leads_to_the_same_state(harness: &dyn SourceHarness) -> Promise {
    let mut stage = Stage::new(harness);
    let ids: Vec<i64> = (1..=400).map(|id| id * 10).collect();
    stage.insert(0, ids.iter().copied()).await?;
    stage.insert(1, 1..=10).await?;
    let mut copy = Copy::new("a").await?;
    copy.history = Some(Vec::new());
    let mut run = stage.go_on(&[&copy]).await?;
    run.read(&harness.streams(), None, true).await?;
    let mut changes = Random::new(21, harness, &[ids, (1..=10).collect()]);
    for _ in 0..30 {
        stage.apply(&changes.transaction(5)).await?;
        stage.step(&mut run, &mut [&mut copy]).await?;
    }
    stage.settle(&mut run, &mut [&mut copy]).await?;
    drop(run);
    let history: Vec<(Checkpoint, _)> = copy.history.take().unwrap_or_default();
    let tried = spread(history.len(), 12);
    ensure!(tried.len() > 2, "the suite saw {} checkpoints only", history.len());
    for at in tried {
        let (checkpoint, replica) = &history[at];
        if checkpoint.streams.is_empty() {
            continue;
        }
        let mut copy = Copy::on("a", replica.fork()).await?;
        // Changes in every round, so that a read that goes on meets them.
        stage.apply(&changes.transaction(5)).await?;
        let again = async |stage: &mut Stage<'_>, copy: &mut Copy| -> Promise {
            let mut run = stage.go_on(&[copy]).await?;
            read_what_is_missing(harness, &run, copy).await?;
            stage.settle(&mut run, &mut [copy]).await
        };
        again(&mut stage, &mut copy)
            .await
            .map_err(|unkept| Unkept::broken(format!("from checkpoint {at} {checkpoint:?}: {unkept}")))?;
    }
    Ok(())
}

/// A checkpoint between the begins of two streams lacks the second: the runtime reads it anew.
async fn read_what_is_missing(harness: &dyn SourceHarness, run: &super::stage::Run, copy: &Copy) -> Promise {
    let held = &copy.session.checkpoint().streams;
    let missing: Vec<_> = harness
        .streams()
        .into_iter()
        .filter(|stream| !held.contains_key(stream))
        .collect();
    if !missing.is_empty() {
        run.read(&missing, Some(vec![copy.name.clone()]), true).await?;
    }
    Ok(())
}

/// At most `count` indices below `len`, spread evenly, with both ends.
fn spread(len: usize, count: usize) -> Vec<usize> {
    if len <= count {
        return (0..len).collect();
    }
    (0..count).map(|at| at * (len - 1) / (count - 1)).collect()
}

/// Two destinations of which one was left behind, in the log and in the middle of a read, end equal after a reopen.
pub async fn destinations_at_different_positions_end_equal(harness: &dyn SourceHarness) -> Promise {
    let mut stage = Stage::new(harness);
    stage.insert(0, 1..=300).await?;
    let (mut ahead, mut behind) = (Copy::new("ahead").await?, Copy::new("behind").await?);
    let mut run = stage.go_on(&[&ahead, &behind]).await?;
    run.read(&harness.streams(), None, true).await?;
    let mut changes = Random::new(22, harness, &[(1..=300).collect(), Vec::new()]);
    for step in 0..25 {
        stage.apply(&changes.transaction(4)).await?;
        if step < 6 {
            stage.step(&mut run, &mut [&mut ahead, &mut behind]).await?;
        } else {
            stage.step(&mut run, &mut [&mut ahead]).await?;
        }
    }
    drop(run);
    // What was written and not committed is void, as after a crash.
    let (mut ahead, mut behind) = (
        Copy::on("ahead", ahead.replica.fork()).await?,
        Copy::on("behind", behind.replica.fork()).await?,
    );
    let mut run = stage.go_on(&[&ahead, &behind]).await?;
    for copy in [&ahead, &behind] {
        read_what_is_missing(harness, &run, copy).await?;
    }
    for _ in 0..10 {
        stage.apply(&changes.transaction(4)).await?;
        stage.step(&mut run, &mut [&mut ahead, &mut behind]).await?;
    }
    stage.settle(&mut run, &mut [&mut ahead, &mut behind]).await
}

/// What was committed while no process ran arrives at the next open.
pub async fn changes_while_nothing_ran_arrive(harness: &dyn SourceHarness) -> Promise {
    let mut stage = Stage::new(harness);
    stage.insert(0, 1..=10).await?;
    let (mut copy, run) = stage.bring_up("a").await?;
    let mut changes = Random::new(23, harness, &[(1..=10).collect(), Vec::new()]);
    run.control.close().await?;
    drop(run);
    for _ in 0..3 {
        for _ in 0..30 {
            stage.apply(&changes.transaction(8)).await?;
        }
        let mut run = stage.go_on(&[&copy]).await?;
        stage.settle(&mut run, &mut [&mut copy]).await?;
    }
    Ok(())
}

/// Brings a destination up, changes things, acknowledges; returns the destination as it was before.
async fn with_an_old_copy<'a>(harness: &'a dyn SourceHarness) -> Result<(Stage<'a>, Copy, Copy), Unkept> {
    let mut stage = Stage::new(harness);
    stage.insert(0, 1..=20).await?;
    let (mut copy, mut run) = stage.bring_up("new").await?;
    // Under the name of the other, so that its checkpoint is held.
    let old = Copy::on("new", copy.replica.fork()).await?;
    for id in 21..=40 {
        stage.insert(0, [id]).await?;
        stage.settle(&mut run, &mut [&mut copy]).await?;
    }
    run.control.acknowledge(copy.session.checkpoint()).await?;
    run.control.close().await?;
    drop(run);
    Ok((stage, old, copy))
}

/// A checkpoint from before what was acknowledged is either still good for everything, or refused; never continued with a
/// gap.
pub async fn position_that_was_acknowledged_away_is_never_skipped(harness: &dyn SourceHarness) -> Promise {
    let (mut stage, mut old, _) = with_an_old_copy(harness).await?;
    let mut run = stage.open(&[&old]).await?;
    match run.verdicts.get(&old.name) {
        Some(Verdict::Continue) => stage.settle(&mut run, &mut [&mut old]).await,
        Some(Verdict::PositionLost(error) | Verdict::OtherHistory(error)) => {
            ensure!(
                error.remedy().is_some(),
                "the refusal does not say what to do: {error:?}"
            );
            Ok(())
        }
        None => Err(Unkept::broken("there is no verdict")),
    }
}

/// The same checkpoint, but of a log with another id.
fn of_another_history(checkpoint: &Checkpoint) -> Checkpoint {
    let renamed = |partition: &Partition| match partition {
        Partition::Log(id) => Partition::log(format!("{id}-of-another-history")),
        range => range.clone(),
    };
    Checkpoint {
        marks: checkpoint
            .marks
            .iter()
            .map(|(partition, at)| (renamed(partition), at.clone()))
            .collect(),
        streams: checkpoint.streams.clone(),
    }
}

/// A checkpoint of a log that is not this source's is refused.
pub async fn checkpoint_of_another_history_is_told_apart(harness: &dyn SourceHarness) -> Promise {
    let mut stage = Stage::new(harness);
    stage.insert(0, 1..=5).await?;
    let (copy, run) = stage.bring_up("a").await?;
    drop(run);
    let held = Held {
        destination: copy.name.clone(),
        checkpoint: of_another_history(copy.session.checkpoint()),
    };
    let run = stage.open_held(&[held]).await?;
    expect_refused(run.verdicts.get(&copy.name))
}

fn expect_refused(verdict: Option<&Verdict>) -> Promise {
    match verdict {
        Some(Verdict::OtherHistory(error) | Verdict::PositionLost(error)) => {
            ensure!(
                error.remedy().is_some(),
                "the refusal does not say what to do: {error:?}"
            );
            Ok(())
        }
        other => Err(Unkept::broken(format!(
            "a checkpoint of another history got the verdict {other:?}"
        ))),
    }
}

/// After the system was replaced, a checkpoint of the one before is refused.
pub async fn replaced_system_is_told_apart(harness: &dyn SourceHarness) -> Promise {
    let mut stage = Stage::new(harness);
    stage.insert(0, 1..=5).await?;
    let (copy, run) = stage.bring_up("a").await?;
    drop(run);
    require!(harness.replace().await?, "the harness cannot replace its system");
    let run = stage.open(&[&copy]).await?;
    expect_refused(run.verdicts.get(&copy.name))
}

/// A destination whose position is refused does not keep another from going on.
pub async fn lost_destination_does_not_keep_the_others_back(harness: &dyn SourceHarness) -> Promise {
    let mut stage = Stage::new(harness);
    stage.insert(0, 1..=5).await?;
    let (mut good, run) = stage.bring_up("good").await?;
    drop(run);
    stage.insert(0, [6]).await?;
    let lost = Held {
        destination: "lost".into(),
        checkpoint: of_another_history(good.session.checkpoint()),
    };
    let mut run = stage.open_held(&[lost, good.held()]).await?;
    expect_refused(run.verdicts.get(&"lost".into()))?;
    ensure!(
        matches!(run.verdicts.get(&good.name), Some(Verdict::Continue)),
        "the good destination got the verdict {:?}",
        run.verdicts.get(&good.name)
    );
    stage.settle(&mut run, &mut [&mut good]).await
}

/// After `forget` removed what the source left at the system, changes are made; the checkpoint of before is refused, or
/// still leads to the state of the source.
pub async fn forget_leaves_no_gap_in_silence(harness: &dyn SourceHarness) -> Promise {
    let mut stage = Stage::new(harness);
    stage.insert(0, 1..=5).await?;
    let (mut copy, run) = stage.bring_up("a").await?;
    run.control.close().await?;
    drop(run);
    stage.source.forget(&"shop".into()).await?;
    let again = stage.source.forget(&"shop".into()).await?;
    ensure!(again.is_empty(), "the second forget removed {again:?}");
    stage
        .apply(&[Change::Update {
            stream: 0,
            id: 1,
            name: Some("after forget".to_owned()),
        }])
        .await?;
    let mut run = stage.open(&[&copy]).await?;
    if matches!(run.verdicts.get(&copy.name), Some(Verdict::Continue)) {
        return stage.settle(&mut run, &mut [&mut copy]).await;
    }
    let verdicts: BTreeMap<_, _> = std::mem::take(&mut run.verdicts);
    expect_refused(verdicts.get(&copy.name))
}
