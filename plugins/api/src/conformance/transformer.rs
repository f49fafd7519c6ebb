//! What a transformer promises.

use std::sync::Arc;

use arrow::buffer::BooleanBuffer;
use arrow::datatypes::Schema;
use model::{Batch, Before, ChangeSet, Commit, Op, Ops, OutRows, Unavailable};

use super::{Promise, Report, Row, Unkept, ensure, ensure_eq, require, rows_of, sample};
use crate::{Images, SpecError, Transformer, transform_changeset};

/// How the suite gets at a transformer.
pub trait TransformerHarness: Send + Sync {
    /// A new value with the spec under trial.
    fn build(&self) -> Result<Box<dyn Transformer>, SpecError>;

    /// Rows that it is meant for: at least one input with rows, several streams if it treats them differently, whole and
    /// with `may_drop`.
    fn inputs(&self) -> Vec<Images>;
}

/// Every promise, each on a harness of its own.
pub async fn run<H: TransformerHarness>(make: impl AsyncFn() -> H) -> Report {
    crate::__transformer_promises! { crate::__promise_run, transformer, make }
}

/// The list of promises, for the macros.
#[doc(hidden)]
#[macro_export]
macro_rules! __transformer_promises {
    ($then:path, $role:ident, $argument:expr) => {
        $then! { $role, $argument;
            output_schema_is_pure
            output_schema_is_what_is_produced
            lineage_names_the_input_columns
            input_row_numbers_are_valid_and_do_not_decrease
            no_row_is_dropped_when_it_may_not
            same_input_gives_the_same_output
            rows_are_transformed_one_by_one
            empty_input_gives_no_rows
            unavailable_value_stays_unavailable_or_is_refused
            whole_changesets_stay_valid
        }
    };
}

fn build(harness: &dyn TransformerHarness) -> Result<Box<dyn Transformer>, Unkept> {
    harness
        .build()
        .map_err(|error| Unkept::broken(format!("the connector refuses to be built: {error}")))
}

fn inputs(harness: &dyn TransformerHarness) -> Result<Vec<Images>, Unkept> {
    let inputs = harness.inputs();
    ensure!(
        inputs.iter().any(|input| input.rows.num_rows() > 1),
        "the harness gives no input of several rows"
    );
    Ok(inputs)
}

/// Stream, text rows and row numbers: what makes two answers equal.
fn told(outs: &[OutRows]) -> Vec<(String, Vec<Row>, Vec<u32>)> {
    let one = |out: &OutRows| {
        (
            out.schema.stream().to_string(),
            rows_of(&out.rows),
            out.input_rows.clone(),
        )
    };
    let mut told: Vec<_> = outs.iter().filter(|out| out.rows.num_rows() > 0).map(one).collect();
    told.sort();
    told
}

fn slice(input: &Images, from: usize, len: usize) -> Images {
    Images {
        schema: Arc::clone(&input.schema),
        rows: input.rows.slice(from, len),
        unavailable: input.unavailable.as_ref().and_then(|mask| mask.slice(from..from + len)),
        may_drop: input.may_drop,
    }
}

/// The shapes depend on the input's shape alone.
pub async fn output_schema_is_pure(harness: &dyn TransformerHarness) -> Promise {
    let mut transformer = build(harness)?;
    for input in inputs(harness)? {
        let ids = |outs: Vec<crate::OutSchema>| outs.iter().map(|out| out.schema.id()).collect::<Vec<_>>();
        let first = ids(transformer.output_schema(&input.schema).await?);
        transformer.transform(&input).await?;
        let second = ids(transformer.output_schema(&input.schema).await?);
        ensure_eq!(second, first, "the shapes of `{}` after rows", input.schema.stream());
        let fresh = ids(build(harness)?.output_schema(&input.schema).await?);
        ensure_eq!(
            fresh,
            first,
            "the shapes of `{}` from a new value",
            input.schema.stream()
        );
    }
    Ok(())
}

/// Rows come in a shape that `output_schema` announced, under the stream's own name.
pub async fn output_schema_is_what_is_produced(harness: &dyn TransformerHarness) -> Promise {
    let mut transformer = build(harness)?;
    for input in inputs(harness)? {
        let announced = transformer.output_schema(&input.schema).await?;
        for out in transformer.transform(&input).await? {
            let stream = out.schema.stream();
            ensure!(
                announced
                    .iter()
                    .any(|announced| announced.schema.id() == out.schema.id()),
                "`{stream}` was produced in a shape that was not announced"
            );
            ensure!(
                has_columns_of(&out.rows.schema(), out.schema.arrow()),
                "the rows of `{stream}` have other columns than their schema: {:?}",
                out.rows.schema()
            );
            ensure_eq!(stream, input.schema.stream(), "the stream's name");
        }
    }
    Ok(())
}

