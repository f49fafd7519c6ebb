//! A directory in which a shop is replicated: source, configuration, state, destinations, and who watches them.

use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use crate::binary;
use crate::copy;
use crate::lake::LakeWatch;
use crate::oracle::Oracle;
use crate::prefix::{Held, PrefixChecker, Verdict, Violation, compare};
use crate::process::{Runtime, last_lines, look_every};
use crate::scale::Run;
use crate::shop::Table;
use crate::state::State;
use crate::view::View;
use crate::workload::Profile;
use crate::writer::{self, Orders, Writer};

/// The pipeline's name in every configuration.
pub const PIPELINE: &str = "shop";

/// What a destination is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A SQLite database.
    Copy,
    /// A directory of Parquet files.
    Lake,
}

/// A destination as it is configured.
#[derive(Clone)]
pub struct Destination {
    /// Its name, and where it lies in the site's directory.
    pub name: &'static str,
    /// What it is.
    pub kind: Kind,
    /// What it should see of the source.
    pub view: View,
    /// Further fields, as a YAML flow mapping without its braces; empty for none.
    pub fields: &'static str,
}

impl Destination {
    /// A live replica that sees everything.
    pub fn copy() -> Self {
        Destination {
            name: "copy",
            kind: Kind::Copy,
            view: View::whole(),
            fields: "",
        }
    }

    /// A history that sees everything; it commits often, so that kills meet many commits.
    pub fn lake() -> Self {
        Destination {
            name: "lake",
            kind: Kind::Lake,
            view: View::whole(),
            fields: "write: append, batch: { wait_max: 150ms }",
        }
    }

    /// The same with another view.
    pub fn seeing(self, view: View) -> Self {
        Destination { view, ..self }
    }

    /// The same with other fields.
    pub fn with(self, fields: &'static str) -> Self {
        Destination { fields, ..self }
    }

    fn render_spec(&self, dir: &Path) -> String {
        match self.kind {
            Kind::Copy => format!(
                "connector: sqlite, spec: {{ path: {} }}",
                dir.join(self.name).with_extension("db").display()
            ),
            Kind::Lake => {
                format!(
                    "connector: parquet, spec: {{ path: \"{}/{{stream}}/date={{date}}/\" }}",
                    dir.join(self.name).display()
                )
            }
        }
    }
}

/// What is configured.
#[derive(Clone)]
pub struct Layout {
    /// Further fields of the source's spec, each with a comma before it; empty for none.
    pub source_fields: &'static str,
    /// The streams.
    pub tables: Vec<Table>,
    /// The pipeline's transformers, as a YAML flow list.
    pub chain: &'static str,
    /// The destinations.
    pub destinations: Vec<Destination>,
    /// The process's memory budget.
    pub memory_limit: &'static str,
    /// The spool's window.
    pub window_max: &'static str,
}

impl Layout {
    /// All tables to these destinations.
    pub fn of(destinations: Vec<Destination>) -> Self {
        Layout {
            source_fields: "",
            tables: Table::ALL.to_vec(),
            chain: "[]",
            destinations,
            memory_limit: "192MiB",
            window_max: "16MiB",
        }
    }

    /// The configuration as a file.
    pub fn render(&self, dir: &Path, state: &Path) -> String {
        let streams: Vec<&str> = self.tables.iter().map(|table| table.name()).collect();
        let mut text = format!(
            "version: 1\n\
             runtime:\n\
             \x20 state: {{ path: {} }}\n\
             \x20 memory: {{ limit: {} }}\n\
             \x20 spool: {{ home: memory, window_max: {} }}\n\
             \x20 admin: {{ listen: \"off\" }}\n\
             pipelines:\n\
             \x20 {PIPELINE}:\n\
             \x20   source:\n\
             \x20     connector: sqlite\n\
             \x20     spec: {{ path: {}{} }}\n\
             \x20     streams: [{}]\n\
             \x20   transformers: {}\n\
             \x20   destinations:\n",
            state.display(),
            self.memory_limit,
            self.window_max,
            dir.join("shop.db").display(),
            self.source_fields,
            streams.join(", "),
            self.chain,
        );
        for destination in &self.destinations {
            let separator = if destination.fields.is_empty() { "" } else { ", " };
            let _ = writeln!(
                text,
                "      {}: {{ {}{separator}{} }}",
                destination.name,
                destination.render_spec(dir),
                destination.fields
            );
        }
        text
    }
}

