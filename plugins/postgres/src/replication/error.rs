use std::fmt;
use std::io;

use api::Retry;
use postgres_protocol::message::backend::ErrorFields;

use super::pgoutput::Malformed;
use crate::connect::ConnectError;

/// Why a replication connection failed.
#[derive(Debug, thiserror::Error)]
pub enum ReplicationError {
    /// It could not be made.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// It broke.
    #[error("cannot {doing}: the replication connection was lost")]
    Lost {
        /// A verb and its object.
        doing: &'static str,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// The server refused.
    #[error("cannot {doing}: the server refused with `{}`", .source.sqlstate)]
    Refused {
        /// A verb and its object.
        doing: &'static str,
        /// What the server said.
        #[source]
        source: ServerError,
    },
    /// What came is not what the protocol says.
    #[error("cannot {doing}: the server sent {what}")]
    Protocol {
        /// A verb and its object.
        doing: &'static str,
        /// What came.
        what: String,
    },
    /// A message of the output plugin is not as it should be.
    #[error("cannot read the change stream")]
    Malformed(#[from] Malformed),
    /// The server has not the feature.
    #[error("cannot {doing}: it needs PostgreSQL {needed}, the server is {found}")]
    TooOld {
        /// A verb and its object.
        doing: &'static str,
        /// The major version that has it.
        needed: u32,
        /// The server's.
        found: u32,
    },
}

/// The server's own words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerError {
    /// The class and kind, such as `55P03`.
    pub sqlstate: String,
    /// The message, in the server's language.
    pub message: String,
    /// More of it.
    pub detail: Option<String>,
    /// What the server advises.
    pub hint: Option<String>,
}

impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        self.detail.iter().try_for_each(|detail| write!(f, " ({detail})"))
    }
}

impl std::error::Error for ServerError {}

impl ServerError {
    pub(super) fn read(mut fields: ErrorFields<'_>) -> Self {
        use fallible_iterator::FallibleIterator;
        let mut error = ServerError {
            sqlstate: String::new(),
            message: String::new(),
            detail: None,
            hint: None,
        };
        while let Ok(Some(field)) = fields.next() {
            let text = String::from_utf8_lossy(field.value_bytes()).into_owned();
            match field.type_() {
                b'C' => error.sqlstate = text,
                b'M' => error.message = text,
                b'D' => error.detail = Some(text),
                b'H' => error.hint = Some(text),
                _ => {}
            }
        }
        error
    }
}

impl ReplicationError {
    /// The server's class and kind of error, if it was the server that refused.
    pub fn sqlstate(&self) -> Option<&str> {
        match self {
            ReplicationError::Refused { source, .. } => Some(&source.sqlstate),
            _ => None,
        }
    }

    /// Whether `lock_timeout` passed: some transaction that was running would not end.
    pub fn is_lock_timeout(&self) -> bool {
        self.sqlstate() == Some("55P03")
    }

    /// Whether what was asked for is not there: of a slot, that it was dropped.
    pub fn is_missing_object(&self) -> bool {
        self.sqlstate() == Some("42704")
    }

    /// Whether it is in use by another session.
    pub fn is_in_use(&self) -> bool {
        self.sqlstate() == Some("55006")
    }

    /// What the failure asks for.
    pub fn retry(&self) -> Retry {
        match self {
            ReplicationError::Connect(error) => error.retry(),
            ReplicationError::Lost { .. } => Retry::After,
            ReplicationError::Refused { source, .. } => match source.sqlstate.get(..2) {
                // Connection trouble, rollback, resources, in use or waited too long, the server's operators, the system.
                Some("08" | "40" | "53" | "57" | "58") => Retry::After,
                _ if matches!(source.sqlstate.as_str(), "55P03" | "55006") => Retry::After,
                _ => Retry::Operator,
            },
            ReplicationError::TooOld { .. } => Retry::Operator,
            ReplicationError::Protocol { .. } | ReplicationError::Malformed(_) => Retry::Never,
        }
    }

    /// The stable code. The source knows better what a refusal means, and may replace it.
    pub fn code(&self) -> &'static str {
        match self {
            ReplicationError::Connect(error) => error.code(),
            _ => "E0240",
        }
    }
}

impl From<ReplicationError> for api::Error {
    fn from(error: ReplicationError) -> Self {
        let made = api::Error::new(error.code(), error.retry(), error.to_string());
        match error {
            ReplicationError::Connect(error) => error.into(),
            ReplicationError::Lost { source, .. } => made.caused_by(source),
            ReplicationError::Refused { source, .. } => {
                let hint = source.hint.clone();
                let made = made.caused_by(source);
                match hint {
                    Some(hint) => made.hint(hint),
                    None => made,
                }
            }
            ReplicationError::Malformed(source) => made.caused_by(source),
            ReplicationError::Protocol { .. } | ReplicationError::TooOld { .. } => made,
        }
    }
}
