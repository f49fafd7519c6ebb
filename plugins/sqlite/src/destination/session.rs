//! One open database: the connection, the lock, the generation, and the write transaction that spans from the first write
//! after a commit to the next commit.
//!
//! Constraints:
//! - rows, tables and the ledger row change in one transaction, so a reader sees all of a commit or nothing of it;
//! - nothing is committed under a generation that is not ours any more, checked when the transaction begins (to stop
//!   early) and by the statement that writes the checkpoint (to be right);
//! - a transaction may be larger than memory: SQLite spills pages to the WAL when its cache is full;
//! - a failure leaves nothing behind: the transaction is rolled back and the session is of no more use.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use api::{DestinationOptions, Holds, Lane};
use model::{Body, ChangeSet, Checkpoint, StreamId};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, InterruptHandle};

use super::error::{Error, Result, sql};
use super::ledger::{self, Streams};
use super::session_lock::{self, SessionLock};
use super::target::{Target, seen_table};
use crate::connection::{self, Access, FileIdentity};
use crate::sql_text::quoted;

/// SQLite's page cache. Smaller: upserts into a table larger than it read pages again and again. Larger: it comes out of
/// the memory that the runtime may use, for every destination.
pub(crate) const CACHE_BYTES: usize = 8 << 20;

/// WAL pages (of 4 KiB) after which a commit also copies them into the database. SQLite's own 1,000 makes nearly every
/// commit of 8 MiB do that twice; more leaves a longer WAL for readers to look through.
const CHECKPOINT_PAGES: u32 = 4_000;

/// The WAL is cut down to this once everything in it is in the database; a large transaction leaves it large otherwise.
const WAL_BYTES_KEPT: u64 = 64 << 20;

/// How long a transaction waits for another writer. Longer than an honest writer's commit, shorter than anyone's patience.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// An open lane.
pub(crate) struct Session {
    pub(super) conn: Connection,
    path: PathBuf,
    identity: Option<FileIdentity>,
    pub(super) lane: Lane,
    pub(super) options: DestinationOptions,
    generation: u64,
    /// As of the open transaction.
    pub(super) streams: Streams,
    pub(super) streams_changed: bool,
    pub(super) targets: HashMap<StreamId, Target>,
    written_bytes: usize,
    // Last, so that the connection is closed before a newcomer gets the lock.
    _lock: SessionLock,
}

/// The path with its links resolved, so that two names of one file have one lock.
pub(crate) fn resolve(path: &Path) -> PathBuf {
    if let Ok(found) = path.canonicalize() {
        return found;
    }
    match (path.parent().map(Path::canonicalize), path.file_name()) {
        (Some(Ok(directory)), Some(name)) => directory.join(name),
        _ => path.to_owned(),
    }
}

/// Opens and prepares the connection; changes nothing but, where there is none, creates the file.
fn connect(path: &Path) -> Result<Connection> {
    let conn = connection::open(path, Access::Create).map_err(Error::Open)?;
    if conn.is_readonly("main").map_err(sql("look at the database"))? {
        return Err(Error::NotWritable {
            path: path.to_owned(),
            what: "the file is read-only for this user".to_owned(),
        });
    }
    let prepare = || {
        conn.busy_timeout(BUSY_TIMEOUT)?;
        // A misspelt or dropped column would otherwise be taken for a text and compare unequal in silence.
        conn.set_db_config(DbConfig::SQLITE_DBCONFIG_DQS_DML, false)?;
        conn.pragma_update(None, "foreign_keys", false)?;
        // NORMAL lost up to 64 acknowledged commits in simulated power cuts, and the source is pruned after ours.
        conn.pragma_update(None, "synchronous", "FULL")?;
        conn.pragma_update(None, "cache_size", -((CACHE_BYTES >> 10) as i64))?;
        conn.pragma_update(None, "cache_spill", true)?;
        conn.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)
    };
    prepare().map_err(sql("prepare the connection"))?;
    Ok(conn)
}

/// Turns WAL on, if it is not on already.
fn ensure_wal(conn: &Connection, path: &Path) -> Result<()> {
    let mode = conn.query_row("PRAGMA journal_mode = wal", [], |row| row.get::<_, String>(0));
    match mode {
        Ok(mode) if mode.eq_ignore_ascii_case("wal") => {}
        Ok(mode) => {
            return Err(Error::NotWal {
                path: path.to_owned(),
                mode,
            });
        }
        Err(source) if is_busy(&source) => return Err(busy(conn, path, source, None)),
        Err(source) => return Err(sql("set the journal mode")(source)),
    }
    // A pragma that answers with its new value.
    conn.query_row(&format!("PRAGMA journal_size_limit = {WAL_BYTES_KEPT}"), [], |_| Ok(()))
        .map_err(sql("limit the WAL"))
}

fn is_busy(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked)
    )
}

