//! The ledger: what this database holds of each pipeline, in the same transactions as the rows.
//!
//! # What is stored
//!
//! Table `_highwater_ledger`, one row for each lane, format 1:
//!
//! | column | type | meaning |
//! |---|---|---|
//! | `pipeline`, `destination`, `lane` | text, text, integer | whose cursor this is; the primary key |
//! | `format` | integer | of this row: 1 |
//! | `generation` | integer | grows by one with each open; a commit checks it |
//! | `owner` | text | whose generation it is, as JSON: `id`, `host`, `pid` |
//! | `source` | text | the ids of the source's logs, as a JSON array: the identity of its history |
//! | `checkpoint` | text | as JSON; NULL before the first commit |
//! | `streams` | text | JSON object: stream to [`StreamEntry`] |
//! | `plan_hash` | text | the meaning of the rows, as of the checkpoint |
//! | `committed_at` | text | when the last commit was made, UTC, by the clock of the writer |

use std::collections::BTreeMap;
use std::path::Path;

use api::{Lane, Owner};
use model::{Checkpoint, SchemaId, StreamId};
use rusqlite::{Connection, OptionalExtension as _, Row, params};
use serde::{Deserialize, Serialize};

use super::error::{Error, Result, sql};
use super::form::Form;

/// The table's name.
pub(crate) const TABLE: &str = "_highwater_ledger";

/// What this version writes and reads.
const FORMAT: i64 = 1;

const CREATE: &str = r#"CREATE TABLE IF NOT EXISTS "_highwater_ledger" (
    "pipeline" TEXT NOT NULL,
    "destination" TEXT NOT NULL,
    "lane" INTEGER NOT NULL,
    "format" INTEGER NOT NULL,
    "generation" INTEGER NOT NULL,
    "owner" TEXT NOT NULL,
    "source" TEXT NOT NULL DEFAULT '[]',
    "checkpoint" TEXT,
    "streams" TEXT NOT NULL DEFAULT '{}',
    "plan_hash" TEXT,
    "committed_at" TEXT,
    PRIMARY KEY ("pipeline", "destination", "lane")
)"#;

const SELECT: &str = r#"SELECT "format", "generation", "owner", "checkpoint", "streams", "plan_hash"
    FROM "_highwater_ledger" WHERE "pipeline" = ?1 AND "destination" = ?2 AND "lane" = ?3"#;

const TAKE: &str = r#"UPDATE "_highwater_ledger" SET "generation" = ?4 + 1, "owner" = ?5
    WHERE "pipeline" = ?1 AND "destination" = ?2 AND "lane" = ?3 AND "generation" = ?4"#;

const COMMIT: &str = r#"UPDATE "_highwater_ledger"
    SET "source" = ?5, "checkpoint" = ?6, "streams" = coalesce(?7, "streams"), "plan_hash" = ?8,
        "committed_at" = strftime('%Y-%m-%d %H:%M:%fZ', 'now')
    WHERE "pipeline" = ?1 AND "destination" = ?2 AND "lane" = ?3 AND "generation" = ?4"#;

/// What is known of one stream's table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StreamEntry {
    /// The schema that was applied last.
    pub(crate) schema: SchemaId,
    /// The table, as SQLite's catalogue spells it.
    pub(crate) table: String,
    /// The key columns; empty for an appended table.
    pub(crate) key: Vec<String>,
    /// How the values of each column lie there.
    pub(crate) forms: BTreeMap<String, Form>,
    /// Whether we created the table, and may create it anew when it is emptied.
    #[serde(default)]
    pub(crate) is_ours: bool,
    /// The run whose keys are being noted, so that rows it does not meet can go.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) noting: Option<u32>,
}

/// The streams of a lane.
pub(crate) type Streams = BTreeMap<StreamId, StreamEntry>;

/// A lane's row.
#[derive(Debug, Clone)]
pub(crate) struct LedgerRow {
    pub(crate) generation: u64,
    pub(crate) owner: Owner,
    pub(crate) checkpoint: Option<Checkpoint>,
    pub(crate) streams: Streams,
    pub(crate) plan_hash: Option<String>,
}

/// A lane that has a row, and its owner.
#[derive(Debug, Clone)]
pub(crate) struct Tenant {
    pub(crate) pipeline: String,
    pub(crate) destination: String,
    pub(crate) lane: u16,
    pub(crate) owner: Option<Owner>,
    pub(crate) streams: Streams,
}

/// Whether there is a ledger.
pub(crate) fn exists(conn: &Connection) -> Result<bool> {
    conn.query_row(
        "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?1",
        [TABLE],
        |_| Ok(()),
    )
    .optional()
    .map(|found| found.is_some())
    .map_err(sql("look for the ledger"))
}

pub(crate) fn create(conn: &Connection) -> Result<()> {
    conn.execute_batch(CREATE).map_err(sql("create the ledger"))
}

/// The lane's row.
pub(crate) fn read(conn: &Connection, path: &Path, lane: &Lane) -> Result<Option<LedgerRow>> {
    let mut select = conn.prepare_cached(SELECT).map_err(sql("read the ledger"))?;
    let row = select
        .query_row(
            params![lane.pipeline.as_str(), lane.destination.as_str(), lane.lane],
            |row| Ok(decode(row)),
        )
        .optional()
        .map_err(sql("read the ledger"))?;
    row.transpose().map_err(|what| Error::BadLedger {
        path: path.to_owned(),
        what,
    })
}

