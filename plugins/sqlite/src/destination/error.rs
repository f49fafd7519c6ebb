//! What can go wrong at a SQLite destination, with a stable code, a classification and a remedy for each.

use std::path::PathBuf;

use api::{Owner, Retry};
use model::{DestinationId, PipelineId, StreamId};
use rusqlite::ErrorCode;

use crate::connection::OpenError;

pub(crate) type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of the SQLite destination; a variant for each thing that was being attempted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("{0}")]
    Open(OpenError),
    #[error("cannot write `{path}`: {what}")]
    NotWritable { path: PathBuf, what: String },
    #[error("cannot set the journal mode of `{path}` to `wal`: it stays `{mode}`")]
    NotWal { path: PathBuf, mode: String },
    #[error("cannot open `{path}` for `{pipeline}`/`{destination}`: {owner} holds it")]
    Held {
        path: PathBuf,
        pipeline: PipelineId,
        destination: DestinationId,
        /// `host pid 7`, or that nobody knows.
        owner: String,
    },
    #[error("cannot lock `{path}`")]
    Lock {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error(
        "cannot begin a transaction in `{path}`: its write lock has been held for longer than {waited_seconds} s{}",
        by(rivals)
    )]
    Busy {
        path: PathBuf,
        waited_seconds: u64,
        /// Who else writes this file, as far as the ledger knows.
        rivals: Vec<String>,
        #[source]
        source: rusqlite::Error,
    },
    #[error("cannot read the ledger in `{path}`: {what}")]
    BadLedger { path: PathBuf, what: String },
    #[error(
        "cannot write `{pipeline}`/`{destination}`: generation {ours} is over, generation {found} belongs to {owner}"
    )]
    Fenced {
        pipeline: PipelineId,
        destination: DestinationId,
        ours: u64,
        found: u64,
        owner: Owner,
    },
    #[error("cannot write `{pipeline}`/`{destination}`: its row in the ledger of `{path}` is gone")]
    LedgerGone {
        path: PathBuf,
        pipeline: PipelineId,
        destination: DestinationId,
    },
    #[error("cannot commit to `{path}`: another file lies there now")]
    Replaced { path: PathBuf },
    #[error("cannot write to `{path}` for `{pipeline}`: it is the database that the same pipeline reads")]
    IsTheSource { path: PathBuf, pipeline: PipelineId },
    #[error(
        "cannot open `{path}` for `{pipeline}`/`{destination}`: destination `{other}` of the same pipeline writes it"
    )]
    SharedFile {
        path: PathBuf,
        pipeline: PipelineId,
        destination: DestinationId,
        other: String,
    },
    #[error("cannot upsert into `{stream}`: the stream has no key")]
    NoKey { stream: StreamId },
    #[error("cannot write `{stream}`: {what}")]
    BadName { stream: StreamId, what: String },
    #[error("cannot write `{stream}` to table `{table}`: {owner} writes that table already")]
    TableTaken {
        stream: StreamId,
        table: String,
        owner: String,
    },
    #[error("cannot write `{stream}`: its table `{table}` is gone")]
    TableGone { stream: StreamId, table: String },
    #[error("cannot write `{stream}` to table `{table}`: {what}")]
    Incompatible {
        stream: StreamId,
        table: String,
        what: String,
        /// SQL that would make it fit.
        statement: Option<String>,
    },
    #[error("cannot write `{stream}` to table `{table}`: {what}")]
    Changed {
        stream: StreamId,
        table: String,
        what: String,
        /// SQL that makes it fit.
        statement: String,
    },
    #[error("cannot change table `{table}`")]
    Alter {
        table: String,
        /// What was tried.
        statement: String,
        #[source]
        source: rusqlite::Error,
    },
    #[error("cannot write a row of `{stream}`: its key column `{column}` {what}")]
    BadKey {
        stream: StreamId,
        column: String,
        what: &'static str,
    },
    #[error(
        "cannot change a row of `{stream}`: the row is not in table `{table}`, and not all of its values were sent"
    )]
    NotWhole { stream: StreamId, table: String },
    #[error("cannot delete rows of `{stream}` by `{column}`: {what}")]
    BadPredicate {
        stream: StreamId,
        column: String,
        what: String,
    },
    #[error("cannot build a batch of rows to compare")]
    Spell(#[source] arrow::error::ArrowError),
    #[error("cannot encode the row of the ledger")]
    Encode {
        #[source]
        source: serde_json::Error,
    },
    #[error("cannot {doing}")]
    Sql {
        /// A verb and its object.
        doing: String,
        #[source]
        source: rusqlite::Error,
    },
    #[error("cannot compare the old keys of `{stream}` with the new ones")]
    CompareKeys {
        stream: StreamId,
        #[source]
        source: arrow::error::ArrowError,
    },
    #[error("cannot go on writing `{path}`: an earlier call failed or was cut off")]
    Void { path: PathBuf },
    #[error("cannot write `{path}`: the destination is not open")]
    NotOpen { path: PathBuf },
    #[error("cannot write `{path}`: its thread ended early")]
    ThreadGone { path: PathBuf },
    #[error("cannot start the thread that writes `{path}`")]
    Thread {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
}

fn by(rivals: &[String]) -> String {
    if rivals.is_empty() {
        String::new()
    } else {
        format!(", maybe by {}", rivals.join(" or "))
    }
}

/// For `map_err`: what was being attempted.
pub(crate) fn sql(doing: impl Into<String>) -> impl FnOnce(rusqlite::Error) -> Error {
    move |source| Error::Sql {
        doing: doing.into(),
        source,
    }
}

impl Error {
    fn code(&self) -> &'static str {
        match self {
            Error::Open(_) | Error::NotWritable { .. } | Error::NotWal { .. } => "E0520",
            Error::Held { .. } => "E0521",
            Error::Lock { .. } => "E0522",
            Error::Busy { .. } => "E0523",
            Error::BadLedger { .. } => "E0524",
            Error::Fenced { .. } => "E0525",
            Error::LedgerGone { .. } | Error::Replaced { .. } => "E0526",
            Error::IsTheSource { .. } | Error::SharedFile { .. } => "E0527",
            Error::NoKey { .. } => "E0530",
            Error::BadName { .. } => "E0531",
            Error::TableTaken { .. } => "E0532",
            Error::TableGone { .. } => "E0533",
            Error::Incompatible { .. } => "E0534",
            Error::Changed { .. } | Error::Alter { .. } => "E0535",
            Error::BadKey { .. } => "E0536",
            Error::NotWhole { .. } => "E0537",
            Error::BadPredicate { .. } => "E0538",
            Error::Sql { source, .. } if source.sqlite_error_code() == Some(ErrorCode::ConstraintViolation) => "E0539",
            Error::Sql { .. }
            | Error::Spell(_)
            | Error::Encode { .. }
            | Error::CompareKeys { .. }
            | Error::Void { .. }
            | Error::NotOpen { .. }
            | Error::ThreadGone { .. }
            | Error::Thread { .. } => "E0528",
        }
    }

    fn retry(&self) -> Retry {
        match self {
            Error::Open(error) if error.is_passing() => Retry::After,
            Error::Fenced { .. } => Retry::Fenced,
            Error::Busy { .. }
            | Error::LedgerGone { .. }
            | Error::Replaced { .. }
            | Error::Void { .. }
            | Error::NotOpen { .. }
            | Error::ThreadGone { .. }
            | Error::Thread { .. } => Retry::After,
            Error::BadKey { .. }
            | Error::BadPredicate { .. }
            | Error::CompareKeys { .. }
            | Error::Spell(_)
            | Error::Encode { .. } => Retry::Never,
            Error::Sql { source, .. } => match source.sqlite_error_code() {
                Some(
                    ErrorCode::DatabaseBusy
                    | ErrorCode::DatabaseLocked
                    | ErrorCode::SystemIoFailure
                    | ErrorCode::OutOfMemory
                    | ErrorCode::SchemaChanged
                    | ErrorCode::OperationInterrupted
                    | ErrorCode::OperationAborted
                    | ErrorCode::FileLockingProtocolFailed,
                ) => Retry::After,
                Some(
                    ErrorCode::DiskFull
                    | ErrorCode::ReadOnly
                    | ErrorCode::PermissionDenied
                    | ErrorCode::CannotOpen
                    | ErrorCode::DatabaseCorrupt
                    | ErrorCode::NotADatabase
                    | ErrorCode::ConstraintViolation,
                ) => Retry::Operator,
                _ => Retry::Never,
            },
            _ => Retry::Operator,
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Error::Open(error) => return open_hint(error),
            Error::NotWritable { .. } => "run as a user that may write the file and its directory".into(),
            Error::NotWal { .. } => {
                "close the other connections to it, or choose another file; readers need WAL to see whole commits".into()
            }
            Error::Held { .. } => "stop that process, or start with `--take-over` to fence it".into(),
            Error::Lock { .. } => "a lock file lies beside the database; its directory must be writable".into(),
            Error::Busy { rivals, .. } if rivals.is_empty() => {
                "end the transaction that another program has open on this file; it is tried again".into()
            }
            Error::Busy { .. } => {
                "if that process is stopped inside a transaction, continue it (`kill -CONT PID`) or kill it; it is tried again"
                    .into()
            }
            Error::BadLedger { .. } => "use the version of highwater that wrote it, or another file".into(),
            Error::Fenced { .. } => "another runtime took over; only one may run this pipeline".into(),
            Error::LedgerGone { .. } | Error::Replaced { .. } => {
                "it is opened again; if the file is an older copy, run `highwater resync`".into()
            }
            Error::IsTheSource { .. } => "give the destination a file of its own".into(),
            Error::SharedFile { .. } => {
                "give each destination of a pipeline a file of its own: SQLite has one writer at a time".into()
            }
            Error::NoKey { stream } => {
                format!("set `write: append`, or name a key: `overrides: {{ {stream}: {{ key: [COLUMN] }} }}`")
            }
            Error::BadName { .. } => "rename it before it gets here: transformer `select` with `rename`".into(),
            Error::TableTaken { .. } => "use another file, or exclude one of the two streams".into(),
            Error::TableGone { stream, .. } => {
                format!("restore it, or read the stream again: `highwater resync PIPELINE --stream {stream}`")
            }
            Error::Incompatible {
                statement: Some(statement),
                ..
            } => format!("run `{statement}`, or use another file"),
            Error::Incompatible { statement: None, .. } => {
                "use another file, or rename the table that is there".into()
            }
            Error::Changed { statement, .. } => {
                format!("run `{statement}`, or set `on_schema_change: apply`; then it goes on")
            }
            Error::Alter { statement, .. } => format!(
                "`{statement}` was refused; an index, view or trigger of yours may need the column: drop it, then it goes on"
            ),
            Error::BadKey { .. } => return None,
            Error::NotWhole { stream, .. } => format!(
                "something else changed the table; read the stream again: `highwater resync PIPELINE --stream {stream}`"
            ),
            Error::BadPredicate { .. } => return None,
            Error::Sql { source, .. } => return sql_hint(source),
            Error::CompareKeys { .. }
            | Error::Spell(_)
            | Error::Encode { .. }
            | Error::Void { .. }
            | Error::NotOpen { .. }
            | Error::ThreadGone { .. }
            | Error::Thread { .. } => return None,
        })
    }
}

