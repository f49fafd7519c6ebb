//! What is said where the file cannot be opened.

use std::os::unix::fs::PermissionsExt;

use api::conformance::sample;
use api::{BuildContext, Destination, DestinationConnector, DestinationOptions, OnSchemaChange, Registry, Retry};
use highwater_plugin_sqlite::destination::{SqliteDestination, SqliteDestinationConnector, SqliteDestinationSpec};
use serde_json::json;

use crate::database::Database;

/// Opens, and checks, a path in a directory that `prepare` made; both must find the same.
async fn refused(prepare: impl FnOnce(&std::path::Path) -> std::path::PathBuf) -> api::Error {
    let directory = tempfile::tempdir().unwrap();
    let path = prepare(directory.path());
    let mut destination = SqliteDestination::new(path, DestinationOptions::default());
    let found = destination.check().await.unwrap();
    let error = destination.open(&sample::lane()).await.unwrap_err();
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].to_string(), error.to_string());
    assert_eq!((error.code(), error.retry()), ("E0520", Retry::Operator), "{error:?}");
    assert!(error.remedy().is_some(), "{error:?}");
    error
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_directory_is_not_created() {
    let error = refused(|directory| directory.join("not/there/copy.db")).await;
    assert!(error.to_string().contains("not/there/copy.db"), "{error}");
    assert!(error.remedy().unwrap().contains("mkdir -p"), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn directory_and_text_file_are_no_database() {
    let error = refused(|directory| {
        std::fs::create_dir(directory.join("copy.db")).unwrap();
        directory.join("copy.db")
    })
    .await;
    assert!(error.to_string().contains("directory"), "{error}");
    let error = refused(|directory| {
        std::fs::write(
            directory.join("copy.db"),
            "not a database, but long enough to be read as one".repeat(40),
        )
        .unwrap();
        directory.join("copy.db")
    })
    .await;
    assert!(error.to_string().contains("not a SQLite database"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn read_only_file_and_directory_are_refused() {
    if rustix::process::geteuid().is_root() {
        println!("skipped: modes mean nothing to root");
        return;
    }
    let mode = |path: &std::path::Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    refused(|directory| {
        let path = directory.join("copy.db");
        rusqlite::Connection::open(&path)
            .unwrap()
            .execute_batch("CREATE TABLE t (a)")
            .unwrap();
        mode(&path, 0o444);
        path
    })
    .await;
    refused(|directory| {
        mode(directory, 0o555);
        directory.join("copy.db")
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn database_in_rollback_mode_is_switched_to_wal() {
    let database = Database::new();
    database
        .user()
        .execute_batch("CREATE TABLE mine (a); INSERT INTO mine VALUES (1)")
        .unwrap();
    let session = database.open(DestinationOptions::default()).await;
    assert_eq!(database.lines("PRAGMA journal_mode"), ["'wal'"]);
    assert_eq!(database.lines("SELECT a FROM mine"), ["1"]);
    session.close().await.unwrap();
}

#[test]
fn spec_is_described_and_checked() {
    let mut registry = Registry::default();
    registry.destination::<SqliteDestinationConnector>();
    let entry = &registry.destinations["sqlite"];
    assert_eq!(entry.spec_schema["required"], json!(["path"]));
    assert_eq!(entry.spec_schema["additionalProperties"], json!(false));
    assert!(entry.spec_schema["properties"]["path"]["description"].is_string());
    let cx = BuildContext {
        base_dir: "/tmp".into(),
    };
    let refused = |options, path: &str| {
        let spec = SqliteDestinationSpec { path: path.into() };
        SqliteDestinationConnector::build(spec, options, &cx).err().unwrap()
    };
    assert_eq!(refused(DestinationOptions::default(), "").pointer, "/path");
    let options = DestinationOptions {
        on_schema_change: Some(OnSchemaChange::NewVersion),
        ..DestinationOptions::default()
    };
    assert!(refused(options, "./copy.db").message.contains("new_version"));
}
