use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use api::conformance::{DestinationHarness, HarnessError, Row};
use api::{BuildContext, Destination, DestinationOptions, Registry, SpecError};
use arrow::datatypes::DataType;
use async_trait::async_trait;
use highwater_plugin_console::{Format, Stdout, StdoutSpec};
use model::StreamSchema;
use serde_json::{Value, json};

mod null {
    use super::{
        Arc, BuildContext, Destination, DestinationHarness, DestinationOptions, HarnessError, PathBuf, Registry, Row,
        SpecError, StreamSchema, async_trait, json,
    };

    struct Harness(Arc<Registry>);

    impl Harness {
        fn new() -> Self {
            let mut registry = Registry::default();
            highwater_plugin_console::register(&mut registry);
            Harness(Arc::new(registry))
        }
    }

    #[async_trait]
    impl DestinationHarness for Harness {
        fn build(&self, options: DestinationOptions) -> Result<Box<dyn Destination>, SpecError> {
            let cx = BuildContext {
                base_dir: PathBuf::new(),
            };
            self.0.destinations["null"].build(json!({}), options, &cx)
        }

        async fn rows(&self, _schema: &StreamSchema) -> Result<Option<Vec<Row>>, HarnessError> {
            Ok(None)
        }

        fn reads_back(&self) -> bool {
            false
        }

        fn locks(&self) -> bool {
            false
        }
    }

    api::destination_conformance!(Harness::new());
}

mod stdout {
    use super::{
        Arc, DataType, Destination, DestinationHarness, DestinationOptions, Format, HarnessError, Mutex, Row,
        SpecError, Stdout, StdoutSpec, StreamSchema, Value, async_trait,
    };

    #[derive(Default)]
    struct Harness {
        out: Arc<Mutex<Vec<u8>>>,
    }

    #[async_trait]
    impl DestinationHarness for Harness {
        fn build(&self, options: DestinationOptions) -> Result<Box<dyn Destination>, SpecError> {
            let spec = StdoutSpec { format: Format::Ndjson };
            Stdout::printing_to(spec, options, self.out.clone())
        }

        async fn rows(&self, schema: &StreamSchema) -> Result<Option<Vec<Row>>, HarnessError> {
            let bytes = self.out.lock().map_err(|error| error.to_string())?.clone();
            let mut rows = Vec::new();
            for line in String::from_utf8(bytes)?.lines() {
                let object: serde_json::Map<String, Value> = serde_json::from_str(line)?;
                let is_row = object.contains_key("_highwater_position");
                if is_row && object["_highwater_stream"] == schema.stream().to_string().as_str() {
                    rows.push(row_of(schema, object));
                }
            }
            Ok(Some(rows))
        }

        fn locks(&self) -> bool {
            false
        }
    }

    fn row_of(schema: &StreamSchema, object: serde_json::Map<String, Value>) -> Row {
        let is_float = |name: &str| {
            let field = schema.arrow().field_with_name(name);
            field.is_ok_and(|field| matches!(field.data_type(), DataType::Float32 | DataType::Float64))
        };
        let text = |name: &str, value: Value| match value {
            Value::Null => None,
            Value::String(text) => Some(text),
            // `1e15` and `1000000000000000.0` are one number.
            Value::Number(number) if is_float(name) => number.as_f64().map(|number| format!("{number:?}")),
            other => Some(other.to_string()),
        };
        let mut row: Row = object
            .into_iter()
            .map(|(name, value)| (name.clone(), text(&name, value)))
            .collect();
        // A line has no columns that the row did not have when it was printed.
        for field in schema.arrow().fields() {
            row.entry(field.name().clone()).or_insert(None);
        }
        row.entry("_highwater_unavailable".to_owned()).or_insert(None);
        row
    }

    api::destination_conformance!(Harness::default());
}
