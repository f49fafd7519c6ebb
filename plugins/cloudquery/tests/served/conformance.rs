//! Every promise of a destination, kept over the wire.

use api::conformance::{DestinationHarness, HarnessError, Row, text_of};
use api::{Destination, DestinationOptions, SpecError, WriteMode};
use arrow::array::ArrayRef;
use arrow::datatypes::Field;
use async_trait::async_trait;
use model::{LogicalType, StreamId, StreamSchema};

use crate::peer::Peer;

struct Harness(Peer);

#[async_trait]
impl DestinationHarness for Harness {
    fn build(&self, options: DestinationOptions) -> Result<Box<dyn Destination>, SpecError> {
        if options.write == Some(WriteMode::Append) {
            // The peer has columns of the same names, of its own; what an appending plugin gets is tested beside the code.
            return Err(SpecError::at("", "the peer's own history hides ours"));
        }
        self.0.destination(options)
    }

    async fn rows(&self, schema: &StreamSchema) -> Result<Option<Vec<Row>>, HarnessError> {
        Ok(self.0.replica.rows(&StreamId::new(schema.stream().flat_name())))
    }

    fn shows(&self, field: &Field, column: &ArrayRef, row: usize) -> Option<String> {
        let text = text_of(column.as_ref(), row)?;
        Some(match LogicalType::of(field) {
            // Over the wire they are bytes, and addresses have a prefix.
            Some(LogicalType::Uuid) => text.replace('-', ""),
            Some(LogicalType::Inet) if !text.contains('/') => {
                let bits = if text.contains(':') { 128 } else { 32 };
                format!("{text}/{bits}")
            }
            _ => text,
        })
    }

    fn locks(&self) -> bool {
        false
    }
}

api::destination_conformance!(Harness(Peer::start().await));
