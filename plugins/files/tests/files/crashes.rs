//! What a crash leaves, and what the next owner makes of it.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use api::conformance::sample;
use highwater_plugin_files::{Manifest, read_manifests};
use model::StreamId;
use rand::Rng;
use serde_json::json;

use crate::reading::{data_files, read_file};
use crate::replay::history;
use crate::setup::{FORMATS, inserts, open, open_lane};

/// How many rows each transaction of the child has in each stream.
const ROWS: u64 = 50;

fn root(base: &Path) -> std::path::PathBuf {
    base.join("out")
}

/// What holds at every moment, for whoever looks at the directory: each file is whole and committed.
fn check_as_stranger(base: &Path) {
    let found = data_files(&root(base));
    // Read after the listing: what was found had its manifest before it had its name.
    let manifests = read_manifests(root(base)).unwrap();
    let mut listed = manifests.iter().flat_map(|manifest| &manifest.files);
    for path in found {
        let file = listed.find(|file| root(base).join(&file.path) == path);
        let file = file.unwrap_or_else(|| panic!("`{}` is in no manifest", path.display()));
        assert_eq!(read_file(&path).len() as u64, file.row_count, "{}", path.display());
    }
}

/// Each stream has the rows of the transactions up to `order`, each once.
fn check_rows(base: &Path, order: u64) {
    for stream in ["items", "items_2"] {
        let rows = history(&root(base), stream);
        let ids: Vec<u64> = rows
            .iter()
            .map(|row| row["id"].as_ref().unwrap().parse().unwrap())
            .collect();
        let expected: Vec<u64> = (ROWS..(order + 1) * ROWS).collect();
        assert_eq!(ids, expected, "`{stream}` at {order}");
    }
}

fn held(manifest: &Manifest) -> u64 {
    let checkpoint = manifest.checkpoint.as_ref();
    let position = checkpoint.and_then(|checkpoint| checkpoint.marks.get(&sample::log()));
    position.map_or(0, |position| position.order.key())
}

/// Not a test: commits transactions for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "run by the tests that kill it"]
async fn child_commits_until_it_is_killed() {
    let Ok(base) = std::env::var("HIGHWATER_FILES_CHILD") else {
        return;
    };
    let format = std::env::var("HIGHWATER_FILES_FORMAT").unwrap();
    let spec = json!({"path": "./out/{stream}/{date}", "file_bytes_max": "64KiB"});
    let mut lane = sample::lane();
    lane.owner.id = format!("child-{}", std::process::id());
    let mut session = open_lane(&format, spec, Path::new(&base), &lane).await;
    let marks = &session.checkpoint().marks;
    let mut order = marks.get(&sample::log()).map_or(0, |position| position.order.key());
    loop {
        for _ in 0..3 {
            order += 1;
            let streams = ["items", "items_2"].map(|name| sample::items_as(StreamId::new(name)));
            let ids = order * ROWS..(order + 1) * ROWS;
            let batches = streams.map(|schema| inserts(&schema, order, ids.clone()).batches()[0].clone());
            let from = (order > 1).then_some(order - 1);
            session.write(sample::changeset(from, order, batches)).await.unwrap();
        }
        session.commit().await.unwrap();
    }
}

fn start_child(base: &Path, format: &str) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "crashes::child_commits_until_it_is_killed",
            "--ignored",
            "--nocapture",
        ])
        .env("HIGHWATER_FILES_CHILD", base)
        .env("HIGHWATER_FILES_FORMAT", format)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

fn newest(base: &Path) -> u64 {
    let manifests = read_manifests(root(base)).unwrap_or_default();
    manifests.last().map_or(0, |manifest| manifest.number)
}

#[test]
fn killed_writer_leaves_whole_commits_and_its_successor_goes_on() {
    let seed: u64 = rand::random();
    println!("seed {seed}");
    let mut random = <rand_chacha::ChaCha8Rng as rand::SeedableRng>::seed_from_u64(seed);
    for format in FORMATS {
        let base = tempfile::tempdir().unwrap();
        let mut seen = 0;
        for _ in 0..8 {
            let before = newest(base.path());
            let mut child = start_child(base.path(), format);
            let deadline = Instant::now() + Duration::from_secs(30);
            let commits = random.random_range(0..4);
            seen += 1 + commits;
            while newest(base.path()) < before + 1 + commits {
                assert!(Instant::now() < deadline, "the child does not commit");
                assert!(child.try_wait().unwrap().is_none(), "the child died by itself");
                std::thread::yield_now();
            }
            let instant = Instant::now() + Duration::from_micros(random.random_range(0..20_000));
            while Instant::now() < instant {
                std::hint::spin_loop();
            }
            child.kill().unwrap();
            child.wait().unwrap();
            check_as_stranger(base.path());
            let manifests = read_manifests(root(base.path())).unwrap();
            check_rows(base.path(), held(manifests.last().unwrap()));
        }
        assert!(newest(base.path()) >= seen, "{format}: a commit that was seen is gone");
    }
}

