//! What became of a stream while nobody looked.

use super::table::{Column, Identity, Table};

/// Why a stream has to be read again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RereadReason {
    Recreated,
    Renamed,
    ColumnsChanged,
    AddedWithDefault,
    TriggerNewer,
    UniqueChanged,
    KeyChanged,
}

impl RereadReason {
    /// A clause for the log.
    pub(crate) fn describe(self) -> &'static str {
        match self {
            RereadReason::Recreated => "the table was re-created or its triggers were removed",
            RereadReason::Renamed => "the table was renamed and another took its name",
            RereadReason::ColumnsChanged => "columns were renamed, reordered or changed their type",
            RereadReason::AddedWithDefault => "a column was added that has values in existing rows",
            RereadReason::TriggerNewer => "a trigger was added that fires before ours",
            RereadReason::UniqueChanged => "a unique key was added while rows changed",
            RereadReason::KeyChanged => "the primary key changed",
        }
    }
}

/// What became of one stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    Intact,
    Installed,
    /// The columns changed; nothing was missed.
    Evolved {
        added: Vec<String>,
        dropped: Vec<String>,
        refreshed: usize,
    },
    Reread(RereadReason),
    Gone,
}

/// What is different about a table.
pub(super) enum Shape {
    Same,
    Evolved { added: Vec<String>, dropped: Vec<String> },
    Uniques { only_fewer: bool },
    Other(RereadReason),
}

/// What `now` is compared with `before`, where the triggers' text is unchanged (so nothing was renamed).
pub(super) fn compare(before: &Table, now: &Table) -> Shape {
    if before == now {
        return Shape::Same;
    }
    let same_place = |a: &Table, b: &Table| {
        let place = |t: &Table| -> Vec<(String, String)> {
            t.key
                .iter()
                .map(|k| (t.columns[k.column].name.clone(), k.collation.clone()))
                .collect()
        };
        let is_rowid = |t: &Table| matches!(t.identity, Identity::Rowid { .. });
        place(a) == place(b) && is_rowid(a) == is_rowid(b)
    };
    if !same_place(before, now) {
        return Shape::Other(RereadReason::KeyChanged);
    }
    let names = |t: &Table| -> Vec<(String, String)> {
        t.columns.iter().map(|c| (c.name.clone(), c.declared.clone())).collect()
    };
    if names(before) == names(now) {
        let only_fewer = now.uniques.iter().all(|unique| before.uniques.contains(unique));
        return Shape::Uniques { only_fewer };
    }
    // Columns that stayed keep their order, and new ones come last: all that ALTER TABLE can do.
    let kept: Vec<_> = now.columns.iter().take_while(|c| is_in(before, c)).collect();
    let added = &now.columns[kept.len()..];
    let stayed: Vec<_> = before.columns.iter().filter(|c| is_in(now, c)).collect();
    let in_order = kept.len() == stayed.len() && kept.iter().zip(&stayed).all(|(a, b)| a.name == b.name);
    if !in_order || added.iter().any(|c| is_in(before, c)) {
        return Shape::Other(RereadReason::ColumnsChanged);
    }
    let is_null = |default: &Option<String>| default.as_ref().is_none_or(|text| text.eq_ignore_ascii_case("null"));
    if added.iter().any(|c| c.is_generated || !is_null(&c.default)) {
        return Shape::Other(RereadReason::AddedWithDefault);
    }
    if before.key.is_empty() && !added.is_empty() {
        // Without a key the rows of the gap cannot be found again.
        return Shape::Other(RereadReason::ColumnsChanged);
    }
    Shape::Evolved {
        added: added.iter().map(|c| c.name.clone()).collect(),
        dropped: before
            .columns
            .iter()
            .filter(|c| !is_in(now, c))
            .map(|c| c.name.clone())
            .collect(),
    }
}

fn is_in(table: &Table, column: &Column) -> bool {
    table
        .columns
        .iter()
        .any(|c| c.name == column.name && c.declared == column.declared)
}
