//! Structured logs on stderr: one line per event, a fixed lowercase phrase, and everything that varies in fields.
//!
//! Constraints:
//! - row values are never logged, and secrets are replaced by value in whatever is;
//! - the same `code` of the same component comes at most once in ten seconds, with the number of those left out;
//! - a line is written whole, above the progress line if there is one.

mod repeats;
mod text;

use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use config::{LogLevel, Secrets};
use sdk::log::Line;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

use crate::cli::{Global, LogFormat};
use crate::terminal::Terminal;
use repeats::{Repeats, repeat_key};

/// How often the same trouble is worth a line.
const REPEAT_INTERVAL: Duration = Duration::from_secs(10);

/// What a command wants logged before the options have their say.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wish {
    /// The level.
    pub(crate) level: LogLevel,
    /// The form; `None` is text at a terminal and JSON otherwise.
    pub(crate) format: Option<config::LogFormat>,
}

impl Wish {
    /// For commands whose screen is the conversation: only what went wrong, as text.
    pub(crate) const QUIET: Wish = Wish {
        level: LogLevel::Warn,
        format: Some(config::LogFormat::Text),
    };
}

/// Starts logging for the rest of the process. Later calls change nothing.
pub(crate) fn start(global: &Global, terminal: &Terminal, wish: Wish, secrets: Secrets) {
    let level = match (global.quiet, global.verbose) {
        (2.., _) => LevelFilter::OFF,
        (1, _) => LevelFilter::WARN,
        (_, 0) => filter(wish.level),
        (_, 1) => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    };
    let format = global
        .log_format
        .or(wish.format.map(LogFormat::from))
        .unwrap_or(if terminal.is_err_terminal() {
            LogFormat::Text
        } else {
            LogFormat::Json
        });
    let writer = Writer {
        terminal: terminal.clone(),
        format,
        secrets,
        repeats: Mutex::new(Repeats::new(REPEAT_INTERVAL)),
        is_coloured: terminal.paint_err(),
    };
    install(writer, level, global.verbose > 1);
}

fn install(writer: Writer, level: LevelFilter, others_too: bool) {
    // Other people's crates have their own idea of what is worth knowing.
    let others = if others_too {
        level
    } else {
        level.min(LevelFilter::WARN)
    };
    let targets = Targets::new().with_default(others).with_target("highwater", level);
    static STARTED: OnceLock<()> = OnceLock::new();
    STARTED.get_or_init(|| {
        let layer = writer.with_filter(targets);
        // Only a test that installs a subscriber of its own could have been earlier.
        let _ = tracing_subscriber::registry().with(layer).try_init();
    });
}

fn filter(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    }
}

struct Writer {
    terminal: Terminal,
    format: LogFormat,
    secrets: Secrets,
    repeats: Mutex<Repeats>,
    is_coloured: crate::terminal::Paint,
}

impl<S: Subscriber> Layer<S> for Writer {
    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        let mut line = Line::of(event);
        if *event.metadata().level() <= Level::WARN
            && let Some(key) = repeat_key(&line)
        {
            let suppressed = self
                .repeats
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .admit(key, Instant::now());
            match suppressed {
                None => return,
                Some(0) => {}
                Some(suppressed) => line.fields.push(("suppressed", suppressed.into())),
            }
        }
        let now = jiff::Timestamp::now();
        let text = match self.format {
            LogFormat::Text => text::render(&line, now, self.is_coloured),
            LogFormat::Json => line.to_json(now),
        };
        let text = self.secrets.scrub(&text);
        self.terminal.write_err(&text);
    }
}
