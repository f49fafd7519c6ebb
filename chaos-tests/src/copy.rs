//! What a SQLite destination shows: its rows and its checkpoint, in one read transaction.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use model::Checkpoint;
use rusqlite::{Connection, OpenFlags, OptionalExtension, TransactionBehavior};

use crate::shop::Table;
use crate::value::{Row, Value};
use crate::view::{TableView, View};

/// What a destination shows at one moment.
#[derive(Debug, Default)]
pub struct Shown {
    /// How far it says that it is.
    pub checkpoint: Checkpoint,
    /// The rows of each table of the view, in no order; a table that is not there yet has none.
    pub rows: BTreeMap<Table, Vec<Row>>,
}

/// Reads what the destination shows; empty if its file is not there yet.
pub fn read(path: &Path, view: &View, destination: &str) -> rusqlite::Result<Shown> {
    if !path.exists() {
        return Ok(Shown::default());
    }
    // Not read-only: after a kill the first who comes must recover the write-ahead log.
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    connection.busy_timeout(Duration::from_secs(30))?;
    let tx = connection.unchecked_transaction()?;
    let mut shown = Shown {
        checkpoint: read_checkpoint(&tx, destination)?.unwrap_or_default(),
        rows: BTreeMap::new(),
    };
    for table in view.tables() {
        if exists(&tx, table.name())? {
            shown.rows.insert(table.table(), read_rows(&tx, table)?);
        }
    }
    Ok(shown)
}

/// The checkpoint in the ledger.
pub fn read_checkpoint(connection: &Connection, destination: &str) -> rusqlite::Result<Option<Checkpoint>> {
    let parsed = stored_checkpoint(connection, destination)?
        .map(|text| serde_json::from_str(&text))
        .transpose();
    parsed.map_err(|error| rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, Box::new(error)))
}

/// The checkpoint in the ledger of a database, as it is stored; to see whether it moves.
pub fn ledger_text(path: &Path, destination: &str) -> rusqlite::Result<Option<String>> {
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    connection.busy_timeout(Duration::from_secs(30))?;
    stored_checkpoint(&connection, destination)
}

fn stored_checkpoint(connection: &Connection, destination: &str) -> rusqlite::Result<Option<String>> {
    if !exists(connection, "_highwater_ledger")? {
        return Ok(None);
    }
    let text = connection
        .prepare("SELECT checkpoint FROM _highwater_ledger WHERE destination = ?1")?
        .query_row([destination], |row| row.get(0))
        .optional()?;
    Ok(text.flatten())
}

/// Whether nobody is inside a write transaction.
pub fn is_writable(path: &Path) -> bool {
    let attempt = || -> rusqlite::Result<()> {
        let mut connection = Connection::open(path)?;
        connection.busy_timeout(Duration::from_millis(500))?;
        connection
            .transaction_with_behavior(TransactionBehavior::Immediate)?
            .rollback()
    };
    attempt().is_ok()
}

/// All rows of a table, in no order.
pub fn read_rows(connection: &Connection, view: &TableView) -> rusqlite::Result<Vec<Row>> {
    let columns: Vec<String> = view.columns().map(|name| format!("\"{name}\"")).collect();
    let sql = format!("SELECT {} FROM {}", columns.join(", "), view.name());
    let mut statement = connection.prepare(&sql)?;
    let rows = statement.query_map([], |row| {
        (0..columns.len()).map(|i| Ok(Value::from(row.get_ref(i)?))).collect()
    })?;
    rows.collect()
}

fn exists(connection: &Connection, table: &str) -> rusqlite::Result<bool> {
    let found = connection
        .prepare_cached("SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?1")?
        .query_row([table], |_| Ok(()))
        .optional()?;
    Ok(found.is_some())
}
