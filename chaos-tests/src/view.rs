//! The history as a destination should see it: some tables, some columns, some rows.

use std::collections::BTreeMap;

use crate::shop::{Key, Table};
use crate::state::Change;
use crate::value::{Row, Value};

/// Which rows of a table pass.
pub type Test = fn(&[Value]) -> bool;

/// How a value looks at a source that cannot hold it as the history has it.
pub type Cell = fn(&Value) -> Value;

/// What `select` and `filter` leave of one table.
#[derive(Clone)]
pub struct TableView {
    table: Table,
    name: String,
    columns: Vec<(usize, String)>,
    passes: Option<Test>,
    cell: Option<Cell>,
}

/// What they leave of the source.
#[derive(Clone)]
pub struct View {
    tables: BTreeMap<Table, TableView>,
}

impl View {
    /// Everything, as it is.
    pub fn whole() -> Self {
        View::of_tables(Table::ALL)
    }

    /// Some tables, as they are.
    pub fn of_tables(tables: impl IntoIterator<Item = Table>) -> Self {
        let whole = |table: Table| TableView {
            table,
            name: table.name().to_owned(),
            cell: None,
            columns: table
                .definition()
                .columns
                .iter()
                .map(|name| (*name).to_owned())
                .enumerate()
                .collect(),
            passes: None,
        };
        View {
            tables: tables.into_iter().map(|table| (table, whole(table))).collect(),
        }
    }

    /// Without some columns of a table.
    pub fn dropping(mut self, table: Table, columns: &[&str]) -> Self {
        if let Some(view) = self.tables.get_mut(&table) {
            view.columns.retain(|(_, name)| !columns.contains(&name.as_str()));
        }
        self
    }

    /// With another name for a column.
    pub fn renaming(mut self, table: Table, from: &str, to: &str) -> Self {
        let columns = self
            .tables
            .get_mut(&table)
            .into_iter()
            .flat_map(|view| &mut view.columns);
        for (_, name) in columns.filter(|(_, name)| name == from) {
            *name = to.to_owned();
        }
        self
    }

    /// Only rows that pass, besides any earlier test on another table.
    pub fn only(mut self, table: Table, passes: Test) -> Self {
        if let Some(view) = self.tables.get_mut(&table) {
            debug_assert!(view.passes.is_none(), "one test for each table");
            view.passes = Some(passes);
        }
        self
    }

    /// With every table under another name at the destination: `prefix` and its own.
    pub fn prefixed(mut self, prefix: &str) -> Self {
        for view in self.tables.values_mut() {
            view.name.insert_str(0, prefix);
        }
        self
    }

    /// With every value as `cell` makes it.
    pub fn rendering(mut self, cell: Cell) -> Self {
        for view in self.tables.values_mut() {
            view.cell = Some(cell);
        }
        self
    }

    /// The view of one table; `None` if it is not replicated.
    pub fn of(&self, table: Table) -> Option<&TableView> {
        self.tables.get(&table)
    }

    /// The tables that are replicated.
    pub fn tables(&self) -> impl Iterator<Item = &TableView> {
        self.tables.values()
    }
}

impl TableView {
    /// The table at the source.
    pub fn table(&self) -> Table {
        self.table
    }

    /// Its name at the destination.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The columns' names at the destination.
    pub fn columns(&self) -> impl Iterator<Item = &str> {
        self.columns.iter().map(|(_, name)| name.as_str())
    }

    /// Where the columns of the row's identity stand at the destination.
    pub fn identity(&self) -> Vec<usize> {
        let at = |source: &usize| self.columns.iter().position(|(column, _)| column == source);
        self.table.definition().identity.iter().filter_map(at).collect()
    }

    /// The identity of a row at the destination.
    pub fn key(&self, row: &Row) -> Key {
        self.identity().into_iter().map(|i| row[i].clone()).collect()
    }

    /// What the destination should have of a row.
    pub fn row(&self, row: &Row) -> Option<Row> {
        let is_shown = self.passes.is_none_or(|passes| passes(row));
        is_shown.then(|| self.columns.iter().map(|(i, _)| self.value(&row[*i])).collect())
    }

    fn value(&self, value: &Value) -> Value {
        self.cell.map_or_else(|| value.clone(), |cell| cell(value))
    }

    /// What it should have of a change; `None` if the change touches nothing of what it has.
    pub fn change(&self, change: &Change) -> Option<(Option<Row>, Option<Row>)> {
        let before = change.before.as_ref().and_then(|row| self.row(row));
        let after = change.after.as_ref().and_then(|row| self.row(row));
        (before.is_some() || after.is_some()).then_some((before, after))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn update_that_stops_passing_is_a_delete() {
        let view = View::whole()
            .dropping(Table::Account, &["rev"])
            .only(Table::Account, |row| row[1] >= Value::Int(0));
        let row = |balance| -> Row { [Value::Int(1), Value::Int(balance), Value::Int(9)].into() };
        let change = |before, after| Change {
            table: Table::Account,
            before: Some(row(before)),
            after: Some(row(after)),
        };
        let view = view.of(Table::Account).unwrap();
        let seen: Row = [Value::Int(1), Value::Int(5)].into();
        assert_eq!(view.change(&change(5, -5)), Some((Some(seen.clone()), None)));
        assert_eq!(view.change(&change(-5, 5)), Some((None, Some(seen))));
        assert_eq!(view.change(&change(-5, -6)), None);
    }
}
