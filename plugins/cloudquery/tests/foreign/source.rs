//! A source plugin, read into the judge of the conformance suites.

use std::path::Path;
use std::sync::Arc;

use api::conformance::{Row, Session, sample};
use api::testing::Replica;
use api::{
    BuildContext, Context, DestinationOptions, Held, Kept, Opened, Plan, PlannedStream, ReadExisting, Registry, Share,
    Source, WriteMode,
};
use model::{PipelineId, StreamId};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::python;

/// A source on the sample plugin; `None` where there is no Python for it.
fn source(spec: Value, folder: &Path) -> Option<Box<dyn Source>> {
    let plugin = python::plugin(python::Plugin::Source, folder)?;
    let mut registry = Registry::default();
    cloudquery::register(&mut registry);
    let spec = json!({
        "plugin": { "registry": "local", "path": plugin, "spec": spec },
        "name": "sample",
    });
    let cx = BuildContext {
        base_dir: folder.to_owned(),
    };
    Some(registry.sources["cloudquery"].build(spec, &cx).unwrap())
}

/// A mirroring destination in memory, and the source driven into it as the runtime would.
struct World {
    folder: tempfile::TempDir,
    replica: Replica,
}

impl World {
    fn new() -> Self {
        World {
            folder: tempfile::tempdir().unwrap(),
            replica: Replica::new(),
        }
    }

    async fn open(&self, source: &dyn Source, streams: &[&str], session: &Session) -> api::Result<Opened> {
        let plan = Plan {
            pipeline: PipelineId::from("test"),
            configured: Vec::new(),
            streams: streams
                .iter()
                .map(|name| PlannedStream::new(StreamId::new(*name)))
                .collect(),
            changeset_bytes_max: 1 << 20,
        };
        let lane = sample::lane();
        let held = [Held {
            destination: lane.destination.clone(),
            checkpoint: session.checkpoint().clone(),
        }];
        let cx = Context {
            pipeline: plan.pipeline.clone(),
            scratch: self.folder.path().to_owned(),
            memory: Share::alone(64 << 20),
            kept: Kept::default(),
            take_over: false,
            tally: api::Tally::default(),
            once: false,
            stop: CancellationToken::new(),
        };
        let opened = source.open(&plan, &held, cx).await?;
        let missing: Vec<StreamId> = plan
            .streams
            .iter()
            .map(|stream| stream.id.clone())
            .filter(|stream| !session.checkpoint().streams.contains_key(stream))
            .collect();
        if !missing.is_empty() {
            let ask = ReadExisting {
                streams: missing,
                destinations: Some(vec![lane.destination]),
                empty_first: false,
            };
            opened.control.read_existing(ask).await?;
        }
        Ok(opened)
    }

    async fn session(&self) -> Session {
        let options = DestinationOptions {
            write: Some(WriteMode::Mirror),
            ..DestinationOptions::default()
        };
        Session::open(self.replica.destination(options), &sample::lane())
            .await
            .unwrap()
    }