fn has_columns_of(rows: &Schema, schema: &Schema) -> bool {
    let pairs = || rows.fields().iter().zip(schema.fields());
    rows.fields().len() == schema.fields().len()
        && pairs().all(|(got, wanted)| got.name() == wanted.name() && got.data_type() == wanted.data_type())
}

/// There is one lineage for each column, and it names columns of the input.
pub async fn lineage_names_the_input_columns(harness: &dyn TransformerHarness) -> Promise {
    let transformer = build(harness)?;
    for input in inputs(harness)? {
        let column_count = input.schema.arrow().fields().len();
        for out in transformer.output_schema(&input.schema).await? {
            ensure_eq!(
                out.lineage.len(),
                out.schema.arrow().fields().len(),
                "the number of lineages"
            );
            ensure!(
                out.lineage.iter().flatten().all(|&column| column < column_count),
                "a lineage names a column beyond the input's {column_count}: {:?}",
                out.lineage
            );
        }
    }
    Ok(())
}

/// Each row says which input row it came from, in input order.
pub async fn input_row_numbers_are_valid_and_do_not_decrease(harness: &dyn TransformerHarness) -> Promise {
    let mut transformer = build(harness)?;
    for input in inputs(harness)? {
        for out in transformer.transform(&input).await? {
            let numbers = &out.input_rows;
            ensure_eq!(numbers.len(), out.rows.num_rows(), "the number of row numbers");
            ensure!(
                numbers.windows(2).all(|pair| pair[0] <= pair[1]),
                "row numbers decrease: {numbers:?}"
            );
            ensure!(
                numbers.iter().all(|&row| (row as usize) < input.rows.num_rows()),
                "a row number lies beyond the input's {} rows: {numbers:?}",
                input.rows.num_rows()
            );
        }
    }
    Ok(())
}

/// Without `may_drop` every row comes out of every stream that comes through.
pub async fn no_row_is_dropped_when_it_may_not(harness: &dyn TransformerHarness) -> Promise {
    let mut transformer = build(harness)?;
    for input in inputs(harness)? {
        let input = Images {
            may_drop: false,
            ..input
        };
        if transformer.output_schema(&input.schema).await?.is_empty() {
            continue;
        }
        let all: Vec<u32> = (0..input.rows.num_rows() as u32).collect();
        let outs = transformer.transform(&input).await?;
        ensure!(
            !outs.is_empty() || all.is_empty(),
            "nothing came out of `{}`",
            input.schema.stream()
        );
        for out in outs {
            ensure_eq!(
                out.input_rows,
                all,
                "the rows that came out of `{}`",
                input.schema.stream()
            );
        }
    }
    Ok(())
}

/// One value twice, and two values, give the same.
pub async fn same_input_gives_the_same_output(harness: &dyn TransformerHarness) -> Promise {
    let mut transformer = build(harness)?;
    for input in inputs(harness)? {
        let first = told(&transformer.transform(&input).await?);
        ensure_eq!(told(&transformer.transform(&input).await?), first, "the second answer");
        ensure_eq!(
            told(&build(harness)?.transform(&input).await?),
            first,
            "the answer of a new value"
        );
    }
    Ok(())
}

/// What becomes of a row does not depend on the rows beside it: a replay cuts batches elsewhere.
pub async fn rows_are_transformed_one_by_one(harness: &dyn TransformerHarness) -> Promise {
    let mut transformer = build(harness)?;
    for input in inputs(harness)? {
        let whole = told(&transformer.transform(&input).await?);
        let mut alone: Vec<(String, Vec<Row>, Vec<u32>)> = Vec::new();
        for row in 0..input.rows.num_rows() {
            for (stream, rows, numbers) in told(&transformer.transform(&slice(&input, row, 1)).await?) {
                let numbers = numbers.iter().map(|number| number + row as u32);
                match alone.iter_mut().find(|(name, ..)| *name == stream) {
                    Some((_, all, all_numbers)) => {
                        all.extend(rows);
                        all_numbers.extend(numbers);
                    }
                    None => alone.push((stream, rows, numbers.collect())),
                }
            }
        }
        alone.sort();
        ensure_eq!(alone, whole, "the rows one by one");
    }
    Ok(())
}

