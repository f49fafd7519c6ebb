//! What a check found: the one type that every check reports in, printed or as JSON.

use model::Code;
use serde::Serialize;
use serde_json::Value;

use crate::sources::Place;

/// How bad a finding is. Ordered: the worst first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Nothing runs with it.
    Error,
    /// It runs; somebody should look.
    Warning,
    /// Good to know.
    Note,
}

/// A place with what is to say about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LabelledPlace {
    /// Where.
    #[serde(flatten)]
    pub place: Place,
    /// What is there; empty where the message says it all.
    pub label: String,
    /// Whether this is the place of the finding; the others explain it.
    pub primary: bool,
}

/// An edit that would settle the finding, in the manner of JSON Patch.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Fix {
    /// JSON pointer into the document.
    pub path: String,
    /// `replace` puts `value` at `path`; `rename` makes `value` the key there.
    pub op: FixOp,
    /// The value, or the key.
    pub value: Value,
}

/// What a [`Fix`] does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum FixOp {
    /// Puts the value at the path.
    Replace,
    /// Gives the field at the path another name.
    Rename,
}

/// One thing that a check found.
///
/// Serializes to an entry of `findings` in the JSON envelope.
#[derive(Debug, Clone, PartialEq)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// Stable code, such as `E0104`.
    pub code: &'static str,
    /// One lower-case clause, values in backticks.
    pub message: String,
    /// The places, the primary one first.
    pub places: Vec<LabelledPlace>,
    /// JSON pointer into the document, where the finding is about a value in one.
    pub path: Option<String>,
    /// What to do, each a clause.
    pub hints: Vec<String>,
    /// The edit that would settle it.
    pub fix: Option<Fix>,
}

impl Finding {
    fn new(severity: Severity, code: &Code, message: impl Into<String>) -> Self {
        Self {
            severity,
            code: code.id,
            message: message.into(),
            places: Vec::new(),
            path: None,
            hints: Vec::new(),
            fix: None,
        }
    }

    /// A finding that keeps everything from running.
    pub fn error(code: &Code, message: impl Into<String>) -> Self {
        Self::new(Severity::Error, code, message)
    }

    /// A finding that somebody should look at.
    pub fn warning(code: &Code, message: impl Into<String>) -> Self {
        Self::new(Severity::Warning, code, message)
    }

    /// A finding that is good to know.
    pub fn note(code: &Code, message: impl Into<String>) -> Self {
        Self::new(Severity::Note, code, message)
    }

    /// Sets the primary place. The label may be empty.
    #[must_use]
    pub fn at(mut self, place: Place, label: impl Into<String>) -> Self {
        self.places.insert(
            0,
            LabelledPlace {
                place,
                label: label.into(),
                primary: true,
            },
        );
        self
    }

    /// Adds a place that explains.
    #[must_use]
    pub fn near(mut self, place: Place, label: impl Into<String>) -> Self {
        self.places.push(LabelledPlace {
            place,
            label: label.into(),
            primary: false,
        });
        self
    }

    /// Sets the JSON pointer.
    #[must_use]
    pub fn path(mut self, path: impl Into<String>) -> Self {
        self.path = Some(path.into());
        self
    }

    /// Adds a hint: imperative, with a runnable command or the text to write if there is one.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// Sets the edit that would settle it.
    #[must_use]
    pub fn fix(mut self, path: impl Into<String>, op: FixOp, value: impl Into<Value>) -> Self {
        self.fix = Some(Fix {
            path: path.into(),
            op,
            value: value.into(),
        });
        self
    }

    /// The place that it is about.
    pub fn primary(&self) -> Option<&Place> {
        self.places
            .iter()
            .find(|labelled| labelled.primary)
            .map(|labelled| &labelled.place)
    }

    /// Passes every text that a person or a program will read through `scrub`.
    pub(crate) fn scrub(&mut self, scrub: impl Fn(&mut String)) {
        scrub(&mut self.message);
        self.hints.iter_mut().for_each(&scrub);
        self.places.iter_mut().for_each(|labelled| scrub(&mut labelled.label));
    }
}

impl Serialize for Finding {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Envelope<'a> {
            severity: Severity,
            code: &'a str,
            message: &'a str,
            spans: &'a [LabelledPlace],
            path: Option<&'a str>,
            hint: Option<String>,
            fix: Option<&'a Fix>,
        }
        Envelope {
            severity: self.severity,
            code: self.code,
            message: &self.message,
            spans: &self.places,
            path: self.path.as_deref(),
            // One text in the envelope; a finding rarely has a second hint.
            hint: (!self.hints.is_empty()).then(|| self.hints.join("\n")),
            fix: self.fix.as_ref(),
        }
        .serialize(serializer)
    }
}
