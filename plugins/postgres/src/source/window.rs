//! A window: a snapshot of the database that is exact as of one place in the log.
//!
//! It is the snapshot that comes with the creation of a temporary slot, and its place S the slot's consistent point: a
//! transaction is in the snapshot exactly if its commit LSN is below S. A keeper imports the snapshot and exports it onward,
//! so that the slot, and the log that it holds, goes at once. While a window is open nothing that it can see is vacuumed.
//!
//! Creation waits for every transaction that was running. It is bounded by `lock_timeout`, which also covers a client that
//! dies meanwhile: without it backend and slot would stay until the blocker ends.

use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use model::StreamId;
use tokio_postgres::Client;

use super::catalogue::Table;
use super::error::{Error, sql};
use crate::connect::{Connection, Settings};
use crate::identifier::quote_literal;
use crate::replication::{Lsn, NewSlot, ReplicationError, Snapshot};

/// An open window.
pub(crate) struct Window {
    /// S: what was committed below it is seen.
    pub(crate) at: Lsn,
    /// When it was opened, as the server's clock has it.
    pub(crate) time: model::Timestamp,
    pub(crate) opened_at: Instant,
    snapshot: String,
    /// Holds the snapshot; its queries see the catalogue as of the window.
    keeper: Arc<Connection>,
    settings: Settings,
}

impl Window {
    /// Takes a snapshot; waits for running transactions no longer than `wait`.
    pub(crate) async fn open(settings: Settings, slot: String, wait: Duration) -> api::Result<Window> {
        let mut replication = settings.replicate().await?;
        fail::fail_point!("postgres.source.before_open_window");
        let created = replication
            .create_slot(&NewSlot {
                name: &slot,
                temporary: true,
                snapshot: Snapshot::Export,
                failover: false,
                two_phase: false,
                lock_timeout: wait,
            })
            .await;
        let created = match created {
            Ok(created) => created,
            Err(error) => return Err(not_created(&settings, error, wait).await),
        };
        let keeper = settings.connect().await?;
        let import = sql("import a snapshot");
        let snapshot = created.snapshot_name.unwrap_or_default();
        keeper.batch_execute(&begin(&snapshot)).await.map_err(&import)?;
        let row = keeper
            .query_one(
                "SELECT pg_export_snapshot(), (extract(epoch FROM clock_timestamp()) * 1000000)::int8",
                &[],
            )
            .await
            .map_err(&import)?;
        fail::fail_point!("postgres.source.after_open_window");
        Ok(Window {
            at: created.consistent_point,
            time: model::Timestamp(row.get(1)),
            opened_at: Instant::now(),
            snapshot: row.get(0),
            keeper: Arc::new(keeper),
            settings,
        })
    }

    /// Tables as of the window; those that were not there then are left out.
    pub(crate) async fn tables(&self, streams: &[StreamId]) -> api::Result<Vec<Table>> {
        Table::find_all(&self.keeper, streams).await
    }

    /// The way in for others. The window closes with the last of them.
    pub(crate) fn into_door(self) -> Door {
        Door {
            begin: begin(&self.snapshot),
            settings: self.settings,
            _keeper: self.keeper,
        }
    }
}

/// The way into a window, which is open as long as somebody has it.
#[derive(Clone)]
pub(crate) struct Door {
    begin: String,
    settings: Settings,
    _keeper: Arc<Connection>,
}

impl Door {
    /// Another connection that sees what the window sees, each time it begins.
    pub(crate) async fn reader(self) -> api::Result<WindowReader> {
        Ok(WindowReader {
            connection: self.settings.connect().await?,
            door: self,
            locked: None,
        })
    }
}

/// Begins a transaction that sees a snapshot. Row security would hide rows in silence; off, it is an error.
fn begin(snapshot: &str) -> String {
    format!(
        "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET TRANSACTION SNAPSHOT {}; SET LOCAL row_security = off; \
         SET LOCAL lock_timeout = '2s'; SET LOCAL max_parallel_workers_per_gather = 0; SET LOCAL jit = off",
        quote_literal(snapshot)
    )
}