enum Watch {
    Copy(PathBuf, PrefixChecker),
    Lake(LakeWatch),
}

/// The directory and everything in it.
pub struct Site {
    dir: Option<tempfile::TempDir>,
    layout: Layout,
    state: &'static str,
    writer_program: &'static str,
    orders: Orders,
    writer: Option<Writer>,
    watches: Vec<(&'static str, Watch)>,
    note: String,
    /// The source's history.
    pub oracle: Oracle,
    /// Seed and counts.
    pub run: Run,
}

impl Site {
    /// Makes a directory with a source that had one transaction, and a configuration.
    pub fn new(run: Run, writer_program: &'static str, profile: Profile, layout: Layout) -> io::Result<Self> {
        let dir = tempfile::Builder::new().prefix("highwater-chaos-").tempdir()?;
        let orders = Orders {
            database: dir.path().join("shop.db"),
            log: dir.path().join("positions"),
            profile,
            rate: 0.0,
            until: None,
            pipeline: PIPELINE.to_owned(),
        };
        let mut site = Site {
            oracle: Oracle::new(profile, &orders.log),
            dir: Some(dir),
            layout: layout.clone(),
            state: "state",
            writer_program,
            orders,
            writer: None,
            watches: Vec::new(),
            note: String::new(),
            run,
        };
        site.write(1)?;
        site.set_layout(layout)?;
        Ok(site)
    }

    /// Where everything lies.
    pub fn path(&self) -> &Path {
        self.dir.as_ref().map_or(Path::new("."), tempfile::TempDir::path)
    }

    /// A file in it.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    /// The runtime's state directory.
    pub fn state_dir(&self) -> PathBuf {
        self.file(self.state)
    }

    /// Keeps the runtime's state in another directory from now on.
    pub fn use_state_dir(&mut self, name: &'static str) -> io::Result<()> {
        self.state = name;
        self.set_layout(self.layout.clone())
    }

    /// What is configured.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Writes another configuration; new destinations are watched from now on.
    pub fn set_layout(&mut self, layout: Layout) -> io::Result<()> {
        std::fs::write(
            self.file("highwater.yaml"),
            layout.render(self.path(), &self.state_dir()),
        )?;
        for destination in &layout.destinations {
            let place = self.file(destination.name);
            let known = self.watches.iter_mut().find(|(name, _)| *name == destination.name);
            let view = destination.view.clone();
            match known {
                Some((_, Watch::Copy(_, checker))) => checker.set_view(view),
                Some((_, Watch::Lake(watch))) => watch.widen(view, &mut self.oracle),
                None => self.watches.push(match destination.kind {
                    Kind::Copy => (
                        destination.name,
                        Watch::Copy(place.with_extension("db"), PrefixChecker::new(view)),
                    ),
                    Kind::Lake => (
                        destination.name,
                        Watch::Lake(LakeWatch::new(place, PIPELINE, destination.name, view)),
                    ),
                }),
            }
        }
        self.layout = layout;
        Ok(())
    }

    /// Writes, in this process, until the source has had this many transactions.
    pub fn write(&mut self, until: u64) -> io::Result<()> {
        let orders = Orders {
            until: Some(until),
            ..self.orders.clone()
        };
        orders.carry_out(|| false).map_err(io::Error::other)?;
        Ok(())
    }

    /// Starts the writer process, at so many transactions a second.
    pub fn start_writer(&mut self, rate: f64) -> io::Result<()> {
        let orders = Orders {
            rate,
            ..self.orders.clone()
        };
        self.writer = Some(orders.start(Path::new(self.writer_program))?);
        Ok(())
    }

    /// Stops it; how many transactions the source has had.
    pub fn stop_writer(&mut self) -> io::Result<u64> {
        if let Some(writer) = self.writer.take() {
            writer.stop()?;
        }
        let connection = writer::open(&self.orders.database).map_err(io::Error::other)?;
        writer::last_mark(&connection).map_err(io::Error::other)
    }

