//! One database, one destination in memory, and what the runtime would do between them.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use api::conformance::{Row, Session, sample};
use api::testing::Replica;
use api::{
    BuildContext, Context, DestinationOptions, Held, Kept, Lane, Opened, Plan, PlannedStream, ReadExisting, Reader,
    Share, Source, SourceConnector, SourceControl, Verdict, WriteMode,
};
use highwater_plugin_postgres::PostgresSourceConnector;
use highwater_plugin_postgres::source::least_privilege;
use model::{Body, ChangeSet, Checkpoint, Control, StreamId};
use test_systems::Postgres;
use tokio_util::sync::CancellationToken;

use crate::database::Database;

/// Generous: a busy machine is no broken promise.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// A stream in the schema `public`.
pub(crate) fn public(name: &str) -> StreamId {
    StreamId::in_schema("public", name)
}

/// A database of an application.
pub(crate) struct App {
    pub(crate) database: Database,
    pub(crate) spec: serde_json::Value,
    pub(crate) streams: Vec<PlannedStream>,
    pub(crate) changeset_bytes_max: usize,
}

impl App {
    /// Read by the role of least privilege. `None` if there is no server.
    pub(crate) async fn new(schema: &str, streams: &[&str]) -> Option<Self> {
        let database = Database::new().await?;
        database.run(schema).await;
        let role = format!("reader_{}", database.name);
        let tables: Vec<StreamId> = streams.iter().map(|name| public(name)).collect();
        for statement in least_privilege(&role, &database.name, "highwater_shop", &tables) {
            database.run(&statement).await;
        }
        Some(App::read_by(&role, database, streams))
    }

    /// Read by the role that owns the tables, which makes the publication.
    pub(crate) async fn as_owner(schema: &str, streams: &[&str]) -> Option<Self> {
        let database = Database::new().await?;
        let owner = database.owner();
        database.run(&format!("SET ROLE {owner}; {schema}")).await;
        Some(App::read_by(&owner, database, streams))
    }

    fn read_by(role: &str, database: Database, streams: &[&str]) -> Self {
        App {
            spec: serde_json::json!({
                "url": database.url_of(role),
                "slot": database.slot(),
                "page_rows": 100,
                "window_wait": "30s",
            }),
            database,
            streams: streams.iter().map(|name| PlannedStream::new(public(name))).collect(),
            changeset_bytes_max: 1 << 20,
        }
    }

    /// A database of a server of the test's own.
    pub(crate) fn on(server: &Postgres, database: &str, streams: &[&str]) -> Self {
        App {
            spec: serde_json::json!({"url": server.url(database), "slot": "shop", "page_rows": 100, "window_wait": "30s"}),
            database: Database::at(server.url(database), database),
            streams: streams.iter().map(|name| PlannedStream::new(public(name))).collect(),
            changeset_bytes_max: 1 << 20,
        }
    }

    pub(crate) async fn run(&self, sql: &str) {
        self.database.run(sql).await;
    }

    pub(crate) fn source(&self) -> Box<dyn Source> {
        let cx = BuildContext {
            base_dir: PathBuf::from("/"),
        };
        PostgresSourceConnector::build(serde_json::from_value(self.spec.clone()).unwrap(), &cx).unwrap()
    }

    pub(crate) fn plan(&self) -> Plan {
        Plan {
            pipeline: "shop".into(),
            configured: Vec::new(),
            streams: self.streams.clone(),
            changeset_bytes_max: self.changeset_bytes_max,
        }
    }

    pub(crate) async fn open(&self, held: &[Held], memory: &Share) -> api::Result<(Opened, tempfile::TempDir)> {
        let scratch = tempfile::tempdir().unwrap();
        let cx = Context {
            pipeline: "shop".into(),
            scratch: scratch.path().to_owned(),
            memory: memory.clone(),
            kept: Kept::default(),
            take_over: false,
            tally: api::Tally::default(),
            once: false,
            stop: CancellationToken::new(),
        };
        Ok((self.source().open(&self.plan(), held, cx).await?, scratch))
    }

    /// A table as text, as a replica shows it.
    pub(crate) async fn rows(&self, table: &str) -> Vec<Row> {
        let client = self.database.client().await;
        let rows = client
            .query(&format!("SELECT to_jsonb(t)::text FROM \"{table}\" t"), &[])
            .await
            .unwrap();
        let row = |row: &tokio_postgres::Row| -> Row {
            let object: serde_json::Map<String, serde_json::Value> = serde_json::from_str(row.get(0)).unwrap();
            let text = |value: serde_json::Value| match value {
                serde_json::Value::Null => None,
                serde_json::Value::String(text) => Some(text),
                other => Some(other.to_string()),
            };
            object.into_iter().map(|(name, value)| (name, text(value))).collect()
        };
        let mut rows: Vec<Row> = rows.iter().map(row).collect();
        rows.sort();
        rows
    }
}

/// A running source with one destination.
pub(crate) struct Run {
    reader: Box<dyn Reader>,
    pub(crate) control: Arc<dyn SourceControl>,
    pub(crate) replica: Replica,
    session: Session,
    /// What was done, in words: `begin_read orders`, `first`, `middle`, `last`.
    pub(crate) seen: Vec<String>,
    /// Largest changeset so far.
    pub(crate) size_bytes_max: usize,
    /// Whether everything committed is acknowledged at once.
    pub(crate) acknowledges: bool,
    _scratch: tempfile::TempDir,
}