/// Why a slot was not created; where a transaction would not end, which.
pub(crate) async fn not_created(settings: &Settings, error: ReplicationError, wait: Duration) -> api::Error {
    if !error.is_lock_timeout() {
        return error.into();
    }
    let why = blocker(settings).await.unwrap_or_default();
    let why = format!("no consistent point within {wait:?}{why}");
    Error::NoWindow { why }.into()
}

/// Who holds up the creation of a slot: the oldest transaction that has written something. Every role may see who holds which
/// transaction id, but not since when others' sessions do.
async fn blocker(settings: &Settings) -> api::Result<String> {
    let client = settings.connect().await?;
    let row = client
        .query_opt(
            "SELECT l.pid, coalesce(a.usename::text, a.backend_type, 'another role'), p.gid,
                    extract(epoch FROM clock_timestamp() - coalesce(a.xact_start, p.prepared))::int8
             FROM pg_locks l LEFT JOIN pg_stat_activity a ON a.pid = l.pid
             LEFT JOIN pg_prepared_xacts p ON p.transaction = l.transactionid
             WHERE l.locktype = 'transactionid' AND l.mode = 'ExclusiveLock' AND l.granted AND l.pid IS DISTINCT FROM pg_backend_pid()
             ORDER BY age(l.transactionid) DESC LIMIT 1",
            &[],
        )
        .await
        .map_err(sql("look for running transactions"))?;
    Ok(row.map_or_else(String::new, |row| {
        let (pid, user): (Option<i32>, String) = (row.get(0), row.get(1));
        let (prepared, seconds): (Option<String>, Option<i64>) = (row.get(2), row.get(3));
        // Only a role that may see others' sessions is told since when.
        let since = seconds.map_or_else(String::new, |seconds| format!(" for {seconds} s"));
        match (pid, prepared) {
            (_, Some(name)) => format!(": the transaction prepared as `{name}` is open{since}"),
            (Some(pid), None) => format!(": process {pid} of `{user}` has a transaction open{since}"),
            (None, None) => String::new(),
        }
    }))
}

/// How long a table is locked against DDL for page after page. To begin a transaction for each costs as much as a small page.
const LOCK_MAX: Duration = Duration::from_millis(500);

/// A connection on which pages of a window are read, in short transactions, so that DDL gets its turn.
pub(crate) struct WindowReader {
    door: Door,
    pub(crate) connection: Connection,
    /// The table of the open transaction, and since when it is open.
    locked: Option<(u32, Instant)>,
}

/// What became of a table since the window was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// The rows that the window shows are all there.
    Same,
    /// It was truncated, rewritten, replaced or dropped: what would be read is not what the window shows.
    Changed,
    /// Somebody holds a lock on it that does not let it be read now.
    Locked,
}

