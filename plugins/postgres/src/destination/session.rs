//! One open lane: the connection, the generation, and the transaction that holds everything since the last commit.
//!
//! Constraints:
//! - rows, tables and the ledger row change in one transaction, so a reader sees all of a commit or nothing of it;
//! - nothing is committed under a generation that is not ours any more, checked when the transaction begins (to stop early)
//!   and by the statement that writes the checkpoint (to be right);
//! - a transaction may be larger than memory: what is pending is sent when it is [`FLUSH_BYTES`] large;
//! - a transaction begins when there is something to send, so that locks are held as shortly as can be;
//! - after a failure the connection is closed, which undoes the transaction, and the session is of no more use.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use api::{DestinationOptions, Holds, Lane};
use model::{Body, ChangeSet, Checkpoint, StreamId};

use super::error::{Error, Result, sql};
use super::flush::{Flush, NewRows, Stages};
use super::ledger::{self, LedgerRow, Streams, TableName};
use super::link::Link;
use super::pending::Pending;
use super::place::Place;
use super::session_lock;
use super::spec::{SynchronousCommit, Triggers};
use super::target::Target;
use crate::connect::Settings;
use crate::types::TypeCatalogue;

/// What may be pending before it is sent. Larger: fewer statements for the same rows. Smaller: less memory, which comes out
/// of what the runtime may use, for every destination.
pub(crate) const FLUSH_BYTES: usize = 8 << 20;

/// What a destination may hold between two commits: what is pending, and room for the row that makes it too much.
pub(crate) const BUFFER_BYTES: usize = 2 * FLUSH_BYTES;

/// How long a statement waits for somebody else's lock before it is tried again.
const LOCK_TIMEOUT_MS: u32 = 20_000;

/// How long a lost connection is tried again before the outcome of a commit stays unknown.
const RECONNECT_MAX: Duration = Duration::from_secs(30);

/// Flushes that go through a temporary table after rows were in the way of a direct COPY.
const DIRECT_AGAIN_AFTER: u32 = 64;

/// What of the spec a session needs.
#[derive(Clone)]
pub(crate) struct Manner {
    pub(crate) settings: Settings,
    pub(crate) place: Place,
    pub(crate) synchronous_commit: SynchronousCommit,
    pub(crate) triggers: Triggers,
    pub(crate) is_pooled: bool,
    pub(crate) options: DestinationOptions,
}

/// An open lane.
pub(crate) struct Session {
    pub(super) link: Link,
    pub(super) manner: Manner,
    pub(super) lane: Lane,
    generation: i64,
    commits: i64,
    is_in_transaction: bool,
    /// As of the open transaction.
    pub(super) streams: Streams,
    pub(super) streams_changed: bool,
    pub(super) targets: HashMap<StreamId, Target>,
    pub(super) pending: HashMap<StreamId, Pending>,
    pub(super) stages: Stages,
    pub(super) types: TypeCatalogue,
    /// Tables that other lanes write, looked up once.
    pub(super) foreign: Option<HashMap<TableName, String>>,
    /// For streams of which rows were in the way of a direct COPY: flushes until it is tried again.
    conflicts: HashMap<StreamId, u32>,
}

/// Reaches the server.
pub(crate) async fn connect(manner: &Manner) -> Result<Link> {
    let settings = &manner.settings;
    let connection = match manner.is_pooled {
        true => settings.connect_bare().await,
        false => settings.connect().await,
    };
    let connection = connection.map_err(|error| Error::Connect(error.into()))?;
    let link = Link::new(connection, manner.is_pooled);
    if !manner.is_pooled {
        // A server process notices that its client is gone also while a statement runs; not every platform has it.
        let _ = link.run("SET client_connection_check_interval = 1000").await;
    }
    Ok(link)
}

