//! What `verify` prints: one line for each stream and destination, and the rows that differ below it.

use actors::{ComparedAs, Comparison, Verified};
use model::{Difference, DifferenceKind};

use super::super::Cx;
use crate::terminal::columns::{self, Align};
use crate::terminal::figures;

/// Rows that are named on the screen for each stream and destination; the details file has more.
const SHOWN_MAX: usize = 20;

pub(super) fn say(cx: &Cx, verified: &Verified) {
    let position: Vec<String> = verified.position.values().cloned().collect();
    cx.terminal
        .step("Compared", format!("at position {}", position.join(", ")));
    if let Some(share) = verified.sample {
        cx.terminal
            .step("Sampled", format!("{} % of the keys", (share * 1000.0).round() / 10.0));
    }
    for comparison in &verified.comparisons {
        cx.terminal.answer(render(comparison));
    }
}

/// The lines of one stream at one destination.
fn render(comparison: &Comparison) -> String {
    let what = format!("{} → {}", comparison.stream, comparison.destination);
    let mut lines = vec![match comparison.outcome {
        ComparedAs::Equal => format!("{:>12} {what}: {}", "Equal", rows(comparison.source_rows)),
        ComparedAs::NotCompared => {
            let reason = comparison.reason.as_deref().unwrap_or("no reason is known");
            format!("{:>12} {what}: {reason}", "Not compared")
        }
        ComparedAs::Different => format!("{:>12} {what}: {}", "Different", extent(comparison)),
    }];
    if !comparison.columns_left_out.is_empty() && comparison.outcome != ComparedAs::NotCompared {
        lines.push(format!(
            "{:13}without {}, which the destination does not have",
            "",
            comparison.columns_left_out.join(", ")
        ));
    }
    let shown = comparison.differences.iter().take(SHOWN_MAX);
    let table: Vec<Vec<String>> = shown.map(|difference| row(comparison, difference)).collect();
    let table = columns::render(&[Align::Left, Align::Left], &table);
    lines.extend(table.lines().map(|line| format!("{:13}{}", "", line.trim_end())));
    let more = comparison.difference_count.saturating_sub(SHOWN_MAX as u64);
    if more > 0 {
        lines.push(format!("{:13}and {} more", "", figures::count(more)));
    }
    lines.join("\n")
}

fn rows(count: u64) -> String {
    figures::counted(count as usize, "row")
}

/// `3 rows in 2 of 65 536 buckets`; what could not be looked at for lack of memory is said.
fn extent(comparison: &Comparison) -> String {
    let Comparison {
        buckets,
        buckets_different,
        buckets_inspected,
        difference_count,
        ..
    } = comparison;
    let of = format!(
        "{} of {} buckets",
        figures::count(*buckets_different),
        figures::count(*buckets)
    );
    if buckets_inspected == buckets_different {
        return format!("{} in {of}", rows(*difference_count));
    }
    let totals = format!(
        "the source has {}, the destination {}",
        rows(comparison.source_rows),
        rows(comparison.destination_rows)
    );
    if *buckets_inspected == 0 {
        return format!("{of} differ; {totals}");
    }
    format!(
        "{of} differ, in {} of which {} do; {totals}",
        figures::count(*buckets_inspected),
        rows(*difference_count)
    )
}

fn row(comparison: &Comparison, difference: &Difference) -> Vec<String> {
    let there = &comparison.destination;
    let parts = comparison.key.iter().zip(&difference.key);
    let key: Vec<String> = parts
        .map(|(name, value)| format!("{name} {}", shortened(value)))
        .collect();
    let columns = difference.columns.join(", ");
    let what = match difference.kind {
        DifferenceKind::Missing => format!("missing in {there}"),
        DifferenceKind::Extra => format!("only in {there}"),
        DifferenceKind::Different => format!("differs: {columns}"),
        DifferenceKind::Doubled if columns.is_empty() => format!("{} times in {there}", difference.copies),
        DifferenceKind::Doubled => format!("{} times in {there}, differs: {columns}", difference.copies),
    };
    vec![key.join(", "), what]
}

/// A key can be as long as a text.
fn shortened(value: &str) -> String {
    const SHOWN: usize = 60;
    let line = value
        .escape_debug()
        .to_string()
        .replace("\\'", "'")
        .replace("\\\"", "\"");
    match line.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn comparison() -> Comparison {
        Comparison {
            stream: "public.orders".to_owned(),
            destination: "replica".to_owned(),
            outcome: ComparedAs::Different,
            reason: None,
            source_rows: 48_210_114,
            destination_rows: 48_210_113,
            buckets: 65_536,
            buckets_different: 4,
            buckets_inspected: 4,
            key: vec!["id".to_owned()],
            columns_left_out: Vec::new(),
            differences: vec![
                difference("48119034", DifferenceKind::Different, &["updated_at", "status"], 1),
                difference("48119035", DifferenceKind::Missing, &[], 0),
                difference("48119041", DifferenceKind::Doubled, &["status"], 2),
                difference("9", DifferenceKind::Extra, &[], 1),
            ],
            difference_count: 4,
        }
    }

    fn difference(key: &str, kind: DifferenceKind, columns: &[&str], copies: u64) -> Difference {
        Difference {
            key: vec![key.to_owned()],
            kind,
            columns: columns.iter().map(|&name| name.to_owned()).collect(),
            copies,
        }
    }

    #[test]
    fn rows_that_differ_are_named_with_what_is_wrong() {
        insta::assert_snapshot!(render(&comparison()), @r"
           Different public.orders → replica: 4 rows in 4 of 65 536 buckets
                     id 48119034  differs: updated_at, status
                     id 48119035  missing in replica
                     id 48119041  2 times in replica, differs: status
                     id 9         only in replica
        ");
    }

    #[test]
    fn what_was_not_looked_at_is_said() {
        let mut partly = Comparison {
            buckets_different: 60_000,
            buckets_inspected: 2,
            ..comparison()
        };
        insta::assert_snapshot!(extent(&partly), @"60 000 of 65 536 buckets differ, in 2 of which 4 rows do; the source has 48 210 114 rows, the destination 48 210 113 rows");
        partly.buckets_inspected = 0;
        insta::assert_snapshot!(extent(&partly), @"60 000 of 65 536 buckets differ; the source has 48 210 114 rows, the destination 48 210 113 rows");
    }

    #[test]
    fn equal_and_not_compared_take_one_line() {
        let equal = Comparison {
            outcome: ComparedAs::Equal,
            differences: Vec::new(),
            difference_count: 0,
            columns_left_out: vec!["note".to_owned()],
            ..comparison()
        };
        insta::assert_snapshot!(render(&equal), @r"
               Equal public.orders → replica: 48 210 114 rows
                     without note, which the destination does not have
        ");
        let not_compared = Comparison {
            outcome: ComparedAs::NotCompared,
            reason: Some("it has a row for each change (`write: append`)".to_owned()),
            ..equal
        };
        insta::assert_snapshot!(render(&not_compared), @"Not compared public.orders → replica: it has a row for each change (`write: append`)");
    }

    #[test]
    fn key_is_one_line_however_it_is_written() {
        assert_eq!(shortened("a\nb"), "a\\nb");
        assert_eq!(shortened("it's"), "it's");
        assert_eq!(shortened(&"x".repeat(100)).chars().count(), 61);
    }
}
