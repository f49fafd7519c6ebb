//! One server for all tests, a database for each, and a look at it from outside.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use api::conformance::{Row, Session, sample};
use api::{BuildContext, Destination, DestinationOptions, Lane};
use highwater_plugin_postgres::destination::{PostgresDestination, PostgresDestinationSpec};
use test_systems::{Postgres, PostgresOptions};
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

use crate::values;

/// Shared by the tests that run at one moment, and stopped by the last of them: a static is never dropped.
static SERVER: Mutex<Weak<Postgres>> = Mutex::new(Weak::new());

fn server() -> Option<Arc<Postgres>> {
    let mut shared = SERVER.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(server) = shared.upgrade() {
        return Some(server);
    }
    // What survives a power cut is not tested here.
    match Postgres::start_with(&PostgresOptions::default().set("fsync", "off")) {
        Ok(server) => {
            let server = Arc::new(server);
            *shared = Arc::downgrade(&server);
            Some(server)
        }
        Err(missing) => {
            println!("skipped: {missing}");
            None
        }
    }
}

static NUMBER: AtomicU32 = AtomicU32::new(0);

/// A database of its own.
pub(crate) struct Database {
    server: Arc<Postgres>,
    name: String,
}

/// A client with its connection's task.
pub(crate) struct Reader {
    client: Client,
    task: tokio::task::JoinHandle<()>,
}

impl std::ops::Deref for Reader {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn client(url: &str) -> Reader {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    let task = tokio::spawn(async move {
        let _ = connection.await;
    });
    Reader { client, task }
}

impl Database {
    /// `None` where the machine has no server.
    pub(crate) async fn new() -> Option<Database> {
        let server = server()?;
        let name = format!("t{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let admin = client(&server.url("postgres")).await;
        admin.batch_execute(&format!("CREATE DATABASE {name}")).await.unwrap();
        Some(Database { server, name })
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn port(&self) -> u16 {
        self.server.port()
    }

    pub(crate) fn url(&self) -> String {
        self.server.url(&self.name)
    }

    /// The same database through another port.
    pub(crate) fn url_at(&self, port: u16) -> String {
        format!("postgres://postgres@127.0.0.1:{port}/{}", self.name)
    }

    /// The same database as another role.
    pub(crate) fn url_of(&self, role: &str) -> String {
        format!("postgres://{role}@127.0.0.1:{}/{}", self.port(), self.name)
    }

    /// What the server has logged.
    pub(crate) fn log(&self) -> String {
        self.server.log()
    }

    /// `spec` as a user writes it, with the server's URL.
    pub(crate) fn spec(&self, mut more: serde_json::Value) -> PostgresDestinationSpec {
        let fields = more.as_object_mut().unwrap();
        fields.entry("url").or_insert_with(|| self.url().into());
        serde_json::from_value(more).unwrap()
    }

    pub(crate) fn destination_with(
        &self,
        more: serde_json::Value,
        options: DestinationOptions,
    ) -> Box<dyn Destination> {
        let cx = BuildContext { base_dir: ".".into() };
        Box::new(PostgresDestination::new(self.spec(more), options, &cx).unwrap())
    }

    pub(crate) async fn open(&self, options: DestinationOptions) -> Session {
        self.open_with(serde_json::json!({}), options, &sample::lane())
            .await
            .unwrap()
    }

    pub(crate) async fn open_with(
        &self,
        more: serde_json::Value,
        options: DestinationOptions,
        lane: &Lane,
    ) -> api::Result<Session> {
        Session::open(self.destination_with(more, options), lane).await
    }

    /// As an ordinary program connects.
    pub(crate) async fn user(&self) -> Reader {
        client(&self.url()).await
    }

    pub(crate) async fn run(&self, sql: &str) {
        self.user().await.batch_execute(sql).await.unwrap();
    }

    /// One line for each row: the values as text, NULL as `NULL`.
    pub(crate) async fn lines(&self, sql: &str) -> Vec<String> {
        let rows = table(&self.user().await, sql).await.unwrap();
        rows.into_iter()
            .map(|(_, values)| {
                let values: Vec<String> = values
                    .into_iter()
                    .map(|value| value.unwrap_or_else(|| "NULL".to_owned()))
                    .collect();
                values.join(", ")
            })
            .collect()
    }

    /// All rows of the table that the ledger names for a stream, or would be named like it, if there is one.
    pub(crate) async fn rows(&self, stream: &model::StreamId) -> Option<Vec<Row>> {
        let schema = stream.schema().unwrap_or("public");
        let quoted = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
        let user = self.user().await;
        let named = named(&user, stream).await;
        let name = named.unwrap_or_else(|| stream.name().to_owned());
        let select = format!("SELECT * FROM {}.{}", quoted(schema), quoted(&name));
        let rows = table(&user, &select).await.ok()?;
        let row = |(names, values): (Arc<[String]>, Vec<Option<String>>)| names.iter().cloned().zip(values).collect();
        Some(rows.into_iter().map(row).collect())
    }
}

async fn table(user: &Reader, sql: &str) -> Result<Vec<(Arc<[String]>, Vec<Option<String>>)>, tokio_postgres::Error> {
    user.batch_execute(values::SETTINGS).await?;
    let messages = user.simple_query(sql).await?;
    let mut names: Arc<[String]> = Arc::new([]);
    let mut rows = Vec::new();
    for message in messages {
        match message {
            SimpleQueryMessage::RowDescription(columns) => {
                names = columns.iter().map(|column| column.name().to_owned()).collect();
            }
            SimpleQueryMessage::Row(row) => {
                let values = (0..row.len()).map(|at| row.get(at).map(str::to_owned)).collect();
                rows.push((Arc::clone(&names), values));
            }
            _ => {}
        }
    }
    Ok(rows)
}

/// The table that the ledger names for a stream.
async fn named(user: &Reader, stream: &model::StreamId) -> Option<String> {
    let key = stream.to_string();
    let rows = user
        .query(
            r#"SELECT "streams"::jsonb -> $1 -> 'table' ->> 'name' FROM _highwater.ledger WHERE "streams"::jsonb ? $1"#,
            &[&key],
        )
        .await
        .ok()?;
    rows.first().and_then(|row| row.get(0))
}
