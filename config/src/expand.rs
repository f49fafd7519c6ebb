//! `${...}` in scalars, replaced after parsing: a value can never become a key, a list or a document, and is never
//! expanded again.
//!
//! | written | means |
//! |---|---|
//! | `${NAME}` | an environment variable |
//! | `${file:/path}` | the text of a file, without its last line break |
//! | `${secret:env:NAME}`, `${secret:file:/path}` | the same, never shown |
//! | `${time:now}`, `${time:10 days ago|2006-01-02}` | a time, in UTC (`time`) |
//! | `...:-text}` | `text` where there is no value, or an empty one |
//! | `${NAME:?text}` | an error with this text where there is no value, or an empty one |
//! | `$$` | a dollar |

mod layout;
mod time;

use std::path::Path;

use model::Code;

use crate::codes;
use crate::context::Context;
use crate::environment::Environment;
use crate::finding::Finding;
use crate::pointer::child;
use crate::sources::Span;
use crate::suggest::{quoted, suggest};
use crate::tree::{Kind, Node, Origin, Scalar, parse_value};

/// By whose rules a value stands where it is named.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rules {
    /// It is text, and a number or a boolean where one is wanted.
    Ours,
    /// CloudQuery replaces before it parses. What that can mean is kept: a list or a map where the value is one and stands
    /// alone, and text only in quotes. What it could never mean, a key or another document, stays impossible.
    CloudQuerys,
}

/// Expands every scalar of a tree that stands at this JSON pointer.
pub(crate) fn expand(node: &mut Node, pointer: &str, rules: Rules, environment: &dyn Environment, cx: &mut Context) {
    let span = node.span;
    match &mut node.kind {
        Kind::Scalar(scalar) => {
            scalar.is_text = rules == Rules::CloudQuerys && !scalar.is_plain;
            if scalar.text.contains('$') {
                let stands_alone = stands_alone(&scalar.text);
                expand_scalar(scalar, span, pointer, environment, cx);
                if stands_alone && rules == Rules::CloudQuerys && scalar.is_plain {
                    read_flow(node, pointer, cx);
                }
            }
        }
        Kind::List(items) => {
            for (index, item) in items.iter_mut().enumerate() {
                expand(item, &child(pointer, &index.to_string()), rules, environment, cx);
            }
        }
        Kind::Map(entries) => {
            for entry in entries {
                let pointer = child(pointer, &entry.key.text);
                expand(&mut entry.value, &pointer, rules, environment, cx);
            }
        }
    }
}

/// Whether a text is one variable and nothing else. The text of a file is text, also in CloudQuery's documents.
fn stands_alone(text: &str) -> bool {
    let inside = text.strip_prefix("${").and_then(|text| text.strip_suffix('}'));
    inside.is_some_and(|inside| {
        let name = inside.strip_prefix("secret:").unwrap_or(inside);
        !inside.contains(['$', '}']) && !name.starts_with("file:")
    })
}

/// The value of a variable as the list or the map that it is.
fn read_flow(node: &mut Node, pointer: &str, cx: &mut Context) {
    let Kind::Scalar(scalar) = &node.kind else { return };
    if scalar.origin == Origin::Failed || !scalar.text.trim_start().starts_with(['[', '{']) {
        return;
    }
    let (parsed, _) = cx.attempt(|cx| parse_value(&scalar.text, node.span, scalar.origin, cx));
    let Some(parsed) = parsed.filter(|parsed| !matches!(parsed.kind, Kind::Scalar(_))) else {
        return;
    };
    let message = format!("the value of the variable is read as {}", parsed.describe());
    let finding = Finding::note(&codes::N0112, message)
        .at(cx.place(node.span), "")
        .path(pointer);
    cx.report(finding.hint("put it in quotes if it is meant as text"));
    node.kind = parsed.kind;
}

