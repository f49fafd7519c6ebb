//! Bad places to write to, and what the user is told.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use api::conformance::{Session, sample};
use api::{Error, Retry};
use serde_json::json;

use crate::reading::data_files;
use crate::setup::{destination, inserts, open};

async fn refusal(base: &Path, path: &str) -> Error {
    let destination = destination("parquet", json!({"path": path}), base);
    Session::open(destination, &sample::lane()).await.err().unwrap()
}

async fn findings(base: &Path, path: &str) -> Vec<Error> {
    destination("parquet", json!({"path": path}), base)
        .check()
        .await
        .unwrap()
}

#[tokio::test]
async fn file_in_place_of_the_directory_is_named() {
    let base = tempfile::tempdir().unwrap();
    fs::write(base.path().join("out"), b"").unwrap();
    for path in ["./out/{stream}", "./out/deeper/{stream}"] {
        for error in [
            refusal(base.path(), path).await,
            findings(base.path(), path).await.remove(0),
        ] {
            assert!(error.to_string().ends_with("it is not a directory"), "{error:?}");
            assert_eq!((error.code(), error.retry()), ("E0551", Retry::Operator), "{error:?}");
        }
    }
}

#[tokio::test]
async fn directory_that_may_not_be_written_is_named() {
    let base = tempfile::tempdir().unwrap();
    let locked = base.path().join("out");
    fs::create_dir(&locked).unwrap();
    fs::set_permissions(&locked, fs::Permissions::from_mode(0o555)).unwrap();
    if fs::write(locked.join("probe"), b"").is_ok() {
        return println!("skipped: this user may write everywhere");
    }
    for error in [
        refusal(base.path(), "./out/{stream}").await,
        findings(base.path(), "./out/{stream}").await.remove(0),
    ] {
        assert_eq!((error.code(), error.retry()), ("E0551", Retry::Operator), "{error:?}");
        assert!(error.remedy().unwrap().contains("make it writable"), "{error:?}");
    }
}

#[tokio::test]
async fn check_makes_nothing() {
    let base = tempfile::tempdir().unwrap();
    assert_eq!(findings(base.path(), "./a/b/{stream}").await.len(), 0);
    assert_eq!(fs::read_dir(base.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn symbolic_link_below_the_root_is_refused() {
    let base = tempfile::tempdir().unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    fs::create_dir(base.path().join("out")).unwrap();
    symlink(elsewhere.path(), base.path().join("out/items")).unwrap();
    let mut session = open("csv", json!({}), base.path()).await;
    let error = session.apply(inserts(&sample::items(), 1, [1])).await.unwrap_err();
    assert!(
        error.to_string().ends_with("out/items`: it is a symbolic link"),
        "{error:?}"
    );
    assert_eq!(error.retry(), Retry::Operator);
    drop(session);
    assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), 0);
    // Committed it was; it becomes visible when there is a place for it.
    fs::remove_file(base.path().join("out/items")).unwrap();
    let session = open("csv", json!({}), base.path()).await;
    assert_eq!(session.checkpoint().marks.len(), 1);
    assert_eq!(data_files(&base.path().join("out")).len(), 1);
}

#[tokio::test]
async fn manifest_that_somebody_edited_is_named() {
    let base = tempfile::tempdir().unwrap();
    drop(open("csv", json!({}), base.path()).await);
    let path = base.path().join("out/_highwater/shop.copy/00000001.json");
    fs::write(&path, b"{\"format\": 1").unwrap();
    let error = refusal(base.path(), "./out/{stream}").await;
    assert_eq!((error.code(), error.retry()), ("E0558", Retry::Operator), "{error:?}");
    assert!(
        error.to_string().ends_with("00000001.json`: it is not a manifest"),
        "{error:?}"
    );
}

/// Not a test: fills a small file system, frees it, and goes on.
#[tokio::test]
#[ignore = "run on a small file system by the test below"]
async fn child_fills_the_disk() {
    let Ok(base) = std::env::var("HIGHWATER_FILES_CHILD") else {
        return;
    };
    let base = Path::new(&base);
    for format in crate::setup::FORMATS {
        let mut session = open(format, json!({"path": format!("./{format}/{{stream}}")}), base).await;
        session.apply(inserts(&sample::items(), 1, [1])).await.unwrap();
        let mut error = None;
        for order in 2..50 {
            let name = |id: u64| {
                format!(
                    "{:x}",
                    u128::from(id).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835)
                )
            };
            let rows = (0..5_000).map(|id| json!({"id": id, "name": name(id + order * 10_000)}));
            let batch = sample::changes(&sample::items()).at(order).inserts(rows).batch();
            let changeset = sample::changeset(Some(order - 1), order, [batch]);
            if let Err(failed) = session.apply(changeset).await {
                error = Some(failed);
                break;
            }
        }
        let error = error.expect("the file system is small");
        assert_eq!((error.code(), error.retry()), ("E0552", Retry::Operator), "{error:?}");
        assert!(error.remedy().unwrap().contains("free space"), "{error:?}");
        drop(session);
        let root = base.join(format);
        for path in data_files(&root) {
            crate::reading::read_file(&path);
            fs::remove_file(path).unwrap();
        }
        // The sweep gives back what was staged.
        let session = open(format, json!({"path": format!("./{format}/{{stream}}")}), base).await;
        drop(session);
        fs::remove_dir_all(root).unwrap();
    }
    println!("the child is done");
}