impl WindowReader {
    /// Begins a transaction and locks the table against DDL, then says whether the table is what it was in the window. A
    /// transaction that has locked it a moment ago goes on.
    ///
    /// A change between window and lock would be lost in silence: TRUNCATE and rewrites leave the old snapshot with no rows,
    /// a column dropped and added again reads as the new one.
    pub(crate) async fn begin(&mut self, table: &Table, columns: &[String]) -> api::Result<Standing> {
        if self.holds(table) {
            return Ok(Standing::Same);
        }
        self.end().await?;
        let client: &Client = &self.connection;
        client
            .batch_execute(&self.door.begin)
            .await
            .map_err(sql("import a snapshot"))?;
        self.locked = Some((table.oid, Instant::now()));
        let name = name_of(table);
        if let Err(error) = client
            .batch_execute(&format!("LOCK TABLE {} IN ACCESS SHARE MODE", rows_of(table)))
            .await
        {
            use tokio_postgres::error::SqlState;
            return match error.code() {
                Some(&SqlState::UNDEFINED_TABLE | &SqlState::INVALID_SCHEMA_NAME | &SqlState::WRONG_OBJECT_TYPE) => {
                    Ok(Standing::Changed)
                }
                Some(&SqlState::LOCK_NOT_AVAILABLE) => Ok(Standing::Locked),
                _ => Err(sql("lock a table for reading")(error)),
            };
        }
        // pg_class and pg_inherits are read as of the snapshot; the functions tell what is now.
        let row = client
            .query_one(
                "WITH RECURSIVE tree(oid) AS (SELECT $1::oid UNION ALL
                                             SELECT i.inhrelid FROM pg_inherits i JOIN tree ON i.inhparent = tree.oid AND $3)
                 SELECT coalesce(to_regclass($2)::oid = $1, false)
                        AND bool_and(coalesce(pg_relation_filenode(c.oid), 0) = c.relfilenode)
                        AND count(*) = greatest((SELECT count(*) FROM pg_partition_tree($1)), 1)
                 FROM pg_class c JOIN tree USING (oid)",
                &[&table.oid, &name, &table.is_partitioned()],
            )
            .await
            .map_err(sql("compare a table with its snapshot"))?;
        if row.get::<_, Option<bool>>(0) != Some(true) {
            return Ok(Standing::Changed);
        }
        let listed: Vec<String> = columns
            .iter()
            .map(|name| crate::identifier::quote_ident(name))
            .collect();
        let Ok(statement) = client
            .prepare(&format!("SELECT {} FROM {}", listed.join(", "), rows_of(table)))
            .await
        else {
            return Ok(Standing::Changed);
        };
        let is_same = statement.columns().iter().zip(columns).all(|(now, name)| {
            table
                .column(name)
                .is_some_and(|then| now.column_id() == Some(then.number) && now.type_().oid() == then.type_oid)
        });
        Ok(if is_same { Standing::Same } else { Standing::Changed })
    }

    /// How many blocks a locked table has, of a partitioned one its largest partition; 0 where rows do not lie in blocks.
    pub(crate) async fn block_count(&self, table: &Table) -> api::Result<u64> {
        let row = self
            .connection
            .query_one(
                "WITH RECURSIVE tree(oid) AS (SELECT $1::oid UNION ALL
                                             SELECT i.inhrelid FROM pg_inherits i JOIN tree ON i.inhparent = tree.oid AND $2)
                 SELECT CASE WHEN bool_and(a.amname = 'heap')
                             THEN max(pg_relation_size(c.oid) / current_setting('block_size')::int8) ELSE 0 END
                 FROM pg_class c JOIN tree USING (oid) JOIN pg_am a ON a.oid = c.relam WHERE c.relkind = 'r'",
                &[&table.oid, &table.is_partitioned()],
            )
            .await
            .map_err(sql("look how large a table is"))?;
        Ok(row.get::<_, Option<i64>>(0).unwrap_or(0).max(0) as u64)
    }

    /// Whether the open transaction is this table's and may go on.
    fn holds(&self, table: &Table) -> bool {
        self.locked
            .is_some_and(|(oid, since)| oid == table.oid && since.elapsed() < LOCK_MAX)
    }

    /// Ends the transaction, whatever became of it, if there is one.
    pub(crate) async fn end(&mut self) -> api::Result<()> {
        if self.locked.take().is_none() {
            return Ok(());
        }
        self.connection
            .batch_execute("ROLLBACK")
            .await
            .map_err(sql("end a snapshot"))
    }

    /// Ends it if it has held its lock long enough.
    pub(crate) async fn end_in_time(&mut self) -> api::Result<()> {
        match self.locked {
            Some((_, since)) if since.elapsed() >= LOCK_MAX => self.end().await,
            _ => Ok(()),
        }
    }

    /// Waits for `work`, which may take long: no table is locked meanwhile.
    pub(crate) async fn unlocked_while<T>(&mut self, work: impl Future<Output = T>) -> api::Result<T> {
        let mut work = std::pin::pin!(work);
        if let Poll::Ready(done) = futures::poll!(work.as_mut()) {
            return Ok(done);
        }
        self.end().await?;
        Ok(work.await)
    }
}

/// A table's quoted name.
pub(crate) fn name_of(table: &Table) -> String {
    format!(
        "{}.{}",
        crate::identifier::quote_ident(&table.schema),
        crate::identifier::quote_ident(&table.name)
    )
}

/// What to read a table's own rows from: those of a partitioned table are its partitions', but tables that inherit from
/// another are streams of their own.
pub(crate) fn rows_of(table: &Table) -> String {
    match table.is_partitioned() {
        true => name_of(table),
        false => format!("ONLY {}", name_of(table)),
    }
}