/// The lane's generation alone; `None` if it has no row.
pub(crate) fn generation(conn: &Connection, lane: &Lane) -> Result<Option<u64>> {
    let read = || {
        conn.prepare_cached(
            r#"SELECT "generation" FROM "_highwater_ledger" WHERE "pipeline" = ?1 AND "destination" = ?2 AND "lane" = ?3"#,
        )?
        .query_row(
            params![lane.pipeline.as_str(), lane.destination.as_str(), lane.lane],
            |row| row.get::<_, i64>(0),
        )
        .optional()
    };
    let found = read().map_err(sql("read the generation"))?;
    Ok(found.map(|generation| generation as u64))
}

fn decode(row: &Row<'_>) -> Result<LedgerRow, String> {
    let format: i64 = row.get(0).map_err(|e| e.to_string())?;
    if format != FORMAT {
        return Err(format!(
            "its format is {format}, and this version knows format {FORMAT}"
        ));
    }
    let text = |at: usize| row.get::<_, Option<String>>(at).map_err(|e| e.to_string());
    let named = |column: &str, error: serde_json::Error| format!("column `{column}` does not decode: {error}");
    let checkpoint = match text(3)? {
        Some(text) => Some(serde_json::from_str(&text).map_err(|e| named("checkpoint", e))?),
        None => None,
    };
    Ok(LedgerRow {
        generation: row.get::<_, i64>(1).map_err(|e| e.to_string())? as u64,
        owner: serde_json::from_str(&text(2)?.unwrap_or_default()).map_err(|e| named("owner", e))?,
        checkpoint,
        streams: serde_json::from_str(&text(4)?.unwrap_or_default()).map_err(|e| named("streams", e))?,
        plan_hash: text(5)?,
    })
}

/// Every lane that has a row here. What does not decode is shown empty: this is for messages and for the check that no two
/// lanes write one table.
pub(crate) fn tenants(conn: &Connection) -> Result<Vec<Tenant>> {
    let doing = "read the ledger";
    let mut select = conn
        .prepare_cached(r#"SELECT "pipeline", "destination", "lane", "owner", "streams" FROM "_highwater_ledger""#)
        .map_err(sql(doing))?;
    let rows = select
        .query_map([], |row| {
            Ok(Tenant {
                pipeline: row.get(0)?,
                destination: row.get(1)?,
                lane: row.get(2)?,
                owner: serde_json::from_str(&row.get::<_, String>(3)?).ok(),
                streams: serde_json::from_str(&row.get::<_, String>(4)?).unwrap_or_default(),
            })
        })
        .map_err(sql(doing))?;
    rows.collect::<rusqlite::Result<_>>().map_err(sql(doing))
}

/// Takes the next generation by compare-and-set, inside a write transaction; creates the row where there is none.
///
/// Returns: what the row held, with the generation that is now ours.
pub(crate) fn take_generation(conn: &Connection, path: &Path, lane: &Lane) -> Result<LedgerRow> {
    let (pipeline, destination) = (lane.pipeline.as_str(), lane.destination.as_str());
    let owner = json(&lane.owner)?;
    conn.execute(
        r#"INSERT INTO "_highwater_ledger" ("pipeline", "destination", "lane", "format", "generation", "owner")
           VALUES (?1, ?2, ?3, ?4, 0, ?5) ON CONFLICT DO NOTHING"#,
        params![pipeline, destination, lane.lane, FORMAT, owner],
    )
    .map_err(sql("add a row to the ledger"))?;
    let gone = || Error::LedgerGone {
        path: path.to_owned(),
        pipeline: lane.pipeline.clone(),
        destination: lane.destination.clone(),
    };
    let mut row = read(conn, path, lane)?.ok_or_else(gone)?;
    let taken = conn
        .execute(
            TAKE,
            params![pipeline, destination, lane.lane, row.generation as i64, owner],
        )
        .map_err(sql("take the next generation"))?;
    if taken != 1 {
        return Err(gone());
    }
    row.generation += 1;
    row.owner = lane.owner.clone();
    Ok(row)
}

/// Puts the checkpoint into the open transaction, if the generation is still ours. `streams` only where they changed.
///
/// Returns: whether it was ours.
pub(crate) fn put_checkpoint(
    conn: &Connection,
    lane: &Lane,
    generation: u64,
    checkpoint: &Checkpoint,
    streams: Option<&Streams>,
) -> Result<bool> {
    let logs: Vec<&str> = checkpoint.log_marks().map(|(id, _)| &**id).collect();
    let mut update = conn.prepare_cached(COMMIT).map_err(sql("write the checkpoint"))?;
    let updated = update
        .execute(params![
            lane.pipeline.as_str(),
            lane.destination.as_str(),
            lane.lane,
            generation as i64,
            json(&logs)?,
            json(checkpoint)?,
            streams.map(json).transpose()?,
            lane.plan_hash,
        ])
        .map_err(sql("write the checkpoint"))?;
    Ok(updated == 1)
}

/// Removes the lane's row, and the table with its last row. Returns whether there was one.
pub(crate) fn remove(conn: &Connection, lane: &Lane) -> Result<bool> {
    let doing = "remove the ledger row";
    let removed = conn
        .execute(
            r#"DELETE FROM "_highwater_ledger" WHERE "pipeline" = ?1 AND "destination" = ?2 AND "lane" = ?3"#,
            params![lane.pipeline.as_str(), lane.destination.as_str(), lane.lane],
        )
        .map_err(sql(doing))?;
    let left: i64 = conn
        .query_row(r#"SELECT count(*) FROM "_highwater_ledger""#, [], |row| row.get(0))
        .map_err(sql(doing))?;
    if left == 0 {
        conn.execute_batch(r#"DROP TABLE "_highwater_ledger""#)
            .map_err(sql(doing))?;
    }
    Ok(removed == 1)
}

fn json<T: Serialize + ?Sized>(value: &T) -> Result<String> {
    serde_json::to_string(value).map_err(|source| Error::Encode { source })
}