fn expand_scalar(scalar: &mut Scalar, span: Span, pointer: &str, environment: &dyn Environment, cx: &mut Context) {
    let written = std::mem::take(&mut scalar.text);
    let mut rest = written.as_str();
    while let Some(dollar) = rest.find('$') {
        scalar.text.push_str(&rest[..dollar]);
        rest = &rest[dollar..];
        let at = written.len() - rest.len();
        if let Some(after) = rest.strip_prefix("$$") {
            scalar.text.push('$');
            rest = after;
        } else if rest.starts_with("${") {
            let end = rest.find('}');
            let expression = &rest[..end.map_or(rest.len(), |end| end + 1)];
            let place = locate(&written, at, expression, span, cx);
            let outcome = match end {
                Some(end) => value_of(&rest[2..end], place, environment, cx),
                None => Err(Problem::new(&codes::E0122, "`${` is not closed").hint("add `}`; write `$$` for a dollar")),
            };
            match outcome {
                Ok(value) => {
                    scalar.text.push_str(&value.text);
                    scalar.origin = worse(scalar.origin, value.origin);
                }
                Err(problem) => {
                    let mut finding = Finding::error(problem.code, problem.message);
                    finding.hints = problem.hints;
                    cx.report(finding.at(cx.place(place), "").path(pointer));
                    scalar.origin = Origin::Failed;
                }
            }
            rest = &rest[expression.len()..];
        } else {
            scalar.text.push('$');
            rest = &rest[1..];
        }
    }
    scalar.text.push_str(rest);
}

/// A failure stays one, and a text with a secret in it is secret.
fn worse(left: Origin, right: Origin) -> Origin {
    let rank = |origin| match origin {
        Origin::Literal => 0,
        Origin::Expanded => 1,
        Origin::Secret => 2,
        Origin::Failed => 3,
    };
    if rank(left) >= rank(right) { left } else { right }
}

/// The span of an expression in the file. A quoted scalar may hold escapes, so offsets in its text are not offsets in the
/// file; but its dollars come in the same order.
fn locate(written: &str, at: usize, expression: &str, scalar: Span, cx: &Context) -> Span {
    let raw = cx.sources.slice(scalar);
    let index = written[..at].matches('$').count();
    if raw.matches('$').count() != written.matches('$').count() {
        return scalar;
    }
    let Some((offset, _)) = raw.match_indices('$').nth(index) else {
        return scalar;
    };
    let length = if raw[offset..].starts_with(expression) {
        expression.len()
    } else {
        1
    };
    let start = scalar.start + offset as u32;
    Span {
        start,
        end: start + length as u32,
        ..scalar
    }
}

struct Value {
    text: String,
    origin: Origin,
}

struct Problem {
    code: &'static Code,
    message: String,
    hints: Vec<String>,
}

impl Problem {
    fn new(code: &'static Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            hints: Vec::new(),
        }
    }

    fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }
}

