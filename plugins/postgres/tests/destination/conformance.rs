//! Every promise of `api::conformance::destination`, in each write mode.

use api::conformance::{DestinationHarness, HarnessError, Row};
use api::{Destination, DestinationOptions, SpecError, WriteMode};
use arrow::array::ArrayRef;
use arrow::datatypes::Field;
use async_trait::async_trait;
use model::StreamSchema;

use crate::database::Database;
use crate::values;

struct PostgresHarness {
    database: Database,
    write: Option<WriteMode>,
    spec: serde_json::Value,
    locks: bool,
}

impl PostgresHarness {
    fn new(database: Database, write: Option<WriteMode>) -> Self {
        PostgresHarness {
            database,
            write,
            spec: serde_json::json!({}),
            locks: true,
        }
    }

    /// As behind a pooler in transaction mode.
    fn pooled(database: Database) -> Self {
        PostgresHarness {
            database,
            write: None,
            spec: serde_json::json!({ "pooler": "transaction" }),
            locks: false,
        }
    }
}

#[async_trait]
impl DestinationHarness for PostgresHarness {
    fn build(&self, options: DestinationOptions) -> Result<Box<dyn Destination>, SpecError> {
        Ok(self.database.destination_with(self.spec.clone(), options))
    }

    fn options(&self) -> DestinationOptions {
        DestinationOptions {
            write: self.write,
            ..DestinationOptions::default()
        }
    }

    async fn rows(&self, schema: &StreamSchema) -> Result<Option<Vec<Row>>, HarnessError> {
        let rows = self.database.rows(schema.stream()).await;
        Ok(rows.map(|rows| rows.into_iter().map(|row| values::read(schema, row)).collect()))
    }

    fn shows(&self, field: &Field, column: &ArrayRef, row: usize) -> Option<String> {
        values::shown(field, column, row)
    }

    fn locks(&self) -> bool {
        self.locks
    }
}

/// The database, or the end of the test where the machine has no server.
macro_rules! database {
    () => {
        match Database::new().await {
            Some(database) => database,
            None => return,
        }
    };
}

mod by_default {
    use super::*;
    api::destination_conformance!(PostgresHarness::new(database!(), None));
}

mod appended {
    use super::*;
    api::destination_conformance!(PostgresHarness::new(database!(), Some(WriteMode::Append)));
}

mod mirrored {
    use super::*;
    api::destination_conformance!(PostgresHarness::new(database!(), Some(WriteMode::Mirror)));
}

mod through_a_pooler {
    use super::*;
    api::destination_conformance!(PostgresHarness::pooled(database!()));
}
