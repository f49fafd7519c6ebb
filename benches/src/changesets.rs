//! Source to `null`: what durable checkpoints cost, against checkpoints that are only kept in memory.

use std::time::Instant;

use serde_json::json;

use crate::figure;
use crate::rig::{Result, Rig, block_on, database, insert, until_rows};

const EXISTING: i64 = 1_000;
const ROWS: i64 = 400_000;

pub(crate) fn run() -> Result<()> {
    let [on, off] = figure::medians([&mut || throughput(true), &mut || throughput(false)])?;
    figure::print(
        "change rows/s to null, durable checkpoints",
        on,
        "rows/s",
        "checkpoints in memory",
        off,
        ">= 0.98",
    );
    Ok(())
}

fn throughput(is_durable: bool) -> Result<f64> {
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("source.db");
    database(&path, EXISTING)?;
    block_on(async {
        let rig = Rig {
            is_durable,
            ..Rig::new("null", json!({}))
        };
        let runtime = Rig::start(dir.path(), &path, vec![("sink", rig)]).await?;
        until_rows(&runtime, EXISTING).await?;
        let db = rusqlite::Connection::open(&path)?;
        for batch in 0..ROWS / 1_000 {
            insert(&db, EXISTING + 1 + batch * 1_000, 1_000)?;
        }
        // What the writer's triggers left for us to read: timed from here, so that the writer's speed does not count.
        let already = runtime.status()[0].destinations[0].rows;
        let started = Instant::now();
        until_rows(&runtime, EXISTING + ROWS).await?;
        let rate = (EXISTING + ROWS - already as i64) as f64 / started.elapsed().as_secs_f64();
        runtime.drain(std::time::Duration::from_secs(60)).await;
        Ok(rate)
    })
}
