//! A Python that has the SDK.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The interpreter, or why there is none.
fn interpreter() -> Result<PathBuf, String> {
    static FOUND: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let look = || {
        let named = std::env::var_os("HIGHWATER_TEST_PYTHON").map(PathBuf::from);
        // `CARGO_TARGET_TMPDIR` is `tmp` in the target directory.
        let made = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("python/bin/python3");
        let python = named.unwrap_or(made);
        let answer = Command::new(&python).args(["-c", "import cloudquery.sdk"]).output();
        match answer {
            Ok(answer) if answer.status.success() => Ok(python),
            _ => Err(format!(
                "`{}` has no package `cloudquery-plugin-sdk`; ./check installs it",
                python.display()
            )),
        }
    };
    FOUND.get_or_init(look).clone()
}

/// An executable that runs one of our scripts; `None`, and the reason printed, where that is not to be had.
pub fn plugin(script: &str, folder: &Path) -> Option<PathBuf> {
    use std::os::unix::fs::PermissionsExt as _;
    let python = match interpreter() {
        Ok(python) => python,
        Err(reason) => {
            println!("skipped: {reason}");
            return None;
        }
    };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/foreign").join(script);
    let path = folder.join("plugin");
    let text = format!("#!/bin/sh\nexec '{}' '{}' \"$@\"\n", python.display(), script.display());
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    Some(path)
}
