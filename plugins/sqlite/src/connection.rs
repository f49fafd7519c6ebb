//! Opening a SQLite file so that the user's database is never harmed, and saying what is wrong where it cannot be opened.
//!
//! Constraints, each of them measured:
//! - **The file is never opened with ordinary file calls while a connection to it may exist in this process**: closing
//!   such a file drops the locks of every connection. So everything is found out by `stat`, and the first bytes are
//!   shown only where SQLite has already refused the file.
//! - `immutable=1` is never used: on a live database it misses the WAL.
//! - A source's connection never checkpoints (`wal_autocheckpoint=0`): that stays the user's business.
//! - Network file systems are refused: the WAL's shared memory works on one host only.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags};

/// How long a statement waits for a lock before it gives up and is tried again later.
///
/// Shorter: markers and prunes fail against a busy writer (they were seen to wait 647 ms). Longer: a writer that hangs
/// inside a transaction is noticed later.
pub(crate) const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Why a SQLite file cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// There is no such file.
    #[error("cannot open `{path}`: there is no such file")]
    Missing {
        /// The path.
        path: PathBuf,
    },
    /// It is a directory or something else that is no file.
    #[error("cannot open `{path}`: it is a {kind}, not a file")]
    NotAFile {
        /// The path.
        path: PathBuf,
        /// What it is.
        kind: &'static str,
    },
    /// A file of zero bytes.
    #[error("cannot read `{path}`: the file is empty")]
    Empty {
        /// The path.
        path: PathBuf,
    },
    /// The bytes are not SQLite's.
    #[error("cannot read `{path}`: it is encrypted or not a SQLite database; it begins with `{first_bytes}`")]
    NotADatabase {
        /// The path.
        path: PathBuf,
        /// The first 16 bytes, in hexadecimal.
        first_bytes: String,
    },
    /// SQLite found its structure broken.
    #[error("cannot read `{path}`: the database is damaged")]
    Damaged {
        /// The path.
        path: PathBuf,
        /// What SQLite said.
        #[source]
        source: rusqlite::Error,
    },
    /// A permission is missing.
    #[error("cannot open `{path}`: {what}")]
    Permission {
        /// The path.
        path: PathBuf,
        /// Which permission, of which file.
        what: String,
        /// What SQLite said.
        #[source]
        source: Option<rusqlite::Error>,
    },
    /// It lies on another host.
    #[error("cannot open `{path}`: it lies on a network file system ({kind}), where SQLite's locks do not hold")]
    Network {
        /// The path.
        path: PathBuf,
        /// The file system.
        kind: &'static str,
    },
    /// The operating system refused to say.
    #[error("cannot look at `{path}`")]
    Stat {
        /// The path.
        path: PathBuf,
        /// What it said.
        #[source]
        source: std::io::Error,
    },
    /// Anything else that SQLite said.
    #[error("cannot open `{path}`")]
    Sqlite {
        /// The path.
        path: PathBuf,
        /// What SQLite said.
        #[source]
        source: rusqlite::Error,
    },
}

impl OpenError {
    /// The stable code.
    pub fn code(&self) -> &'static str {
        match self {
            OpenError::Missing { .. } | OpenError::NotAFile { .. } => "E0210",
            OpenError::NotADatabase { .. } | OpenError::Empty { .. } => "E0211",
            OpenError::Permission { .. } => "E0213",
            OpenError::Damaged { .. } => "E0214",
            OpenError::Network { .. } => "E0215",
            OpenError::Stat { .. } | OpenError::Sqlite { .. } => "E0212",
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            OpenError::Missing { .. } => {
                "check `path`; a relative path starts at the directory of the configuration file".into()
            }
            OpenError::NotAFile { .. } => "`path` names the database file itself".into(),
            OpenError::Empty { .. } => "create the tables first, or check `path`".into(),
            OpenError::NotADatabase { .. } => "encrypted databases cannot be read; check `path`".into(),
            OpenError::Damaged { path, .. } => {
                format!(
                    "run `sqlite3 {} 'PRAGMA quick_check'` and restore a backup",
                    path.display()
                )
            }
            OpenError::Permission { .. } => {
                "run as the user that owns the database, or change the mode; to read only, use `capture: poll`".into()
            }
            OpenError::Network { .. } => "run highwater on the host that has the disk".into(),
            OpenError::Stat { .. } => return None,
            OpenError::Sqlite { source, .. } => return hint_for(source),
        })
    }

    pub(crate) fn into_cause(self) -> Option<Box<dyn std::error::Error + Send + Sync>> {
        match self {
            OpenError::Damaged { source, .. } | OpenError::Sqlite { source, .. } => Some(source.into()),
            OpenError::Permission { source, .. } => source.map(Into::into),
            OpenError::Stat { source, .. } => Some(source.into()),
            _ => None,
        }
    }

    /// Whether trying again can help.
    pub fn is_passing(&self) -> bool {
        matches!(self, OpenError::Sqlite { source, .. } if crate::error::is_passing(source))
    }
}

