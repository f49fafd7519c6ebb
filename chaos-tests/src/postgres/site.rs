//! Two PostgreSQL servers, a proxy before each, and a runtime that carries one to the other, to a SQLite database and to
//! Parquet files at once.

use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use rustix::process::Signal;
use test_systems::{Missing, Postgres, PostgresOptions, Shutdown};

use super::client::Client;
use super::positions::Positions;
use super::proxy::Proxy;
use super::replica::{self, Replica};
use super::tables;
use super::writer::{self, Orders};
use crate::copy;
use crate::lake::LakeWatch;
use crate::oracle::Oracle;
use crate::prefix::{Held, PrefixChecker, Verdict, Violation, compare};
use crate::process::{Runtime, last_lines, look_every, wait_for};
use crate::scale::Run;
use crate::shop::Table;
use crate::site::{PIPELINE, Seen};
use crate::state::State;
use crate::value::Row;
use crate::workload::Profile;
use crate::writer::Writer;

/// The destinations' names.
const REPLICA: &str = "replica";
const COPY: &str = "copy";
const LAKE: &str = "lake";

/// Two busy cores, an unoptimized build, and other tests beside.
const CATCH_UP_MAX: Duration = Duration::from_secs(120);
const DRAIN_MAX: Duration = Duration::from_secs(60);
const COMMITS_WITHIN: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// One of the two servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Where the history is written.
    Source,
    /// One of the destinations.
    Destination,
}

struct Server {
    postgres: Postgres,
    proxy: Proxy,
}

impl Server {
    fn start() -> io::Result<Result<Self, Missing>> {
        // Large transactions are sent while they run. Only processes die here, never the machine.
        let options = PostgresOptions::default()
            .set("logical_decoding_work_mem", "64kB")
            .set("fsync", "off")
            .set("autovacuum", "off");
        let postgres = match Postgres::start_with(&options) {
            Ok(postgres) => postgres,
            Err(missing) => return Ok(Err(missing)),
        };
        let proxy = Proxy::before(postgres.port())?;
        Ok(Ok(Server { postgres, proxy }))
    }

    fn url(&self) -> String {
        self.postgres.url("postgres")
    }

    fn url_through_proxy(&self) -> String {
        let port = self.proxy.port();
        format!("postgres://postgres@127.0.0.1:{port}/postgres?sslmode=disable")
    }
}

/// The servers, the directory, and who watches them.
pub struct Site {
    dir: Option<tempfile::TempDir>,
    state: &'static str,
    source: Server,
    destination: Server,
    writer_program: &'static str,
    orders: Orders,
    writer: Option<Writer>,
    replica: (Replica, PrefixChecker),
    copy: (PathBuf, PrefixChecker),
    lake: LakeWatch,
    oracle: Oracle,
    note: String,
    /// Seed and counts.
    pub run: Run,
}

impl Site {
    /// Starts two servers with a source that had one transaction; what is missing if there is no PostgreSQL here.
    pub fn new(run: Run, writer_program: &'static str, profile: Profile) -> io::Result<Result<Self, Missing>> {
        let dir = tempfile::Builder::new().prefix("highwater-chaos-").tempdir()?;
        let (source, destination) = match (Server::start()?, Server::start()?) {
            (Ok(source), Ok(destination)) => (source, destination),
            (Err(missing), _) | (_, Err(missing)) => return Ok(Err(missing)),
        };
        let orders = Orders {
            url: source.url(),
            profile,
            rate: 0.0,
            until: None,
        };
        let flat = tables::view().prefixed(&format!("{}_", tables::SCHEMA));
        let site = Site {
            replica: (Replica::new(destination.url()), PrefixChecker::new(tables::view())),
            copy: (dir.path().join("copy.db"), PrefixChecker::new(flat)),
            lake: LakeWatch::new(dir.path().join(LAKE), PIPELINE, LAKE, tables::view()),
            oracle: Oracle::with_places(profile, Positions::begin(source.url())?),
            dir: Some(dir),
            state: "state",
            source,
            destination,
            writer_program,
            orders,
            writer: None,
            note: String::new(),
            run,
        };
        let first = Orders {
            until: Some(1),
            ..site.orders.clone()
        };
        first.carry_out(|| false)?;
        site.configure()?;
        Ok(Ok(site))
    }

