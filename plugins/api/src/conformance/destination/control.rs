use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, StringArray};
use model::{Body, ChangeSet, Control, Page, Predicate, StreamId, StreamSchema, Test};
use serde_json::{Value, json};

use super::{DestinationHarness, Trial};
use crate::conformance::{Promise, Session, Unkept, ensure, require, sample};
use crate::{Guarantee, WriteMode};

fn item(id: i64, amount: Option<i64>) -> Value {
    json!({"id": id, "name": format!("n{id}"), "amount": amount})
}

/// Opens in a mode and holds items 1 to 5, the last without an amount.
async fn with_five_items<'a>(
    harness: &'a dyn DestinationHarness,
    mode: WriteMode,
) -> Result<(Trial<'a>, Session), Unkept> {
    let trial = Trial::writing(harness, mode)?;
    let mut session = trial.open().await?;
    let batch = sample::changes(&sample::items()).inserts(five_items()).batch();
    session.apply(sample::changeset(None, 1, [batch])).await?;
    Ok((trial, session))
}

fn five_items() -> Vec<Value> {
    (1..=5).map(|id| item(id, (id < 5).then_some(id * 10))).collect()
}

fn truncate() -> Control {
    Control::Truncate {
        stream: StreamId::new("items"),
    }
}

/// A truncate removes every row of its stream and of no other; rows after it stay.
pub async fn truncate_empties_the_stream(harness: &dyn DestinationHarness) -> Promise {
    let (trial, mut session) = with_five_items(harness, WriteMode::Upsert).await?;
    require!(trial.capabilities.truncate, "it cannot truncate");
    let (items, other) = (sample::items(), sample::items_as(StreamId::new("items_2")));
    let batch = sample::changes(&other).at(2).insert(item(1, None)).batch();
    session.write(sample::changeset(Some(1), 2, [batch])).await?;
    session.write(sample::control(Some(2), 3, truncate())).await?;
    let batch = sample::changes(&items).at(4).insert(item(2, None)).batch();
    session.write(sample::changeset(Some(3), 4, [batch])).await?;
    session.commit().await?;
    trial
        .expect(&items, &[item(2, None)], "after a truncate and an insert")
        .await?;
    trial
        .expect(&other, &[item(1, None)], "after a truncate of another stream")
        .await?;
    Ok(session.close().await?)
}

/// `delete_where` removes the rows for which every term holds; a null fails every term.
pub async fn delete_where_removes_what_matches(harness: &dyn DestinationHarness) -> Promise {
    require!(
        Trial::writing(harness, WriteMode::Upsert)?.capabilities.delete_where,
        "it cannot delete by predicate"
    );
    let number = |value: i64| -> ArrayRef { Arc::new(Int64Array::from(vec![value])) };
    let text = |value: &str| -> ArrayRef { Arc::new(StringArray::from(vec![value])) };
    let term = |column: &str, test, value| (column.to_owned(), test, value);
    let cases: [(Vec<_>, &[i64]); 7] = [
        (vec![term("amount", Test::Eq, number(20))], &[1, 3, 4, 5]),
        (vec![term("amount", Test::Lt, number(20))], &[2, 3, 4, 5]),
        (vec![term("amount", Test::LtEq, number(20))], &[3, 4, 5]),
        (vec![term("amount", Test::Gt, number(20))], &[1, 2, 5]),
        (vec![term("amount", Test::GtEq, number(20))], &[1, 5]),
        (
            vec![term("amount", Test::Gt, number(10)), term("id", Test::Lt, number(4))],
            &[1, 4, 5],
        ),
        (vec![term("name", Test::Eq, text("n5"))], &[1, 2, 3, 4]),
    ];
    let items = sample::items();
    let trial = Trial::writing(harness, WriteMode::Upsert)?;
    let mut session = trial.open().await?;
    let mut at = 0;
    for (terms, kept) in cases {
        let batch = sample::changes(&items).at(at + 1).inserts(five_items()).batch();
        session
            .write(sample::changeset((at > 0).then_some(at), at + 1, [batch]))
            .await?;
        let said = format!("after delete where {terms:?}");
        let control = Control::DeleteWhere {
            stream: items.stream().clone(),
            predicate: Predicate { terms },
        };
        session.apply(sample::control(Some(at + 1), at + 2, control)).await?;
        at += 2;
        let kept: Vec<Value> = five_items()
            .into_iter()
            .filter(|row| kept.iter().any(|id| row["id"] == *id))
            .collect();
        trial.expect(&items, &kept, &said).await?;
    }
    Ok(session.close().await?)
}

