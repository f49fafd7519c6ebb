//! Every promise of `api::conformance::destination`, in each write mode.

use api::conformance::{DestinationHarness, HarnessError, Row};
use api::{Destination, DestinationOptions, SpecError, WriteMode};
use arrow::array::ArrayRef;
use arrow::datatypes::Field;
use async_trait::async_trait;
use model::StreamSchema;

use crate::database::Database;
use crate::forms::expected_text;

struct SqliteHarness {
    database: Database,
    write: Option<WriteMode>,
}

impl SqliteHarness {
    fn new(write: Option<WriteMode>) -> Self {
        SqliteHarness {
            database: Database::new(),
            write,
        }
    }
}

#[async_trait]
impl DestinationHarness for SqliteHarness {
    fn build(&self, options: DestinationOptions) -> Result<Box<dyn Destination>, SpecError> {
        Ok(self.database.destination(options))
    }

    fn options(&self) -> DestinationOptions {
        DestinationOptions {
            write: self.write,
            ..DestinationOptions::default()
        }
    }

    async fn rows(&self, schema: &StreamSchema) -> Result<Option<Vec<Row>>, HarnessError> {
        Ok(self.database.rows(&schema.stream().flat_name()))
    }

    fn shows(&self, field: &Field, column: &ArrayRef, row: usize) -> Option<String> {
        expected_text(field, column, row)
    }
}

mod by_default {
    use super::*;
    api::destination_conformance!(SqliteHarness::new(None));
}

mod appended {
    use super::*;
    api::destination_conformance!(SqliteHarness::new(Some(WriteMode::Append)));
}

mod mirrored {
    use super::*;
    api::destination_conformance!(SqliteHarness::new(Some(WriteMode::Mirror)));
}
