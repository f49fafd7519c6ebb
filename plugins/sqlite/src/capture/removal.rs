//! The end of capture: for good, or because the change table is full.

use rusqlite::{Connection, TransactionBehavior};
use serde::{Deserialize, Serialize};

use super::layout::{drop_triggers, load_layouts};
use super::meta::{has_table, run, set_meta, unreadable};
use super::names::Names;
use crate::error::{Error, Result, sql};

/// Removes everything of the pipeline: triggers, change table and companions. Idempotent.
pub(crate) fn remove(conn: &mut Connection, names: &Names) -> Result<()> {
    fail::fail_point!("sqlite.source.before_forget");
    let tx = conn
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .map_err(sql("begin a transaction to remove capture"))?;
    if has_table(&tx, &names.layouts_plain())? {
        for layout in load_layouts(&tx, names)?.values() {
            drop_triggers(&tx, layout)?;
        }
    }
    for table in [names.changes(), names.stage(), names.meta(), names.layouts()] {
        run(
            &tx,
            &format!("DROP TABLE IF EXISTS main.{table}"),
            "remove the change table",
        )?;
    }
    tx.commit().map_err(sql("commit the removal of capture"))?;
    fail::fail_point!("sqlite.source.after_forget");
    Ok(())
}

/// How full a change table was when capture was given up. Stored as JSON under `stopped`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Full {
    pub(crate) rows: u64,
    pub(crate) rows_max: u64,
}

impl Full {
    pub(crate) fn error(self, conn: &Connection) -> Error {
        Error::ChangesFull {
            path: crate::connection::path_of(conn),
            rows: self.rows,
            rows_max: self.rows_max,
        }
    }
}

/// Removes the triggers of a pipeline whose change table is full, and leaves a note; the user's writes go on.
pub(crate) fn stop(conn: &mut Connection, names: &Names, full: Full) -> Result<()> {
    fail::fail_point!("sqlite.source.before_stop_capture");
    let note = serde_json::to_string(&full).map_err(|e| unreadable(conn, &e))?;
    let tx = conn
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .map_err(sql("begin a transaction to stop capture"))?;
    for layout in load_layouts(&tx, names)?
        .values()
        .filter(|layout| layout.retired.is_none())
    {
        drop_triggers(&tx, layout)?;
    }
    set_meta(&tx, names, "stopped", &note)?;
    tx.commit().map_err(sql("commit the end of capture"))?;
    fail::fail_point!("sqlite.source.after_stop_capture");
    Ok(())
}
