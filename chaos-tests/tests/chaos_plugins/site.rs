//! A directory with plugins, a system that changes, and three destinations.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use highwater_chaos_tests::postgres::client::Client;
use highwater_chaos_tests::process::{Runtime, last_lines, wait_for};
use highwater_chaos_tests::scale::{Run, say};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use rusqlite::Connection;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use test_systems::{Missing, Pipeline, Postgres, go, process_of, processes_of, python};

/// A sync of a few thousand rows on two busy cores.
pub const SYNC_MAX: Duration = Duration::from_secs(120);
/// A plugin has five seconds to end when its runtime is gone.
const PLUGINS_GONE_MAX: Duration = Duration::from_secs(20);

/// Names of people by their id.
type People = BTreeMap<i64, String>;

/// Which source, and which database beside the files and the destination plugin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scene {
    /// A source of Python's SDK, and SQLite.
    PythonAndSqlite,
    /// A source with the manners of Go's, and PostgreSQL.
    GoAndPostgres,
}

/// The system of the destination `copy`.
enum Database {
    Sqlite(PathBuf),
    Postgres(Box<(Postgres, Client)>),
}

impl Database {
    fn postgres() -> io::Result<Result<Self, Missing>> {
        let server = match Postgres::start() {
            Ok(server) => server,
            Err(missing) => return Ok(Err(missing)),
        };
        let session = Client::connect(&server.url("postgres"))?;
        Ok(Ok(Database::Postgres(Box::new((server, session)))))
    }

    /// The destination `copy`, and the others.
    fn config(&self, source: &str) -> String {
        let (connector, spec) = match self {
            Database::Sqlite(path) => ("sqlite", format!("{{ path: {} }}", path.display())),
            Database::Postgres(of) => ("postgres", format!("{{ url: \"{}\" }}", of.0.url("postgres"))),
        };
        let (often, seldom) = ("batch: { wait_max: 150ms }", "batch: { wait_max: 300ms }");
        Pipeline::of(source)
            .option("incremental: true")
            .streams("people, people_notes, events")
            .into("copy", connector, &spec, &["write: mirror"])
            .into("lake", "parquet", "{ path: \"./lake/{stream}/\" }", &[often])
            .into_plugin(
                "theirs",
                "python-destination",
                "{ file: ./theirs }",
                &["write: mirror", seldom],
            )
            .to_string()
    }

    fn people(&self, table: &str, key: &str, value: &str) -> io::Result<People> {
        let sql = format!("SELECT {key}, {value} FROM {table}");
        match self {
            Database::Sqlite(path) => {
                let read = || -> rusqlite::Result<People> {
                    let copy = Connection::open(path)?;
                    let mut statement = copy.prepare(&sql)?;
                    statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
                };
                read().map_err(io::Error::other)
            }
            Database::Postgres(of) => {
                let rows = of.1.rows(&sql)?.into_iter().filter_map(|row| {
                    let mut cells = row.into_iter().flatten();
                    Some((cells.next()?.parse().ok()?, cells.next()?))
                });
                Ok(rows.collect())
            }
        }
    }
}

/// The directory.
pub struct Site {
    /// What is done, and how to repeat it.
    pub run: Run,
    dir: tempfile::TempDir,
    copy: Database,
    expected: People,
    /// So many events there are. They only ever become more, and a sync brings those behind its cursor.
    events: i64,
}

impl Site {
    /// `None`, and the reason printed, where something is missing.
    pub fn new(run: Run, scene: Scene) -> io::Result<Option<Site>> {
        let dir = tempfile::tempdir()?;
        let (source, installed, copy) = match scene {
            Scene::PythonAndSqlite => (
                "python-source",
                python::Plugin::Source.install(dir.path()),
                Ok(Database::Sqlite(dir.path().join("copy.db"))),
            ),
            Scene::GoAndPostgres => (
                "go-source",
                go::Plugin::Source.install(dir.path()),
                Database::postgres()?,
            ),
        };
        let installed = installed.and_then(|_| python::Plugin::Destination.install(dir.path()));
        let copy = match installed.and(copy) {
            Ok(copy) => copy,
            Err(missing) => {
                say(&format!("skipped: {missing}"));
                return Ok(None);
            }
        };
        std::fs::write(dir.path().join("highwater.yaml"), copy.config(source))?;
        Ok(Some(Site {
            run,
            dir,
            copy,
            expected: People::new(),
            events: 0,
        }))
    }

