//! A plugin's process, started as CloudQuery's runtime starts it.

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

/// A running plugin on a Unix socket.
pub struct Process {
    pub folder: TempDir,
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Process {
    /// `name` is that of a link to our program: `highwater-destination-sqlite`.
    pub fn start(name: &str) -> Process {
        let folder = tempfile::tempdir().unwrap();
        let socket = socket_in(folder.path());
        let vector = [
            "--network",
            "unix",
            "--address",
            socket.to_str().unwrap(),
            "--no-sentry",
        ];
        Process::start_with(name, folder, &vector)
    }

    /// A program of its own.
    pub fn start_program(program: &Path) -> Process {
        let folder = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(program, folder.path().join("plugin")).unwrap();
        let socket = socket_in(folder.path());
        let address = ["--network", "unix", "--address", socket.to_str().unwrap()];
        Process::start_with("plugin", folder, &address)
    }

    pub fn start_with(name: &str, folder: TempDir, address: &[&str]) -> Process {
        let program = folder.path().join(name);
        if !program.exists() {
            std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_highwater"), &program).unwrap();
        }
        let mut child = Command::new(program)
            .args(["serve", "--log-level", "info", "--log-format", "json"])
            .args(address)
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
            .unwrap();
        let lines = Arc::new(Mutex::new(Vec::new()));
        let (stdout, said) = (child.stdout.take().unwrap(), Arc::clone(&lines));
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                said.lock().unwrap().push(line);
            }
        });
        Process { folder, child, lines }
    }

    pub fn socket(&self) -> PathBuf {
        socket_in(self.folder.path())
    }

    /// The log line with this message; waits for it.
    pub fn line(&self, message: &str) -> Value {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let found = self.lines().into_iter().find(|line| line["message"] == message);
            if let Some(line) = found {
                return line;
            }
            assert!(
                Instant::now() < deadline,
                "no line `{message}` in {:?}",
                self.lines.lock().unwrap()
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Everything on stdout, which is JSON.
    pub fn lines(&self) -> Vec<Value> {
        let lines = self.lines.lock().unwrap();
        let parse = |line: &String| serde_json::from_str(line).unwrap_or_else(|_| panic!("not JSON: {line}"));
        lines.iter().map(parse).collect()
    }

    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_raw(self.child.id() as i32).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// How it ends, which it does before the deadline.
    pub fn wait(&mut self, deadline: Duration) -> ExitStatus {
        let until = Instant::now() + deadline;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < until, "it did not end in {deadline:?}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn socket_in(folder: &Path) -> PathBuf {
    folder.join("cq-abcdefghijklmnop.sock")
}
