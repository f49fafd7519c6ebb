//! What a plugin says: passed on to our log, and its end kept for the error that may follow.

use std::collections::{BTreeMap, VecDeque};
use std::os::fd::{AsFd, OwnedFd};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use rustix::io::ioctl_fionread;
use tokio::io::{AsyncBufRead as _, AsyncBufReadExt as _, AsyncRead, BufReader};
use tracing::Level;

use super::log_line::LogLine;

/// Lines kept. More would not be read in an error.
const LINES_KEPT: usize = 12;
/// Bytes of a line that are looked at. The rest is read and forgotten: a line without end must not take our memory.
const LINE_BYTES_MAX: usize = 64 << 10;
/// Lines a second that reach our log. A plugin that floods must not fill our disk.
const LINES_PER_SECOND_MAX: u32 = 1_000;
/// Tables of which errors are remembered and warnings are counted: more than any plugin has.
const TABLES_MAX: usize = 10_000;
/// How long the lines that are in the pipe may take to be read. A plugin that floods would have no end.
const SETTLE_MAX: Duration = Duration::from_millis(500);

/// Which output a line came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pipe {
    /// Log lines, by the protocol.
    Output,
    /// Whatever a runtime prints while it dies; kept, and passed on as it is.
    Error,
}

/// The last lines of one plugin.
#[derive(Debug)]
pub(crate) struct Tail {
    plugin: String,
    said: Mutex<Said>,
    /// The end of its output that is read from, to be asked how much is in it.
    output: OnceLock<OwnedFd>,
    /// Whether something that has left the output is not in `said` yet.
    is_reading: AtomicBool,
}

#[derive(Debug)]
struct Said {
    last: VecDeque<String>,
    /// A batch that a writer has lost, in its own words.
    lost_batch: Option<String>,
    /// The first error of each table.
    failed_tables: BTreeMap<String, String>,
    /// Warnings by the table that they name.
    warnings: BTreeMap<String, u64>,
    second: Instant,
    in_second: u32,
}

impl Tail {
    pub(super) fn new(plugin: String) -> Self {
        Tail {
            plugin,
            said: Mutex::new(Said {
                last: VecDeque::new(),
                lost_batch: None,
                failed_tables: BTreeMap::new(),
                warnings: BTreeMap::new(),
                second: Instant::now(),
                in_second: 0,
            }),
            output: OnceLock::new(),
            is_reading: AtomicBool::new(false),
        }
    }

    pub(crate) fn plugin(&self) -> &str {
        &self.plugin
    }

    /// The last lines, oldest first.
    pub(crate) fn last_lines(&self) -> Vec<String> {
        self.with(|said| said.last.iter().cloned().collect())
    }

    /// What a batching writer said of a batch that it lost, once.
    pub(crate) fn take_lost_batch(&self) -> Option<String> {
        self.with(|said| said.lost_batch.take())
    }

    /// The tables of which an error was logged since the last time, each with the first one.
    pub(crate) fn take_failed_tables(&self) -> BTreeMap<String, String> {
        self.with(|said| std::mem::take(&mut said.failed_tables))
    }

    /// Remembers which output is followed.
    pub(super) fn watch(&self, output: &impl AsFd) {
        if let Ok(output) = output.as_fd().try_clone_to_owned() {
            let _ = self.output.set(output);
        }
    }