/// No rows in, no rows out.
pub async fn empty_input_gives_no_rows(harness: &dyn TransformerHarness) -> Promise {
    let mut transformer = build(harness)?;
    for input in inputs(harness)? {
        let outs = transformer.transform(&slice(&input, 0, 0)).await?;
        ensure_eq!(told(&outs), vec![], "the answer to an empty input");
    }
    Ok(())
}

/// A value that was not sent makes the columns that depend on it unavailable in that row, or is refused by name.
pub async fn unavailable_value_stays_unavailable_or_is_refused(harness: &dyn TransformerHarness) -> Promise {
    let mut transformer = build(harness)?;
    let mut is_tried = false;
    for input in inputs(harness)?.into_iter().filter(|input| input.rows.num_rows() > 0) {
        let schema = Arc::clone(&input.schema);
        let announced = transformer.output_schema(&schema).await?;
        for (column, field) in schema.arrow().fields().iter().enumerate() {
            if schema.key().contains(&column) {
                continue;
            }
            is_tried = true;
            let mask = |at: usize| {
                (at == column).then(|| {
                    (0..input.rows.num_rows())
                        .map(|row| row == 0)
                        .collect::<BooleanBuffer>()
                })
            };
            let masked = Images {
                unavailable: Unavailable::new((0..schema.arrow().fields().len()).map(mask).collect()),
                ..input.clone()
            };
            let outs = match transformer.transform(&masked).await {
                Ok(outs) => outs,
                Err(error) => {
                    let said = error.chain();
                    ensure!(
                        said.contains(field.name()) && said.contains(&schema.stream().to_string()),
                        "the refusal names neither stream nor column `{}`: {error:?}",
                        field.name()
                    );
                    continue;
                }
            };
            for out in &outs {
                let Some(shape) = announced.iter().find(|shape| shape.schema.id() == out.schema.id()) else {
                    continue;
                };
                for (at, lineage) in shape.lineage.iter().enumerate() {
                    for (row, &number) in out.input_rows.iter().enumerate() {
                        let is_set = out.unavailable.as_ref().is_some_and(|mask| mask.is_set(row, at));
                        let expected = number == 0 && lineage.contains(&column);
                        ensure_eq!(
                            is_set,
                            expected,
                            "whether column {at} of row {row} is unavailable without `{}`",
                            field.name()
                        );
                    }
                }
            }
        }
    }
    require!(is_tried, "the inputs have no column beside their keys");
    Ok(())
}

/// Inserts, updates with their old rows and deletes go through, and every batch that comes out is valid.
pub async fn whole_changesets_stay_valid(harness: &dyn TransformerHarness) -> Promise {
    let mut transformer = build(harness)?;
    for input in inputs(harness)?.into_iter().filter(|input| input.rows.num_rows() > 0) {
        let batch = batch_of(&input);
        batch
            .check()
            .map_err(|error| Unkept::broken(format!("the harness's input: {error}")))?;
        let changeset = sample::changeset(None, 1, [batch]);
        let out = transform_changeset(transformer.as_mut(), &changeset).await?;
        ensure_eq!(out.delta, changeset.delta, "how positions move");
        check(&out)?;
    }
    Ok(())
}

fn check(changeset: &ChangeSet) -> Promise {
    for batch in changeset.batches() {
        batch.check().map_err(Unkept::broken)?;
    }
    Ok(())
}

/// The input as changes: insert, update of the row before it, delete, and again.
fn batch_of(input: &Images) -> Batch {
    let row_count = input.rows.num_rows();
    let order = sample::position(1).order;
    let op = |row: usize| [Op::Insert, Op::Update, Op::Delete, Op::Read][row % 4];
    let present: BooleanBuffer = (0..row_count).map(|row| op(row) == Op::Update).collect();
    Batch {
        partition: sample::log(),
        page: 0,
        schema: Arc::clone(&input.schema),
        rows: input.rows.clone(),
        ops: Ops::each((0..row_count).map(op)),
        before: Some(Before {
            rows: input.rows.clone(),
            present,
            unavailable: None,
        }),
        unavailable: None,
        commits: vec![Commit {
            row_end: row_count,
            order,
            time: sample::time_of(order),
        }],
        page_tags: Vec::new(),
    }
}
