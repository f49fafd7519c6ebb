use serde_json::json;

use super::{DestinationHarness, Trial};
use crate::conformance::{Promise, Session, Unkept, ensure, ensure_eq, require, sample};
use crate::{Lane, Retry};

fn rival(take_over: bool) -> Lane {
    Lane {
        owner: sample::owner("second-host"),
        take_over,
        ..sample::lane()
    }
}

/// Writes and commits as the stale owner: one of the two must be refused as fenced.
async fn expect_fenced(mut stale: Session, is_written: bool) -> Promise {
    let batch = sample::changes(&sample::items()).at(2).insert(json!({"id": 2})).batch();
    let outcome = if is_written {
        stale.commit().await
    } else {
        stale.apply(sample::changeset(Some(1), 2, [batch])).await
    };
    match outcome {
        Ok(()) => Err(Unkept::broken("the stale owner committed")),
        Err(error) => {
            ensure_eq!(error.retry(), Retry::Fenced, "the stale owner's error: {error:?}");
            Ok(())
        }
    }
}

/// After another owner took the lane over, the old one's commit is refused as fenced and nothing of it is seen or held.
pub async fn stale_owner_is_fenced_and_leaves_nothing(harness: &dyn DestinationHarness) -> Promise {
    let trial = Trial::of(harness)?.keeping_checkpoint()?.reading_back()?;
    let items = sample::items();
    let row = json!({"id": 1, "name": "a", "amount": 1});
    let mut stale = trial.open().await?;
    let batch = sample::changes(&items).insert(row.clone()).batch();
    stale.apply(sample::changeset(None, 1, [batch])).await?;
    let mut living = trial.open_lane(&rival(true)).await?;
    ensure_eq!(living.checkpoint(), stale.checkpoint(), "what the new owner holds");
    expect_fenced(stale, false).await?;
    trial
        .expect(&items, std::slice::from_ref(&row), "after the stale owner was fenced")
        .await?;
    let second = json!({"id": 3, "name": "c", "amount": 3});
    let batch = sample::changes(&items).at(2).insert(second.clone()).batch();
    living.apply(sample::changeset(Some(1), 2, [batch])).await?;
    trial
        .expect(&items, &[row, second], "after the new owner's commit")
        .await?;
    Ok(living.close().await?)
}

/// The same, if the old owner had written before the lane was taken over.
pub async fn stale_owner_that_has_written_is_fenced_and_leaves_nothing(harness: &dyn DestinationHarness) -> Promise {
    let trial = Trial::of(harness)?.keeping_checkpoint()?.reading_back()?;
    let items = sample::items();
    let mut stale = trial.open().await?;
    let batch = sample::changes(&items).at(2).insert(json!({"id": 2})).batch();
    stale.write(sample::changeset(None, 2, [batch])).await?;
    let living = match Session::open(trial.build()?, &rival(true)).await {
        Ok(living) => living,
        Err(error) => {
            // A writer stopped inside a database transaction cannot be taken over, only named (facts of the system).
            require!(
                error.retry() != Retry::After,
                "its open transaction keeps the lane: {error}"
            );
            require!(
                error.retry() != Retry::Operator,
                "its open transaction keeps the lane: {error}"
            );
            return Err(error.into());
        }
    };
    expect_fenced(stale, true).await?;
    trial.expect(&items, &[], "after the stale owner was fenced").await?;
    living.close().await?;
    let session = trial.open().await?;
    trial.expect(&items, &[], "after the next open").await?;
    ensure!(
        session.checkpoint().is_empty(),
        "the stale owner left {:?}",
        session.checkpoint()
    );
    Ok(session.close().await?)
}

/// While an owner lives, another is refused, told to whom the lane belongs, and does no harm by asking.
pub async fn living_owner_is_named_to_a_rival(harness: &dyn DestinationHarness) -> Promise {
    require!(harness.locks(), "it has no session lock");
    let trial = Trial::of(harness)?.keeping_checkpoint()?;
    let mut living = trial.open().await?;
    living.apply(sample::changeset(None, 1, [])).await?;
    match Session::open(trial.build()?, &rival(false)).await {
        Ok(_) => return Err(Unkept::broken("a rival got the lane of a living owner")),
        Err(error) => {
            ensure_eq!(error.retry(), Retry::Operator, "the rival's error: {error:?}");
            let said = format!("{} {}", error.chain(), error.remedy().unwrap_or_default());
            ensure!(
                said.contains("first-host"),
                "the rival is not told who holds the lane: {error:?}"
            );
            ensure!(error.remedy().is_some(), "the rival is not told what to do: {error:?}");
        }
    }
    living.apply(sample::changeset(Some(1), 2, [])).await?;
    Ok(living.close().await?)
}

/// A lane whose owner was dropped without a close, as a crash does, is free.
pub async fn dropped_owner_gives_way_to_another(harness: &dyn DestinationHarness) -> Promise {
    let trial = Trial::of(harness)?;
    let mut session = trial.open().await?;
    session.apply(sample::changeset(None, 1, [])).await?;
    let held = session.checkpoint().clone();
    drop(session);
    let session = trial.open_lane(&rival(false)).await?;
    if trial.capabilities.keeps_checkpoint {
        ensure_eq!(*session.checkpoint(), held, "what the next owner holds");
    }
    Ok(session.close().await?)
}

/// A lane whose owner closed is free.
pub async fn closed_owner_gives_way_to_another(harness: &dyn DestinationHarness) -> Promise {
    let trial = Trial::of(harness)?;
    trial.open().await?.close().await?;
    Ok(trial.open_lane(&rival(false)).await?.close().await?)
}
