//! Killed with SIGKILL at random moments and at every fail-point: what the ledger says is what the tables hold.
//!
//! The victim is this test binary again, told by an environment variable to write until it dies.

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use api::conformance::{Session, sample};
use api::{DestinationOptions, WriteMode};
use highwater_plugin_sqlite::destination::{FAIL_POINTS, SqliteDestination};
use model::{ChangeSet, Checkpoint, Page, StreamId};
use rand::Rng as _;
use rand::SeedableRng as _;
use rustix::process::Signal;
use serde_json::json;

/// Path of the database; set in the victim.
const VICTIM: &str = "HIGHWATER_TEST_VICTIM";
/// Name of the fail-point at which the victim dies, or, the second time it passes, stops.
const DIES_AT: &str = "HIGHWATER_TEST_DIES_AT";
const STOPS_AT: &str = "HIGHWATER_TEST_STOPS_AT";
/// Rows of the table before any change.
const EXISTING: u64 = 40;
/// Changesets of changes; more than any victim gets through, except where it is killed at a fail-point.
const STEPS: u64 = 6_000;

fn options() -> DestinationOptions {
    DestinationOptions {
        write: Some(WriteMode::Mirror),
        ..DestinationOptions::default()
    }
}

/// The source's whole history: a read of existing rows, then changes; every step moves 1 from one row to another.
fn history(steps: u64) -> impl Iterator<Item = ChangeSet> {
    let items = sample::items();
    let stream = items.stream().clone();
    let page = {
        let items = Arc::clone(&items);
        move |number: u32| {
            let page = Page::new(0, number);
            let first = u64::from(number - 1) * EXISTING / 2;
            let rows: Vec<_> = (first..first + EXISTING / 2)
                .map(|id| json!({"id": id, "amount": 100}))
                .collect();
            let delta = sample::page_delta(items.stream(), 1, page);
            ChangeSet::rows(delta, vec![sample::page(&items, 1, page, 0, &rows)])
        }
    };
    let log = sample::items_as(StreamId::new("log"));
    let read = [
        sample::begin_read(&log, 1, true),
        sample::end_read(log.stream(), 1),
        sample::begin_read(&items, 1, false),
        page(1),
        page(2),
        sample::end_read(&stream, 1),
    ];
    let mut amounts = vec![100_i64; EXISTING as usize];
    let changes = (1..=steps).flat_map(move |order| {
        let (from, to) = ((order % EXISTING) as usize, (order * 7 % EXISTING) as usize);
        amounts[from] -= 1;
        let taken = json!({"id": from, "amount": amounts[from]});
        amounts[to] += 1;
        let given = json!({"id": to, "amount": amounts[to]});
        let first = sample::changes(&items).at(order).update(taken).batch();
        let last = [
            sample::changes(&items).at(order).update(given).batch(),
            sample::changes(&log)
                .at(order)
                .insert(json!({"id": order, "name": "x".repeat(200)}))
                .batch(),
        ];
        let before = (order > 1).then_some(order - 1);
        if order % 5 == 0 {
            sample::parts(before, order, vec![vec![first], last.to_vec()])
        } else {
            let [second, third] = last;
            vec![sample::changeset(before, order, [first, second, third])]
        }
    });
    read.into_iter().chain(changes)
}

async fn open(path: &Path, lane: &api::Lane) -> api::Result<Session> {
    Session::open(Box::new(SqliteDestination::new(path.to_owned(), options())), lane).await
}

/// Applies what the database lacks of the first `steps` steps.
async fn bring_up(path: &Path, steps: u64) {
    let lane = api::Lane {
        owner: sample::owner("victim"),
        ..sample::lane()
    };
    let mut session = open(path, &lane).await.unwrap();
    let done = done(session.checkpoint());
    for changeset in history(steps) {
        if is_held(&changeset, done) {
            continue;
        }
        let is_end = changeset.part.ends_consistent();
        session.take(&Arc::new(changeset)).await.unwrap();
        if is_end {
            session.commit().await.unwrap();
        }
    }
    session.close().await.unwrap();
}

