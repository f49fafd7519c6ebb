//! A directory with a database that a destination writes, and a look at it from outside.

use std::path::{Path, PathBuf};

use api::conformance::{Row, Session, sample};
use api::{Destination, DestinationOptions, Lane};
use highwater_plugin_sqlite::destination::SqliteDestination;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags};
use tempfile::TempDir;

pub(crate) struct Database {
    directory: TempDir,
}

impl Database {
    pub(crate) fn new() -> Self {
        Database {
            directory: quick_directory(),
        }
    }

    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.directory.path().join("copy.db")
    }

    pub(crate) fn destination(&self, options: DestinationOptions) -> Box<dyn Destination> {
        Box::new(SqliteDestination::new(self.path(), options))
    }

    pub(crate) async fn open(&self, options: DestinationOptions) -> Session {
        self.open_lane(options, &sample::lane()).await.unwrap()
    }

    pub(crate) async fn open_lane(&self, options: DestinationOptions, lane: &Lane) -> api::Result<Session> {
        Session::open(self.destination(options), lane).await
    }

    /// As an ordinary program opens it.
    pub(crate) fn reader(&self) -> Connection {
        Connection::open_with_flags(self.path(), OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap()
    }

    /// As a user who prepares or repairs it.
    pub(crate) fn user(&self) -> Connection {
        Connection::open(self.path()).unwrap()
    }

    /// One line for each row: the values as SQL literals.
    pub(crate) fn lines(&self, sql: &str) -> Vec<String> {
        let conn = self.reader();
        let mut statement = conn.prepare(sql).unwrap();
        let columns = statement.column_count();
        let mut rows = statement.query([]).unwrap();
        let mut lines = Vec::new();
        while let Some(row) = rows.next().unwrap() {
            let values: Vec<String> = (0..columns).map(|at| literal(row.get_ref(at).unwrap())).collect();
            lines.push(values.join(", "));
        }
        lines
    }

    /// All rows of a table, if there is one.
    pub(crate) fn rows(&self, table: &str) -> Option<Vec<Row>> {
        if !self.path().exists() {
            return None;
        }
        let conn = self.reader();
        let quoted = format!("\"{}\"", table.replace('"', "\"\""));
        let mut statement = conn.prepare(&format!("SELECT * FROM {quoted}")).ok()?;
        let names: Vec<String> = statement.column_names().map(str::to_owned).collect();
        let mut rows = statement.query([]).unwrap();
        let mut found = Vec::new();
        while let Some(row) = rows.next().unwrap() {
            let cell = |(at, name): (usize, &String)| (name.clone(), text(row.get_ref(at).unwrap()));
            found.push(names.iter().enumerate().map(cell).collect());
        }
        Some(found)
    }
}

/// In memory where the system has that: an fsync costs nothing there, and what survives power loss is not tested here.
fn quick_directory() -> TempDir {
    tempfile::tempdir_in("/dev/shm")
        .or_else(|_| tempfile::tempdir())
        .unwrap()
}

fn text(value: ValueRef<'_>) -> Option<String> {
    match value {
        ValueRef::Null => None,
        ValueRef::Integer(value) => Some(value.to_string()),
        ValueRef::Real(value) => Some(format!("{value:?}")),
        ValueRef::Text(value) => Some(String::from_utf8(value.to_vec()).unwrap()),
        ValueRef::Blob(value) => Some(value.iter().map(|byte| format!("{byte:02x}")).collect()),
    }
}

fn literal(value: ValueRef<'_>) -> String {
    match value {
        ValueRef::Text(value) => format!("'{}'", String::from_utf8(value.to_vec()).unwrap()),
        ValueRef::Blob(_) => format!("x'{}'", text(value).unwrap()),
        other => text(other).unwrap_or_else(|| "NULL".to_owned()),
    }
}
