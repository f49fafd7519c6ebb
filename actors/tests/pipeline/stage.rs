//! A pipeline on a scripted source with replicas, faults and pace at its destinations.

use std::sync::Arc;
use std::time::Duration;

use api::conformance::{Row, sample};
use api::testing::{Faults, FaultyDestination, FaultySource, Pace, Replica, Script, ThrottledDestination, Transaction};
use api::{Budget, DestinationOptions, Plan, PlannedStream};
use highwater_actors::{
    Backoff, BatchLimits, DestinationSpec, DestinationState, Limits, PipelineSpec, PipelineStatus, Runtime, RuntimeSpec,
};
use model::{DestinationId, PipelineId, StreamId, StreamSchema};
use serde_json::json;
use spool::WhenBehind;
use state::{MemoryStore, StateStore};

pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// One destination of a stage.
#[derive(Clone)]
pub(crate) struct Side {
    pub(crate) id: DestinationId,
    pub(crate) replica: Replica,
    pub(crate) faults: Faults,
    pub(crate) pace: Pace,
    pub(crate) when_behind: WhenBehind,
    pub(crate) batch: BatchLimits,
    pub(crate) plan_hash: String,
}

/// Everything that a runtime is started on; outlives it.
#[derive(Clone)]
pub(crate) struct Stage {
    pub(crate) script: Script,
    pub(crate) streams: Vec<Arc<StreamSchema>>,
    pub(crate) sides: Vec<Side>,
    pub(crate) source_faults: Faults,
    pub(crate) store: Arc<MemoryStore>,
    pub(crate) limits: Limits,
    pub(crate) window_max_bytes: usize,
    pub(crate) memory_bytes: usize,
    scratch: Arc<tempfile::TempDir>,
}

impl Side {
    pub(crate) fn new(name: &str) -> Self {
        Side {
            id: DestinationId::new(name),
            replica: Replica::new(),
            faults: Faults::none(),
            pace: Pace::full(),
            when_behind: WhenBehind::Hold,
            batch: BatchLimits {
                bytes_max: 1 << 20,
                rows_max: 10_000,
                wait_max: Duration::from_millis(5),
            },
            plan_hash: "plan".to_owned(),
        }
    }
}

impl Stage {
    pub(crate) fn new<const N: usize>(names: [&str; N]) -> Self {
        let items = sample::items();
        Stage {
            script: Script::new([Arc::clone(&items)]),
            streams: vec![items],
            sides: names.into_iter().map(Side::new).collect(),
            source_faults: Faults::none(),
            store: Arc::new(MemoryStore::default()),
            limits: Limits {
                probe_interval: Duration::from_millis(20),
                open_wait_max: Duration::from_secs(2),
                parked_retry: Duration::from_millis(100),
                ..Limits::default()
            },
            window_max_bytes: 1 << 20,
            memory_bytes: 64 << 20,
            scratch: Arc::new(tempfile::tempdir().expect("a temporary directory")),
        }
    }

    pub(crate) fn stream(&self) -> &StreamId {
        self.streams[0].stream()
    }

    pub(crate) fn pipeline(&self) -> PipelineId {
        PipelineId::new("shop")
    }

    /// Commits one row.
    pub(crate) fn insert(&self, id: i64) {
        self.script.commit(Transaction::new().insert(self.stream(), item(id)));
    }

    pub(crate) async fn start(&self) -> Runtime {
        let destinations = self.sides.iter().map(destination).collect();
        let spec = PipelineSpec {
            id: self.pipeline(),
            connector: "scripted".to_owned(),
            source: Arc::new(FaultySource::new(Box::new(self.script.source()), &self.source_faults)),
            plan: Plan {
                pipeline: self.pipeline(),
                configured: Vec::new(),
                streams: self
                    .streams
                    .iter()
                    .map(|schema| PlannedStream::new(schema.stream().clone()))
                    .collect(),
                changeset_bytes_max: 64 << 10,
            },
            transformers: Vec::new(),
            destinations,
            window_max_bytes: self.window_max_bytes,
            scratch: self.scratch.path().join("shop"),
            once: false,
            limits: self.limits,
        };
        Runtime::start(RuntimeSpec {
            pipelines: vec![spec],
            store: Arc::clone(&self.store) as Arc<dyn StateStore>,
            memory: Budget::new(self.memory_bytes),
            owner: sample::owner("here"),
            take_over: false,
        })
        .await
        .expect("starts")
    }

    /// Waits until every replica shows what the source has.
    pub(crate) async fn until_equal(&self) {
        for side in &self.sides {
            self.until_side_equal(side).await;
        }
    }

    pub(crate) async fn until_side_equal(&self, side: &Side) {
        for schema in &self.streams {
            let stream = schema.stream();
            let sorted = |mut rows: Vec<Row>| {
                rows.sort();
                rows
            };
            let is_equal = side
                .replica
                .until(DEADLINE, |replica| {
                    sorted(replica.rows(stream).unwrap_or_default()) == sorted(self.script.rows(stream))
                })
                .await;
            let shown = side.replica.row_count(stream);
            assert!(
                is_equal,
                "`{}` of {stream} shows {shown} rows, the source has {}",
                side.id,
                self.script.rows(stream).len()
            );
        }
        assert_eq!(side.replica.violations(), Vec::<String>::new(), "`{}`", side.id);
    }
}

fn destination(side: &Side) -> DestinationSpec {
    let make = {
        let side = side.clone();
        move || {
            let replica = side.replica.destination(DestinationOptions::default());
            let throttled = Box::new(ThrottledDestination::new(replica, &side.pace));
            Ok(Box::new(FaultyDestination::new(throttled, &side.faults)) as Box<dyn api::Destination>)
        }
    };
    DestinationSpec {
        id: side.id.clone(),
        connector: "replica".to_owned(),
        capabilities: side.replica.destination(DestinationOptions::default()).capabilities(),
        make: Arc::new(make),
        transformers: Vec::new(),
        batch: side.batch,
        retry: Backoff {
            min: Duration::from_millis(5),
            max: Duration::from_millis(50),
            give_up_after: None,
        },
        when_behind: side.when_behind,
        plan_hash: side.plan_hash.clone(),
    }
}

pub(crate) fn item(id: i64) -> serde_json::Value {
    json!({ "id": id, "name": format!("item {id}") })
}

/// Waits until the pipeline's status is as wished.
pub(crate) async fn until_status(
    runtime: &Runtime,
    what: &str,
    is_true: impl Fn(&PipelineStatus) -> bool,
) -> PipelineStatus {
    let started = std::time::Instant::now();
    loop {
        let status = runtime.status().remove(0);
        if is_true(&status) {
            return status;
        }
        assert!(started.elapsed() < DEADLINE, "never {what}: {status:#?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

pub(crate) fn state_of(status: &PipelineStatus, id: &DestinationId) -> DestinationState {
    let destination = status.destinations.iter().find(|d| d.destination == id.as_str());
    destination.map(|d| d.state).expect("a destination of the stage")
}