/// What stands for a value that is missing.
enum Fallback<'e> {
    None,
    Default(&'e str),
    Message(&'e str),
}

fn value_of(expression: &str, place: Span, environment: &dyn Environment, cx: &mut Context) -> Result<Value, Problem> {
    let (name, fallback) = match (expression.split_once(":-"), expression.split_once(":?")) {
        (Some((name, default)), Some((other, _))) if name.len() < other.len() => (name, Fallback::Default(default)),
        (_, Some((name, message))) => (name, Fallback::Message(message)),
        (Some((name, default)), None) => (name, Fallback::Default(default)),
        (None, None) => (expression, Fallback::None),
    };
    if let Fallback::Default(default) = fallback
        && default.contains("${")
    {
        return Err(Problem::new(&codes::E0122, "a default cannot hold another `${...}`"));
    }
    let (origin, name) = match name.strip_prefix("secret:") {
        Some(name) => (Origin::Secret, name),
        None => (Origin::Expanded, name),
    };
    let is_secret = origin == Origin::Secret;
    let (found, problem) = match name.split_once(':') {
        Some(("file", path)) => from_file(path, expression, is_secret, place, environment, cx),
        Some(("env", name)) if is_secret => from_variable(name, expression, environment)?,
        Some(("exec", _)) if is_secret => return Err(later("`${secret:exec:...}`")),
        Some(("time", expression)) if !is_secret => match time::render(expression, environment.now()) {
            Ok(text) => (Some(text), Problem::new(&codes::E0122, "")),
            Err(wrong) => {
                let hint = "write `now`, `10 days ago`, `1 hour from now` or `2026-01-02T15:04:05Z`, then `|2006-01-02` if wanted";
                return Err(Problem::new(&codes::E0122, wrong).hint(hint));
            }
        },
        Some((provider, _)) => return Err(unknown_provider(provider, name, is_secret)),
        None if is_secret => {
            let problem = Problem::new(&codes::E0122, format!("{} names no provider", quoted(expression)));
            return Err(problem.hint(format!("write `${{secret:env:{name}}}` or `${{secret:file:/path}}`")));
        }
        None => from_variable(name, expression, environment)?,
    };
    let text = match (found, fallback) {
        (Some(text), Fallback::None) => text,
        (Some(text), _) if !text.is_empty() => text,
        (_, Fallback::Default(default)) => default.to_owned(),
        (_, Fallback::Message(message)) => {
            return Err(Problem {
                message: format!("{}: {}", problem.message, quoted(message)),
                ..problem
            });
        }
        (_, Fallback::None) => return Err(problem),
    };
    if is_secret {
        cx.secrets.register(&text);
    }
    Ok(Value { text, origin })
}

/// The value, and what to report if it is needed and not there.
type Lookup = (Option<String>, Problem);

fn from_variable(name: &str, expression: &str, environment: &dyn Environment) -> Result<Lookup, Problem> {
    let is_name = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if !is_name {
        let problem = Problem::new(&codes::E0122, format!("{} is not the name of a variable", quoted(name)));
        return Err(problem.hint("a name has letters, digits and `_`; write `$$` for a dollar"));
    }
    let bare = expression.split(":?").next().unwrap_or(expression);
    let problem = Problem::new(&codes::E0121, format!("environment variable `{name}` is not set"))
        .hint(format!("set it, or write `${{{bare}:-default}}` for development"));
    Ok((environment.variable(name), problem))
}

fn from_file(
    path: &str,
    expression: &str,
    is_secret: bool,
    place: Span,
    environment: &dyn Environment,
    cx: &mut Context,
) -> Lookup {
    let what = if is_secret { "secret file" } else { "file" };
    match environment.file(Path::new(path)) {
        Ok(file) => {
            // A mount of one container or unit is seen by nobody else, whatever its mode.
            let is_private = ["/run/", "/var/run/"].iter().any(|mount| path.starts_with(mount));
            if is_secret && file.is_world_readable && !is_private {
                let message = format!("secret file {} is readable by every user", quoted(path));
                let finding = Finding::warning(&codes::W0111, message).at(cx.place(place), "");
                cx.report(finding.hint(format!("run `chmod o-r {path}`")));
            }
            let text = file.text.strip_suffix('\n').unwrap_or(&file.text);
            let text = text.strip_suffix('\r').unwrap_or(text);
            (
                Some(text.to_owned()),
                Problem::new(&codes::E0123, format!("{what} {} is empty", quoted(path))),
            )
        }
        Err(error) => {
            let bare = expression.split(":?").next().unwrap_or(expression);
            let problem = Problem::new(&codes::E0123, format!("cannot read {what} {}: {error}", quoted(path)));
            (
                None,
                problem.hint(format!("create it, or write `${{{bare}:-default}}` for development")),
            )
        }
    }
}

fn later(what: &str) -> Problem {
    Problem::new(&codes::E0106, format!("{what} is not available in this version"))
        .hint("put the value into a variable or a file: `${secret:env:NAME}`, `${secret:file:/path}`")
}

fn unknown_provider(provider: &str, name: &str, is_secret: bool) -> Problem {
    if !is_secret && provider == "env" {
        let name = name.trim_start_matches("env:");
        return Problem::new(&codes::E0122, format!("unknown provider {}", quoted(provider)))
            .hint(format!("write `${{{name}}}`, or `${{secret:env:{name}}}` for a secret"));
    }
    let known: &[&str] = if is_secret {
        &["env", "file"]
    } else {
        &["file", "secret", "time"]
    };
    let problem = Problem::new(&codes::E0122, format!("unknown provider {}", quoted(provider)));
    match suggest(provider, known.iter().copied()) {
        Some(meant) => problem.hint(format!("did you mean `{meant}:`?")),
        None => problem.hint("write `${NAME}`, `${file:/path}`, `${secret:env:NAME}` or `${secret:file:/path}`"),
    }
}