    fn configure(&self) -> io::Result<()> {
        let mut streams = String::new();
        for table in Table::ALL {
            let separator = if streams.is_empty() { "" } else { ", " };
            let _ = write!(streams, "{separator}{}.{table}", tables::SCHEMA);
        }
        let text = format!(
            "version: 1\n\
             runtime:\n\
             \x20 state: {{ path: {state} }}\n\
             \x20 memory: {{ limit: 192MiB }}\n\
             \x20 spool: {{ home: memory, window_max: 16MiB }}\n\
             \x20 admin: {{ listen: \"off\" }}\n\
             pipelines:\n\
             \x20 {PIPELINE}:\n\
             \x20   source:\n\
             \x20     connector: postgres\n\
             \x20     spec: {{ url: \"{source}\", page_rows: 1000, window_max: 2s }}\n\
             \x20     streams: [{streams}]\n\
             \x20   destinations:\n\
             \x20     {REPLICA}: {{ connector: postgres, spec: {{ url: \"{destination}\" }} }}\n\
             \x20     {COPY}: {{ connector: sqlite, spec: {{ path: {copy} }} }}\n\
             \x20     {LAKE}: {{ connector: parquet, spec: {{ path: \"{lake}/{{stream}}/date={{date}}/\" }}, write: append, batch: {{ wait_max: 150ms }} }}\n",
            state = self.file(self.state).display(),
            source = self.source.url_through_proxy(),
            destination = self.destination.url_through_proxy(),
            copy = self.copy.0.display(),
            lake = self.file(LAKE).display(),
        );
        std::fs::write(self.file("highwater.yaml"), text)
    }

