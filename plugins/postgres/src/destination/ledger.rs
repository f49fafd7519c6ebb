//! The ledger: what this database holds of each pipeline, in the same transactions as the rows.
//!
//! # What is stored
//!
//! Table `_highwater.ledger`, one row for each lane, format 1:
//!
//! | column | type | meaning |
//! |---|---|---|
//! | `pipeline`, `destination`, `lane` | text, text, int4 | whose cursor this is; the primary key |
//! | `format` | int4 | of this row: 1 |
//! | `generation` | int8 | grows by one with each open; a commit checks it |
//! | `commits` | int8 | grows by one with each commit; a commit checks it: a row that was restored from a backup is noticed |
//! | `owner` | text | whose generation it is, as JSON: `id`, `host`, `pid` |
//! | `source` | text | the ids of the source's logs, as a JSON array: the identity of its history |
//! | `checkpoint` | text | as JSON; NULL before the first commit |
//! | `streams` | text | JSON object: stream to [`StreamEntry`] |
//! | `plan_hash` | text | the meaning of the rows, as of the checkpoint |
//! | `committed_at` | timestamptz | when the last commit was made, by the server's clock |
//!
//! Schema `_highwater` also holds the side tables `seen_...`, which note the keys that a mirroring read has met.

use std::collections::BTreeMap;

use api::{Holds, Lane, Owner};
use model::{Checkpoint, DestinationId, PipelineId, SchemaId, StreamId};
use serde::{Deserialize, Serialize};
use tokio_postgres::types::{ToSql, Type};

use super::error::{Error, Result, sql};
use super::link::Link;
use crate::identifier::Relation;

/// The schema that is ours.
pub(crate) const SCHEMA: &str = "_highwater";

/// What this version writes and reads.
const FORMAT: i32 = 1;

const CREATE: &str = r#"CREATE TABLE IF NOT EXISTS "_highwater"."ledger" (
    "pipeline" text NOT NULL,
    "destination" text NOT NULL,
    "lane" int4 NOT NULL,
    "format" int4 NOT NULL,
    "generation" int8 NOT NULL,
    "commits" int8 NOT NULL DEFAULT 0,
    "owner" text NOT NULL,
    "source" text NOT NULL DEFAULT '[]',
    "checkpoint" text,
    "streams" text NOT NULL DEFAULT '{}',
    "plan_hash" text,
    "committed_at" timestamptz,
    PRIMARY KEY ("pipeline", "destination", "lane")
) WITH (fillfactor = 50)"#;

/// What is known of one stream's table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StreamEntry {
    /// The schema that was applied last.
    pub(crate) schema: SchemaId,
    /// The table.
    pub(crate) table: TableName,
    /// The key columns; empty for an appended table.
    pub(crate) key: Vec<String>,
    /// The type of each column as it was declared for us: a change at the source is told from a choice of the user by it.
    #[serde(default)]
    pub(crate) declared: BTreeMap<String, String>,
    /// Whether we created the table, and may create it anew when it is emptied.
    #[serde(default)]
    pub(crate) is_ours: bool,
    /// The run whose keys are being noted, so that rows it does not meet can go.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) noting: Option<u32>,
}

/// A table's name as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct TableName {
    pub(crate) schema: String,
    pub(crate) name: String,
}

impl TableName {
    pub(crate) fn relation(&self) -> Relation {
        Relation {
            schema: self.schema.clone(),
            name: self.name.clone(),
        }
    }
}

/// The streams of a lane.
pub(crate) type Streams = BTreeMap<StreamId, StreamEntry>;

/// A lane's row.
#[derive(Debug, Clone)]
pub(crate) struct LedgerRow {
    pub(crate) generation: i64,
    pub(crate) commits: i64,
    pub(crate) owner: Owner,
    pub(crate) checkpoint: Option<Checkpoint>,
    pub(crate) streams: Streams,
    pub(crate) plan_hash: Option<String>,
}

impl LedgerRow {
    pub(crate) fn holds(&self) -> Holds {
        Holds {
            generation: self.generation as u64,
            checkpoint: self.checkpoint.clone(),
            plan_hash: self.plan_hash.clone(),
            schemas: self
                .streams
                .iter()
                .map(|(stream, entry)| (stream.clone(), entry.schema))
                .collect(),
        }
    }
}

/// A lane that has a row.
#[derive(Debug, Clone)]
pub(crate) struct Tenant {
    pub(crate) pipeline: String,
    pub(crate) destination: String,
    pub(crate) lane: i32,
    pub(crate) streams: Streams,
}

