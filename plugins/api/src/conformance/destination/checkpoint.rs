use model::{Checkpoint, StreamState};
use serde_json::json;

use super::{DestinationHarness, Trial};
use crate::Lane;
use crate::conformance::{Promise, ensure, ensure_eq, require, sample};

/// The first open of a lane holds no checkpoint, plan hash or schema.
pub async fn first_open_holds_nothing(harness: &dyn DestinationHarness) -> Promise {
    let trial = Trial::of(harness)?;
    let session = trial.open().await?;
    let holds = session.holds();
    ensure!(
        holds.checkpoint.as_ref().is_none_or(Checkpoint::is_empty),
        "a new lane holds {:?}",
        holds.checkpoint
    );
    ensure_eq!(holds.plan_hash, None, "a new lane has a plan hash");
    ensure!(holds.schemas.is_empty(), "a new lane has schemas {:?}", holds.schemas);
    Ok(session.close().await?)
}

/// Every open takes a larger generation than the one before, whether that was closed or dropped.
pub async fn open_takes_a_growing_generation(harness: &dyn DestinationHarness) -> Promise {
    let trial = Trial::of(harness)?.keeping_checkpoint()?;
    let mut last = 0;
    for is_closed in [true, false, true] {
        let session = trial.open().await?;
        let generation = session.holds().generation;
        ensure!(generation > last, "generation {generation} came after {last}");
        last = generation;
        if is_closed {
            session.close().await?;
        }
    }
    Ok(())
}

/// The checkpoint of a commit is what the next open holds.
pub async fn next_open_holds_the_committed_checkpoint(harness: &dyn DestinationHarness) -> Promise {
    let trial = Trial::of(harness)?.keeping_checkpoint()?;
    let items = sample::items();
    let mut session = trial.open().await?;
    for order in 1..=3 {
        let batch = sample::changes(&items)
            .at(order)
            .insert(json!({"id": order, "name": "a"}))
            .batch();
        let from = (order > 1).then_some(order - 1);
        let mut changeset = sample::changeset(from, order, [batch]);
        changeset.delta = changeset
            .delta
            .with_stream(items.stream().clone(), StreamState::Live { run: 1 });
        session.apply(changeset).await?;
    }
    let committed = session.checkpoint().clone();
    session.close().await?;
    let session = trial.open().await?;
    ensure_eq!(session.holds().checkpoint, Some(committed), "after three commits");
    Ok(session.close().await?)
}

/// A commit with nothing written moves the checkpoint.
pub async fn progress_without_rows_is_committed(harness: &dyn DestinationHarness) -> Promise {
    let trial = Trial::of(harness)?.keeping_checkpoint()?;
    let mut session = trial.open().await?;
    session.apply(sample::changeset(None, 7, [])).await?;
    let mut moved = session.checkpoint().clone();
    moved.marks.insert(sample::log(), sample::position(9));
    session.commit_at(moved.clone()).await?;
    session.close().await?;
    let session = trial.open().await?;
    ensure_eq!(
        session.holds().checkpoint,
        Some(moved),
        "after a commit without a write"
    );
    Ok(session.close().await?)
}

/// Without a commit the checkpoint stays.
pub async fn checkpoint_of_an_uncommitted_write_is_void(harness: &dyn DestinationHarness) -> Promise {
    let trial = Trial::of(harness)?.keeping_checkpoint()?;
    let items = sample::items();
    let mut session = trial.open().await?;
    session.apply(sample::changeset(None, 1, [])).await?;
    let committed = session.checkpoint().clone();
    let batch = sample::changes(&items).at(2).insert(json!({"id": 1})).batch();
    session.write(sample::changeset(Some(1), 2, [batch])).await?;
    drop(session);
    let session = trial.open().await?;
    ensure_eq!(
        session.holds().checkpoint,
        Some(committed),
        "after a write without a commit"
    );
    Ok(session.close().await?)
}

/// Every checkpoint is held as it was given: several logs, tokens of any bytes, ranges, given-up pages.
pub async fn any_checkpoint_is_held_exactly(harness: &dyn DestinationHarness) -> Promise {
    let trial = Trial::of(harness)?.keeping_checkpoint()?;
    for checkpoint in [
        sample::crowded_checkpoint(),
        Checkpoint::default(),
        sample::crowded_checkpoint(),
    ] {
        let mut session = trial.open().await?;
        session.commit_at(checkpoint.clone()).await?;
        session.close().await?;
        let session = trial.open().await?;
        let held = session.holds().checkpoint.clone().unwrap_or_default();
        ensure_eq!(held, checkpoint, "a checkpoint changed on the way");
        session.close().await?;
    }
    Ok(())
}

/// The plan hash that an open answers is the one that was stored with the checkpoint, not the one of the opener.
pub async fn plan_hash_is_held_with_the_checkpoint(harness: &dyn DestinationHarness) -> Promise {
    let trial = Trial::of(harness)?.keeping_checkpoint()?;
    let mut session = trial.open().await?;
    session.apply(sample::changeset(None, 1, [])).await?;
    session.close().await?;
    let other = Lane {
        plan_hash: "plan-2".to_owned(),
        ..sample::lane()
    };
    for expected in ["plan-1", "plan-1"] {
        let session = trial.open_lane(&other).await?;
        ensure_eq!(
            session.holds().plan_hash.as_deref(),
            Some(expected),
            "before the new plan has committed"
        );
        session.close().await?;
    }
    let mut session = trial.open_lane(&other).await?;
    session.apply(sample::changeset(Some(1), 2, [])).await?;
    session.close().await?;
    let session = trial.open().await?;
    ensure_eq!(
        session.holds().plan_hash.as_deref(),
        Some("plan-2"),
        "after the new plan has committed"
    );
    Ok(session.close().await?)
}

