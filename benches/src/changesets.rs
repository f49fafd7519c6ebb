//! A source that makes rows as fast as it can, to `null`: what durable checkpoints cost, against checkpoints that are only
//! kept in memory.

use std::sync::Arc;
use std::time::{Duration, Instant};

use model::StreamId;
use serde_json::json;

use crate::figure;
use crate::generator::{BATCH_ROWS, Generator};
use crate::rig::{Result, Rig, block_on, until_rows};

/// Enough that many checkpoints are stored meanwhile.
const ROWS: i64 = 40_000 * BATCH_ROWS;

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
    block_on(async {
        let rig = Rig {
            is_durable,
            ..Rig::new("null", json!({}))
        };
        let started = Instant::now();
        let source = Arc::new(Generator::new(ROWS)?);
        let runtime = Rig::start_from(dir.path(), source, StreamId::new("items"), vec![("sink", rig)]).await?;
        until_rows(&runtime, ROWS).await?;
        let rate = ROWS as f64 / started.elapsed().as_secs_f64();
        runtime.drain(Duration::from_secs(60)).await;
        Ok(rate)
    })
}
