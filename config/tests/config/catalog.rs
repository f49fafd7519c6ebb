//! Connectors for tests, with schemas that come from serde types as the real ones do.

#![allow(dead_code)]

use std::collections::BTreeMap;

use highwater_config::{
    Batch, Catalog, ConnectorInfo, Deletes, DestinationInfo, Input, Loaded, OnSchemaChange, SourceInfo,
    TransformerInfo, Write, load,
};
use schemars::{JsonSchema, schema_for};
use serde_json::Value;

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct SqliteSource {
    /// The database file.
    path: String,
    /// How changes are seen.
    #[schemars(default)]
    capture: Option<Capture>,
    #[schemars(extend("x-unit" = "duration"), default)]
    poll_every: Option<String>,
    #[schemars(range(min = 1, max = 64), default)]
    workers: Option<u8>,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase")]
enum Capture {
    /// A change table and triggers.
    Triggers,
    /// A cursor column.
    Poll,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct PostgresSource {
    /// Where it is, as a URL.
    #[schemars(extend("writeOnly" = true))]
    url: String,
    publication: String,
    slot: String,
    #[schemars(default)]
    create: bool,
    #[schemars(default)]
    snapshot: Option<SnapshotSpec>,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct SnapshotSpec {
    #[schemars(default)]
    workers: Option<u32>,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct SqliteDestination {
    path: String,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct PostgresDestination {
    #[schemars(extend("writeOnly" = true))]
    url: String,
    #[schemars(default)]
    schema: Option<String>,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Files {
    /// A template; `{stream}` and `{date}` are replaced.
    path: String,
    #[schemars(default)]
    compression: Option<Compression>,
    #[schemars(extend("x-unit" = "size"), default)]
    file_bytes_max: Option<String>,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase")]
enum Compression {
    None,
    Snappy,
    Zstd(ZstdSpec),
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct ZstdSpec {
    #[schemars(range(min = 1, max = 22))]
    level: i32,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Nothing {}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Plugin {
    /// Which plugin.
    path: String,
    #[schemars(default)]
    registry: Option<String>,
    #[schemars(default)]
    version: Option<String>,
    #[schemars(default)]
    otel_endpoint: Option<String>,
    #[schemars(default)]
    otel_endpoint_insecure: bool,
    #[schemars(default)]
    spec: Option<Value>,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct PluginSource {
    plugin: Plugin,
    name: String,
    #[schemars(default)]
    tables: Option<Vec<String>>,
    #[schemars(default)]
    skip_tables: Vec<String>,
    #[schemars(default)]
    skip_dependent_tables: bool,
    #[schemars(default)]
    deterministic_cq_id: bool,
    #[schemars(default)]
    incremental: bool,
    #[schemars(default)]
    every: Option<String>,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct PluginDestination {
    plugin: Plugin,
    #[schemars(default)]
    migrate_force: bool,
    #[schemars(default)]
    key: Option<String>,
    #[schemars(default)]
    sync_group_id: Option<String>,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct PluginTransformer {
    plugin: Plugin,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Filter {
    /// By stream.
    rows: BTreeMap<String, Comparison>,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Comparison {
    column: String,
    #[schemars(default)]
    equals: Option<Value>,
    #[schemars(default)]
    one_of: Option<Vec<String>>,
}

#[derive(JsonSchema)]
#[schemars(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
enum HttpAuth {
    Basic {
        user: String,
        #[schemars(extend("writeOnly" = true))]
        password: String,
    },
    Bearer {
        #[schemars(extend("writeOnly" = true))]
        token: String,
    },
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Http {
    endpoint: String,
    #[schemars(default)]
    auth: Option<HttpAuth>,
    #[schemars(default)]
    ratio: Option<f64>,
    #[schemars(default)]
    headers: BTreeMap<String, String>,
}

fn schema<T: JsonSchema>() -> Value {
    schema_for!(T).to_value()
}

fn source(spec_schema: Value) -> Option<SourceInfo> {
    let override_types = ["text", "blob", "int64", "float64"].map(str::to_owned).to_vec();
    Some(SourceInfo {
        spec_schema,
        override_types,
    })
}

fn table(spec_schema: Value) -> Option<DestinationInfo> {
    Some(DestinationInfo {
        spec_schema,
        writes: vec![Write::Append, Write::Upsert, Write::Mirror],
        deletes: vec![Deletes::Apply, Deletes::Soft, Deletes::Ignore],
        on_schema_change: vec![OnSchemaChange::Apply, OnSchemaChange::Pause, OnSchemaChange::Ignore],
        guarantee: "exactly-once".to_owned(),
        batch: Batch::default(),
        is_for_looking: false,
        buffer_bytes: 1 << 20,
    })
}

fn files(spec_schema: Value) -> Option<DestinationInfo> {
    Some(DestinationInfo {
        spec_schema,
        writes: vec![Write::Append],
        deletes: vec![Deletes::Apply, Deletes::Ignore],
        on_schema_change: vec![OnSchemaChange::Apply, OnSchemaChange::NewVersion, OnSchemaChange::Pause],
        guarantee: "exactly-once".to_owned(),
        batch: Batch::for_files(),
        is_for_looking: false,
        buffer_bytes: 16 << 20,
    })
}

/// The connectors.
pub(crate) fn catalog() -> Catalog {
    let mut catalog = Catalog::default();
    let mut add = |name: &str, doc: &str, source, destination| {
        let info = ConnectorInfo {
            doc: doc.to_owned(),
            source,
            transformer: None,
            destination,
        };
        catalog.insert(name, info);
    };
    add(
        "sqlite",
        "SQLite database files.",
        source(schema::<SqliteSource>()),
        table(schema::<SqliteDestination>()),
    );
    add(
        "postgres",
        "PostgreSQL.",
        source(schema::<PostgresSource>()),
        table(schema::<PostgresDestination>()),
    );
    add("parquet", "Parquet files.", None, files(schema::<Files>()));
    add("csv", "CSV files.", None, files(schema::<Files>()));
    add("http", "HTTP.", None, files(schema::<Http>()));
    add(
        "null",
        "Nothing, for measuring.",
        None,
        table(schema::<Nothing>()).map(|info| DestinationInfo {
            is_for_looking: true,
            ..info
        }),
    );
    let plugin = ConnectorInfo {
        doc: "CloudQuery's plugins.".to_owned(),
        source: source(schema::<PluginSource>()),
        transformer: Some(TransformerInfo {
            spec_schema: schema::<PluginTransformer>(),
        }),
        destination: table(schema::<PluginDestination>()),
    };
    catalog.insert("cloudquery", plugin);
    let transformer = Some(TransformerInfo {
        spec_schema: schema::<Filter>(),
    });
    let filter = ConnectorInfo {
        doc: "Keeps some rows.".to_owned(),
        transformer,
        ..ConnectorInfo::default()
    };
    catalog.insert("filter", filter);
    catalog
}

/// Loads one file named `highwater.yaml` with an environment of these variables.
pub(crate) fn load_with(text: &str, variables: &[(&str, &str)]) -> Loaded {
    let environment: BTreeMap<String, String> = variables
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    load(&[Input::new("highwater.yaml", text)], &catalog(), &environment)
}

/// `CODE line:column message`, one finding a line.
pub(crate) fn told(loaded: &Loaded) -> String {
    let tell = |finding: &highwater_config::Finding| {
        let place = finding
            .primary()
            .map_or(String::new(), |place| format!(" {}:{}", place.line, place.column));
        format!("{}{place} {}\n", finding.code, finding.message)
    };
    loaded.findings().iter().map(tell).collect()
}
