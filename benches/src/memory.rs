//! Resident memory with one destination throttled: the budget and a fixed part.

use std::sync::Arc;
use std::time::{Duration, Instant};

use api::testing::{Pace, ThrottledDestination};
use serde_json::json;

use crate::rig::{Result, Rig, block_on, database, insert};

const BUDGET: usize = 64 << 20;

pub(crate) fn run() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let source = dir.path().join("source.db");
    database(&source, 1_000)?;
    let before = resident_bytes()?;
    let peak = block_on(async {
        let pace = Pace::full();
        pace.rows_per_second(Some(5_000.0));
        let rig = |connector, path: &str| Rig {
            memory_bytes: BUDGET,
            window_max_bytes: BUDGET / 4,
            ..Rig::new(connector, json!({ "path": dir.path().join(path) }))
        };
        let throttled = Rig {
            wrap: Some(Arc::new(move |inner| Box::new(ThrottledDestination::new(inner, &pace)))),
            ..rig("sqlite", "slow.db")
        };
        let runtime = Rig::start(
            dir.path(),
            &source,
            vec![("quick", rig("sqlite", "quick.db")), ("slow", throttled)],
        )
        .await?;
        let writer = std::thread::spawn({
            let source = source.clone();
            move || -> std::result::Result<(), String> {
                let db = rusqlite::Connection::open(source).map_err(|e| e.to_string())?;
                (0..1_000).try_for_each(|batch| insert(&db, 1_001 + batch * 1_000, 1_000).map_err(|e| e.to_string()))
            }
        });
        let (started, mut peak) = (Instant::now(), 0);
        while started.elapsed() < Duration::from_secs(20) {
            peak = peak.max(resident_bytes()?);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        writer.join().map_err(|_| "the writer panicked")??;
        let held_by = runtime.status()[0].spool.held_by.clone();
        println!("  held by {held_by:?} when measured");
        Ok(peak)
    })?;
    println!(
        "  resident, one destination at 5,000 rows/s        {} MiB, of which {} MiB before it started  (aim <= {} MiB)",
        peak >> 20,
        before >> 20,
        (BUDGET >> 20) + 64
    );
    Ok(())
}

/// Our resident set.
pub(crate) fn resident_bytes() -> Result<usize> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .ok_or("no VmRSS")?;
    let kib: usize = line.split_whitespace().nth(1).ok_or("no figure")?.parse()?;
    Ok(kib * 1024)
}
