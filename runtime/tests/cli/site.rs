//! A directory with a source, a configuration, and processes of `highwater` in it.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rusqlite::Connection;
use serde_json::Value;

/// Everything here takes well under a second on an idle machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub const CONFIG: &str = "\
version: 1

runtime:
  admin: { listen: \"off\" }

pipelines:
  shop:
    source:
      connector: sqlite
      spec:
        path: ./shop.db
      streams: [customers, orders]

    destinations:
      lake:
        connector: parquet
        spec:
          path: ./out/{stream}/
        batch: { wait_max: 200ms }
        when_behind: { then: hold }

      copy:
        connector: sqlite
        spec:
          path: ./copy.db
        when_behind: { then: hold }
";

/// The directory.
pub struct Site {
    dir: tempfile::TempDir,
}

/// A process that is killed when dropped.
pub struct Process {
    child: Child,
    log: PathBuf,
}

impl Site {
    /// A source with 100 customers and 200 orders, and [`CONFIG`].
    pub fn new() -> Site {
        let site = Site {
            dir: tempfile::tempdir().unwrap(),
        };
        let script = "PRAGMA journal_mode = WAL;
             CREATE TABLE customers (id INTEGER PRIMARY KEY, name TEXT NOT NULL);
             CREATE TABLE orders (id INTEGER PRIMARY KEY, customer INTEGER, total REAL);
             WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100)
               INSERT INTO customers SELECT i, 'customer ' || i FROM n;
             WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 200)
               INSERT INTO orders SELECT i, i % 100 + 1, i * 1.5 FROM n;";
        site.source().execute_batch(script).unwrap();
        site.configure(CONFIG);
        site
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    pub fn configure(&self, text: &str) {
        std::fs::write(self.path().join("highwater.yaml"), text).unwrap();
    }

    pub fn source(&self) -> Connection {
        open(&self.path().join("shop.db"))
    }

    pub fn copy(&self) -> Connection {
        open(&self.path().join("copy.db"))
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_highwater"));
        command
            .args(arguments)
            .current_dir(self.path())
            .env("NO_COLOR", "1")
            .stdin(Stdio::null());
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("HIGHWATER_")) {
            command.env_remove(name);
        }
        command
    }

    /// Runs a command to its end.
    pub fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// Runs a command, and asserts its exit code. Stdout and stderr, one after the other.
    #[track_caller]
    pub fn expect(&self, arguments: &[&str], exit: i32) -> String {
        let output = self.run(arguments);
        let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert_eq!(
            output.status.code(),
            Some(exit),
            "highwater {}: {text}",
            arguments.join(" ")
        );
        text
    }

    /// The envelope that a command prints.
    #[track_caller]
    pub fn json(&self, arguments: &[&str], exit: i32) -> Value {
        let output = self.run(arguments);
        let text = String::from_utf8_lossy(&output.stdout);
        assert_eq!(
            output.status.code(),
            Some(exit),
            "{text}{}",
            String::from_utf8_lossy(&output.stderr)
        );
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    pub fn start(&self, arguments: &[&str]) -> Process {
        let log = self.path().join("process.log");
        let file = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&log)
            .unwrap();
        let mut command = self.command(arguments);
        command.stdout(file.try_clone().unwrap()).stderr(file);
        Process {
            child: command.spawn().unwrap(),
            log,
        }
    }

    /// Waits until the copy has so many orders and nothing else is missing.
    #[track_caller]
    pub fn wait_for_orders(&self, process: &mut Process, count: i64) {
        process.wait_for(&format!("{count} orders in the copy"), || {
            let copy = self.path().join("copy.db");
            if !copy.exists() {
                return None;
            }
            let found = open(&copy).query_row("SELECT count(*) FROM orders", [], |row| row.get::<_, i64>(0));
            (found.ok()? == count).then_some(())
        });
    }

    /// Waits until every destination holds every stream.
    #[track_caller]
    pub fn wait_until_live(&self, process: &mut Process) {
        process.wait_for("a live pipeline", || {
            let output = self.run(&["status", "-o", "json"]);
            let envelope: Value = serde_json::from_slice(&output.stdout).ok()?;
            (envelope["result"]["pipelines"][0]["state"] == "live").then_some(())
        });
    }

    /// Whether the copy has exactly the rows of the source.
    pub fn assert_equal(&self) {
        for table in ["customers", "orders"] {
            let rows = |connection: &Connection| -> Vec<String> {
                let columns = if table == "customers" {
                    "id, name"
                } else {
                    "id, customer, total"
                };
                let sql = format!("SELECT concat_ws('|', {columns}) FROM {table} ORDER BY id");
                let mut statement = connection.prepare(&sql).unwrap();
                statement
                    .query_map([], |row| row.get(0))
                    .unwrap()
                    .map(Result::unwrap)
                    .collect()
            };
            assert_eq!(rows(&self.source()), rows(&self.copy()), "{table}");
        }
    }

    /// Rows of a table in the file of the Python destination plugin: one column of each, sorted. Without the file there are none.
    pub fn theirs(&self, file: &str, table: &str, column: &str) -> Vec<String> {
        let text = std::fs::read_to_string(self.path().join(file)).unwrap_or_default();
        let row = |line: &str| {
            let row: Value = serde_json::from_str(line).unwrap();
            (row[0] == table).then(|| row[2][column].as_str().unwrap().to_owned())
        };
        let mut rows: Vec<String> = text.lines().filter_map(row).collect();
        rows.sort();
        rows
    }

    /// `GET` over the Unix socket: status and body.
    pub fn get(&self, path: &str) -> (u16, String) {
        let stream = UnixStream::connect(self.path().join(".highwater/state/admin.sock")).unwrap();
        exchange(
            stream,
            &format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"),
        )
    }
}

impl Process {
    /// Looks at a condition until it holds; fails with the log if it never does or the process ends.
    #[track_caller]
    pub fn wait_for<T>(&mut self, what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = condition() {
                return found;
            }
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("waiting for {what}: ended with {status}: {}", self.log());
            }
            assert!(Instant::now() < deadline, "waiting for {what}: {}", self.log());
            std::thread::yield_now();
            std::thread::park_timeout(Duration::from_millis(10));
        }
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_raw(self.child.id() as i32).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// Waits for its end; the exit code, if it was not killed.
    #[track_caller]
    pub fn end(&mut self) -> Option<i32> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(Instant::now() < deadline, "still runs: {}", self.log());
            std::thread::park_timeout(Duration::from_millis(10));
        }
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// The address of the admin API, from the log.
    #[track_caller]
    pub fn address(&mut self) -> String {
        let log = self.log.clone();
        self.wait_for("the admin API", || {
            let text = std::fs::read_to_string(&log).ok()?;
            let line = text.lines().find(|line| line.contains("admin api listening"))?;
            let line: Value = serde_json::from_str(line).ok()?;
            Some(line["address"].as_str()?.to_owned())
        })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One HTTP request over TCP, written by hand.
pub fn request(address: &str, head: &str, body: &str) -> (u16, String) {
    let length = body.len();
    let text = format!("{head}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}");
    exchange(TcpStream::connect(address).unwrap(), &text)
}

fn exchange(mut stream: impl Read + Write, request: &str) -> (u16, String) {
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    (status, answer.split_once("\r\n\r\n").unwrap().1.to_owned())
}

fn open(path: &Path) -> Connection {
    let connection = Connection::open(path).unwrap();
    connection.busy_timeout(Duration::from_secs(20)).unwrap();
    connection
}
