//! What can go wrong at a SQLite source, with a stable code, a classification and a remedy for each.

use std::path::PathBuf;
use std::time::Duration;

use model::StreamId;
use tokio_util::sync::CancellationToken;

use crate::connection::OpenError;

pub(crate) type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of the SQLite source.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A statement of ours failed.
    #[error("cannot {doing}")]
    Sql {
        /// A verb and its object.
        doing: &'static str,
        /// What SQLite said.
        #[source]
        source: rusqlite::Error,
    },
    /// A configured stream is no table of the database.
    #[error("cannot read `{stream}`: `{path}` has no such table")]
    NoSuchTable {
        /// The stream.
        stream: String,
        /// The database.
        path: PathBuf,
        /// A table with a similar name.
        similar: Option<String>,
    },
    /// A table exists, but its changes cannot be captured by triggers.
    #[error("cannot capture `{table}`: {why}")]
    CannotCapture {
        /// The table.
        table: String,
        /// Why not.
        why: Refused,
    },
    /// Readers of a database in rollback mode block its writers.
    #[error("cannot capture changes of `{path}`: its journal mode is `{mode}`, in which a reader blocks every writer")]
    NotWal {
        /// The database.
        path: PathBuf,
        /// The journal mode.
        mode: String,
    },
    /// What lies in the database was put there by another pipeline or a later version.
    #[error("cannot use the change table in `{path}`: {why}")]
    NotOurs {
        /// The database.
        path: PathBuf,
        /// What is different.
        why: String,
    },
    /// The file at the path is no longer the one that was opened.
    #[error("cannot go on reading `{path}`: the file was replaced while it was open")]
    Replaced {
        /// The database.
        path: PathBuf,
    },
    /// Somebody removed the change table or its companions while the source was reading it.
    #[error("cannot go on reading `{path}`: {what} of pipeline `{pipeline}` is gone")]
    CaptureGone {
        /// The database.
        path: PathBuf,
        /// The pipeline.
        pipeline: String,
        /// What is missing.
        what: &'static str,
    },
    /// A value that does not fit the column's declared type. Never shows the value.
    #[error("cannot read `{stream}`.`{column}` of the row with {key}: it holds {found}, which does not fit {declared}")]
    Misfit {
        /// The stream.
        stream: StreamId,
        /// The column.
        column: String,
        /// The key columns' names and values, or how the row is found.
        key: String,
        /// The storage class, and why it does not fit.
        found: String,
        /// The declared type, as the user wrote it, and what it is read as.
        declared: String,
        /// Whether it is in a change that was captured, and not only in the row as it stands.
        is_change: bool,
    },
    /// A primary key holds NULL, which SQLite allows.
    #[error("cannot read `{stream}`: a row has NULL in the key column `{column}`")]
    NullInKey {
        /// The stream.
        stream: StreamId,
        /// The key column.
        column: String,
    },
    /// The change table grew beyond its limit while nobody acknowledged, and capture was stopped.
    #[error("cannot capture changes of `{path}` any longer: {rows} change rows wait, the limit is {rows_max}")]
    ChangesFull {
        /// The database.
        path: PathBuf,
        /// How many wait.
        rows: u64,
        /// The limit.
        rows_max: u64,
    },
    /// An override names a column or type that is not there.
    #[error("cannot read `{stream}`.`{column}` as `{wanted}`: {why}")]
    BadOverride {
        /// The stream.
        stream: StreamId,
        /// The column.
        column: String,
        /// The type asked for.
        wanted: String,
        /// What is wrong.
        why: String,
    },
    /// `capture: poll` needs to know by which column.
    #[error("cannot poll `{stream}`: {why}")]
    NoCursor {
        /// The stream.
        stream: StreamId,
        /// What is missing.
        why: String,
    },
    /// A token in a checkpoint is not one of ours.
    #[error("cannot read the stored position of `{partition}`: {why}")]
    BadToken {
        /// The partition.
        partition: String,
        /// What is wrong.
        why: String,
    },
    /// Arrow refused rows that we built.
    #[error("cannot build a batch of `{stream}`")]
    Arrow {
        /// The stream.
        stream: StreamId,
        /// What Arrow said.
        #[source]
        source: arrow::error::ArrowError,
    },
    /// The thread that reads the database ended.
    #[error("cannot read `{path}`: the reading thread ended early")]
    ThreadGone {
        /// The database.
        path: PathBuf,
    },
}

/// Why a table cannot be captured.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// A view, a virtual table or one of its shadows.
    #[error("it is a {kind}, and only ordinary tables have the triggers that capture needs")]
    NotATable {
        /// SQLite's word for what it is.
        kind: String,
    },
    /// Twice its columns do not fit into the change table.
    #[error("it has {columns} columns, at most {columns_max} can be captured")]
    TooWide {
        /// How many.
        columns: usize,
        /// How many are possible.
        columns_max: usize,
    },
    /// Columns named `rowid`, `_rowid_` and `oid`, and no key.
    #[error("its columns hide all three names of the rowid, and it has no NOT NULL primary key")]
    HiddenRowid,
    /// A unique index over an expression that we cannot read.
    #[error("the text of its unique index `{index}` cannot be read")]
    UnreadableIndex {
        /// The index.
        index: String,
    },
}

/// How an error is to be treated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Treatment {
    /// Again after a pause.
    Retry,
    /// Somebody has to do something first.
    Operator,
}

/// For `map_err`: what was being attempted.
pub(crate) fn sql(doing: &'static str) -> impl Fn(rusqlite::Error) -> Error {
    move |source| Error::Sql { doing, source }
}

