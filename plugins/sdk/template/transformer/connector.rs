//! What this plugin does to rows: text in the named columns becomes upper case. Put your own in its place.

use std::sync::Arc;

use highwater_plugin_sdk::arrow::array::{ArrayRef, AsArray, RecordBatch, StringArray};
use highwater_plugin_sdk::arrow::datatypes::DataType;
use highwater_plugin_sdk::model::{OutRows, StreamSchema};
use highwater_plugin_sdk::{
    BuildContext, Error, Images, OutSchema, Result, Retry, SpecError, Transformer, TransformerConnector, async_trait,
};
use schemars::JsonSchema;
use serde::Deserialize;

/// The spec: its JSON Schema, its checks and its documentation come from this type.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// The columns that become upper case, in every table that has them.
    pub columns: Vec<String>,
}

pub struct Connector;

impl TransformerConnector for Connector {
    const NAME: &'static str = "sample";
    const ABOUT: &'static str = "Makes text upper case.";
    type Spec = Spec;

    /// Refuses what the JSON Schema cannot. Touches no system.
    fn build(spec: Spec, _cx: &BuildContext) -> Result<Box<dyn Transformer>, SpecError> {
        if spec.columns.is_empty() {
            return Err(SpecError::at("/columns", "cannot change no column").hint("name at least one"));
        }
        Ok(Box::new(UpperCase { columns: spec.columns }))
    }
}

struct UpperCase {
    columns: Vec<String>,
}

#[async_trait]
impl Transformer for UpperCase {
    /// A table keeps its columns; each depends on itself alone.
    async fn output_schema(&self, input: &Arc<StreamSchema>) -> Result<Vec<OutSchema>> {
        Ok(vec![OutSchema {
            schema: Arc::clone(input),
            lineage: (0..input.arrow().fields().len()).map(|column| vec![column]).collect(),
        }])
    }

    /// Row by row: what becomes of one must not depend on those beside it.
    async fn transform(&mut self, input: &Images) -> Result<Vec<OutRows>> {
        let shape = input.rows.schema();
        let columns = shape.fields().iter().zip(input.rows.columns());
        let columns: Vec<ArrayRef> = columns
            .map(|(field, values)| match field.data_type() {
                DataType::Utf8 if self.columns.contains(field.name()) => upper(values),
                _ => Arc::clone(values),
            })
            .collect();
        let rows = RecordBatch::try_new(shape, columns).map_err(|error| {
            let stream = input.schema.stream();
            Error::new("SAMPLE1", Retry::Never, format!("cannot transform rows of `{stream}`")).caused_by(error)
        })?;
        Ok(vec![OutRows {
            schema: Arc::clone(&input.schema),
            input_rows: (0..rows.num_rows() as u32).collect(),
            rows,
            unavailable: input.unavailable.clone(),
        }])
    }
}

fn upper(values: &ArrayRef) -> ArrayRef {
    let texts = values.as_string::<i32>().iter();
    Arc::new(texts.map(|text| text.map(str::to_uppercase)).collect::<StringArray>())
}
