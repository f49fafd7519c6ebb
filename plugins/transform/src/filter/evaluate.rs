//! A compiled condition over rows, in SQL's three-valued logic.

use std::sync::Arc;

use api::Images;
use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Datum, RecordBatch, Scalar, make_array};
use arrow::compute::kernels::cmp;
use arrow::compute::{and_kleene, is_not_null, is_null, not, or_kleene, unary};
use arrow::datatypes::{DataType, Float32Type, Float64Type};
use arrow::error::ArrowError;

use super::compile::{Test, compared_as};
use super::condition::Comparison;
use crate::error::Error;

impl Test {
    /// Fails if a value that it looks at was not sent: what it would answer cannot be told.
    pub(super) fn check_available(&self, input: &Images) -> Result<(), Error> {
        let Some(mask) = &input.unavailable else {
            return Ok(());
        };
        match self.columns().into_iter().find(|&column| mask.column(column).is_some()) {
            None => Ok(()),
            Some(column) => Err(Error::Unavailable {
                what: "filter",
                stream: input.schema.stream().clone(),
                column: input.schema.arrow().field(column).name().clone(),
            }),
        }
    }

    /// True, false, or null for unknown.
    pub(super) fn evaluate(&self, rows: &RecordBatch) -> Result<BooleanArray, ArrowError> {
        match self {
            Test::All(tests) => join(tests, rows, and_kleene),
            Test::Any(tests) => join(tests, rows, or_kleene),
            Test::Not(test) => not(&test.evaluate(rows)?),
            Test::Compare {
                column,
                comparison,
                value,
            } => compare(&comparable(rows.column(*column))?, *comparison, value),
            Test::In { column, values } => {
                let column = comparable(rows.column(*column))?;
                let mut answer = BooleanArray::from(vec![false; rows.num_rows()]);
                for value in values {
                    answer = or_kleene(&answer, &compare(&column, Comparison::Eq, value)?)?;
                }
                Ok(answer)
            }
            Test::IsNull { column, is_null: true } => is_null(rows.column(*column)),
            Test::IsNull { column, is_null: false } => is_not_null(rows.column(*column)),
        }
    }
}

type Join = fn(&BooleanArray, &BooleanArray) -> Result<BooleanArray, ArrowError>;

fn join(tests: &[Test], rows: &RecordBatch, with: Join) -> Result<BooleanArray, ArrowError> {
    let mut answers = tests.iter().map(|test| test.evaluate(rows));
    let first = answers
        .next()
        .unwrap_or_else(|| Ok(BooleanArray::from(vec![true; rows.num_rows()])))?;
    answers.try_fold(first, |joined, answer| with(&joined, &answer?))
}

fn compare(column: &ArrayRef, comparison: Comparison, value: &ArrayRef) -> Result<BooleanArray, ArrowError> {
    let value = Scalar::new(Arc::clone(value));
    let (column, value): (&dyn Datum, &dyn Datum) = (column, &value);
    match comparison {
        Comparison::Eq => cmp::eq(column, value),
        Comparison::Ne => cmp::neq(column, value),
        Comparison::Lt => cmp::lt(column, value),
        Comparison::Le => cmp::lt_eq(column, value),
        Comparison::Gt => cmp::gt(column, value),
        Comparison::Ge => cmp::gt_eq(column, value),
    }
}

/// Values as they are compared: without a zone, and with one zero. Arrow orders floats totally, so that -0.0 would be less
/// than 0.0; adding 0.0 makes them one.
pub(super) fn comparable(column: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    Ok(match column.data_type() {
        DataType::Float32 => Arc::new(unary::<_, _, Float32Type>(column.as_primitive::<Float32Type>(), |v| {
            v + 0.0
        })),
        DataType::Float64 => Arc::new(unary::<_, _, Float64Type>(column.as_primitive::<Float64Type>(), |v| {
            v + 0.0
        })),
        DataType::Timestamp(_, Some(_)) => {
            let bare = column
                .to_data()
                .into_builder()
                .data_type(compared_as(column.data_type()));
            make_array(bare.build()?)
        }
        _ => Arc::clone(column),
    })
}
