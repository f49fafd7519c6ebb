//! The binary under test.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The `highwater` that is tested, with fail-points compiled in.
///
/// `HIGHWATER_BIN` names it; without, it is built here by the cargo that runs the tests, into the same target directory.
/// Runs from a link of its own, so that a build that goes on meanwhile cannot exchange it under a test.
pub fn path() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| match std::env::var_os("HIGHWATER_BIN") {
        Some(path) => std::fs::canonicalize(&path)
            .unwrap_or_else(|error| panic!("cannot find HIGHWATER_BIN `{}`: {error}", path.display())),
        None => build(),
    })
}

fn build() -> PathBuf {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args([
            "build",
            "--quiet",
            "-p",
            "highwater",
            "--features",
            "highwater/failpoints",
        ])
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .status()
        .unwrap_or_else(|error| panic!("cannot start cargo: {error}"));
    assert!(status.success(), "cannot build `highwater` with fail-points: {status}");
    let built = target_directory().join("debug/highwater");
    let own = built.with_file_name(format!("highwater-under-test-{}", std::process::id()));
    let _ = std::fs::remove_file(&own);
    std::fs::hard_link(&built, &own).unwrap_or_else(|error| panic!("cannot link `{}`: {error}", built.display()));
    own
}

/// Test executables lie in `target/<profile>/deps`.
fn target_directory() -> PathBuf {
    let test = std::env::current_exe().unwrap_or_else(|error| panic!("cannot find the test's own file: {error}"));
    test.ancestors().nth(3).unwrap_or(Path::new("target")).to_owned()
}

/// The names of all fail-points that are compiled in.
pub fn fail_points() -> Vec<String> {
    let output = Command::new(path())
        .arg("failpoints")
        .output()
        .unwrap_or_else(|error| panic!("cannot start `{}`: {error}", path().display()));
    assert!(
        output.status.success(),
        "`highwater failpoints` ended with {}: the binary was built without `--features failpoints`",
        output.status
    );
    String::from_utf8_lossy(&output.stdout)
        .split_whitespace()
        .map(str::to_owned)
        .collect()
}