/// What to do about an error of SQLite's own, where there is something.
pub(crate) fn hint_for(error: &rusqlite::Error) -> Option<String> {
    let hint = match error.sqlite_error_code()? {
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => {
            "another process holds a transaction on the database for longer than 5 s; it is tried again"
        }
        ErrorCode::DiskFull => "free space on the disk of the database",
        ErrorCode::ReadOnly => "the database cannot be written by this user; use `capture: poll`",
        ErrorCode::DatabaseCorrupt => "run `PRAGMA quick_check` on the database and restore a backup",
        _ => return None,
    };
    Some(hint.to_owned())
}

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Reads only; the file and its directory may be unwritable.
    Read,
    /// Reads and writes an existing database.
    Write,
    /// Reads and writes; creates the file where there is none.
    Create,
}

/// Which file a path led to. Another file at the same path has another identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileIdentity {
    device: u64,
    inode: u64,
}

impl FileIdentity {
    /// Of the file that `path` names now; `None` if there is none.
    pub fn of(path: &Path) -> Option<Self> {
        let found = std::fs::metadata(path).ok()?;
        Some(FileIdentity {
            device: found.dev(),
            inode: found.ino(),
        })
    }
}

/// Opens a SQLite database that is known to be one: the schema has been read when this returns.
///
/// Errors: every case in which SQLite would only say "unable to open database file" is told apart by `stat`.
pub fn open(path: &Path, access: Access) -> Result<Connection, OpenError> {
    look_before(path, access)?;
    let flags = match access {
        Access::Read => OpenFlags::SQLITE_OPEN_READ_ONLY,
        Access::Write => OpenFlags::SQLITE_OPEN_READ_WRITE,
        Access::Create => OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE,
    } | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(path, flags).map_err(|source| explain(path, access, source))?;
    let ready = || {
        conn.busy_timeout(BUSY_TIMEOUT)?;
        conn.set_prepared_statement_cache_capacity(256);
        conn.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))
    };
    ready().map_err(|source| explain(path, access, source))?;
    check_writable(&conn, path, access)?;
    Ok(conn)
}

/// A file that may be read but not written is opened for reading, whatever was asked for, and only the first write would
/// fail.
fn check_writable(conn: &Connection, path: &Path, access: Access) -> Result<(), OpenError> {
    let is_readonly = conn
        .is_readonly(rusqlite::MAIN_DB)
        .map_err(|source| explain(path, access, source))?;
    if access == Access::Read || !is_readonly {
        return Ok(());
    }
    Err(OpenError::Permission {
        path: path.to_owned(),
        what: denied(path, access).unwrap_or_else(|| "it lies where nothing can be written".to_owned()),
        source: None,
    })
}

/// Settings of every connection to a source: no checkpoints, no foreign-key actions, whatever the build defaults to.
pub(crate) fn prepare_source(conn: &Connection) -> rusqlite::Result<()> {
    conn.pragma_update(None, "wal_autocheckpoint", 0)?;
    conn.pragma_update(None, "foreign_keys", false)?;
    conn.pragma_update(None, "cell_size_check", true)
}

/// The file behind a connection, for messages.
pub(crate) fn path_of(conn: &Connection) -> PathBuf {
    conn.path().map(PathBuf::from).unwrap_or_default()
}

fn look_before(path: &Path, access: Access) -> Result<(), OpenError> {
    let owned = || path.to_owned();
    let found = match std::fs::metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return match (access, directory(path).is_dir()) {
                (Access::Create, true) => check_local(&directory(path)),
                _ => Err(OpenError::Missing { path: owned() }),
            };
        }
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            let what = "a directory on the way to it cannot be searched".to_owned();
            return Err(OpenError::Permission {
                path: owned(),
                what,
                source: None,
            });
        }
        Err(source) => return Err(OpenError::Stat { path: owned(), source }),
    };
    if found.is_dir() {
        return Err(OpenError::NotAFile {
            path: owned(),
            kind: "directory",
        });
    }
    if !found.is_file() {
        return Err(OpenError::NotAFile {
            path: owned(),
            kind: "device, socket or pipe",
        });
    }
    if found.len() == 0 && access != Access::Create {
        // A database in WAL mode has its first page in the file from the start, so an empty file has no tables.
        return Err(OpenError::Empty { path: owned() });
    }
    check_local(path)
}

