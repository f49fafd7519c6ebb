//! What a change of tables would do, told without doing it.
//!
//! This compares what the caller says of old and new tables; the destination's own tables are not looked at. A destination of
//! ours never drops a column or a table to fit a schema, so forced mode does what safe mode does.

use arrow::datatypes::DataType;
use proto::plugin_v3::assess_tables::{Category, ColumnFinding, Request, Response, TableFinding, TablePair};
use proto::{Column, Decoder, Table};
use tonic::Status;

use super::spec::invalid;

const NOT_LOOKED_AT: &str = "the tables that lie at the destination were not looked at";
const REFUSED: &str = "refused with the change named, unless the column there holds the new type as well";

pub(super) fn assess(request: &Request) -> Result<Response, Status> {
    let mut decoder = Decoder::default();
    let mut read = |payload: &bytes::Bytes| -> Result<Option<Table>, Status> {
        if payload.is_empty() {
            return Ok(None);
        }
        let schema = decoder.schema(payload).map_err(invalid)?;
        Table::of_schema(&schema).map(Some).map_err(invalid)
    };
    let mut tables = Vec::with_capacity(request.tables.len());
    for TablePair { old_table, new_table } in &request.tables {
        let finding = match (read(old_table)?, read(new_table)?) {
            (Some(old), Some(new)) => changed(&old, &new),
            (None, Some(new)) => whole(&new.name, Category::AutomaticallyMigratable, "the table is created"),
            (Some(old), None) => whole(&old.name, Category::TableRemoved, "the table and its rows stay"),
            (None, None) => return Err(Status::invalid_argument("a pair without tables")),
        };
        tables.push(finding);
    }
    Ok(Response { tables })
}

fn whole(table: &str, category: Category, what: &str) -> TableFinding {
    TableFinding {
        table_name: table.to_owned(),
        category: category.into(),
        safe_mode_behavior: what.to_owned(),
        forced_mode_behavior: what.to_owned(),
        incomplete_coverage_reason: NOT_LOOKED_AT.to_owned(),
        ..TableFinding::default()
    }
}

fn changed(old: &Table, new: &Table) -> TableFinding {
    let find = |table: &'_ Table, name: &str| table.columns.iter().position(|column| column.field.name() == name);
    let mut columns = Vec::new();
    for column in &new.columns {
        let before = find(old, column.field.name()).map(|at| &old.columns[at]);
        columns.extend(column_change(before, Some(column)));
    }
    for column in &old.columns {
        if find(new, column.field.name()).is_none() {
            columns.extend(column_change(Some(column), None));
        }
    }
    let keys = |table: &Table| -> Vec<String> {
        let keys = table.columns.iter().filter(|column| column.is_key);
        keys.map(|column| column.field.name().clone()).collect()
    };
    let (category, what) = if keys(old) != keys(new) {
        (Category::ManualMigrationRequired, "refused: the key changes".to_owned())
    } else if columns
        .iter()
        .any(|column| column.category() == Category::ManualMigrationRequired)
    {
        (Category::ManualMigrationRequired, REFUSED.to_owned())
    } else if columns.is_empty() {
        (Category::NoChange, "nothing changes".to_owned())
    } else {
        (Category::AutomaticallyMigratable, "the table is altered".to_owned())
    };
    TableFinding {
        columns,
        ..whole(&new.name, category, &what)
    }
}

fn column_change(old: Option<&Column>, new: Option<&Column>) -> Option<ColumnFinding> {
    let data_type =
        |column: Option<&Column>| column.map_or_else(String::new, |column| column.field.data_type().to_string());
    let (category, what) = match (old, new) {
        (Some(old), Some(new)) if is_same(old, new) => return None,
        (Some(old), Some(new)) if widens(old.field.data_type(), new.field.data_type()) => {
            (Category::AutomaticallyMigratable, "the column is widened")
        }
        (Some(_), Some(_)) => (Category::ManualMigrationRequired, REFUSED),
        (None, _) => (
            Category::AutomaticallyMigratable,
            "the column is added; rows that are there have NULL in it",
        ),
        (Some(_), None) => (
            Category::AutomaticallyMigratable,
            "the column stays; new rows have NULL in it",
        ),
    };
    Some(ColumnFinding {
        column_name: new
            .or(old)
            .map_or_else(String::new, |column| column.field.name().clone()),
        category: category.into(),
        old_type: data_type(old),
        new_type: data_type(new),
        safe_mode_behavior: what.to_owned(),
        forced_mode_behavior: what.to_owned(),
        evidence: Vec::new(),
    })
}

/// The same type; extension types are said beside it.
fn is_same(old: &Column, new: &Column) -> bool {
    let extension = |column: &Column| column.field.metadata().get("ARROW:extension:name").cloned();
    old.field.data_type().equals_datatype(new.field.data_type()) && extension(old) == extension(new)
}

/// What every destination of ours widens by itself.
fn widens(old: &DataType, new: &DataType) -> bool {
    use DataType::{Float32, Float64, Int8, Int16, Int32, Int64};
    matches!(
        (old, new),
        (Int8, Int16 | Int32 | Int64) | (Int16, Int32 | Int64) | (Int32, Int64) | (Float32, Float64)
    )
}
