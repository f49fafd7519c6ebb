//! One database, one destination in memory, and what the runtime would do between them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use api::conformance::{Row, Session, sample};
use api::testing::Replica;
use api::{
    BuildContext, Context, DestinationOptions, Held, Kept, Lane, Opened, Plan, PlannedStream, ReadExisting, Reader,
    Share, Source, SourceConnector, SourceControl, Verdict,
};
use highwater_plugin_sqlite::SqliteSourceConnector;
use model::{Body, ChangeSet, Checkpoint, Control, StreamId};
use rusqlite::Connection;
use rusqlite::types::ValueRef;
use tokio_util::sync::CancellationToken;

/// Generous: a busy machine is no broken promise.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// A database file of an application.
pub(crate) struct App {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) conn: Connection,
    pub(crate) spec: serde_json::Value,
    pub(crate) streams: Vec<PlannedStream>,
    pub(crate) changeset_bytes_max: usize,
}

impl App {
    pub(crate) fn new(schema: &str, streams: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let conn = connect(&dir.path().join("app.db"));
        conn.pragma_update(None, "journal_mode", "WAL").unwrap();
        conn.execute_batch(schema).unwrap();
        App {
            dir,
            conn,
            spec: serde_json::json!({ "path": "app.db", "page_rows": 100 }),
            streams: streams
                .iter()
                .map(|name| PlannedStream::new(StreamId::new(*name)))
                .collect(),
            changeset_bytes_max: 1 << 20,
        }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.dir.path().join("app.db")
    }

    pub(crate) fn run(&self, sql: &str) {
        self.conn.execute_batch(sql).unwrap_or_else(|e| panic!("{sql}: {e}"));
    }

    pub(crate) fn source(&self) -> Box<dyn Source> {
        let cx = BuildContext {
            base_dir: self.dir.path().to_owned(),
        };
        SqliteSourceConnector::build(serde_json::from_value(self.spec.clone()).unwrap(), &cx).unwrap()
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
    pub(crate) fn rows(&self, table: &str) -> Vec<Row> {
        let mut statement = self.conn.prepare(&format!("SELECT * FROM \"{table}\"")).unwrap();
        let names: Vec<String> = statement.column_names().map(str::to_owned).collect();
        let mut rows = statement.query([]).unwrap();
        let mut all = Vec::new();
        while let Some(row) = rows.next().unwrap() {
            let text = |i: usize| match row.get_ref(i).unwrap() {
                ValueRef::Null => None,
                ValueRef::Integer(v) => Some(v.to_string()),
                ValueRef::Real(v) => Some(format!("{v:?}")),
                ValueRef::Text(v) => Some(String::from_utf8(v.to_vec()).unwrap()),
                ValueRef::Blob(v) => Some(v.iter().map(|b| format!("{b:02x}")).collect()),
            };
            all.push(
                names
                    .iter()
                    .enumerate()
                    .map(|(i, name)| (name.clone(), text(i)))
                    .collect(),
            );
        }
        all.sort();
        all
    }
}

pub(crate) fn connect(path: &Path) -> Connection {
    let conn = Connection::open(path).unwrap();
    conn.busy_timeout(Duration::from_secs(20)).unwrap();
    conn
}

/// A running source with one destination.
pub(crate) struct Run {
    reader: Box<dyn Reader>,
    pub(crate) control: Arc<dyn SourceControl>,
    pub(crate) verdict: Verdict,
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
        let lane = Lane {
            take_over: true,
            ..sample::lane()
        };
        let session = Session::open(replica.destination(DestinationOptions::default()), &lane)
            .await
            .unwrap();
        let held = Held {
            destination: lane.destination.clone(),
            checkpoint: session.checkpoint().clone(),
        };
        let (opened, scratch) = app.open(&[held], memory).await.unwrap();
        let Opened {
            mut verdicts,
            reader,
            control,
            ..
        } = opened;
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
            verdict: verdicts.remove(&lane.destination).unwrap(),
            replica: replica.clone(),
            session,
            seen: Vec::new(),
            size_bytes_max: 0,
            acknowledges: true,
            _scratch: scratch,
        }
    }

    /// What a resync of everything begins with at the destination.
    pub(crate) async fn forget_position(&mut self) {
        self.session.commit_at(Checkpoint::default()).await.unwrap();
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
            let differing = tables.iter().find(|table| !self.is_equal(app, table));
            let Some(table) = differing else { break };
            assert!(
                std::time::Instant::now() < deadline,
                "`{table}` never became equal; so far: {:?}",
                self.seen
            );
            assert!(self.step().await.unwrap(), "the source ended; so far: {:?}", self.seen);
        }
        assert_eq!(self.replica.violations(), Vec::<String>::new());
    }

    fn is_equal(&self, app: &App, table: &str) -> bool {
        let id = StreamId::new(table);
        let is_live = self
            .session
            .checkpoint()
            .streams
            .get(&id)
            .is_some_and(|state| state.is_live());
        let mut rows = self.replica.rows(&id).unwrap_or_default();
        rows.sort();
        // A column that was dropped at the source may stay at the destination.
        let wanted = app.rows(table);
        let columns: BTreeSet<&String> = wanted.iter().flat_map(|row| row.keys()).collect();
        if !columns.is_empty() {
            for row in &mut rows {
                row.retain(|name, _| columns.contains(name));
            }
        }
        is_live && rows == wanted
    }

    /// How often something was seen.
    pub(crate) fn count(&self, what: &str) -> usize {
        self.seen.iter().filter(|seen| *seen == what).count()
    }
}