impl Run {
    /// Opens the source for what the replica holds, and reads what it lacks.
    pub(crate) async fn start(app: &App, replica: &Replica) -> Run {
        Self::with_memory(app, replica, &Share::alone(16 << 20)).await
    }

    pub(crate) async fn with_memory(app: &App, replica: &Replica, memory: &Share) -> Run {
        Self::with(app, replica, memory, DestinationOptions::default()).await
    }

    /// One whose destination appends, so that nothing hides what comes twice.
    pub(crate) async fn appending(app: &App, replica: &Replica) -> Run {
        let options = DestinationOptions {
            write: Some(WriteMode::Append),
            ..DestinationOptions::default()
        };
        Self::with(app, replica, &Share::alone(16 << 20), options).await
    }

    async fn with(app: &App, replica: &Replica, memory: &Share, options: DestinationOptions) -> Run {
        let lane = Lane {
            take_over: true,
            ..sample::lane()
        };
        let session = Session::open(replica.destination(options), &lane).await.unwrap();
        let held = Held {
            destination: lane.destination.clone(),
            checkpoint: session.checkpoint().clone(),
        };
        let (opened, scratch) = app.open(&[held], memory).await.unwrap();
        let Opened {
            verdicts,
            reader,
            control,
            ..
        } = opened;
        assert!(matches!(verdicts[&lane.destination], Verdict::Continue), "{verdicts:?}");
        let missing: Vec<StreamId> = app
            .streams
            .iter()
            .map(|planned| planned.id.clone())
            .filter(|id| !session.checkpoint().streams.contains_key(id))
            .collect();
        if !missing.is_empty() {
            let request = ReadExisting {
                streams: missing,
                destinations: None,
                empty_first: true,
            };
            control.read_existing(request).await.unwrap();
        }
        Run {
            reader,
            control,
            replica: replica.clone(),
            session,
            seen: Vec::new(),
            size_bytes_max: 0,
            acknowledges: true,
            _scratch: scratch,
        }
    }

    pub(crate) fn checkpoint(&self) -> &Checkpoint {
        self.session.checkpoint()
    }

    /// The next changeset, not applied.
    pub(crate) async fn next(&mut self) -> api::Result<Option<ChangeSet>> {
        match tokio::time::timeout(DEADLINE, self.reader.next()).await {
            Ok(emission) => Ok(emission?.map(|emission| emission.changeset)),
            Err(_) => panic!("nothing came within {DEADLINE:?}; so far: {:?}", self.seen),
        }
    }

    /// Takes one changeset, commits where possible.
    pub(crate) async fn step(&mut self) -> api::Result<bool> {
        let Some(changeset) = self.next().await? else {
            return Ok(false);
        };
        self.size_bytes_max = self.size_bytes_max.max(changeset.size_bytes);
        self.seen.push(match &changeset.body {
            Body::Control(Control::BeginRead { schema, .. }) => format!("begin_read {}", schema.stream()),
            Body::Control(control) => format!("{} {}", control.name(), control.stream()),
            Body::Rows(_) => format!("{:?}", changeset.part).to_lowercase(),
        });
        let ends = changeset.part.ends_consistent();
        self.session.take(&Arc::new(changeset)).await?;
        if ends {
            self.session.commit().await?;
            if self.acknowledges {
                self.control.acknowledge(self.session.checkpoint()).await?;
            }
        }
        Ok(true)
    }

    /// Goes on until it is so.
    pub(crate) async fn until(&mut self, mut is_so: impl FnMut(&Run) -> bool) {
        while !is_so(self) {
            assert!(self.step().await.unwrap(), "the source ended; so far: {:?}", self.seen);
        }
    }

    /// Goes on until the replica holds the tables as the application has them.
    pub(crate) async fn until_equal(&mut self, app: &App, tables: &[&str]) {
        let deadline = std::time::Instant::now() + DEADLINE;
        loop {
            // Tables are compared only when nothing more comes for a moment: that costs far more than to take a changeset.
            while let Ok(step) = tokio::time::timeout(Duration::from_millis(15), self.step()).await {
                assert!(step.unwrap(), "the source ended; so far: {:?}", self.seen);
            }
            let mut differing = None;
            for table in tables {
                if !self.is_equal(app, table).await {
                    differing = Some(table);
                    break;
                }
            }
            let Some(table) = differing else { break };
            assert!(
                std::time::Instant::now() < deadline,
                "`{table}` never became equal; so far: {:?}",
                self.seen
            );
            if let Ok(step) = tokio::time::timeout(Duration::from_millis(100), self.step()).await {
                assert!(step.unwrap(), "the source ended; so far: {:?}", self.seen);
            }
        }
        assert_eq!(self.replica.violations(), Vec::<String>::new());
    }

    async fn is_equal(&self, app: &App, table: &str) -> bool {
        let id = public(table);
        let is_live = self
            .session
            .checkpoint()
            .streams
            .get(&id)
            .is_some_and(|state| state.is_live());
        if !is_live {
            return false;
        }
        let mut rows = self.replica.rows(&id).unwrap_or_default();
        rows.sort();
        // A column that was dropped at the source may stay at the destination.
        let wanted = app.rows(table).await;
        let columns: std::collections::BTreeSet<&String> = wanted.iter().flat_map(|row| row.keys()).collect();
        if !columns.is_empty() {
            for row in &mut rows {
                row.retain(|name, _| columns.contains(name));
            }
        }
        rows == wanted
    }

    /// How often something was seen.
    pub(crate) fn count(&self, what: &str) -> usize {
        self.seen.iter().filter(|seen| *seen == what).count()
    }
}
