use std::error::Error as StdError;
use std::fmt;

/// What a failure asks for. Every error is classified once, where it arises.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Retry {
    /// Try again after a backoff: a reset connection, a lock held by somebody else, a server that starts.
    After,
    /// An operator must act: a wrong password, a missing file, a full disk. The component parks; the rest runs on.
    Operator,
    /// Trying again cannot help: a value that cannot be carried, a broken invariant.
    Never,
    /// Another owner took the lane over. The pipeline stops and is not retried.
    Fenced,
}

impl Retry {
    /// The label in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Retry::After => "after",
            Retry::Operator => "operator",
            Retry::Never => "never",
            Retry::Fenced => "fenced",
        }
    }
}

/// The result of a connector's operation.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What crosses the border between a connector and the runtime.
///
/// Inside, a connector has its own error enum, a variant for each thing that was being attempted, and turns it into this at
/// the trait's methods. `Display` is one clause, `cannot <verb> <object>: <our facts>`, without the source's text (walk
/// [`source`](StdError::source) for that), without secrets and without cell values. The remedy is the hint.
pub struct Error(Box<Inner>);

struct Inner {
    code: &'static str,
    retry: Retry,
    message: String,
    hint: Option<String>,
    place: Option<String>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// A failure with its stable code (`E0512`), what it asks for, and its one clause.
    pub fn new(code: &'static str, retry: Retry, message: impl Into<String>) -> Self {
        Error(Box::new(Inner {
            code,
            retry,
            message: message.into(),
            hint: None,
            place: None,
            source: None,
        }))
    }

    /// Adds the remedy: imperative, with a command to run if there is one.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// Says which part of the component's spec it is about: a JSON pointer inside that.
    #[must_use]
    pub fn at(mut self, place: impl Into<String>) -> Self {
        self.0.place = Some(place.into());
        self
    }

    /// The part of the spec that it is about.
    pub fn place(&self) -> Option<&str> {
        self.0.place.as_deref()
    }

    /// Adds the cause.
    #[must_use]
    pub fn caused_by(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// The stable code.
    pub fn code(&self) -> &'static str {
        self.0.code
    }

    /// What the failure asks for.
    pub fn retry(&self) -> Retry {
        self.0.retry
    }

    /// The remedy, if there is one.
    pub fn remedy(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }

    /// The whole chain on one line: `cannot … : cause: cause`.
    pub fn chain(&self) -> String {
        let mut line = self.to_string();
        let mut source = self.source();
        while let Some(cause) = source {
            line.push_str(": ");
            line.push_str(&cause.to_string());
            source = cause.source();
        }
        line
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({:?}) {}", self.0.code, self.0.retry, self.chain())?;
        if let Some(hint) = &self.0.hint {
            write!(f, " [hint: {hint}]")?;
        }
        Ok(())
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0
            .source
            .as_ref()
            .map(|source| &**source as &(dyn StdError + 'static))
    }
}
