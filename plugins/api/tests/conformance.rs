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
