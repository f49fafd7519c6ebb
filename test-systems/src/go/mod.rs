//! A plugin with the manners of CloudQuery's Go SDK, as a real process.
//!
//! Needs the executable that `./check` builds from the module here, in the directory `go` of the target directory.

use std::path::{Path, PathBuf};

use crate::Missing;
use crate::foreign::{link, target_directory};

/// A role of the plugin; `sample.go` says what its spec is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plugin {
    /// People with notes, cities and, with a cursor, events; up to 50 rows a record.
    Source,
    /// Keeps rows by key in a file of JSON lines, durable at the end of each `Write`.
    Destination,
}

impl Plugin {
    /// Puts the plugin into `folder`: an executable `go-source` or `go-destination`.
    pub fn install(self, folder: &Path) -> Result<PathBuf, Missing> {
        let built = target_directory().join("go/sample");
        if !built.is_file() {
            return Err(Missing(format!(
                "there is no `{}`; ./check builds it where there is Go",
                built.display()
            )));
        }
        let name = match self {
            Plugin::Source => "go-source",
            Plugin::Destination => "go-destination",
        };
        link(folder, name, &built)
    }
}
