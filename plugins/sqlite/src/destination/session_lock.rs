//! The session lock: one process at a time drives a lane of a database, and a newcomer is told who.
//!
//! Constraints:
//! - the lock is `flock` on a file of its own beside the database: SQLite's own locks are released when any descriptor of
//!   the database is closed in this process, and `locking_mode=EXCLUSIVE` would shut readers out;
//! - it is a courtesy. What keeps a stale writer from committing is the generation in the ledger;
//! - the lock belongs to the file that the path names *now*: whoever takes over puts a new file, already locked, in its
//!   place, so the lock is always the newest owner's, although the older one may still hold the file that was there.
//!
//! The file is named `<database>.highwater.<pipeline>.<destination>.lock` (with `.<lane>` before `.lock` where the lane is
//! not 0; characters other than letters, digits, `-` and `_` as `%XX`) and holds the owner as JSON: `id`, `host`, `pid`.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use api::{Lane, Owner};

use super::error::{Error, Result};

/// How long a new writer of this process waits for an earlier one of this process to end. That one is interrupted when it
/// is dropped, so only an fsync can make it take longer than a few milliseconds.
const OWN_WAIT_MAX: Duration = Duration::from_secs(5);

/// How long a newcomer waits before it refuses: an owner that is just ending copies its WAL into the database first.
const RIVAL_WAIT_MAX: Duration = Duration::from_secs(1);

/// How often it looks.
const WAIT_STEP: Duration = Duration::from_millis(5);

/// A held lock. Dropping it lets go and removes the file, if it is still the one that the path names.
#[derive(Debug)]
pub(crate) struct SessionLock {
    file: File,
    path: PathBuf,
}

/// Where the lock of `lane` on `database` lies.
pub(crate) fn path(database: &Path, lane: &Lane) -> PathBuf {
    path_of(database, lane.pipeline.as_str(), lane.destination.as_str(), lane.lane)
}

pub(crate) fn path_of(database: &Path, pipeline: &str, destination: &str, lane: u16) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push(format!(".highwater.{}.{}", escaped(pipeline), escaped(destination)));
    if lane != 0 {
        name.push(format!(".{lane}"));
    }
    name.push(".lock");
    PathBuf::from(name)
}

fn escaped(name: &str) -> String {
    let mut out = String::new();
    for byte in name.bytes() {
        match byte {
            b'-' | b'_' | b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' => out.push(byte.into()),
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    out
}

/// Who holds the lock at `path`; `None` if nobody does. Changes nothing.
pub(crate) fn holder(path: &Path) -> Option<String> {
    let mut file = File::open(path).ok()?;
    match file.try_lock_shared() {
        Err(TryLockError::WouldBlock) => Some(describe(read_owner(&mut file).as_ref())),
        _ => None,
    }
}

fn describe(owner: Option<&Owner>) -> String {
    owner.map_or_else(|| "another process".to_owned(), Owner::to_string)
}

impl SessionLock {
    /// Takes the lock of `lane` on `database`.
    ///
    /// | held by | `take_over` | outcome |
    /// |---|---|---|
    /// | nobody | | taken |
    /// | an earlier writer of this process | | waited for; after 5 s replaced |
    /// | somebody else | no | waited for; after 1 s [`Error::Held`] |
    /// | somebody else | yes | replaced |
    pub(crate) fn take(database: &Path, lane: &Lane) -> Result<Self> {
        let path = path(database, lane);
        let failed = |source| Error::Lock {
            path: path.clone(),
            source,
        };
        let started = Instant::now();
        loop {
            let mut file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .open(&path)
                .map_err(failed)?;
            match file.try_lock() {
                Ok(()) if is_at(&file, &path) => {
                    write_owner(&mut file, &lane.owner).map_err(failed)?;
                    return Ok(SessionLock { file, path });
                }
                // The file was replaced or removed between the two calls.
                Ok(()) => continue,
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(source)) => return Err(failed(source)),
            }
            let owner = read_owner(&mut file);
            let is_own = owner.as_ref().is_some_and(|owner| owner.id == lane.owner.id);
            let wait_max = match (is_own, lane.take_over) {
                (true, _) => OWN_WAIT_MAX,
                (false, true) => Duration::ZERO,
                (false, false) => RIVAL_WAIT_MAX,
            };
            if started.elapsed() < wait_max {
                thread::sleep(WAIT_STEP);
            } else if is_own || lane.take_over {
                return Self::replace(path.clone(), &lane.owner).map_err(failed);
            } else {
                return Err(Error::Held {
                    path: database.to_owned(),
                    pipeline: lane.pipeline.clone(),
                    destination: lane.destination.clone(),
                    owner: describe(owner.as_ref()),
                });
            }
        }
    }

    /// Puts a new file, already locked, in place of the one that somebody holds.
    fn replace(path: PathBuf, owner: &Owner) -> std::io::Result<Self> {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{}", escaped(&owner.id)));
        let new_path = PathBuf::from(name);
        let mut file = File::create(&new_path)?;
        file.try_lock()?;
        write_owner(&mut file, owner)?;
        std::fs::rename(&new_path, &path)?;
        Ok(SessionLock { file, path })
    }
}

impl Drop for SessionLock {
    fn drop(&mut self) {
        if is_at(&self.file, &self.path) {
            // Left behind it is harmless: the next owner locks it.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Whether `path` names the open file.
fn is_at(file: &File, path: &Path) -> bool {
    match (file.metadata(), std::fs::metadata(path)) {
        (Ok(open), Ok(found)) => (open.dev(), open.ino()) == (found.dev(), found.ino()),
        _ => false,
    }
}

fn read_owner(file: &mut File) -> Option<Owner> {
    let mut text = String::new();
    file.take(4096).read_to_string(&mut text).ok()?;
    serde_json::from_str(&text).ok()
}

fn write_owner(file: &mut File, owner: &Owner) -> std::io::Result<()> {
    file.set_len(0)?;
    serde_json::to_writer(&mut *file, owner)?;
    file.flush()
}