/// The ids of the schemas that were applied last are held.
pub async fn applied_schemas_are_held(harness: &dyn DestinationHarness) -> Promise {
    let trial = Trial::of(harness)?.keeping_checkpoint()?;
    let (items, events) = (sample::items(), sample::events());
    let mut session = trial.open().await?;
    let batches = [
        sample::changes(&items).insert(json!({"id": 1})).batch(),
        sample::changes(&events).insert(json!({"at": 1})).batch(),
    ];
    if let Err(error) = session.apply(sample::changeset(None, 1, batches)).await {
        require!(
            !matches!(error.retry(), crate::Retry::Never | crate::Retry::Operator),
            "it refuses a stream without a key: {error}"
        );
        return Err(error.into());
    }
    session.close().await?;
    let session = trial.open().await?;
    for schema in [&items, &events] {
        ensure_eq!(
            session.holds().schemas.get(schema.stream()),
            Some(&schema.id()),
            "the schema of `{}`",
            schema.stream()
        );
    }
    Ok(session.close().await?)
}

/// Lanes that differ in pipeline, destination or number keep checkpoints of their own in one system.
pub async fn lanes_are_kept_apart(harness: &dyn DestinationHarness) -> Promise {
    let trial = Trial::of(harness)?.keeping_checkpoint()?;
    let lanes = [
        sample::lane(),
        Lane {
            pipeline: "shop2".into(),
            ..sample::lane()
        },
        Lane {
            destination: "copy2".into(),
            ..sample::lane()
        },
        Lane {
            lane: 1,
            ..sample::lane()
        },
    ];
    for (at, lane) in (1..).zip(&lanes) {
        let mut session = trial.open_lane(lane).await?;
        ensure!(
            session.checkpoint().is_empty(),
            "lane {}/{}/{} holds {:?} of another",
            lane.pipeline,
            lane.destination,
            lane.lane,
            session.checkpoint()
        );
        session.apply(sample::changeset(None, at, [])).await?;
        session.close().await?;
    }
    for (at, lane) in (1..).zip(&lanes) {
        let session = trial.open_lane(lane).await?;
        ensure_eq!(
            session.checkpoint().marks.get(&sample::log()),
            Some(&sample::position(at)),
            "lane {at}"
        );
        session.close().await?;
    }
    Ok(())
}

/// A destination that says it keeps no checkpoint answers none, so that the runtime goes on from its own.
pub async fn no_checkpoint_is_held_where_none_is_kept(harness: &dyn DestinationHarness) -> Promise {
    let trial = Trial::of(harness)?;
    require!(!trial.capabilities.keeps_checkpoint, "it keeps its checkpoint");
    let mut session = trial.open().await?;
    session.apply(sample::changeset(None, 1, [])).await?;
    session.close().await?;
    let session = trial.open().await?;
    ensure_eq!(session.holds().checkpoint, None, "after a commit");
    Ok(session.close().await?)
}

/// `forget` removes what is stored about the lane and nothing else, and a second time finds nothing.
pub async fn forget_removes_the_lane_and_no_rows(harness: &dyn DestinationHarness) -> Promise {
    let trial = Trial::of(harness)?.keeping_checkpoint()?.reading_back()?;
    let items = sample::items();
    let row = json!({"id": 1, "name": "a", "amount": 10});
    let other = Lane {
        pipeline: "other".into(),
        ..sample::lane()
    };
    let mut neighbour = trial.open_lane(&other).await?;
    neighbour.apply(sample::changeset(None, 3, [])).await?;
    neighbour.close().await?;
    let mut session = trial.open().await?;
    let batch = sample::changes(&items).insert(row.clone()).batch();
    session.apply(sample::changeset(None, 1, [batch])).await?;
    session.close().await?;

    let removed = trial.build()?.forget(&sample::lane()).await?;
    ensure!(!removed.is_empty(), "forget did not say what it removed");
    let removed = trial.build()?.forget(&sample::lane()).await?;
    ensure_eq!(removed, Vec::<String>::new(), "the second forget removed something");
    trial.expect(&items, &[row], "after forget").await?;
    let session = trial.open().await?;
    ensure!(
        session.checkpoint().is_empty(),
        "a forgotten lane holds {:?}",
        session.checkpoint()
    );
    session.close().await?;
    let neighbour = trial.open_lane(&other).await?;
    ensure_eq!(
        neighbour.checkpoint().marks.get(&sample::log()),
        Some(&sample::position(3)),
        "the lane of another pipeline"
    );
    Ok(neighbour.close().await?)
}

/// `check` finds nothing wrong with a good system and changes nothing there.
pub async fn check_changes_nothing(harness: &dyn DestinationHarness) -> Promise {
    let trial = Trial::of(harness)?;
    // A warning or a note is no reason not to start.
    let errors = |found: Vec<crate::Error>| {
        let errors = found.into_iter().filter(|found| found.code().starts_with('E'));
        errors.collect::<Vec<_>>()
    };
    let found = errors(trial.build()?.check().await?);
    ensure!(found.is_empty(), "check finds {found:?}");
    let items = sample::items();
    ensure!(
        harness.rows(&items).await?.is_none_or(|rows| rows.is_empty()),
        "check made rows"
    );
    let session = trial.open().await?;
    ensure!(session.checkpoint().is_empty(), "check made a checkpoint");
    let found = errors(trial.build()?.check().await?);
    ensure!(found.is_empty(), "check finds {found:?} while the lane is open");
    Ok(session.close().await?)
}
