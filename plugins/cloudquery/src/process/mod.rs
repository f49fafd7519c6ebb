//! A plugin's process: how it is started, watched and ended.
//!
//! - It leads a process group of its own, so that a Ctrl-C at our terminal does not reach it before we have let it flush,
//!   and so that what it starts ends with it.
//! - It does not outlive us. The parent-death signal of Linux follows the *thread* that spawned, and setting it needs
//!   code between fork and exec. A *leash* needs neither: the standard input of a small shell that we hold the other end
//!   of. When we die, however we die, the shell reads the end of it and ends the group.
//! - Its standard output is drained all the time, or it would block; each line is a log line of ours.

mod leash;
mod log_line;
mod tail;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::watch;
use tokio::task::JoinHandle;

pub(crate) use tail::Tail;

/// How long a plugin may take to end after SIGINT, before it is killed: what CloudQuery's own runtime allows.
pub(crate) const GRACE: Duration = Duration::from_secs(5);

/// What is started.
#[derive(Debug, Clone)]
pub(crate) struct Program {
    /// The plugin's name in the config, for messages and log lines.
    pub name: String,
    /// The executable.
    pub path: PathBuf,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// Set in its environment, beside ours less what is hidden from it.
    pub environment: BTreeMap<String, String>,
}

/// A running plugin. Dropping it lets the leash go: the process gets SIGINT, and SIGKILL if it is still there after
/// [`GRACE`]. [`stop`](Self::stop) does the same and waits.
#[derive(Debug)]
pub(crate) struct Process {
    group: Pid,
    leash: Option<ChildStdin>,
    exit: watch::Receiver<Option<ExitStatus>>,
    tail: Arc<Tail>,
    /// Reaps the process and drains its output; ends by itself when both have ended.
    _keeper: JoinHandle<()>,
}

impl Process {
    /// Starts a program. That it runs is not to say that it listens.
    pub(crate) fn start(program: &Program) -> io::Result<Process> {
        if !program.path.is_file() {
            return Err(io::Error::new(io::ErrorKind::NotFound, "there is no such file"));
        }
        let mut command = Command::new("/bin/sh");
        command
            .args(["-c", leash::SCRIPT, "highwater-leash"])
            .arg(&program.path)
            .args(&program.arguments)
            .env_clear()
            .envs(environment(std::env::vars_os()))
            .envs(&program.environment)
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn()?;
        let gone = || io::Error::other("it ended before it could be watched");
        let group = child.id().and_then(|id| Pid::from_raw(id as i32)).ok_or_else(gone)?;
        let leash = child.stdin.take();
        let tail = Arc::new(Tail::new(program.name.clone()));
        if let Some(output) = &child.stdout {
            tail.watch(output);
        }
        let (tell, exit) = watch::channel(None);
        let keeper = tokio::spawn(keep(child, Arc::clone(&tail), tell));
        Ok(Process {
            group,
            leash,
            exit,
            tail,
            _keeper: keeper,
        })
    }

    /// Its last lines and what it has reported.
    pub(crate) fn tail(&self) -> &Arc<Tail> {
        &self.tail
    }

    /// How it ended, if it has.
    pub(crate) fn exit(&self) -> Option<ExitStatus> {
        *self.exit.borrow()
    }

    /// Waits for its end.
    pub(crate) async fn ended(&self) -> Option<ExitStatus> {
        let mut exit = self.exit.clone();
        let ended = exit.wait_for(Option::is_some).await;
        ended.ok().and_then(|status| *status)
    }

    /// SIGINT, and SIGKILL to the whole group if it does not end within [`GRACE`].
    pub(crate) async fn stop(mut self) -> Option<ExitStatus> {
        self.signal(Signal::INT);
        if tokio::time::timeout(GRACE, self.ended()).await.is_err() {
            tracing::warn!(plugin = %self.tail.plugin(), "the plugin did not end within {GRACE:?} and is killed");
            self.signal(Signal::KILL);
        }
        let status = self.ended().await;
        // Also ends what the plugin started and left behind.
        self.signal(Signal::KILL);
        self.leash = None;
        status
    }

    fn signal(&self, signal: Signal) {
        // The leash is in the group as long as it is held, so the number cannot have become another group's.
        let _ = kill_process_group(self.group, signal);
    }
}

/// Reaps the process and reads what it says until it has closed both pipes.
async fn keep(mut child: Child, tail: Arc<Tail>, tell: watch::Sender<Option<ExitStatus>>) {
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let lines = async {
        let out = async {
            if let Some(stdout) = stdout {
                tail.follow(stdout, tail::Pipe::Output).await;
            }
        };
        let err = async {
            if let Some(stderr) = stderr {
                tail.follow(stderr, tail::Pipe::Error).await;
            }
        };
        tokio::join!(out, err)
    };
    tokio::pin!(lines);
    let status = tokio::select! {
        status = child.wait() => {
            // What it said last is mostly why it ended. A grandchild may hold the pipes open for ever.
            let _ = tokio::time::timeout(Duration::from_millis(500), &mut lines).await;
            status
        }
        _ = &mut lines => child.wait().await,
    };
    match status {
        Ok(status) => drop(tell.send(Some(status))),
        Err(error) => tracing::error!(plugin = %tail.plugin(), %error, "cannot learn how the plugin ended"),
    }
}

/// Ours, less what is meant for us and for CloudQuery's own runtime: JavaScript plugins take every `CQ_` variable for an
/// option and end at one that they do not know.
fn environment(ours: impl Iterator<Item = (OsString, OsString)>) -> Vec<(OsString, OsString)> {
    let is_hidden = |name: &OsString| {
        let name = name.as_encoded_bytes();
        name.starts_with(b"HIGHWATER_") || name.starts_with(b"CQ_")
    };
    ours.filter(|(name, _)| !is_hidden(name)).collect()
}

/// How a process ended, for a message.
pub(crate) fn ending(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt as _;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("it exited with status {code}"),
        (None, Some(9)) => "it was killed by signal 9, as the system does when memory runs out".to_owned(),
        (None, Some(signal)) => format!("it was ended by signal {signal}"),
        (None, None) => "it ended".to_owned(),
    }
}

/// Whether a file may be run by somebody; a better message than the shell's.
pub(crate) fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    path.metadata()
        .is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests;
