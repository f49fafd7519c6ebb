use std::fs;
use std::path::PathBuf;

use api::conformance::{DestinationHarness, HarnessError, Row};
use api::{BuildContext, Destination, DestinationConnector, DestinationOptions, SpecError};
use async_trait::async_trait;
use model::StreamSchema;
use serde_json::{Map, Value};

use super::json_lines::{Committed, JsonLines, JsonLinesSpec, rows_of_generation};

struct Harness(tempfile::TempDir);

#[async_trait]
impl DestinationHarness for Harness {
    fn build(&self, options: DestinationOptions) -> Result<Box<dyn Destination>, SpecError> {
        let spec = JsonLinesSpec {
            path: PathBuf::from("changes"),
        };
        let cx = BuildContext {
            base_dir: self.0.path().to_owned(),
        };
        JsonLines::build(spec, options, &cx)
    }

    /// Reads as a reader of the folder would: the committed bytes of the committed files, in every lane.
    async fn rows(&self, schema: &StreamSchema) -> Result<Option<Vec<Row>>, HarnessError> {
        let mut rows = Vec::new();
        for lane in fs::read_dir(self.0.path().join("changes")).into_iter().flatten() {
            let lane = lane?.path();
            for (generation, bytes) in Committed::load(&lane)?.files {
                let written = fs::read(rows_of_generation(&lane, generation))?;
                for line in std::str::from_utf8(&written[..bytes as usize])?.lines() {
                    rows.extend(row_of(schema, serde_json::from_str(line)?));
                }
            }
        }
        Ok(Some(rows))
    }
}

/// The row of a line, if it is one of this stream.
fn row_of(schema: &StreamSchema, line: Map<String, Value>) -> Option<Row> {
    let is_row = line.contains_key("_highwater_position");
    if !is_row || line["_highwater_stream"] != schema.stream().to_string().as_str() {
        return None;
    }
    let is_float = |name: &str| {
        schema
            .arrow()
            .field_with_name(name)
            .is_ok_and(|field| field.data_type().is_floating())
    };
    let text = |name: &str, value: &Value| match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        Value::Number(number) if is_float(name) => number.as_f64().map(|number| format!("{number:?}")),
        other => Some(other.to_string()),
    };
    let mut row: Row = line
        .iter()
        .map(|(name, value)| (name.clone(), text(name, value)))
        .collect();
    // A line has no columns that the row did not have when it was written.
    let columns = schema.arrow().fields().iter().map(|field| field.name().clone());
    for column in columns.chain(["_highwater_unavailable".to_owned()]) {
        row.entry(column).or_insert(None);
    }
    Some(row)
}

api::destination_conformance!(Harness(tempfile::tempdir().expect("a temporary directory")));
