//! The database: sled 0.34.7, kept on a short lead.
//!
//! What is known of it (measured), and what is done about it:
//!
//! | sled | here |
//! |---|---|
//! | `flush` is `sync_file_range`, not a sync: a power cut takes acknowledged writes back | `fdatasync` of `db` after each flush; directories synced when they are made |
//! | a kill while it starts leaves `snap.*.generating`, which every later open takes for a snapshot and refuses | such files are removed before it opens |
//! | damaged files make it panic, spin, or open with older values and no word | it opens on a thread of its own that is given up after [`OPEN_LIMIT`], panics are caught, and what it says is compared with the journal |
//! | files that it has superseded stay (values above 128 KiB, each in a file: 1.5 GB after 3,000 writes) | above [`SIZE_BYTES_MAX`] a new database is made of the values, and the old one removed |
//! | smaller segments make smaller files, and move values above a quarter of a segment into files of their own | the default of 512 KiB |
//! | its background thread flushes every 500 ms | off: each write is flushed |
//!
//! The database in `sled/N` never moves while it is open, as sled writes to paths: a new one is made in `sled/N+1.new`,
//! closed, and renamed. The largest N counts, and the others are removed. A file `SUSPECT` beside them says that it
//! failed under a write.
//!
//! Measured with eight keys of 600 bytes: 100,000 synced writes leave a database of 2.5 MiB that sled opens in 16 ms the
//! first time and in 5 ms afterwards, with 2 MiB resident. (Without the Cargo feature `miri_optimizations` it would be
//! 23 MiB: see `Cargo.toml`.)

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use super::directory;
use crate::StateError;

/// A database of the size it may have opens within 100 ms; what takes this long will never open.
const OPEN_LIMIT: Duration = Duration::from_secs(30);

/// sled gives its lock back some time after it was dropped.
const LOCK_LIMIT: Duration = Duration::from_secs(10);

/// All values together are some KiB, so that 1 MiB, spread over sled's 256 shards, holds them.
const CACHE_BYTES: u64 = 1 << 20;

/// Above this, and above four times the values, the database is made anew: a twentieth of a second once in many thousand
/// writes. Measured: values below 128 KiB never get there.
const SIZE_BYTES_MAX: u64 = 32 << 20;

/// Under this key stands which seq the last open found: a write, so that a database that opens and cannot be written to is
/// found out at once.
const PROBE: &[u8] = &[0];

/// An open database.
pub(super) struct Database {
    path: PathBuf,
    db: sled::Db,
    /// For our own sync: sled's is none.
    file: File,
}

/// Why a database does not open.
#[derive(Debug)]
pub(super) enum Refusal {
    /// There is none.
    Absent,
    /// It is damaged; what sled said of it.
    Unusable(String),
    /// The system is at fault, and the database may be whole.
    System(PathBuf, io::Error),
}

/// A change: a value, or `None` to remove.
pub(super) type Change = (Vec<u8>, Option<Vec<u8>>);

impl Database {
    /// Opens the newest database of the directory, and reads all of it.
    pub(super) fn open(state_dir: &Path) -> Result<(Database, Vec<Change>), Refusal> {
        let number = newest(state_dir)?.ok_or(Refusal::Absent)?;
        if suspect(state_dir).exists() {
            return Err(Refusal::Unusable("it failed under a write".to_owned()));
        }
        let all = state_dir.join("sled");
        remove_others(&all, number);
        open_within_limit(all.join(number.to_string()))
    }

    /// Makes a database of `values`, which then is the newest; the others are removed.
    pub(super) fn create(state_dir: &Path, values: Vec<Change>) -> Result<Database, Refusal> {
        let all = state_dir.join("sled");
        let system = |error| Refusal::System(all.clone(), error);
        make_private_dir(&all).map_err(system)?;
        directory::sync(state_dir).map_err(system)?;
        let number = newest(state_dir)?.unwrap_or(0) + 1;
        let unnamed = all.join(format!("{number}.new"));
        remove_dir(&unnamed).map_err(system)?;
        make_private_dir(&unnamed).map_err(system)?;
        let (mut database, _) = open_within_limit(unnamed.clone())?;
        database.write(&values).map_err(|error| database.refusal(error))?;
        drop(database);

        let path = all.join(number.to_string());
        sync_all_below(&unnamed)
            .and_then(|()| fs::rename(&unnamed, &path))
            .and_then(|()| directory::sync(&all))
            .map_err(system)?;
        let (database, _) = open_within_limit(path)?;
        remove_others(&all, number);
        let _ = fs::remove_file(suspect(state_dir));
        Ok(database)
    }

