use std::sync::Arc;

use arrow::datatypes::{DataType, Field};
use model::{ChangeSet, Control, StreamId, StreamSchema};
use serde_json::json;

use super::{DestinationHarness, Trial};
use crate::conformance::{Promise, Session, Unkept, ensure, ensure_eq, require, sample};
use crate::{DestinationOptions, OnSchemaChange, Retry};

/// Holds item 1 in the shape without `note`.
async fn with_one_item(trial: &Trial<'_>) -> Result<Session, Unkept> {
    let mut session = trial.open().await?;
    let batch = sample::changes(&sample::items())
        .insert(json!({"id": 1, "name": "a", "amount": 1}))
        .batch();
    session.apply(sample::changeset(None, 1, [batch])).await?;
    Ok(session)
}

fn with_note() -> ChangeSet {
    let row = json!({"id": 2, "name": "b", "amount": 2, "note": "n"});
    let batch = sample::changes(&sample::items_with_note()).at(2).insert(row).batch();
    sample::changeset(Some(1), 2, [batch])
}

fn choosing(harness: &dyn DestinationHarness, choice: OnSchemaChange) -> Result<Trial<'_>, Unkept> {
    let options = DestinationOptions {
        on_schema_change: Some(choice),
        ..harness.options()
    };
    Trial::with(harness, options)?.reading_back()
}

/// A column that appears is added; earlier rows have null there.
pub async fn added_column_is_added(harness: &dyn DestinationHarness) -> Promise {
    let trial = choosing(harness, OnSchemaChange::Apply)?;
    let mut session = with_one_item(&trial).await?;
    session.apply(with_note()).await?;
    let expected = [
        json!({"id": 1, "name": "a", "amount": 1, "note": null}),
        json!({"id": 2, "name": "b", "amount": 2, "note": "n"}),
    ];
    trial
        .expect(&sample::items_with_note(), &expected, "after a column was added")
        .await?;
    Ok(session.close().await?)
}

/// A schema control changes the table although no row has shown the change yet.
pub async fn schema_control_adds_a_column_without_rows(harness: &dyn DestinationHarness) -> Promise {
    let trial = choosing(harness, OnSchemaChange::Apply)?;
    let schema = sample::items_with_note();
    let mut session = with_one_item(&trial).await?;
    let control = Control::Schema {
        schema: Arc::clone(&schema),
    };
    session.apply(sample::control(Some(1), 2, control)).await?;
    trial
        .expect(
            &schema,
            &[json!({"id": 1, "name": "a", "amount": 1, "note": null})],
            "after a schema control",
        )
        .await?;
    if trial.capabilities.keeps_checkpoint {
        session.close().await?;
        session = trial.open().await?;
        ensure_eq!(
            session.holds().schemas.get(schema.stream()),
            Some(&schema.id()),
            "the schema held"
        );
    }
    Ok(session.close().await?)
}

/// A schema change that was not committed is void like rows are.
pub async fn uncommitted_schema_change_is_void(harness: &dyn DestinationHarness) -> Promise {
    let trial = choosing(harness, OnSchemaChange::Apply)?.exactly_once()?;
    require!(
        trial.capabilities.ddl_in_transaction,
        "its schema changes are not part of the commit"
    );
    let mut session = with_one_item(&trial).await?;
    session.write(with_note()).await?;
    drop(session);
    let session = trial.open().await?;
    if trial.capabilities.keeps_checkpoint {
        let held = session.holds().schemas.get(&StreamId::new("items")).copied();
        ensure_eq!(held, Some(sample::items().id()), "the schema held");
    }
    let rows = harness.rows(&sample::items_with_note()).await?.unwrap_or_default();
    ensure!(
        rows.iter().all(|row| row.get("note").is_none_or(Option::is_none)) && rows.len() == 1,
        "after an uncommitted schema change a reader sees {rows:?}"
    );
    Ok(session.close().await?)
}

/// A column whose type grows (int32 to int64) holds the larger values, and the earlier ones.
pub async fn widened_column_is_widened(harness: &dyn DestinationHarness) -> Promise {
    let trial = choosing(harness, OnSchemaChange::Apply)?;
    let shape = |data_type| -> Arc<StreamSchema> {
        let fields = vec![
            Field::new("id", DataType::Int64, false),
            Field::new("n", data_type, true),
        ];
        sample::schema(StreamId::new("widths"), fields, ["id"])
    };
    let (narrow, wide) = (shape(DataType::Int32), shape(DataType::Int64));
    let mut session = trial.open().await?;
    let rows = [json!({"id": 1, "n": i32::MAX}), json!({"id": 2, "n": i64::MAX})];
    let batch = sample::changes(&narrow).insert(rows[0].clone()).batch();
    session.apply(sample::changeset(None, 1, [batch])).await?;
    let batch = sample::changes(&wide).at(2).insert(rows[1].clone()).batch();
    session.apply(sample::changeset(Some(1), 2, [batch])).await?;
    trial.expect(&wide, &rows, "after a column was widened").await?;
    Ok(session.close().await?)
}

/// With `on_schema_change: pause` an added column parks the destination, which names the column and changes nothing.
pub async fn pause_refuses_an_added_column(harness: &dyn DestinationHarness) -> Promise {
    let trial = choosing(harness, OnSchemaChange::Pause)?;
    let mut session = with_one_item(&trial).await?;
    let Err(error) = session.apply(with_note()).await else {
        return Err(Unkept::broken("a column was added although schema changes pause"));
    };
    ensure_eq!(error.retry(), Retry::Operator, "the error: {error:?}");
    let said = format!("{} {}", error.chain(), error.remedy().unwrap_or_default());
    ensure!(
        said.contains("note") && said.contains("items"),
        "the error names neither stream nor column: {error:?}"
    );
    drop(session);
    trial
        .expect(
            &sample::items(),
            &[json!({"id": 1, "name": "a", "amount": 1})],
            "after the refusal",
        )
        .await
}

/// With `on_schema_change: ignore` rows come without the column that the destination lacks.
pub async fn ignore_leaves_an_added_column_out(harness: &dyn DestinationHarness) -> Promise {
    let trial = choosing(harness, OnSchemaChange::Ignore)?;
    let mut session = with_one_item(&trial).await?;
    session.apply(with_note()).await?;
    let expected = [
        json!({"id": 1, "name": "a", "amount": 1}),
        json!({"id": 2, "name": "b", "amount": 2}),
    ];
    trial
        .expect(&sample::items(), &expected, "after an ignored column")
        .await?;
    let rows = harness.rows(&sample::items_with_note()).await?.unwrap_or_default();
    ensure!(
        rows.iter().all(|row| row.get("note").is_none_or(Option::is_none)),
        "the ignored column has values"
    );
    Ok(session.close().await?)
}
