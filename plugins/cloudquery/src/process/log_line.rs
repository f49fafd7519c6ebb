//! One line of a plugin's output.
//!
//! Go and JavaScript write `level` and `message`, Python `level` and `event`, Java upper-case levels. What is no JSON object
//! is a message at `info`.

use serde_json::Value;
use tracing::Level;

/// What a line says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LogLine {
    pub level: Level,
    pub message: String,
    /// Whether a writer of CloudQuery's SDKs says here, and nowhere else, that it has lost a batch.
    pub is_lost_batch: bool,
    /// The table of which a source says here that something is missing. JavaScript's SDK says it nowhere else, and the others
    /// say nowhere else that a row could not be made.
    pub failed_table: Option<String>,
    /// The table that it warns of.
    pub warns_of: Option<String>,
}

/// Longer ones are cut in our log. The rest is mostly a value or a stack.
const MESSAGE_CHARS_MAX: usize = 2_000;

impl LogLine {
    pub(crate) fn read(line: &str) -> LogLine {
        let mut table = None;
        let (level, message) = match serde_json::from_str(line) {
            Ok(Value::Object(fields)) => {
                let text = |key: &str| fields.get(key).and_then(Value::as_str);
                let level = level(text("level").unwrap_or_default());
                let message = text("message").or_else(|| text("event")).or_else(|| text("msg"));
                let detail = fields
                    .get("error")
                    .or_else(|| fields.get("err"))
                    .and_then(Value::as_str);
                let message = match (message, detail) {
                    (Some(message), Some(detail)) => format!("{message}: {detail}"),
                    (Some(message), None) => message.to_owned(),
                    (None, _) => line.to_owned(),
                };
                table = text("table").map(cut);
                (level, message)
            }
            // Cut at its end: it had the whole row in it, as JavaScript's have.
            _ if line.starts_with('{') && line.contains(r#""level":"error""#) => (Level::ERROR, line.to_owned()),
            _ => (Level::INFO, line.to_owned()),
        };
        let (failed_table, warns_of) = match level {
            Level::ERROR => (table.or_else(|| table_of(&message)), None),
            Level::WARN => (None, table),
            _ => (None, None),
        };
        // The batching writers of the SDKs log this and go on; their answer to the write says nothing of it.
        let is_lost_batch = level == Level::ERROR && message.contains("failed to write batch");
        LogLine {
            level,
            message: cut(&message),
            is_lost_batch,
            failed_table,
            warns_of,
        }
    }
}

/// The table that JavaScript's SDK names in an error.
fn table_of(message: &str) -> Option<String> {
    let after = |words: &str| message.find(words).map(|at| &message[at + words.len()..]);
    let rest = after("error resolving table ").or_else(|| after(" for table "))?;
    let is_of_name = |c: &char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.');
    let name: String = rest.chars().take_while(is_of_name).collect();
    (!name.is_empty()).then(|| cut(&name))
}

fn level(name: &str) -> Level {
    match name.to_ascii_lowercase().as_str() {
        "trace" => Level::TRACE,
        "debug" => Level::DEBUG,
        "warn" | "warning" => Level::WARN,
        "error" | "err" | "critical" | "fatal" | "panic" | "dpanic" => Level::ERROR,
        _ => Level::INFO,
    }
}

/// Cut, and without control characters, which could write what they like on a terminal.
fn cut(message: &str) -> String {
    let readable = |c: char| if c.is_control() { ' ' } else { c };
    let mut short: String = message.chars().take(MESSAGE_CHARS_MAX).map(readable).collect();
    if message.chars().nth(MESSAGE_CHARS_MAX).is_some() {
        short.push('…');
    }
    short.truncate(short.trim_end().len());
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(line: &str, level: Level, message: &str) {
        let read = LogLine::read(line);
        assert_eq!((read.level, read.message.as_str()), (level, message));
    }

    #[test]
    fn every_sdks_lines_are_understood() {
        check(
            r#"{"level":"info","module":"x","message":"hello"}"#,
            Level::INFO,
            "hello",
        );
        check(
            r#"{"level":"warning","event":"slow","timestamp":"t"}"#,
            Level::WARN,
            "slow",
        );
        check(r#"{"level":"critical","event":"over"}"#, Level::ERROR, "over");
        check(r#"{"level":"WARN","message":"java"}"#, Level::WARN, "java");
        check(
            r#"{"level":"error","message":"no","error":"because"}"#,
            Level::ERROR,
            "no: because",
        );
        check(
            "Traceback (most recent call last):",
            Level::INFO,
            "Traceback (most recent call last):",
        );
        check("[1, 2]", Level::INFO, "[1, 2]");
    }

    #[test]
    fn control_characters_and_length_are_cut() {
        check("a\x1b[2Jb\r", Level::INFO, "a [2Jb");
        let long = LogLine::read(&"x".repeat(5_000));
        assert_eq!(long.message.chars().count(), MESSAGE_CHARS_MAX + 1);
    }

    #[test]
    fn error_about_a_table_names_it() {
        let table = |line: &str| LogLine::read(line).failed_table;
        let people = Some("people".to_owned());
        let javascript =
            r#"{"level":"error","message":"error resolving table people it broke\nerror resolving table people"}"#;
        assert_eq!(table(javascript), people);
        let row = r#"{"level":"error","message":"missing primary key(s) id for table people"}"#;
        assert_eq!(table(row), people);
        assert_eq!(
            table(r#"{"event":"failed to resolve resource","level":"error","table":"people"}"#),
            people
        );
        assert_eq!(table(r#"{"level":"warn","message":"slow","table":"people"}"#), None);
        assert_eq!(table(r#"{"level":"error","message":"no such host"}"#), None);
        let cut = r#"{"client":{},"level":"error","message":"error encoding resource for table people","resource":{"data":"xxx"#;
        assert_eq!(table(cut), people);
    }

    #[test]
    fn warning_about_a_table_names_it() {
        let line = |level: &str| format!(r#"{{"level":"{level}","message":"slow","table":"people"}}"#);
        assert_eq!(LogLine::read(&line("warn")).warns_of.as_deref(), Some("people"));
        assert_eq!(LogLine::read(&line("info")).warns_of, None);
    }

    #[test]
    fn only_an_error_line_is_a_lost_batch() {
        let line = |level: &str| format!(r#"{{"level":"{level}","message":"failed to write batch","error":"disk"}}"#);
        assert!(LogLine::read(&line("error")).is_lost_batch);
        assert!(!LogLine::read(&line("info")).is_lost_batch);
        assert_eq!(LogLine::read(&line("error")).message, "failed to write batch: disk");
    }
}
