//! Plugins on CloudQuery's JavaScript SDK, as real processes.
//!
//! Needs Node, and the SDK in the directory `javascript` beside the profile's in the target directory, where `./check` installs it
//! as the lock file here has it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::Missing;
use crate::foreign::{install_script, link, target_directory};

/// A plugin; its file says what its spec is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plugin {
    /// People with notes, and cities; one row a record.
    Source,
    /// Keeps rows by key in a file of JSON lines, durable at each `Close`.
    Destination,
}

impl Plugin {
    /// Puts the plugin into `folder`: an executable `javascript-source` or `javascript-destination`.
    pub fn install(self, folder: &Path) -> Result<PathBuf, Missing> {
        let node = node()?;
        link(folder, "node_modules", &packages())?;
        let (name, script) = match self {
            Plugin::Source => ("javascript-source", include_str!("source.js")),
            Plugin::Destination => ("javascript-destination", include_str!("destination.js")),
        };
        install_script(folder, name, "mjs", script, &node)
    }
}

fn packages() -> PathBuf {
    target_directory().join("javascript/node_modules")
}

/// The interpreter, or what is missing.
fn node() -> Result<PathBuf, Missing> {
    static FOUND: OnceLock<Result<PathBuf, Missing>> = OnceLock::new();
    let look = || {
        let answer = Command::new("node").args(["-p", "process.execPath"]).output();
        let path = answer.ok().filter(|answer| answer.status.success());
        let path = path.ok_or_else(|| Missing("there is no `node`".to_owned()))?;
        let sdk = packages().join("@cloudquery/plugin-sdk-javascript");
        if !sdk.is_dir() {
            return Err(Missing(format!("there is no `{}`; ./check installs it", sdk.display())));
        }
        Ok(PathBuf::from(String::from_utf8_lossy(&path.stdout).trim()))
    };
    FOUND.get_or_init(look).clone()
}
