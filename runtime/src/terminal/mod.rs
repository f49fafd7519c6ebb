//! What the user sees: the conversation on stderr, the answer on stdout, and one progress line that neither disturbs.

pub(crate) mod columns;
pub(crate) mod figures;

use std::io::{IsTerminal, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::cli::{Color, Global, Output};

/// Width of the left column, as cargo has it.
const VERB_WIDTH: usize = 12;

/// Where the process talks.
#[derive(Clone)]
pub(crate) struct Terminal(Arc<Inner>);

struct Inner {
    is_err_terminal: bool,
    is_out_terminal: bool,
    is_in_terminal: bool,
    is_err_coloured: bool,
    is_out_coloured: bool,
    is_json: bool,
    has_progress: bool,
    is_ascii: bool,
    quiet: u8,
    /// The progress line, while there is one: everything else is printed above it.
    progress: Mutex<Option<ProgressBar>>,
}

/// Escape codes, or nothing (the default).
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Paint(bool);

impl Terminal {
    /// What the options, the environment and the three streams say.
    pub(crate) fn new(global: &Global) -> Self {
        let (out, err) = (std::io::stdout().is_terminal(), std::io::stderr().is_terminal());
        let is_coloured = |is_terminal: bool| match global.color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto if is_set("NO_COLOR") => false,
            Color::Auto if is_set("CLICOLOR_FORCE") => true,
            Color::Auto => is_terminal && std::env::var_os("TERM").is_none_or(|term| term != "dumb"),
        };
        let is_json = global.output == Output::Json;
        Terminal(Arc::new(Inner {
            is_err_terminal: err,
            is_out_terminal: out,
            is_in_terminal: std::io::stdin().is_terminal(),
            is_err_coloured: is_coloured(err),
            is_out_coloured: is_coloured(out) && !is_json,
            is_json,
            has_progress: !global.no_progress,
            is_ascii: global.ascii,
            quiet: global.quiet,
            progress: Mutex::new(None),
        }))
    }

    /// Whether a person reads stderr.
    pub(crate) fn is_err_terminal(&self) -> bool {
        self.0.is_err_terminal
    }

    /// Whether a person reads stdout.
    pub(crate) fn is_out_terminal(&self) -> bool {
        self.0.is_out_terminal
    }

    /// Whether a person can be asked.
    pub(crate) fn can_ask(&self) -> bool {
        self.0.is_in_terminal && self.0.is_err_terminal
    }

    /// Whether the answer is JSON.
    pub(crate) fn is_json(&self) -> bool {
        self.0.is_json
    }

    /// Colours for stderr.
    pub(crate) fn paint_err(&self) -> Paint {
        Paint(self.0.is_err_coloured)
    }

    /// Colours for stdout.
    pub(crate) fn paint_out(&self) -> Paint {
        Paint(self.0.is_out_coloured)
    }

    /// How findings are printed.
    pub(crate) fn screen(&self, is_coloured: bool) -> config::Screen {
        config::Screen {
            is_coloured,
            ..config::Screen::default()
        }
    }

    /// Findings for stdout.
    pub(crate) fn screen_out(&self) -> config::Screen {
        self.screen(self.0.is_out_coloured)
    }

    /// Findings for stderr.
    pub(crate) fn screen_err(&self) -> config::Screen {
        self.screen(self.0.is_err_coloured)
    }

    /// One step of the conversation, in cargo's manner: `   Validated 1 pipeline`.
    pub(crate) fn step(&self, verb: &str, text: impl AsRef<str>) {
        let padding = " ".repeat(VERB_WIDTH.saturating_sub(verb.chars().count()));
        self.say(format!("{padding}{} {}", self.paint_err().good(verb), text.as_ref()));
    }

    /// A line of the conversation.
    pub(crate) fn say(&self, line: impl AsRef<str>) {
        if self.0.quiet == 0 {
            self.write_err(&format!("{}\n", self.plain(line.as_ref())));
        }
    }

    /// What went wrong. Shown with `-q` too, not with `-qq`.
    pub(crate) fn complain(&self, text: impl AsRef<str>) {
        if self.0.quiet < 2 {
            self.write_err(&format!("{}\n", text.as_ref()));
        }
    }

    /// A line of the answer.
    pub(crate) fn answer(&self, text: impl AsRef<str>) {
        let text = format!("{}\n", self.plain(text.as_ref()));
        let write = || {
            let mut out = std::io::stdout().lock();
            out.write_all(text.as_bytes()).and_then(|()| out.flush())
        };
        // Whoever closed the pipe has read enough.
        let _ = self.above_progress(write);
    }

    /// Text on stderr, above the progress line.
    pub(crate) fn write_err(&self, text: &str) {
        // A terminal that is gone cannot be told so.
        let _ = self.above_progress(|| std::io::stderr().lock().write_all(text.as_bytes()));
    }

    /// Begins a progress line; `None` where nobody would see it move.
    pub(crate) fn progress(&self) -> Option<Progress> {
        let inner = &self.0;
        if !inner.is_err_terminal || !inner.has_progress || inner.quiet > 0 {
            return None;
        }
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(8));
        let frames = if inner.is_ascii {
            "-\\|/ "
        } else {
            "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏ "
        };
        let style = ProgressStyle::with_template("  {spinner} {msg}")
            .ok()?
            .tick_chars(frames);
        bar.set_style(style);
        bar.enable_steady_tick(Duration::from_millis(120));
        *inner.progress.lock().unwrap_or_else(PoisonError::into_inner) = Some(bar.clone());
        Some(Progress {
            bar,
            terminal: self.clone(),
        })
    }

    /// Asks a question that is answered with one line; `default` where that line is empty.
    pub(crate) fn ask(&self, question: &str, default: &str) -> std::io::Result<String> {
        let shown = if default.is_empty() {
            String::new()
        } else {
            format!(" [{default}]")
        };
        self.write_err(&format!("{question}{shown} "));
        let mut line = String::new();
        std::io::stdin().read_line(&mut line)?;
        let line = line.trim();
        Ok(if line.is_empty() {
            default.to_owned()
        } else {
            line.to_owned()
        })
    }

    /// Asks whether to go on; only `y` and `yes` do.
    pub(crate) fn confirm(&self, question: &str) -> std::io::Result<bool> {
        self.write_err(&format!("{question} [y/N] "));
        let mut line = String::new();
        std::io::stdin().read_line(&mut line)?;
        Ok(matches!(line.trim().to_lowercase().as_str(), "y" | "yes"))
    }

    fn above_progress<T>(&self, write: impl FnOnce() -> T) -> T {
        let progress = self.0.progress.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match progress {
            Some(bar) => bar.suspend(write),
            None => write(),
        }
    }

    fn plain(&self, text: &str) -> String {
        if !self.0.is_ascii {
            return text.to_owned();
        }
        let replace = |c: char| match c {
            '→' => "->".to_owned(),
            '·' | '–' | '—' => "-".to_owned(),
            '…' => "...".to_owned(),
            c => c.to_string(),
        };
        text.chars().map(replace).collect()
    }
}

fn is_set(name: &str) -> bool {
    std::env::var_os(name).is_some_and(|value| !value.is_empty() && value != "0")
}

/// A line that moves; gone when dropped.
pub(crate) struct Progress {
    bar: ProgressBar,
    terminal: Terminal,
}

impl Progress {
    /// What it says now.
    pub(crate) fn set(&self, text: String) {
        self.bar.set_message(self.terminal.plain(&text));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
        *self.terminal.0.progress.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

impl Paint {
    /// Things that went well.
    pub(crate) fn good(self, text: &str) -> String {
        self.with("1;32", text)
    }

    /// Things to look at.
    pub(crate) fn doubtful(self, text: &str) -> String {
        self.with("1;33", text)
    }

    /// Things that went wrong.
    pub(crate) fn bad(self, text: &str) -> String {
        self.with("1;31", text)
    }

    /// Names.
    pub(crate) fn strong(self, text: &str) -> String {
        self.with("1", text)
    }

    /// What matters less.
    pub(crate) fn faint(self, text: &str) -> String {
        self.with("2", text)
    }

    fn with(self, code: &str, text: &str) -> String {
        if self.0 {
            format!("\u{1b}[{code}m{text}\u{1b}[0m")
        } else {
            text.to_owned()
        }
    }
}
