//! The session lock: the file `lock` in a ledger, held with `flock` while a destination is open, with its owner's name inside.
//!
//! It keeps two living processes apart early and with a good message. What makes the difference for correctness is the
//! chain of manifests: a writer that lost the lock without noticing cannot commit.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use api::{Lane, Owner};
use rustix::fs::{FlockOperation, flock};

use crate::error::{Error, Result};
use crate::layout::LOCK;

/// Held until it is dropped, or the process dies.
#[derive(Debug)]
pub(crate) struct Session {
    _file: File,
}

impl Session {
    /// Takes the lock, or refuses with the holder's name. `take_over` replaces the lock of a living holder, as does an
    /// owner whose earlier attempt is not gone yet.
    pub(crate) fn take(ledger: &Path, lane: &Lane) -> Result<Session> {
        let path = ledger.join(LOCK);
        let failed = |error| Error::io("lock", &path)(error);
        loop {
            let mut options = OpenOptions::new();
            let file = options.read(true).write(true).create(true).truncate(false).open(&path);
            let mut file = file.map_err(failed)?;
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {
                    // Whoever replaced the lock between open and flock holds another file of that name.
                    if is_same(&file, &path).map_err(failed)? {
                        write_owner(&mut file, &lane.owner).map_err(failed)?;
                        return Ok(Session { _file: file });
                    }
                }
                Err(rustix::io::Errno::WOULDBLOCK) => {
                    let holder = read_owner(&mut file).map_err(failed)?;
                    refuse(ledger, lane, holder.as_ref())?;
                    return replace(ledger, lane);
                }
                Err(errno) => return Err(failed(errno.into())),
            }
        }
    }
}

/// Errors unless `lane` may replace the lock of `holder`.
fn refuse(ledger: &Path, lane: &Lane, holder: Option<&Owner>) -> Result<()> {
    if lane.take_over || holder.is_some_and(|holder| holder.id == lane.owner.id) {
        return Ok(());
    }
    Err(Error::Held {
        ledger: ledger.to_owned(),
        holder: holder.map_or_else(|| "another process".to_owned(), Owner::to_string),
    })
}

/// A new file, locked before it gets the name.
fn replace(ledger: &Path, lane: &Lane) -> Result<Session> {
    let path = ledger.join(format!("{LOCK}.{}", uuid::Uuid::new_v4().simple()));
    let locked = || -> io::Result<File> {
        let mut file = OpenOptions::new().read(true).write(true).create_new(true).open(&path)?;
        flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        write_owner(&mut file, &lane.owner)?;
        fs::rename(&path, ledger.join(LOCK))?;
        Ok(file)
    };
    let file = locked().map_err(Error::io("lock", &path))?;
    Ok(Session { _file: file })
}

fn is_same(file: &File, path: &Path) -> io::Result<bool> {
    let held = file.metadata()?;
    match fs::metadata(path) {
        Ok(named) => Ok((held.dev(), held.ino()) == (named.dev(), named.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

fn write_owner(file: &mut File, owner: &Owner) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    file.write_all(&serde_json::to_vec(owner)?)
}

/// `None` while the holder is still writing its name.
fn read_owner(file: &mut File) -> io::Result<Option<Owner>> {
    let mut text = Vec::new();
    file.rewind()?;
    file.take(64 << 10).read_to_end(&mut text)?;
    Ok(serde_json::from_slice(&text).ok())
}
