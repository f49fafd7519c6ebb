//! One server for the whole binary, one database for each test.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use test_systems::Postgres;
use tokio_postgres::{Client, NoTls};

/// The server, or why there is none.
fn server() -> Option<&'static Postgres> {
    static SERVER: OnceLock<Option<Postgres>> = OnceLock::new();
    let started = SERVER.get_or_init(|| {
        let options = test_systems::PostgresOptions::default()
            // The machine does not lose power in a test.
            .set("fsync", "off")
            // So that transactions of a test are large.
            .set("logical_decoding_work_mem", "64kB")
            .set("max_replication_slots", "200")
            .set("max_wal_senders", "200")
            .set("max_prepared_transactions", "20")
            .set("max_connections", "400");
        match Postgres::start_with(&options) {
            Ok(server) => Some(server),
            Err(missing) => {
                println!("skipped: {missing}");
                None
            }
        }
    });
    started.as_ref()
}

/// A database of its own.
pub(crate) struct Database {
    pub(crate) name: String,
    url: String,
    client: Mutex<Option<Arc<Client>>>,
}

impl Database {
    /// `None` if there is no server.
    pub(crate) async fn new() -> Option<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let server = server()?;
        let name = format!("db{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let admin = connect(&server.url("postgres")).await;
        let create = format!("CREATE ROLE owner_{name} LOGIN REPLICATION; CREATE DATABASE {name} OWNER owner_{name}");
        for statement in create.split("; ") {
            admin.batch_execute(statement).await.unwrap();
        }
        Some(Database::at(server.url(&name), &name))
    }

    /// One that is there.
    pub(crate) fn at(url: String, name: &str) -> Self {
        Database {
            name: name.to_owned(),
            url,
            client: Mutex::new(None),
        }
    }

    /// A name for the slot, which is the cluster's, and not the database's.
    pub(crate) fn slot(&self) -> String {
        format!("slot_{}", self.name)
    }

    /// As the superuser.
    pub(crate) fn url(&self) -> String {
        self.url.clone()
    }

    /// As another role.
    pub(crate) fn url_of(&self, role: &str) -> String {
        self.url.replacen("postgres@", &format!("{role}@"), 1)
    }

    /// The role that owns the database, which may replicate, and is no superuser.
    pub(crate) fn owner(&self) -> String {
        format!("owner_{}", self.name)
    }

    pub(crate) async fn client(&self) -> Arc<Client> {
        let held = self.client.lock().unwrap().clone();
        if let Some(client) = held.filter(|client| !client.is_closed()) {
            return client;
        }
        let client = Arc::new(connect(&self.url).await);
        *self.client.lock().unwrap() = Some(Arc::clone(&client));
        client
    }

    pub(crate) async fn run(&self, sql: &str) {
        self.client().await.batch_execute(sql).await.unwrap();
    }

    /// Another database of the same name, as after a restore into an empty server.
    pub(crate) async fn replace(&self) {
        *self.client.lock().unwrap() = None;
        let Some(server) = server() else { return };
        let admin = connect(&server.url("postgres")).await;
        let name = &self.name;
        let slots = format!(
            "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE database = '{name}' AND active"
        );
        let drop =
            format!("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE database = '{name}'");
        admin.query(&slots, &[]).await.unwrap();
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
        while admin.query(&drop, &[]).await.is_err() {
            assert!(
                std::time::Instant::now() < deadline,
                "the slots of `{name}` stay in use"
            );
            tokio::task::yield_now().await;
        }
        admin
            .batch_execute(&format!("DROP DATABASE {name} WITH (FORCE)"))
            .await
            .unwrap();
        let create = format!("CREATE DATABASE {name} OWNER owner_{name}");
        admin.batch_execute(&create).await.unwrap();
    }
}

async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}
