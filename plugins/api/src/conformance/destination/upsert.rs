use arrow::datatypes::{DataType, Field};
use model::{Batch, ChangeSet, StreamId};
use serde_json::{Value, json};

use super::{DestinationHarness, Trial};
use crate::conformance::{Promise, Row, Session, Unkept, ensure, ensure_eq, require, sample};
use crate::{Deletes, DestinationOptions, WriteMode};

/// A session in mode `upsert` that holds items 1 and 2.
async fn with_two_items<'a>(harness: &'a dyn DestinationHarness) -> Result<(Trial<'a>, Session), Unkept> {
    let trial = Trial::writing(harness, WriteMode::Upsert)?;
    let session = with_items(&trial).await?;
    Ok((trial, session))
}

async fn with_items(trial: &Trial<'_>) -> Result<Session, Unkept> {
    let mut session = trial.open().await?;
    session
        .apply(sample::changeset(
            None,
            1,
            [sample::changes(&sample::items()).inserts(two_items()).batch()],
        ))
        .await?;
    Ok(session)
}

fn two_items() -> [Value; 2] {
    [
        json!({"id": 1, "name": "one", "amount": 10}),
        json!({"id": 2, "name": "two", "amount": 20}),
    ]
}

fn second(batch: Batch) -> ChangeSet {
    sample::changeset(Some(1), 2, [batch])
}

/// Of several changes of one key the last is what stays: inside a batch, between batches, between changesets.
pub async fn last_change_of_a_key_wins(harness: &dyn DestinationHarness) -> Promise {
    let (trial, mut session) = with_two_items(harness).await?;
    let items = sample::items();
    let within = sample::changes(&items)
        .at(2)
        .update(json!({"id": 1, "name": "a", "amount": 1}))
        .update(json!({"id": 1, "name": "b", "amount": 2}))
        .insert(json!({"id": 3, "name": "c", "amount": 3}))
        .delete(json!({"id": 3, "name": "c", "amount": 3}))
        .insert(json!({"id": 3, "name": "d", "amount": 4}))
        .batch();
    let between = sample::changes(&items)
        .at(2)
        .update(json!({"id": 3, "name": "e", "amount": 5}))
        .batch();
    session.write(sample::changeset(Some(1), 2, [within, between])).await?;
    let later = sample::changes(&items)
        .at(3)
        .update(json!({"id": 2, "name": "f", "amount": 6}))
        .batch();
    session.apply(sample::changeset(Some(2), 3, [later])).await?;
    let expected = [
        json!({"id": 1, "name": "b", "amount": 2}),
        json!({"id": 2, "name": "f", "amount": 6}),
        json!({"id": 3, "name": "e", "amount": 5}),
    ];
    trial
        .expect(&items, &expected, "after several changes of one key")
        .await?;
    Ok(session.close().await?)
}

/// An insert of a key that is there replaces the row, and an update of one that is not makes it.
pub async fn insert_of_a_present_key_replaces_it(harness: &dyn DestinationHarness) -> Promise {
    let (trial, mut session) = with_two_items(harness).await?;
    let batch = sample::changes(&sample::items())
        .at(2)
        .insert(json!({"id": 1, "name": "new", "amount": null}))
        .update(json!({"id": 9, "name": "nine", "amount": 90}))
        .batch();
    session.apply(second(batch)).await?;
    let expected = [
        json!({"id": 1, "name": "new", "amount": null}),
        json!({"id": 2, "name": "two", "amount": 20}),
        json!({"id": 9, "name": "nine", "amount": 90}),
    ];
    trial
        .expect(&sample::items(), &expected, "after an insert of a present key")
        .await?;
    Ok(session.close().await?)
}

/// An update that changes the key moves the row: the old key is gone.
pub async fn key_change_moves_the_row(harness: &dyn DestinationHarness) -> Promise {
    let (trial, mut session) = with_two_items(harness).await?;
    let batch = sample::changes(&sample::items())
        .at(2)
        .rekey(json!({"id": 1}), json!({"id": 5, "name": "one", "amount": 11}))
        .update_from(
            json!({"id": 2, "name": "two", "amount": 20}),
            json!({"id": 6, "name": "six", "amount": 60}),
        )
        .update_from(
            json!({"id": 6, "name": "six", "amount": 60}),
            json!({"id": 6, "name": "six", "amount": 61}),
        )
        .batch();
    session.apply(second(batch)).await?;
    let expected = [
        json!({"id": 5, "name": "one", "amount": 11}),
        json!({"id": 6, "name": "six", "amount": 61}),
    ];
    trial
        .expect(&sample::items(), &expected, "after the keys changed")
        .await?;
    Ok(session.close().await?)
}