    /// One sync to its end.
    async fn sync(&self, spec: Value, streams: &[&str]) -> Option<api::Result<()>> {
        let source = source(spec, self.folder.path())?;
        let mut session = self.session().await;
        let mut opened = match self.open(&*source, streams, &session).await {
            Ok(opened) => opened,
            Err(error) => return Some(Err(error)),
        };
        let outcome = loop {
            match opened.reader.next().await {
                Ok(Some(emission)) => {
                    session.take(&Arc::new(emission.changeset)).await.unwrap();
                    session.commit().await.unwrap();
                    opened.control.acknowledge(session.checkpoint()).await.unwrap();
                }
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        opened.control.close().await.unwrap();
        assert_eq!(self.replica.violations(), [""; 0]);
        Some(outcome)
    }

    fn rows(&self, stream: &str) -> Vec<Row> {
        self.replica.rows(&StreamId::new(stream)).unwrap_or_default()
    }

    /// One column of all rows, in order.
    fn column(&self, stream: &str, column: &str) -> Vec<String> {
        let rows = self.rows(stream).into_iter();
        let mut values: Vec<String> = rows.map(|row| row[column].clone().unwrap_or_default()).collect();
        values.sort();
        values
    }
}

const ALL: [&str; 3] = ["people", "people_notes", "cities"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tables_are_found_with_keys_and_types() {
    let folder = tempfile::tempdir().unwrap();
    let Some(source) = source(json!({}), folder.path()) else {
        return;
    };
    let schemas = source.discover().await.unwrap();
    let shown: Vec<String> = schemas
        .iter()
        .map(|schema| {
            let fields = schema.arrow().fields().iter();
            let fields: Vec<String> = fields
                .map(|field| {
                    let logical =
                        model::LogicalType::of(field).map_or(String::new(), |logical| format!(" {}", logical.name()));
                    let null = if field.is_nullable() { "" } else { " not null" };
                    format!("{}: {}{logical}{null}", field.name(), field.data_type())
                })
                .collect();
            let key: Vec<&str> = schema.key_names().collect();
            format!("{} {key:?} ({})", schema.stream(), fields.join(", "))
        })
        .collect();
    insta::assert_snapshot!(shown.join("\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sync_brings_every_row_of_every_table() {
    let world = World::new();
    let Some(outcome) = world.sync(json!({"rows": 500}), &ALL).await else {
        return;
    };
    outcome.unwrap();
    assert_eq!(world.rows("people").len(), 500);
    assert_eq!(world.rows("people_notes").len(), 500);
    assert_eq!(world.column("cities", "city"), ["Paris", "Rome"]);
    let people = world.rows("people");
    let seventh = people.iter().find(|row| row["id"].as_deref() == Some("7")).unwrap();
    assert_eq!(seventh["name"].as_deref(), Some("name 7"));
    assert_eq!(seventh["uid"].as_deref(), Some("00000000000000000000000000000007"));
    assert_eq!(seventh["_cq_source_name"].as_deref(), Some("sample"));
    let times: std::collections::BTreeSet<_> = ALL
        .iter()
        .flat_map(|table| world.column(table, "_cq_sync_time"))
        .collect();
    assert_eq!(times.len(), 1, "one time for the whole sync: {times:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_a_later_sync_does_not_meet_are_removed() {
    let world = World::new();
    let Some(outcome) = world.sync(json!({"rows": 10, "cities": ["Paris", "Rome"]}), &ALL).await else {
        return;
    };
    outcome.unwrap();
    world
        .sync(json!({"rows": 4, "cities": ["Rome", "Oslo"]}), &ALL)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(world.column("people", "id"), ["0", "1", "2", "3"]);
    assert_eq!(world.column("cities", "city"), ["Oslo", "Rome"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_that_fails_loses_no_rows_and_fails_the_sync() {
    let world = World::new();
    let Some(outcome) = world.sync(json!({"rows": 5}), &ALL).await else {
        return;
    };
    outcome.unwrap();
    let failing = json!({"rows": 2, "fail": "people", "cities": ["Oslo"]});
    let error = world.sync(failing, &ALL).await.unwrap().unwrap_err();
    assert_eq!(error.code(), "E0809");
    let message = error.to_string();
    assert!(
        message.contains("`people`: ") && message.contains("`people_notes`: its parent `people` failed"),
        "{message}"
    );
    // Of the failed table and its child nothing is removed; the good one is complete.
    assert_eq!(world.rows("people").len(), 5);
    assert_eq!(world.rows("people_notes").len(), 5);
    assert_eq!(world.column("cities", "city"), ["Oslo"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plugin_that_ends_in_the_middle_is_named_with_its_last_words_and_the_next_sync_repairs_it() {
    let world = World::new();
    let Some(outcome) = world.sync(json!({"rows": 50, "exit_after": 20}), &["people"]).await else {
        return;
    };
    let error = outcome.unwrap_err();
    assert_eq!((error.code(), error.retry()), ("E0804", api::Retry::After));
    let chain = error.chain();
    assert!(
        chain.starts_with("cannot call `Sync` of plugin `sample`: it exited with status 3"),
        "{chain}"
    );
    assert!(chain.contains("the sample ends in the middle"), "{chain}");
    world.sync(json!({"rows": 50}), &["people"]).await.unwrap().unwrap();
    assert_eq!(world.rows("people").len(), 50);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_the_planned_tables_are_read() {
    let world = World::new();
    // The child brings its parent along, which nobody asked for.
    let Some(outcome) = world.sync(json!({"rows": 3}), &["people_notes"]).await else {
        return;
    };
    outcome.unwrap();
    assert_eq!(world.rows("people_notes").len(), 3);
    assert!(world.replica.rows(&StreamId::new("people")).is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_spec_parks_with_the_plugins_own_words() {
    let world = World::new();
    let Some(outcome) = world.sync(json!({"refuse": true}), &ALL).await else {
        return;
    };
    let error = outcome.unwrap_err();
    assert_eq!(error.retry(), api::Retry::Operator);
    assert!(
        error.chain().contains("the spec asks to be refused"),
        "{}",
        error.chain()
    );
}