impl Session {
    /// Takes the lane: the session lock, then the next generation.
    pub(crate) async fn open(manner: Manner, lane: &Lane) -> Result<(Session, Holds)> {
        let link = connect(&manner).await?;
        session_lock::take(&link, lane).await?;
        ledger::ensure(&link).await?;
        fail::fail_point!("postgres.destination.before_generation");
        let row = take_generation(&link, lane).await?;
        fail::fail_point!("postgres.destination.after_generation");
        let doing = || sql("read the catalogue of types");
        link.run("BEGIN READ ONLY").await.map_err(doing())?;
        let types = load_types(&link).await?;
        link.run("COMMIT").await.map_err(doing())?;
        let holds = row.holds();
        let session = Session {
            link,
            manner,
            lane: lane.clone(),
            generation: row.generation,
            commits: row.commits,
            is_in_transaction: false,
            streams: row.streams,
            streams_changed: false,
            targets: HashMap::new(),
            pending: HashMap::new(),
            stages: Stages::default(),
            types,
            foreign: None,
            conflicts: HashMap::new(),
        };
        Ok((session, holds))
    }

    /// Begins the transaction if none is open, and stops a stale writer before it does any work.
    pub(super) async fn ensure_transaction(&mut self) -> Result<()> {
        if self.is_in_transaction {
            return Ok(());
        }
        // The joins are between a few changed rows and a table with an index on their key; estimates of a temporary table
        // that nobody has analysed must not turn that into a scan of the table.
        let mut begin = format!(
            "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; {} SET LOCAL synchronous_commit = {}; \
             SET LOCAL lock_timeout = {LOCK_TIMEOUT_MS}; SET LOCAL enable_hashjoin = off; \
             SET LOCAL enable_mergejoin = off; SET CONSTRAINTS ALL DEFERRED; ",
            self.link.transaction_settings(),
            self.manner.synchronous_commit.name()
        );
        if self.manner.triggers == Triggers::Skip {
            begin.push_str("SET LOCAL session_replication_role = replica; ");
        }
        begin.push_str(&format!(
            r#"SELECT "generation", "commits" FROM "_highwater"."ledger" WHERE {}"#,
            ledger::is_lane_sql(&self.lane)
        ));
        let rows = self.link.rows(&begin).await.map_err(sql("begin a transaction"))?;
        self.is_in_transaction = true;
        let number = |at: usize| rows.first()?.get(at)?.parse::<i64>().ok();
        if (number(0), number(1)) != (Some(self.generation), Some(self.commits)) {
            return Err(self.fenced().await);
        }
        fail::fail_point!("postgres.destination.after_begin");
        Ok(())
    }

    /// Why generation or commits are not ours.
    async fn fenced(&self) -> Error {
        match ledger::read(&self.link, &self.lane, false).await {
            Ok(row) => self.not_ours(row),
            Err(error) => error,
        }
    }

    fn not_ours(&self, row: Option<LedgerRow>) -> Error {
        let (pipeline, destination) = (self.lane.pipeline.clone(), self.lane.destination.clone());
        match row {
            Some(row) if row.generation > self.generation => Error::Fenced {
                pipeline,
                destination,
                ours: self.generation,
                found: row.generation,
                owner: row.owner,
            },
            Some(row) => {
                let said = |generation, commits| format!("generation {generation}, commit {commits}");
                Error::WentBack {
                    pipeline,
                    destination,
                    ours: said(self.generation, self.commits),
                    found: said(row.generation, row.commits),
                }
            }
            None => Error::LedgerGone { pipeline, destination },
        }
    }

    /// Applies a changeset. Returns the bytes that are pending.
    pub(crate) async fn write(&mut self, changeset: &ChangeSet) -> Result<usize> {
        match self.apply(changeset).await {
            Ok(()) => Ok(self.pending_bytes()),
            Err(error) => Err(self.explain(error).await),
        }
    }

    async fn apply(&mut self, changeset: &ChangeSet) -> Result<()> {
        match &changeset.body {
            Body::Rows(batches) => {
                for batch in batches {
                    self.write_batch(batch).await?;
                    if self.pending_bytes() >= FLUSH_BYTES {
                        self.flush_all().await?;
                    }
                }
                Ok(())
            }
            Body::Control(control) => self.control(control, changeset.control_order()).await,
        }
    }