impl Error {
    /// The stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Error::Open(error) => error.code(),
            Error::Sql { .. } | Error::Arrow { .. } | Error::ThreadGone { .. } => "E0230",
            Error::NoSuchTable { .. } => "E0218",
            Error::CannotCapture { .. } => "E0219",
            Error::NotWal { .. } => "E0216",
            Error::NotOurs { .. } => "E0223",
            Error::Replaced { .. } => "E0217",
            Error::CaptureGone { .. } => "E0224",
            Error::Misfit { .. } => "E0220",
            Error::NullInKey { .. } => "E0221",
            Error::ChangesFull { .. } => "E0222",
            Error::BadOverride { .. } => "E0225",
            Error::NoCursor { .. } => "E0226",
            Error::BadToken { .. } => "E0227",
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Error::Open(error) => return error.hint(),
            Error::Sql { source, .. } => return crate::connection::hint_for(source),
            Error::NoSuchTable { similar: Some(similar), .. } => format!("did you mean `{similar}`?"),
            Error::NoSuchTable { similar: None, .. } => "list the tables with `highwater schema`, or drop the name from `streams`".into(),
            Error::CannotCapture { why: Refused::NotATable { .. }, .. } => {
                "name the tables that it is made from, or exclude it".into()
            }
            Error::CannotCapture { why: Refused::HiddenRowid, .. } => {
                "give it a primary key, rename one of the columns `rowid`, `_rowid_`, `oid`, or exclude it".into()
            }
            Error::CannotCapture { .. } => "exclude it from `streams`".into(),
            Error::NotWal { path, .. } => format!(
                "run `sqlite3 {} 'PRAGMA journal_mode=WAL'` once (it stays set), or use `capture: poll`",
                path.display()
            ),
            Error::NotOurs { .. } => "give the pipeline another name, or `highwater forget` the one that owns it".into(),
            Error::Replaced { .. } => "stop, let the new file settle, and start again; positions are checked then".into(),
            Error::CaptureGone { .. } => {
                "capture is set up anew at the next start; what changed meanwhile is unknown, so run `highwater resync`".into()
            }
            Error::Misfit { stream, column, is_change: true, .. } => format!(
                "read the column as text: `overrides: {{ {stream}: {{ columns: {{ {column}: text }} }} }}`; correcting the row is not enough, because the change that wrote the value comes first"
            ),
            Error::Misfit { stream, column, .. } => format!(
                "correct the row, or read the column as text: `overrides: {{ {stream}: {{ columns: {{ {column}: text }} }} }}`"
            ),
            Error::NullInKey { column, .. } => {
                format!("correct the row, and declare `{column}` NOT NULL: SQLite allows NULL in most primary keys")
            }
            Error::ChangesFull { .. } => {
                "the triggers were removed so that the database does not fill up; bring the destinations back, then run `highwater resync`".into()
            }
            Error::BadOverride { .. } => {
                "types are text, int64, float64, boolean, binary, date, timestamp, json and decimal(p,s)".into()
            }
            Error::NoCursor { stream, .. } => format!(
                "name a column that only grows: `cursor: {{ {stream}: updated_at }}`; or use `capture: triggers`"
            ),
            Error::BadToken { .. } => "the checkpoint was written by something else; run `highwater resync`".into(),
            Error::Arrow { .. } | Error::ThreadGone { .. } => return None,
        })
    }

    fn into_cause(self) -> Option<Box<dyn std::error::Error + Send + Sync>> {
        match self {
            Error::Open(error) => error.into_cause(),
            Error::Sql { source, .. } => Some(source.into()),
            Error::Arrow { source, .. } => Some(source.into()),
            _ => None,
        }
    }

    /// Whether trying again can help.
    pub fn treatment(&self) -> Treatment {
        match self {
            Error::Sql { source, .. } if is_passing(source) => Treatment::Retry,
            Error::Open(error) if error.is_passing() => Treatment::Retry,
            Error::Replaced { .. } | Error::CaptureGone { .. } | Error::ThreadGone { .. } => Treatment::Retry,
            _ => Treatment::Operator,
        }
    }
}

/// Busy, locked, a full disk, an I/O error, a schema that moved: all may be gone at the next attempt.
pub(crate) fn is_passing(error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode as C;
    matches!(
        error.sqlite_error_code(),
        Some(
            C::DatabaseBusy
                | C::DatabaseLocked
                | C::DiskFull
                | C::SystemIoFailure
                | C::SchemaChanged
                | C::FileLockingProtocolFailed
                | C::OutOfMemory
        )
    )
}

/// Somebody else holds the lock that we need.
pub(crate) fn is_busy(error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode as C;
    matches!(error.sqlite_error_code(), Some(C::DatabaseBusy | C::DatabaseLocked))
}

/// Tries again as long as somebody else holds the lock and nobody wants us to stop. Each attempt waits for
/// [`BUSY_TIMEOUT`](crate::connection::BUSY_TIMEOUT) by itself, except where SQLite knows that waiting cannot help.
pub(crate) fn patiently<T>(stop: &CancellationToken, mut attempt: impl FnMut() -> Result<T>) -> Result<T> {
    loop {
        match attempt() {
            Err(Error::Sql { source, .. }) if is_busy(&source) && !stop.is_cancelled() => {
                std::thread::sleep(Duration::from_millis(5));
            }
            done => return done,
        }
    }
}

impl From<Error> for api::Error {
    fn from(error: Error) -> Self {
        let retry = match error.treatment() {
            Treatment::Retry => api::Retry::After,
            Treatment::Operator => api::Retry::Operator,
        };
        let shown = api::Error::new(error.code(), retry, error.to_string());
        let shown = match error.hint() {
            Some(hint) => shown.hint(hint),
            None => shown,
        };
        match error.into_cause() {
            Some(cause) => shown.caused_by(cause),
            None => shown,
        }
    }
}
