//! Every promise of a source, kept by both ways of capture.

use std::path::PathBuf;

use api::conformance::source::Change;
use api::conformance::{HarnessError, Row, SourceHarness};
use api::{BuildContext, PlannedStream, Source, SourceConnector};
use async_trait::async_trait;
use highwater_plugin_sqlite::SqliteSourceConnector;
use model::StreamId;
use rusqlite::{Connection, params};

/// A database with two tables, written by connections of its own, as an application would.
pub(crate) struct Harness {
    dir: tempfile::TempDir,
    capture: &'static str,
}

impl Harness {
    pub(crate) fn new(capture: &'static str) -> Self {
        let harness = Harness {
            dir: tempfile::tempdir().unwrap(),
            capture,
        };
        harness.create();
        harness
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("app.db")
    }

    fn connect(&self) -> Connection {
        let conn = Connection::open(self.path()).unwrap();
        conn.busy_timeout(std::time::Duration::from_secs(10)).unwrap();
        conn
    }

    fn create(&self) {
        let conn = self.connect();
        conn.pragma_update(None, "journal_mode", "WAL").unwrap();
        for table in ["orders", "lines"] {
            conn.execute_batch(&format!(
                "CREATE TABLE {table}(id INTEGER PRIMARY KEY, name TEXT{})",
                if self.capture == "poll" {
                    ", version INTEGER"
                } else {
                    ""
                }
            ))
            .unwrap();
        }
        conn.execute_batch("CREATE TABLE clock(now INTEGER); INSERT INTO clock VALUES (0)")
            .unwrap();
    }

    fn table(stream: usize) -> &'static str {
        ["orders", "lines"][stream]
    }
}

#[async_trait]
impl SourceHarness for Harness {
    fn source(&self) -> Box<dyn Source> {
        let mut spec = serde_json::json!({ "path": "app.db", "capture": self.capture, "page_rows": 37 });
        if self.capture == "poll" {
            spec["cursor"] = serde_json::json!({ "orders": "version", "lines": "version" });
            spec["poll_every"] = "5ms".into();
        }
        let cx = BuildContext {
            base_dir: self.dir.path().to_owned(),
        };
        SqliteSourceConnector::build(serde_json::from_value(spec).unwrap(), &cx).unwrap()
    }

    fn streams(&self) -> [StreamId; 2] {
        [StreamId::new("orders"), StreamId::new("lines")]
    }

    fn planned(&self, stream: &StreamId) -> PlannedStream {
        let mut planned = PlannedStream::new(stream.clone());
        if self.capture == "poll" {
            planned.exclude.push("version".to_owned());
        }
        planned
    }

    fn is_exact(&self) -> bool {
        self.capture == "triggers"
    }

    async fn apply(&self, changes: &[Change]) -> Result<(), HarnessError> {
        let mut conn = self.connect();
        let tx = conn.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        for change in changes {
            let (stream, id) = match change {
                Change::Insert { stream, id, name } => {
                    let text = format!("INSERT INTO {}(id, name) VALUES (?1, ?2)", Self::table(*stream));
                    tx.execute(&text, params![id, name])?;
                    (stream, id)
                }
                Change::Update { stream, id, name } => {
                    let text = format!("UPDATE {} SET name = ?2 WHERE id = ?1", Self::table(*stream));
                    tx.execute(&text, params![id, name])?;
                    (stream, id)
                }
                Change::Rekey { stream, id, to } => {
                    let text = format!("UPDATE {} SET id = ?2 WHERE id = ?1", Self::table(*stream));
                    tx.execute(&text, params![id, to])?;
                    (stream, to)
                }
                Change::Delete { stream, id } => {
                    tx.execute(
                        &format!("DELETE FROM {} WHERE id = ?1", Self::table(*stream)),
                        params![id],
                    )?;
                    (stream, id)
                }
            };
            if self.capture == "poll" {
                tx.execute("UPDATE clock SET now = now + 1", [])?;
                let text = format!(
                    "UPDATE {} SET version = (SELECT now FROM clock) WHERE id = ?1",
                    Self::table(*stream)
                );
                tx.execute(&text, [id])?;
            }
        }
        tx.commit()?;
        Ok(())
    }

    async fn rows(&self, stream: usize) -> Result<Vec<Row>, HarnessError> {
        let conn = self.connect();
        let mut statement = conn.prepare(&format!("SELECT id, name FROM {} ORDER BY id", Self::table(stream)))?;
        let rows = statement.query_map([], |row| {
            let (id, name): (i64, Option<String>) = (row.get(0)?, row.get(1)?);
            Ok(vec![("id".to_owned(), Some(id.to_string())), ("name".to_owned(), name)]
                .into_iter()
                .collect())
        })?;
        Ok(rows.collect::<rusqlite::Result<Vec<Row>>>()?)
    }

    /// A database that was made anew lies at the path.
    async fn replace(&self) -> Result<bool, HarnessError> {
        if self.capture == "poll" {
            // Without anything written into it, a database cannot be told from another at its path.
            return Ok(false);
        }
        let conn = self.connect();
        conn.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)")?;
        drop(conn);
        for suffix in ["", "-wal", "-shm"] {
            let _ = std::fs::remove_file(self.dir.path().join(format!("app.db{suffix}")));
        }
        self.create();
        Ok(true)
    }
}

mod triggers {
    use super::Harness;

    api::source_conformance!(Harness::new("triggers"));
}

mod poll {
    use super::Harness;

    api::source_conformance!(Harness::new("poll"));
}
