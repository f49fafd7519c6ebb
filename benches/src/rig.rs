//! A pipeline in this process, from a real SQLite file.

use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actors::{Backoff, BatchLimits, DestinationSpec, Limits, PipelineSpec, Runtime, RuntimeSpec};
use api::{
    Budget, BuildContext, Destination, DestinationOptions, Owner, Plan, PlannedStream, Registry, Source, WriteMode,
};
use model::{DestinationId, PipelineId, StreamId};
use serde_json::{Value, json};
use spool::WhenBehind;
use state::{MemoryStore, SledStore, StateStore};

pub(crate) type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Puts something around a destination.
pub(crate) type Wrap = Arc<dyn Fn(Box<dyn Destination>) -> Box<dyn Destination> + Send + Sync>;

/// What differs between benches.
pub(crate) struct Rig {
    pub(crate) connector: &'static str,
    pub(crate) spec: Value,
    pub(crate) write: Option<WriteMode>,
    pub(crate) wait_max: Duration,
    pub(crate) memory_bytes: usize,
    pub(crate) window_max_bytes: usize,
    /// Whether checkpoints go to disk.
    pub(crate) is_durable: bool,
    /// Wraps the destination.
    pub(crate) wrap: Option<Wrap>,
}

impl Rig {
    pub(crate) fn new(connector: &'static str, spec: Value) -> Self {
        Rig {
            connector,
            spec,
            write: None,
            wait_max: Duration::from_millis(20),
            memory_bytes: 256 << 20,
            window_max_bytes: 64 << 20,
            is_durable: true,
            wrap: None,
        }
    }

    /// Starts a pipeline from `source` (table `items`) to each of the rigs.
    pub(crate) async fn start(dir: &Path, source: &Path, rigs: Vec<(&str, Rig)>) -> Result<Runtime> {
        let context = BuildContext {
            base_dir: dir.to_path_buf(),
        };
        let source = registry().sources["sqlite"].build(json!({ "path": source }), &context)?;
        Self::start_from(dir, Arc::from(source), StreamId::new("items"), rigs).await
    }

    /// Starts a pipeline from one stream of any source.
    pub(crate) async fn start_from(
        dir: &Path,
        source: Arc<dyn Source>,
        stream: StreamId,
        rigs: Vec<(&str, Rig)>,
    ) -> Result<Runtime> {
        let registry = Arc::new(registry());
        let context = BuildContext {
            base_dir: dir.to_path_buf(),
        };
        let memory_bytes = rigs.first().map_or(0, |(_, rig)| rig.memory_bytes);
        let window_max_bytes = rigs.first().map_or(0, |(_, rig)| rig.window_max_bytes);
        let is_durable = rigs.iter().all(|(_, rig)| rig.is_durable);
        let pipeline = PipelineId::new("bench");
        let destinations = rigs
            .into_iter()
            .map(|(name, rig)| destination(name, rig, &registry, &context))
            .collect();
        let store: Arc<dyn StateStore> = match is_durable {
            true => Arc::new(SledStore::open(&dir.join("state"))?.0),
            false => Arc::new(MemoryStore::default()),
        };
        let spec = PipelineSpec {
            id: pipeline.clone(),
            connector: "bench".to_owned(),
            source,
            plan: Plan {
                pipeline,
                configured: Vec::new(),
                streams: vec![PlannedStream::new(stream)],
                changeset_bytes_max: (memory_bytes / 16).min(4 << 20),
            },
            transformers: Vec::new(),
            destinations,
            window_max_bytes,
            scratch: dir.join("scratch"),
            once: false,
            limits: Limits {
                probe_interval: Duration::from_millis(200),
                ..Limits::default()
            },
        };
        Ok(Runtime::start(RuntimeSpec {
            pipelines: vec![spec],
            store,
            memory: Budget::new(memory_bytes),
            owner: Owner {
                id: format!("bench-{}", std::process::id()),
                host: "here".to_owned(),
                pid: std::process::id(),
            },
            take_over: true,
        })
        .await?)
    }
}

/// Every connector that a bench uses.
pub(crate) fn registry() -> Registry {
    let mut registry = Registry::default();
    registry
        .source::<sqlite::SqliteSourceConnector>()
        .destination::<sqlite::SqliteDestinationConnector>();
    registry.destination::<console::Null>();
    files::register(&mut registry);
    postgres::register(&mut registry);
    registry
}

fn destination(name: &str, rig: Rig, registry: &Arc<Registry>, context: &BuildContext) -> DestinationSpec {
    let entry = &registry.destinations[rig.connector];
    let capabilities = entry.capabilities.clone();
    let options = DestinationOptions {
        write: rig.write,
        ..DestinationOptions::default()
    };
    let (registry, context) = (Arc::clone(registry), context.clone());
    let make = move || {
        let built = registry.destinations[rig.connector].build(rig.spec.clone(), options, &context);
        let built = built.map_err(|error| api::Error::new("E0599", api::Retry::Never, error.message))?;
        Ok(match &rig.wrap {
            Some(wrap) => wrap(built),
            None => built,
        })
    };
    DestinationSpec {
        id: DestinationId::new(name),
        connector: rig.connector.to_owned(),
        capabilities,
        make: Arc::new(make),
        transformers: Vec::new(),
        batch: BatchLimits {
            bytes_max: 32 << 20,
            rows_max: 1 << 20,
            wait_max: rig.wait_max,
        },
        retry: Backoff::default(),
        when_behind: WhenBehind::Hold,
        plan_hash: "bench".to_owned(),
    }
}

/// Waits until every destination has `rows` durable.
pub(crate) async fn until_rows(runtime: &Runtime, rows: i64) -> Result<()> {
    let rows = rows.unsigned_abs();
    let started = Instant::now();
    loop {
        let status = &runtime.status()[0];
        if status.destinations.iter().all(|destination| destination.rows >= rows) {
            return Ok(());
        }
        if let Some(trouble) = status
            .destinations
            .iter()
            .find_map(|d| d.trouble.clone())
            .or_else(|| status.trouble.clone())
        {
            return Err(trouble.error.into());
        }
        if started.elapsed() > Duration::from_secs(600) {
            return Err(format!("not done after ten minutes: {status:?}").into());
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// A database with `rows` rows of ten columns, about 130 bytes each.
pub(crate) fn database(path: &Path, rows: i64) -> Result<()> {
    let db = rusqlite::Connection::open(path)?;
    db.execute_batch(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;
         CREATE TABLE items(id INTEGER PRIMARY KEY, a TEXT, b TEXT, c INTEGER, d INTEGER, e REAL, f REAL, g TEXT, h INTEGER, i BLOB);",
    )?;
    insert(&db, 1, rows)?;
    Ok(())
}

/// Inserts rows `from..from + count` in one transaction.
pub(crate) fn insert(db: &rusqlite::Connection, from: i64, count: i64) -> Result<()> {
    db.execute(
        "WITH RECURSIVE n(i) AS (SELECT ?1 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < ?1 + ?2)
         INSERT INTO items SELECT i, 'name ' || i, 'a text of some length ' || (i * 7), i * 3, -i, i / 3.0, i * 1.5,
                                  'status ' || (i % 5), i % 1000, x'00112233445566778899' FROM n",
        [from, count],
    )?;
    Ok(())
}

/// A runtime of two workers.
pub(crate) fn tokio_runtime() -> Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?)
}

/// Runs `work` on a runtime of its own.
pub(crate) fn block_on<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    tokio_runtime()?.block_on(work)
}
