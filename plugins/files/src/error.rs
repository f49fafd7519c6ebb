//! What was being attempted when it failed, and what that asks for.

use std::error::Error as StdError;
use std::io;
use std::path::PathBuf;

use api::Retry;
use model::StreamId;

use crate::codes;

pub(crate) type Result<T, E = Error> = std::result::Result<T, E>;

#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("cannot {verb} `{}`", path.display())]
    Io {
        verb: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error("cannot {verb} `{}`", path.display())]
    Store {
        verb: &'static str,
        path: PathBuf,
        source: object_store::Error,
    },
    #[error("cannot use `{}`: it is not a directory", path.display())]
    NotADirectory { path: PathBuf },
    #[error("cannot use `{}`: it is a symbolic link", path.display())]
    Symlink { path: PathBuf },
    #[error("cannot publish `{}`: its staged file `{staged}` is gone", path.display())]
    StagedFileGone { path: PathBuf, staged: String },
    #[error("cannot open `{}`: {holder} holds its lock", ledger.display())]
    Held { ledger: PathBuf, holder: String },
    #[error("cannot commit manifest {number} in `{}`: {owner} has taken over", ledger.display())]
    Fenced {
        ledger: PathBuf,
        number: u64,
        owner: String,
    },
    #[error("cannot read `{}`: {what}", path.display())]
    Stored {
        path: PathBuf,
        what: &'static str,
        source: Option<serde_json::Error>,
    },
    #[error("cannot write `{stream}` as {format}: column `{column}` {what}")]
    Value {
        stream: StreamId,
        format: &'static str,
        column: String,
        what: String,
    },
    #[error("cannot write rows of `{stream}` as {format}")]
    Encode {
        stream: StreamId,
        format: &'static str,
        source: Box<dyn StdError + Send + Sync>,
    },
    #[error("cannot append rows of `{stream}`: its column `{column}` has a reserved name")]
    Reserved { stream: StreamId, column: String },
    #[error("cannot append rows of `{stream}`")]
    Rows {
        stream: StreamId,
        source: arrow::error::ArrowError,
    },
    #[error("cannot go on with `{stream}`: {changes}")]
    Schema {
        stream: StreamId,
        changes: String,
        hint: &'static str,
    },
    #[error("cannot record a delete by predicate of `{stream}` in files")]
    DeleteWhere { stream: StreamId },
    #[error("cannot {verb}: the destination is not open")]
    NotOpen { verb: &'static str },
    #[error("cannot {verb}: the task was cancelled or panicked")]
    Task {
        verb: &'static str,
        source: tokio::task::JoinError,
    },
}

impl Error {
    pub(crate) fn io(verb: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Error {
        let path = path.into();
        move |source| Error::Io { verb, path, source }
    }

    /// The operating system's word, wherever in the chain it is.
    fn io_kind(&self) -> Option<io::ErrorKind> {
        let mut cause: Option<&(dyn StdError + 'static)> = Some(self);
        while let Some(error) = cause {
            if let Some(io) = error.downcast_ref::<io::Error>() {
                return Some(io.kind());
            }
            cause = error.source();
        }
        None
    }

    fn classify(&self) -> (&'static str, Retry, Option<String>) {
        use io::ErrorKind as K;
        let writable = || Some("make it writable for the user that runs Highwater, or set another `path`".to_owned());
        match self {
            Error::NotADirectory { .. } => (
                codes::PATH,
                Retry::Operator,
                Some("set `path` to a directory".to_owned()),
            ),
            Error::Symlink { .. } => (
                codes::PATH,
                Retry::Operator,
                Some("replace it by a real directory on the same file system".to_owned()),
            ),
            Error::StagedFileGone { .. } => (codes::IO, Retry::After, None),
            Error::Held { .. } => (
                codes::HELD,
                Retry::Operator,
                Some("stop it; or start with `--take-over`, which fences it".to_owned()),
            ),
            Error::Fenced { .. } => (
                codes::FENCED,
                Retry::Fenced,
                Some("run one runtime for each destination".to_owned()),
            ),
            Error::Stored { .. } => (
                codes::STORED,
                Retry::Operator,
                Some("restore it from a copy, or use the version of Highwater that wrote it".to_owned()),
            ),
            Error::Value { .. } => (
                codes::VALUE,
                Retry::Never,
                Some("exclude the column, cast it, or choose another format".to_owned()),
            ),
            Error::Reserved { .. } => (
                codes::RESERVED,
                Retry::Never,
                Some("rename or drop it with the transformer `select`".to_owned()),
            ),
            Error::Schema { hint, .. } => (codes::SCHEMA, Retry::Operator, Some((*hint).to_owned())),
            Error::DeleteWhere { .. } => (codes::CONTROL, Retry::Never, None),
            Error::NotOpen { .. } | Error::Task { .. } => (codes::IO, Retry::After, None),
            Error::Io { .. } | Error::Store { .. } | Error::Encode { .. } | Error::Rows { .. } => {
                match self.io_kind() {
                    Some(K::StorageFull | K::QuotaExceeded) => (
                        codes::FULL,
                        Retry::Operator,
                        Some("free space on that file system, then restart the pipeline".to_owned()),
                    ),
                    Some(K::PermissionDenied | K::ReadOnlyFilesystem) => (codes::PATH, Retry::Operator, writable()),
                    Some(K::NotADirectory | K::AlreadyExists | K::IsADirectory) => (
                        codes::PATH,
                        Retry::Operator,
                        Some("a file is where a directory should be; move it away, or set another `path`".to_owned()),
                    ),
                    Some(K::CrossesDevices | K::Unsupported) => (
                        codes::PATH,
                        Retry::Operator,
                        Some("`path` must lie on one file system, and that must have hard links".to_owned()),
                    ),
                    Some(_) => (codes::IO, Retry::After, None),
                    None if matches!(self, Error::Store { .. }) => (codes::IO, Retry::After, None),
                    None => (codes::VALUE, Retry::Never, None),
                }
            }
        }
    }
}

impl From<Error> for api::Error {
    fn from(error: Error) -> Self {
        let (code, retry, hint) = error.classify();
        let mut wrapped = api::Error::new(code, retry, error.to_string());
        if let Some(hint) = hint {
            wrapped = wrapped.hint(hint);
        }
        match error {
            Error::Io { source, .. } => wrapped.caused_by(source),
            Error::Store { source, .. } => wrapped.caused_by(source),
            Error::Stored {
                source: Some(source), ..
            } => wrapped.caused_by(source),
            Error::Encode { source, .. } => wrapped.caused_by(source),
            Error::Rows { source, .. } => wrapped.caused_by(source),
            Error::Task { source, .. } => wrapped.caused_by(source),
            _ => wrapped,
        }
    }
}