/// A control is part of the commit like rows are.
pub async fn uncommitted_control_is_void(harness: &dyn DestinationHarness) -> Promise {
    let (trial, mut session) = with_five_items(harness, WriteMode::Upsert).await?;
    let trial = trial.exactly_once()?;
    require!(trial.capabilities.truncate, "it cannot truncate");
    session.write(sample::control(Some(1), 2, truncate())).await?;
    trial
        .expect(&sample::items(), &five_items(), "before the commit of a truncate")
        .await?;
    drop(session);
    let session = trial.open().await?;
    trial
        .expect(&sample::items(), &five_items(), "after an uncommitted truncate")
        .await?;
    Ok(session.close().await?)
}

/// Item 6 is inserted, all items are truncated, item 2 is inserted: one transaction.
fn refill() -> Vec<ChangeSet> {
    let insert = |id| {
        let batch = sample::changes(&sample::items()).at(2).insert(item(id, None)).batch();
        Body::Rows(vec![batch])
    };
    sample::parts_with_controls(Some(1), 2, vec![insert(6), Body::Control(truncate()), insert(2)])
}

/// A truncate between the rows of a transaction becomes visible with them, at once.
pub async fn truncate_inside_a_transaction_shows_with_its_rows(harness: &dyn DestinationHarness) -> Promise {
    let (trial, mut session) = with_five_items(harness, WriteMode::Upsert).await?;
    require!(trial.capabilities.truncate, "it cannot truncate");
    let items = sample::items();
    let is_isolated = trial.capabilities.guarantee == Guarantee::ExactlyOnce;
    for part in refill() {
        session.write(part).await?;
        if is_isolated {
            trial.expect(&items, &five_items(), "between the parts").await?;
        }
    }
    session.commit().await?;
    trial.expect(&items, &[item(2, None)], "after the last part").await?;
    Ok(session.close().await?)
}

/// A transaction that was left off behind its truncate leaves nothing, and is applied once when it comes again.
pub async fn truncate_of_an_unfinished_transaction_is_void(harness: &dyn DestinationHarness) -> Promise {
    let (trial, mut session) = with_five_items(harness, WriteMode::Upsert).await?;
    let trial = trial.exactly_once()?;
    require!(trial.capabilities.truncate, "it cannot truncate");
    let items = sample::items();
    // What is not held is not taken: the stream becomes live.
    read(&mut session, &items, 1, false, &[]).await?;
    for part in refill().into_iter().take(2) {
        session.write(part).await?;
    }
    drop(session);
    let mut session = trial.open().await?;
    trial.expect(&items, &five_items(), "after unfinished parts").await?;
    for _ in 0..2 {
        // The second time the destination has it: nothing is left of the parts but that they are parts.
        for part in refill() {
            session.take(&Arc::new(part)).await?;
        }
        session.commit().await?;
        trial.expect(&items, &[item(2, None)], "after all parts").await?;
    }
    let batch = sample::changes(&items).at(3).insert(item(4, None)).batch();
    session.apply(sample::changeset(Some(2), 3, [batch])).await?;
    trial
        .expect(&items, &[item(2, None), item(4, None)], "after the next transaction")
        .await?;
    Ok(session.close().await?)
}

/// Drives one read of existing rows from its begin to its end.
async fn read(
    session: &mut Session,
    schema: &Arc<StreamSchema>,
    run: u32,
    empty_first: bool,
    pages: &[&[Value]],
) -> Result<(), Unkept> {
    session.apply(sample::begin_read(schema, run, empty_first)).await?;
    for (number, rows) in (1..).zip(pages) {
        let page = Page::new(0, number);
        let batch = sample::page(schema, run, page, 1, rows);
        let delta = sample::page_delta(schema.stream(), run, page);
        session.write(ChangeSet::rows(delta, vec![batch])).await?;
    }
    Ok(session.apply(sample::end_read(schema.stream(), run)).await?)
}

