//! Which streams and columns a selection takes.

use crate::plan::{ColumnSelection, StreamSelection};

impl StreamSelection {
    /// Whether the stream of this name is carried: some pattern of `include` matches it and none of `exclude`.
    pub fn selects(&self, stream: &str) -> bool {
        let matches = |pattern: &String| matches_pattern(pattern, stream);
        self.include.iter().any(matches) && !self.exclude.iter().any(matches)
    }
}

impl ColumnSelection {
    /// Whether the column of this name is carried.
    pub fn selects(&self, column: &str) -> bool {
        let names = |name: &String| name == column;
        (self.include.is_empty() || self.include.iter().any(names)) && !self.exclude.iter().any(names)
    }
}

/// Whether a name matches a pattern, in which `*` is any text and `?` any character. Names are compared exactly.
pub fn matches_pattern(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) = (pattern.chars().collect(), name.chars().collect());
    let (mut p, mut n) = (0, 0);
    // Where the last `*` stood and how much of the name it took: on a mismatch it takes one character more. Linear in
    // the product of both lengths at worst, whatever the pattern.
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(c) if *c == '?' || *c == name[n] => {
                p += 1;
                n += 1;
            }
            _ => match &mut star {
                Some((at, taken)) => {
                    *taken += 1;
                    (p, n) = (*at + 1, *taken);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_whole_names() {
        for (pattern, name, is_match) in [
            ("orders", "orders", true),
            ("orders", "order", false),
            ("public.*", "public.orders", true),
            ("public.*", "private.orders", false),
            ("*", "", true),
            ("*_log", "a_log_log", true),
            ("*_log", "a_logs", false),
            ("order?", "orders", true),
            ("order?", "order", false),
            ("a*b*c", "aXbYbZc", true),
            ("a.b", "aXb", false),
        ] {
            assert_eq!(matches_pattern(pattern, name), is_match, "{pattern} {name}");
        }
    }

    #[test]
    fn a_hostile_pattern_takes_no_time() {
        assert!(!matches_pattern(&format!("{}c", "a*".repeat(500)), &"a".repeat(5_000)));
    }

    #[test]
    fn exclude_wins_over_include() {
        let selection = StreamSelection {
            include: vec!["public.*".to_owned()],
            exclude: vec!["public.sessions".to_owned()],
            ..StreamSelection::default()
        };
        assert!(selection.selects("public.orders"));
        assert!(!selection.selects("public.sessions"));
        assert!(!selection.selects("audit.orders"));
    }
}
