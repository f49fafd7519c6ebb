//! SQLite as a source.
//!
//! [`engine`] reads a database whose changes are captured by triggers; [`poll`] reads one that may not be written to.

mod codes;
mod columns;
mod commit_watch;
mod control;
mod emitter;
mod engine;
mod keeper;
mod key;
mod log;
mod pages;
mod poll;
mod position;
mod reads;
mod resume;
mod rows;
mod shape;
mod shared;
mod spec;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use api::{
    BuildContext, Context, Held, Opened, Plan, PlannedStream, Retry, Source, SourceCapabilities, SourceConnector,
    SpecError,
};
use async_trait::async_trait;
use model::{PipelineId, StreamId, StreamSchema};
use rusqlite::Connection;
use tokio::sync::mpsc;

pub use self::codes::CODES;
use self::control::CapturedControl;
use self::emitter::{Emitter, Flow};
use self::engine::{Engine, Setup};
use self::keeper::Keeper;
use self::shape::{StreamShape, check_plan};
use self::shared::Shared;
pub use self::spec::{Capture, SqliteSourceSpec};
use crate::capture::install::Occasion;
use crate::capture::names::Names;
use crate::capture::table::{self, Table};
use crate::capture::{install, marks, meta, removal};
use crate::connection::{self, Access, FileIdentity, OpenError};
use crate::error::{Error, Result, sql};

/// Every fail-point that a run passes.
pub const FAIL_POINTS: &[&str] = &[
    "sqlite.source.before_install",
    "sqlite.source.after_install",
    "sqlite.source.before_take_run",
    "sqlite.source.after_take_run",
    "sqlite.source.before_mark",
    "sqlite.source.after_mark",
    "sqlite.source.before_prune",
    "sqlite.source.after_prune",
    "sqlite.source.before_stop_capture",
    "sqlite.source.after_stop_capture",
];

/// Every fail-point that `forget` passes.
pub const FORGET_FAIL_POINTS: &[&str] = &["sqlite.source.before_forget", "sqlite.source.after_forget"];

/// The connector `sqlite` as a source.
pub struct SqliteSourceConnector;

impl SourceConnector for SqliteSourceConnector {
    const NAME: &'static str = "sqlite";
    const ABOUT: &'static str = "Reads a SQLite database: first its rows, then every change, captured by triggers or polled by a column that grows.";
    type Spec = SqliteSourceSpec;

    fn build(spec: SqliteSourceSpec, cx: &BuildContext) -> std::result::Result<Box<dyn Source>, SpecError> {
        if spec.changes_warn > spec.changes_max {
            return Err(
                SpecError::at("/changes_warn", "`changes_warn` is larger than `changes_max`")
                    .hint("the warning comes before the limit: make it smaller"),
            );
        }
        let path = cx.path(&spec.path);
        Ok(Box::new(SqliteSource {
            path,
            spec: Arc::new(spec),
        }))
    }

    fn capabilities(spec: &SqliteSourceSpec) -> SourceCapabilities {
        let is_captured = spec.capture == Capture::Triggers;
        SourceCapabilities {
            deletes: is_captured,
            old_images: is_captured,
            unavailable: false,
            is_bounded: false,
            rereads: false,
            cursors_elsewhere: false,
        }
    }
}

/// A SQLite database that is read.
pub struct SqliteSource {
    path: PathBuf,
    spec: Arc<SqliteSourceSpec>,
}

#[async_trait]
impl Source for SqliteSource {
    fn capabilities(&self) -> SourceCapabilities {
        SqliteSourceConnector::capabilities(&self.spec)
    }

    async fn discover(&self) -> api::Result<Vec<Arc<StreamSchema>>> {
        let path = self.path.clone();
        blocking(&self.path, move || discover(&path)).await
    }

    async fn check(&self, plan: &Plan) -> api::Result<Vec<api::Error>> {
        let (path, spec, plan) = (self.path.clone(), Arc::clone(&self.spec), plan.clone());
        blocking(&self.path, move || check(&path, &spec, &plan)).await
    }

    async fn open(&self, plan: &Plan, held: &[Held], cx: Context) -> api::Result<Opened> {
        let (path, spec) = (self.path.clone(), Arc::clone(&self.spec));
        let (plan, held) = (plan.clone(), held.to_vec());
        let handle = tokio::runtime::Handle::current();
        blocking(&self.path, move || match spec.capture {
            Capture::Triggers => open_captured(&path, &spec, plan, &held, cx, handle),
            Capture::Poll => poll::open(&path, &spec, plan, &held, cx, handle),
        })
        .await
    }

