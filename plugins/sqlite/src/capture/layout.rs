//! Versions of captured tables, and their triggers as they are in the database.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension};

use super::meta::{run, unreadable};
use super::names::Names;
use super::table::Table;
use crate::error::{Result, sql};
use crate::sql_text::quoted;

/// One version of a captured table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Layout {
    pub(crate) number: i64,
    pub(crate) stream: String,
    pub(crate) table: Table,
    /// From this `seq` on nothing of the stream was missed: a destination below it has to read the stream again.
    pub(crate) since: i64,
    /// The `seq` at which the next layout took over.
    pub(crate) retired: Option<i64>,
    pub(super) triggers: BTreeMap<String, String>,
}

pub(super) fn actual_triggers(conn: &Connection, layout: &Layout) -> Result<BTreeMap<String, (String, String)>> {
    let mut found = BTreeMap::new();
    for name in layout.triggers.keys() {
        let row = conn
            .prepare_cached("SELECT tbl_name, sql FROM main.sqlite_schema WHERE type = 'trigger' AND name = ?1")
            .and_then(|mut statement| {
                statement
                    .query_row([name], |row| Ok((row.get(0)?, row.get(1)?)))
                    .optional()
            })
            .map_err(sql("read a trigger"))?;
        if let Some(row) = row {
            found.insert(name.clone(), row);
        }
    }
    Ok(found)
}

pub(super) fn drop_triggers(conn: &Connection, layout: &Layout) -> Result<()> {
    for name in layout.triggers.keys() {
        run(
            conn,
            &format!("DROP TRIGGER IF EXISTS main.{}", quoted(name)),
            "remove a trigger",
        )?;
    }
    Ok(())
}

pub(super) fn load_layouts(conn: &Connection, names: &Names) -> Result<BTreeMap<i64, Layout>> {
    let rows = conn
        .prepare(&format!(
            "SELECT number, stream, definition, triggers, since, retired FROM main.{} ORDER BY number",
            names.layouts()
        ))
        .and_then(|mut statement| {
            statement
                .query_map([], |row| {
                    Ok((
                        row.get::<_, i64>(0)?,
                        row.get::<_, String>(1)?,
                        row.get::<_, String>(2)?,
                        row.get::<_, String>(3)?,
                        row.get::<_, i64>(4)?,
                        row.get::<_, Option<i64>>(5)?,
                    ))
                })?
                .collect::<rusqlite::Result<Vec<_>>>()
        })
        .map_err(sql("read the captured tables"))?;
    rows.into_iter()
        .map(|(number, stream, definition, triggers, since, retired)| {
            let table = serde_json::from_str(&definition).map_err(|e| unreadable(conn, &e))?;
            let triggers = serde_json::from_str(&triggers).map_err(|e| unreadable(conn, &e))?;
            Ok((
                number,
                Layout {
                    number,
                    stream,
                    table,
                    since,
                    retired,
                    triggers,
                },
            ))
        })
        .collect()
}
