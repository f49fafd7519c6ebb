//! Every promise of a source, each on a folder of its own.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

use highwater_plugin_sdk::change_log::ChangeLog;
use highwater_plugin_sdk::conformance::source::Change;
use highwater_plugin_sdk::conformance::{HarnessError, Row, SourceHarness};
use highwater_plugin_sdk::model::StreamId;
use highwater_plugin_sdk::serde_json::{self, Value, json};
use highwater_plugin_sdk::{BuildContext, Source, SourceConnector, async_trait};

use super::connector::{Committed, Connector, Folder, Logged, Spec};

const TABLES: [&str; 2] = ["orders", "lines"];

struct Harness(tempfile::TempDir);

impl Harness {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let put = |file: &str, text: &str| fs::write(folder.path().join(file), text).expect("it can be written");
        put("id", "1");
        put("tables.json", &json!(TABLES).to_string());
        put("log.jsonl", "");
        Harness(folder)
    }

    /// A line of the log.
    fn line(changes: Vec<Logged>) -> Result<String, HarnessError> {
        let time = SystemTime::now().duration_since(UNIX_EPOCH)?.as_micros() as i64;
        Ok(format!("{}\n", serde_json::to_string(&Committed { time, changes })?))
    }

    async fn table(&self, table: usize) -> Result<Vec<Value>, HarnessError> {
        let folder = Folder {
            folder: self.0.path().to_owned(),
        };
        let (_, mut rows) = folder.rows(&[StreamId::new(TABLES[table])]).await?;
        Ok(rows.remove(0))
    }
}

#[async_trait]
impl SourceHarness for Harness {
    fn source(&self) -> Box<dyn Source> {
        let spec = Spec {
            path: self.0.path().to_owned(),
        };
        let cx = BuildContext {
            base_dir: std::env::temp_dir(),
        };
        Connector::build(spec, &cx).expect("the spec is good")
    }

    fn streams(&self) -> [StreamId; 2] {
        TABLES.map(StreamId::new)
    }

    async fn apply(&self, changes: &[Change]) -> Result<(), HarnessError> {
        let mut rows = [self.table(0).await?, self.table(1).await?];
        let mut logged = Vec::new();
        for change in changes {
            let (Change::Insert { stream, id, .. }
            | Change::Update { stream, id, .. }
            | Change::Rekey { stream, id, .. }
            | Change::Delete { stream, id }) = change;
            let (table, rows) = (TABLES[*stream].to_owned(), &mut rows[*stream]);
            let old = rows.iter().position(|row| row["id"] == *id).map(|at| rows.remove(at));
            let old = old.unwrap_or_default();
            let row = match change {
                Change::Insert { id, name, .. } | Change::Update { id, name, .. } => json!({"id": id, "name": name}),
                Change::Rekey { to, .. } => json!({"id": to, "name": old["name"]}),
                Change::Delete { .. } => old.clone(),
            };
            if !matches!(change, Change::Delete { .. }) {
                rows.push(row.clone());
            }
            logged.push(match change {
                Change::Insert { .. } => Logged::Insert { table, row },
                Change::Update { .. } | Change::Rekey { .. } => Logged::Update { table, row, old },
                Change::Delete { .. } => Logged::Delete { table, row },
            });
        }
        let mut log = OpenOptions::new().append(true).open(self.0.path().join("log.jsonl"))?;
        log.write_all(Self::line(logged)?.as_bytes())?;
        Ok(())
    }

    async fn rows(&self, table: usize) -> Result<Vec<Row>, HarnessError> {
        let row = |row: Value| {
            let id = Some(row["id"].to_string());
            let name = row["name"].as_str().map(str::to_owned);
            Row::from([("id".to_owned(), id), ("name".to_owned(), name)])
        };
        let rows = self.table(table).await?;
        Ok(rows.into_iter().map(row).collect())
    }

    /// Another folder has another id.
    async fn replace(&self) -> Result<bool, HarnessError> {
        let mut logged = Vec::new();
        for (at, table) in TABLES.iter().enumerate() {
            for row in self.table(at).await? {
                let table = (*table).to_owned();
                logged.push(Logged::Insert { table, row });
            }
        }
        fs::write(self.0.path().join("id"), "2")?;
        fs::write(self.0.path().join("log.jsonl"), Self::line(logged)?)?;
        Ok(true)
    }
}

highwater_plugin_sdk::source_conformance!(Harness::new());