fn directory(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// Magic numbers of `statfs(2)` for file systems whose locks or shared memory end at the host.
const NETWORK_FILE_SYSTEMS: [(u32, &str); 7] = [
    (0x0000_6969, "nfs"),
    (0x0000_517B, "smb"),
    (0xFE53_4D42, "smb2"),
    (0xFF53_4D42, "cifs"),
    (0x5346_414F, "afs"),
    (0x00C3_6400, "ceph"),
    (0x0BD0_0BD0, "lustre"),
];

fn check_local(path: &Path) -> Result<(), OpenError> {
    let Ok(found) = rustix::fs::statfs(path) else {
        return Ok(());
    };
    match network_kind(found.f_type as u32) {
        Some(kind) => Err(OpenError::Network {
            path: path.to_owned(),
            kind,
        }),
        None => Ok(()),
    }
}

fn network_kind(magic: u32) -> Option<&'static str> {
    NETWORK_FILE_SYSTEMS
        .iter()
        .find(|(known, _)| *known == magic)
        .map(|(_, kind)| *kind)
}

/// `SQLITE_READONLY_DIRECTORY`, `SQLITE_READONLY_ROLLBACK`, `SQLITE_IOERR_READ`.
const READONLY_DIRECTORY: i32 = 1544;
const READONLY_ROLLBACK: i32 = 776;

/// Turns what SQLite said about `path` into what is the matter with it.
fn explain(path: &Path, access: Access, error: rusqlite::Error) -> OpenError {
    let owned = path.to_owned();
    let extended = match &error {
        rusqlite::Error::SqliteFailure(failure, _) => failure.extended_code,
        _ => 0,
    };
    let permission = |what: String, source| OpenError::Permission {
        path: owned.clone(),
        what,
        source: Some(source),
    };
    match (error.sqlite_error_code(), extended) {
        (Some(ErrorCode::NotADatabase), _) => {
            // Nothing in this process can be connected to a file that is no database, so no lock is at stake.
            let first_bytes = first_bytes(path);
            OpenError::NotADatabase {
                path: owned,
                first_bytes,
            }
        }
        (Some(ErrorCode::DatabaseCorrupt), _) => OpenError::Damaged {
            path: owned,
            source: error,
        },
        (_, READONLY_DIRECTORY) => permission(
            format!(
                "the directory `{}` cannot be written, which a database in WAL mode needs",
                directory(path).display()
            ),
            error,
        ),
        (_, READONLY_ROLLBACK) => permission(
            "a transaction was cut off and can only be undone by someone who may write it".to_owned(),
            error,
        ),
        (Some(ErrorCode::CannotOpen | ErrorCode::PermissionDenied), _) => match denied(path, access) {
            Some(what) => permission(what, error),
            None => OpenError::Sqlite {
                path: owned,
                source: error,
            },
        },
        _ => OpenError::Sqlite {
            path: owned,
            source: error,
        },
    }
}

/// Which of the database's files is most likely the one that could not be opened, and its mode.
fn denied(path: &Path, access: Access) -> Option<String> {
    let side = |suffix: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        PathBuf::from(name)
    };
    let (shm, wal) = (side("-shm"), side("-wal"));
    if wal.exists() && !shm.exists() {
        return Some(format!(
            "`{}` is missing although there is a WAL, and it cannot be created",
            shm.display()
        ));
    }
    [path.to_owned(), wal, shm].into_iter().find_map(|file| {
        let found = std::fs::metadata(&file).ok()?;
        let may = |what| rustix::fs::access(&file, what).is_ok();
        let mode = found.permissions().mode() & 0o7777;
        if !may(rustix::fs::Access::READ_OK) {
            return Some(format!("`{}` has mode {mode:04o}", file.display()));
        }
        if access != Access::Read && !may(rustix::fs::Access::WRITE_OK) {
            return Some(format!(
                "`{}` has mode {mode:04o}, and this user may not write it",
                file.display()
            ));
        }
        None
    })
}

fn first_bytes(path: &Path) -> String {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    if let Ok(file) = std::fs::File::open(path) {
        // A short or failing read shows fewer bytes; there is nothing better to say.
        let _ = file.take(16).read_to_end(&mut bytes);
    }
    bytes
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect::<Vec<_>>()
        .join(" ")
}
