//! Every promise of a source, kept on a real server.

use std::path::PathBuf;

use api::conformance::source::Change;
use api::conformance::{HarnessError, Row, SourceHarness};
use api::{BuildContext, Source, SourceConnector};
use async_trait::async_trait;
use highwater_plugin_postgres::PostgresSourceConnector;
use model::StreamId;

use crate::database::Database;

/// A database with two tables, written by connections of its own, as an application would.
struct Harness {
    database: Database,
}

impl Harness {
    async fn new() -> Option<Self> {
        let harness = Harness {
            database: Database::new().await?,
        };
        harness.create().await;
        Some(harness)
    }

    async fn create(&self) {
        let tables = "CREATE TABLE orders(id bigint PRIMARY KEY, name text);
                      CREATE TABLE lines(id bigint PRIMARY KEY, name text);";
        self.database
            .run(&format!("SET ROLE {}; {tables}", self.database.owner()))
            .await;
    }

    fn table(stream: usize) -> &'static str {
        ["orders", "lines"][stream]
    }
}

#[async_trait]
impl SourceHarness for Harness {
    fn source(&self) -> Box<dyn Source> {
        let spec = serde_json::json!({
            "url": self.database.url_of(&self.database.owner()),
            "slot": self.database.slot(),
            "page_rows": 37,
            "window_wait": "30s",
        });
        let cx = BuildContext {
            base_dir: PathBuf::from("/"),
        };
        PostgresSourceConnector::build(serde_json::from_value(spec).unwrap(), &cx).unwrap()
    }

    fn streams(&self) -> [StreamId; 2] {
        [
            StreamId::in_schema("public", "orders"),
            StreamId::in_schema("public", "lines"),
        ]
    }

    async fn apply(&self, changes: &[Change]) -> Result<(), HarnessError> {
        let client = self.database.client().await;
        client.batch_execute("BEGIN").await?;
        for change in changes {
            match change {
                Change::Insert { stream, id, name } => {
                    let text = format!("INSERT INTO {}(id, name) VALUES ($1, $2)", Self::table(*stream));
                    client.execute(&text, &[id, name]).await?;
                }
                Change::Update { stream, id, name } => {
                    let text = format!("UPDATE {} SET name = $2 WHERE id = $1", Self::table(*stream));
                    client.execute(&text, &[id, name]).await?;
                }
                Change::Rekey { stream, id, to } => {
                    let text = format!("UPDATE {} SET id = $2 WHERE id = $1", Self::table(*stream));
                    client.execute(&text, &[id, to]).await?;
                }
                Change::Delete { stream, id } => {
                    let text = format!("DELETE FROM {} WHERE id = $1", Self::table(*stream));
                    client.execute(&text, &[id]).await?;
                }
            }
        }
        client.batch_execute("COMMIT").await?;
        Ok(())
    }

    async fn rows(&self, stream: usize) -> Result<Vec<Row>, HarnessError> {
        let client = self.database.client().await;
        let text = format!("SELECT id, name FROM {} ORDER BY id", Self::table(stream));
        let rows = client.query(&text, &[]).await?;
        let row = |row: &tokio_postgres::Row| {
            let (id, name): (i64, Option<String>) = (row.get(0), row.get(1));
            [("id".to_owned(), Some(id.to_string())), ("name".to_owned(), name)]
                .into_iter()
                .collect()
        };
        Ok(rows.iter().map(row).collect())
    }

    /// A database that was made anew has the name.
    async fn replace(&self) -> Result<bool, HarnessError> {
        self.database.replace().await;
        self.create().await;
        Ok(true)
    }
}

api::source_conformance!(match Harness::new().await {
    Some(harness) => harness,
    None => return,
});
