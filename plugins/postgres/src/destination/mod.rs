//! PostgreSQL as a destination: tables kept in step in the same transactions as the checkpoint.
//!
//! Constraints:
//! - exactly-once: rows, table changes, checkpoint and the check of the generation are one transaction, and the outcome of a
//!   commit whose reply was lost is read back;
//! - source transactions are never split: a commit is one transaction here, however large it is;
//! - memory is bounded by [`session::BUFFER_BYTES`];
//! - a commit that counts is flushed by the server (`synchronous_commit`), because the source forgets what is acknowledged.
//!
//! | module | has |
//! |---|---|
//! | [`link`], [`server_error`] | the connection, and what its errors ask for |
//! | [`place`], [`catalogue`], [`widening`], [`fitting`], [`privileges`] | which table, what it looks like, what it takes to make it fit |
//! | [`target`], [`rows`], [`pending`], [`flush`], [`streams`] | writing rows and controls |
//! | [`ledger`], [`session_lock`], [`session`] | who may write, and what is durable |
//! | [`read_back`] | reading the tables, to be compared with the source's |

mod catalogue;
mod codes;
mod error;
mod fitting;
mod flush;
mod ledger;
mod link;
mod pending;
mod place;
mod privileges;
mod read_back;
mod rows;
mod server_error;
mod session;
mod session_lock;
mod spec;
mod streams;
mod target;
mod widening;

use std::sync::Arc;
use std::time::Duration;

use api::{
    BuildContext, Capabilities, CommitPoint, Destination, DestinationConnector, DestinationOptions, Guarantee, Holds,
    Lane, OnSchemaChange, SpecError, StoredView, WriteMode, Written,
};
use async_trait::async_trait;
use model::ChangeSet;

pub use self::codes::CODES;
pub use self::privileges::least_privilege;
pub use self::spec::{Pooler, PostgresDestinationSpec, SynchronousCommit, Triggers};

use self::error::{Error, Result};
use self::place::Place;
use self::read_back::ReadBack;
use self::session::{Manner, Session};
use crate::connect::Settings;

/// Fail-points of the destination, before and after each durable step.
pub const FAIL_POINTS: &[&str] = &[
    "postgres.destination.before_generation",
    "postgres.destination.after_generation",
    "postgres.destination.after_begin",
    "postgres.destination.before_table",
    "postgres.destination.after_table",
    "postgres.destination.mid_write",
    "postgres.destination.before_end_read",
    "postgres.destination.before_ledger",
    "postgres.destination.before_commit",
    "postgres.destination.after_commit",
];

/// The connector `postgres` in the role of a destination.
pub struct PostgresDestinationConnector;

impl DestinationConnector for PostgresDestinationConnector {
    const NAME: &'static str = "postgres";
    const ABOUT: &'static str = "Keeps tables of a PostgreSQL database in step, exactly once.";
    type Spec = PostgresDestinationSpec;

    fn build(
        spec: Self::Spec,
        options: DestinationOptions,
        cx: &BuildContext,
    ) -> std::result::Result<Box<dyn Destination>, SpecError> {
        Ok(Box::new(PostgresDestination::new(spec, options, cx)?))
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
    buffer_bytes: session::BUFFER_BYTES,
    // About what a flush of the server's log takes on a good disk.
    commit_interval_min: Duration::from_millis(5),
};

/// A PostgreSQL database that is written.
///
/// Cancellation: a dropped `write` or `commit` leaves its outcome unknown, so every later call answers that this value is
/// of no more use; the connection is closed with it, and the server rolls back.
pub struct PostgresDestination {
    manner: Manner,
    state: State,
}

enum State {
    Closed,
    Open(Box<Session>),
    /// A call failed or was cut off.
    Void,
}

impl PostgresDestination {
    /// A destination that is not open yet.
    pub fn new(
        spec: PostgresDestinationSpec,
        options: DestinationOptions,
        cx: &BuildContext,
    ) -> std::result::Result<Self, SpecError> {
        if options.on_schema_change == Some(OnSchemaChange::NewVersion) {
            return Err(
                SpecError::at("", "connector `postgres` has no `on_schema_change: new_version`")
                    .hint("use `apply`, `pause` or `ignore`: a table here has one shape at a time"),
            );
        }
        if !spec.table.contains("{name}") {
            return Err(
                SpecError::at("/table", format!("`{}` names one table for every stream", spec.table))
                    .hint("use `{name}` in it, and `{schema}` where streams of one name come from several schemas"),
            );
        }
        if spec.schema.as_deref().is_some_and(str::is_empty) {
            return Err(SpecError::at("/schema", "`schema` is empty").hint("leave it out, or name a schema"));
        }
        let settings = Settings::new(&spec.connect, cx)?;
        Ok(PostgresDestination {
            manner: Manner {
                settings,
                place: Place {
                    schema: spec.schema,
                    table: spec.table,
                },
                synchronous_commit: spec.synchronous_commit,
                triggers: spec.triggers,
                is_pooled: spec.pooler == Pooler::Transaction,
                options,
            },
            state: State::Closed,
        })
    }

    fn server(&self) -> String {
        self.manner.settings.to_string()
    }

    /// The session, taken away: it is void unless it is put back.
    fn take(&mut self) -> Result<Box<Session>> {
        match std::mem::replace(&mut self.state, State::Void) {
            State::Open(session) => Ok(session),
            State::Closed => {
                self.state = State::Closed;
                Err(Error::NotOpen { server: self.server() })
            }
            State::Void => Err(Error::Void { server: self.server() }),
        }
    }
}

#[async_trait]
impl Destination for PostgresDestination {
    fn capabilities(&self) -> Capabilities {
        CAPABILITIES
    }

    async fn check(&mut self) -> api::Result<Vec<api::Error>> {
        Ok(privileges::check(&self.manner).await)
    }

    async fn open(&mut self, lane: &Lane) -> api::Result<Holds> {
        self.state = State::Void;
        let (session, holds) = Session::open(self.manner.clone(), lane).await?;
        self.state = State::Open(Box::new(session));
        Ok(holds)
    }

    async fn write(&mut self, changeset: Arc<ChangeSet>) -> api::Result<Written> {
        let mut session = self.take()?;
        let buffered_bytes = session.write(&changeset).await?;
        self.state = State::Open(session);
        Ok(Written { buffered_bytes })
    }

    async fn commit(&mut self, at: CommitPoint<'_>) -> api::Result<()> {
        let mut session = self.take()?;
        session.commit(at.checkpoint).await?;
        self.state = State::Open(session);
        Ok(())
    }

    async fn read_back(&mut self) -> api::Result<Box<dyn StoredView>> {
        Ok(Box::new(ReadBack::open(&self.manner).await?))
    }

    async fn close(mut self: Box<Self>) -> api::Result<()> {
        if let State::Open(session) = std::mem::replace(&mut self.state, State::Closed) {
            session.close().await?;
        }
        Ok(())
    }

    async fn forget(&mut self, lane: &Lane) -> api::Result<Vec<String>> {
        if let State::Open(session) = std::mem::replace(&mut self.state, State::Closed) {
            session.close().await?;
        }
        Ok(session::forget(&self.manner, lane).await?)
    }
}
