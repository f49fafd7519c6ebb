//! A server with a table, a backlog in its log, and slots that stand before that backlog.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use actors::Runtime;
use api::{BuildContext, Source};
use model::StreamId;
use postgres::connect::{Connection, Settings};
use serde_json::json;
use test_systems::{Postgres, PostgresOptions};

use crate::rig::{Result, Rig, registry, until_rows};

/// The slot and the publication of the benches' pipeline.
pub(super) const NAME: &str = "highwater_bench";
/// A slot that stands where the backlog begins, to copy others from.
const BASE: &str = "bench_base";

pub(super) fn start() -> Result<Postgres> {
    let options = PostgresOptions::default()
        .set("shared_buffers", "512MB")
        .set("max_wal_size", "8GB")
        .set("checkpoint_timeout", "1h")
        .set("wal_keep_size", "4GB")
        .set("autovacuum", "off");
    Ok(Postgres::start_with(&options)?)
}

pub(super) fn settings(server: &Postgres) -> Result<Settings> {
    let spec = serde_json::from_value(json!({ "url": server.url("postgres") }))?;
    Ok(Settings::new(&spec, &here())?)
}

pub(super) async fn connect(server: &Postgres) -> Result<Connection> {
    Ok(settings(server)?.connect().await?)
}

pub(super) fn source(server: &Postgres, more: serde_json::Value) -> Result<Arc<dyn Source>> {
    let mut spec = json!({ "url": server.url("postgres") });
    if let (Some(spec), serde_json::Value::Object(more)) = (spec.as_object_mut(), more) {
        spec.extend(more);
    }
    Ok(Arc::from(registry().sources["postgres"].build(spec, &here())?))
}

fn here() -> BuildContext {
    BuildContext {
        base_dir: PathBuf::from("."),
    }
}

pub(super) fn items() -> StreamId {
    StreamId::in_schema("public", "items")
}

/// The shape of `items` everywhere.
pub(super) const TABLE: &str = "CREATE TABLE items(
    id bigint PRIMARY KEY, name text, note text, count integer, total bigint, price double precision, amount numeric(12,2),
    status text, at timestamptz, token uuid)";

/// Rows `from..=to` of about 130 bytes.
pub(super) fn rows(from: i64, to: i64) -> String {
    format!(
        "INSERT INTO items SELECT i, 'name ' || i, 'a text of some length ' || (i * 7), i % 100000, -i, i / 3.0, (i % 1000000) / 100.0,
             'status ' || (i % 5), timestamptz '2026-01-01' + i * interval '1 second',
             ('00000000-0000-4000-8000-' || lpad(to_hex(i), 12, '0'))::uuid
         FROM generate_series({from}::bigint, {to}::bigint) i"
    )
}

/// A pipeline that stands at the head, stopped, and then a backlog: what a reader of the log finds at its start.
pub(super) struct Backlog {
    pub(super) server: Postgres,
    /// State of the stopped pipeline, to start from again and again.
    state: tempfile::TempDir,
    pub(super) client: Connection,
    /// Where the backlog ends.
    pub(super) end: String,
}

impl Backlog {
    /// Makes the pipeline, then lets `write` make the backlog.
    pub(super) async fn make(rigs: Vec<(&str, Rig)>, write: &[String]) -> Result<Self> {
        let server = start()?;
        let client = connect(&server).await?;
        client.batch_execute(TABLE).await?;
        let state = tempfile::tempdir()?;
        let runtime = Rig::start_from(state.path(), source(&server, json!({}))?, items(), rigs).await?;
        until_live(&runtime).await?;
        runtime.drain(Duration::from_secs(60)).await;
        client
            .batch_execute(&format!("SELECT pg_copy_logical_replication_slot('{NAME}', '{BASE}')"))
            .await?;
        for sql in write {
            client.batch_execute(sql).await?;
        }
        // Read from memory by everybody alike.
        client.batch_execute("CHECKPOINT").await?;
        let end: String = client.query_one("SELECT pg_current_wal_lsn()::text", &[]).await?.get(0);
        Ok(Backlog {
            server,
            state,
            client,
            end,
        })
    }

    /// A slot that stands before the backlog.
    pub(super) async fn slot(&self, name: &str) -> Result<()> {
        self.drop_slot(name).await?;
        self.client
            .batch_execute(&format!("SELECT pg_copy_logical_replication_slot('{BASE}', '{name}')"))
            .await?;
        Ok(())
    }

    pub(super) async fn drop_slot(&self, name: &str) -> Result<()> {
        self.client
            .batch_execute(&format!(
                "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = '{name}' AND NOT active"
            ))
            .await?;
        Ok(())
    }

    /// A copy of the stopped pipeline's state.
    pub(super) fn state(&self) -> Result<tempfile::TempDir> {
        let copy = tempfile::tempdir()?;
        copy_tree(self.state.path(), copy.path())?;
        Ok(copy)
    }

    /// Starts the pipeline again, before the backlog.
    pub(super) async fn runtime(&self, dir: &Path, rigs: Vec<(&str, Rig)>) -> Result<Runtime> {
        self.slot(NAME).await?;
        Rig::start_from(dir, source(&self.server, json!({}))?, items(), rigs).await
    }
}

/// Waits until the read of existing rows is over everywhere.
pub(super) async fn until_live(runtime: &Runtime) -> Result<()> {
    until_rows(runtime, 0).await?;
    let deadline = std::time::Instant::now() + Duration::from_secs(60);
    let is_live = |runtime: &Runtime| {
        let mut streams = runtime.status()[0].streams.clone().into_iter().peekable();
        streams.peek().is_some() && streams.all(|stream| stream.destinations.values().all(|state| *state == "live"))
    };
    while !is_live(runtime) {
        if std::time::Instant::now() > deadline {
            return Err(format!("the first read is not over after a minute: {:?}", runtime.status()).into());
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    Ok(())
}

fn copy_tree(from: &Path, to: &Path) -> Result<()> {
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            std::fs::create_dir_all(&target)?;
            copy_tree(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
