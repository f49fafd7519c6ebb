//! The pipeline's `meta` table, and other small questions to its database.

use rusqlite::{Connection, OptionalExtension};

use super::names::Names;
use crate::error::{Error, Result, sql};

pub(super) fn has_table(conn: &Connection, name: &str) -> Result<bool> {
    conn.prepare_cached(
        "SELECT EXISTS (SELECT 1 FROM main.sqlite_schema WHERE type = 'table' AND name = ?1 COLLATE NOCASE)",
    )
    .and_then(|mut statement| statement.query_row([name], |row| row.get(0)))
    .map_err(sql("read the schema"))
}

/// Whether this pipeline has all of its objects in the database.
pub(crate) fn is_installed(conn: &Connection, names: &Names) -> Result<bool> {
    for table in [
        names.changes_plain(),
        names.stage_plain(),
        names.meta_plain(),
        names.layouts_plain(),
    ] {
        if !has_table(conn, &table)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The `schema_version` that a view shows.
pub(crate) fn schema_version(conn: &Connection) -> Result<i64> {
    conn.prepare_cached("PRAGMA main.schema_version")
        .and_then(|mut statement| statement.query_row([], |row| row.get(0)))
        .map_err(sql("read the schema version"))
}

/// One value of the pipeline's `meta` table.
pub(crate) fn meta(conn: &Connection, names: &Names, key: &str) -> Result<Option<String>> {
    conn.prepare_cached(&format!("SELECT value FROM main.{} WHERE key = ?1", names.meta()))
        .and_then(|mut statement| statement.query_row([key], |row| row.get(0)).optional())
        .map_err(sql("read the state of capture"))
}

pub(crate) fn set_meta(conn: &Connection, names: &Names, key: &str, value: &str) -> Result<()> {
    conn.prepare_cached(&format!(
        "INSERT OR REPLACE INTO main.{}(key, value) VALUES (?1, ?2)",
        names.meta()
    ))
    .and_then(|mut statement| statement.execute([key, value]))
    .map_err(sql("write the state of capture"))?;
    Ok(())
}

/// Gives the log a new random name: nobody's position fits it any more.
pub(crate) fn renew_history(conn: &Connection, names: &Names) -> Result<String> {
    let history = uuid::Uuid::new_v4().simple().to_string();
    set_meta(conn, names, "history", &history)?;
    Ok(history)
}

pub(super) fn run(conn: &Connection, text: &str, doing: &'static str) -> Result<usize> {
    conn.execute(text, []).map_err(sql(doing))
}

pub(super) fn unreadable(conn: &Connection, error: &serde_json::Error) -> Error {
    Error::NotOurs {
        path: crate::connection::path_of(conn),
        why: format!("a table's definition is unreadable: {error}"),
    }
}
