//! Marks in the change table, its head, and its pruning.
//!
//! A mark is a change row of our own in a transaction of its own. It is a consistent point that survives us, so it
//! bounds what has to be read as one interval after a kill; and it carries a random nonce, so that a database that was
//! restored from a backup and written to since is told from the one that a position was taken in: its marks differ.
//! Then the log's incarnation grows, so that orders never go back although `seq` does.

use rusqlite::{Connection, OptionalExtension, TransactionBehavior};

use super::meta::{meta, set_meta};
use super::names::Names;
use super::triggers::{ChangeOp, NOW};
use crate::error::{Result, sql};

/// A mark in the change table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) seq: i64,
    pub(crate) nonce: i64,
}

/// Rows that one prune takes: a writer of the user's waits for about half a millisecond. Ten times as many were seen to
/// make writers without a busy timeout fail thousands of times.
pub(crate) const PRUNE_ROWS_MAX: usize = 1_000;

/// The newest `seq` that was ever given out, as this view sees it; also when every row is pruned.
pub(crate) fn head(conn: &Connection, names: &Names) -> Result<i64> {
    let counted = conn
        .prepare_cached("SELECT seq FROM main.sqlite_sequence WHERE name = ?1")
        .and_then(|mut statement| {
            statement
                .query_row([names.changes_plain()], |row| row.get::<_, i64>(0))
                .optional()
        })
        .map_err(sql("read the head of the change table"))?;
    // Somebody may have emptied `sqlite_sequence`; then the rows themselves say how far it got.
    let seen = conn
        .prepare_cached(&format!("SELECT max(seq) FROM main.{}", names.changes()))
        .and_then(|mut statement| statement.query_row([], |row| row.get::<_, Option<i64>>(0)))
        .map_err(sql("read the head of the change table"))?;
    Ok(counted.unwrap_or(0).max(seen.unwrap_or(0)))
}

/// How far beyond a mark positions may be handed out before another one is due. Written down with each mark: at the next
/// start nobody can stand beyond it, so only up to there must every change row keep an order of its own.
const ISSUED_AHEAD: i64 = 50_000;

/// Up to which `seq` positions may have been handed out.
pub(crate) fn issued(conn: &Connection, names: &Names) -> Result<i64> {
    Ok(meta(conn, names, "issued")?
        .and_then(|text| text.parse().ok())
        .unwrap_or(i64::MAX))
}

/// How often the log's axis started again, because the database was restored to an earlier state.
pub(crate) fn incarnation(conn: &Connection, names: &Names) -> Result<u32> {
    Ok(meta(conn, names, "incarnation")?
        .and_then(|text| text.parse().ok())
        .unwrap_or(0))
}

/// Lets the log's axis start again: every position from now on is later than every earlier one.
pub(crate) fn begin_incarnation(conn: &mut Connection, names: &Names) -> Result<u32> {
    let tx = conn
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .map_err(sql("begin a transaction for a new incarnation"))?;
    let next = incarnation(&tx, names)? + 1;
    set_meta(&tx, names, "incarnation", &next.to_string())?;
    write(&tx, names)?;
    tx.commit().map_err(sql("commit a new incarnation"))?;
    Ok(next)
}

/// Takes the number of the next read of existing rows: larger than `floor` and than every one taken before.
pub(crate) fn take_run(conn: &mut Connection, names: &Names, floor: u32) -> Result<u32> {
    fail::fail_point!("sqlite.source.before_take_run");
    let tx = conn
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .map_err(sql("begin a transaction for a run number"))?;
    let taken: u32 = meta(&tx, names, "run")?.and_then(|text| text.parse().ok()).unwrap_or(0);
    let run = taken.max(floor) + 1;
    set_meta(&tx, names, "run", &run.to_string())?;
    tx.commit().map_err(sql("commit a run number"))?;
    fail::fail_point!("sqlite.source.after_take_run");
    Ok(run)
}

/// Writes a mark into the open transaction.
pub(crate) fn write(conn: &Connection, names: &Names) -> Result<Mark> {
    let nonce = uuid::Uuid::new_v4().as_u64_pair().0 as i64;
    let text = format!(
        "INSERT INTO main.{}(layout, op, at, n0) VALUES (0, {}, {NOW}, ?1) RETURNING seq",
        names.changes(),
        ChangeOp::Mark as i64
    );
    let seq: i64 = conn
        .prepare_cached(&text)
        .and_then(|mut statement| statement.query_row([nonce], |row| row.get(0)))
        .map_err(sql("write a mark"))?;
    set_meta(conn, names, "issued", &(seq + ISSUED_AHEAD).to_string())?;
    Ok(Mark { seq, nonce })
}

/// Commits a mark, durably: everything at or below it survives a power cut, because the WAL is synced up to it.
///
/// Writes none, and answers `None`, if `schema_version` is not `expected`: a mark says that capture was in order.
pub(crate) fn commit(conn: &mut Connection, names: &Names, expected: i64) -> Result<Option<Mark>> {
    fail::fail_point!("sqlite.source.before_mark");
    conn.pragma_update(None, "synchronous", "FULL")
        .map_err(sql("ask for durable commits"))?;
    let tx = conn
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .map_err(sql("begin a transaction for a mark"))?;
    if super::meta::schema_version(&tx)? != expected {
        return Ok(None);
    }
    let mark = write(&tx, names)?;
    tx.commit().map_err(sql("commit a mark"))?;
    fail::fail_point!("sqlite.source.after_mark");
    Ok(Some(mark))
}