/// Names whoever else writes this file, as far as the ledger can be read.
fn busy(conn: &Connection, path: &Path, source: rusqlite::Error, lane: Option<&Lane>) -> Error {
    let tenants = match ledger::exists(conn) {
        Ok(true) => ledger::tenants(conn).unwrap_or_default(),
        _ => Vec::new(),
    };
    let rivals = tenants
        .into_iter()
        .filter_map(|tenant| {
            let owner = tenant.owner?;
            let is_self =
                lane.is_some_and(|lane| lane.owner == owner && lane.destination.as_str() == tenant.destination);
            (!is_self).then(|| format!("{owner} (`{}`/`{}`)", tenant.pipeline, tenant.destination))
        })
        .collect();
    Error::Busy {
        path: path.to_owned(),
        waited_seconds: BUSY_TIMEOUT.as_secs(),
        rivals,
        source,
    }
}

impl Session {
    /// Takes the lane: lock, then the next generation. What an earlier owner left in an open transaction, SQLite has
    /// rolled back by now, or does so here.
    pub(crate) fn open(path: &Path, lane: &Lane, options: DestinationOptions) -> Result<(Session, Holds)> {
        let path = resolve(path);
        let conn = connect(&path)?;
        let identity = FileIdentity::of(&path);
        let lock = SessionLock::take(&path, lane)?;
        ensure_wal(&conn, &path)?;
        check_is_not_the_source(&conn, &path, lane)?;
        let mut session = Session {
            conn,
            path,
            identity,
            lane: lane.clone(),
            options,
            generation: 0,
            streams: Streams::new(),
            streams_changed: false,
            targets: HashMap::new(),
            written_bytes: 0,
            _lock: lock,
        };
        fail::fail_point!("sqlite.destination.before_generation");
        let holds = session.take_generation()?;
        fail::fail_point!("sqlite.destination.after_generation");
        Ok((session, holds))
    }

    fn take_generation(&mut self) -> Result<Holds> {
        self.begin_immediate()?;
        let taken = || {
            ledger::create(&self.conn)?;
            self.check_is_alone()?;
            let row = ledger::take_generation(&self.conn, &self.path, &self.lane)?;
            self.conn
                .execute_batch("COMMIT")
                .map_err(sql("commit the next generation"))?;
            Ok(row)
        };
        let row = taken().inspect_err(|_: &Error| self.roll_back())?;
        self.generation = row.generation;
        self.streams = row.streams;
        Ok(Holds {
            generation: row.generation,
            checkpoint: row.checkpoint,
            plan_hash: row.plan_hash,
            schemas: self
                .streams
                .iter()
                .map(|(stream, entry)| (stream.clone(), entry.schema))
                .collect(),
        })
    }

    /// Two destinations of one pipeline in one file would wait for each other: one holds SQLite's write lock until its
    /// transaction is complete, the other holds the source back until it has the lock.
    fn check_is_alone(&self) -> Result<()> {
        for tenant in ledger::tenants(&self.conn)? {
            let is_other =
                tenant.pipeline == self.lane.pipeline.as_str() && tenant.destination != self.lane.destination.as_str();
            let lock = session_lock::path_of(&self.path, &tenant.pipeline, &tenant.destination, tenant.lane);
            if is_other && session_lock::holder(&lock).is_some() {
                return Err(Error::SharedFile {
                    path: self.path.clone(),
                    pipeline: self.lane.pipeline.clone(),
                    destination: self.lane.destination.clone(),
                    other: tenant.destination,
                });
            }
        }
        Ok(())
    }

    fn begin_immediate(&self) -> Result<()> {
        match self.conn.execute_batch("BEGIN IMMEDIATE") {
            Ok(()) => Ok(()),
            Err(source) if is_busy(&source) => Err(busy(&self.conn, &self.path, source, Some(&self.lane))),
            Err(source) => Err(sql("begin a transaction")(source)),
        }
    }

    /// Begins the write transaction if none is open, and stops a stale writer before it does any work.
    fn ensure_transaction(&mut self) -> Result<()> {
        if !self.conn.is_autocommit() {
            return Ok(());
        }
        self.begin_immediate()?;
        if ledger::generation(&self.conn, &self.lane)? != Some(self.generation) {
            return Err(self.fenced());
        }
        fail::fail_point!("sqlite.destination.after_begin");
        Ok(())
    }

    /// Why the generation is not ours.
    fn fenced(&self) -> Error {
        match ledger::read(&self.conn, &self.path, &self.lane) {
            Ok(Some(row)) => Error::Fenced {
                pipeline: self.lane.pipeline.clone(),
                destination: self.lane.destination.clone(),
                ours: self.generation,
                found: row.generation,
                owner: row.owner,
            },
            Ok(None) => Error::LedgerGone {
                path: self.path.clone(),
                pipeline: self.lane.pipeline.clone(),
                destination: self.lane.destination.clone(),
            },
            Err(error) => error,
        }
    }

    /// Stops whatever statement runs, from another thread.
    pub(crate) fn interrupt_handle(&self) -> InterruptHandle {
        self.conn.get_interrupt_handle()
    }