/// Whether everything in it lies at or before `done`; saves taking it only to have it trimmed to nothing.
fn is_held(changeset: &ChangeSet, done: u64) -> bool {
    let is_read = changeset.batches().iter().all(|batch| !batch.partition.is_log());
    let mut orders = changeset
        .batches()
        .iter()
        .flat_map(|batch| &batch.commits)
        .map(|commit| commit.order.key());
    done > 0 && (is_read || orders.all(|order| order <= done))
}

fn done(checkpoint: &Checkpoint) -> u64 {
    checkpoint
        .marks
        .get(&sample::log())
        .map_or(0, |position| position.order.key())
}

/// Compares the tables with what the source had at the stored checkpoint; returns that checkpoint's order.
fn check(path: &Path) -> u64 {
    let conn = rusqlite::Connection::open(path).unwrap();
    // One view of everything: the victim may be alive and commit between two statements.
    conn.execute_batch("BEGIN").unwrap();
    let has_ledger: bool = conn
        .query_row(
            "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = '_highwater_ledger')",
            [],
            |row| row.get(0),
        )
        .unwrap();
    if !has_ledger {
        return 0;
    }
    let checkpoint: Option<String> = conn
        .query_row("SELECT checkpoint FROM _highwater_ledger", [], |row| row.get(0))
        .unwrap();
    let checkpoint: Checkpoint =
        checkpoint.map_or_else(Checkpoint::default, |text| serde_json::from_str(&text).unwrap());
    let order = done(&checkpoint);
    let number = |sql: &str| conn.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
    for stream in ["items", "log"] {
        let tables = number(&format!("SELECT count(*) FROM sqlite_schema WHERE name = '{stream}'"));
        let is_held = checkpoint.streams.contains_key(&StreamId::new(stream));
        assert_eq!(tables, i64::from(is_held), "`{stream}` at {checkpoint:?}");
    }
    let Some(items) = checkpoint.streams.get(sample::items().stream()) else {
        return 0;
    };
    let mut amounts = vec![100_i64; EXISTING as usize];
    for order in 1..=order {
        amounts[(order % EXISTING) as usize] -= 1;
        amounts[(order * 7 % EXISTING) as usize] += 1;
    }
    let held: Vec<(i64, i64)> = conn
        .prepare("SELECT id, amount FROM items ORDER BY id")
        .unwrap()
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    let expected: Vec<(i64, i64)> = (0..).zip(amounts).collect();
    if items.is_live() {
        assert_eq!(held, expected, "at {checkpoint:?}");
        let seen = number("SELECT count(*) FROM sqlite_schema WHERE name LIKE '%seen%'");
        assert_eq!(seen, 0, "a side table is left at {checkpoint:?}");
    } else {
        let pages = checkpoint
            .marks
            .values()
            .map(|position| position.order.key())
            .max()
            .unwrap_or(0);
        assert_eq!(held, expected[..(pages * EXISTING / 2) as usize], "at {checkpoint:?}");
    }
    if order > 0 {
        assert_eq!(number("SELECT count(*) FROM log"), order as i64, "at {checkpoint:?}");
        assert_eq!(number("SELECT max(id) FROM log"), order as i64, "at {checkpoint:?}");
    }
    order
}

fn victim(path: &Path, fate: Option<(&str, &str)>) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "crash::victim_writes_until_it_dies", "--nocapture"])
        .env(VICTIM, path)
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    if let Some((fate, name)) = fate {
        command.env(fate, name);
    }
    command.spawn().unwrap()
}

/// No test: what the victim runs.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn victim_writes_until_it_dies() {
    let Some(path) = std::env::var_os(VICTIM) else {
        return;
    };
    let mut steps = STEPS;
    let raise = |signal| rustix::process::kill_process(rustix::process::getpid(), signal).unwrap();
    if let Ok(name) = std::env::var(DIES_AT) {
        steps = 12;
        fail::cfg_callback(name, move || raise(Signal::KILL)).unwrap();
    }
    if let Ok(name) = std::env::var(STOPS_AT) {
        let passes = AtomicU32::new(0);
        let stop = move || {
            if passes.fetch_add(1, Ordering::Relaxed) == 7 {
                raise(Signal::STOP);
                // The other threads stop first; without this the stop would come somewhere inside the next step.
                std::thread::sleep(Duration::from_millis(300));
            }
        };
        fail::cfg_callback(name, stop).unwrap();
    }
    bring_up(Path::new(&path), steps).await;
}

