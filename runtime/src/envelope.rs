//! The JSON answer: one value on stdout, always in the same envelope.

use config::{Finding, Summary};
use serde::Serialize;
use serde_json::Value;

use crate::exit::Failure;

/// The answer of a command.
#[derive(Debug, Serialize)]
pub(crate) struct Envelope<'a> {
    /// The command.
    pub(crate) command: &'a str,
    /// The verdict.
    pub(crate) ok: bool,
    /// Figures of a check.
    pub(crate) summary: Option<Summary>,
    /// What a check found.
    pub(crate) findings: &'a [Finding],
    /// What was asked for.
    pub(crate) result: Value,
    /// Set only if the command itself broke.
    pub(crate) error: Option<Problem>,
}

/// What broke.
#[derive(Debug, Serialize)]
pub(crate) struct Problem {
    code: &'static str,
    message: String,
    hint: Option<String>,
}

impl<'a> Envelope<'a> {
    /// An answer.
    pub(crate) fn result(command: &'a str, ok: bool, result: Value) -> Self {
        Envelope {
            command,
            ok,
            summary: None,
            findings: &[],
            result,
            error: None,
        }
    }

    /// No answer.
    pub(crate) fn failure(command: &'a str, failure: &Failure) -> Self {
        let error = Problem {
            code: failure.code,
            message: failure.message.clone(),
            hint: failure.hint.clone(),
        };
        Envelope {
            error: Some(error),
            ..Envelope::result(command, false, Value::Null)
        }
    }

    /// As text.
    pub(crate) fn render(&self) -> String {
        // Strings, numbers and values only: nothing in it can fail to be written.
        serde_json::to_string(self).unwrap_or_else(|error| format!("{{\"error\":{{\"message\":\"{error}\"}}}}"))
    }
}