    /// Undoes everything since the last commit.
    pub(crate) fn roll_back(&self) {
        // Some errors have rolled back already. A rollback that fails leaves the transaction to the end of the connection.
        if !self.conn.is_autocommit() {
            let _ = self.conn.execute_batch("ROLLBACK");
        }
    }

    /// Applies a changeset inside the write transaction. On an error everything since the last commit is undone.
    ///
    /// Returns: bytes that lie in SQLite's cache until the commit.
    pub(crate) fn write(&mut self, changeset: &ChangeSet) -> Result<usize> {
        self.try_write(changeset).inspect_err(|_| self.roll_back())?;
        self.written_bytes = self.written_bytes.saturating_add(changeset.size_bytes);
        Ok(self.written_bytes.min(CACHE_BYTES))
    }

    fn try_write(&mut self, changeset: &ChangeSet) -> Result<()> {
        match &changeset.body {
            Body::Rows(batches) if batches.is_empty() => Ok(()),
            Body::Rows(batches) => {
                self.ensure_transaction()?;
                for batch in batches {
                    self.write_batch(batch)?;
                    fail::fail_point!("sqlite.destination.mid_write");
                }
                Ok(())
            }
            Body::Control(control) => {
                self.ensure_transaction()?;
                self.control(control, changeset.control_order())
            }
        }
    }

    /// Makes everything written durable, together with `checkpoint`.
    pub(crate) fn commit(&mut self, checkpoint: &Checkpoint) -> Result<()> {
        self.try_commit(checkpoint).inspect_err(|_| self.roll_back())?;
        self.written_bytes = 0;
        self.streams_changed = false;
        Ok(())
    }

    fn try_commit(&mut self, checkpoint: &Checkpoint) -> Result<()> {
        self.ensure_transaction()?;
        fail::fail_point!("sqlite.destination.before_ledger");
        let streams = self.streams_changed.then_some(&self.streams);
        if !ledger::put_checkpoint(&self.conn, &self.lane, self.generation, checkpoint, streams)? {
            return Err(self.fenced());
        }
        if FileIdentity::of(&self.path) != self.identity {
            // The connection would go on writing a file that nobody can find any more.
            return Err(Error::Replaced {
                path: self.path.clone(),
            });
        }
        fail::fail_point!("sqlite.destination.before_commit");
        self.conn
            .execute_batch("COMMIT")
            .map_err(sql(format!("commit to `{}`", self.path.display())))?;
        fail::fail_point!("sqlite.destination.after_commit");
        Ok(())
    }

    /// Lets go: undoes what was not committed, closes the connection, then gives the lock back.
    pub(crate) fn close(self) -> Result<()> {
        self.roll_back();
        self.conn
            .close()
            .map_err(|(_, source)| sql(format!("close `{}`", self.path.display()))(source))
    }
}

/// A pipeline that wrote into the database it reads would overwrite its source's tables.
fn check_is_not_the_source(conn: &Connection, path: &Path, lane: &Lane) -> Result<()> {
    let changes = crate::capture::names::Names::of_pipeline(lane.pipeline.as_str()).changes_plain();
    let found: bool = conn
        .query_row(
            "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?1 COLLATE NOCASE)",
            [changes],
            |row| row.get(0),
        )
        .map_err(sql("look for a change table"))?;
    if found {
        return Err(Error::IsTheSource {
            path: path.to_owned(),
            pipeline: lane.pipeline.clone(),
        });
    }
    Ok(())
}

/// Removes the lane's ledger row and side tables. Rows stay.
pub(crate) fn forget(path: &Path, lane: &Lane) -> Result<Vec<String>> {
    let path = resolve(path);
    if FileIdentity::of(&path).is_none() {
        return Ok(Vec::new());
    }
    let conn = connect(&path)?;
    let lock = SessionLock::take(&path, lane)?;
    let removed = forget_in(&conn, &path, lane);
    drop(conn);
    drop(lock);
    removed
}

fn forget_in(conn: &Connection, path: &Path, lane: &Lane) -> Result<Vec<String>> {
    let mut removed = Vec::new();
    if !ledger::exists(conn)? {
        return Ok(removed);
    }
    let began = conn.execute_batch("BEGIN IMMEDIATE");
    began.map_err(|source| {
        if is_busy(&source) {
            busy(conn, path, source, Some(lane))
        } else {
            sql("begin a transaction")(source)
        }
    })?;
    // An error ends the connection, and with it the transaction.
    if let Some(row) = ledger::read(conn, path, lane)? {
        for entry in row.streams.values().filter(|entry| entry.noting.is_some()) {
            let seen = seen_table(&entry.table);
            conn.execute_batch(&format!("DROP TABLE IF EXISTS {}", quoted(&seen)))
                .map_err(sql("remove a side table"))?;
            removed.push(format!("table `{seen}` in `{}`", path.display()));
        }
    }
    if ledger::remove(conn, lane)? {
        removed.push(format!(
            "ledger row of `{}`/`{}` in `{}`",
            lane.pipeline,
            lane.destination,
            path.display()
        ));
    }
    conn.execute_batch("COMMIT").map_err(sql("commit the removal"))?;
    Ok(removed)
}
