//! Replaying the history as the documentation says, manifest by manifest.

use std::collections::BTreeMap;
use std::path::Path;

use api::conformance::Row;
use highwater_plugin_files::read_manifests;

use crate::reading::read_file;

/// Every row of a stream, in order, with the `_highwater_*` columns.
pub(crate) fn history(root: &Path, stream: &str) -> Vec<Row> {
    let manifests = read_manifests(root).unwrap();
    let files = manifests.iter().flat_map(|manifest| &manifest.files);
    let mut rows = Vec::new();
    for file in files.filter(|file| file.stream.to_string() == stream) {
        let path = file.locate(root);
        let bytes = std::fs::read(&path).unwrap();
        assert_eq!(bytes.len() as u64, file.size_bytes, "{}", path.display());
        assert_eq!(
            format!("{:08x}", crc32c::crc32c(&bytes)),
            file.crc32c,
            "{}",
            path.display()
        );
        let read = read_file(&path);
        assert_eq!(read.len() as u64, file.row_count, "{}", path.display());
        rows.extend(read);
    }
    rows
}

/// The rows that the source has, by the text of their key.
pub(crate) fn state(root: &Path, stream: &str, key: &str) -> BTreeMap<String, Row> {
    let mut state = BTreeMap::new();
    for mut row in history(root, stream) {
        let op = row["_highwater_op"].clone().unwrap();
        row.retain(|name, _| !name.starts_with("_highwater_"));
        match op.as_str() {
            "truncate" | "begin_read" => state.clear(),
            "delete" => assert!(
                state.remove(&row[key].clone().unwrap()).is_some(),
                "{row:?} was not there"
            ),
            "read" | "insert" | "update" => {
                state.insert(row[key].clone().unwrap(), row);
            }
            other => panic!("an operation `{other}`"),
        }
    }
    state
}

pub(crate) fn keys(state: &BTreeMap<String, Row>) -> Vec<&str> {
    state.keys().map(String::as_str).collect()
}