/// Keys that trade places within one transaction, through a third.
pub async fn keys_swap_within_one_transaction(harness: &dyn DestinationHarness) -> Promise {
    let (trial, mut session) = with_two_items(harness).await?;
    let batch = sample::changes(&sample::items())
        .at(2)
        .rekey(json!({"id": 1}), json!({"id": 3, "name": "one", "amount": 10}))
        .rekey(json!({"id": 2}), json!({"id": 1, "name": "two", "amount": 20}))
        .rekey(json!({"id": 3}), json!({"id": 2, "name": "one", "amount": 10}))
        .batch();
    session.apply(second(batch)).await?;
    let expected = [
        json!({"id": 1, "name": "two", "amount": 20}),
        json!({"id": 2, "name": "one", "amount": 10}),
    ];
    trial
        .expect(&sample::items(), &expected, "after the keys were swapped")
        .await?;
    Ok(session.close().await?)
}

/// A delete removes the row; of a key that is not there it does nothing. The deleted row may carry its key alone.
pub async fn delete_removes_the_row(harness: &dyn DestinationHarness) -> Promise {
    let (trial, mut session) = with_two_items(harness).await?;
    require!(trial.capabilities.deletes, "it cannot delete");
    let batch = sample::changes(&sample::items())
        .at(2)
        .delete(json!({"id": 1}))
        .without(["name", "amount"])
        .delete(json!({"id": 77, "name": "never", "amount": 0}))
        .batch();
    session.apply(second(batch)).await?;
    trial
        .expect(&sample::items(), &two_items()[1..], "after a delete")
        .await?;
    Ok(session.close().await?)
}

/// A key that was deleted may come back, in the same transaction and in a later one.
pub async fn deleted_key_may_come_back(harness: &dyn DestinationHarness) -> Promise {
    let (trial, mut session) = with_two_items(harness).await?;
    require!(trial.capabilities.deletes, "it cannot delete");
    let items = sample::items();
    let [one, two] = two_items();
    let back = json!({"id": 1, "name": "again", "amount": null});
    let batch = sample::changes(&items)
        .at(2)
        .delete(one)
        .insert(back.clone())
        .delete(two.clone())
        .batch();
    session.apply(second(batch)).await?;
    trial
        .expect(&items, std::slice::from_ref(&back), "after the deletes")
        .await?;
    let batch = sample::changes(&items).at(3).insert(two.clone()).batch();
    session.apply(sample::changeset(Some(2), 3, [batch])).await?;
    trial.expect(&items, &[back, two], "after the second came back").await?;
    Ok(session.close().await?)
}

fn with_deletes(harness: &dyn DestinationHarness, deletes: Deletes) -> Result<Trial<'_>, Unkept> {
    let options = DestinationOptions {
        write: Some(WriteMode::Upsert),
        deletes,
        ..harness.options()
    };
    let trial = Trial::with(harness, options)?;
    require_upsert(&trial)?;
    trial.reading_back()
}

fn require_upsert(trial: &Trial<'_>) -> Promise {
    require!(
        trial.capabilities.writes.contains(&WriteMode::Upsert),
        "it does not write in mode `upsert`"
    );
    Ok(())
}

/// Whether `_highwater_deleted` of a row says yes, in whatever way the system shows a boolean.
fn is_marked(row: &Row) -> Result<bool, Unkept> {
    match row.get("_highwater_deleted") {
        None => Err(Unkept::broken("no column `_highwater_deleted`")),
        Some(None) => Ok(false),
        Some(Some(text)) => Ok(!["0", "false", "f", "no"].contains(&text.as_str())),
    }
}

async fn marks(trial: &Trial<'_>) -> Result<Vec<(Option<String>, bool)>, Unkept> {
    let rows = trial.harness.rows(&sample::items()).await?.unwrap_or_default();
    let mut marks = Vec::new();
    for row in &rows {
        marks.push((row.get("id").cloned().flatten(), is_marked(row)?));
    }
    marks.sort();
    Ok(marks)
}