    /// Applies changes in one step; durable when it returns.
    pub(super) fn write(&mut self, changes: &[Change]) -> Result<(), StateError> {
        let written = caught(|| {
            let mut batch = sled::Batch::default();
            for (key, value) in changes {
                match value {
                    Some(value) => batch.insert(key.as_slice(), value.as_slice()),
                    None => batch.remove(key.as_slice()),
                }
            }
            self.db.apply_batch(batch)?;
            fail::fail_point!("state.before_flush");
            self.db.flush()?;
            fail::fail_point!("state.after_flush");
            Ok(())
        });
        written.map_err(|error| self.failed(error))?;
        self.sync().map_err(|source| StateError::Write {
            doing: "sync",
            path: self.path.join("db"),
            source: source.into(),
        })?;
        fail::fail_point!("state.after_fdatasync");
        Ok(())
    }

    /// Applies what an open found missing. There is always a write, which proves that it can be written to.
    pub(super) fn repair(&mut self, repairs: &[Change], seq: u64) -> Result<(), Refusal> {
        let probe = (PROBE.to_vec(), Some(seq.to_string().into_bytes()));
        let changes: Vec<Change> = repairs.iter().cloned().chain([probe]).collect();
        self.write(&changes).map_err(|error| self.refusal(error))
    }

    /// Whether it has grown beyond what `value_bytes` of values justify.
    pub(super) fn is_bloated(&self, value_bytes: u64) -> bool {
        let size_bytes = caught(|| self.db.size_on_disk()).unwrap_or(0);
        size_bytes > SIZE_BYTES_MAX.max(4 * value_bytes)
    }

    /// The next open will not trust it.
    pub(super) fn suspect(&self) {
        if let Some(all) = self.path.parent() {
            let _ = directory::create_file(&all.join("SUSPECT"));
        }
    }

    /// sled keeps values above 128 KiB in files of their own, and syncs neither them nor their directory.
    fn sync(&self) -> io::Result<()> {
        let blobs = self.path.join("blobs");
        if fs::read_dir(&blobs)?.next().is_some() {
            sync_all_below(&blobs)?;
        }
        self.file.sync_data()
    }

    fn failed(&self, error: Failure) -> StateError {
        match error {
            Failure::Sled(sled::Error::Io(source)) => StateError::Write {
                doing: "write",
                path: self.path.join("db"),
                source: source.into(),
            },
            Failure::Sled(error) => StateError::Database {
                path: self.path.clone(),
                detail: error.to_string(),
            },
            Failure::Panic(detail) => StateError::Database {
                path: self.path.clone(),
                detail,
            },
        }
    }

    fn refusal(&self, error: StateError) -> Refusal {
        match error {
            StateError::Write { source, path, .. } if is_of_the_system(&source) => {
                Refusal::System(path, io::Error::new(source.kind(), source))
            }
            StateError::Write { source, .. } => Refusal::Unusable(source.to_string()),
            StateError::Database { detail, .. } => Refusal::Unusable(detail),
            other => Refusal::Unusable(other.to_string()),
        }
    }
}

/// Moves the newest database to `state.corrupt-N`, whose path it returns; the others are removed.
pub(super) fn move_aside(state_dir: &Path) -> Result<Option<PathBuf>, Refusal> {
    let Some(number) = newest(state_dir)? else {
        return Ok(None);
    };
    let all = state_dir.join("sled");
    let path = directory::corrupt_path(state_dir);
    fs::rename(all.join(number.to_string()), &path)
        .and_then(|()| directory::sync(&all))
        .and_then(|()| directory::sync(state_dir))
        .map_err(|error| Refusal::System(all.clone(), error))?;
    remove_others(&all, number);
    Ok(Some(path))
}

/// Copies the newest database to `to/sled/`, so that it can be opened without touching it.
pub(super) fn copy(state_dir: &Path, to: &Path) -> io::Result<()> {
    let number = match newest(state_dir) {
        Ok(Some(number)) => number,
        Ok(None) | Err(Refusal::Absent | Refusal::Unusable(_)) => return Ok(()),
        Err(Refusal::System(_, error)) => return Err(error),
    };
    let (from, to) = (state_dir.join("sled"), to.join("sled"));
    make_private_dir(&to)?;
    if from.join("SUSPECT").exists() {
        drop(directory::create_file(&to.join("SUSPECT"))?);
    }
    copy_dir(&from.join(number.to_string()), &to.join(number.to_string()))
}