    /// Starts `highwater run`.
    pub fn start(&self) -> io::Result<Runtime> {
        self.start_with(&[], &[])
    }

    /// Starts `highwater run` with further arguments and environment variables.
    pub fn start_with(&self, arguments: &[&str], environment: &[(&str, &str)]) -> io::Result<Runtime> {
        let arguments: Vec<&str> = ["run", "-c", "highwater.yaml"]
            .into_iter()
            .chain(arguments.iter().copied())
            .collect();
        Runtime::start(self.path(), &self.file("runtime.log"), &arguments, environment)
    }

    /// What a failure should say besides.
    pub fn note(&mut self, note: String) {
        self.note = note;
    }

    /// Runs a command of `highwater` to its end.
    pub fn command(&self, arguments: &[&str]) -> io::Result<Output> {
        Command::new(binary::path())
            .args(arguments)
            .args(["-c", "highwater.yaml"])
            .env("NO_COLOR", "1")
            .env_remove("HIGHWATER_FAILPOINT")
            .current_dir(self.path())
            .output()
    }

    /// Runs a command of `highwater` that must succeed; what it prints on stdout.
    #[track_caller]
    pub fn expect_command(&mut self, arguments: &[&str]) -> io::Result<String> {
        let output = self.command(arguments)?;
        if !output.status.success() {
            let words = String::from_utf8_lossy(&output.stderr);
            self.fail(&format!(
                "`highwater {}` ended with {}:\n{words}",
                arguments.join(" "),
                output.status
            ));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Holds every destination against the history; fails the test if one shows what the source never was.
    ///
    /// How far each is.
    #[track_caller]
    pub fn look(&mut self) -> Vec<Seen> {
        let mut seen = Vec::new();
        for index in 0..self.watches.len() {
            let verdict = self
                .judge(index)
                .unwrap_or_else(|error| self.fail(&format!("cannot read what is there: {error}")));
            let name = self.watches[index].0;
            if !verdict.violations.is_empty() {
                self.fail(&render_violations(name, &verdict));
            }
            self.run.checked(1);
            seen.push(Seen {
                name,
                transaction: verdict.transaction,
                is_live: verdict.is_live,
            });
        }
        seen
    }

    fn judge(&mut self, index: usize) -> io::Result<Verdict> {
        match &mut self.watches[index] {
            (name, Watch::Copy(path, checker)) => {
                let shown = copy::read(path, checker.view(), name).map_err(io::Error::other)?;
                checker.check(&shown, &mut self.oracle)
            }
            (_, Watch::Lake(watch)) => watch.check(&mut self.oracle),
        }
    }

    /// Waits until every destination shows this transaction with all streams live; checks what it sees meanwhile.
    #[track_caller]
    pub fn wait_until_shown(&mut self, transaction: u64, limit: Duration) {
        let mut last = Vec::new();
        let is_done = look_every(LOOK_EVERY, limit, || {
            last = self.look();
            last.iter()
                .all(|seen| seen.is_live && seen.transaction >= transaction)
                .then_some(())
        });
        if is_done.is_none() {
            self.fail(&format!(
                "not caught up with transaction {transaction} after {limit:?}: {last:?}"
            ));
        }
    }

    /// Waits until every SQLite destination is live and holds the source's rows as of this transaction, whatever it says of
    /// its position: after capture began anew that is one of another history, which the oracle cannot place.
    #[track_caller]
    pub fn wait_until_equal(&mut self, transaction: u64, limit: Duration) {
        let state = self.oracle.state_after(transaction);
        let mut last = Verdict::default();
        let is_equal = look_every(LOOK_EVERY, limit, || {
            last = self.compare_copies(&state).unwrap_or_else(|error| Verdict {
                violations: vec![Violation::Files(error.to_string())],
                ..Verdict::default()
            });
            (last.is_live && last.violations.is_empty()).then_some(())
        });
        if is_equal.is_none() {
            self.fail(&render_violations("what was read again", &last));
        }
        self.run.checked(1);
    }

    fn compare_copies(&self, state: &State) -> rusqlite::Result<Verdict> {
        let mut verdict = Verdict {
            is_live: true,
            ..Verdict::default()
        };
        for (name, watch) in &self.watches {
            let Watch::Copy(path, checker) = watch else { continue };
            let shown = copy::read(path, checker.view(), name)?;
            verdict.is_live &= shown.checkpoint.streams.values().all(model::StreamState::is_live);
            for table in checker.view().tables() {
                let found = shown.rows.get(&table.table()).map_or(&[][..], Vec::as_slice);
                compare(table, state, found, Held::All, &mut verdict.violations);
            }
        }
        Ok(verdict)
    }

    /// Ends the drill: lets the runtime catch up and drain, compares everything, and says what was done.
    #[track_caller]
    pub fn finish(mut self, note: &str) {
        let last = self.settle();
        let note = format!("{last} transactions{}{note}", if note.is_empty() { "" } else { ", " });
        self.run.end(&note);
    }

    /// Stops the writer, lets the runtime catch up and drain, and compares everything; how many transactions there were.
    #[track_caller]
    pub fn settle(&mut self) -> u64 {
        let last = self
            .stop_writer()
            .unwrap_or_else(|error| self.fail(&format!("cannot stop the writer: {error}")));
        self.check_source(last);
        let mut runtime = self
            .start()
            .unwrap_or_else(|error| self.fail(&format!("cannot start the runtime: {error}")));
        self.wait_until_shown(last, CATCH_UP_MAX);
        let drained = runtime
            .signal(rustix::process::Signal::TERM)
            .and_then(|()| runtime.wait(DRAIN_MAX));
        match drained {
            Ok(Some(status)) if status.code() == Some(0) => {}
            ended => self.fail(&format!("SIGTERM should drain and end with 0, not {ended:?}")),
        }
        for seen in self.look() {
            if seen.transaction != last || !seen.is_live {
                self.fail(&format!("at the end the source has {last} transactions: {seen:?}"));
            }
        }
        last
    }

    /// The source must be what its application made it.
    #[track_caller]
    fn check_source(&mut self, last: u64) {
        let state: State = self.oracle.state_after(last);
        let mut verdict = Verdict::default();
        let connection = writer::open(&self.orders.database);
        for table in View::whole().tables() {
            let found = connection.as_ref().map_err(|error| error.to_string());
            let found =
                found.and_then(|connection| copy::read_rows(connection, table).map_err(|error| error.to_string()));
            match found {
                Ok(found) => compare(table, &state, &found, Held::All, &mut verdict.violations),
                Err(error) => verdict.violations.push(Violation::Files(error)),
            }
        }
        if !verdict.violations.is_empty() {
            self.fail(&render_violations("the source itself", &verdict));
        }
    }

    /// Fails the test; says how to repeat it, and keeps the directory.
    #[track_caller]
    pub fn fail(&mut self, what: &str) -> ! {
        let words = last_lines(&self.file("runtime.log"), 40);
        let kept = self.dir.take().map(tempfile::TempDir::keep).unwrap_or_default();
        panic!(
            "{what}\n  {}\n  kept: {}\n  again: {}\n  the runtime's last words:\n{words}",
            self.note,
            kept.display(),
            self.run.command()
        )
    }
}

/// What one destination showed.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The destination.
    pub name: &'static str,
    /// The transaction that it shows.
    pub transaction: u64,
    /// Whether all its streams are live.
    pub is_live: bool,
}

/// Two busy cores, an unoptimized build, and other tests beside.
const CATCH_UP_MAX: Duration = Duration::from_secs(120);
const DRAIN_MAX: Duration = Duration::from_secs(60);

/// A look reads everything that is there: more of them would only slow down what they wait for.
const LOOK_EVERY: Duration = Duration::from_millis(150);

fn render_violations(name: &str, verdict: &Verdict) -> String {
    const SHOWN_MAX: usize = 12;
    let count = verdict.violations.len();
    let mut text = format!("{name} at transaction {}: {count} violations", verdict.transaction);
    for violation in verdict.violations.iter().take(SHOWN_MAX) {
        let _ = write!(text, "\n  {violation}");
    }
    text
}
