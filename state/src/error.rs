use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use model::{DestinationId, PipelineId};

use crate::codes;

/// What the store was attempting when it failed.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// Another process has the directory open.
    #[error("cannot lock state directory `{}`: {owner} uses it", .dir.display())]
    Locked {
        /// The directory.
        dir: PathBuf,
        /// Who: `process 4711 on host `db1``.
        owner: String,
    },
    /// The directory cannot be made, read or opened.
    #[error("cannot open state directory `{}`: cannot {doing} `{}`", .dir.display(), .path.display())]
    Open {
        /// The directory.
        dir: PathBuf,
        /// A verb: `create`, `read`.
        doing: &'static str,
        /// What exactly.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: Arc<io::Error>,
    },
    /// There is nothing to read.
    #[error("cannot read state directory `{}`: there is no state in it", .dir.display())]
    Missing {
        /// The directory.
        dir: PathBuf,
    },
    /// A newer version wrote the directory.
    #[error("cannot read `{}`: its format is {found}, this version reads formats up to {known}", .path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// The format found.
        found: u16,
        /// The last format known.
        known: u16,
    },
    /// A value is whole, and says what this version does not understand.
    #[error("cannot read the stored value of {whose}")]
    Decode {
        /// Whose: a pipeline's destination, or its source.
        whose: String,
        /// What is wrong with it.
        #[source]
        source: Arc<serde_json::Error>,
    },
    /// A value has no stored form. Nothing was written.
    #[error("cannot encode the value of {whose}")]
    Encode {
        /// Whose: a pipeline's destination, or its source.
        whose: String,
        /// What is wrong with it.
        #[source]
        source: Arc<serde_json::Error>,
    },
    /// Another write came first.
    #[error("cannot commit checkpoint for `{pipeline}`/`{destination}`: expected epoch {expected}, found {found}")]
    Epoch {
        /// The pipeline.
        pipeline: PipelineId,
        /// The destination.
        destination: DestinationId,
        /// What the caller thought to replace; 0 for nothing.
        expected: u64,
        /// What is there; 0 for nothing.
        found: u64,
    },
    /// A value is larger than anything that a checkpoint should be.
    #[error("cannot store the value of {whose}: it has {size_bytes} bytes, the limit is {limit_bytes}")]
    TooLarge {
        /// Whose: a pipeline's destination, or its source.
        whose: String,
        /// Its size.
        size_bytes: usize,
        /// The largest allowed.
        limit_bytes: usize,
    },
    /// The disk refused. The store has stopped.
    #[error("cannot {doing} `{}`", .path.display())]
    Write {
        /// A verb: `write`, `sync`.
        doing: &'static str,
        /// What.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: Arc<io::Error>,
    },
    /// The database refused or panicked. The store has stopped; the next open rebuilds the database from the journal.
    #[error("cannot write to the database in `{}`: {detail}", .path.display())]
    Database {
        /// The database.
        path: PathBuf,
        /// What it said.
        detail: String,
    },
    /// The store stopped at an earlier failure, or its process is shutting down.
    #[error("cannot write state: the store stopped at an earlier failure")]
    Stopped,
}

impl StateError {
    /// The stable code.
    pub fn code(&self) -> &'static str {
        match self {
            StateError::Locked { .. } => codes::E0401.id,
            StateError::Open { .. } => codes::E0402.id,
            StateError::Missing { .. } => codes::E0403.id,
            StateError::Newer { .. } | StateError::Decode { .. } => codes::E0404.id,
            StateError::Epoch { .. } => codes::E0405.id,
            StateError::TooLarge { .. } | StateError::Encode { .. } => codes::E0406.id,
            StateError::Write { .. } => codes::E0407.id,
            StateError::Database { .. } => codes::E0408.id,
            StateError::Stopped => codes::E0409.id,
        }
    }

    /// What to do about it: imperative.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            StateError::Locked { .. } => {
                "stop that process, or give this one a directory of its own with `runtime.state.path`".to_owned()
            }
            StateError::Open { dir, source, .. } => return open_hint(source.kind(), dir),
            StateError::Missing { dir } => format!(
                "check `runtime.state.path`; a runtime that has run leaves a file `FORMAT` in `{}`",
                dir.display()
            ),
            StateError::Newer { .. } | StateError::Decode { .. } => {
                "run the version of highwater that wrote it, or a newer one".to_owned()
            }
            StateError::Epoch { .. } => "a second runtime is using this state directory; only one may run".to_owned(),
            StateError::TooLarge { .. } => {
                "split the pipeline: a checkpoint grows with the number of its streams".to_owned()
            }
            StateError::Encode { .. } => "report it: it is a fault of highwater".to_owned(),
            StateError::Write { source, .. } if is_full(source.kind()) => {
                "make room on that disk, then start again: nothing that was acknowledged is lost".to_owned()
            }
            StateError::Write { .. } => {
                "check the disk (`dmesg`), then start again: nothing that was acknowledged is lost".to_owned()
            }
            StateError::Database { .. } => {
                "start again: the database is rebuilt from the journal, and the start says what it found".to_owned()
            }
            StateError::Stopped => "look for the first error of the state directory in the log".to_owned(),
        };
        Some(hint)
    }

    /// Whether the process should end: the disk or the database failed under a write, so that what is durable is known
    /// only after the next open. Never write again, never sync again.
    pub fn is_fatal_io(&self) -> bool {
        matches!(
            self,
            StateError::Write { .. } | StateError::Database { .. } | StateError::Stopped
        )
    }
}

fn open_hint(kind: io::ErrorKind, dir: &std::path::Path) -> Option<String> {
    let dir = dir.display();
    match kind {
        io::ErrorKind::PermissionDenied => Some(format!(
            "let the user that runs highwater write to `{dir}`, or choose another directory with `runtime.state.path`"
        )),
        io::ErrorKind::ReadOnlyFilesystem => {
            Some("choose a directory on a writable disk with `runtime.state.path`".to_owned())
        }
        io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists => Some(format!(
            "a file is in the way of `{dir}`; choose another directory with `runtime.state.path`"
        )),
        kind if is_full(kind) => Some("make room on that disk, then start again".to_owned()),
        _ => None,
    }
}

fn is_full(kind: io::ErrorKind) -> bool {
    matches!(kind, io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
