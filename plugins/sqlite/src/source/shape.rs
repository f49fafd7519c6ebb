//! What a captured table looks like as a stream: which columns, of which Arrow types, by which key, in which order.

use std::sync::Arc;

use api::PlannedStream;
use model::{StreamId, StreamSchema};
use rusqlite::Row;
use rusqlite::types::ValueRef;

use super::columns::Misfit;
use crate::capture::table::{Identity, Table};
use crate::column_type::ColumnType;
use crate::error::{Error, Result};

/// One version of a table, as the stream that the plan makes of it.
#[derive(Debug)]
pub(crate) struct StreamShape {
    pub(crate) table: Table,
    pub(crate) schema: Arc<StreamSchema>,
    /// For each column of the stream: which column of the table, read how.
    pub(crate) columns: Vec<ShapeColumn>,
    /// Columns of the table, in key order, by which rows can be read page by page; `None` if SQLite's order of the key
    /// is not one that we can compare in, or there is no key.
    pub(crate) order: Option<Vec<usize>>,
}

/// A column of the stream.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ShapeColumn {
    pub(crate) of_table: usize,
    pub(crate) kind: ColumnType,
    pub(crate) is_key: bool,
}

impl StreamShape {
    /// Applies a plan to a table. Names in the plan that the table does not have are passed over: an older version of the
    /// table may lack them; [`check_plan`] finds those that never were.
    pub(crate) fn new(table: Table, plan: &PlannedStream, is_utf8: bool) -> Result<Self> {
        let id_of = |column: usize| table.columns[column].name.as_str();
        let own_key = || {
            table
                .key
                .iter()
                .map(|key| id_of(key.column).to_owned())
                .collect::<Vec<_>>()
        };
        let key = match &plan.key {
            Some(key)
                if key
                    .iter()
                    .all(|name| table.columns.iter().any(|column| &column.name == name)) =>
            {
                key.clone()
            }
            _ => own_key(),
        };
        let mut columns = Vec::new();
        let mut fields = Vec::new();
        for (of_table, column) in table.columns.iter().enumerate() {
            if plan.exclude.iter().any(|name| name == &column.name) {
                continue;
            }
            let kind = match plan.types.get(&column.name) {
                Some(name) => ColumnType::of_override(name)
                    .ok_or_else(|| bad(plan, &column.name, name, "there is no such type"))?,
                None => ColumnType::of_declared(&column.declared),
            };
            let is_key = key.iter().any(|name| name == &column.name);
            // Only the key is declared without NULL: a column that the user drops is NULL in what is captured until our
            // triggers are made anew, whatever the table says.
            fields.push(kind.field(&column.name, !is_key));
            columns.push(ShapeColumn { of_table, kind, is_key });
        }
        let schema = StreamSchema::new(plan.id.clone(), fields, &key)
            .map_err(|error| bad(plan, key.first().map_or("", String::as_str), "key", &error.to_string()))?;
        let order = order(&table, is_utf8);
        Ok(StreamShape {
            schema: Arc::new(schema),
            columns,
            order,
            table,
        })
    }

    pub(crate) fn stream(&self) -> &StreamId {
        self.schema.stream()
    }

    /// Names the row of a misfit by its key. `first` is where the table's columns begin in `row`.
    pub(crate) fn misfit(
        &self,
        column: &ShapeColumn,
        misfit: &Misfit,
        row: &Row<'_>,
        first: usize,
        is_change: bool,
    ) -> Error {
        let key = self.columns.iter().filter(|column| column.is_key).map(|key| {
            let value = row.get_ref(first + key.of_table).map_or_else(|_| "?".to_owned(), show);
            format!("{} {value}", self.table.columns[key.of_table].name)
        });
        self.misfit_of(column, misfit, key.collect(), is_change)
    }

    /// The same, with the key already written out.
    pub(crate) fn misfit_of(&self, column: &ShapeColumn, misfit: &Misfit, key: Vec<String>, is_change: bool) -> Error {
        let of_table = &self.table.columns[column.of_table];
        let declared = match of_table.declared.as_str() {
            "" => format!("no declared type, read as {}", column.kind.name()),
            declared => format!("declared type `{declared}`, read as {}", column.kind.name()),
        };
        Error::Misfit {
            stream: self.stream().clone(),
            column: of_table.name.clone(),
            key: if key.is_empty() {
                "no key".to_owned()
            } else {
                key.join(", ")
            },
            found: misfit.0.to_owned(),
            declared,
            is_change,
        }
    }

    /// The error for a NULL in a key column.
    pub(crate) fn null_in_key(&self, column: &ShapeColumn) -> Error {
        Error::NullInKey {
            stream: self.stream().clone(),
            column: self.table.columns[column.of_table].name.clone(),
        }
    }
}

/// A key value for a message: keys are how a row is found, so they may be shown, but not at any length.
pub(crate) fn show(value: ValueRef<'_>) -> String {
    const CHARS_MAX: usize = 40;
    match value {
        ValueRef::Null => "NULL".to_owned(),
        ValueRef::Integer(v) => v.to_string(),
        ValueRef::Real(v) => format!("{v:?}"),
        ValueRef::Text(text) => {
            let text = String::from_utf8_lossy(text);
            let short: String = text.chars().take(CHARS_MAX).collect();
            let more = if short.len() < text.len() { "..." } else { "" };
            format!("`{short}{more}`")
        }
        ValueRef::Blob(bytes) => format!("a BLOB of {} bytes", bytes.len()),
    }
}

/// The key columns by which pages can be cut.
///
/// Not possible: a collation other than BINARY (only SQLite knows its order), a database in UTF-16 (BINARY compares its
/// bytes there), and a key whose columns run in different directions (reading in its order needs a sort of the table for
/// each page).
fn order(table: &Table, is_utf8: bool) -> Option<Vec<usize>> {
    let first = table.key.first()?;
    if let Identity::Rowid { alias: Some(alias), .. } = table.identity {
        return Some(vec![alias]);
    }
    let comparable = |key: &crate::capture::table::KeyColumn| {
        key.collation.eq_ignore_ascii_case("BINARY") && key.is_descending == first.is_descending
    };
    (is_utf8 && table.key.iter().all(comparable)).then(|| table.key.iter().map(|key| key.column).collect())
}

/// What the plan says about columns that the table does not have.
pub(crate) fn check_plan(table: &Table, plan: &PlannedStream) -> Result<()> {
    let has = |name: &String| table.columns.iter().any(|column| &column.name == name);
    let missing = "the table has no such column";
    if let Some((column, kind)) = plan.types.iter().find(|(column, _)| !has(column)) {
        return Err(bad(plan, column, kind, missing));
    }
    if let Some(column) = plan.key.iter().flatten().find(|column| !has(column)) {
        return Err(bad(plan, column, "key", missing));
    }
    if let Some(column) = plan.exclude.iter().find(|column| !has(column)) {
        return Err(bad(plan, column, "exclude", missing));
    }
    Ok(())
}

fn bad(plan: &PlannedStream, column: &str, wanted: &str, why: &str) -> Error {
    Error::BadOverride {
        stream: plan.id.clone(),
        column: column.to_owned(),
        wanted: wanted.to_owned(),
        why: why.to_owned(),
    }
}