/// The pages of a read are written.
pub async fn existing_rows_are_written(harness: &dyn DestinationHarness) -> Promise {
    let trial = Trial::of(harness)?.reading_back()?;
    let items = sample::items();
    let rows = five_items();
    let mut session = trial.open().await?;
    read(&mut session, &items, 1, true, &[&rows[..2], &rows[2..]]).await?;
    trial.expect(&items, &rows, "after a read").await?;
    if trial.capabilities.keeps_checkpoint {
        let held = session.checkpoint().clone();
        session.close().await?;
        session = trial.open().await?;
        ensure!(
            *session.checkpoint() == held,
            "after a read {:?} became {:?}",
            held,
            session.checkpoint()
        );
    }
    Ok(session.close().await?)
}

/// A read that begins with `empty_first` leaves no row of before.
pub async fn begin_read_empties_the_stream_when_asked(harness: &dyn DestinationHarness) -> Promise {
    let mode = harness.options().write_mode(true);
    let (trial, mut session) = with_five_items(harness, mode).await?;
    require!(trial.capabilities.truncate, "it cannot empty a stream");
    let rows = [item(2, Some(2)), item(8, Some(8))];
    read(&mut session, &sample::items(), 2, true, &[&rows]).await?;
    trial
        .expect(&sample::items(), &rows, "after a read that empties first")
        .await?;
    Ok(session.close().await?)
}

/// A read that begins without `empty_first` takes no row away by beginning.
pub async fn begin_read_keeps_the_rows_when_not_asked(harness: &dyn DestinationHarness) -> Promise {
    let mode = harness.options().write_mode(true);
    let (trial, mut session) = with_five_items(harness, mode).await?;
    session.apply(sample::begin_read(&sample::items(), 2, false)).await?;
    trial
        .expect(&sample::items(), &five_items(), "after the begin of a read")
        .await?;
    Ok(session.close().await?)
}

/// A stream without rows has a table with the columns of its schema once its read began.
pub async fn empty_stream_gets_its_table(harness: &dyn DestinationHarness) -> Promise {
    let trial = Trial::of(harness)?.reading_back()?;
    let items = sample::items();
    require!(
        trial.capabilities.writes.contains(&WriteMode::Upsert),
        "a stream without rows is not seen where every row is a change"
    );
    let mut session = trial.open().await?;
    read(&mut session, &items, 1, true, &[]).await?;
    ensure!(
        harness.rows(&items).await?.is_some(),
        "the table of an empty stream does not exist"
    );
    trial.expect(&items, &[], "after the read of an empty stream").await?;
    Ok(session.close().await?)
}

/// In mode `mirror` rows that the read did not meet are gone at its end; those it met, and changes since, stay.
pub async fn mirror_drops_what_the_read_did_not_meet(harness: &dyn DestinationHarness) -> Promise {
    let (trial, mut session) = with_five_items(harness, WriteMode::Mirror).await?;
    let items = sample::items();
    let rows = [item(1, Some(11)), item(4, Some(40))];
    session.apply(sample::begin_read(&items, 2, false)).await?;
    let page = Page::new(0, 1);
    let batch = sample::page(&items, 2, page, 1, &rows);
    session
        .apply(model::ChangeSet::rows(
            sample::page_delta(items.stream(), 2, page),
            vec![batch],
        ))
        .await?;
    // A change of a page that is held, and a restart in between.
    let batch = sample::changes(&items).at(2).insert(item(6, Some(60))).batch();
    session.apply(sample::changeset(Some(1), 2, [batch])).await?;
    if trial.capabilities.keeps_checkpoint {
        session.close().await?;
        session = trial.open().await?;
    }
    session.apply(sample::end_read(items.stream(), 2)).await?;
    let expected = [item(1, Some(11)), item(4, Some(40)), item(6, Some(60))];
    trial.expect(&items, &expected, "after the end of a read").await?;
    Ok(session.close().await?)
}

/// In mode `upsert` rows that the read did not meet stay.
pub async fn upsert_keeps_what_the_read_did_not_meet(harness: &dyn DestinationHarness) -> Promise {
    let (trial, mut session) = with_five_items(harness, WriteMode::Upsert).await?;
    read(&mut session, &sample::items(), 2, false, &[&[item(1, Some(11))]]).await?;
    let mut expected = five_items();
    expected[0] = item(1, Some(11));
    trial
        .expect(&sample::items(), &expected, "after the end of a read")
        .await?;
    Ok(session.close().await?)
}
