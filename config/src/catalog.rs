//! What connectors there are and what they can do. Filled by whoever knows them; this crate knows none.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::plan::{Batch, Deletes, OnSchemaChange, Write};

/// The connectors that a configuration may name.
#[derive(Debug, Clone, Default)]
pub struct Catalog {
    connectors: BTreeMap<String, ConnectorInfo>,
}

/// One connector: a name and up to three roles.
#[derive(Debug, Clone, Default)]
pub struct ConnectorInfo {
    /// One sentence for the schema and the documentation.
    pub doc: String,
    /// If it can be read from.
    pub source: Option<SourceInfo>,
    /// If it transforms.
    pub transformer: Option<TransformerInfo>,
    /// If it can be written to.
    pub destination: Option<DestinationInfo>,
}

/// A connector as a source.
#[derive(Debug, Clone)]
pub struct SourceInfo {
    /// JSON Schema of its `spec`.
    pub spec_schema: Value,
    /// The words it takes in `streams.overrides.<stream>.columns`; empty if it takes none.
    pub override_types: Vec<String>,
}

/// A connector as a transformer.
#[derive(Debug, Clone)]
pub struct TransformerInfo {
    /// JSON Schema of its `spec`.
    pub spec_schema: Value,
}

/// A connector as a destination.
#[derive(Debug, Clone)]
pub struct DestinationInfo {
    /// JSON Schema of its `spec`.
    pub spec_schema: Value,
    /// How it can write; at least one.
    pub writes: Vec<Write>,
    /// What it can do with deleted rows. The first is what it does if nothing is set.
    pub deletes: Vec<Deletes>,
    /// What it can do when a schema changes.
    pub on_schema_change: Vec<OnSchemaChange>,
    /// What it promises: `exactly-once`, `effectively-once by key`, `at-least-once`.
    pub guarantee: String,
    /// How much it gathers before it commits, if nothing is set.
    pub batch: Batch,
    /// Whether it keeps nothing and is there for looking or measuring: never suggested in the place of another.
    pub is_for_looking: bool,
    /// What it may keep in memory beside what it was handed; reserved when it opens.
    pub buffer_bytes: u64,
}

/// The place of a connector in a pipeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Where a pipeline reads.
    Source,
    /// What changes rows on their way.
    Transformer,
    /// Where a pipeline writes.
    Destination,
}

impl Role {
    /// The word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Role::Source => "source",
            Role::Transformer => "transformer",
            Role::Destination => "destination",
        }
    }
}

impl Catalog {
    /// Adds a connector; one of the same name is replaced.
    pub fn insert(&mut self, name: impl Into<String>, info: ConnectorInfo) {
        self.connectors.insert(name.into(), info);
    }

    /// The connector of this name.
    pub fn get(&self, name: &str) -> Option<&ConnectorInfo> {
        self.connectors.get(name)
    }

    /// All connectors by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &ConnectorInfo)> {
        self.connectors.iter().map(|(name, info)| (name.as_str(), info))
    }

    /// The names of those that have this role.
    pub fn in_role(&self, role: Role) -> Vec<&str> {
        self.iter()
            .filter(|(_, info)| info.spec_schema(role).is_some())
            .map(|(name, _)| name)
            .collect()
    }

    /// The names of the destinations that can write in this way.
    pub(crate) fn writing(&self, write: Write) -> Vec<&str> {
        let can = |info: &ConnectorInfo| {
            info.destination
                .as_ref()
                .is_some_and(|d| d.writes.contains(&write) && !d.is_for_looking)
        };
        self.iter()
            .filter(|(_, info)| can(info))
            .map(|(name, _)| name)
            .collect()
    }
}

impl ConnectorInfo {
    /// The JSON Schema of its `spec` in this role; `None` if it does not have the role.
    pub fn spec_schema(&self, role: Role) -> Option<&Value> {
        match role {
            Role::Source => self.source.as_ref().map(|info| &info.spec_schema),
            Role::Transformer => self.transformer.as_ref().map(|info| &info.spec_schema),
            Role::Destination => self.destination.as_ref().map(|info| &info.spec_schema),
        }
    }

    /// The roles it has.
    pub(crate) fn roles(&self) -> Vec<&'static str> {
        [Role::Source, Role::Transformer, Role::Destination]
            .into_iter()
            .filter(|role| self.spec_schema(*role).is_some())
            .map(Role::name)
            .collect()
    }
}
