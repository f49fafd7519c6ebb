//! A process that writes and says what was acknowledged, to be killed. It is this test binary, started again.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use highwater_state::conformance::value_at;
use highwater_state::{SledStore, StateStore as _};

use crate::scene::{DESTINATIONS, Epochs, shop};

const DIR: &str = "STATE_CHILD_DIR";
const KILL_AT: &str = "STATE_CHILD_KILL_AT";
const PANIC_AT: &str = "STATE_CHILD_PANIC_AT";
const WRITES: &str = "STATE_CHILD_WRITES";

pub(crate) struct Writer {
    child: Child,
    out: BufReader<ChildStdout>,
    /// The last acknowledged epoch of each destination.
    pub(crate) acknowledged: Epochs,
    /// The same, at the moment when it was stopped.
    pub(crate) acknowledged_when_stopped: Epochs,
    /// The code of the error at which it gave up.
    pub(crate) refused: Option<String>,
}

impl Writer {
    /// Starts a process that writes to `dir`, until it is killed or has written `writes` times. With `kill_at`, it kills
    /// itself when it passes that fail-point for that many times.
    pub(crate) fn start(dir: &Path, writes: u64, kill_at: Option<(&str, u32)>) -> Writer {
        let kill_at = kill_at.map(|(name, hit)| (KILL_AT, format!("{name} {hit}")));
        Writer::start_with(dir, writes, kill_at)
    }

    /// The same, and the database panics in the fourth write.
    pub(crate) fn start_to_panic(dir: &Path) -> Writer {
        let panic_at = (PANIC_AT, "state.before_flush=4*off->panic".to_owned());
        Writer::start_with(dir, u64::MAX, Some(panic_at))
    }

    fn start_with(dir: &Path, writes: u64, fault: Option<(&str, String)>) -> Writer {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args([
                "--exact",
                "child::writes_until_it_is_killed",
                "--ignored",
                "--nocapture",
                "--test-threads=1",
            ])
            .env(DIR, dir)
            .env(WRITES, writes.to_string())
            .stdout(Stdio::piped())
            // A panic that is meant to be need not be admired.
            .stderr(if fault.as_ref().is_some_and(|(name, _)| *name == PANIC_AT) {
                Stdio::null()
            } else {
                Stdio::inherit()
            });
        command.envs(fault);
        let mut child = command.spawn().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        Writer {
            child,
            out,
            acknowledged: BTreeMap::new(),
            acknowledged_when_stopped: BTreeMap::new(),
            refused: None,
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until something is acknowledged.
    pub(crate) fn wait_for_acknowledgement(&mut self) {
        self.wait_for_acknowledgements(1);
    }

    /// Waits until `count` more writes are acknowledged.
    pub(crate) fn wait_for_acknowledgements(&mut self, count: u32) {
        let mut seen = 0;
        while seen < count {
            let mut line = String::new();
            let read = self.out.read_line(&mut line).unwrap();
            assert!(read > 0, "the child ended before it wrote anything");
            seen += u32::from(self.take(&line));
        }
    }

    /// Holds it wherever it is, and notes what it said until then.
    pub(crate) fn stop(&mut self) {
        self.acknowledged_when_stopped = self.acknowledged.clone();
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::STOP).unwrap();
        let is_stopped = || {
            let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
            stat.rsplit(')').next().unwrap().trim_start().starts_with('T')
        };
        while !is_stopped() {
            std::thread::yield_now();
        }
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
    }

    /// Waits for its end, and takes what it said until then. Whether it was killed.
    pub(crate) fn wait(&mut self) -> bool {
        let mut rest = String::new();
        self.out.read_to_string(&mut rest).unwrap();
        for line in rest.lines() {
            self.take(line);
        }
        let status = self.child.wait().unwrap();
        assert!(
            status.signal() == Some(9) || status.success(),
            "the child failed: {status}"
        );
        status.signal() == Some(9)
    }

    /// Whether the line was an acknowledgement.
    fn take(&mut self, line: &str) -> bool {
        if let Some(code) = line.trim().strip_prefix("refused ") {
            self.refused = Some(code.to_owned());
        }
        let words = line.trim().strip_prefix("acknowledged ");
        let Some((destination, Ok(epoch))) = words
            .and_then(|words| words.split_once(' '))
            .map(|(id, epoch)| (id, epoch.parse()))
        else {
            return false;
        };
        self.acknowledged.insert(destination.to_owned(), epoch);
        true
    }
}

#[test]
#[ignore = "the kill tests start it as a process"]
fn writes_until_it_is_killed() {
    let dir = std::env::var(DIR).expect("started by a kill test");
    let writes: u64 = std::env::var(WRITES).unwrap().parse().unwrap();
    let kill_at = std::env::var(KILL_AT).ok();
    if let Some((name, hit)) = kill_at.as_deref().and_then(|at| at.split_once(' ')) {
        let hit: u32 = hit.parse().unwrap();
        let passed = AtomicU32::new(0);
        let kill = move || {
            if passed.fetch_add(1, Ordering::SeqCst) + 1 == hit {
                let pid = rustix::process::getpid();
                rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
            }
        };
        fail::cfg_callback(name, kill).unwrap();
    }
    let panic_at = std::env::var(PANIC_AT).ok();
    if let Some((name, action)) = panic_at.as_deref().and_then(|at| at.split_once('=')) {
        fail::cfg(name, action).unwrap();
    }
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let (store, _) = SledStore::open(Path::new(&dir)).unwrap();
        let loaded = store.load(&shop()).await.unwrap();
        let mut epochs: Epochs = loaded
            .into_iter()
            .map(|(id, stored)| (id.to_string(), stored.epoch))
            .collect();
        for write in 0..writes {
            let destination = DESTINATIONS[write as usize % DESTINATIONS.len()];
            let epoch = epochs.entry(destination.to_owned()).or_default();
            let value = value_at(*epoch + 1);
            *epoch = match store.put(&shop(), &destination.into(), &value, *epoch).await {
                Ok(epoch) => epoch,
                Err(error) => return println!("\nrefused {} {}", error.code(), error.is_fatal_io()),
            };
            // The test runner's own line comes before the first of these.
            let line = format!("\nacknowledged {destination} {epoch}\n");
            let mut out = std::io::stdout().lock();
            out.write_all(line.as_bytes()).and_then(|()| out.flush()).unwrap();
        }
    });
}
