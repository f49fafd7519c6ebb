//! A running `highwater`.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};

use crate::binary;

/// A process of the runtime; killed when dropped.
pub struct Runtime {
    child: Child,
    log: PathBuf,
    status: Option<ExitStatus>,
}

impl Runtime {
    /// Starts `highwater ARGUMENTS` in `dir`; what it says is appended to `log`.
    pub fn start(dir: &Path, log: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> io::Result<Self> {
        let out: File = OpenOptions::new().create(true).append(true).open(log)?;
        let mut command = Command::new(binary::path());
        command
            .args(arguments)
            .current_dir(dir)
            .env_remove("HIGHWATER_FAILPOINT")
            .env("NO_COLOR", "1")
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(out.try_clone()?)
            .stderr(out);
        Ok(Runtime {
            child: command.spawn()?,
            log: log.to_owned(),
            status: None,
        })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal, if it still runs.
    pub fn signal(&mut self, signal: Signal) -> io::Result<()> {
        if self.ended()?.is_none()
            && let Some(pid) = Pid::from_raw(self.child.id() as i32)
        {
            kill_process(pid, signal)?;
        }
        Ok(())
    }

    /// Stops it, and waits until every thread of it stands: the signal alone is on its way to them while `kill` returns, and
    /// a thread may still begin a transaction.
    pub fn stop(&mut self) -> io::Result<()> {
        self.signal(Signal::STOP)?;
        if self.ended()?.is_none()
            && let Some(pid) = Pid::from_raw(self.child.id() as i32)
        {
            let stopped_or_ended = WaitIdOptions::STOPPED | WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
            waitid(WaitId::Pid(pid), stopped_or_ended)?;
        }
        Ok(())
    }

    /// `kill -9`, and waits until it is gone. How it ended: it may have done so before.
    pub fn kill(&mut self) -> io::Result<ExitStatus> {
        self.signal(Signal::KILL)?;
        let status = self.child.wait()?;
        self.status = Some(status);
        Ok(status)
    }

    /// How it ended, if it did.
    pub fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        if self.status.is_none() {
            self.status = self.child.try_wait()?;
        }
        Ok(self.status)
    }

    /// Waits for its end; `None` if it still runs after `limit`.
    pub fn wait(&mut self, limit: Duration) -> io::Result<Option<ExitStatus>> {
        let deadline = Instant::now() + limit;
        loop {
            match self.ended()? {
                None if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(3)),
                ended => return Ok(ended),
            }
        }
    }

    /// The most memory that was ever resident, in bytes.
    pub fn peak_resident_bytes(&self) -> Option<u64> {
        self.proc_status("VmHWM:")
    }

    /// The memory that is resident now, in bytes.
    pub fn resident_bytes(&self) -> Option<u64> {
        self.proc_status("VmRSS:")
    }

    fn proc_status(&self, field: &str) -> Option<u64> {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix(field))?;
        let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
        Some(kib * 1024)
    }

    /// What it and its predecessors in the same place said last.
    pub fn last_words(&self) -> String {
        last_lines(&self.log, 60)
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        if self.status.is_none() {
            let _ = self.kill();
        }
    }
}

/// Whether a process ended by `kill -9`.
pub fn was_killed(status: ExitStatus) -> bool {
    status.signal() == Some(Signal::KILL.as_raw())
}

/// The last lines of a file.
pub fn last_lines(path: &Path, count: usize) -> String {
    let text = std::fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

/// Looks at a condition every few milliseconds until it holds; `None` after `limit`.
pub fn wait_for<T>(limit: Duration, condition: impl FnMut() -> Option<T>) -> Option<T> {
    look_every(Duration::from_millis(5), limit, condition)
}

/// Looks at a condition every `interval` until it holds; `None` after `limit`.
pub fn look_every<T>(interval: Duration, limit: Duration, mut condition: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + limit;
    loop {
        match condition() {
            None if Instant::now() < deadline => std::thread::sleep(interval),
            answer => return answer,
        }
    }
}
