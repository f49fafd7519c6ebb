//! "Did you mean".

/// Below this similarity a suggestion confuses more than it helps; above it, typing errors are missed.
const SIMILAR: f64 = 0.8;

/// The candidate that the text was most likely meant to be.
pub(crate) fn suggest<'c>(text: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    let lower = text.to_lowercase();
    candidates
        .into_iter()
        .map(|candidate| (candidate, strsim::jaro_winkler(&lower, &candidate.to_lowercase())))
        .filter(|(_, similarity)| *similarity >= SIMILAR)
        .max_by(|(_, left), (_, right)| left.total_cmp(right))
        .map(|(candidate, _)| candidate)
}

/// "`a`, `b` or `c`".
pub(crate) fn one_of<T: AsRef<str>>(names: &[T]) -> String {
    joined(names, "or")
}

/// "`a`, `b` and `c`".
pub(crate) fn all_of<T: AsRef<str>>(names: &[T]) -> String {
    joined(names, "and")
}

fn joined<T: AsRef<str>>(names: &[T], word: &str) -> String {
    match names {
        [] => "nothing".to_owned(),
        [only] => format!("`{}`", only.as_ref()),
        [first @ .., last] => {
            let first: Vec<_> = first.iter().map(|name| format!("`{}`", name.as_ref())).collect();
            format!("{} {word} `{}`", first.join(", "), last.as_ref())
        }
    }
}

/// A value from the file for a message: in backticks, without control characters, at most 60 characters.
pub(crate) fn quoted(text: &str) -> String {
    const LENGTH_MAX: usize = 60;
    let mut shown: String = text.chars().take(LENGTH_MAX).flat_map(printable).collect();
    if text.chars().count() > LENGTH_MAX {
        shown.push('…');
    }
    format!("`{shown}`")
}

/// Control characters and the marks that turn the reading direction would let a file draw on the terminal.
fn printable(c: char) -> Vec<char> {
    let is_mark = matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}');
    if c.is_control() || is_mark {
        c.escape_default().collect()
    } else {
        vec![c]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suggest_finds_typing_errors_and_keeps_silent_otherwise() {
        let fields = ["connector", "spec", "write", "batch", "destinations"];
        assert_eq!(suggest("destinaton", fields), Some("destinations"));
        assert_eq!(suggest("Wirte", fields), Some("write"));
        assert_eq!(suggest("colour", fields), None);
    }

    #[test]
    fn quoted_shows_no_control_characters() {
        assert_eq!(quoted("a\u{1b}[31m\n\u{202e}b"), "`a\\u{1b}[31m\\n\\u{202e}b`");
        assert_eq!(quoted(&"x".repeat(100)).chars().count(), 63);
    }
}
