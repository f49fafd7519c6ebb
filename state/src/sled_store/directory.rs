//! The state directory as files: who owns it, which format it has, and that its names survive a power loss.
//!
//! ```text
//! state/                 0700
//!   LOCK                 0600  locked while a process has the directory open; one line names it: `4711 db1`
//!   FORMAT               0600  `highwater-state 1 5f0a11c9`: format and crc32c of what stands before it. Written last when
//!                              the directory is made, so with it, something must be there
//!   journal/             0700  see `journal`
//!   sled/N/              0700  the database; the largest N counts. See `database`
//!   state.corrupt-N/     0700  databases that would not open
//! ```

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{FlockOperation, flock};

use super::record::FORMAT;
use crate::StateError;

/// The exclusive right to a state directory; given back when dropped, or when the process ends in whatever way.
#[derive(Debug)]
pub(super) struct Lock {
    file: File,
}

impl Drop for Lock {
    /// Closing the file is not enough while a process that was just forked still has a copy of it.
    fn drop(&mut self) {
        let _ = flock(&self.file, FlockOperation::Unlock);
    }
}

impl Lock {
    /// Takes the lock, or names who has it.
    pub(super) fn take(dir: &Path) -> Result<Lock, StateError> {
        let path = dir.join("LOCK");
        let opened = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path);
        let mut file = opened.map_err(|error| cannot(dir, "open", &path, error))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                return Err(StateError::Locked {
                    dir: dir.to_owned(),
                    owner: read_owner(&mut file),
                });
            }
            Err(errno) => return Err(cannot(dir, "lock", &path, errno.into())),
        }
        let uname = rustix::system::uname();
        let line = format!("{} {}\n", std::process::id(), uname.nodename().to_string_lossy());
        file.set_len(0)
            .and_then(|()| file.write_all(line.as_bytes()))
            .map_err(|error| cannot(dir, "write", &path, error))?;
        Ok(Lock { file })
    }
}

/// The owner writes its line after it has the lock, so the line can be missing for an instant.
fn read_owner(file: &mut File) -> String {
    let mut line = String::new();
    let is_read = file
        .rewind()
        .and_then(|()| file.take(1024).read_to_string(&mut line))
        .is_ok();
    match line.trim().split_once(' ') {
        Some((pid, host)) if is_read => format!("process {pid} on host `{host}`"),
        _ => "another process".to_owned(),
    }
}

/// Makes the directory with its parents, each name synced in the directory that holds it.
pub(super) fn ensure(dir: &Path) -> Result<(), StateError> {
    let mut missing: Vec<&Path> = dir
        .ancestors()
        .take_while(|path| !path.as_os_str().is_empty() && !path.exists())
        .collect();
    while let Some(path) = missing.pop() {
        match DirBuilder::new().mode(0o700).create(path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => {}
            Err(error) => return Err(cannot(dir, "create", path, error)),
        }
        let parent = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        sync(parent).map_err(|error| cannot(dir, "sync", parent, error))?;
    }
    if dir.is_dir() {
        return Ok(());
    }
    Err(cannot(dir, "create", dir, io::ErrorKind::NotADirectory.into()))
}

/// Syncs a directory: the names in it, not what they name.
pub(super) fn sync(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// An empty file that its owner alone may read.
pub(super) fn create_file(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
}

pub(super) fn cannot(dir: &Path, doing: &'static str, path: &Path, source: io::Error) -> StateError {
    StateError::Open {
        dir: dir.to_owned(),
        doing,
        path: path.to_owned(),
        source: Arc::new(source),
    }
}

/// Whether the directory was ever complete. A newer format is refused; a damaged file counts as none and is written anew,
/// for the records carry their format themselves.
pub(super) fn read_format(dir: &Path) -> Result<bool, StateError> {
    let path = dir.join("FORMAT");
    let line = match fs::read(&path) {
        Ok(line) => line,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(cannot(dir, "read", &path, error)),
    };
    let Some(found) = parse_format(&line) else {
        return Ok(false);
    };
    if found > FORMAT {
        return Err(StateError::Newer {
            path,
            found,
            known: FORMAT,
        });
    }
    Ok(true)
}

fn parse_format(line: &[u8]) -> Option<u16> {
    let (text, sum) = std::str::from_utf8(line).ok()?.trim_end().rsplit_once(' ')?;
    let is_sound = u32::from_str_radix(sum, 16).ok()? == crc32c::crc32c(text.as_bytes());
    let format = text.strip_prefix("highwater-state ")?.parse().ok()?;
    is_sound.then_some(format)
}

/// Says that the directory is complete.
pub(super) fn write_format(dir: &Path) -> Result<(), StateError> {
    let text = format!("highwater-state {FORMAT}");
    let line = format!("{text} {:08x}\n", crc32c::crc32c(text.as_bytes()));
    let (unnamed, path) = (dir.join("FORMAT.new"), dir.join("FORMAT"));
    create_file(&unnamed)
        .and_then(|mut file| file.write_all(line.as_bytes()).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&unnamed, &path))
        .and_then(|()| sync(dir))
        .map_err(|error| cannot(dir, "write", &path, error))
}

/// A name `state.corrupt-N` that is free.
pub(super) fn corrupt_path(dir: &Path) -> PathBuf {
    let mut number = 1;
    loop {
        let path = dir.join(format!("state.corrupt-{number}"));
        if !path.exists() {
            return path;
        }
        number += 1;
    }
}
