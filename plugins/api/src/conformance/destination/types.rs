use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{Array, Int64Array, RecordBatch};
use model::{Batch, Commit, Op, Ops};

use super::{DestinationHarness, Trial};
use crate::Retry;
use crate::conformance::type_cases::{self, TypeCase};
use crate::conformance::{Promise, Unkept, ensure_eq, sample};

/// Every type of the vocabulary comes out as it went in, or is refused with an error that names stream and column and
/// leaves nothing. Lists what was refused as the reason of a skip.
pub async fn every_type_is_carried_exactly_or_refused_by_name(harness: &dyn DestinationHarness) -> Promise {
    let mut refused = Vec::new();
    for case in type_cases::all() {
        if let Some(reason) = carry(harness, &case).await? {
            refused.push(format!("{} ({reason})", case.name));
        }
    }
    if refused.is_empty() {
        Ok(())
    } else {
        Err(Unkept::skipped(format!(
            "all types are carried but these: {}",
            refused.join(", ")
        )))
    }
}

/// Carries one case on a lane of its own; `Some(reason)` if it was refused well.
async fn carry(harness: &dyn DestinationHarness, case: &TypeCase) -> Result<Option<String>, Unkept> {
    let trial = Trial::of(harness)?.reading_back()?;
    let lane = crate::Lane {
        pipeline: model::PipelineId::new(format!("types-{}", case.name)),
        ..sample::lane()
    };
    let schema = case.schema();
    let ids: Vec<i64> = (1..).take(case.values.len()).collect();
    let rows = RecordBatch::try_new(
        Arc::clone(schema.arrow()),
        vec![Arc::new(Int64Array::from(ids)), Arc::clone(&case.values)],
    )?;
    distinct(&trial, case)?;
    let mut session = trial.open_lane(&lane).await?;
    if let Err(error) = session
        .apply(sample::changeset(None, 1, [batch_of(case, rows.clone())]))
        .await
    {
        let said = error.chain();
        let is_named = said.contains(&schema.stream().to_string()) && said.contains("payload");
        if !is_named || !matches!(error.retry(), Retry::Never | Retry::Operator) {
            return Err(Unkept::broken(format!(
                "`{}` was refused, but the error does not name stream and column or would be retried: {error:?}",
                case.name
            )));
        }
        drop(session);
        let left = trial.rows(&schema).await?;
        ensure_eq!(left.len(), 0, "`{}` was refused and left rows", case.name);
        return Ok(Some(error.to_string()));
    }
    trial
        .expect_batch(&schema, &rows, &format!("after type `{}` was written", case.name))
        .await?;
    session.close().await?;
    Ok(None)
}

/// The harness must not hide a loss: two values that differ are shown differently.
fn distinct(trial: &Trial<'_>, case: &TypeCase) -> Result<(), Unkept> {
    let values = 0..case.values.len();
    let shown: Vec<_> = values
        .map(|row| trial.harness.shows(&case.field, &case.values, row))
        .collect();
    let is_null_type = case.values.data_type().is_null();
    let distinct: BTreeSet<_> = shown.iter().collect();
    if !is_null_type && distinct.len() != shown.len() {
        return Err(Unkept::broken(format!(
            "the harness shows values of `{}` alike: {shown:?}",
            case.name
        )));
    }
    Ok(())
}

pub(super) fn batch_of(case: &TypeCase, rows: RecordBatch) -> Batch {
    let order = sample::position(1).order;
    Batch {
        partition: sample::log(),
        page: 0,
        schema: case.schema(),
        ops: Ops::all(Op::Insert, rows.num_rows()),
        before: None,
        unavailable: None,
        commits: vec![Commit {
            row_end: rows.num_rows(),
            order,
            time: sample::time_of(order),
        }],
        page_tags: Vec::new(),
        rows,
    }
}
