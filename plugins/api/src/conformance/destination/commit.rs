use model::Batch;
use serde_json::{Value, json};

use super::{DestinationHarness, Trial};
use crate::conformance::{Promise, sample};

fn item(id: u64) -> Value {
    json!({"id": id, "name": format!("name {id}"), "amount": id * 10})
}

fn items_at(order: u64, ids: impl IntoIterator<Item = u64>) -> Batch {
    sample::changes(&sample::items())
        .at(order)
        .inserts(ids.into_iter().map(item))
        .batch()
}

/// After a commit a reader sees exactly what was written.
pub async fn commit_shows_exactly_what_was_written(harness: &dyn DestinationHarness) -> Promise {
    let trial = Trial::of(harness)?.reading_back()?;
    let items = sample::items();
    let rows = [
        json!({"id": i64::MIN, "name": "", "amount": null}),
        json!({"id": 0, "name": null, "amount": 0}),
        json!({"id": i64::MAX, "name": "ü'\"\n", "amount": -1}),
    ];
    let mut session = trial.open().await?;
    let batch = sample::changes(&items).inserts(rows.clone()).batch();
    session.apply(sample::changeset(None, 1, [batch])).await?;
    trial.expect(&items, &rows, "after the commit").await?;
    Ok(session.close().await?)
}

/// Changesets of one commit and of several commits all stay.
pub async fn every_commit_adds_to_the_ones_before(harness: &dyn DestinationHarness) -> Promise {
    let trial = Trial::of(harness)?.reading_back()?;
    let mut session = trial.open().await?;
    session.write(sample::changeset(None, 1, [items_at(1, [1, 2])])).await?;
    session.write(sample::changeset(Some(1), 2, [items_at(2, [3])])).await?;
    session.commit().await?;
    session.apply(sample::changeset(Some(2), 3, [items_at(3, [4])])).await?;
    session.close().await?;
    let mut session = trial.open().await?;
    session.apply(sample::changeset(Some(3), 4, [items_at(4, [5])])).await?;
    let rows: Vec<Value> = (1..=5).map(item).collect();
    trial.expect(&sample::items(), &rows, "after three commits").await?;
    Ok(session.close().await?)
}

/// A changeset of several streams is written whole.
pub async fn streams_of_a_changeset_commit_together(harness: &dyn DestinationHarness) -> Promise {
    let trial = Trial::of(harness)?.reading_back()?;
    let streams: Vec<_> = ["left", "right"]
        .map(|name| sample::items_as(model::StreamId::in_schema("public", name)))
        .into();
    let mut session = trial.open().await?;
    let batches: Vec<Batch> = streams
        .iter()
        .chain(&streams)
        .zip(1..)
        .map(|(schema, id)| sample::changes(schema).insert(item(id)).batch())
        .collect();
    session.apply(sample::changeset(None, 1, batches)).await?;
    trial
        .expect(&streams[0], &[item(1), item(3)], "after the commit")
        .await?;
    trial
        .expect(&streams[1], &[item(2), item(4)], "after the commit")
        .await?;
    Ok(session.close().await?)
}

/// What was written and not committed is not seen.
pub async fn rows_are_invisible_before_commit(harness: &dyn DestinationHarness) -> Promise {
    let trial = Trial::of(harness)?.reading_back()?.exactly_once()?;
    let items = sample::items();
    let mut session = trial.open().await?;
    session.apply(sample::changeset(None, 1, [items_at(1, [1])])).await?;
    session.write(sample::changeset(Some(1), 2, [items_at(2, [2])])).await?;
    trial.expect(&items, &[item(1)], "before the commit").await?;
    session.commit().await?;
    trial.expect(&items, &[item(1), item(2)], "after the commit").await?;
    Ok(session.close().await?)
}