#[test]
fn plain_reader_sees_whole_files_and_no_row_twice_while_commits_go_on() {
    let base = tempfile::tempdir().unwrap();
    let mut child = start_child(base.path(), "parquet");
    let deadline = Instant::now() + Duration::from_secs(30);
    let mut looks = 0;
    while newest(base.path()) < 40 {
        assert!(Instant::now() < deadline, "the child does not commit");
        let mut seen = BTreeSet::new();
        for path in data_files(&root(base.path())) {
            let stream = path.to_string_lossy().contains("items_2");
            for row in read_file(&path) {
                assert!(seen.insert((stream, row["id"].clone())), "{row:?} twice");
            }
        }
        check_as_stranger(base.path());
        looks += 1;
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(looks > 3, "looked {looks} times");
}

#[tokio::test]
async fn manifest_without_published_files_is_rolled_forward() {
    for format in FORMATS {
        for published in 0..=2 {
            let base = tempfile::tempdir().unwrap();
            let mut session = open(format, json!({}), base.path()).await;
            let streams = ["items", "items_2"].map(|name| sample::items_as(StreamId::new(name)));
            let batches = streams.map(|schema| inserts(&schema, 1, ROWS..2 * ROWS).batches()[0].clone());
            session.apply(sample::changeset(None, 1, batches)).await.unwrap();
            drop(session);
            // As a crash leaves it: some files published, all staged names still there.
            let files = read_manifests(root(base.path())).unwrap().pop().unwrap().files;
            for (at, file) in files.iter().enumerate() {
                let (staged, path) = (root(base.path()).join(&file.staged), root(base.path()).join(&file.path));
                fs::hard_link(&path, staged).unwrap();
                if at >= published {
                    fs::remove_file(path).unwrap();
                }
            }
            // A reader of the manifests misses nothing in that moment.
            check_rows(base.path(), 1);
            drop(open(format, json!({}), base.path()).await);
            assert_eq!(data_files(&root(base.path())).len(), 2, "{format} {published}");
            check_rows(base.path(), 1);
            let staged = root(base.path()).join("_highwater/shop.copy/staged");
            assert_eq!(fs::read_dir(staged).unwrap().count(), 0);
        }
    }
}

#[tokio::test]
async fn staged_files_without_a_manifest_are_swept() {
    let base = tempfile::tempdir().unwrap();
    let mut session = open("parquet", json!({}), base.path()).await;
    session.write(inserts(&sample::items(), 1, [1, 2])).await.unwrap();
    drop(session);
    let staged = root(base.path()).join("_highwater/shop.copy/staged");
    assert_eq!(fs::read_dir(&staged).unwrap().count(), 1);
    fs::write(staged.join("half.new"), b"{").unwrap();
    drop(open("parquet", json!({}), base.path()).await);
    assert_eq!(fs::read_dir(&staged).unwrap().count(), 0);
    assert_eq!(data_files(&root(base.path())).len(), 0);
}

#[tokio::test]
async fn file_that_somebody_moved_away_does_not_come_back() {
    let base = tempfile::tempdir().unwrap();
    let mut session = open("csv", json!({}), base.path()).await;
    session.apply(inserts(&sample::items(), 1, [1])).await.unwrap();
    fs::remove_file(&data_files(&root(base.path()))[0]).unwrap();
    session.apply(inserts(&sample::items(), 2, [2])).await.unwrap();
    fs::remove_file(&data_files(&root(base.path()))[0]).unwrap();
    drop(session);
    let mut session = open("csv", json!({}), base.path()).await;
    session.apply(inserts(&sample::items(), 3, [3])).await.unwrap();
    assert_eq!(data_files(&root(base.path())).len(), 1);
}

#[test]
fn cancelled_call_commits_nothing() {
    // One thread for everything that blocks: while something holds it, a write cannot end.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .max_blocking_threads(1)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(cancel_a_write_then_commit());
}

async fn cancel_a_write_then_commit() {
    let base = tempfile::tempdir().unwrap();
    let mut destination = crate::setup::destination("csv", json!({}), base.path());
    destination.open(&sample::lane()).await.unwrap();
    let changeset = std::sync::Arc::new(inserts(&sample::items(), 1, [1]));
    let (release, held) = std::sync::mpsc::channel::<()>();
    let holder = tokio::task::spawn_blocking(move || held.recv());
    let mut write = destination.write(changeset);
    let polled = std::future::poll_fn(|cx| std::task::Poll::Ready(write.as_mut().poll(cx))).await;
    assert!(polled.is_pending());
    drop(write);
    release.send(()).unwrap();
    holder.await.unwrap().unwrap();
    let (delta, checkpoint) = (sample::delta(None, 1), model::Checkpoint::default());
    let at = api::CommitPoint {
        delta: &delta,
        checkpoint: &checkpoint,
    };
    let error = destination.commit(at).await.unwrap_err();
    assert_eq!(error.to_string(), "cannot commit: the destination is not open");
    assert_eq!(data_files(&root(base.path())).len(), 0);
}
