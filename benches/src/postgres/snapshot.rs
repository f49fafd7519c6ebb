//! The first read to `null`, against the same queries read and discarded, and a plain `COPY` beside it.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;
use test_systems::Postgres;
use tokio_stream::StreamExt;

use super::server::{TABLE, connect, items, rows, source, start};
use crate::figure;
use crate::rig::{Result, Rig, block_on, tokio_runtime, until_rows};

const ROWS: i64 = 2_000_000;
/// As many rows as one of the source's pages.
const PAGE_ROWS: i64 = 50_000;

pub(crate) fn run() -> Result<()> {
    let server = start()?;
    tokio_runtime()?.block_on(async {
        let client = connect(&server).await?;
        client.batch_execute(TABLE).await?;
        client.batch_execute(&rows(1, ROWS)).await?;
        client.batch_execute("VACUUM (ANALYZE, FREEZE) items").await?;
        Result::Ok(())
    })?;
    for connections in [1, 4] {
        let [ours, pages, plain] = figure::medians([
            &mut || ours(&server, connections),
            &mut || discard(&server, connections, PAGE_ROWS),
            &mut || discard(&server, 1, ROWS),
        ])?;
        let what = format!("PostgreSQL first read to null, {connections} connection(s)");
        figure::print(&what, ours, "rows/s", "the same queries, discarded", pages, ">= 0.9");
        figure::print(&what, ours, "rows/s", "one plain COPY, discarded", plain, "beside it");
    }
    Ok(())
}

fn ours(server: &Postgres, connections: i64) -> Result<f64> {
    static RUN: AtomicU32 = AtomicU32::new(0);
    let name = format!("bench_first_read_{}", RUN.fetch_add(1, Ordering::Relaxed));
    block_on(async {
        let dir = tempfile::tempdir()?;
        let source = source(server, json!({ "slot": name, "connections": connections }))?;
        let started = Instant::now();
        let runtime = Rig::start_from(dir.path(), source, items(), vec![("sink", Rig::new("null", json!({})))]).await?;
        until_rows(&runtime, ROWS).await?;
        let rate = ROWS as f64 / started.elapsed().as_secs_f64();
        runtime.drain(Duration::from_secs(60)).await;
        connect(server)
            .await?
            .batch_execute(&format!("SELECT pg_drop_replication_slot('{name}')"))
            .await?;
        Ok(rate)
    })
}

/// Reads ranges of the key over several connections, and looks at nothing.
fn discard(server: &Postgres, connections: i64, page_rows: i64) -> Result<f64> {
    block_on(async {
        let started = Instant::now();
        let readers = (0..connections).map(|connection| async move {
            let client = connect(server).await?;
            for page in (0..ROWS / page_rows).filter(|page| page % connections == connection) {
                let (from, to) = (page * page_rows, (page + 1) * page_rows);
                let sql =
                    format!("COPY (SELECT * FROM items WHERE id > {from} AND id <= {to}) TO STDOUT (FORMAT binary)");
                let rows = client.copy_out(&sql).await?;
                tokio::pin!(rows);
                while let Some(chunk) = rows.next().await {
                    chunk?;
                }
            }
            Result::Ok(())
        });
        for done in futures::future::join_all(readers).await {
            done?;
        }
        Ok(ROWS as f64 / started.elapsed().as_secs_f64())
    })
}
