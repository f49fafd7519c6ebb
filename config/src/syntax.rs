//! YAML's syntax errors, in words that help.

use crate::codes;
use crate::finding::Finding;
use crate::sources::{Place, Sources, Span};
use crate::suggest::quoted;
use crate::tree::DEPTH_MAX;

/// A finding for what the parser says at a place.
pub(crate) fn finding(info: &str, at: Span, sources: &Sources) -> Finding {
    let place = sources.place(at);
    let file = sources.file(at.file);
    let line_text = |line: usize| {
        let (start, end) = file.line_range(line);
        &file.text[start..end]
    };
    // The parser notices at the start of the next token; the cause is often on the line before.
    let here = line_text(place.line.min(file.line_count()));
    let before = if place.line > 1 { line_text(place.line - 1) } else { "" };
    if info.contains("recursion limit") {
        return too_deep(place);
    }
    let mut finding = Finding::error(&codes::E0101, format!("cannot read YAML: {}", plain_words(info)));
    if let Some(hint) = [here, before].into_iter().find_map(hint) {
        finding = finding.hint(hint);
    }
    finding.at(place, "")
}

/// The one finding for a file that nests without end, whether our limit or the parser's own is met first.
pub(crate) fn too_deep(place: Place) -> Finding {
    let message = format!("configuration is nested too deeply: more than {DEPTH_MAX} lists and maps inside each other");
    Finding::error(&codes::E0102, message).at(place, "the limit is passed here")
}

/// The parser speaks of its own inside.
fn plain_words(info: &str) -> String {
    let words = info.trim_end_matches('.');
    match words {
        _ if words.contains("tab") => "a tab where only spaces may indent".to_owned(),
        _ if words.contains("mapping values are not allowed") => {
            "a second `:` on this line, or wrong indentation".to_owned()
        }
        _ if words.contains("simple key expected") || words.contains("simple key expect") => {
            "expected `:` after a key".to_owned()
        }
        _ if words.contains("quoted scalar, found unexpected end") => "a quote is not closed".to_owned(),
        _ if words.contains("block mapping, did not find expected key") => {
            "wrong indentation, or a key without `:`".to_owned()
        }
        _ => words
            .replace("while parsing a", "in a")
            .replace("while scanning a", "in a")
            .replace("did not find expected ", "expected "),
    }
}

fn hint(line: &str) -> Option<String> {
    let content = line.trim_start();
    if line[..line.len() - content.len()].contains('\t') {
        return Some("indent with spaces".to_owned());
    }
    let value = content
        .trim_start_matches("- ")
        .split_once(": ")
        .map_or(content, |(_, value)| value)
        .trim();
    let in_brackets = value.contains(['[', '{']);
    if in_brackets && let Some(start) = value.find("${") {
        let length = value[start..].find('}').map_or(value.len() - start, |end| end + 1);
        let expression = &value[start..start + length];
        return Some(format!(
            "inside `[ ]` and `{{ }}` write it in quotes: {}",
            quoted(&format!("\"{expression}\""))
        ));
    }
    if value
        .strip_prefix('{')
        .and_then(|rest| rest.split_once('}'))
        .is_some_and(|(_, rest)| !rest.trim().is_empty())
    {
        return Some(format!(
            "put a text that begins with `{{` in quotes: {}",
            quoted(&format!("\"{value}\""))
        ));
    }
    if value.starts_with('*') || value.contains("[*") || value.contains(" *") {
        return Some("put quotes around a text that begins with `*`: `[\"*\"]`".to_owned());
    }
    if value.starts_with(['@', '`', '%', '!', '&']) {
        return Some(format!("put the value in quotes: {}", quoted(&format!("\"{value}\""))));
    }
    if !value.starts_with(['"', '\'']) && !in_brackets && value.contains(": ") {
        return Some("put a value that contains `: ` in quotes".to_owned());
    }
    None
}
