//! Which of a plugin's tables there are, by CloudQuery's rules (package `schema` of its Go SDK).
//!
//! - `*` is the only wildcard, and any text. Every pattern must match a table, also one of those to be skipped.
//! - A skipped table takes everything below it along.
//! - A chosen table brings those above it. It brings those below it only if `skip_dependent_tables` is false.

use std::collections::{BTreeMap, BTreeSet};

use proto::Table;

use crate::pattern::matches;

/// More names than this help nobody.
const NAMES_MAX: usize = 12;

/// What the spec says.
#[derive(Debug, Clone, Copy)]
pub(super) struct Selection<'a> {
    /// `None` is all.
    pub tables: Option<&'a [String]>,
    pub skip_tables: &'a [String],
    pub skip_dependent_tables: bool,
}

/// Patterns without a table.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unmatched {
    /// Inside the spec, that of the first.
    pointer: String,
    patterns: Vec<String>,
    names: Vec<String>,
}

impl Selection<'_> {
    /// Those of a plugin's tables that are chosen, in its order.
    pub(super) fn of(&self, tables: Vec<Table>) -> Result<Vec<Table>, Unmatched> {
        self.check(&tables)?;
        let chosen = self.chosen(&tables);
        Ok(tables
            .into_iter()
            .filter(|table| chosen.contains(&table.name))
            .collect())
    }

    fn check(&self, tables: &[Table]) -> Result<(), Unmatched> {
        let lists = [
            ("tables", self.tables.unwrap_or_default()),
            ("skip_tables", self.skip_tables),
        ];
        let patterns = lists.iter().flat_map(|(field, patterns)| {
            let at = move |(index, pattern)| (format!("/{field}/{index}"), pattern);
            patterns.iter().enumerate().map(at)
        });
        let has_table = |pattern: &str| tables.iter().any(|table| matches(pattern, &table.name));
        let (pointers, patterns): (Vec<String>, Vec<String>) = patterns
            .filter(|(_, pattern)| !has_table(pattern))
            .map(|(pointer, pattern)| (pointer, pattern.clone()))
            .unzip();
        match pointers.into_iter().next() {
            None => Ok(()),
            Some(pointer) => Err(Unmatched {
                pointer,
                patterns,
                names: tables.iter().map(|table| table.name.clone()).collect(),
            }),
        }
    }

    fn chosen(&self, tables: &[Table]) -> BTreeSet<String> {
        let parents: BTreeMap<&str, Option<&str>> = tables
            .iter()
            .map(|table| (table.name.as_str(), table.parent.as_deref()))
            .collect();
        // The table itself and those above it. A plugin could name a circle; none is deeper than there are tables.
        let line = |name: &str| -> Vec<String> {
            let above = |name: &String| parents.get(name.as_str()).copied().flatten().map(str::to_owned);
            std::iter::successors(Some(name.to_owned()), above)
                .take(tables.len())
                .collect()
        };
        let is_skipped = |name: &str| self.skip_tables.iter().any(|pattern| matches(pattern, name));
        let is_named = |name: &str| match self.tables {
            None => true,
            Some(patterns) => patterns.iter().any(|pattern| matches(pattern, name)),
        };
        let mut chosen = BTreeSet::new();
        for table in tables {
            let line = line(&table.name);
            if line.iter().any(|name| is_skipped(name)) {
                continue;
            }
            let is_below_chosen = || !self.skip_dependent_tables && line.iter().any(|name| is_named(name));
            if is_named(&table.name) || is_below_chosen() {
                chosen.extend(line);
            }
        }
        chosen
    }
}

impl Unmatched {
    /// As the runtime shows it, at the first of the patterns.
    pub(super) fn error(self, plugin: &str) -> api::Error {
        let nearest = self.patterns.first().and_then(|pattern| nearest(pattern, &self.names));
        let shown: Vec<String> = self.patterns.iter().map(|pattern| format!("`{pattern}`")).collect();
        let message = format!(
            "cannot select tables of plugin `{plugin}`: it has none that matches {}",
            shown.join(", ")
        );
        let error = api::Error::new("E0201", api::Retry::Never, message).at(self.pointer);
        match nearest {
            Some(nearest) => error.hint(format!("did you mean `{nearest}`?")),
            None => error.hint(has(&self.names)),
        }
    }
}

fn nearest<'a>(pattern: &str, names: &'a [String]) -> Option<&'a String> {
    let similarity = |name: &&String| strsim::jaro_winkler(pattern, name);
    let nearest = names
        .iter()
        .max_by(|left, right| similarity(left).total_cmp(&similarity(right)))?;
    (similarity(&nearest) >= 0.8).then_some(nearest)
}

fn has(names: &[String]) -> String {
    let shown: Vec<String> = names.iter().take(NAMES_MAX).map(|name| format!("`{name}`")).collect();
    match names.len() {
        0 => "it has no tables at all".to_owned(),
        count if count > NAMES_MAX => format!("it has {}, and {} more", shown.join(", "), count - NAMES_MAX),
        _ => format!("it has {}", shown.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `a` with `a_b` with `a_b_c`, and `d`.
    fn tables() -> Vec<Table> {
        let table = |name: &str, parent: Option<&str>| Table {
            parent: parent.map(str::to_owned),
            ..Table::named(name)
        };
        vec![
            table("a", None),
            table("a_b", Some("a")),
            table("a_b_c", Some("a_b")),
            table("d", None),
        ]
    }

    fn chosen(named: &[&str], skipped: &[&str], skip_dependent_tables: bool) -> Result<String, Unmatched> {
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let (named, skipped) = (texts(named), texts(skipped));
        let selection = Selection {
            tables: Some(&named),
            skip_tables: &skipped,
            skip_dependent_tables,
        };
        let names = selection.of(tables())?.into_iter().map(|table| table.name);
        Ok(names.collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn tables_are_chosen_as_cloudquery_chooses_them() {
        for (named, skipped, skip_dependent, expected) in [
            (&["*"][..], &[][..], true, "a a_b a_b_c d"),
            (&["a"], &[], true, "a"),
            (&["a"], &[], false, "a a_b a_b_c"),
            (&["a_b_c"], &[], true, "a a_b a_b_c"),
            (&["*"], &["a_b"], true, "a d"),
            (&["a_b_c", "d"], &["a_b"], true, "d"),
            (&["a*c"], &[], true, "a a_b a_b_c"),
            (&["*_b"], &[], true, "a a_b"),
        ] {
            assert_eq!(
                chosen(named, skipped, skip_dependent).as_deref(),
                Ok(expected),
                "{named:?} {skipped:?}"
            );
        }
    }

    #[test]
    fn every_pattern_must_match() {
        let unmatched = chosen(&["d", "a_bb"], &["x*"], true).expect_err("two match nothing");
        assert_eq!(unmatched.patterns, ["a_bb", "x*"]);
        let error = unmatched.error("it");
        assert_eq!((error.code(), error.place()), ("E0201", Some("/tables/1")));
        assert_eq!(error.remedy(), Some("did you mean `a_b`?"));
    }

    #[test]
    fn a_circle_of_parents_ends() {
        let table = |name: &str, parent: &str| Table {
            parent: Some(parent.to_owned()),
            ..Table::named(name)
        };
        let selection = Selection {
            tables: None,
            skip_tables: &[],
            skip_dependent_tables: false,
        };
        let tables = selection.of(vec![table("a", "b"), table("b", "a")]);
        assert_eq!(tables.map(|tables| tables.len()), Ok(2));
    }
}
