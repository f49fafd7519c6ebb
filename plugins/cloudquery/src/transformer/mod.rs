//! A plugin that transforms.
//!
//! - The plugin is a function of rows, as any transformer: what became of a change follows from which of its images came
//!   out. So each row carries its number in a column of its own, which the plugin hands on with the row: whatever it drops,
//!   doubles or turns around, each output row says which input row it came from. A plugin that leaves that column out is
//!   asked row by row, which is as right and much slower.
//! - Each call is one stream: everything is sent, our half is closed, and the answer is read to its end. A plugin that is
//!   slow is waited for, within its `timeout` for each record; no row is lost because it came late.
//! - The plugin sees whole rows only. A row of which the source did not send every value is refused.
//! - It may not give a stream another name: checkpoints are kept by the source's names.

mod exchange;
mod shape;
mod spec;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use api::{BuildContext, Images, OutSchema, Result, SpecError, Transformer, TransformerConnector};
use arrow::array::RecordBatch;
use async_trait::async_trait;
use model::{OutRows, SchemaId, StreamSchema};
use tokio::sync::OnceCell;

pub use spec::CloudQueryTransformerSpec;

use crate::error::Error;
use crate::plugin::Plugin;
use crate::registry::Kind;
use shape::Shape;

/// The connector `cloudquery` in the role of a transformer.
pub struct CloudQueryTransformerConnector;

impl TransformerConnector for CloudQueryTransformerConnector {
    const NAME: &'static str = "cloudquery";
    const ABOUT: &'static str = "Sends rows through a CloudQuery transformer plugin.";
    type Spec = CloudQueryTransformerSpec;

    fn build(spec: CloudQueryTransformerSpec, cx: &BuildContext) -> Result<Box<dyn Transformer>, SpecError> {
        spec.plugin().check()?;
        Ok(Box::new(CloudQueryTransformer {
            base: cx.base_dir.clone(),
            spec,
            plugin: OnceCell::new(),
            shapes: Mutex::new(HashMap::new()),
        }))
    }
}

/// A transformer plugin; its process starts with the first row or schema, and ends with this value.
pub struct CloudQueryTransformer {
    base: PathBuf,
    spec: CloudQueryTransformerSpec,
    plugin: OnceCell<Plugin>,
    shapes: Mutex<HashMap<SchemaId, Arc<Shape>>>,
}

impl CloudQueryTransformer {
    async fn plugin(&self) -> Result<&Plugin, Error> {
        let start = || async {
            let plugin = Plugin::start(Kind::Transformer, self.spec.name(), self.spec.plugin(), &self.base).await?;
            plugin.init(self.spec.plugin(), false).await?;
            Ok(plugin)
        };
        self.plugin.get_or_try_init(start).await
    }

    /// What the plugin makes of a stream's schema; asked once for each.
    async fn shape(&self, input: &Arc<StreamSchema>) -> Result<Arc<Shape>, Error> {
        let known = |id| {
            let shapes = self.shapes.lock().unwrap_or_else(PoisonError::into_inner);
            shapes.get(&id).cloned()
        };
        if let Some(shape) = known(input.id()) {
            return Ok(shape);
        }
        let plugin = self.plugin().await?;
        let shape = Arc::new(Shape::ask(plugin, input).await?);
        let mut shapes = self.shapes.lock().unwrap_or_else(PoisonError::into_inner);
        shapes.insert(input.id(), Arc::clone(&shape));
        Ok(shape)
    }

    /// The rows that come out, and the input row of each.
    async fn outputs(
        &self,
        plugin: &Plugin,
        shape: &Shape,
        rows: &RecordBatch,
    ) -> Result<(RecordBatch, Vec<u32>), Error> {
        let bytes_max = self.spec.message_bytes_max();
        let mut parts = Vec::new();
        if shape.numbers_rows() {
            let records = shape.records(plugin, rows, bytes_max)?;
            for record in exchange::exchange(plugin, records).await? {
                parts.push(shape.numbered(plugin, &record, rows.num_rows())?);
            }
        } else {
            for row in 0..rows.num_rows() {
                let records = shape.records(plugin, &rows.slice(row, 1), bytes_max)?;
                for record in exchange::exchange(plugin, records).await? {
                    let out = shape.rows(plugin, &record)?;
                    let numbers = vec![row as u32; out.num_rows()];
                    parts.push((out, numbers));
                }
            }
        }
        shape.in_order(plugin, parts)
    }
}

/// Fails if a row is not whole.
fn check_whole(plugin: &str, input: &Images) -> Result<(), Error> {
    let Some(unsent) = &input.unavailable else {
        return Ok(());
    };
    let fields = input.schema.arrow().fields().iter().enumerate();
    let is_unsent = |column: usize| (0..input.rows.num_rows()).any(|row| unsent.is_set(row, column));
    match fields
        .filter(|(column, _)| is_unsent(*column))
        .map(|(_, field)| field)
        .next()
    {
        None => Ok(()),
        Some(field) => Err(Error::Unsupported {
            plugin: plugin.to_owned(),
            verb: format!("transform rows of `{}`", input.schema.stream()),
            what: format!("the source did not send every value of `{}`", field.name()),
            hint: "send whole rows: ALTER TABLE ... REPLICA IDENTITY FULL",
        }),
    }
}

/// Fails if a row that may not be dropped was.
fn check_all(plugin: &str, input: &Images, numbers: &[u32]) -> Result<(), Error> {
    let is_each_once = numbers.iter().copied().eq(0..input.rows.num_rows() as u32);
    if input.may_drop || is_each_once {
        return Ok(());
    }
    Err(Error::Unsupported {
        plugin: plugin.to_owned(),
        verb: format!("transform the old rows of `{}`", input.schema.stream()),
        what: "it drops a row that is to be deleted, and nothing says what its key became".to_owned(),
        hint: "drop rows with the transformer `filter` instead",
    })
}

#[async_trait]
impl Transformer for CloudQueryTransformer {
    async fn output_schema(&self, input: &Arc<StreamSchema>) -> Result<Vec<OutSchema>> {
        let shape = self.shape(input).await?;
        // What a value came from, only the plugin knows.
        let all: Vec<usize> = (0..input.arrow().fields().len()).collect();
        let schema = Arc::clone(shape.output());
        let lineage = schema.arrow().fields().iter().map(|_| all.clone()).collect();
        Ok(vec![OutSchema { schema, lineage }])
    }

    async fn transform(&mut self, input: &Images) -> Result<Vec<OutRows>> {
        if input.rows.num_rows() == 0 {
            return Ok(Vec::new());
        }
        let shape = self.shape(&input.schema).await?;
        let plugin = self.plugin().await?;
        check_whole(plugin.name(), input)?;
        let (rows, input_rows) = self.outputs(plugin, &shape, &input.rows).await?;
        check_all(plugin.name(), input, &input_rows)?;
        if input_rows.is_empty() {
            return Ok(Vec::new());
        }
        Ok(vec![OutRows {
            schema: Arc::clone(shape.output()),
            rows,
            input_rows,
            unavailable: None,
        }])
    }
}