/// The newest mark. Walks down from the newest change row, over everything that was written while we did not run: there
/// is no index on `layout`, because it would cost every one of the user's writes.
pub(crate) fn newest(conn: &Connection, names: &Names) -> Result<Option<Mark>> {
    let text = format!(
        "SELECT seq, n0 FROM main.{} WHERE layout = 0 ORDER BY seq DESC LIMIT 1",
        names.changes()
    );
    conn.prepare_cached(&text)
        .and_then(|mut statement| {
            statement
                .query_row([], |row| {
                    Ok(Mark {
                        seq: row.get(0)?,
                        nonce: row.get(1)?,
                    })
                })
                .optional()
        })
        .map_err(sql("look for a mark"))
}

/// Whether the mark is in the change table, with its nonce.
pub(crate) fn is_there(conn: &Connection, names: &Names, mark: Mark) -> Result<bool> {
    let text = format!(
        "SELECT EXISTS (SELECT 1 FROM main.{} WHERE seq = ?1 AND layout = 0 AND n0 = ?2)",
        names.changes()
    );
    conn.prepare_cached(&text)
        .and_then(|mut statement| statement.query_row([mark.seq, mark.nonce], |row| row.get(0)))
        .map_err(sql("look for a mark"))
}

/// A hash that tells the change row at `seq` from another one that may stand there in another history; never 0.
pub(crate) fn fingerprint(conn: &Connection, names: &Names, seq: i64) -> Result<Option<u64>> {
    conn.prepare_cached(&format!(
        "SELECT layout, op, at FROM main.{} WHERE seq = ?1",
        names.changes()
    ))
    .and_then(|mut statement| {
        statement
            .query_row([seq], |row| {
                let (layout, op, at): (i64, i64, f64) = (row.get(0)?, row.get(1)?, row.get(2)?);
                let bytes = [layout.to_be_bytes(), op.to_be_bytes(), at.to_bits().to_be_bytes()].concat();
                Ok(xxhash_rust::xxh3::xxh3_64(&bytes).max(1))
            })
            .optional()
    })
    .map_err(sql("read the change table"))
}

/// The mark at exactly this `seq`, if one is there.
pub(crate) fn at(conn: &Connection, names: &Names, seq: i64) -> Result<Option<Mark>> {
    conn.prepare_cached(&format!(
        "SELECT n0 FROM main.{} WHERE seq = ?1 AND layout = 0",
        names.changes()
    ))
    .and_then(|mut statement| statement.query_row([seq], |row| row.get(0)).optional())
    .map(|nonce| nonce.map(|nonce| Mark { seq, nonce }))
    .map_err(sql("look for a mark"))
}

/// The newest change of the user's: its `seq` and time, as this view sees it.
pub(crate) fn newest_change(conn: &Connection, names: &Names) -> Result<Option<(i64, f64)>> {
    let text = format!(
        "SELECT seq, at FROM main.{} WHERE layout <> 0 ORDER BY seq DESC LIMIT 1",
        names.changes()
    );
    conn.prepare_cached(&text)
        .and_then(|mut statement| statement.query_row([], |row| Ok((row.get(0)?, row.get(1)?))).optional())
        .map_err(sql("read the head of the change table"))
}

/// Up to which `seq` change rows may be gone.
pub(crate) fn pruned(conn: &Connection, names: &Names) -> Result<i64> {
    Ok(meta(conn, names, "pruned")?
        .and_then(|text| text.parse().ok())
        .unwrap_or(0))
}

/// Removes up to [`PRUNE_ROWS_MAX`] change rows at or below `upto`, oldest first; answers how many went.
///
/// `anchor`, the newest mark at or below `upto`, stays: positions at and after `upto` are recognized by it. A prune that
/// is lost in a power cut only leaves rows behind, so it is not synced.
pub(crate) fn prune(conn: &mut Connection, names: &Names, upto: i64, anchor: i64) -> Result<usize> {
    fail::fail_point!("sqlite.source.before_prune");
    conn.pragma_update(None, "synchronous", "NORMAL")
        .map_err(sql("ask for quick commits"))?;
    let tx = conn
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .map_err(sql("begin a transaction to prune"))?;
    let text = format!(
        "DELETE FROM main.{changes} WHERE seq IN (SELECT seq FROM main.{changes} WHERE seq <= ?1 AND seq <> ?2 ORDER BY seq LIMIT ?3)",
        changes = names.changes()
    );
    let gone = tx
        .prepare_cached(&text)
        .and_then(|mut statement| statement.execute([upto, anchor, PRUNE_ROWS_MAX as i64]))
        .map_err(sql("prune the change table"))?;
    if gone > 0 {
        if pruned(&tx, names)? < upto {
            set_meta(&tx, names, "pruned", &upto.to_string())?;
        }
        forget_retired(&tx, names, upto)?;
        tx.commit().map_err(sql("commit a prune"))?;
    }
    fail::fail_point!("sqlite.source.after_prune");
    Ok(gone)
}

/// Layouts that no remaining change row can refer to.
fn forget_retired(conn: &Connection, names: &Names, upto: i64) -> Result<()> {
    let text = format!(
        "DELETE FROM main.{layouts} WHERE retired IS NOT NULL AND retired < coalesce((SELECT min(seq) FROM main.{changes} WHERE layout <> 0 OR seq > ?1), ?1)",
        layouts = names.layouts(),
        changes = names.changes()
    );
    conn.prepare_cached(&text)
        .and_then(|mut statement| statement.execute([upto]))
        .map_err(sql("forget retired tables"))?;
    Ok(())
}