fn copy_dir(from: &Path, to: &Path) -> io::Result<()> {
    make_private_dir(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_dir(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

fn suspect(state_dir: &Path) -> PathBuf {
    state_dir.join("sled").join("SUSPECT")
}

/// The largest number of a directory below `sled/`.
fn newest(state_dir: &Path) -> Result<Option<u64>, Refusal> {
    let all = state_dir.join("sled");
    let entries = match fs::read_dir(&all) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Refusal::System(all, error)),
    };
    let names = entries.flatten().map(|entry| entry.file_name());
    Ok(names.filter_map(|name| name.to_str()?.parse().ok()).max())
}

fn remove_others(all: &Path, number: u64) {
    let Ok(entries) = fs::read_dir(all) else { return };
    for entry in entries.flatten() {
        if entry.path().is_dir() && entry.file_name() != *number.to_string() {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

fn remove_dir(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn make_private_dir(path: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

/// Files, directories, and the names in them. What goes away meanwhile (sled removes the file of a large value when a newer one has
/// taken its place, whenever it likes) is needed by nobody.
fn sync_all_below(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let synced = if path.is_dir() {
            sync_all_below(&path)
        } else {
            File::open(&path).and_then(|file| file.sync_all())
        };
        match synced {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            synced => synced?,
        }
    }
    directory::sync(dir)
}

/// sled makes its files as the umask says.
fn make_files_private(path: &Path) -> io::Result<()> {
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        let mode = if entry.file_type()?.is_dir() { 0o700 } else { 0o600 };
        fs::set_permissions(entry.path(), fs::Permissions::from_mode(mode))?;
    }
    Ok(())
}

/// Opens on a thread of its own. A thread that never comes back is left behind; what it still does, it does to a path that
/// is no longer used.
fn open_within_limit(path: PathBuf) -> Result<(Database, Vec<Change>), Refusal> {
    let (answer, answered) = sync_channel(1);
    let on_thread = path.clone();
    let spawned = std::thread::Builder::new()
        .name("state-open".to_owned())
        .spawn(move || answer.send(open_and_read(on_thread)));
    let thread = spawned.map_err(|error| Refusal::System(path.clone(), error))?;
    let answer = match answered.recv_timeout(OPEN_LIMIT) {
        Ok(answer) => answer,
        Err(RecvTimeoutError::Timeout) => {
            let seconds = OPEN_LIMIT.as_secs();
            return Err(Refusal::Unusable(format!("it did not open within {seconds} s")));
        }
        Err(RecvTimeoutError::Disconnected) => Err(Refusal::Unusable("it panicked".to_owned())),
    };
    let _ = thread.join();
    answer
}

fn open_and_read(path: PathBuf) -> Result<(Database, Vec<Change>), Refusal> {
    remove_unfinished_snapshots(&path).map_err(|error| Refusal::System(path.clone(), error))?;
    let refuse = |error: Failure| match error {
        Failure::Sled(sled::Error::Io(error)) if is_of_the_system(&error) => Refusal::System(path.clone(), error),
        Failure::Sled(error) => Refusal::Unusable(error.to_string()),
        Failure::Panic(detail) => Refusal::Unusable(detail),
    };
    let db = open_sled(&path).map_err(refuse)?;
    let values = caught(|| db.iter().collect::<Result<Vec<_>, _>>()).map_err(refuse)?;
    let file = make_files_private(&path)
        .and_then(|()| File::open(path.join("db")))
        .map_err(|error| Refusal::System(path.clone(), error))?;
    let values = values
        .into_iter()
        .filter(|(key, _)| key != PROBE)
        .map(|(key, value)| (key.to_vec(), Some(value.to_vec())))
        .collect();
    let database = Database { path, db, file };
    Ok((database, values))
}

fn open_sled(path: &Path) -> Result<sled::Db, Failure> {
    let config = sled::Config::new()
        .path(path)
        .mode(sled::Mode::LowSpace)
        .cache_capacity(CACHE_BYTES)
        .flush_every_ms(None);
    let deadline = Instant::now() + LOCK_LIMIT;
    loop {
        match caught(|| config.open()) {
            Err(Failure::Sled(sled::Error::Io(error)))
                if error.to_string().contains("could not acquire lock") && Instant::now() < deadline =>
            {
                std::thread::sleep(Duration::from_millis(5));
            }
            other => return other,
        }
    }
}

fn remove_unfinished_snapshots(path: &Path) -> io::Result<()> {
    let mut is_any = false;
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        let name = entry.file_name();
        if name.to_string_lossy().starts_with("snap.") && name.to_string_lossy().ends_with(".generating") {
            fs::remove_file(entry.path())?;
            is_any = true;
        }
    }
    if is_any { directory::sync(path) } else { Ok(()) }
}

/// Errors that say nothing about the database: moving it aside would not help, and would throw away what is whole.
fn is_of_the_system(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let of_the_system = [
        Errno::ACCESS,
        Errno::PERM,
        Errno::NOSPC,
        Errno::DQUOT,
        Errno::ROFS,
        Errno::IO,
        Errno::NOMEM,
        Errno::MFILE,
        Errno::NFILE,
    ];
    let errno = error.raw_os_error();
    of_the_system.iter().any(|known| errno == Some(known.raw_os_error()))
}

enum Failure {
    Sled(sled::Error),
    Panic(String),
}

/// sled panics on some damaged files.
fn caught<T>(work: impl FnOnce() -> sled::Result<T>) -> Result<T, Failure> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(error)) => Err(Failure::Sled(error)),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
            Err(Failure::Panic(format!("it panicked: {}", text.unwrap_or("no message"))))
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// A name that leads nowhere looks as a file does that is removed between the listing and its turn.
    #[test]
    fn files_that_go_away_while_files_are_synced_are_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("1"), "stays").unwrap();
        std::os::unix::fs::symlink(dir.path().join("gone"), dir.path().join("2")).unwrap();
        sync_all_below(dir.path()).unwrap();
    }
}
