//! Log lines of a plugin: on stdout, where its caller listens, and nothing else there.
//!
//! | key | value |
//! |---|---|
//! | `timestamp` | UTC, milliseconds |
//! | `level` | `trace`, `debug`, `info`, `warn`, `error`. Callers count the last two |
//! | `message` | a fixed phrase |
//! | `module` | the plugin's name and kind |
//! | all else | what varies |

mod line;

use std::io::Write;

use jiff::Timestamp;
use serde_json::{Map, Value};
use tracing::{Event, Subscriber};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

pub use line::Line;

use crate::{LogFormat, LogLevel};

/// The wire's own crates: what they note in passing is nobody's warning.
const WIRE: [&str; 6] = ["h2", "hyper", "hyper_util", "tonic", "tower", "tokio_util"];

/// Starts logging for the rest of the process. Where something listens already, nothing changes.
pub(crate) fn start(level: LogLevel, format: LogFormat, module: String) {
    let level = LevelFilter::from(level);
    let quiet = WIRE.map(|target| (target, level.min(LevelFilter::ERROR)));
    let targets = Targets::new().with_default(level).with_targets(quiet);
    let layer = Lines { format, module }.with_filter(targets);
    let _ = tracing_subscriber::registry().with(layer).try_init();
}

struct Lines {
    format: LogFormat,
    module: String,
}

impl<S: Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        let mut line = Line::of(event);
        line.fields.push(("module", self.module.as_str().into()));
        let text = match self.format {
            LogFormat::Json => line.to_json(Timestamp::now()),
            LogFormat::Text => line.to_text(),
        };
        // A caller that is gone cannot be told so.
        drop(std::io::stdout().lock().write_all(text.as_bytes()));
    }
}

impl Line {
    /// As one JSON object and the end of a line.
    pub fn to_json(&self, now: Timestamp) -> String {
        let mut object = Map::new();
        object.insert("timestamp".to_owned(), Value::from(format!("{now:.3}")));
        object.insert("level".to_owned(), Value::from(self.level));
        object.insert("message".to_owned(), Value::from(self.message.as_str()));
        for (name, value) in &self.fields {
            object.insert((*name).to_owned(), value.clone());
        }
        format!("{}\n", Value::Object(object))
    }

    fn to_text(&self) -> String {
        let mut text = format!("{:<5} {}", self.level, self.message);
        for (name, value) in &self.fields {
            text.push_str(&format!(" {name}={value}"));
        }
        // A line is one line, whatever a value has in it.
        text.replace(['\n', '\r'], " ") + "\n"
    }
}