    /// Waits until everything was read that the plugin has written: what it logged on its way to an answer that has come.
    pub(crate) async fn settled(&self) {
        let deadline = Instant::now() + SETTLE_MAX;
        while self.is_behind() && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    fn is_behind(&self) -> bool {
        // In this order: what is not in the pipe any more is being read, or was.
        let is_in_pipe = self
            .output
            .get()
            .is_some_and(|output| ioctl_fionread(output).is_ok_and(|bytes| bytes > 0));
        is_in_pipe || self.is_reading.load(Ordering::SeqCst)
    }

    /// How often it warned of each table since the last time.
    pub(crate) fn take_warnings(&self) -> BTreeMap<String, u64> {
        self.with(|said| std::mem::take(&mut said.warnings))
    }

    fn with<T>(&self, f: impl FnOnce(&mut Said) -> T) -> T {
        f(&mut self.said.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reads a pipe to its end.
    pub(super) async fn follow(&self, pipe: impl AsyncRead + Unpin, which: Pipe) {
        let mut reader = BufReader::new(pipe);
        let mut line = Vec::new();
        loop {
            let filled = std::future::poll_fn(|cx| {
                self.reads(which, true);
                let filled = Pin::new(&mut reader).poll_fill_buf(cx).map_ok(<[u8]>::len);
                if filled.is_pending() {
                    self.reads(which, false);
                }
                filled
            });
            let (used, is_end) = match filled.await {
                Ok(0) | Err(_) => {
                    if !line.is_empty() {
                        self.take(&line, which);
                    }
                    self.reads(which, false);
                    return;
                }
                Ok(_) => {
                    let bytes = reader.buffer();
                    let end = bytes.iter().position(|&byte| byte == b'\n');
                    let piece = &bytes[..end.unwrap_or(bytes.len())];
                    let room = LINE_BYTES_MAX.saturating_sub(line.len());
                    line.extend_from_slice(&piece[..piece.len().min(room)]);
                    (end.map_or(bytes.len(), |end| end + 1), end.is_some())
                }
            };
            reader.consume(used);
            if is_end {
                self.take(&line, which);
                line.clear();
            }
        }
    }

    fn reads(&self, which: Pipe, is_reading: bool) {
        if which == Pipe::Output {
            self.is_reading.store(is_reading, Ordering::SeqCst);
        }
    }

    fn take(&self, line: &[u8], which: Pipe) {
        let text = String::from_utf8_lossy(line);
        if text.trim().is_empty() {
            return;
        }
        let read = LogLine::read(&text);
        let in_second = self.with(|said| {
            if said.last.len() == LINES_KEPT {
                said.last.pop_front();
            }
            said.last.push_back(read.message.clone());
            if read.is_lost_batch {
                said.lost_batch = Some(read.message.clone());
            }
            if let Some(table) = &read.failed_table
                && said.failed_tables.len() < TABLES_MAX
            {
                let failed = said.failed_tables.entry(table.clone());
                failed.or_insert_with(|| read.message.clone());
            }
            if let Some(table) = &read.warns_of
                && (said.warnings.len() < TABLES_MAX || said.warnings.contains_key(table))
            {
                *said.warnings.entry(table.clone()).or_default() += 1;
            }
            if said.second.elapsed() > Duration::from_secs(1) {
                (said.second, said.in_second) = (Instant::now(), 0);
            }
            said.in_second = said.in_second.saturating_add(1);
            said.in_second
        });
        let plugin = self.plugin.as_str();
        match in_second.cmp(&LINES_PER_SECOND_MAX) {
            std::cmp::Ordering::Less => pass_on(plugin, which, &read),
            std::cmp::Ordering::Equal => {
                tracing::warn!(target: "plugin", plugin, "more than {LINES_PER_SECOND_MAX} lines a second; the others are not logged");
            }
            std::cmp::Ordering::Greater => {}
        }
    }
}

fn pass_on(plugin: &str, which: Pipe, line: &LogLine) {
    let message = line.message.as_str();
    if which == Pipe::Error {
        tracing::info!(target: "plugin", plugin, stderr = true, "{message}");
        return;
    }
    match line.level {
        Level::TRACE => tracing::trace!(target: "plugin", plugin, "{message}"),
        Level::DEBUG => tracing::debug!(target: "plugin", plugin, "{message}"),
        Level::INFO => tracing::info!(target: "plugin", plugin, "{message}"),
        Level::WARN => tracing::warn!(target: "plugin", plugin, "{message}"),
        Level::ERROR => tracing::error!(target: "plugin", plugin, "{message}"),
    }
}
