use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Int64Array, RecordBatch};
use model::{Fingerprint, Fingerprints, StreamSchema};
use serde_json::json;

use super::types::batch_of;
use super::{DestinationHarness, Trial};
use crate::conformance::type_cases::{self, TypeCase};
use crate::conformance::{Promise, Unkept, ensure, ensure_eq, sample};
use crate::{DestinationOptions, Lane, Stored, StoredView, WriteMode};

/// A destination that reads back, in a mode whose rows can be compared.
fn trial(harness: &dyn DestinationHarness) -> Result<Trial<'_>, Unkept> {
    let trial = Trial::writing(harness, WriteMode::Upsert)?;
    if trial.capabilities.reads_back {
        Ok(trial)
    } else {
        Err(Unkept::skipped("it does not read back what it wrote"))
    }
}

/// How often each row is there, by its hashes.
type Counted = BTreeMap<(u128, u128), u32>;

fn count(counted: &mut Counted, rows: &RecordBatch, key: &[usize]) -> Result<(), Unkept> {
    let mut prints = Fingerprints::new(rows, key).map_err(|error| Unkept::broken(error.to_string()))?;
    for row in 0..rows.num_rows() {
        let Fingerprint { key, row } = prints.of(row);
        *counted.entry((key, row)).or_default() += 1;
    }
    Ok(())
}

/// Fails unless the view has exactly these rows.
async fn expect(
    view: &mut dyn StoredView,
    schema: &Arc<StreamSchema>,
    rows: &RecordBatch,
    what: &str,
) -> Result<(), Unkept> {
    let Stored::Comparable(columns) = view.begin(schema).await? else {
        return Err(Unkept::broken(format!(
            "{what}: rows that were upserted cannot be compared"
        )));
    };
    ensure_eq!(
        columns,
        (0..schema.arrow().fields().len()).collect::<Vec<_>>(),
        "{what}: columns that are compared"
    );
    let (mut wanted, mut found) = (Counted::new(), Counted::new());
    let stored = view.as_stored(rows)?;
    count(&mut wanted, &stored, schema.key())?;
    let mut shown = Vec::new();
    while let Some(batch) = view.next().await? {
        count(&mut found, &batch, schema.key())?;
        shown.push(batch);
    }
    ensure!(
        wanted == found,
        "{what}: read back otherwise than written\nas stored: {stored:?}\nread back: {shown:?}"
    );
    Ok(())
}

/// Every type that is carried is read back as what would be stored of the rows that were sent.
pub async fn every_type_is_read_back_as_stored(harness: &dyn DestinationHarness) -> Promise {
    for case in type_cases::all() {
        read_back(&trial(harness)?, &case).await?;
    }
    Ok(())
}

async fn read_back(trial: &Trial<'_>, case: &TypeCase) -> Promise {
    let lane = Lane {
        pipeline: model::PipelineId::new(format!("read-back-{}", case.name)),
        ..sample::lane()
    };
    let schema = case.schema();
    let ids: Vec<i64> = (1..).take(case.values.len()).collect();
    let rows = RecordBatch::try_new(
        Arc::clone(schema.arrow()),
        vec![Arc::new(Int64Array::from(ids)), Arc::clone(&case.values)],
    )?;
    let mut session = trial.open_lane(&lane).await?;
    let written = sample::changeset(None, 1, [batch_of(case, rows.clone())]);
    if session.apply(written).await.is_err() {
        // Whether it is refused well is another promise.
        return Ok(());
    }
    let mut view = session.read_back().await?;
    expect(view.as_mut(), &schema, &rows, &format!("type `{}`", case.name)).await?;
    session.close().await?;
    Ok(())
}

/// A view shows what was committed when it was opened, as often as it is read, and the destination goes on beside it.
pub async fn read_back_shows_the_commit_before_it(harness: &dyn DestinationHarness) -> Promise {
    let trial = trial(harness)?;
    let schema = sample::items();
    let first = [json!({ "id": 1, "name": "one" }), json!({ "id": 2, "name": null })];
    let mut session = trial.open().await?;
    let inserts = sample::changes(&schema).at(1).inserts(first.clone()).batch();
    session.apply(sample::changeset(None, 1, [inserts])).await?;
    let mut view = session.read_back().await?;
    let later = sample::changes(&schema)
        .at(2)
        .update(json!({ "id": 1, "name": "else" }))
        .insert(json!({ "id": 3, "name": "three" }))
        .batch();
    session.apply(sample::changeset(Some(1), 2, [later])).await?;
    let rows = sample::record_batch(&schema, &first);
    for what in ["a view", "a view that is read again"] {
        expect(view.as_mut(), &schema, &rows, what).await?;
    }
    drop(view);
    let now = [
        json!({ "id": 1, "name": "else" }),
        json!({ "id": 2, "name": null }),
        json!({ "id": 3, "name": "three" }),
    ];
    let mut view = session.read_back().await?;
    expect(
        view.as_mut(),
        &schema,
        &sample::record_batch(&schema, &now),
        "a later view",
    )
    .await?;
    session.close().await?;
    Ok(())
}

/// Appended rows are no copy of the source's, and the view says so.
pub async fn appended_rows_are_not_comparable(harness: &dyn DestinationHarness) -> Promise {
    trial(harness)?;
    let options = DestinationOptions {
        write: Some(WriteMode::Append),
        ..harness.options()
    };
    let trial = Trial::with(harness, options)?;
    let schema = sample::items();
    let mut session = trial.open().await?;
    let insert = sample::changes(&schema)
        .at(1)
        .insert(json!({ "id": 1, "name": "one" }))
        .batch();
    session.apply(sample::changeset(None, 1, [insert])).await?;
    let mut view = session.read_back().await?;
    let stored = view.begin(&schema).await?;
    ensure!(
        matches!(&stored, Stored::Not(why) if why.contains("append")),
        "rows that were appended are {stored:?}"
    );
    drop(view);
    session.close().await?;
    Ok(())
}
