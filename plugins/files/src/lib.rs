//! Destinations `parquet`, `csv` and `ndjson`: an append-only history in a local directory, exactly once.
//!
//! - A plain reader of the directory never sees an uncommitted file, and never a row twice.
//! - A reader of the manifests in `_highwater/` ([`read_manifests`]) sees whole commits, in order.
//! - `commit` returns when data, manifest and names survive power loss.
//!
//! Where things are is said in `layout`, how a commit goes in `destination`, why it cannot go wrong in `ledger`, what
//! rows look like in `history` and `text`.

mod check;
mod codes;
mod connector;
mod destination;
mod error;
mod folder;
mod format;
mod history;
mod json;
mod layout;
mod ledger;
mod manifest;
mod schema_change;
mod session;
mod size;
mod spec;
mod staging;
mod streams;
mod template;
mod text;

use std::path::Path;

pub use codes::CODES;
pub use connector::{Csv, Ndjson, Parquet};
pub use manifest::{FileEntry, Manifest, StreamEntry};
pub use spec::{Compression, CsvSpec, NdjsonSpec, ParquetSpec};

use folder::Folder;

/// Every fail-point of this crate.
pub const FAIL_POINTS: &[&str] = &[
    "files.before_roll_forward",
    "files.after_roll_forward",
    "files.before_generation",
    "files.after_generation",
    "files.mid_write",
    "files.before_fsync",
    "files.after_fsync",
    "files.before_manifest",
    "files.after_manifest",
    "files.mid_publish",
    "files.after_publish",
    "files.before_compaction",
    "files.mid_compaction",
    "files.after_compaction",
];

/// Adds the connectors of this crate.
pub fn register(registry: &mut api::Registry) {
    registry
        .destination::<Parquet>()
        .destination::<Csv>()
        .destination::<Ndjson>();
}

/// The manifests below `root` in commit order, one lane after the other: whole commits, whatever is being written
/// meanwhile. Blocks.
///
/// Rows in order: manifest by manifest, in each the `files` as listed, in each file row by row. Use
/// [`FileEntry::locate`] to open one, since the newest may be staged for a moment longer. None where no destination ever
/// wrote.
pub fn read_manifests(root: impl AsRef<Path>) -> api::Result<Vec<Manifest>> {
    let root = root.as_ref();
    let read = || -> error::Result<Vec<Manifest>> {
        if !root.join(layout::LEDGERS).is_dir() {
            return Ok(Vec::new());
        }
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .map_err(error::Error::io("read", root))?;
        let folder = Folder::open(root)?;
        runtime.block_on(ledger::read_all(&folder))
    };
    // A thread of its own, since the caller may be in a runtime already, and those do not nest.
    std::thread::scope(|scope| match scope.spawn(read).join() {
        Ok(manifests) => Ok(manifests?),
        Err(panic) => std::panic::resume_unwind(panic),
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    #[test]
    fn every_fail_point_is_listed() {
        let mut found = BTreeSet::new();
        let sources = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/src")).expect("the sources are there");
        for source in sources {
            let path = source.expect("a directory entry").path();
            let text = std::fs::read_to_string(path).expect("a source file");
            let calls = text.split("fail_point!(").skip(1);
            let names = calls.filter_map(|rest| rest.strip_prefix('"')?.split_once('"'));
            // This file has the call's name in a text as well.
            let names = names.map(|(name, _)| name).filter(|name| name.starts_with("files."));
            found.extend(names.map(str::to_owned));
        }
        let listed: BTreeSet<String> = super::FAIL_POINTS.iter().map(|name| (*name).to_owned()).collect();
        assert_eq!(listed, found);
    }
}
