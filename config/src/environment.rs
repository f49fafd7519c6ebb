//! What `${...}` may look at: the environment and files, behind a trait so that a test decides what is there.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::Path;

/// A credential, a certificate, a key: none is longer.
const FILE_BYTES_MAX: u64 = 64 << 10;

/// Where the values of `${NAME}`, `${file:...}` and `${secret:...}` come from.
pub trait Environment {
    /// The value of an environment variable; `None` if it is not set.
    fn variable(&self, name: &str) -> Option<String>;

    /// The text of a file.
    fn file(&self, path: &Path) -> io::Result<FileText>;

    /// The time for `${time:...}`.
    fn now(&self) -> jiff::Timestamp {
        jiff::Timestamp::now()
    }
}

/// A file that was read for its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileText {
    /// Its text.
    pub text: String,
    /// Whether every user of the machine can read it.
    pub is_world_readable: bool,
}

/// The process's own environment and file system.
#[derive(Clone, Default)]
pub struct ProcessEnvironment {
    /// From `--env-file`. What is set in the environment itself wins, so that one value can be replaced for one run.
    pub fallback: BTreeMap<String, String>,
}

impl Environment for ProcessEnvironment {
    fn variable(&self, name: &str) -> Option<String> {
        std::env::var(name).ok().or_else(|| self.fallback.get(name).cloned())
    }

    fn file(&self, path: &Path) -> io::Result<FileText> {
        let file = std::fs::File::open(path)?;
        let metadata = file.metadata()?;
        // Opening a directory succeeds; reading a pipe or a device may never end.
        if !metadata.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
        }
        let mut text = String::new();
        file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text)?;
        if text.len() as u64 > FILE_BYTES_MAX {
            return Err(io::Error::new(
                io::ErrorKind::FileTooLarge,
                format!("it has more than {FILE_BYTES_MAX} bytes"),
            ));
        }
        Ok(FileText {
            text,
            is_world_readable: is_world_readable(&metadata),
        })
    }
}

#[cfg(unix)]
fn is_world_readable(metadata: &std::fs::Metadata) -> bool {
    use std::os::unix::fs::PermissionsExt;
    metadata.permissions().mode() & 0o004 != 0
}

#[cfg(not(unix))]
fn is_world_readable(_metadata: &std::fs::Metadata) -> bool {
    false
}

/// An environment without files, made of pairs, so that a test depends on nothing around it.
impl Environment for BTreeMap<String, String> {
    fn variable(&self, name: &str) -> Option<String> {
        self.get(name).cloned()
    }

    fn file(&self, _path: &Path) -> io::Result<FileText> {
        Err(io::Error::from(io::ErrorKind::NotFound))
    }
}
