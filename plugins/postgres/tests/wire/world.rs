//! One server for all tests of this binary, and a database for each.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use highwater_plugin_postgres::connect::{Connection, Settings};
use highwater_plugin_postgres::replication::{Frame, Lsn, NewSlot, Snapshot, Stream, StreamOptions};
use test_systems::{Missing, Postgres, PostgresOptions};

pub const PATIENCE: Duration = Duration::from_secs(20);

/// The shared server, which streams transactions early so that tests need not be large.
pub fn server() -> Option<&'static Postgres> {
    static SERVER: OnceLock<Result<Postgres, Missing>> = OnceLock::new();
    let options = || {
        PostgresOptions::default()
            .set("logical_decoding_work_mem", "64kB")
            .set("max_prepared_transactions", "10")
            .set("wal_sender_timeout", "2s")
    };
    match SERVER.get_or_init(|| Postgres::start_with(&options())) {
        Ok(server) => Some(server),
        Err(missing) => {
            eprintln!("skipped: {missing}");
            None
        }
    }
}

/// A database of its own, and a name that no other test has, for its slot.
pub struct Database {
    pub name: String,
    pub settings: Settings,
    pub sql: Connection,
    pub major: u32,
}

impl Database {
    pub async fn create(server: &Postgres) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("wire_{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let admin = Settings::parse(&server.url("postgres"))
            .unwrap()
            .connect()
            .await
            .unwrap();
        admin.batch_execute(&format!("CREATE DATABASE {name}")).await.unwrap();
        let settings = Settings::parse(&server.url(&name)).unwrap();
        let sql = settings.connect().await.unwrap();
        let major = sql.major();
        Database {
            name,
            settings,
            sql,
            major,
        }
    }

    pub async fn run(&self, sql: &str) {
        if let Err(error) = self.sql.batch_execute(sql).await {
            panic!("{sql}: {error:?}");
        }
    }

    /// The single value of a query, as text.
    pub async fn value(&self, sql: &str) -> String {
        let rows = self.sql.simple_query(sql).await.unwrap();
        let value = rows.iter().find_map(|message| match message {
            tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
            _ => None,
        });
        value.unwrap_or_default()
    }

    pub fn slot(&self) -> NewSlot<'_> {
        NewSlot {
            name: &self.name,
            temporary: false,
            snapshot: Snapshot::Nothing,
            failover: false,
            two_phase: false,
            lock_timeout: PATIENCE,
        }
    }

    /// A stream of all tables, from now on.
    pub async fn stream(&self, change: impl FnOnce(&mut StreamOptions)) -> Stream {
        let mut options = StreamOptions::newest(self.major, vec![self.name.clone()]);
        change(&mut options);
        self.run(&format!("CREATE PUBLICATION {} FOR ALL TABLES", self.name))
            .await;
        let mut replication = self.settings.replicate().await.unwrap();
        let mut slot = self.slot();
        slot.two_phase = options.two_phase;
        let slot = replication.create_slot(&slot).await.unwrap();
        assert_eq!(slot.snapshot_name, None);
        replication.start(&self.name, Lsn::ZERO, &options).await.unwrap()
    }

    /// Waits until a query answers `t`.
    pub async fn wait_for(&self, sql: &str) {
        let deadline = Instant::now() + PATIENCE;
        while self.value(sql).await != "t" {
            assert!(Instant::now() < deadline, "never true: {sql}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Drops the slot, so that the cluster's slots do not run out.
    pub async fn drop_slot(self) {
        let mut replication = self.settings.replicate().await.unwrap();
        replication.drop_slot(&self.name, true).await.unwrap();
    }
}

pub async fn next(stream: &mut Stream) -> Frame {
    tokio::time::timeout(PATIENCE, stream.next())
        .await
        .expect("a frame in time")
        .unwrap()
}
