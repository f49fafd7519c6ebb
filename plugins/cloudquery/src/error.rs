//! What was being attempted when it failed, and what that asks for. Each names the plugin.

use std::error::Error as StdError;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use api::Retry;
use proto::{ConvertError, EncodeError, PayloadError};

use crate::codes;

pub(crate) type Result<T, E = Error> = std::result::Result<T, E>;

/// How a plugin went: what its process said last and how it ended, before the cause that we saw.
#[derive(Debug)]
pub(crate) struct LastWords {
    /// How the process ended, if it has and is ours.
    pub ending: Option<String>,
    /// Its last log lines.
    pub lines: Vec<String>,
    /// What we saw of it.
    pub cause: Option<Box<dyn StdError + Send + Sync>>,
}

impl fmt::Display for LastWords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.ending.as_deref().unwrap_or("its connection failed"))?;
        for (i, line) in self.lines.iter().enumerate() {
            write!(f, "{}{line}", if i == 0 { "; it said last: " } else { " | " })?;
        }
        Ok(())
    }
}

impl StdError for LastWords {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.cause.as_deref().map(|cause| cause as &(dyn StdError + 'static))
    }
}

/// What the plugin answered instead of a result.
#[derive(Debug, thiserror::Error)]
#[error("{code}: {message}")]
pub(crate) struct Refusal {
    code: String,
    message: String,
}

impl Refusal {
    pub(crate) fn of(status: &tonic::Status) -> Self {
        Refusal {
            code: format!("{:?}", status.code()),
            message: one_line(status.message()),
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("cannot start plugin `{plugin}`: `{}`", path.display())]
    Start {
        plugin: String,
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("cannot reach plugin `{plugin}` at `{address}` within {seconds} s")]
    NotReady {
        plugin: String,
        address: String,
        seconds: u64,
        source: Box<LastWords>,
    },
    #[error("cannot listen for the cursors of plugin `{plugin}`")]
    Backend { plugin: String, source: std::io::Error },
    #[error("cannot use plugin `{plugin}`: it speaks versions {versions:?} of the protocol, not 3")]
    Version { plugin: String, versions: Vec<i32> },
    #[error("cannot start plugin `{plugin}`: `{}` has SHA-256 {found}, expected {expected}", path.display())]
    OtherFile {
        plugin: String,
        path: PathBuf,
        expected: String,
        found: String,
    },
    #[error("cannot get plugin `{plugin}` from registry `{registry}`: {what}")]
    Registry {
        plugin: String,
        registry: &'static str,
        what: String,
        hint: String,
    },
    #[error("cannot call `{call}` of plugin `{plugin}`")]
    Call {
        plugin: String,
        call: &'static str,
        /// Whether a new try may go better.
        is_transient: bool,
        source: Box<dyn StdError + Send + Sync>,
    },
    #[error("cannot wait for `{call}` of plugin `{plugin}`: no answer within {}", humantime(*after))]
    Deadline {
        plugin: String,
        call: &'static str,
        after: Duration,
    },
    #[error("cannot use what plugin `{plugin}` sent")]
    Payload { plugin: String, source: PayloadError },
    #[error("cannot carry rows between us and plugin `{plugin}`")]
    Convert { plugin: String, source: ConvertError },
    #[error("cannot send rows of `{table}` to plugin `{plugin}`")]
    Encode {
        plugin: String,
        table: String,
        source: EncodeError,
    },
    #[error("cannot commit in plugin `{plugin}`: it says `{line}`")]
    LostBatch { plugin: String, line: String },
    #[error("cannot commit in plugin `{plugin}`: it failed to flush{}", of_tables(tables))]
    Flush {
        plugin: String,
        tables: Vec<String>,
        what: String,
    },
    #[error("cannot connect through plugin `{plugin}`: {}", words(code, what))]
    Unreachable { plugin: String, code: String, what: String },
    #[error("cannot read {count} tables of plugin `{plugin}`: {what}")]
    Tables { plugin: String, count: usize, what: String },
    #[error("cannot use plugin `{plugin}`: {what}")]
    Protocol { plugin: String, what: String },
    #[error("cannot {verb} in plugin `{plugin}`: {what}")]
    Unsupported {
        plugin: String,
        verb: String,
        what: String,
        hint: &'static str,
    },
    #[error("cannot {verb} plugin `{plugin}`: it is not open")]
    NotOpen { plugin: String, verb: &'static str },
}

fn humantime(duration: Duration) -> String {
    format!("{} s", duration.as_secs())
}

/// A plugin's own words: bounded, on one line.
pub(crate) fn one_line(from: &str) -> String {
    const CHARS_MAX: usize = 2_000;
    let readable = |c: char| if c.is_control() { ' ' } else { c };
    from.chars().take(CHARS_MAX).map(readable).collect()
}

fn words(code: &str, what: &str) -> String {
    match what {
        "" => one_line(code),
        what => one_line(&format!("{code}: {what}")),
    }
}

fn of_tables(tables: &[String]) -> String {
    match tables {
        [] => String::new(),
        tables => format!(" `{}`", tables.join("`, `")),
    }
}

impl Error {
    /// Whose fault it is.
    pub(crate) fn plugin(&self) -> &str {
        match self {
            Error::Start { plugin, .. }
            | Error::NotReady { plugin, .. }
            | Error::Backend { plugin, .. }
            | Error::Version { plugin, .. }
            | Error::OtherFile { plugin, .. }
            | Error::Registry { plugin, .. }
            | Error::Call { plugin, .. }
            | Error::Deadline { plugin, .. }
            | Error::Payload { plugin, .. }
            | Error::Convert { plugin, .. }
            | Error::Encode { plugin, .. }
            | Error::LostBatch { plugin, .. }
            | Error::Flush { plugin, .. }
            | Error::Unreachable { plugin, .. }
            | Error::Tables { plugin, .. }
            | Error::Protocol { plugin, .. }
            | Error::Unsupported { plugin, .. }
            | Error::NotOpen { plugin, .. } => plugin,
        }
    }

    fn classify(&self) -> (&'static str, Retry, Option<String>) {
        match self {
            Error::Start { .. } => (
                codes::START,
                Retry::Operator,
                Some("set `path` to the plugin's executable; `chmod +x` if it is a script".to_owned()),
            ),
            Error::NotReady { .. } | Error::Backend { .. } => (codes::NOT_READY, Retry::After, None),
            Error::Version { .. } => (
                codes::PROTOCOL,
                Retry::Operator,
                Some("use a newer version of the plugin".to_owned()),
            ),
            Error::OtherFile { .. } => (
                codes::OTHER_FILE,
                Retry::Operator,
                Some("find out who changed the file; if it is meant, set `sha256` to its sum".to_owned()),
            ),
            Error::Registry { hint, .. } => (codes::REGISTRY, Retry::Operator, Some(hint.clone())),
            Error::Call { is_transient, .. } => {
                let retry = if *is_transient { Retry::After } else { Retry::Operator };
                (codes::CALL, retry, None)
            }
            Error::Deadline { .. } => (
                codes::DEADLINE,
                Retry::After,
                Some("raise `timeout` in its spec if it does need that long".to_owned()),
            ),
            Error::Payload { .. } | Error::Protocol { .. } => (codes::PAYLOAD, Retry::After, None),
            Error::Convert { .. } | Error::Encode { .. } => (
                codes::VALUE,
                Retry::Never,
                Some("leave the column out, or change it, with the transformer `select`".to_owned()),
            ),
            Error::LostBatch { .. } => (codes::LOST_BATCH, Retry::After, None),
            Error::Flush { .. } => (codes::TABLE, Retry::After, None),
            Error::Unreachable { .. } => (codes::UNREACHABLE, Retry::Operator, None),
            Error::Tables { .. } => (
                codes::TABLE,
                Retry::Never,
                Some("look at the plugin's log lines; the other tables are complete".to_owned()),
            ),
            Error::Unsupported { hint, .. } => (codes::UNSUPPORTED, Retry::Operator, Some((*hint).to_owned())),
            Error::NotOpen { .. } => (codes::CALL, Retry::After, None),
        }
    }
}

impl From<Error> for api::Error {
    fn from(error: Error) -> Self {
        let (code, retry, hint) = error.classify();
        let mut wrapped = api::Error::new(code, retry, error.to_string());
        if let Some(hint) = hint {
            wrapped = wrapped.hint(hint);
        }
        match error {
            Error::Start { source, .. } | Error::Backend { source, .. } => wrapped.caused_by(source),
            Error::NotReady { source, .. } => wrapped.caused_by(source),
            Error::Call { source, .. } => wrapped.caused_by(source),
            Error::Payload { source, .. } => wrapped.caused_by(source),
            Error::Convert { source, .. } => wrapped.caused_by(source),
            Error::Encode { source, .. } => wrapped.caused_by(source),
            Error::Flush { what, .. } if !what.is_empty() => wrapped.caused_by(what),
            _ => wrapped,
        }
    }
}
