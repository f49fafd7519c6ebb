//! The systems that rows go to, each behind a served plugin.

use std::path::PathBuf;
use std::sync::OnceLock;

use serde_json::{Value, json};
use test_systems::Postgres;

use crate::caller::Caller;
use crate::process::Process;

/// A destination, served.
pub struct Place {
    pub process: Process,
    pub caller: Caller,
    pub spec: Value,
    kind: Kind,
}

enum Kind {
    Sqlite(PathBuf),
    Postgres(String),
}

fn postgres() -> Option<&'static Postgres> {
    static SERVER: OnceLock<Option<Postgres>> = OnceLock::new();
    let start = || match Postgres::start() {
        Ok(server) => Some(server),
        Err(missing) => {
            println!("skipped: {}", missing.0);
            None
        }
    };
    SERVER.get_or_init(start).as_ref()
}

impl Place {
    pub async fn sqlite() -> Option<Place> {
        let process = Process::start("highwater-destination-sqlite");
        let path = process.folder.path().join("copy.db");
        let spec = json!({"path": path});
        Some(Place::open(process, spec, Kind::Sqlite(path)).await)
    }

    /// A database of its own.
    pub async fn postgres() -> Option<Place> {
        let server = postgres()?;
        let database = format!("t_{}", uuid::Uuid::new_v4().simple());
        let url = server.url("postgres");
        query(&url, &format!("CREATE DATABASE {database}")).await;
        let url = server.url(&database);
        let process = Process::start("highwater-destination-postgres");
        let spec = json!({"url": url});
        Some(Place::open(process, spec, Kind::Postgres(url)).await)
    }

    async fn open(process: Process, spec: Value, kind: Kind) -> Place {
        let caller = Caller::dial(&process.socket()).await;
        caller.init(&spec).await.unwrap();
        Place {
            process,
            caller,
            spec,
            kind,
        }
    }

    /// Rows of a table, counted in the system itself.
    pub async fn count(&self, table: &str) -> u64 {
        self.ask(&format!("SELECT count(*) FROM \"{table}\""))
            .await
            .parse()
            .unwrap()
    }

    /// The one value that a query answers, as text.
    pub async fn ask(&self, sql: &str) -> String {
        match &self.kind {
            Kind::Sqlite(path) => {
                let conn = rusqlite::Connection::open(path).unwrap();
                let value = conn
                    .query_row(sql, [], |row| row.get::<_, rusqlite::types::Value>(0))
                    .unwrap();
                match value {
                    rusqlite::types::Value::Integer(value) => value.to_string(),
                    rusqlite::types::Value::Text(value) => value,
                    other => format!("{other:?}"),
                }
            }
            Kind::Postgres(url) => query(url, sql).await,
        }
    }
}

async fn query(url: &str, sql: &str) -> String {
    let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await.unwrap();
    let connection = tokio::spawn(connection);
    let messages = client.simple_query(sql).await.unwrap();
    drop(client);
    connection.await.unwrap().unwrap();
    let rows = messages.iter().find_map(|message| match message {
        tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
        _ => None,
    });
    rows.unwrap_or_default()
}

/// The same test for each system that is there.
#[macro_export]
macro_rules! at_each_place {
    ($($test:ident)+) => {
        mod sqlite {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $test() {
                    if let Some(place) = $crate::place::Place::sqlite().await {
                        super::$test(place).await;
                    }
                }
            )+
        }
        mod postgres {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $test() {
                    if let Some(place) = $crate::place::Place::postgres().await {
                        super::$test(place).await;
                    }
                }
            )+
        }
    };
}
