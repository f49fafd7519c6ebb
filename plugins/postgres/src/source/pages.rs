//! One page of existing rows: where it ends, and the query that reads it.
//!
//! Rows inside a page need no order, so none is asked for: sorting costs the server up to twice the time. A page is cut by
//! its bounds alone; the upper one is found by looking `page_rows` keys ahead in the index. A table that is read in the order
//! in which it lies on disk is cut by numbers of blocks.

use tokio_postgres::Client;
use tokio_postgres::types::{FromSql, Type};

use super::catalogue::Table;
use super::error::{Error, sql};
use super::key::Key;
use super::position::Bound;
use super::reads::NextPage;
use super::shape::{OrderColumn, StreamShape};
use super::window::rows_of;
use crate::identifier::{quote_ident, quote_literal};

/// A value in its binary form, of any type.
struct Raw(Option<Vec<u8>>);

impl<'a> FromSql<'a> for Raw {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Raw(Some(raw.to_vec())))
    }

    fn from_sql_null(_: &Type) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Raw(None))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

/// Finds where the next page ends, in a transaction that sees the window.
pub(crate) async fn end_of_page(
    client: &Client,
    table: &Table,
    order: &[OrderColumn],
    next: &NextPage,
    page_rows: u64,
) -> api::Result<Bound> {
    let upto = || next.upto.clone().unwrap_or(Bound::End);
    if next.must_reach {
        return Ok(upto());
    }
    let (mut keys, mut wanted, mut names) = (Vec::new(), Vec::new(), Vec::new());
    for (i, column) in order.iter().enumerate() {
        let name = format!("t.{}", quote_ident(&column.name));
        keys.push(format!("{name} AS k{i}"));
        // Outside: beside the key, the text would be made for each row that is passed over.
        wanted.push(format!("k{i}, k{i}::text"));
        names.push(name);
    }
    let text = format!(
        "SELECT {} FROM (SELECT {} FROM {} AS t{} ORDER BY {} OFFSET {} LIMIT 1) AS k",
        wanted.join(", "),
        keys.join(", "),
        rows_of(table),
        condition_of_keys(order, next.after.as_ref(), next.upto.as_ref()),
        names.join(", "),
        page_rows.saturating_sub(1),
    );
    let found = client
        .query_opt(&text, &[])
        .await
        .map_err(sql("find where a page of existing rows ends"))?;
    let Some(row) = found else {
        return Ok(upto());
    };
    let mut key = Key {
        values: Vec::new(),
        texts: Vec::new(),
    };
    for (i, column) in order.iter().enumerate() {
        let Raw(value) = row.get(2 * i);
        let value = value.and_then(|value| column.kind.read(&value));
        key.values.push(value.ok_or_else(|| {
            api::Error::from(Error::BadChange {
                stream: format!("{}.{}", table.schema, table.name),
                why: format!("the key column `{}` holds a value that is no key", column.name),
            })
        })?);
        key.texts.push(row.get(2 * i + 1));
    }
    Ok(Bound::Key(key))
}

/// The COPY that reads the rows of which a condition holds; all, if it is empty.
pub(crate) fn copy_statement(shape: &StreamShape, table: &Table, condition: &str) -> String {
    let columns: Vec<String> = shape
        .columns
        .iter()
        .map(|column| column.of_server.read_expression())
        .collect();
    format!(
        "COPY (SELECT {} FROM {}{condition}) TO STDOUT (FORMAT binary)",
        columns.join(", "),
        rows_of(table)
    )
}

/// The rows that lie in the blocks `[from, to)`; of a partitioned table, in those of each partition.
pub(crate) fn condition_of_blocks(from: u64, to: Option<u64>) -> String {
    match to {
        Some(to) => format!(" WHERE ctid >= '({from},0)' AND ctid < '({to},0)'"),
        None if from == 0 => String::new(),
        None => format!(" WHERE ctid >= '({from},0)'"),
    }
}

/// `(after, upto]` of the key.
pub(crate) fn condition_of_keys(order: &[OrderColumn], after: Option<&Bound>, upto: Option<&Bound>) -> String {
    let row = |items: Vec<String>| match items.as_slice() {
        [one] => one.clone(),
        many => format!("({})", many.join(", ")),
    };
    let names = || row(order.iter().map(|column| quote_ident(&column.name)).collect());
    let mut terms = Vec::new();
    for (bound, comparison) in [(after, ">"), (upto, "<=")] {
        if let Some(Bound::Key(key)) = bound {
            let values = order
                .iter()
                .zip(&key.texts)
                .map(|(column, text)| format!("{}::{}", quote_literal(text), column.type_name));
            terms.push(format!("{} {comparison} {}", names(), row(values.collect())));
        }
    }
    if terms.is_empty() {
        String::new()
    } else {
        format!(" WHERE {}", terms.join(" AND "))
    }
}
