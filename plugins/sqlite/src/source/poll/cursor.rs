//! The column that grows, as a log's axis.

use std::sync::Arc;

use api::PageKey;
use model::{Move, Order, Partition, Position, Timestamp};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, Row};

use crate::error::{Error, Result, sql};
use crate::source::columns::parse_timestamp;
use crate::source::key::{Key, KeyValue};
use crate::source::shape::StreamShape;
use crate::sql_text::quoted;

/// One stream and how far its cursor is.
pub(super) struct Polled {
    pub(super) shape: Arc<StreamShape>,
    /// Index of the cursor among the table's columns.
    pub(super) cursor: usize,
    pub(super) partition: Partition,
    /// Rows up to here are out; `None` before the stream was begun for anybody.
    pub(super) at: Option<Cursor>,
    /// Whether this process has said where its log stands. What is said first begins nowhere, so that destinations which
    /// have never seen the log begin there too.
    pub(super) is_announced: bool,
}

impl Polled {
    /// The log's move to `to`, from where it was said to stand.
    pub(super) fn move_to(&mut self, to: &Cursor) -> Move {
        let from = self.at.as_ref().filter(|_| self.is_announced).map(|at| at.order);
        self.is_announced = true;
        Move {
            partition: self.partition.clone(),
            from,
            to: to.position(),
        }
    }
}

/// A value of a cursor column: as SQLite has it, and as an order.
#[derive(Debug, Clone)]
pub(super) struct Cursor {
    pub(super) value: KeyValue,
    pub(super) order: Order,
}

impl Cursor {
    pub(super) fn of(value: ValueRef<'_>) -> Option<Self> {
        let axis = match value {
            ValueRef::Integer(v) => v,
            ValueRef::Text(text) => parse_timestamp(std::str::from_utf8(text).ok()?)?,
            _ => return None,
        };
        // Shifted so that negative values come before positive ones.
        let order = Order::new(0, (axis as u64) ^ (1 << 63), 0);
        Some(Cursor {
            value: KeyValue::of(value)?,
            order,
        })
    }

    /// The time that it names, if it is one.
    pub(super) fn time(&self) -> Option<Timestamp> {
        match &self.value {
            KeyValue::Text(text) => parse_timestamp(std::str::from_utf8(text).ok()?).map(Timestamp),
            _ => None,
        }
    }

    fn position(&self) -> Position {
        Position::with_token(self.order, Key(vec![self.value.clone()]).encode())
    }

    pub(super) fn of_position(partition: &Partition, position: &Position) -> Result<Self> {
        let value = Key::decode(&position.token).and_then(|Key(values)| values.into_iter().next());
        value
            .map(|value| Cursor {
                value,
                order: position.order,
            })
            .ok_or_else(|| Error::BadToken {
                partition: partition.to_string(),
                why: "its token holds no cursor".to_owned(),
            })
    }
}

pub(super) fn cursor_of(row: &Row<'_>, stream: &Polled) -> Result<Cursor> {
    let value = row.get_ref(stream.cursor).map_err(sql("read a cursor"))?;
    Cursor::of(value).ok_or_else(|| not_a_cursor(stream, NEITHER))
}

const NEITHER: &str = "a value that is neither an INTEGER nor a time as text";

pub(super) fn not_a_cursor(stream: &Polled, what: &str) -> Error {
    Error::NoCursor {
        stream: stream.shape.stream().clone(),
        why: format!(
            "its cursor column `{}` holds {what}",
            stream.shape.table.columns[stream.cursor].name
        ),
    }
}

/// The largest cursor of a table.
pub(super) fn newest(conn: &Connection, stream: &Polled) -> Result<Option<Cursor>> {
    let cursor = quoted(&stream.shape.table.columns[stream.cursor].name);
    let text = format!(
        "SELECT {cursor} FROM main.{} ORDER BY {cursor} DESC LIMIT 1",
        stream.shape.table.quoted_name()
    );
    let mut statement = conn.prepare(&text).map_err(sql("look for the newest row"))?;
    let mut rows = statement.query([]).map_err(sql("look for the newest row"))?;
    match rows.next().map_err(sql("look for the newest row"))? {
        Some(row) => match row.get_ref(0).map_err(sql("look for the newest row"))? {
            ValueRef::Null => Ok(None),
            value => Cursor::of(value).map(Some).ok_or_else(|| not_a_cursor(stream, NEITHER)),
        },
        None => Ok(None),
    }
}
