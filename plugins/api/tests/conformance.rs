//! The suites judge the doubles, and the doubles hold the suites to what can be done.

extern crate highwater_plugin_api as api;

mod replica {
    use api::conformance::{DestinationHarness, HarnessError, Row};
    use api::testing::Replica;
    use api::{Destination, DestinationOptions, SpecError, WriteMode};
    use async_trait::async_trait;
    use model::StreamSchema;

    #[derive(Default)]
    struct ReplicaHarness {
        replica: Replica,
        write: Option<WriteMode>,
    }

    #[async_trait]
    impl DestinationHarness for ReplicaHarness {
        fn build(&self, options: DestinationOptions) -> Result<Box<dyn Destination>, SpecError> {
            Ok(self.replica.destination(options))
        }

        fn options(&self) -> DestinationOptions {
            DestinationOptions {
                write: self.write,
                ..DestinationOptions::default()
            }
        }

        async fn rows(&self, schema: &StreamSchema) -> Result<Option<Vec<Row>>, HarnessError> {
            Ok(self.replica.rows(schema.stream()))
        }
    }

    mod by_default {
        use super::ReplicaHarness;

        api::destination_conformance!(ReplicaHarness::default());
    }

    mod appending {
        use api::WriteMode;

        use super::ReplicaHarness;

        api::destination_conformance!(ReplicaHarness {
            write: Some(WriteMode::Append),
            ..ReplicaHarness::default()
        });
    }

    #[tokio::test]
    async fn run_reports_every_promise() {
        let report = api::conformance::destination::run(async || ReplicaHarness::default()).await;
        assert!(report.is_kept(), "{report}");
        assert!(report.promises.len() > 55, "{report}");
    }
}

mod scripted {
    use api::Source;
    use api::conformance::source::Change;
    use api::conformance::{HarnessError, Row, SourceHarness, sample};
    use api::testing::{Script, Transaction};
    use arrow::datatypes::{DataType, Field};
    use async_trait::async_trait;
    use model::StreamId;
    use serde_json::json;

    struct ScriptHarness(Script);

    impl ScriptHarness {
        fn new() -> Self {
            let schema = |stream| {
                let fields = vec![
                    Field::new("id", DataType::Int64, false),
                    Field::new("name", DataType::Utf8, true),
                ];
                sample::schema(stream, fields, ["id"])
            };
            let script = Script::new(streams().map(schema));
            script.set_pages(40, 3);
            ScriptHarness(script)
        }
    }

    fn streams() -> [StreamId; 2] {
        [StreamId::in_schema("public", "left"), StreamId::new("right")]
    }

    #[async_trait]
    impl SourceHarness for ScriptHarness {
        fn source(&self) -> Box<dyn Source> {
            Box::new(self.0.source())
        }

        fn streams(&self) -> [StreamId; 2] {
            streams()
        }

        async fn apply(&self, changes: &[Change]) -> Result<(), HarnessError> {
            let streams = streams();
            let mut names: std::collections::BTreeMap<(usize, i64), Option<String>> = Default::default();
            let add = |transaction: Transaction, change: &Change| match change {
                Change::Insert { stream, id, name } => {
                    names.insert((*stream, *id), name.clone());
                    transaction.insert(&streams[*stream], json!({"id": id, "name": name}))
                }
                Change::Update { stream, id, name } => {
                    names.insert((*stream, *id), name.clone());
                    transaction.update(&streams[*stream], json!({"id": id, "name": name}))
                }
                Change::Rekey { stream, id, to } => {
                    let name = names
                        .get(&(*stream, *id))
                        .cloned()
                        .unwrap_or_else(|| self.name_of(*stream, *id));
                    names.insert((*stream, *to), name.clone());
                    transaction.rekey(&streams[*stream], json!({"id": id}), json!({"id": to, "name": name}))
                }
                Change::Delete { stream, id } => transaction.delete(&streams[*stream], json!({"id": id})),
            };
            self.0.commit(changes.iter().fold(Transaction::new(), add));
            Ok(())
        }

        async fn rows(&self, stream: usize) -> Result<Vec<Row>, HarnessError> {
            Ok(self.0.rows(&streams()[stream]))
        }

        async fn replace(&self) -> Result<bool, HarnessError> {
            self.0.replace_history();
            Ok(true)
        }
    }

    impl ScriptHarness {
        fn name_of(&self, stream: usize, id: i64) -> Option<String> {
            let rows = self.0.rows(&streams()[stream]);
            let row = rows
                .into_iter()
                .find(|row| row["id"].as_deref() == Some(id.to_string().as_str()));
            row.and_then(|row| row["name"].clone())
        }
    }

    api::source_conformance!(ScriptHarness::new());
}