#[test]
fn ledger_equals_rows_after_every_kill() {
    let seed: u64 = rand::random();
    println!("seed {seed}");
    let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("copy.db");
    let mut order = 0;
    for kill in 0..25 {
        let mut child = victim(&path, None);
        std::thread::sleep(Duration::from_millis(random.random_range(5..120)));
        child.kill().unwrap();
        child.wait().unwrap();
        if path.exists() {
            let now = check(&path);
            assert!(now >= order, "kill {kill}: {now} after {order}, seed {seed}");
            order = now;
        }
    }
    // Machines may be slow, so the last one is given time to get somewhere.
    let mut child = victim(&path, None);
    let deadline = Instant::now() + Duration::from_secs(20);
    while Instant::now() < deadline && (!path.exists() || check(&path) <= order) {
        std::thread::sleep(Duration::from_millis(20));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let last = check(&path);
    println!("{last} commits over 26 kills");
    assert!(last > order, "no progress beyond {order}, seed {seed}");
}

#[test]
fn every_fail_point_is_reached_and_survived() {
    for name in FAIL_POINTS {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("copy.db");
        let status = victim(&path, Some((DIES_AT, name))).wait().unwrap();
        assert_eq!(status.signal(), Some(9), "`{name}` was not reached: {status}");
        check(&path);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(bring_up(&path, 12));
        assert_eq!(check(&path), 12, "after a kill at `{name}`");
    }
}

/// Waits until the process is stopped by a signal.
fn wait_until_stopped(child: &Child) {
    let stat = format!("/proc/{}/stat", child.id());
    let deadline = Instant::now() + Duration::from_secs(30);
    let is_stopped = || {
        std::fs::read_to_string(&stat)
            .unwrap()
            .rsplit(") ")
            .next()
            .unwrap()
            .starts_with('T')
    };
    while !is_stopped() {
        assert!(Instant::now() < deadline, "the victim did not stop");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn newcomer() -> api::Lane {
    api::Lane {
        owner: sample::owner("newcomer"),
        take_over: true,
        ..sample::lane()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn owner_that_was_stopped_and_wakes_up_is_fenced() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("copy.db");
    let mut child = victim(&path, Some((STOPS_AT, "sqlite.destination.after_commit")));
    wait_until_stopped(&child);
    let before = check(&path);
    let mut session = open(&path, &newcomer()).await.unwrap();
    assert_eq!(done(session.checkpoint()), before);
    // One step of the newcomer's own, then the old owner wakes up.
    for changeset in history(before + 1).filter(|changeset| !is_held(changeset, before)) {
        let is_end = changeset.part.ends_consistent();
        session.take(&Arc::new(changeset)).await.unwrap();
        if is_end {
            session.commit().await.unwrap();
        }
    }
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, Signal::CONT).unwrap();
    let status = child.wait().unwrap();
    assert_eq!(status.code(), Some(101), "the old owner went on: {status}");
    assert_eq!(check(&path), before + 1);
    session.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn owner_that_is_stopped_inside_its_transaction_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("copy.db");
    let mut child = victim(&path, Some((STOPS_AT, "sqlite.destination.before_commit")));
    wait_until_stopped(&child);
    let before = check(&path);
    let error = open(&path, &newcomer()).await.err().unwrap();
    assert_eq!(error.retry(), api::Retry::After, "{error:?}");
    assert!(
        error.to_string().contains(&format!("victim pid {}", child.id())),
        "{error}"
    );
    child.kill().unwrap();
    child.wait().unwrap();
    let session = open(&path, &newcomer()).await.unwrap();
    assert_eq!(done(session.checkpoint()), before, "what it had not committed is void");
    session.close().await.unwrap();
    assert_eq!(check(&path), before);
}