    /// Other people, some of whom were there before.
    pub fn change(&mut self, rng: &mut ChaCha8Rng) -> io::Result<()> {
        let (rows, version) = (rng.random_range(100..3_000), rng.random_range(0..1_000_000));
        let version = format!(" v{version}");
        self.expected = (0..rows).map(|id| (id, format!("name {id}{version}"))).collect();
        self.events += rng.random_range(0..800);
        let data = json!({"rows": rows, "events": self.events, "version": version, "pause": 0.003});
        std::fs::write(self.file("data.json"), data.to_string())
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Starts one sync.
    pub fn sync(&self, environment: &[(&str, &str)]) -> io::Result<Runtime> {
        Runtime::start(self.dir.path(), &self.file("runtime.log"), &["sync"], environment)
    }

    /// Waits for the end of a sync that nothing keeps from ending well.
    #[track_caller]
    pub fn ends_well(&self, mut runtime: Runtime) -> io::Result<()> {
        match runtime.wait(SYNC_MAX)? {
            Some(status) if status.success() => Ok(()),
            Some(status) => self.fail(&format!("the sync ended with {status}")),
            None => self.fail(&format!("the sync does not end within {SYNC_MAX:?}")),
        }
    }

    /// No plugin outlives its runtime.
    #[track_caller]
    pub fn plugins_are_gone(&self) {
        let gone = wait_for(PLUGINS_GONE_MAX, || {
            processes_of(self.dir.path()).is_empty().then_some(())
        });
        if gone.is_none() {
            self.fail(&format!("plugins run on: {:?}", processes_of(self.dir.path())));
        }
    }

    /// Kills one of the two plugins, if it runs.
    pub fn kill_plugin(&self, plugin: &str) -> bool {
        kill_plugin(self.dir.path(), plugin)
    }

    /// Every destination has exactly what the system had at the last sync.
    #[track_caller]
    pub fn is_equal(&mut self) -> io::Result<()> {
        let found = [
            ("copy", self.copy.people("people", "id", "name")?),
            ("copy's notes", self.copy.people("people_notes", "person", "note")?),
            ("theirs", self.theirs("people", "id", "name")?),
            ("their notes", self.theirs("people_notes", "person", "note")?),
            ("lake", self.lake("people", "id", "name")?),
            ("lake's notes", self.lake("people_notes", "person", "note")?),
        ];
        for (name, rows) in found {
            let is_notes = name.ends_with("notes");
            let expected: People = match is_notes {
                false => self.expected.clone(),
                true => self.expected.iter().map(|(id, name)| (*id, note(name))).collect(),
            };
            if rows != expected {
                let differs = expected.iter().find(|(id, name)| rows.get(id) != Some(name));
                let extra = rows.keys().find(|id| !expected.contains_key(id));
                self.fail(&format!(
                    "{name} has {} rows of {}; first that differs {differs:?}, first too many {extra:?}",
                    rows.len(),
                    expected.len()
                ));
            }
            self.run.checked(1);
        }
        // A cursor that ran ahead of its rows would leave a hole.
        let events = [
            ("copy", self.copy.people("events", "id", "name")?),
            ("theirs", self.theirs("events", "id", "name")?),
            ("lake", self.lake("events", "id", "name")?),
        ];
        for (name, events) in events {
            if !events.keys().copied().eq(0..self.events) {
                let missing = (0..self.events).find(|id| !events.contains_key(id));
                self.fail(&format!(
                    "{name} has {} events of {}; first that is missing {missing:?}",
                    events.len(),
                    self.events
                ));
            }
            self.run.checked(1);
        }
        Ok(())
    }

    fn theirs(&self, table: &str, key: &str, value: &str) -> io::Result<People> {
        let mut people = People::new();
        for line in std::fs::read_to_string(self.file("theirs"))?.lines() {
            let row: Value = serde_json::from_str(line)?;
            if row[0] == table {
                let cell = row[2][value].as_str().unwrap_or_default().to_owned();
                people.insert(row[2][key].as_i64().unwrap_or(-1), cell);
            }
        }
        Ok(people)
    }

    /// The history, replayed as the page on files says.
    fn lake(&self, table: &str, key: &str, value: &str) -> io::Result<People> {
        let mut people = People::new();
        for file in files(&self.file("lake").join(table))? {
            let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(file)?)
                .and_then(ParquetRecordBatchReaderBuilder::build)
                .map_err(io::Error::other)?;
            for batch in reader {
                let batch = batch.map_err(io::Error::other)?;
                let text = |name: &str| {
                    batch
                        .column_by_name(name)
                        .map(|column| column.as_string::<i32>().clone())
                };
                let (Some(op), Some(values)) = (text("_highwater_op"), text(value)) else {
                    return Err(io::Error::other("a column is missing"));
                };
                let keys = batch
                    .column_by_name(key)
                    .map(|column| column.as_primitive::<Int64Type>());
                for row in 0..batch.num_rows() {
                    match op.value(row) {
                        "truncate" | "begin_read" => people.clear(),
                        "read" | "update" => {
                            let key = keys.map_or(-1, |keys| keys.value(row));
                            people.insert(key, values.value(row).to_owned());
                        }
                        other => return Err(io::Error::other(format!("a plugin's sync has no `{other}`"))),
                    }
                }
            }
        }
        Ok(people)
    }

    /// Fails the test; says how to repeat it.
    #[track_caller]
    pub fn fail(&self, what: &str) -> ! {
        let words = last_lines(&self.file("runtime.log"), 40);
        panic!(
            "{what}\n  again: {}\n  the runtime's last words:\n{words}",
            self.run.command()
        )
    }
}

/// Kills a plugin that runs in `folder`.
pub fn kill_plugin(folder: &Path, plugin: &str) -> bool {
    let pid = process_of(folder, plugin).and_then(|pid| Pid::from_raw(pid as i32));
    pid.is_some_and(|pid| kill_process(pid, Signal::KILL).is_ok())
}

/// The note of a person of this name.
fn note(name: &str) -> String {
    let version = name.rfind(" v").map_or("", |at| &name[at..]);
    format!("hello{version}")
}

/// By name, which is the order of their rows.
fn files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<io::Result<_>>()?;
    files.sort();
    Ok(files)
}
