//! The session lock: one process at a time drives a lane of a database, and a newcomer is told who.
//!
//! Constraints:
//! - the lock is an advisory lock of the session that writes, so it is gone when that session is gone, whatever happened;
//! - it is a courtesy. What keeps a stale writer from committing is the generation in the ledger;
//! - a pooler in transaction mode gives no session to hold it: then there is none.

use api::Lane;
use xxhash_rust::xxh3::xxh3_64;

use super::error::{Error, Result, sql};
use super::ledger;
use super::link::Link;
use super::server_error;

/// How long a newcomer waits before it refuses: the server notices only after a moment that a client is gone.
const WAIT_MAX_MS: u32 = 2_000;

/// Takes the lock. A holder of our own process is a stale one, and with `take_over` any is: its server process is ended.
pub(crate) async fn take(link: &Link, lane: &Lane) -> Result<()> {
    if link.is_pooled() {
        return Ok(());
    }
    let key = key_of(lane);
    let doing = || sql("take the session lock");
    let tried = link
        .rows(&format!("SELECT pg_try_advisory_lock({key})"))
        .await
        .map_err(doing())?;
    if tried.first().and_then(|row| row.get(0)) == Some("t") {
        return Ok(());
    }
    let owner = match ledger::exists(link).await? {
        true => ledger::read(link, lane, false).await?.map(|row| row.owner),
        false => None,
    };
    let backend = holder(link, key).await?;
    let is_own = owner.as_ref().is_some_and(|owner| owner.id == lane.owner.id);
    if let Some(backend) = backend.filter(|_| is_own || lane.take_over)
        && let Err(error) = link.run(&format!("SELECT pg_terminate_backend({backend})")).await
    {
        tracing::warn!(%error, backend, "the server process of the earlier owner cannot be ended");
    }
    let waiting = format!("BEGIN; SET LOCAL lock_timeout = {WAIT_MAX_MS}; SELECT pg_advisory_lock({key}); COMMIT");
    match link.run(&waiting).await {
        Ok(()) => Ok(()),
        Err(error) if server_error::is_contention(&error) => {
            link.run("ROLLBACK").await.map_err(doing())?;
            if lane.take_over {
                // Fencing does not need the lock, and the one that holds it cannot commit after it.
                tracing::warn!(backend, "going on without the session lock of the earlier owner");
                return Ok(());
            }
            Err(Error::Held {
                pipeline: lane.pipeline.clone(),
                destination: lane.destination.clone(),
                owner: owner.map_or_else(|| "another process".to_owned(), |owner| owner.to_string()),
                backend,
            })
        }
        Err(error) => Err(doing()(error)),
    }
}

async fn holder(link: &Link, key: i64) -> Result<Option<i32>> {
    let (high, low) = ((key as u64) >> 32, key as u64 & 0xffff_ffff);
    let rows = link
        .rows(&format!(
            "SELECT pid FROM pg_catalog.pg_locks WHERE locktype = 'advisory' AND granted AND objsubid = 1 \
             AND classid = {high} AND objid = {low} \
             AND database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())"
        ))
        .await
        .map_err(sql("look for the holder of the session lock"))?;
    Ok(rows.first().and_then(|row| row.get(0)).and_then(|pid| pid.parse().ok()))
}

fn key_of(lane: &Lane) -> i64 {
    let name = format!("highwater\0{}\0{}\0{}", lane.pipeline, lane.destination, lane.lane);
    xxh3_64(name.as_bytes()) as i64
}

/// Gives the lock back.
pub(crate) async fn release(link: &Link, lane: &Lane) -> Result<()> {
    if link.is_pooled() {
        return Ok(());
    }
    link.run(&format!("SELECT pg_advisory_unlock({})", key_of(lane)))
        .await
        .map_err(sql("give the session lock back"))
}
