use std::collections::BTreeSet;

use serde_json::json;

use super::{DestinationHarness, Trial};
use crate::WriteMode;
use crate::conformance::{Promise, Row, Unkept, ensure, ensure_eq, sample};

fn cell<'a>(row: &'a Row, column: &str) -> Result<Option<&'a str>, Unkept> {
    match row.get(column) {
        Some(value) => Ok(value.as_deref()),
        None => Err(Unkept::broken(format!(
            "an appended row has no column `{column}`: {row:?}"
        ))),
    }
}

/// Every change is a row of its own, with what happened in `_highwater_op`; a delete carries the row that went.
pub async fn append_keeps_every_change_with_its_operation(harness: &dyn DestinationHarness) -> Promise {
    let trial = Trial::writing(harness, WriteMode::Append)?;
    let items = sample::items();
    let (first, last) = (
        json!({"id": 1, "name": "a", "amount": 1}),
        json!({"id": 1, "name": "b", "amount": 2}),
    );
    let batch = sample::changes(&items)
        .insert(first.clone())
        .update_from(first.clone(), last.clone())
        .delete(last.clone())
        .batch();
    let mut session = trial.open().await?;
    session.apply(sample::changeset(None, 1, [batch])).await?;
    trial
        .expect(&items, &[first, last.clone(), last], "after three changes of one key")
        .await?;
    let rows = harness.rows(&items).await?.unwrap_or_default();
    let mut ops = Vec::new();
    for row in &rows {
        ops.push((cell(row, "_highwater_op")?, cell(row, "amount")?));
    }
    ops.sort_unstable();
    let expected = vec![
        (Some("delete"), Some("2")),
        (Some("insert"), Some("1")),
        (Some("update"), Some("2")),
    ];
    ensure_eq!(ops, expected, "the operations");
    Ok(session.close().await?)
}

/// A value that was not sent is null and named in `_highwater_unavailable`, which is null where everything was sent.
pub async fn append_says_which_values_were_not_sent(harness: &dyn DestinationHarness) -> Promise {
    let trial = Trial::writing(harness, WriteMode::Append)?;
    let items = sample::items();
    let batch = sample::changes(&items)
        .update(json!({"id": 1, "amount": 11}))
        .without(["name"])
        .update(json!({"id": 2, "name": null, "amount": 12}))
        .batch();
    let mut session = trial.open().await?;
    session.apply(sample::changeset(None, 1, [batch])).await?;
    let rows = harness.rows(&items).await?.unwrap_or_default();
    ensure_eq!(rows.len(), 2, "the number of rows");
    for row in &rows {
        ensure_eq!(
            cell(row, "name")?,
            None,
            "the value that was not sent, and the one that is null"
        );
        let said = cell(row, "_highwater_unavailable")?;
        if cell(row, "id")? == Some("1") {
            ensure!(
                said.is_some_and(|said| said.contains("name")),
                "`name` was not sent, but the row says {said:?}"
            );
        } else {
            ensure!(
                said.is_none_or(|said| !said.contains("name")),
                "`name` was sent as null, but the row says {said:?}"
            );
        }
    }
    Ok(session.close().await?)
}

/// `_highwater_position` tells transactions apart and `_highwater_committed_at` says when the source committed.
pub async fn append_carries_position_and_commit_time(harness: &dyn DestinationHarness) -> Promise {
    let trial = Trial::writing(harness, WriteMode::Append)?;
    let items = sample::items();
    let batch = sample::changes(&items)
        .at(5)
        .insert(json!({"id": 1}))
        .insert(json!({"id": 2}))
        .at(9)
        .insert(json!({"id": 3}))
        .batch();
    let mut session = trial.open().await?;
    session.apply(sample::changeset(None, 9, [batch])).await?;
    let rows = harness.rows(&items).await?.unwrap_or_default();
    ensure_eq!(rows.len(), 3, "the number of rows");
    for column in ["_highwater_position", "_highwater_committed_at"] {
        let mut of_first = BTreeSet::new();
        let mut of_second = BTreeSet::new();
        for row in &rows {
            let value = cell(row, column)?;
            ensure!(value.is_some(), "`{column}` is null");
            let is_second = cell(row, "id")? == Some("3");
            if is_second { &mut of_second } else { &mut of_first }.insert(value);
        }
        ensure_eq!(of_first.len(), 1, "`{column}` of one transaction: {of_first:?}");
        ensure!(
            of_first.is_disjoint(&of_second),
            "`{column}` is {of_first:?} for two transactions"
        );
    }
    Ok(session.close().await?)
}

/// Rows of a stream without a key are appended, equal ones too.
pub async fn stream_without_key_is_appended(harness: &dyn DestinationHarness) -> Promise {
    let trial = Trial::of(harness)?.reading_back()?;
    let events = sample::events();
    let (same, other) = (json!({"at": 1, "what": "x"}), json!({"at": 2, "what": null}));
    let batch = sample::changes(&events)
        .inserts([same.clone(), same.clone(), other.clone()])
        .batch();
    let mut session = trial.open().await?;
    match session.apply(sample::changeset(None, 1, [batch])).await {
        Ok(()) => {}
        Err(error) if trial.options.write.is_some_and(|mode| mode != WriteMode::Append) => {
            let reason = format!(
                "with `write: {:?}` a stream without a key is refused: {error}",
                trial.options.write
            );
            return Err(Unkept::skipped(reason));
        }
        Err(error) => return Err(error.into()),
    }
    trial
        .expect(&events, &[same.clone(), same, other], "after an append")
        .await?;
    Ok(session.close().await?)
}