    async fn forget(&self, pipeline: &PipelineId) -> api::Result<Vec<String>> {
        let (path, names) = (self.path.clone(), Names::of_pipeline(pipeline.as_str()));
        if self.spec.capture == Capture::Poll {
            return Ok(Vec::new());
        }
        blocking(&self.path, move || {
            let mut conn = open_connection(&path, Access::Write)?;
            let was_installed = meta::is_installed(&conn, &names)?;
            removal::remove(&mut conn, &names)?;
            Ok(was_installed
                .then(|| {
                    format!(
                        "triggers and change table `{}` in `{}`",
                        names.changes_plain(),
                        path.display()
                    )
                })
                .into_iter()
                .collect())
        })
        .await
    }
}

/// SQLite blocks, so it has a thread of its own.
async fn blocking<T: Send + 'static>(path: &Path, work: impl FnOnce() -> Result<T> + Send + 'static) -> api::Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done.map_err(Into::into),
        Err(_) => Err(Error::ThreadGone { path: path.to_owned() }.into()),
    }
}

fn open_connection(path: &Path, access: Access) -> Result<Connection> {
    let conn = connection::open(path, access)?;
    connection::prepare_source(&conn).map_err(sql("set up a connection"))?;
    Ok(conn)
}

fn discover(path: &Path) -> Result<Vec<Arc<StreamSchema>>> {
    let conn = open_connection(path, Access::Read)?;
    let mut streams = Vec::new();
    for name in table::user_tables(&conn)? {
        let planned = PlannedStream::new(StreamId::new(name.as_str()));
        match Table::describe(&conn, &name) {
            Ok(Some(table)) => streams.push(StreamShape::new(table, &planned, true)?.schema),
            Ok(None) => {}
            Err(error @ Error::CannotCapture { .. }) => tracing::warn!(code = error.code(), "{error}"),
            Err(error) => return Err(error),
        }
    }
    Ok(streams)
}

fn check(path: &Path, spec: &SqliteSourceSpec, plan: &Plan) -> Result<Vec<api::Error>> {
    let access = if spec.capture == Capture::Triggers {
        Access::Write
    } else {
        Access::Read
    };
    let conn = open_connection(path, access)?;
    let mut found: Vec<api::Error> = Vec::new();
    if spec.capture == Capture::Triggers {
        found.extend(check_wal(&conn, path).err().map(Into::into));
    }
    for planned in &plan.streams {
        let described = described(&conn, path, planned.id.name()).and_then(|table| {
            check_plan(&table, planned)?;
            StreamShape::new(table, planned, is_utf8(&conn)?)
        });
        match described {
            Ok(shape) if shape.order.is_none() && spec.capture == Capture::Triggers => found.push(
                api::Error::new(
                    "W0214",
                    Retry::Never,
                    format!("`{}` is read in one piece: its rows have no key order that can be compared", planned.id),
                )
                .hint("after a kill its first read starts again, emptied first; a primary key without COLLATE avoids that"),
            ),
            Ok(_) => {}
            Err(error) => found.push(error.into()),
        }
    }
    Ok(found)
}

fn described(conn: &Connection, path: &Path, name: &str) -> Result<Table> {
    match Table::describe(conn, name)? {
        Some(table) => Ok(table),
        None => {
            let similar = table::user_tables(conn)?
                .into_iter()
                .find(|table| is_similar(table, name));
            Err(Error::NoSuchTable {
                stream: name.to_owned(),
                path: path.to_owned(),
                similar,
            })
        }
    }
}

/// The same but for case, an underscore or an `s`.
fn is_similar(a: &str, b: &str) -> bool {
    let plain = |name: &str| name.to_lowercase().replace('_', "").trim_end_matches('s').to_owned();
    plain(a) == plain(b)
}

fn is_utf8(conn: &Connection) -> Result<bool> {
    let encoding: String = conn
        .query_row("PRAGMA main.encoding", [], |row| row.get(0))
        .map_err(sql("read the text encoding"))?;
    Ok(encoding.eq_ignore_ascii_case("UTF-8"))
}

