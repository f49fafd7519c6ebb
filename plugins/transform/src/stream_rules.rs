//! Which rule is for which stream.

use std::collections::BTreeMap;

use model::StreamId;

use crate::error::Error;

/// Rules by stream name or pattern, in which `*` is any text and `?` any character.
///
/// The rule for a stream is the one under its own name; else, of the patterns that match, the one with the most
/// characters that are no wildcard.
pub(crate) struct StreamRules<T>(Vec<(String, T)>);

impl<T> StreamRules<T> {
    pub(crate) fn new(rules: BTreeMap<String, T>) -> Self {
        StreamRules(rules.into_iter().collect())
    }

    /// The rule for a stream, if there is one. Two that match equally well are refused: which of them is meant cannot be
    /// told.
    pub(crate) fn rule_for(&self, stream: &StreamId) -> Result<Option<&T>, Error> {
        let name = stream.to_string();
        let mut best: Option<(&String, &T)> = None;
        for (pattern, rule) in &self.0 {
            if *pattern == name {
                return Ok(Some(rule));
            }
            if !matches(pattern, &name) {
                continue;
            }
            match best {
                Some((other, _)) if weight(other) == weight(pattern) => {
                    return Err(Error::Ambiguous {
                        stream: stream.clone(),
                        first: other.clone(),
                        second: pattern.clone(),
                    });
                }
                Some((other, _)) if weight(other) > weight(pattern) => {}
                _ => best = Some((pattern, rule)),
            }
        }
        Ok(best.map(|(_, rule)| rule))
    }
}

fn weight(pattern: &str) -> usize {
    pattern.chars().filter(|c| !matches!(c, '*' | '?')).count()
}

/// Whether the whole name matches. On a mismatch the last `*` takes one character more, so the cost is the product of both
/// lengths at worst.
pub(crate) fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) = (pattern.chars().collect(), name.chars().collect());
    let (mut p, mut n) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(c) if *c == '?' || *c == name[n] => (p, n) = (p + 1, n + 1),
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

/// A place inside the spec: `/streams/<name>` and what follows, escaped as JSON pointers are.
pub(crate) fn pointer(stream: &str, rest: &str) -> String {
    format!("/streams/{}{rest}", stream.replace('~', "~0").replace('/', "~1"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn check(rules: &[&str], stream: &str, expected: &str) {
        let rules = StreamRules::new(
            rules
                .iter()
                .map(|rule| ((*rule).to_owned(), (*rule).to_owned()))
                .collect(),
        );
        let got = match rules.rule_for(&StreamId::parse(stream)) {
            Ok(Some(rule)) => rule.clone(),
            Ok(None) => "none".to_owned(),
            Err(error) => error.to_string(),
        };
        assert_eq!(got, expected, "{stream}");
    }

    #[test]
    fn name_wins_over_pattern_and_longer_pattern_over_shorter() {
        let rules = ["*", "public.*", "public.orders", "public.order?"];
        check(&rules, "public.orders", "public.orders");
        check(&rules, "public.orderx", "public.order?");
        check(&rules, "public.customers", "public.*");
        check(&rules, "audit.log", "*");
        check(&["public.*"], "audit.log", "none");
    }

    #[test]
    fn patterns_that_match_equally_well_are_refused() {
        check(&["*_log", "aud*"], "audit_log", "*_log");
        check(
            &["*_log", "audi*"],
            "audit_log",
            "cannot choose the rule for `audit_log`: `*_log` and `audi*` match equally well",
        );
    }
}
