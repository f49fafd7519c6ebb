//! A line for people.

use jiff::Timestamp;
use sdk::log::Line;
use serde_json::Value;

use crate::terminal::Paint;

/// Fields begin in the same column behind all but the longest phrases.
const MESSAGE_WIDTH: usize = 27;

pub(super) fn render(line: &Line, now: Timestamp, paint: Paint) -> String {
    let level = format!("{:<5}", line.level);
    let level = match line.level {
        "error" => paint.bad(&level),
        "warn" => paint.doubtful(&level),
        "info" => paint.good(&level),
        _ => paint.faint(&level),
    };
    let mut text = format!(
        "{}  {level} {:<MESSAGE_WIDTH$}",
        paint.faint(&format!("{now:.3}")),
        escape(&line.message)
    );
    for (name, value) in &line.fields {
        text.push_str(&format!(" {}{}", paint.faint(&format!("{name}=")), plain(value)));
    }
    text.truncate(text.trim_end().len());
    text.push('\n');
    text
}

/// A value as it is, in quotes if its end could not be seen otherwise.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => {
            let text = escape(text);
            let needs_quotes = text.is_empty() || text.contains([' ', '"', '=']);
            if needs_quotes {
                format!("\"{}\"", text.replace('"', "\\\""))
            } else {
                text
            }
        }
        other => other.to_string(),
    }
}

/// What comes from outside cannot draw on the terminal or begin a line of its own.
fn escape(text: &str) -> String {
    text.chars()
        .flat_map(|c| {
            if c.is_control() {
                c.escape_default().collect()
            } else {
                vec![c]
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at() -> Timestamp {
        "2026-09-30T10:12:04.112Z".parse().expect("a timestamp")
    }

    #[test]
    fn text_line_has_a_column_for_the_phrase_and_quotes_what_has_spaces() {
        let fields = vec![
            ("pipeline", Value::from("shop")),
            ("error", Value::from("cannot open `a b`: \"no\"\u{1b}[31m")),
            ("attempt", Value::from(3)),
        ];
        let line = Line {
            level: "warn",
            message: "destination retrying".to_owned(),
            fields,
        };
        assert_eq!(
            render(&line, at(), Paint::default()),
            "2026-09-30T10:12:04.112Z  warn  destination retrying        pipeline=shop error=\"cannot open `a b`: \\\"no\\\"\\u{1b}[31m\" attempt=3\n"
        );
    }

    #[test]
    fn json_line_is_one_object() {
        let line = Line {
            level: "info",
            message: "starting".to_owned(),
            fields: vec![("pipelines", Value::from(1))],
        };
        assert_eq!(
            line.to_json(at()),
            "{\"timestamp\":\"2026-09-30T10:12:04.112Z\",\"level\":\"info\",\"message\":\"starting\",\"pipelines\":1}\n"
        );
    }
}
