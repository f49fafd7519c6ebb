//! An event, taken apart.

use serde_json::Value;
use tracing::field::{Field, Visit};
use tracing::{Event, Level};

/// One event as a phrase and fields.
#[derive(Debug)]
pub struct Line {
    /// `info` and its like.
    pub level: &'static str,
    /// The phrase.
    pub message: String,
    /// What varies.
    pub fields: Vec<(&'static str, Value)>,
}

impl Line {
    /// Takes an event apart.
    pub fn of(event: &Event<'_>) -> Self {
        let mut line = Line {
            level: word(event.metadata().level()),
            message: String::new(),
            fields: Vec::new(),
        };
        event.record(&mut line);
        line
    }

    fn put(&mut self, field: &Field, value: Value) {
        // Bookkeeping of the bridge from the `log` crate.
        if field.name().starts_with("log.") {
            return;
        }
        match (field.name(), value) {
            ("message", Value::String(text)) => self.message = text,
            ("message", other) => self.message = other.to_string(),
            (name, value) => self.fields.push((name, value)),
        }
    }
}

impl Visit for Line {
    fn record_f64(&mut self, field: &Field, value: f64) {
        // Three digits after the point are a millisecond, and more than anybody reads.
        self.put(field, Value::from((value * 1e3).round() / 1e3));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, Value::from(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, Value::from(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, Value::from(value));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, Value::from(value));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.put(field, Value::from(format!("{value:?}")));
    }
}

fn word(level: &Level) -> &'static str {
    match *level {
        Level::ERROR => "error",
        Level::WARN => "warn",
        Level::INFO => "info",
        Level::DEBUG => "debug",
        Level::TRACE => "trace",
    }
}
