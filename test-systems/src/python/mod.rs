//! Plugins that are not ours: small ones on CloudQuery's Python SDK, as real processes.
//!
//! Needs a Python with the package `cloudquery-plugin-sdk`: named by `HIGHWATER_TEST_PYTHON`, or in the virtual environment
//! that `./check` makes in the target directory.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::Missing;
use crate::foreign::{install_script, target_directory};

/// A plugin; its file says what its spec is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plugin {
    /// People with notes, and cities.
    Source,
    /// Keeps rows by key in a file of JSON lines, durable at each `Close`.
    Destination,
    /// Changes, drops and doubles rows.
    Transformer,
}

impl Plugin {
    fn name(self) -> &'static str {
        match self {
            Plugin::Source => "python-source",
            Plugin::Destination => "python-destination",
            Plugin::Transformer => "python-transformer",
        }
    }

    fn script(self) -> &'static str {
        match self {
            Plugin::Source => include_str!("source.py"),
            Plugin::Destination => include_str!("destination.py"),
            Plugin::Transformer => include_str!("transformer.py"),
        }
    }

    /// Puts the plugin into `folder`: an executable, and beside it the script that it runs, so that its processes can be told
    /// from those of other folders by their arguments.
    pub fn install(self, folder: &Path) -> Result<PathBuf, Missing> {
        install_script(folder, self.name(), "py", self.script(), &interpreter()?)
    }
}

/// The interpreter, or why there is none.
fn interpreter() -> Result<PathBuf, Missing> {
    static FOUND: OnceLock<Result<PathBuf, Missing>> = OnceLock::new();
    let look = || {
        let python = match std::env::var_os("HIGHWATER_TEST_PYTHON") {
            Some(named) => PathBuf::from(named),
            None => target_directory().join("python/bin/python3"),
        };
        let answer = Command::new(&python).args(["-c", "import cloudquery.sdk"]).output();
        match answer {
            Ok(answer) if answer.status.success() => Ok(python),
            _ => Err(Missing(format!(
                "`{}` has no package `cloudquery-plugin-sdk`; ./check installs it",
                python.display()
            ))),
        }
    };
    FOUND.get_or_init(look).clone()
}
