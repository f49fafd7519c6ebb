//! One destination against three: rows/s of the source's side.
//!
//! All are `null`, so that what is measured is the fan-out and not the work of three systems on the processors of one machine.

use std::time::{Duration, Instant};

use serde_json::json;

use super::server::{Backlog, rows};
use crate::figure;
use crate::rig::{Result, Rig, block_on, tokio_runtime, until_rows};

const ROWS: i64 = 1_000_000;
const SINKS: [&str; 3] = ["sink", "second", "third"];

pub(crate) fn run() -> Result<()> {
    let write: Vec<String> = (0..ROWS / 1_000)
        .map(|at| rows(at * 1_000 + 1, (at + 1) * 1_000))
        .collect();
    // The backlog's own connection lives on it.
    let runtime = tokio_runtime()?;
    let backlog = runtime.block_on(Backlog::make(sinks(3), &write))?;
    let [three, one] = figure::medians([&mut || throughput(&backlog, 3), &mut || throughput(&backlog, 1)])?;
    figure::print(
        "PostgreSQL to three destinations",
        three,
        "rows/s",
        "to one",
        one,
        ">= 0.9",
    );
    Ok(())
}

fn sinks(count: usize) -> Vec<(&'static str, Rig)> {
    SINKS[..count]
        .iter()
        .map(|name| (*name, Rig::new("null", json!({}))))
        .collect()
}

fn throughput(backlog: &Backlog, count: usize) -> Result<f64> {
    block_on(async {
        let state = backlog.state()?;
        let started = Instant::now();
        let runtime = backlog.runtime(state.path(), sinks(count)).await?;
        until_rows(&runtime, ROWS).await?;
        let rate = ROWS as f64 / started.elapsed().as_secs_f64();
        runtime.drain(Duration::from_secs(60)).await;
        Ok(rate)
    })
}
