//! SQLite as a destination: tables in a local file, kept in step in the same transactions as the checkpoint.
//!
//! Constraints:
//! - exactly-once: rows, table changes, checkpoint and the check of the generation are one transaction;
//! - other programs may read the file at any time (WAL) and see whole commits only; they should not write the tables;
//! - memory is bounded by [`session::CACHE_BYTES`] however large a transaction is;
//! - `synchronous=FULL`: an acknowledged commit survives power loss, because the source forgets what is acknowledged.
//!
//! | module | has |
//! |---|---|
//! | [`form`], [`value_text`], [`json_text`], [`cells`] | how values lie in SQLite |
//! | [`catalogue`], [`fitting`] | what a table looks like, and what it takes to make it fit |
//! | [`target`], [`apply`], [`streams`] | writing rows and controls |
//! | [`ledger`], [`session_lock`], [`session`] | who may write, and what is durable |
//! | [`read_back`] | reading the tables, to be compared with the source's |
//! | [`writer_thread`] | the thread that blocks so that no task must |

mod apply;
mod catalogue;
mod cells;
mod codes;
mod error;
mod fitting;
mod form;
mod json_text;
mod ledger;
mod read_back;
mod session;
mod session_lock;
mod spec;
mod streams;
mod target;
mod value_text;
mod writer_thread;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use api::{
    BuildContext, Capabilities, CommitPoint, Destination, DestinationConnector, DestinationOptions, Guarantee, Holds,
    Lane, OnSchemaChange, SpecError, StoredView, WriteMode, Written,
};
use async_trait::async_trait;
use model::ChangeSet;

pub use self::codes::CODES;
pub use self::spec::SqliteDestinationSpec;

use self::error::{Error, Result};
use self::read_back::ReadBack;
use self::session::Session;
use self::writer_thread::WriterThread;
use crate::connection::{self, Access};

/// Fail-points of the destination, before and after each durable step.
pub const FAIL_POINTS: &[&str] = &[
    "sqlite.destination.before_generation",
    "sqlite.destination.after_generation",
    "sqlite.destination.after_begin",
    "sqlite.destination.before_table",
    "sqlite.destination.after_table",
    "sqlite.destination.mid_write",
    "sqlite.destination.before_end_read",
    "sqlite.destination.before_ledger",
    "sqlite.destination.before_commit",
    "sqlite.destination.after_commit",
];

/// The connector `sqlite` in the role of a destination.
pub struct SqliteDestinationConnector;

impl DestinationConnector for SqliteDestinationConnector {
    const NAME: &'static str = "sqlite";
    const ABOUT: &'static str = "Keeps tables of a local SQLite file in step, exactly once.";
    type Spec = SqliteDestinationSpec;

    fn build(
        spec: Self::Spec,
        options: DestinationOptions,
        cx: &BuildContext,
    ) -> std::result::Result<Box<dyn Destination>, SpecError> {
        if spec.path.as_os_str().is_empty() {
            return Err(SpecError::at("/path", "`path` is empty").hint("name the database file: `path: ./copy.db`"));
        }
        if options.on_schema_change == Some(OnSchemaChange::NewVersion) {
            return Err(
                SpecError::at("", "connector `sqlite` has no `on_schema_change: new_version`")
                    .hint("use `apply`, `pause` or `ignore`: a table here has one shape at a time"),
            );
        }
        Ok(Box::new(SqliteDestination::new(cx.path(&spec.path), options)))
    }

    fn capabilities() -> Capabilities {
        CAPABILITIES
    }
}

const CAPABILITIES: Capabilities = Capabilities {
    guarantee: Guarantee::ExactlyOnce,
    writes: &[WriteMode::Append, WriteMode::Upsert, WriteMode::Mirror],
    deletes: true,
    truncate: true,
    delete_where: true,
    unavailable: true,
    ddl_in_transaction: true,
    keeps_checkpoint: true,
    reads_back: true,
    buffer_bytes: session::CACHE_BYTES,
    // About what an fsync takes on a good disk.
    commit_interval_min: Duration::from_millis(5),
};

/// A SQLite file that is written.
///
/// Cancellation: a dropped `write` or `commit` leaves its outcome unknown, so every later call answers that this value is
/// of no more use; the transaction is rolled back when the value is dropped.
pub struct SqliteDestination {
    path: PathBuf,
    options: DestinationOptions,
    state: State,
}

