//! Every promise of a destination, each on a folder of its own.

use std::fs;
use std::path::PathBuf;

use highwater_plugin_sdk::conformance::{DestinationHarness, HarnessError, Row};
use highwater_plugin_sdk::model::StreamSchema;
use highwater_plugin_sdk::serde_json::{self, Value};
use highwater_plugin_sdk::{
    BuildContext, Destination, DestinationConnector, DestinationOptions, SpecError, async_trait,
};

use super::connector::{Committed, Connector, Spec, file_of};

struct Harness(tempfile::TempDir);

#[async_trait]
impl DestinationHarness for Harness {
    fn build(&self, options: DestinationOptions) -> Result<Box<dyn Destination>, SpecError> {
        let spec = Spec {
            path: PathBuf::from("changes"),
        };
        let cx = BuildContext {
            base_dir: self.0.path().to_owned(),
        };
        Connector::build(spec, options, &cx)
    }

    /// Reads as a reader of the folder would: the committed bytes of the committed files, in every lane.
    async fn rows(&self, schema: &StreamSchema) -> Result<Option<Vec<Row>>, HarnessError> {
        let mut rows = Vec::new();
        for lane in fs::read_dir(self.0.path().join("changes")).into_iter().flatten() {
            let lane = lane?.path();
            for (generation, bytes) in Committed::load(&lane)?.files {
                let written = fs::read(file_of(&lane, generation))?;
                for line in std::str::from_utf8(&written[..bytes as usize])?.lines() {
                    let line: Value = serde_json::from_str(line)?;
                    if line["stream"] != schema.stream().to_string() {
                        continue;
                    }
                    let mut row: Row = serde_json::from_value(line["values"].clone())?;
                    // A line has no columns that the row did not have when it was written.
                    for field in schema.arrow().fields() {
                        row.entry(field.name().clone()).or_insert(None);
                    }
                    rows.push(row);
                }
            }
        }
        Ok(Some(rows))
    }
}

highwater_plugin_sdk::destination_conformance!(Harness(tempfile::tempdir().expect("a temporary directory")));
