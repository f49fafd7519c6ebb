//! `filter`: which rows of a stream go on.

use std::collections::BTreeMap;
use std::sync::Arc;

use api::{BuildContext, Images, OutSchema, SpecError, Transformer, TransformerConnector};
use arrow::array::Array;
use arrow::compute::{filter_record_batch, prep_null_mask_filter};
use async_trait::async_trait;
use model::{OutRows, StreamSchema, Unavailable};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::error::Error;
use crate::rows::BySchema;
use crate::stream_rules::{StreamRules, pointer};

mod compile;
mod condition;
mod evaluate;
mod literal;

use compile::Test;
pub use condition::Condition;
pub use literal::Literal;

/// The spec of `filter`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FilterSpec {
    /// By stream name, or by a pattern in which `*` is any text and `?` any character. A name wins over a pattern, a longer
    /// pattern over a shorter one. Streams that match nothing pass whole.
    pub streams: BTreeMap<String, FilterRule>,
}

/// Which rows of a stream go on.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FilterRule {
    /// Rows for which this is true go on. Where it is false, or unknown because of a null, they do not.
    #[serde(rename = "where")]
    pub condition: Condition,
}

/// The connector `filter`.
pub struct Filter;

impl TransformerConnector for Filter {
    const NAME: &'static str = "filter";
    const ABOUT: &'static str = "Keeps the rows that meet a condition; an update that no longer does becomes a delete.";
    type Spec = FilterSpec;

    fn build(spec: FilterSpec, _cx: &BuildContext) -> Result<Box<dyn Transformer>, SpecError> {
        let mut rules = BTreeMap::new();
        for (stream, rule) in spec.streams {
            let at = pointer(&stream, "/where");
            rules.insert(stream, rule.condition.check(&at)?);
        }
        Ok(Box::new(RowFilter {
            rules: StreamRules::new(rules),
            compiled: BySchema::default(),
        }))
    }
}

struct RowFilter {
    rules: StreamRules<condition::Expression>,
    compiled: BySchema<Option<Test>>,
}

/// The condition for one schema; `None` where every row passes.
fn compile(rules: &StreamRules<condition::Expression>, input: &StreamSchema) -> Result<Option<Test>, Error> {
    let rule = rules.rule_for(input.stream())?;
    rule.map(|expression| compile::compile(expression, input)).transpose()
}

#[async_trait]
impl Transformer for RowFilter {
    async fn output_schema(&self, input: &Arc<StreamSchema>) -> api::Result<Vec<OutSchema>> {
        compile(&self.rules, input)?;
        Ok(vec![OutSchema {
            schema: Arc::clone(input),
            lineage: (0..input.arrow().fields().len()).map(|column| vec![column]).collect(),
        }])
    }

    async fn transform(&mut self, input: &Images) -> api::Result<Vec<OutRows>> {
        let RowFilter { rules, compiled } = self;
        let test = compiled.get(&input.schema, || compile(rules, &input.schema))?;
        Ok(vec![match &*test {
            Some(test) if input.may_drop => keep_where(test, input)?,
            _ => whole(input),
        }])
    }
}

fn whole(input: &Images) -> OutRows {
    OutRows {
        schema: Arc::clone(&input.schema),
        rows: input.rows.clone(),
        input_rows: (0..input.rows.num_rows() as u32).collect(),
        unavailable: input.unavailable.clone(),
    }
}

fn keep_where(test: &Test, input: &Images) -> Result<OutRows, Error> {
    let arrow = |source| Error::Arrow {
        stream: input.schema.stream().clone(),
        source,
    };
    test.check_available(input)?;
    // Unknown is not true: a null in the answer drops the row, as WHERE does.
    let answer = test.evaluate(&input.rows).map_err(arrow)?;
    let answer = if answer.null_count() > 0 {
        prep_null_mask_filter(&answer)
    } else {
        answer
    };
    if answer.true_count() == input.rows.num_rows() {
        return Ok(whole(input));
    }
    let kept = answer.values();
    let mask_of = |mask: &Unavailable, column: usize| {
        let mask = mask.column(column)?;
        Some(kept.set_indices().map(|row| mask.value(row)).collect())
    };
    let columns = 0..input.rows.num_columns();
    Ok(OutRows {
        schema: Arc::clone(&input.schema),
        rows: filter_record_batch(&input.rows, &answer).map_err(arrow)?,
        input_rows: kept.set_indices().map(|row| row as u32).collect(),
        unavailable: input
            .unavailable
            .as_ref()
            .and_then(|mask| Unavailable::new(columns.map(|column| mask_of(mask, column)).collect())),
    })
}
