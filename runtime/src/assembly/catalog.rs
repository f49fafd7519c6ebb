//! What the configuration may name: the registry, in the words of `config`, which knows no connector.

use api::{Capabilities, DestinationEntry, Registry, WriteMode};
use config::{
    Batch, Catalog, ConnectorInfo, Deletes, DestinationInfo, OnSchemaChange, SourceInfo, TransformerInfo, Write,
};

/// Connectors that keep nothing: for looking and measuring, and never suggested in the place of another.
const FOR_LOOKING: [&str; 2] = ["stdout", "null"];

/// All connectors with what they can do.
pub(crate) fn catalog(registry: &Registry) -> Catalog {
    let mut catalog = Catalog::default();
    let names = registry
        .sources
        .keys()
        .chain(registry.destinations.keys())
        .chain(registry.transformers.keys());
    for name in names {
        let source = registry.sources.get(name);
        let destination = registry.destinations.get(name);
        let transformer = registry.transformers.get(name);
        let abouts = [
            source.map(|entry| entry.about),
            transformer.map(|entry| entry.about),
            destination.map(|entry| entry.about),
        ];
        let info = ConnectorInfo {
            doc: abouts.into_iter().flatten().collect::<Vec<_>>().join(" "),
            source: source.map(|entry| SourceInfo {
                spec_schema: entry.spec_schema.clone(),
                override_types: override_types(name),
            }),
            transformer: transformer.map(|entry| TransformerInfo {
                spec_schema: entry.spec_schema.clone(),
            }),
            destination: destination.map(|entry| destination_info(name, entry)),
        };
        catalog.insert(*name, info);
    }
    catalog
}

/// The words of a source's `overrides`.
fn override_types(connector: &str) -> Vec<String> {
    let words: &[&str] = match connector {
        "sqlite" => sqlite::OVERRIDE_TYPES,
        "postgres" => postgres::OVERRIDE_TYPES,
        _ => &[],
    };
    words.iter().map(|word| (*word).to_owned()).collect()
}

fn destination_info(name: &str, entry: &DestinationEntry) -> DestinationInfo {
    let can = &entry.capabilities;
    DestinationInfo {
        spec_schema: entry.spec_schema.clone(),
        writes: can.writes.iter().map(|write| word(*write)).collect(),
        deletes: deletes(can),
        // Which of them a connector has is its own word, given when it is built.
        on_schema_change: vec![
            OnSchemaChange::Apply,
            OnSchemaChange::NewVersion,
            OnSchemaChange::Pause,
            OnSchemaChange::Ignore,
        ],
        guarantee: can.guarantee.to_string(),
        batch: Batch {
            bytes_max: entry.batch.bytes_max,
            rows_max: entry.batch.rows_max,
            wait_max: entry.batch.wait_max,
        },
        is_for_looking: FOR_LOOKING.contains(&name),
        buffer_bytes: can.buffer_bytes as u64,
    }
}

fn word(write: WriteMode) -> Write {
    match write {
        WriteMode::Append => Write::Append,
        WriteMode::Upsert => Write::Upsert,
        WriteMode::Mirror => Write::Mirror,
    }
}

/// To an appending destination a delete is a row like any other.
fn deletes(can: &Capabilities) -> Vec<Deletes> {
    let only_appends = can.writes == [WriteMode::Append];
    match (can.deletes, only_appends) {
        (_, true) => vec![Deletes::Apply, Deletes::Ignore],
        (true, false) => vec![Deletes::Apply, Deletes::Soft, Deletes::Ignore],
        (false, false) => vec![Deletes::Ignore],
    }
}
