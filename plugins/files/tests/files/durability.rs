//! What is synced, and when, as the kernel saw it.

use std::process::Command;

use api::conformance::sample;
use serde_json::json;

use crate::setup::{inserts, open};

/// Not a test: one commit, to be traced.
#[tokio::test]
#[ignore = "run under strace by the test below"]
async fn child_commits_once() {
    let Ok(base) = std::env::var("HIGHWATER_FILES_CHILD") else {
        return;
    };
    let spec = json!({"path": "./out/{stream}/{date}"});
    let mut session = open("parquet", spec, base.as_ref()).await;
    session.apply(inserts(&sample::items(), 1, [1, 2])).await.unwrap();
    // So that the trace shows when `commit` had returned.
    let _ = std::fs::File::open(format!("{base}/commit-returned"));
}

#[test]
fn commit_syncs_data_manifest_and_directories_before_it_publishes_and_returns() {
    let base = tempfile::tempdir().unwrap();
    let trace = base.path().join("trace");
    let traced = Command::new("strace")
        .args([
            "-f",
            "-y",
            "-s",
            "4096",
            "-e",
            "trace=fsync,fdatasync,link,linkat,unlink,unlinkat,openat,mkdir,mkdirat",
        ])
        .arg("-o")
        .arg(&trace)
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "durability::child_commits_once", "--ignored"])
        .env("HIGHWATER_FILES_CHILD", base.path())
        .output();
    match traced {
        Err(error) => return println!("skipped: strace does not start: {error}"),
        Ok(output) if !output.status.success() => {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            if said.contains("ptrace") || said.contains("PTRACE") {
                return println!("skipped: strace may not trace: {said}");
            }
            panic!("{said}{}", String::from_utf8_lossy(&output.stdout));
        }
        Ok(_) => {}
    }
    let trace = std::fs::read_to_string(trace).unwrap();
    // Calls that another thread interrupted are in two lines; the second says when they returned.
    let lines: Vec<&str> = trace.lines().collect();
    let root = base.path().canonicalize().unwrap().join("out");
    let root = root.to_str().unwrap();
    let ledger = format!("{root}/_highwater/shop.copy");
    let mut at = 0;
    let mut next = |what: &str, calls: &[&str], needles: &[&str]| {
        let found = lines[at..].iter().position(|line| {
            calls.iter().any(|call| line.contains(call)) && needles.iter().all(|needle| line.contains(needle))
        });
        let found = found.unwrap_or_else(|| panic!("no {what} after line {at}:\n{}", lines[at..].join("\n")));
        at += found + 1;
    };
    let (sync, link) = (["fsync(", "fdatasync("], ["link(", "linkat("]);
    let data = format!("<{ledger}/staged/");
    next(
        "sync of the first manifest's directory",
        &sync,
        &[&format!("<{ledger}>")],
    );
    next("sync of the data", &["fdatasync("], &[&data, ".parquet.staged>"]);
    next(
        "sync of the directory of staged files",
        &sync,
        &[&format!("<{ledger}/staged>")],
    );
    next(
        "creation of the manifest's text",
        &["openat("],
        &[&format!("{ledger}/staged/"), ".new", "O_EXCL"],
    );
    next("sync of the manifest's text", &sync, &[&data, ".new>"]);
    next("the commit", &link, &[&format!("{ledger}/00000002.json")]);
    next("sync of the manifest's directory", &sync, &[&format!("<{ledger}>")]);
    next("directory of the stream", &["mkdir"], &[&format!("\"{root}/items\"")]);
    next("sync of the root", &sync, &[&format!("<{root}>")]);
    next("directory of the day", &["mkdir"], &[&format!("\"{root}/items/")]);
    next("sync of the stream's directory", &sync, &[&format!("<{root}/items>")]);
    next("the publication", &link, &[&format!("\"{root}/items/"), ".parquet\""]);
    next("sync of the published name", &sync, &[&format!("<{root}/items/")]);
    next(
        "removal of the staged name",
        &["unlink"],
        &[&format!("{ledger}/staged/"), ".parquet.staged"],
    );
    next("return of `commit`", &["openat("], &["commit-returned"]);
}