    fn pending_bytes(&self) -> usize {
        self.pending.values().map(Pending::size_bytes).sum()
    }

    async fn flush_all(&mut self) -> Result<()> {
        let streams: Vec<StreamId> = self.pending.keys().cloned().collect();
        for stream in streams {
            self.flush(&stream).await?;
        }
        Ok(())
    }

    /// Sends what is pending for a stream.
    pub(super) async fn flush(&mut self, stream: &StreamId) -> Result<()> {
        let Some(pending) = self.pending.remove(stream).filter(|pending| !pending.is_empty()) else {
            return Ok(());
        };
        self.ensure_transaction().await?;
        let Some(target) = self.targets.get(stream) else {
            return Ok(());
        };
        let wait = self.conflicts.get(stream).copied().unwrap_or(0);
        let flush = Flush {
            link: &mut self.link,
            stages: &mut self.stages,
            target,
            pending: &pending,
        };
        let wait = match flush.run(wait == 0).await? {
            NewRows::WereThere => DIRECT_AGAIN_AFTER,
            NewRows::WereNew => wait.saturating_sub(1),
        };
        if wait == 0 {
            self.conflicts.remove(stream);
        } else {
            self.conflicts.insert(stream.clone(), wait);
        }
        Ok(())
    }

    /// The table is empty now: nothing is in the way of a direct COPY.
    pub(super) fn forget_conflicts(&mut self, stream: &StreamId) {
        self.conflicts.remove(stream);
    }

    /// Makes everything written durable, together with `checkpoint`.
    pub(crate) async fn commit(&mut self, checkpoint: &Checkpoint) -> Result<()> {
        if let Err(error) = self.prepare_commit(checkpoint).await {
            return Err(self.explain(error).await);
        }
        fail::fail_point!("postgres.destination.before_commit");
        let doing = || sql(format!("commit `{}`/`{}`", self.lane.pipeline, self.lane.destination));
        match self.link.run("COMMIT").await {
            Ok(()) => {}
            Err(error) if super::server_error::is_connection_lost(&error) => {
                self.read_back(error, checkpoint).await?;
            }
            Err(error) => return Err(doing()(error)),
        }
        fail::fail_point!("postgres.destination.after_commit");
        self.is_in_transaction = false;
        self.commits += 1;
        self.streams_changed = false;
        self.stages.end_transaction();
        Ok(())
    }

    async fn prepare_commit(&mut self, checkpoint: &Checkpoint) -> Result<()> {
        self.flush_all().await?;
        self.ensure_transaction().await?;
        fail::fail_point!("postgres.destination.before_ledger");
        let streams = self.streams_changed.then_some(&self.streams);
        let (generation, commits) = (self.generation, self.commits);
        if ledger::put_checkpoint(&self.link, &self.lane, generation, commits, checkpoint, streams).await? {
            Ok(())
        } else {
            Err(self.fenced().await)
        }
    }

    /// The connection was lost between `COMMIT` and its reply: reads what became of it, on a new connection, with which
    /// the session goes on if it succeeded.
    ///
    /// The row is locked for that: a server process that is still about to commit holds it, so its outcome is known once we
    /// have it.
    async fn read_back(&mut self, lost: tokio_postgres::Error, checkpoint: &Checkpoint) -> Result<()> {
        let (pipeline, destination) = (self.lane.pipeline.clone(), self.lane.destination.clone());
        tracing::warn!(%pipeline, %destination, error = %lost, "the connection was lost in a commit: reading back");
        let deadline = Instant::now() + RECONNECT_MAX;
        let mut wait = Duration::from_millis(50);
        let (link, row) = loop {
            match self.look_again().await {
                Ok(seen) => break seen,
                Err(error) if Instant::now() + wait > deadline => {
                    return Err(Error::UnknownOutcome {
                        pipeline,
                        destination,
                        source: Box::new(error.into()),
                    });
                }
                Err(_) => tokio::time::sleep(wait).await,
            }
            wait = (wait * 2).min(Duration::from_secs(2));
        };
        match row {
            Some(row)
                if row.generation == self.generation
                    && row.commits == self.commits + 1
                    && row.checkpoint.as_ref() == Some(checkpoint) =>
            {
                session_lock::take(&link, &self.lane).await?;
                self.link = link;
                self.stages = Stages::default();
                tracing::info!(%pipeline, %destination, "the commit had succeeded");
                Ok(())
            }
            Some(row) if row.generation == self.generation && row.commits == self.commits => Err(Error::NotCommitted {
                pipeline,
                destination,
                source: lost,
            }),
            row => Err(self.not_ours(row)),
        }
    }

