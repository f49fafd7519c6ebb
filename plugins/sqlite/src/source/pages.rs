//! Reading existing rows inside one view: a page in key order, or the whole of a stream that has no such order.

use std::sync::Arc;

use arrow::array::RecordBatch;
use rusqlite::{Connection, ToSql};

use super::key::{Key, KeyValue};
use super::position::Bound;
use super::reads::NextPage;
use super::rows::RowsBuilder;
use super::shape::StreamShape;
use crate::error::{Error, Result, sql};
use crate::sql_text::quoted;

/// A page as it was read.
pub(crate) struct PageRows {
    pub(crate) rows: RecordBatch,
    pub(crate) end: Bound,
}

/// How large a page may become. What must be reached for a destination's sake is reached all the same.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PageSize {
    pub(crate) rows_max: usize,
    pub(crate) bytes_max: usize,
}

/// Name of the attached database that holds copies of streams that are read in one window.
pub(crate) const SCRATCH: &str = "highwater_scratch";
/// The same for a connection that may only read: SQLite's own temporary database.
pub(crate) const TEMPORARY: &str = "temp";

/// Reads the next page of a stream in key order, as the open view shows it.
pub(crate) fn read_page(
    conn: &Connection,
    shape: &Arc<StreamShape>,
    next: &NextPage,
    size: PageSize,
) -> Result<PageRows> {
    let order = shape.order.as_deref().unwrap_or_default();
    let names: Vec<String> = order
        .iter()
        .map(|&column| quoted(&shape.table.columns[column].name))
        .collect();
    let tuple = |items: &[String]| match items {
        [one] => one.clone(),
        many => format!("({})", many.join(", ")),
    };
    let mut conditions = Vec::new();
    let mut parameters: Vec<&dyn ToSql> = Vec::new();
    for (bound, comparison) in [(&next.after, ">"), (&next.upto, "<=")] {
        if let Some(Bound::Key(Key(values))) = bound {
            let places: Vec<String> = (0..values.len())
                .map(|i| format!("?{}", parameters.len() + i + 1))
                .collect();
            conditions.push(format!("{} {comparison} {}", tuple(&names), tuple(&places)));
            parameters.extend(values.iter().map(|value| value as &dyn ToSql));
        }
    }
    let condition = if conditions.is_empty() {
        String::new()
    } else {
        format!(" WHERE {}", conditions.join(" AND "))
    };
    let text = format!(
        "SELECT {} FROM main.{}{condition} ORDER BY {}",
        columns(shape, order),
        shape.table.quoted_name(),
        names.join(", ")
    );
    let mut builder = RowsBuilder::new(shape);
    let mut statement = conn.prepare_cached(&text).map_err(sql("read existing rows"))?;
    let mut rows = statement
        .query(parameters.as_slice())
        .map_err(sql("read existing rows"))?;
    let mut bytes = 0;
    let mut last = None;
    loop {
        let Some(row) = rows.next().map_err(sql("read existing rows"))? else {
            // The end of the stream, or of what a destination holds already.
            let end = next.upto.clone().unwrap_or(Bound::End);
            return Ok(PageRows {
                rows: builder.finish()?,
                end,
            });
        };
        if !next.must_reach && (builder.len() >= size.rows_max || bytes >= size.bytes_max) {
            break;
        }
        bytes += builder.push(row, 0)?;
        if !next.must_reach && (builder.len() >= size.rows_max || bytes >= size.bytes_max) {
            last = Some(key_of(row, order, shape)?);
        }
    }
    match last {
        Some(key) => Ok(PageRows {
            rows: builder.finish()?,
            end: Bound::Key(key),
        }),
        None => Err(Error::BadToken {
            partition: shape.stream().to_string(),
            why: "a page without rows".to_owned(),
        }),
    }
}

/// Reads a whole stream if it fits into `bytes_max`; `None` if it does not.
pub(crate) fn read_whole(conn: &Connection, shape: &Arc<StreamShape>, bytes_max: usize) -> Result<Option<RecordBatch>> {
    let text = format!("SELECT {} FROM main.{}", columns(shape, &[]), shape.table.quoted_name());
    let mut builder = RowsBuilder::new(shape);
    let mut statement = conn.prepare_cached(&text).map_err(sql("read existing rows"))?;
    let mut rows = statement.query([]).map_err(sql("read existing rows"))?;
    let mut bytes = 0;
    while let Some(row) = rows.next().map_err(sql("read existing rows"))? {
        bytes += builder.push(row, 0)?;
        if bytes > bytes_max {
            return Ok(None);
        }
    }
    builder.finish().map(Some)
}

