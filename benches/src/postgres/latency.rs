//! Commit at the source to visible at the destination, at a steady rate.

use std::time::{Duration, Instant};

use serde_json::json;

use super::server::{TABLE, connect, items, rows, source, start, until_live};
use crate::figure;
use crate::rig::{Result, Rig, block_on};

/// Together five thousand rows a second.
const INTERVAL: Duration = Duration::from_millis(4);
const ROWS_PER_COMMIT: i64 = 20;
const COMMITS: i64 = 5_000;

pub(crate) fn run() -> Result<()> {
    let (server, target) = (start()?, start()?);
    let waits = block_on(async {
        let (writer, reader) = (connect(&server).await?, connect(&target).await?);
        writer.batch_execute(TABLE).await?;
        let dir = tempfile::tempdir()?;
        let rig = Rig::new("postgres", json!({ "url": target.url("postgres") }));
        let runtime = Rig::start_from(dir.path(), source(&server, json!({}))?, items(), vec![("copy", rig)]).await?;
        until_live(&runtime).await?;
        let (committed, mut commits) = tokio::sync::mpsc::unbounded_channel::<(i64, Instant)>();
        let writing = tokio::spawn(async move {
            let mut due = tokio::time::interval(INTERVAL);
            for commit in 0..COMMITS {
                due.tick().await;
                let last = (commit + 1) * ROWS_PER_COMMIT;
                writer
                    .batch_execute(&rows(last - ROWS_PER_COMMIT + 1, last))
                    .await
                    .map_err(|error| error.to_string())?;
                let _ = committed.send((last, Instant::now()));
            }
            Ok::<_, String>(())
        });
        let newest = reader.prepare("SELECT max(id) FROM items").await?;
        let mut waits = Vec::new();
        let mut seen = None;
        while let Some((id, at)) = commits.recv().await {
            while seen < Some(id) {
                seen = reader.query_one(&newest, &[]).await?.get::<_, Option<i64>>(0);
                if seen < Some(id) {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            }
            waits.push(at.elapsed().as_secs_f64() * 1e3);
        }
        writing.await??;
        runtime.drain(Duration::from_secs(60)).await;
        Ok(waits)
    })?;
    figure::print_waits(
        "commit -> visible, PostgreSQL -> PostgreSQL, 5,000 rows/s",
        waits,
        "p99 < 50 ms",
    );
    Ok(())
}