enum State {
    Closed,
    Open(WriterThread),
    /// A call failed or was cut off.
    Void,
}

impl SqliteDestination {
    /// A destination that is not open yet.
    pub fn new(path: PathBuf, options: DestinationOptions) -> Self {
        SqliteDestination {
            path,
            options,
            state: State::Closed,
        }
    }

    /// Runs `work` on the session, which is void unless it succeeds.
    async fn with_session<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut Session) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let path = self.path.clone();
        let mut thread = match std::mem::replace(&mut self.state, State::Void) {
            State::Open(thread) => thread,
            State::Closed => {
                self.state = State::Closed;
                return Err(Error::NotOpen { path });
            }
            State::Void => return Err(Error::Void { path }),
        };
        let outcome = thread
            .run(move |session| match session {
                Some(session) => work(session),
                None => Err(Error::NotOpen { path }),
            })
            .await;
        if outcome.is_ok() {
            self.state = State::Open(thread);
        }
        outcome
    }
}

#[async_trait]
impl Destination for SqliteDestination {
    fn capabilities(&self) -> Capabilities {
        CAPABILITIES
    }

    async fn check(&mut self) -> api::Result<Vec<api::Error>> {
        let path = self.path.clone();
        let found = tokio::task::spawn_blocking(move || check(&path)).await;
        Ok(found.unwrap_or_default().into_iter().map(api::Error::from).collect())
    }

    async fn open(&mut self, lane: &Lane) -> api::Result<Holds> {
        self.state = State::Void;
        let mut thread = WriterThread::start(self.path.clone(), lane.destination.as_str())?;
        let (path, lane, options) = (self.path.clone(), lane.clone(), self.options);
        let holds = thread
            .run(move |slot| {
                let (session, holds) = Session::open(&path, &lane, options)?;
                *slot = Some(session);
                Ok(holds)
            })
            .await?;
        self.state = State::Open(thread);
        Ok(holds)
    }

    async fn write(&mut self, changeset: Arc<ChangeSet>) -> api::Result<Written> {
        let buffered_bytes = self.with_session(move |session| session.write(&changeset)).await?;
        Ok(Written { buffered_bytes })
    }

    async fn commit(&mut self, at: CommitPoint<'_>) -> api::Result<()> {
        let checkpoint = at.checkpoint.clone();
        self.with_session(move |session| session.commit(&checkpoint)).await?;
        Ok(())
    }

    async fn read_back(&mut self) -> api::Result<Box<dyn StoredView>> {
        let (path, options) = (self.path.clone(), self.options);
        let opened = tokio::task::spawn_blocking(move || ReadBack::open(&path, options)).await;
        match opened {
            Ok(opened) => Ok(Box::new(opened?)),
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        }
    }

    async fn close(mut self: Box<Self>) -> api::Result<()> {
        if let State::Open(mut thread) = std::mem::replace(&mut self.state, State::Closed) {
            thread
                .run(|session| session.take().map_or(Ok(()), Session::close))
                .await?;
        }
        Ok(())
    }

    async fn forget(&mut self, lane: &Lane) -> api::Result<Vec<String>> {
        let mut thread = match std::mem::replace(&mut self.state, State::Closed) {
            State::Open(thread) => thread,
            State::Closed | State::Void => WriterThread::start(self.path.clone(), lane.destination.as_str())?,
        };
        let (path, lane) = (self.path.clone(), lane.clone());
        let removed = thread
            .run(move |session| {
                session.take().map_or(Ok(()), Session::close)?;
                session::forget(&path, &lane)
            })
            .await?;
        Ok(removed)
    }
}

/// What can be seen from outside: the file, its directory, and whether it is a database that can be written.
fn check(path: &Path) -> Vec<Error> {
    let path = session::resolve(path);
    if path.exists() {
        return match connection::open(&path, Access::Create) {
            Ok(conn) if conn.is_readonly("main").unwrap_or(false) => vec![Error::NotWritable {
                path,
                what: "the file is read-only for this user".to_owned(),
            }],
            Ok(_) => Vec::new(),
            Err(error) => vec![Error::Open(error)],
        };
    }
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    if !directory.is_dir() {
        return vec![Error::Open(connection::OpenError::Missing { path })];
    }
    let may_write = rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK;
    if rustix::fs::access(directory, may_write).is_err() {
        return vec![Error::NotWritable {
            what: format!("its directory `{}` is not writable for this user", directory.display()),
            path,
        }];
    }
    Vec::new()
}
