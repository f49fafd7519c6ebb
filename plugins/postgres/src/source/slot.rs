//! The replication slot that keeps the log for the pipeline.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use tokio_postgres::Client;

use super::catalogue::{Server, lsn};
use super::error::{Error, sql};
use super::spec::{Names, PostgresSourceSpec};
use super::window::not_created;
use crate::connect::Settings;
use crate::identifier::quote_literal;
use crate::replication::{self, Lsn};

/// How long an active slot may take to become free: the server holds a dead client's slot until it notices.
const FREE_WITHIN: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// A slot as the server has it.
#[derive(Debug, Clone)]
pub(crate) struct Slot {
    pub(crate) plugin: Option<String>,
    pub(crate) database: Option<String>,
    pub(crate) is_temporary: bool,
    pub(crate) active_pid: Option<i32>,
    /// Changes that were committed before it are gone.
    pub(crate) confirmed_flush: Option<Lsn>,
    /// Why it is of no use any more, if so.
    pub(crate) lost: Option<String>,
}

impl Slot {
    pub(crate) async fn find(client: &Client, name: &str) -> api::Result<Option<Slot>> {
        let row = client
            .query_opt(
                "SELECT plugin::text, database::text, temporary, active_pid, confirmed_flush_lsn::text,
                        CASE WHEN to_jsonb(s)->>'invalidation_reason' IS NOT NULL
                               THEN 'it was invalidated (' || (to_jsonb(s)->>'invalidation_reason') || ')'
                             WHEN wal_status = 'lost' THEN 'the log that it needs was removed (max_slot_wal_keep_size)'
                             WHEN to_jsonb(s)->>'conflicting' = 'true' THEN 'it conflicted with recovery on this standby' END
                 FROM pg_replication_slots s WHERE slot_name = $1",
                &[&name],
            )
            .await
            .map_err(sql("look for the replication slot"))?;
        let Some(row) = row else {
            return Ok(None);
        };
        let confirmed: Option<String> = row.get(4);
        Ok(Some(Slot {
            plugin: row.get(0),
            database: row.get(1),
            is_temporary: row.get(2),
            active_pid: row.get(3),
            confirmed_flush: confirmed.as_deref().map(lsn).transpose()?,
            lost: row.get(5),
        }))
    }

    /// Why the slot is not one that this source could read from.
    pub(crate) fn unfit(&self, name: &str, server: &Server) -> Option<Error> {
        let other = |whose: String| Error::OtherSlot {
            slot: name.to_owned(),
            whose,
        };
        match (&self.plugin, &self.database, &self.lost) {
            (None, _, _) => Some(other("a physical standby".to_owned())),
            (Some(plugin), _, _) if plugin != "pgoutput" => {
                Some(other(format!("the output plugin `{plugin}`, expected `pgoutput`")))
            }
            (_, Some(database), _) if *database != server.database => Some(other(format!("database `{database}`"))),
            _ if self.is_temporary => Some(other("a session, for which it is temporary".to_owned())),
            (_, _, Some(why)) => Some(Error::SlotLost {
                slot: name.to_owned(),
                why: why.clone(),
            }),
            _ => None,
        }
    }
}

/// The statement that makes a slot.
pub(crate) fn create_statement(slot: &str) -> String {
    format!(
        "SELECT pg_create_logical_replication_slot({}, 'pgoutput');",
        quote_literal(slot)
    )
}

/// Finds the pipeline's slot, or makes it if it may; waits until nobody else uses it, and with
/// `take_over` ends whoever does. Answers from where it can be read.
pub(crate) async fn ensure(
    client: &Client,
    settings: &Settings,
    replication: &mut replication::Connection,
    names: &Names,
    spec: &PostgresSourceSpec,
    server: &Server,
    take_over: bool,
) -> api::Result<Lsn> {
    let name = &names.slot;
    let mut ended = BTreeSet::new();
    let since = Instant::now();
    loop {
        let Some(slot) = Slot::find(client, name).await? else {
            return create(settings, replication, name, spec, server).await;
        };
        if let Some(unfit) = slot.unfit(name, server) {
            return Err(unfit.into());
        }
        match slot.active_pid {
            None => {
                return slot.confirmed_flush.ok_or_else(|| {
                    Error::SlotLost {
                        slot: name.clone(),
                        why: "it was never made whole".to_owned(),
                    }
                    .into()
                });
            }
            Some(pid) if since.elapsed() > FREE_WITHIN => {
                return Err(Error::SlotActive {
                    slot: name.clone(),
                    pid,
                }
                .into());
            }
            Some(pid) => {
                if take_over && ended.insert(pid) {
                    end(client, name, pid).await;
                }
                tokio::time::sleep(LOOK_EVERY).await;
            }
        }
    }
}

/// Ends the server process that reads the slot. If that is not allowed, the wait for the slot says so in the end.
async fn end(client: &Client, name: &str, pid: i32) {
    // The process may have let go of the slot meanwhile, and its number may be another's.
    let still =
        "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = $1 AND active_pid = $2";
    match client.query_opt(still, &[&name, &pid]).await {
        Ok(_) => tracing::warn!(
            slot = name,
            pid,
            "taken over: the server process of the earlier reader is ended"
        ),
        Err(error) => {
            tracing::warn!(slot = name, pid, %error, "the server process of the earlier reader cannot be ended")
        }
    }
}

async fn create(
    settings: &Settings,
    replication: &mut replication::Connection,
    name: &str,
    spec: &PostgresSourceSpec,
    server: &Server,
) -> api::Result<Lsn> {
    if !spec.create {
        return Err(Error::NoSlot {
            slot: name.to_owned(),
            create: create_statement(name),
        }
        .into());
    }
    if server.slots_used >= server.slots_max {
        return Err(Error::SlotsTaken {
            slot: name.to_owned(),
            max: server.slots_max,
        }
        .into());
    }
    fail::fail_point!("postgres.source.before_create_slot");
    let wait = spec.window_wait.max(FREE_WITHIN);
    let created = replication
        .create_slot(&replication::NewSlot {
            name,
            temporary: false,
            snapshot: replication::Snapshot::Nothing,
            failover: spec.failover && server.version >= 170_000,
            two_phase: false,
            lock_timeout: wait,
        })
        .await;
    let created = match created {
        Ok(created) => created,
        Err(error) => return Err(not_created(settings, error, wait).await),
    };
    fail::fail_point!("postgres.source.after_create_slot");
    tracing::info!(slot = name, at = %created.consistent_point, "replication slot made");
    Ok(created.consistent_point)
}

/// Removes a slot; whether there was one.
pub(crate) async fn drop(client: &Client, name: &str) -> api::Result<bool> {
    let since = Instant::now();
    loop {
        let Some(slot) = Slot::find(client, name).await? else {
            return Ok(false);
        };
        match slot.active_pid {
            None => break,
            Some(pid) if since.elapsed() > FREE_WITHIN => {
                return Err(Error::SlotActive {
                    slot: name.to_owned(),
                    pid,
                }
                .into());
            }
            Some(_) => tokio::time::sleep(LOOK_EVERY).await,
        }
    }
    client
        .execute("SELECT pg_drop_replication_slot($1)", &[&name])
        .await
        .map_err(sql("drop the replication slot"))?;
    Ok(true)
}
