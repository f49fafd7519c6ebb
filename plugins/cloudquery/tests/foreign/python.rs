//! A Python that has the SDK.

use std::path::{Path, PathBuf};

pub use test_systems::python::Plugin;

/// The plugin's executable; `None`, and the reason printed, where it is not to be had.
pub fn plugin(plugin: Plugin, folder: &Path) -> Option<PathBuf> {
    match plugin.install(folder) {
        Ok(path) => Some(path),
        Err(missing) => {
            println!("skipped: {missing}");
            None
        }
    }
}
