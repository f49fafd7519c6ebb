//! What destinations described of their tables, among the values that a pipeline keeps.

use std::collections::BTreeMap;

use bytes::Bytes;
use model::{DestinationId, StreamId};

fn prefix(destination: &DestinationId) -> String {
    format!("table/{destination}/")
}

/// The name of what is kept of one table.
pub fn kept_table(destination: &DestinationId, stream: &StreamId) -> String {
    format!("{}{stream}", prefix(destination))
}

/// What one destination described, of everything that is kept for its pipeline.
pub fn kept_tables(kept: &BTreeMap<String, Bytes>, destination: &DestinationId) -> BTreeMap<StreamId, Bytes> {
    let prefix = prefix(destination);
    let of_destination = kept
        .iter()
        .filter_map(|(key, table)| Some((StreamId::parse(key.strip_prefix(&prefix)?), table.clone())));
    of_destination.collect()
}
