//! Commit at the source to visible at the destination, at a steady rate.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::figure;
use crate::rig::{Result, Rig, block_on, database, insert, until_rows};

const COMMITS: i64 = 1_000;
/// Two hundred commits a second of ten rows each: far below what the pipeline can do, as an application would.
const INTERVAL: Duration = Duration::from_millis(5);
const ROWS_PER_COMMIT: i64 = 10;

pub(crate) fn run() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let (source, copy) = (dir.path().join("source.db"), dir.path().join("copy.db"));
    database(&source, 1_000)?;
    let waits = block_on(async {
        let runtime = Rig::start(
            dir.path(),
            &source,
            vec![("copy", Rig::new("sqlite", json!({ "path": copy })))],
        )
        .await?;
        until_rows(&runtime, 1_000).await?;
        let (path, reader_path) = (source.clone(), copy.clone());
        let (committed, commits) = std::sync::mpsc::channel::<(i64, Instant)>();
        let writer = std::thread::spawn(move || -> std::result::Result<(), String> {
            let db = rusqlite::Connection::open(path).map_err(|e| e.to_string())?;
            db.execute_batch("PRAGMA synchronous = NORMAL; PRAGMA busy_timeout = 5000")
                .map_err(|e| e.to_string())?;
            let started = Instant::now();
            for commit in 0..COMMITS {
                let from = 1_001 + commit * ROWS_PER_COMMIT;
                insert(&db, from, ROWS_PER_COMMIT).map_err(|e| e.to_string())?;
                committed
                    .send((from + ROWS_PER_COMMIT - 1, Instant::now()))
                    .map_err(|e| e.to_string())?;
                std::thread::sleep(
                    (started + INTERVAL * (commit as u32 + 1)).saturating_duration_since(Instant::now()),
                );
            }
            Ok(())
        });
        let reader = tokio::task::spawn_blocking(move || -> std::result::Result<Vec<f64>, String> {
            let db = rusqlite::Connection::open(reader_path).map_err(|e| e.to_string())?;
            let mut newest = db.prepare("SELECT max(id) FROM items").map_err(|e| e.to_string())?;
            let mut waits = Vec::new();
            for (id, at) in commits {
                while newest
                    .query_row([], |row| row.get::<_, Option<i64>>(0))
                    .map_err(|e| e.to_string())?
                    < Some(id)
                {
                    std::thread::sleep(Duration::from_micros(500));
                }
                waits.push(at.elapsed().as_secs_f64() * 1e3);
            }
            Ok(waits)
        });
        let waits = reader.await??;
        writer.join().map_err(|_| "the writer panicked")??;
        runtime.drain(Duration::from_secs(60)).await;
        Ok(waits)
    })?;
    figure::print_waits(
        "commit -> visible, SQLite -> SQLite, 200 commits/s",
        waits,
        "p99 <= 30 ms",
    );
    Ok(())
}