    fn path(&self) -> &Path {
        self.dir.as_ref().map_or(Path::new("."), tempfile::TempDir::path)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    /// Keeps the runtime's state in another directory from now on.
    pub fn use_state_dir(&mut self, name: &'static str) -> io::Result<()> {
        self.state = name;
        self.configure()
    }

    /// The proxy before a server.
    pub fn proxy(&self, end: End) -> &Proxy {
        match end {
            End::Source => &self.source.proxy,
            End::Destination => &self.destination.proxy,
        }
    }

    /// Lets a server die and starts it again.
    pub fn restart(&mut self, end: End) {
        let server = match end {
            End::Source => &mut self.source,
            End::Destination => &mut self.destination,
        };
        server.postgres.stop(Shutdown::Immediate);
        server.postgres.start_again();
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

    /// Writes, in this process, until the source has had this many transactions.
    pub fn write(&mut self, until: u64) -> io::Result<()> {
        let orders = Orders {
            until: Some(until),
            ..self.orders.clone()
        };
        orders.carry_out(|| false).map(drop)
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

    /// Runs a command of `highwater` to its end, with further environment variables.
    pub fn command(&self, arguments: &[&str], environment: &[(&str, &str)]) -> io::Result<Output> {
        std::process::Command::new(crate::binary::path())
            .args(arguments)
            .args(["-c", "highwater.yaml"])
            .env("NO_COLOR", "1")
            .env_remove("HIGHWATER_FAILPOINT")
            .envs(environment.iter().copied())
            .current_dir(self.path())
            .output()
    }

    /// Stops a runtime where it does not hold the lock of the SQLite destination: nobody could take that over.
    #[track_caller]
    pub fn pause(&mut self, runtime: &mut Runtime) -> io::Result<()> {
        for _ in 0..200 {
            runtime.stop()?;
            if copy::is_writable(&self.copy.0) {
                return Ok(());
            }
            runtime.signal(Signal::CONT)?;
        }
        self.fail("the runtime was inside a write transaction each of 200 times that it was stopped")
    }

    /// What a failure should say besides.
    pub fn note(&mut self, note: String) {
        self.note = note;
    }

    /// Waits until both databases' checkpoints have moved.
    #[track_caller]
    pub fn wait_for_commit(&mut self, runtime: &mut Runtime) {
        let before = self.ledgers();
        let moved = wait_for(COMMITS_WITHIN, || match runtime.ended() {
            Ok(None) => {
                let now = self.ledgers();
                (now.0 != before.0 && now.1 != before.1).then_some(true)
            }
            _ => Some(false),
        });
        match moved {
            Some(true) => {}
            Some(false) => self.fail("the runtime ended by itself"),
            None => self.fail(&format!("no commit within {COMMITS_WITHIN:?}")),
        }
    }

    fn ledgers(&mut self) -> (Option<String>, Option<String>) {
        let replica = self.replica.0.ledger_text(REPLICA).ok().flatten();
        let copy = match self.copy.0.exists() {
            true => copy::ledger_text(&self.copy.0, COPY).ok().flatten(),
            false => None,
        };
        (replica, copy)
    }

    /// Holds every destination against the history; fails the test if one shows what the source never was.
    #[track_caller]
    pub fn look(&mut self) -> Vec<Seen> {
        let mut seen = Vec::new();
        for name in [REPLICA, COPY, LAKE] {
            let verdict = self
                .judge(name)
                .unwrap_or_else(|error| self.fail(&format!("cannot read what is there: {error}")));
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

    /// Runs statements at the PostgreSQL destination, as somebody who has no business there.
    pub fn tamper(&mut self, sql: &str) -> io::Result<()> {
        Client::connect(&self.destination.url())?.rows(sql).map(drop)
    }

    /// The same at the SQLite destination.
    pub fn tamper_copy(&mut self, sql: &str) -> io::Result<()> {
        let connection = rusqlite::Connection::open(&self.copy.0).map_err(io::Error::other)?;
        connection.busy_timeout(COMMITS_WITHIN).map_err(io::Error::other)?;
        connection.execute_batch(sql).map_err(io::Error::other)
    }

    /// Holds the PostgreSQL destination against the history.
    pub fn judge_replica(&mut self) -> io::Result<Verdict> {
        self.judge(REPLICA)
    }

    fn judge(&mut self, name: &str) -> io::Result<Verdict> {
        Ok(match name {
            LAKE => self.lake.check(&mut self.oracle)?,
            COPY => {
                let shown = copy::read(&self.copy.0, self.copy.1.view(), COPY).map_err(io::Error::other)?;
                self.copy.1.check(&shown, &mut self.oracle)?
            }
            _ => {
                let shown = self.replica.0.read(self.replica.1.view(), REPLICA)?;
                let mut verdict = self.replica.1.check(&shown, &mut self.oracle)?;
                verdict
                    .violations
                    .extend(self.bank(shown.rows.get(&Table::Account), verdict.is_live));
                verdict
            }
        })
    }

    /// Money moves, and is neither made nor lost: said by the rows alone, whatever the history is.
    fn bank(&self, accounts: Option<&Vec<Row>>, is_live: bool) -> Option<Violation> {
        const BALANCE: i64 = 1_000;
        let accounts = accounts.filter(|_| is_live)?;
        let sum: i64 = accounts.iter().filter_map(|row| row[1].as_int()).sum();
        let expected = self.orders.profile.rows_at_start.max(2) * BALANCE;
        (sum != expected).then(|| Violation::Files(format!("the accounts hold {sum}, expected {expected}")))
    }

    /// Waits until every destination shows this transaction with all streams live; checks what it sees meanwhile.
    #[track_caller]
    pub fn wait_until_shown(&mut self, transaction: u64, runtime: &mut Runtime) {
        let mut last = Vec::new();
        let is_done = look_every(LOOK_EVERY, CATCH_UP_MAX, || {
            last = self.look();
            let is_shown = |seen: &Seen| seen.is_live && seen.transaction >= transaction;
            match runtime.ended() {
                Ok(None) => last.iter().all(is_shown).then_some(true),
                _ => Some(false),
            }
        });
        match is_done {
            Some(true) => {}
            Some(false) => self.fail("the runtime ended by itself"),
            None => self.fail(&format!(
                "not caught up with transaction {transaction} after {CATCH_UP_MAX:?}: {last:?}"
            )),
        }
    }

    /// The number of the last transaction that was committed.
    pub fn last_written(&self) -> io::Result<u64> {
        writer::last_mark(&Client::connect(&self.source.url())?)
    }

    /// Ends the drill: lets the runtime catch up and drain, compares everything, and says what was done.
    #[track_caller]
    pub fn finish(mut self, note: &str) {
        let last = self.settle();
        let note = format!("{last} transactions{}{note}", if note.is_empty() { "" } else { ", " });
        self.run.end(&note);
    }

    /// Ends a drill whose destinations were tampered with: nothing is left to compare.
    #[track_caller]
    pub fn abandon(mut self, note: &str) {
        if let Err(error) = self.writer.take().map_or(Ok(()), Writer::stop) {
            self.fail(&format!("cannot stop the writer: {error}"));
        }
        self.run.end(note);
    }

    /// Stops the writer, lets the runtime catch up and drain, and compares everything; how many transactions there were.
    #[track_caller]
    pub fn settle(&mut self) -> u64 {
        let stopped = self.writer.take().map_or(Ok(()), Writer::stop);
        let last = stopped
            .and_then(|()| self.last_written())
            .unwrap_or_else(|error| self.fail(&format!("cannot stop the writer: {error}")));
        self.check_source(last);
        let mut runtime = self
            .start()
            .unwrap_or_else(|error| self.fail(&format!("cannot start the runtime: {error}")));
        self.wait_until_shown(last, &mut runtime);
        let drained = runtime.signal(Signal::TERM).and_then(|()| runtime.wait(DRAIN_MAX));
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
        let read = || -> io::Result<Vec<_>> {
            let client = Client::connect(&self.source.url())?;
            let view = tables::view();
            let rows = view
                .tables()
                .map(|table| Ok((table.clone(), replica::read_rows(&client, table)?)));
            rows.collect()
        };
        match read() {
            Ok(found) => {
                for (table, rows) in &found {
                    compare(table, &state, rows, Held::All, &mut verdict.violations);
                }
            }
            Err(error) => verdict.violations.push(Violation::Files(error.to_string())),
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
        for (name, server) in [("source", &self.source), ("destination", &self.destination)] {
            // What cannot be kept is only missed.
            let _ = std::fs::write(kept.join(format!("{name}.log")), server.postgres.log());
        }
        let evidence = || -> io::Result<()> {
            let slots = Client::connect(&self.source.url())?.rows("SELECT * FROM pg_replication_slots")?;
            std::fs::write(kept.join("slots.txt"), format!("{slots:#?}"))?;
            let ledger = Client::connect(&self.destination.url())?.rows("SELECT * FROM _highwater.ledger")?;
            std::fs::write(kept.join("ledger.txt"), format!("{ledger:#?}"))
        };
        let _ = evidence();
        panic!(
            "{what}\n  {}\n  kept: {}\n  again: {}\n  the runtime's last words:\n{words}",
            self.note,
            kept.display(),
            self.run.command()
        )
    }
}

fn render_violations(name: &str, verdict: &Verdict) -> String {
    const SHOWN_MAX: usize = 12;
    let count = verdict.violations.len();
    let mut text = format!("{name} at transaction {}: {count} violations", verdict.transaction);
    for violation in verdict.violations.iter().take(SHOWN_MAX) {
        let _ = write!(text, "\n  {violation}");
    }
    text
}
