//! Rows of one stream above its cursor.

use model::Timestamp;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, ToSql};

use super::cursor::{Cursor, Polled, cursor_of, not_a_cursor};
use crate::error::{Result, sql};
use crate::source::engine::now;
use crate::source::reads::Read;
use crate::source::rows::ChangeBatch;
use crate::sql_text::quoted;

/// Rows of one stream above its cursor.
pub(super) struct Piece {
    pub(super) stream: usize,
    pub(super) rows: ChangeBatch,
    /// The last row's cursor.
    pub(super) end: Cursor,
    pub(super) bytes: usize,
    pub(super) is_all: bool,
}

/// Reads rows above the stream's cursor. Rows that share a cursor stay together, because the next piece begins above it.
pub(super) fn read_piece(
    conn: &Connection,
    i: usize,
    stream: &Polled,
    reads: &[Read],
    bytes_max: usize,
) -> Result<Option<Piece>> {
    let Some(at) = &stream.at else {
        return Ok(None);
    };
    let shape = &stream.shape;
    let order = shape.order.as_deref().unwrap_or_default();
    let of_stream: Vec<&Read> = reads.iter().filter(|read| &read.stream == shape.stream()).collect();
    let columns: Vec<String> = shape.table.columns.iter().map(|column| quoted(&column.name)).collect();
    let cursor = &columns[stream.cursor];
    let text = format!(
        "SELECT {} FROM main.{} WHERE {cursor} > ?1 ORDER BY {cursor}",
        columns.join(", "),
        shape.table.quoted_name()
    );
    let batch = ChangeBatch::new(shape, of_stream.iter().map(|read| read.run));
    let mut piece = Piece {
        stream: i,
        rows: batch,
        end: at.clone(),
        bytes: 0,
        is_all: true,
    };
    let mut statement = conn.prepare_cached(&text).map_err(sql("poll a table"))?;
    let mut rows = statement
        .query([&at.value as &dyn ToSql])
        .map_err(sql("poll a table"))?;
    let time: Timestamp = now();
    while let Some(row) = rows.next().map_err(sql("poll a table"))? {
        let here = cursor_of(row, stream)?;
        if here.order < piece.end.order {
            return Err(not_a_cursor(
                stream,
                "times that are written in several forms, so that text and time order differ",
            ));
        }
        if piece.bytes >= bytes_max && here.order != piece.end.order {
            piece.is_all = false;
            break;
        }
        piece.bytes += piece.rows.push_image(row, here.order, time)?;
        for (i, read) in of_stream.iter().enumerate() {
            let page = read.page_of(|bound| {
                let values = order
                    .iter()
                    .map(|&column| row.get_ref(column).unwrap_or(ValueRef::Null));
                bound.compare_with(values).is_lt()
            });
            piece.rows.tag(i, page, page);
        }
        piece.end = here;
    }
    Ok(Some(piece))
}