/// Not a test: meets a directory on a read-only file system.
#[tokio::test]
#[ignore = "run on a read-only file system by the test below"]
async fn child_meets_a_read_only_disk() {
    let Ok(base) = std::env::var("HIGHWATER_FILES_CHILD") else {
        return;
    };
    let base = Path::new(&base);
    for error in [
        refusal(base, "./out/{stream}").await,
        findings(base, "./out/{stream}").await.remove(0),
    ] {
        assert_eq!((error.code(), error.retry()), ("E0551", Retry::Operator), "{error:?}");
        assert!(error.remedy().unwrap().contains("make it writable"), "{error:?}");
    }
    println!("the child is done");
}

/// Runs a child test on a file system of its own, which `mount` makes; what it said.
fn on_own_file_system(mount: &str, child: &str) -> Option<String> {
    let base = tempfile::tempdir().unwrap();
    let script =
        format!("cd \"$HIGHWATER_FILES_CHILD\" && {mount} && exec \"$0\" --exact {child} --ignored --nocapture");
    let child = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "sh", "-c", &script])
        .arg(std::env::current_exe().unwrap())
        .env("HIGHWATER_FILES_CHILD", base.path())
        .output();
    let output = match child {
        Ok(output) => output,
        Err(error) => {
            println!("skipped: unshare does not start: {error}");
            return None;
        }
    };
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    if said.contains("unshare:") || said.contains("mount:") {
        println!("skipped: no file system of its own: {said}");
        return None;
    }
    Some(said)
}

#[test]
fn full_disk_is_an_operators_matter_and_leaves_whole_files() {
    // The child names the directory by its path, which leads to the new file system.
    let mount = "mount -t tmpfs -o size=2m tmpfs \"$HIGHWATER_FILES_CHILD\"";
    if let Some(said) = on_own_file_system(mount, "environment::child_fills_the_disk") {
        assert!(
            said.contains("the child is done") && said.contains("1 passed"),
            "{said}"
        );
    }
}

#[test]
fn read_only_disk_is_an_operators_matter() {
    let base = "\"$HIGHWATER_FILES_CHILD\"";
    let mount = format!("mount -t tmpfs tmpfs {base} && mount -o remount,ro {base}");
    if let Some(said) = on_own_file_system(&mount, "environment::child_meets_a_read_only_disk") {
        assert!(
            said.contains("the child is done") && said.contains("1 passed"),
            "{said}"
        );
    }
}
