//! Building destinations and driving them.

use std::path::Path;
use std::sync::Arc;

use api::conformance::{Session, sample};
use api::{BuildContext, Destination, DestinationOptions, Lane, Registry, SpecError, WriteMode};
use model::{ChangeSet, StreamSchema};
use serde_json::{Value, json};

pub(crate) const FORMATS: [&str; 3] = ["parquet", "csv", "ndjson"];

/// What the config would build.
pub(crate) fn build(
    connector: &str,
    mut spec: Value,
    options: DestinationOptions,
    base: &Path,
) -> Result<Box<dyn Destination>, SpecError> {
    let mut registry = Registry::default();
    highwater_plugin_files::register(&mut registry);
    if spec.get("path").is_none() {
        spec["path"] = json!("./out/{stream}/");
    }
    let cx = BuildContext {
        base_dir: base.to_owned(),
    };
    registry.destinations[connector].build(spec, options, &cx)
}

pub(crate) fn appending() -> DestinationOptions {
    DestinationOptions {
        write: Some(WriteMode::Append),
        ..DestinationOptions::default()
    }
}

/// A destination with the default spec, but for what `spec` says.
pub(crate) fn destination(connector: &str, spec: Value, base: &Path) -> Box<dyn Destination> {
    build(connector, spec, appending(), base).unwrap()
}

pub(crate) async fn open(connector: &str, spec: Value, base: &Path) -> Session {
    open_lane(connector, spec, base, &sample::lane()).await
}

pub(crate) async fn open_lane(connector: &str, spec: Value, base: &Path, lane: &Lane) -> Session {
    Session::open(destination(connector, spec, base), lane).await.unwrap()
}

/// Another process of the same pipeline.
pub(crate) fn rival(take_over: bool) -> Lane {
    Lane {
        owner: sample::owner("second-host"),
        take_over,
        ..sample::lane()
    }
}

pub(crate) fn item(id: u64) -> Value {
    json!({"id": id, "name": format!("n{id}"), "amount": id as i64 * 10})
}

/// A transaction at `order` that inserts these ids.
pub(crate) fn inserts(schema: &Arc<StreamSchema>, order: u64, ids: impl IntoIterator<Item = u64>) -> ChangeSet {
    let batch = sample::changes(schema)
        .at(order)
        .inserts(ids.into_iter().map(item))
        .batch();
    sample::changeset((order > 1).then_some(order - 1), order, [batch])
}
