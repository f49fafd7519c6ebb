use std::fmt;
use std::time::Duration;

use super::command::{Row, run, unexpected};
use super::error::ReplicationError;
use super::login::{Replication, Session};
use super::lsn::Lsn;
use super::receiver::Receiver;
use crate::connect::{Host, Settings, Transport, reach, session_settings};

/// A connection to a walsender, on which commands and plain SQL (simple protocol, texts) can be run. Closed when dropped.
pub struct Connection {
    pub(super) transport: Transport,
    pub(super) receiver: Receiver,
    pub(super) major: u32,
    pub(super) host: Host,
}

/// Which history this server has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SystemIdentity {
    /// The identifier that `initdb` drew.
    pub system_id: String,
    /// Goes up when a standby is promoted.
    pub timeline: u32,
    /// The end of the log that is flushed (on a standby: replayed) now.
    pub at: Lsn,
}

impl Settings {
    /// Connects with `replication=database`.
    pub async fn replicate(&self) -> Result<Connection, ReplicationError> {
        let reached = reach(self, &Replication).await?;
        let Session {
            transport,
            receiver,
            major,
        } = reached.session;
        let mut connection = Connection {
            transport,
            receiver,
            major,
            host: reached.host,
        };
        // The startup message could not know what this server knows.
        let settings = session_settings(major).map(|(name, value)| format!("SET {name} = '{value}';"));
        connection
            .command("prepare the session", &settings.collect::<String>())
            .await?;
        Ok(connection)
    }
}

impl Connection {
    /// The server's major version.
    pub fn major(&self) -> u32 {
        self.major
    }

    /// Which of the hosts it is.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// Which history this server has, and how far it is.
    pub async fn identify_system(&mut self) -> Result<SystemIdentity, ReplicationError> {
        let doing = "ask for the system's identity";
        let rows = self.command(doing, "IDENTIFY_SYSTEM").await?;
        let row = rows.first();
        let cell = |at: usize| row.and_then(|row| row.get(at)?.as_deref());
        let identity = (|| {
            Some(SystemIdentity {
                system_id: cell(0)?.to_owned(),
                timeline: cell(1)?.parse().ok()?,
                at: cell(2)?.parse().ok()?,
            })
        })();
        identity.ok_or_else(|| unexpected(doing, "an answer without identifier, timeline or position".to_owned()))
    }

    /// Runs SQL and returns the rows of all its statements, as texts.
    pub async fn query(&mut self, sql: &str) -> Result<Vec<Row>, ReplicationError> {
        self.command("run a query", sql).await
    }

    /// How long the walsender waits for a sign of life; `None` if for ever.
    pub(super) async fn wal_sender_timeout(&mut self) -> Result<Option<Duration>, ReplicationError> {
        let doing = "ask for `wal_sender_timeout`";
        let sql = "SELECT setting FROM pg_catalog.pg_settings WHERE name = 'wal_sender_timeout'";
        let rows = self.command(doing, sql).await?;
        let text = rows.first().and_then(|row| row.first()?.as_deref());
        let millis: u64 = text
            .and_then(|text| text.parse().ok())
            .ok_or_else(|| unexpected(doing, "no number".to_owned()))?;
        Ok((millis > 0).then(|| Duration::from_millis(millis)))
    }

    /// Cancellation: a command that was not waited for leaves its answer on the connection; close it.
    pub(super) async fn command(&mut self, doing: &'static str, sql: &str) -> Result<Vec<Row>, ReplicationError> {
        run(&mut self.transport, &mut self.receiver, doing, sql).await
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "replication::Connection({}, PostgreSQL {})", self.host, self.major)
    }
}
