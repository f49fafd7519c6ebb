use std::time::Duration;

use super::command::unexpected;
use super::connection::Connection;
use super::error::ReplicationError;
use super::lsn::Lsn;

/// What a new slot does with the snapshot that its creation builds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Snapshot {
    /// Throws it away.
    #[default]
    Nothing,
    /// Exports it: others can import it until the next command on this connection, or its end.
    Export,
}

/// A slot to create, for `pgoutput`.
#[derive(Debug, Clone)]
pub struct NewSlot<'a> {
    /// Lower-case letters, digits and underscores, at most 63.
    pub name: &'a str,
    /// Dropped with the connection.
    pub temporary: bool,
    /// What becomes of the snapshot.
    pub snapshot: Snapshot,
    /// Synchronized to standbys, so that it survives a failover. PostgreSQL 17; not for temporary slots.
    pub failover: bool,
    /// Whether prepared transactions are sent when they are prepared. PostgreSQL 15.
    pub two_phase: bool,
    /// Creation waits until every transaction ends that is running now. Longer than this it does not; nothing is left behind.
    ///
    /// `statement_timeout` would not help, and a client that only goes away would leave backend and slot waiting: the limit is
    /// the server's own, so it also holds when this process is killed.
    pub lock_timeout: Duration,
}

/// A slot that was created.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreatedSlot {
    /// Its name.
    pub name: String,
    /// A transaction is in the snapshot exactly if its commit LSN is lower.
    pub consistent_point: Lsn,
    /// For `SET TRANSACTION SNAPSHOT`, if it was exported.
    pub snapshot_name: Option<String>,
}

impl Connection {
    /// Creates a logical slot.
    ///
    /// Durability: a slot that is not temporary is on the server's disk when this returns. On an error there is none.
    ///
    /// Errors: [`is_lock_timeout`](ReplicationError::is_lock_timeout) if some transaction would not end in time; the
    /// connection can be used again.
    pub async fn create_slot(&mut self, new: &NewSlot<'_>) -> Result<CreatedSlot, ReplicationError> {
        let doing = "create a replication slot";
        let sql = self.create_slot_sql(new)?;
        // 0 would mean no limit.
        let millis = new.lock_timeout.as_millis().clamp(1, i32::MAX as u128);
        self.command(doing, &format!("SET lock_timeout = {millis}")).await?;
        let rows = self.command(doing, &sql).await?;
        let row = rows.first();
        let cell = |at: usize| row.and_then(|row| row.get(at)?.clone());
        let consistent_point = cell(1).and_then(|text| text.parse().ok());
        Ok(CreatedSlot {
            name: cell(0).unwrap_or_else(|| new.name.to_owned()),
            consistent_point: consistent_point
                .ok_or_else(|| unexpected(doing, "an answer without a consistent point".to_owned()))?,
            snapshot_name: cell(2),
        })
    }

    fn create_slot_sql(&self, new: &NewSlot<'_>) -> Result<String, ReplicationError> {
        let doing = "create a replication slot";
        let needs = |wanted: bool, needed: u32, doing| match wanted && self.major < needed {
            true => Err(ReplicationError::TooOld {
                doing,
                needed,
                found: self.major,
            }),
            false => Ok(()),
        };
        needs(new.failover, 17, "create a failover slot")?;
        needs(new.two_phase, 15, doing)?;
        let name = quoted_name(new.name);
        let temporary = if new.temporary { " TEMPORARY" } else { "" };
        let head = format!("CREATE_REPLICATION_SLOT {name}{temporary} LOGICAL pgoutput");
        if self.major < 15 {
            let snapshot = match new.snapshot {
                Snapshot::Nothing => "NOEXPORT_SNAPSHOT",
                Snapshot::Export => "EXPORT_SNAPSHOT",
            };
            return Ok(format!("{head} {snapshot}"));
        }
        let snapshot = match new.snapshot {
            Snapshot::Nothing => "nothing",
            Snapshot::Export => "export",
        };
        let mut options = vec![format!("SNAPSHOT '{snapshot}'")];
        options.extend(new.two_phase.then(|| "TWO_PHASE".to_owned()));
        options.extend(new.failover.then(|| "FAILOVER".to_owned()));
        Ok(format!("{head} ({})", options.join(", ")))
    }

    /// Drops a slot. `wait`: until nobody uses it, instead of failing.
    pub async fn drop_slot(&mut self, name: &str, wait: bool) -> Result<(), ReplicationError> {
        let wait = if wait { " WAIT" } else { "" };
        let sql = format!("DROP_REPLICATION_SLOT {}{wait}", quoted_name(name));
        self.command("drop a replication slot", &sql).await.map(drop)
    }
}

/// An identifier, as SQL and the replication commands quote it.
pub(super) fn quoted_name(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A text, as the replication commands quote it: a backslash is a backslash.
pub(super) fn quoted_text(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}