/// The three parameters that name a lane's row.
struct Key<'a>(&'a str, &'a str, i32);

impl<'a> Key<'a> {
    fn of(lane: &'a Lane) -> Self {
        Key(lane.pipeline.as_str(), lane.destination.as_str(), lane.lane.into())
    }

    fn params(&self) -> [(&(dyn ToSql + Sync), Type); 3] {
        [(&self.0, Type::TEXT), (&self.1, Type::TEXT), (&self.2, Type::INT4)]
    }
}

const IS_IT: &str = r#"WHERE "pipeline" = $1 AND "destination" = $2 AND "lane" = $3"#;

/// Whether there is a ledger.
pub(crate) async fn exists(link: &Link) -> Result<bool> {
    let rows = link
        .rows(r#"SELECT 1 WHERE to_regclass('"_highwater"."ledger"') IS NOT NULL"#)
        .await
        .map_err(sql("look for the ledger"))?;
    Ok(!rows.is_empty())
}

/// Creates schema and table where they are missing. Asks first: `IF NOT EXISTS` needs the right to create also where there
/// is nothing to create.
pub(crate) async fn ensure(link: &Link) -> Result<()> {
    if exists(link).await? {
        return Ok(());
    }
    let doing = || sql("create the ledger in schema `_highwater`");
    let found = link
        .rows("SELECT 1 FROM pg_namespace WHERE nspname = '_highwater'")
        .await
        .map_err(doing())?;
    if found.is_empty() {
        // Two destinations may begin at one moment; the loser finds the schema there when it is tried again.
        link.run(r#"CREATE SCHEMA IF NOT EXISTS "_highwater""#)
            .await
            .map_err(doing())?;
    }
    link.run(CREATE).await.map_err(doing())
}

/// The lane's row. `FOR UPDATE` waits for whoever is just committing.
pub(crate) async fn read(link: &Link, lane: &Lane, for_update: bool) -> Result<Option<LedgerRow>> {
    let lock = if for_update { " FOR UPDATE" } else { "" };
    let select = format!(
        r#"SELECT "format", "generation", "commits", "owner", "checkpoint", "streams", "plan_hash"
           FROM "_highwater"."ledger" {IS_IT}{lock}"#
    );
    let key = Key::of(lane);
    let rows = link
        .query(&select, &key.params())
        .await
        .map_err(sql("read the ledger"))?;
    let Some(row) = rows.first() else { return Ok(None) };
    decode(row).map(Some).map_err(|what| Error::BadLedger {
        pipeline: lane.pipeline.clone(),
        destination: lane.destination.clone(),
        what,
    })
}

fn decode(row: &tokio_postgres::Row) -> Result<LedgerRow, String> {
    let said = |e: tokio_postgres::Error| e.to_string();
    let format: i32 = row.try_get(0).map_err(said)?;
    if format != FORMAT {
        return Err(format!(
            "its format is {format}, and this version knows format {FORMAT}"
        ));
    }
    let text = |at: usize| row.try_get::<_, Option<String>>(at).map_err(said);
    let named = |column: &str, error: serde_json::Error| format!("column `{column}` does not decode: {error}");
    let checkpoint = match text(4)? {
        Some(text) => Some(serde_json::from_str(&text).map_err(|e| named("checkpoint", e))?),
        None => None,
    };
    Ok(LedgerRow {
        generation: row.try_get(1).map_err(said)?,
        commits: row.try_get(2).map_err(said)?,
        owner: serde_json::from_str(&text(3)?.unwrap_or_default()).map_err(|e| named("owner", e))?,
        checkpoint,
        streams: serde_json::from_str(&text(5)?.unwrap_or_default()).map_err(|e| named("streams", e))?,
        plan_hash: text(6)?,
    })
}

/// Every lane that has a row here, for the check that no two lanes write one table.
pub(crate) async fn tenants(link: &Link) -> Result<Vec<Tenant>> {
    let rows = link
        .query(
            r#"SELECT "pipeline", "destination", "lane", "streams" FROM "_highwater"."ledger""#,
            &[],
        )
        .await
        .map_err(sql("read the ledger"))?;
    rows.iter().map(tenant).collect()
}

fn tenant(row: &tokio_postgres::Row) -> Result<Tenant> {
    let (pipeline, destination): (String, String) = (row.get(0), row.get(1));
    let streams = serde_json::from_str(row.get(3)).map_err(|error| Error::BadLedger {
        pipeline: PipelineId::new(pipeline.as_str()),
        destination: DestinationId::new(destination.as_str()),
        what: format!("column `streams` does not decode: {error}"),
    })?;
    Ok(Tenant {
        pipeline,
        destination,
        lane: row.get(2),
        streams,
    })
}

/// Takes the next generation by compare-and-set, inside an open transaction; creates the row where there is none. Waits for
/// a commit of the earlier owner that is just under way, so that what it returns is what that commit left.
pub(crate) async fn take_generation(link: &Link, lane: &Lane) -> Result<LedgerRow> {
    let owner = json(&lane.owner)?;
    let key = Key::of(lane);
    let mut params = key.params().to_vec();
    params.push((&FORMAT, Type::INT4));
    params.push((&owner, Type::TEXT));
    link.execute(
        r#"INSERT INTO "_highwater"."ledger" ("pipeline", "destination", "lane", "format", "generation", "owner")
           VALUES ($1, $2, $3, $4, 0, $5) ON CONFLICT DO NOTHING"#,
        &params,
    )
    .await
    .map_err(sql("add a row to the ledger"))?;
    let gone = || Error::LedgerGone {
        pipeline: lane.pipeline.clone(),
        destination: lane.destination.clone(),
    };
    let mut row = read(link, lane, true).await?.ok_or_else(gone)?;
    let mut params = key.params().to_vec();
    params.push((&row.generation, Type::INT8));
    params.push((&owner, Type::TEXT));
    let taken = link
        .execute(
            &format!(
                r#"UPDATE "_highwater"."ledger" SET "generation" = $4 + 1, "owner" = $5 {IS_IT} AND "generation" = $4"#
            ),
            &params,
        )
        .await
        .map_err(sql("take the next generation"))?;
    if taken != 1 {
        return Err(gone());
    }
    row.generation += 1;
    row.owner = lane.owner.clone();
    Ok(row)
}

/// Puts the checkpoint into the open transaction, if generation and number of commits are still ours. `streams` only where
/// they changed.
///
/// Returns: whether they were ours.
pub(crate) async fn put_checkpoint(
    link: &Link,
    lane: &Lane,
    generation: i64,
    commits: i64,
    checkpoint: &Checkpoint,
    streams: Option<&Streams>,
) -> Result<bool> {
    let logs: Vec<&str> = checkpoint.log_marks().map(|(id, _)| &**id).collect();
    let (logs, checkpoint) = (json(&logs)?, json(checkpoint)?);
    let streams = streams.map(json).transpose()?;
    let key = Key::of(lane);
    let mut params = key.params().to_vec();
    params.extend([
        (&generation as &(dyn ToSql + Sync), Type::INT8),
        (&commits, Type::INT8),
        (&logs, Type::TEXT),
        (&checkpoint, Type::TEXT),
        (&streams, Type::TEXT),
        (&lane.plan_hash, Type::TEXT),
    ]);
    let update = format!(
        r#"UPDATE "_highwater"."ledger" SET "commits" = $5 + 1, "source" = $6, "checkpoint" = $7,
           "streams" = coalesce($8, "streams"), "plan_hash" = $9, "committed_at" = clock_timestamp()
           {IS_IT} AND "generation" = $4 AND "commits" = $5"#
    );
    let updated = link
        .execute(&update, &params)
        .await
        .map_err(sql("write the checkpoint"))?;
    Ok(updated == 1)
}

/// Removes the lane's row. Returns whether there was one.
pub(crate) async fn remove(link: &Link, lane: &Lane) -> Result<bool> {
    let key = Key::of(lane);
    let removed = link
        .execute(&format!(r#"DELETE FROM "_highwater"."ledger" {IS_IT}"#), &key.params())
        .await
        .map_err(sql("remove the ledger row"))?;
    Ok(removed == 1)
}

/// A lane's row, as a condition in a statement without parameters.
pub(crate) fn is_lane_sql(lane: &Lane) -> String {
    use crate::identifier::quote_literal;
    format!(
        r#""pipeline" = {} AND "destination" = {} AND "lane" = {}"#,
        quote_literal(lane.pipeline.as_str()),
        quote_literal(lane.destination.as_str()),
        lane.lane
    )
}

fn json<T: Serialize + ?Sized>(value: &T) -> Result<String> {
    serde_json::to_string(value).map_err(|source| Error::Encode { source })
}
