//! Which tables a caller means.

use std::sync::Arc;

use model::StreamSchema;

/// The tables that a pattern names and none skips. A pattern that matches nothing is a misspelling.
pub(super) fn choose(
    found: Vec<Arc<StreamSchema>>,
    tables: &[String],
    skip: &[String],
) -> Result<Vec<Arc<StreamSchema>>, String> {
    let names: Vec<String> = found.iter().map(|schema| schema.stream().flat_name()).collect();
    for pattern in tables.iter().chain(skip) {
        if !names.iter().any(|name| matches(pattern, name)) {
            return Err(format!(
                "`{pattern}` matches no table; there is `{}`",
                names.join("`, `")
            ));
        }
    }
    let is_meant = |name: &str| {
        tables.iter().any(|pattern| matches(pattern, name)) && !skip.iter().any(|pattern| matches(pattern, name))
    };
    let chosen = found.into_iter().zip(&names).filter(|(_, name)| is_meant(name));
    Ok(chosen.map(|(schema, _)| schema).collect())
}

/// `*` is any text; nothing else is special.
fn matches(pattern: &str, name: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else {
        return pattern == name;
    };
    let Some(mut name) = name.strip_prefix(first) else {
        return false;
    };
    let mut parts: Vec<&str> = rest.split('*').collect();
    let last = parts.pop().unwrap_or_default();
    for part in parts {
        match name.split_once(part) {
            Some((_, behind)) => name = behind,
            None => return false,
        }
    }
    name.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn star_is_any_text_and_nothing_else_is_special() {
        for (pattern, name, expected) in [
            ("*", "", true),
            ("a", "a", true),
            ("a", "ab", false),
            ("a*", "ab", true),
            ("*b", "ab", true),
            ("*b", "ba", false),
            ("a*c*e", "abcde", true),
            ("a*c*e", "abde", false),
            ("a*a", "a", false),
            ("a?", "ab", false),
            ("a**b", "ab", true),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }
}