/// What was written and not committed is gone at the next open, and writing it again shows it once.
pub async fn rows_of_an_uncommitted_write_are_void(harness: &dyn DestinationHarness) -> Promise {
    let trial = Trial::of(harness)?.reading_back()?.exactly_once()?;
    let items = sample::items();
    let mut session = trial.open().await?;
    session.apply(sample::changeset(None, 1, [items_at(1, [1])])).await?;
    session.write(sample::changeset(Some(1), 2, [items_at(2, [2])])).await?;
    drop(session);
    trial
        .expect(&items, &[item(1)], "after a drop without a commit")
        .await?;
    let mut session = trial.open().await?;
    trial.expect(&items, &[item(1)], "after the next open").await?;
    session.apply(sample::changeset(Some(1), 2, [items_at(2, [2])])).await?;
    trial
        .expect(&items, &[item(1), item(2)], "after it was written again")
        .await?;
    Ok(session.close().await?)
}

/// A commit needs no close.
pub async fn committed_rows_survive_a_drop_without_close(harness: &dyn DestinationHarness) -> Promise {
    let trial = Trial::of(harness)?.reading_back()?;
    let mut session = trial.open().await?;
    session.apply(sample::changeset(None, 1, [items_at(1, [1])])).await?;
    drop(session);
    let session = trial.open().await?;
    trial.expect(&sample::items(), &[item(1)], "after a drop").await?;
    Ok(session.close().await?)
}

/// `close` is not a commit.
pub async fn close_voids_what_was_not_committed(harness: &dyn DestinationHarness) -> Promise {
    let trial = Trial::of(harness)?.reading_back()?.exactly_once()?;
    let mut session = trial.open().await?;
    session.write(sample::changeset(None, 1, [items_at(1, [1])])).await?;
    session.close().await?;
    trial
        .expect(&sample::items(), &[], "after a close without a commit")
        .await?;
    let session = trial.open().await?;
    trial.expect(&sample::items(), &[], "after the next open").await?;
    Ok(session.close().await?)
}

fn in_parts(from: Option<u64>, order: u64, ids: [u64; 3]) -> Vec<model::ChangeSet> {
    sample::parts(from, order, ids.iter().map(|&id| vec![items_at(order, [id])]).collect())
}

/// The parts of a large transaction become visible at once, with the commit after the last.
pub async fn parts_become_visible_together(harness: &dyn DestinationHarness) -> Promise {
    let trial = Trial::of(harness)?.reading_back()?;
    let items = sample::items();
    let is_isolated = Trial::of(harness)?.exactly_once().is_ok();
    let mut session = trial.open().await?;
    for part in in_parts(None, 1, [1, 2, 3]) {
        session.write(part).await?;
        if is_isolated {
            trial.expect(&items, &[], "between the parts").await?;
        }
    }
    session.commit().await?;
    trial
        .expect(&items, &[item(1), item(2), item(3)], "after the last part")
        .await?;
    session.close().await?;
    Ok(())
}

/// Parts without a last one leave nothing.
pub async fn unfinished_parts_are_void(harness: &dyn DestinationHarness) -> Promise {
    let trial = Trial::of(harness)?.reading_back()?.exactly_once()?;
    let items = sample::items();
    let mut session = trial.open().await?;
    for part in in_parts(None, 1, [1, 2, 3]).into_iter().take(2) {
        session.write(part).await?;
    }
    drop(session);
    let mut session = trial.open().await?;
    trial.expect(&items, &[], "after unfinished parts").await?;
    for part in in_parts(None, 1, [1, 2, 3]) {
        session.write(part).await?;
    }
    session.commit().await?;
    trial
        .expect(&items, &[item(1), item(2), item(3)], "after all parts")
        .await?;
    Ok(session.close().await?)
}

/// Many changesets in one commit: what is buffered between two commits stays below what the destination declared, and all
/// rows arrive. The session checks the figure at each write.
pub async fn many_rows_stay_within_the_declared_buffer(harness: &dyn DestinationHarness) -> Promise {
    let trial = Trial::of(harness)?;
    let items = sample::items();
    let (changeset_count, row_count) = (20, 1_000);
    let mut session = trial.open().await?;
    for at in 0..changeset_count {
        let ids = at * row_count..(at + 1) * row_count;
        let from = (at > 0).then_some(at);
        session
            .write(sample::changeset(from, at + 1, [items_at(at + 1, ids)]))
            .await?;
    }
    session.commit().await?;
    if trial.harness.reads_back() {
        let rows: Vec<Value> = (0..changeset_count * row_count).map(item).collect();
        trial.expect(&items, &rows, "after the commit").await?;
    }
    Ok(session.close().await?)
}
