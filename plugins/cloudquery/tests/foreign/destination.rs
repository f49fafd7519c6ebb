//! A destination plugin without flush, written by our role.

use std::path::Path;

use api::conformance::{Session, sample};
use api::{BuildContext, Destination, DestinationOptions, Registry};
use serde_json::{Value, json};

use crate::python;

fn destination(spec: Value, folder: &Path) -> Option<Box<dyn Destination>> {
    let plugin = python::plugin(python::Plugin::Destination, folder)?;
    let mut registry = Registry::default();
    cloudquery::register(&mut registry);
    let spec = json!({"plugin": {"registry": "local", "path": plugin, "spec": spec}});
    let cx = BuildContext {
        base_dir: folder.to_owned(),
    };
    Some(
        registry.destinations["cloudquery"]
            .build(spec, DestinationOptions::default(), &cx)
            .unwrap(),
    )
}

/// Ids and names in the plugin's file.
fn rows(file: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let row = |line: &str| {
        let row: Value = serde_json::from_str(line).unwrap();
        format!("{} {} {}", row[0].as_str().unwrap(), row[2]["id"], row[2]["name"])
    };
    let mut rows: Vec<String> = text.lines().map(row).collect();
    rows.sort();
    rows
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_are_durable_in_a_plugin_without_flush_at_each_commit() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("rows");
    let Some(destination) = destination(json!({"file": file}), folder.path()) else {
        return;
    };
    let items = sample::items();
    let mut session = Session::open(destination, &sample::lane()).await.unwrap();
    let first = sample::changes(&items)
        .at(1)
        .insert(json!({"id": 1, "name": "a"}))
        .insert(json!({"id": 2, "name": "b"}));
    session
        .write(sample::changeset(None, 1, [first.batch()]))
        .await
        .unwrap();
    assert_eq!(rows(&file), [""; 0]);
    session.commit().await.unwrap();
    assert_eq!(rows(&file), [r#"items 1 "a""#, r#"items 2 "b""#]);
    let second = sample::changes(&items).at(2).update(json!({"id": 2, "name": "c"}));
    session
        .apply(sample::changeset(Some(1), 2, [second.batch()]))
        .await
        .unwrap();
    assert_eq!(rows(&file), [r#"items 1 "a""#, r#"items 2 "c""#]);
    session.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_that_a_plugin_lost_and_only_logged_fails_the_commit() {
    let folder = tempfile::tempdir().unwrap();
    let spec = json!({"file": folder.path().join("rows"), "lose": true});
    let Some(destination) = destination(spec, folder.path()) else {
        return;
    };
    let mut session = Session::open(destination, &sample::lane()).await.unwrap();
    let row = sample::changes(&sample::items())
        .at(1)
        .insert(json!({"id": 1, "name": "a"}));
    session.write(sample::changeset(None, 1, [row.batch()])).await.unwrap();
    let error = session.commit().await.unwrap_err();
    assert_eq!((error.code(), error.retry()), ("E0808", api::Retry::After));
    assert!(
        error
            .to_string()
            .contains("failed to write batch: the sample was told to lose it"),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_stay_below_what_a_python_server_takes() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("rows");
    let Some(destination) = destination(json!({"file": file}), folder.path()) else {
        return;
    };
    let mut session = Session::open(destination, &sample::lane()).await.unwrap();
    let big = (0..12).map(|id| json!({"id": id, "name": "x".repeat(1 << 20)}));
    let batch = sample::changes(&sample::items()).at(1).inserts(big).batch();
    session.apply(sample::changeset(None, 1, [batch])).await.unwrap();
    assert_eq!(rows(&file).len(), 12);
    session.close().await.unwrap();
}