fn check_wal(conn: &Connection, path: &Path) -> Result<()> {
    let mode: String = conn
        .query_row("PRAGMA main.journal_mode", [], |row| row.get(0))
        .map_err(sql("read the journal mode"))?;
    if mode.eq_ignore_ascii_case("wal") {
        return Ok(());
    }
    Err(Error::NotWal {
        path: path.to_owned(),
        mode,
    })
}

/// Changesets that wait between the reading thread and the runtime. One is enough to keep both busy; more would only
/// hold memory.
const DELIVERIES_MAX: usize = 1;

fn open_captured(
    path: &Path,
    spec: &SqliteSourceSpec,
    plan: Plan,
    held: &[Held],
    cx: Context,
    handle: tokio::runtime::Handle,
) -> Result<Opened> {
    let file = FileIdentity::of(path);
    let mut conn = open_connection(path, Access::Write)?;
    check_wal(&conn, path)?;
    let names = Names::of_pipeline(plan.pipeline.as_str());
    for planned in &plan.streams {
        check_plan(&described(&conn, path, planned.id.name())?, planned)?;
    }
    let streams: Vec<String> = plan
        .streams
        .iter()
        .map(|planned| planned.id.name().to_owned())
        .collect();
    let captured = install::ensure(&mut conn, &names, &streams, Occasion::Opening)?;
    if captured.stopped_before {
        tracing::warn!(
            code = "W0215",
            pipeline = names.pipeline(),
            "capture had been given up because the change table was full; it begins anew"
        );
    }
    let resumed = resume::resume(&mut conn, &names, &captured, &plan, held)?;

    let shared = Arc::new(Shared::new(cx.stop.clone()));
    shared.run_floor.store(resumed.run_floor, Ordering::Release);
    shared
        .acknowledged
        .store(marks::pruned(&conn, &names)?, Ordering::Release);
    shared.schema_version.store(captured.schema_version, Ordering::Release);
    let scratch = cx.scratch.join("sqlite-copy.db");
    // A connection that may not create its own database may not create an attached one either.
    std::fs::File::create(&scratch).map_err(|source| OpenError::Stat {
        path: scratch.clone(),
        source,
    })?;
    conn.execute(
        &format!("ATTACH ?1 AS {}", pages::SCRATCH),
        [scratch.to_string_lossy().as_ref()],
    )
    .map_err(sql("create a scratch database"))?;
    conn.execute_batch(&format!(
        "PRAGMA {0}.journal_mode = OFF; PRAGMA {0}.synchronous = OFF",
        pages::SCRATCH
    ))
    .map_err(sql("set up the scratch database"))?;

    let identity = captured.history.clone();
    let log = match position::log_partition(&captured.history) {
        model::Partition::Log(log) => log,
        model::Partition::Range { stream, .. } => stream.to_string().into(),
    };
    let incarnation = resumed.start.incarnation;
    let control = CapturedControl::new(
        open_connection(path, Access::Write)?,
        names.clone(),
        Arc::clone(&shared),
        log,
        incarnation,
        path.to_owned(),
    );
    let keeper = Keeper::new(
        open_connection(path, Access::Write)?,
        names.clone(),
        Arc::clone(&shared),
        spec.limits(),
    )?;
    let (out, deliveries) = mpsc::channel(DELIVERIES_MAX);
    let emitter = Emitter::new(handle, cx.memory, out, cx.stop);
    let setup = Setup {
        conn,
        path: path.to_owned(),
        file,
        names,
        plan,
        page_rows: spec.page_rows,
        captured,
        shared: Arc::clone(&shared),
        emitter,
    };
    let engine = Engine::new(setup, resumed.start)?;
    let threads = vec![
        spawn("sqlite-source", path, move || engine.run())?,
        spawn("sqlite-keeper", path, move || keeper.run())?,
    ];
    Ok(Opened {
        verdicts: resumed.verdicts,
        reader: Box::new(Flow {
            deliveries,
            shared,
            path: path.to_owned(),
            threads,
        }),
        control: Arc::new(control),
        identity,
    })
}

/// A named thread that its [`Flow`] joins.
fn spawn(name: &str, path: &Path, work: impl FnOnce() + Send + 'static) -> Result<std::thread::JoinHandle<()>> {
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(work)
        .map_err(|_| Error::ThreadGone { path: path.to_owned() })
}