/// Copies a whole stream, as the open view shows it, into the scratch database: at about a microsecond a row, so that
/// the view need not be held while destinations take the rows.
pub(crate) fn copy_whole(conn: &Connection, scratch: &str, shape: &StreamShape) -> Result<()> {
    let untyped: Vec<String> = (0..shape.table.columns.len()).map(|i| format!("c{i}")).collect();
    let run = |text: String| {
        conn.execute(&text, [])
            .map_err(sql("copy a stream into the scratch directory"))
    };
    run(format!("DROP TABLE IF EXISTS {scratch}.copy"))?;
    run(format!("CREATE TABLE {scratch}.copy({})", untyped.join(", ")))?;
    run(format!(
        "INSERT INTO {scratch}.copy SELECT {} FROM main.{}",
        columns(shape, &[]),
        shape.table.quoted_name()
    ))?;
    Ok(())
}

/// The next rows of a copy after row `after`: the rows, the last one's number, and whether that was all.
pub(crate) fn read_copy(
    conn: &Connection,
    scratch: &str,
    shape: &Arc<StreamShape>,
    after: i64,
    size: PageSize,
) -> Result<(RecordBatch, i64, bool)> {
    let text = format!("SELECT *, rowid FROM {scratch}.copy WHERE rowid > ?1 ORDER BY rowid");
    let mut builder = RowsBuilder::new(shape);
    let mut statement = conn.prepare(&text).map_err(sql("read a copied stream"))?;
    let mut rows = statement.query([after]).map_err(sql("read a copied stream"))?;
    let (mut bytes, mut last) = (0, after);
    while let Some(row) = rows.next().map_err(sql("read a copied stream"))? {
        if builder.len() >= size.rows_max || bytes >= size.bytes_max {
            return Ok((builder.finish()?, last, false));
        }
        bytes += builder.push(row, 0)?;
        last = row
            .get(shape.table.columns.len())
            .map_err(sql("read a copied stream"))?;
    }
    Ok((builder.finish()?, last, true))
}

/// Forgets the copy.
pub(crate) fn drop_copy(conn: &Connection, scratch: &str) -> Result<()> {
    conn.execute(&format!("DROP TABLE IF EXISTS {scratch}.copy"), [])
        .map_err(sql("remove a copied stream"))?;
    Ok(())
}

/// About how many rows a stream has; `None` if counting them would take long.
pub(crate) fn estimate(conn: &Connection, shape: &StreamShape) -> Result<Option<u64>> {
    const COUNTED_MAX: i64 = 2_000_000;
    let text = format!(
        "SELECT count(*) FROM (SELECT 1 FROM main.{} LIMIT {})",
        shape.table.quoted_name(),
        COUNTED_MAX + 1
    );
    let count: i64 = conn
        .query_row(&text, [], |row| row.get(0))
        .map_err(sql("count the rows of a table"))?;
    Ok(if count > COUNTED_MAX {
        None
    } else {
        u64::try_from(count).ok()
    })
}

/// All columns of the table in their order, so that indices are the table's; those that nobody needs as NULL.
pub(crate) fn columns(shape: &StreamShape, order: &[usize]) -> String {
    let is_needed = |column: usize| order.contains(&column) || shape.columns.iter().any(|of| of.of_table == column);
    (0..shape.table.columns.len())
        .map(|column| {
            if is_needed(column) {
                quoted(&shape.table.columns[column].name)
            } else {
                "NULL".to_owned()
            }
        })
        .collect::<Vec<_>>()
        .join(", ")
}

fn key_of(row: &rusqlite::Row<'_>, order: &[usize], shape: &StreamShape) -> Result<Key> {
    let mut values = Vec::with_capacity(order.len());
    for &column in order {
        let value = row.get_ref(column).map_err(sql("read a key"))?;
        values.push(KeyValue::of(value).ok_or_else(|| Error::NullInKey {
            stream: shape.stream().clone(),
            column: shape.table.columns[column].name.clone(),
        })?);
    }
    Ok(Key(values))
}