/// With `deletes: soft` a deleted row stays, marked in `_highwater_deleted`; when the key comes back the mark goes.
pub async fn soft_delete_marks_the_row(harness: &dyn DestinationHarness) -> Promise {
    let trial = with_deletes(harness, Deletes::Soft)?;
    let mut session = with_items(&trial).await?;
    let items = sample::items();
    let [one, _] = two_items();
    let batch = sample::changes(&items).at(2).delete(one.clone()).batch();
    session.apply(second(batch)).await?;
    trial.expect(&items, &two_items(), "after a soft delete").await?;
    let id = |id: &str| Some(id.to_owned());
    ensure_eq!(
        marks(&trial).await?,
        vec![(id("1"), true), (id("2"), false)],
        "after a soft delete"
    );
    let batch = sample::changes(&items).at(3).insert(one).batch();
    session.apply(sample::changeset(Some(2), 3, [batch])).await?;
    ensure_eq!(
        marks(&trial).await?,
        vec![(id("1"), false), (id("2"), false)],
        "after the key came back"
    );
    Ok(session.close().await?)
}

/// With `deletes: ignore` a deleted row stays.
pub async fn ignored_delete_leaves_the_row(harness: &dyn DestinationHarness) -> Promise {
    let trial = with_deletes(harness, Deletes::Ignore)?;
    let mut session = with_items(&trial).await?;
    let [one, _] = two_items();
    session
        .apply(second(sample::changes(&sample::items()).at(2).delete(one).batch()))
        .await?;
    trial
        .expect(&sample::items(), &two_items(), "after an ignored delete")
        .await?;
    Ok(session.close().await?)
}

/// A value that was not sent stays what it was; others in the same batch are written.
pub async fn unavailable_value_is_left_alone(harness: &dyn DestinationHarness) -> Promise {
    let (trial, mut session) = with_two_items(harness).await?;
    require!(trial.capabilities.unavailable, "it cannot leave a column alone");
    let batch = sample::changes(&sample::items())
        .at(2)
        .update(json!({"id": 1, "amount": 11}))
        .without(["name"])
        .update(json!({"id": 2, "name": null}))
        .without(["amount"])
        .batch();
    session.apply(second(batch)).await?;
    let expected = [
        json!({"id": 1, "name": "one", "amount": 11}),
        json!({"id": 2, "name": null, "amount": 20}),
    ];
    trial
        .expect(&sample::items(), &expected, "after an update with values not sent")
        .await?;
    Ok(session.close().await?)
}

/// A value that was not sent survives a change of its row's key.
pub async fn unavailable_value_moves_with_its_row(harness: &dyn DestinationHarness) -> Promise {
    let (trial, mut session) = with_two_items(harness).await?;
    require!(trial.capabilities.unavailable, "it cannot leave a column alone");
    let batch = sample::changes(&sample::items())
        .at(2)
        .rekey(json!({"id": 1}), json!({"id": 7, "amount": 70}))
        .without(["name"])
        .batch();
    session.apply(second(batch)).await?;
    let [_, two] = two_items();
    let expected = [two, json!({"id": 7, "name": "one", "amount": 70})];
    trial
        .expect(&sample::items(), &expected, "after the key changed")
        .await?;
    Ok(session.close().await?)
}

/// Keys of several columns and types, which would be alike if their texts were joined.
pub async fn keys_of_several_columns_are_told_apart(harness: &dyn DestinationHarness) -> Promise {
    let trial = Trial::writing(harness, WriteMode::Upsert)?;
    let fields = vec![
        Field::new("value", DataType::Utf8, true),
        Field::new("a", DataType::Utf8, false),
        Field::new("b", DataType::Utf8, false),
        Field::new("n", DataType::Int32, false),
    ];
    let schema = sample::schema(StreamId::new("pairs"), fields, ["n", "b", "a"]);
    let keys = [
        ("x", "", 1),
        ("", "x", 1),
        ("x,", "y", 1),
        ("x", ",y", 1),
        ("x", "y", 11),
        ("X", "y", 11),
        ("x ", "y", 11),
    ];
    let row = |(a, b, n): &(&str, &str, i32), value: &str| json!({"a": a, "b": b, "n": n, "value": value});
    let mut session = trial.open().await?;
    let batch = sample::changes(&schema)
        .inserts(keys.iter().map(|key| row(key, "old")))
        .batch();
    session.apply(sample::changeset(None, 1, [batch])).await?;
    let mut changes = sample::changes(&schema).at(2).update(row(&keys[0], "new"));
    let mut expected = vec![row(&keys[0], "new")];
    if trial.capabilities.deletes {
        changes = changes.delete(row(&keys[5], "old"));
        expected.extend(keys[1..5].iter().map(|key| row(key, "old")));
        expected.push(row(&keys[6], "old"));
    } else {
        expected.extend(keys[1..].iter().map(|key| row(key, "old")));
    }
    session.apply(second(changes.batch())).await?;
    trial.expect(&schema, &expected, "after changes of two keys").await?;
    ensure!(expected.len() >= 6, "the suite expects {} rows", expected.len());
    Ok(session.close().await?)
}
