//! A transaction larger than memory.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::time::Duration;

use highwater_chaos_tests::process::{Runtime, look_every};
use highwater_chaos_tests::scale::{Run, is_full, say};
use highwater_chaos_tests::site::{Destination, Layout};
use rusqlite::Connection;
use serde::Deserialize;

const ROW_BYTES: u64 = 8_000;
const RESIDENT_MAX_BYTES: u64 = 128 << 20;

/// A row of 8,000 characters that compress badly, and an id.
const FILL: &str = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1) \
                    INSERT INTO large SELECT i, hex(randomblob(4000)) FROM n";

#[test]
fn transaction_larger_than_the_budget_stays_within_memory() -> io::Result<()> {
    let bytes: u64 = if is_full() { 512 << 20 } else { 96 << 20 };
    let mut run = Run::begin("transaction_larger_than_the_budget_stays_within_memory", 1);
    let dir = tempfile::tempdir()?;
    let layout = Layout {
        memory_limit: "64MiB",
        window_max: "8MiB",
        ..Layout::of(vec![Destination::copy(), Destination::lake()])
    };
    let config = layout.render(dir.path(), &dir.path().join("state"));
    let streams = config
        .lines()
        .find(|line| line.contains("streams: ["))
        .unwrap_or_default();
    std::fs::write(
        dir.path().join("highwater.yaml"),
        config.replace(streams, "      streams: [large]"),
    )?;
    let source = Connection::open(dir.path().join("shop.db")).map_err(io::Error::other)?;
    let create = "PRAGMA journal_mode = WAL; CREATE TABLE large (id INTEGER PRIMARY KEY, payload TEXT)";
    source.execute_batch(create).map_err(io::Error::other)?;

    let log = dir.path().join("runtime.log");
    let mut runtime = Runtime::start(dir.path(), &log, &["run", "-c", "highwater.yaml"], &[])?;
    let is_live = look_every(Duration::from_millis(50), Duration::from_secs(60), || {
        let copy = Connection::open(dir.path().join("copy.db")).ok()?;
        let live = "SELECT 1 FROM _highwater_ledger WHERE checkpoint LIKE '%live%'";
        copy.query_row(live, [], |_| Ok(())).ok()
    });
    assert!(is_live.is_some(), "never live: {}", runtime.last_words());
    let idle = runtime.resident_bytes().unwrap_or_default();

    let rows = bytes / ROW_BYTES;
    source.execute(FILL, [rows as i64]).map_err(io::Error::other)?;
    run.did();
    let is_through = look_every(Duration::from_millis(200), Duration::from_secs(600), || {
        let has_ended = runtime.ended().ok()?.is_some();
        assert!(!has_ended, "ended by itself: {}", runtime.last_words());
        (listed_rows(&dir.path().join("lake")).ok()? >= rows && rows_of(&dir.path().join("copy.db")).ok()? >= rows)
            .then_some(())
    });
    assert!(
        is_through.is_some(),
        "not through after 10 minutes: {}",
        runtime.last_words()
    );
    let peak = runtime.peak_resident_bytes().unwrap_or_default();
    say(&format!(
        "{} MiB in one transaction: resident {} MiB idle, {} MiB at most",
        bytes >> 20,
        idle >> 20,
        peak >> 20
    ));
    runtime.signal(rustix::process::Signal::TERM)?;
    let ended = runtime.wait(Duration::from_secs(60))?;
    assert_eq!(
        ended.and_then(|status| status.code()),
        Some(0),
        "{}",
        runtime.last_words()
    );

    let differing = "SELECT count(*) FROM (SELECT * FROM large EXCEPT SELECT * FROM copy.large)";
    source
        .execute("ATTACH ?1 AS copy", [dir.path().join("copy.db").display().to_string()])
        .map_err(io::Error::other)?;
    let differing: i64 = source
        .query_row(differing, [], |row| row.get(0))
        .map_err(io::Error::other)?;
    assert_eq!((differing, rows_of(&dir.path().join("copy.db"))?), (0, rows));
    assert_eq!(listed_rows(&dir.path().join("lake"))?, rows);
    assert!(
        peak <= RESIDENT_MAX_BYTES,
        "resident {} MiB, at most {} are allowed",
        peak >> 20,
        RESIDENT_MAX_BYTES >> 20
    );
    run.end(&format!("{} MiB, at most {} MiB resident", bytes >> 20, peak >> 20));
    Ok(())
}

fn rows_of(copy: &Path) -> io::Result<u64> {
    let copy = Connection::open(copy).map_err(io::Error::other)?;
    let count = copy.query_row("SELECT count(*) FROM large", [], |row| row.get::<_, i64>(0));
    count.map(|count| count as u64).map_err(io::Error::other)
}

/// How many rows the manifests list; each file once.
fn listed_rows(lake: &Path) -> io::Result<u64> {
    #[derive(Deserialize)]
    struct Manifest {
        files: Vec<Listed>,
    }
    #[derive(Deserialize, PartialEq, Eq, PartialOrd, Ord)]
    struct Listed {
        path: String,
        row_count: u64,
    }
    let mut listed = BTreeSet::new();
    for folder in ["_highwater/shop.lake", "_highwater/shop.lake/compacted"] {
        let Ok(entries) = std::fs::read_dir(lake.join(folder)) else {
            continue;
        };
        for entry in entries {
            let path = entry?.path();
            if path.extension().is_some_and(|end| end == "json" || end == "jsonl") {
                let text = std::fs::read_to_string(path)?;
                for manifest in serde_json::Deserializer::from_str(&text).into_iter::<Manifest>() {
                    listed.extend(manifest.map_err(io::Error::other)?.files);
                }
            }
        }
    }
    Ok(listed.iter().map(|file| file.row_count).sum())
}