    async fn look_again(&self) -> Result<(Link, Option<LedgerRow>)> {
        let link = connect(&self.manner).await?;
        let doing = || sql("read a commit back");
        link.run(&format!("BEGIN; SET LOCAL lock_timeout = {LOCK_TIMEOUT_MS}"))
            .await
            .map_err(doing())?;
        let row = ledger::read(&link, &self.lane, true).await?;
        link.run("ROLLBACK").await.map_err(doing())?;
        Ok((link, row))
    }

    /// A writer that was fenced also loses its connection; what it is told is why.
    async fn explain(&self, error: Error) -> Error {
        if !error.is_connection_lost() {
            return error;
        }
        match self.look_again().await {
            Ok((_, row)) => match self.not_ours(row) {
                fenced @ Error::Fenced { .. } => fenced,
                _ => error,
            },
            Err(_) => error,
        }
    }

    /// Lets go: undoes what was not committed, and gives the session lock back with the session.
    pub(crate) async fn close(self) -> Result<()> {
        if self.is_in_transaction {
            self.link.run("ROLLBACK").await.map_err(sql("roll back"))?;
        }
        session_lock::release(&self.link, &self.lane).await
    }
}

/// Reads the catalogue of types, inside a transaction: its statements are prepared by name.
pub(super) async fn load_types(link: &Link) -> Result<TypeCatalogue> {
    TypeCatalogue::load(link.client()).await.map_err(Error::Types)
}

async fn take_generation(link: &Link, lane: &Lane) -> Result<LedgerRow> {
    let doing = || sql("take the next generation");
    link.run(&format!("BEGIN; SET LOCAL lock_timeout = {LOCK_TIMEOUT_MS}"))
        .await
        .map_err(doing())?;
    // An error ends the connection, and with it the transaction.
    let row = ledger::take_generation(link, lane).await?;
    link.run("COMMIT").await.map_err(doing())?;
    Ok(row)
}

/// Removes the lane's ledger row and side tables. Rows stay.
pub(crate) async fn forget(manner: &Manner, lane: &Lane) -> Result<Vec<String>> {
    let link = connect(manner).await?;
    let mut removed = Vec::new();
    if !ledger::exists(&link).await? {
        return Ok(removed);
    }
    session_lock::take(&link, lane).await?;
    let doing = || sql("remove what is stored of the lane");
    link.run("BEGIN").await.map_err(doing())?;
    if let Some(row) = ledger::read(&link, lane, true).await? {
        for entry in row.streams.values().filter(|entry| entry.noting.is_some()) {
            let seen = super::streams::seen_table(&entry.table);
            link.run(&format!("DROP TABLE IF EXISTS {seen}"))
                .await
                .map_err(doing())?;
            removed.push(format!("table {seen}"));
        }
    }
    if ledger::remove(&link, lane).await? {
        removed.push(format!(
            "row of `{}`/`{}` in `_highwater.ledger`",
            lane.pipeline, lane.destination
        ));
    }
    link.run("COMMIT").await.map_err(doing())?;
    session_lock::release(&link, lane).await?;
    Ok(removed)
}
