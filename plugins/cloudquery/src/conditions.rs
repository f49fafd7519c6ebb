//! The conditions of a delete, which are the same in a sync and in a write.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::error::ArrowError;
use model::{Control, StreamId, Test};
use proto::plugin_v3::{Predicate, PredicatesGroup, predicates_group};
use proto::{ConvertError, Decoder, PayloadError, Table, TableCodec};

/// Equalities that one delete may have, with those that its alternatives share counted in each.
const PREDICATES_MAX: usize = 100_000;

/// A column, how it is compared, and with what.
type Term = (String, Test, ArrayRef);

#[derive(Debug, thiserror::Error)]
pub(crate) enum ConditionError {
    #[error("a delete with more than {PREDICATES_MAX} conditions")]
    TooMany,
    #[error("a condition without a value")]
    NoValue,
    #[error("a condition of the column `{0}`, which it does not have")]
    NoColumn(String),
    #[error("the value of a condition cannot be read")]
    Payload(#[from] PayloadError),
    #[error("the value of a condition has another type than its column")]
    Type(#[from] ArrowError),
    #[error("the value of a condition cannot be converted")]
    Convert(#[from] ConvertError),
}

type Result<T> = std::result::Result<T, ConditionError>;

/// A delete of a table's rows, as controls: without conditions of all of them.
pub(crate) fn deletes(decoder: &mut Decoder, codec: &TableCodec, groups: &[PredicatesGroup]) -> Result<Vec<Control>> {
    let stream = StreamId::new(codec.table().name.as_str());
    if groups.is_empty() {
        return Ok(vec![Control::Truncate { stream }]);
    }
    let delete = |terms| Control::DeleteWhere {
        stream: stream.clone(),
        predicate: model::Predicate { terms },
    };
    let alternatives = alternatives(decoder, codec, groups)?;
    Ok(alternatives.into_iter().map(delete).collect())
}

/// A condition as deletes of which each needs all its terms: a row that meets one of them goes.
fn alternatives(decoder: &mut Decoder, codec: &TableCodec, groups: &[PredicatesGroup]) -> Result<Vec<Vec<Term>>> {
    let mut alternatives = vec![Vec::new()];
    for group in groups {
        let terms = group
            .predicates
            .iter()
            .map(|predicate| term(decoder, codec, predicate))
            .collect::<Result<Vec<_>>>()?;
        let is_or = group.grouping_type() == predicates_group::GroupingType::Or && !terms.is_empty();
        let (count, len) = (alternatives.len(), alternatives.first().map_or(0, Vec::len));
        let (count, len) = match is_or {
            true => (count.saturating_mul(terms.len()), len + 1),
            false => (count, len + terms.len()),
        };
        if count.saturating_mul(len) > PREDICATES_MAX {
            return Err(ConditionError::TooMany);
        }
        alternatives = if is_or {
            let with = |so_far: &Vec<_>, term: &Term| so_far.iter().chain([term]).cloned().collect::<Vec<_>>();
            let all = alternatives
                .iter()
                .flat_map(|so_far| terms.iter().map(move |term| with(so_far, term)));
            all.collect()
        } else {
            let with = |so_far: Vec<_>| so_far.into_iter().chain(terms.iter().cloned()).collect();
            alternatives.into_iter().map(with).collect()
        };
    }
    Ok(alternatives)
}

/// The value is row 0 of column 0, in the type of the table's column.
fn term(decoder: &mut Decoder, codec: &TableCodec, predicate: &Predicate) -> Result<Term> {
    let value = decoder.record(&predicate.record)?;
    if value.num_rows() == 0 || value.num_columns() == 0 {
        return Err(ConditionError::NoValue);
    }
    let alone = alone(codec, &predicate.column)?.ok_or_else(|| ConditionError::NoColumn(predicate.column.clone()))?;
    let value = RecordBatch::try_new(Arc::clone(alone.wire()), vec![value.column(0).slice(0, 1)])?;
    let value = alone.rows_from_wire(&value)?;
    Ok((predicate.column.clone(), Test::Eq, ArrayRef::clone(value.column(0))))
}

/// One column of a table as a table of its own, to convert single values.
pub(crate) fn alone(codec: &TableCodec, column: &str) -> std::result::Result<Option<TableCodec>, ConvertError> {
    let mut columns = codec.table().columns.iter();
    let Some(column) = columns.find(|known| known.field.name() == column) else {
        return Ok(None);
    };
    let mut alone = Table::named(codec.table().name.as_str());
    let mut nullable = column.clone();
    nullable.field.set_nullable(true);
    alone.columns.push(nullable);
    TableCodec::of_table(alone).map(Some)
}