fn open_hint(error: &OpenError) -> Option<String> {
    Some(match error {
        OpenError::Missing { path } => format!(
            "the file is created, its directory is not: `mkdir -p {}`",
            path.parent().unwrap_or(path).display()
        ),
        OpenError::Permission { .. } => "run as a user that may write the file and its directory".into(),
        other => return other.hint(),
    })
}

fn sql_hint(error: &rusqlite::Error) -> Option<String> {
    let hint = match error.sqlite_error_code()? {
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => {
            "another process holds a transaction on the database; it is tried again"
        }
        ErrorCode::DiskFull => "free space on the disk of the database",
        ErrorCode::ReadOnly | ErrorCode::PermissionDenied | ErrorCode::CannotOpen => {
            "run as a user that may write the file and its directory"
        }
        ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => {
            "run `PRAGMA quick_check` on the database and restore a backup, or let highwater write a new file"
        }
        ErrorCode::ConstraintViolation => "the table has a constraint that the source does not have; drop it",
        _ => return None,
    };
    Some(hint.to_owned())
}

impl From<Error> for api::Error {
    fn from(error: Error) -> Self {
        use std::error::Error as _;
        let mut out = api::Error::new(error.code(), error.retry(), error.to_string());
        if let Some(hint) = error.hint() {
            out = out.hint(hint);
        }
        // Only the causes cross the border: our own clause is the message already.
        let has_cause = match &error {
            Error::Open(open) => open.source().is_some(),
            other => other.source().is_some(),
        };
        if !has_cause {
            return out;
        }
        match error {
            Error::Open(open) => out.caused_by(Cause(Box::new(open))),
            Error::Lock { source, .. } | Error::Thread { source, .. } => out.caused_by(source),
            Error::Busy { source, .. } | Error::Sql { source, .. } | Error::Alter { source, .. } => {
                out.caused_by(source)
            }
            Error::CompareKeys { source, .. } | Error::Spell(source) => out.caused_by(source),
            Error::Encode { source } => out.caused_by(source),
            _ => out,
        }
    }
}

/// Stands for the cause of an [`OpenError`], which owns it.
#[derive(Debug)]
struct Cause(Box<OpenError>);

impl std::fmt::Display for Cause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        use std::error::Error as _;
        match self.0.source() {
            Some(source) => write!(f, "{source}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Cause {}
