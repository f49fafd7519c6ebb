//! Reading tables back as of the last commit, for `verify`.
//!
//! Both sides are compared as what SQLite stores: a row that was read is spelled as it lies there, and a row of the source as
//! it would lie there. So a value that was stored in another form than this connector writes differs, too.

use std::path::Path;
use std::sync::{Arc, Mutex};

use api::{DestinationOptions, Stored, StoredView, VIEW_BATCH_BYTES, not_comparable};
use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions, StringBuilder};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use async_trait::async_trait;
use model::StreamSchema;
use rusqlite::Connection;
use rusqlite::types::ValueRef;

use super::catalogue::Found;
use super::cells::{Cells, NAN, Plain};
use super::error::{Error, Result, sql};
use super::form::{Class, Form};
use super::target::DELETED;
use super::value_text::{put, put_hex};
use crate::connection::{self, Access};
use crate::row_thread::{Put, RowThread};
use crate::sql_text::quoted;

/// A read transaction on a connection of its own.
pub(super) struct ReadBack {
    conn: Arc<Mutex<Connection>>,
    options: DestinationOptions,
    begun: Option<Begun>,
}

/// The stream that is read.
struct Begun {
    /// Indices in the stream's schema of the columns that are compared, and what lies in each.
    columns: Vec<(usize, Class)>,
    stream: Arc<StreamSchema>,
    /// Of the batches: text columns.
    spelled: SchemaRef,
    reading: RowThread,
}

impl ReadBack {
    /// Opens the view: it shows what is committed now. Blocks.
    pub(super) fn open(path: &Path, options: DestinationOptions) -> Result<Self> {
        let conn = connection::open(&super::session::resolve(path), Access::Read).map_err(Error::Open)?;
        // A transaction begins to see with its first statement that reads.
        conn.execute_batch("BEGIN; SELECT count(*) FROM sqlite_schema")
            .map_err(sql("open a view of what was written"))?;
        Ok(ReadBack {
            conn: Arc::new(Mutex::new(conn)),
            options,
            begun: None,
        })
    }
}

/// The table as it is found, on the view's connection.
async fn find(conn: &Arc<Mutex<Connection>>, table: String) -> Result<Option<Found>> {
    let conn = Arc::clone(conn);
    let look = move || {
        let conn = conn.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        Found::read(&conn, &table).map_err(sql(format!("look at table `{table}`")))
    };
    // Only a panic ends it without an answer.
    match tokio::task::spawn_blocking(look).await {
        Ok(found) => found,
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    }
}

#[async_trait]
impl StoredView for ReadBack {
    async fn begin(&mut self, schema: &Arc<StreamSchema>) -> api::Result<Stored> {
        self.begun = None;
        if let Some(why) = not_comparable(self.options.write_mode(schema.has_key()), self.options.deletes) {
            return Ok(Stored::Not(why));
        }
        let table = schema.stream().flat_name();
        let found = find(&self.conn, table.clone()).await?.ok_or_else(|| Error::TableGone {
            stream: schema.stream().clone(),
            table,
        })?;
        let mut columns = Vec::new();
        for (index, field) in schema.arrow().fields().iter().enumerate() {
            if let (Some(_), Some(form)) = (found.column(field.name()), Form::of(field)) {
                columns.push((index, form.class()));
            }
        }
        if let Some(lacking) = schema
            .key()
            .iter()
            .find(|key| !columns.iter().any(|(at, _)| at == *key))
        {
            let name = schema.arrow().field(*lacking).name();
            return Ok(Stored::Not(format!(
                "its table `{}` has no key column `{name}`",
                found.name
            )));
        }
        let indices: Vec<usize> = columns.iter().map(|(index, _)| *index).collect();
        let names = indices.iter().map(|&index| schema.arrow().field(index).name());
        let spelled = names.clone().map(|name| Field::new(name, DataType::Utf8, true));
        let spelled = Arc::new(Schema::new(spelled.collect::<Vec<_>>()));
        let listed: Vec<String> = names.map(|name| quoted(name)).collect();
        let alive = match found.column(DELETED) {
            Some(_) => format!(" WHERE {} = 0", quoted(DELETED)),
            None => String::new(),
        };
        let text = format!("SELECT {} FROM {}{alive}", listed.join(", "), quoted(&found.name));
        let classes: Vec<Class> = columns.iter().map(|(_, class)| *class).collect();
        let shape = Arc::clone(&spelled);
        self.begun = Some(Begun {
            columns,
            stream: Arc::clone(schema),
            spelled,
            reading: RowThread::start(&self.conn, move |conn, put| {
                read(conn, &text, &classes, &shape, put).map_err(Into::into)
            }),
        });
        Ok(Stored::Comparable(indices))
    }

    async fn next(&mut self) -> api::Result<Option<RecordBatch>> {
        match &mut self.begun {
            Some(begun) => begun.reading.next().await,
            None => Ok(None),
        }
    }

    fn as_stored(&self, rows: &RecordBatch) -> api::Result<RecordBatch> {
        let Some(begun) = &self.begun else {
            return Ok(rows.slice(0, 0));
        };
        let mut scratch = String::new();
        let mut spelling = String::new();
        let mut arrays: Vec<ArrayRef> = Vec::with_capacity(begun.columns.len());
        for (index, class) in &begun.columns {
            let field = begun.stream.arrow().field(*index);
            let mut column = StringBuilder::new();
            if let Some(cells) = Cells::of(field, rows.column(*index).as_ref()) {
                for row in 0..rows.num_rows() {
                    let value = match cells.plain(row, &mut scratch) {
                        Plain::Null => ValueRef::Null,
                        Plain::Integer(value) => ValueRef::Integer(value),
                        Plain::Real(value) => ValueRef::Real(value),
                        Plain::Text(text) => ValueRef::Text(text.as_bytes()),
                        Plain::Blob(bytes) => ValueRef::Blob(bytes),
                    };
                    column.append_option(spell(value, *class, &mut spelling));
                }
            }
            arrays.push(Arc::new(column.finish()));
        }
        Ok(batch(&begun.spelled, arrays, rows.num_rows())?)
    }
}

fn batch(schema: &SchemaRef, arrays: Vec<ArrayRef>, rows: usize) -> Result<RecordBatch> {
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(Arc::clone(schema), arrays, &options).map_err(Error::Spell)
}

fn read(conn: &Connection, text: &str, classes: &[Class], schema: &SchemaRef, put: &mut Put<'_>) -> Result<()> {
    let doing = || sql("read what was written");
    let mut statement = conn.prepare(text).map_err(doing())?;
    let mut rows = statement.query([]).map_err(doing())?;
    let new = || -> Vec<StringBuilder> { classes.iter().map(|_| StringBuilder::new()).collect() };
    let (mut columns, mut count, mut bytes) = (new(), 0, 0);
    let finish = |columns: Vec<StringBuilder>, count| {
        let arrays = columns
            .into_iter()
            .map(|mut column| Arc::new(column.finish()) as ArrayRef);
        batch(schema, arrays.collect(), count)
    };
    let mut spelling = String::new();
    while let Some(row) = rows.next().map_err(doing())? {
        for (at, class) in classes.iter().enumerate() {
            let value = row.get_ref(at).map_err(doing())?;
            let spelled = spell(value, *class, &mut spelling);
            bytes += spelled.map_or(4, |text| text.len() + 4);
            columns[at].append_option(spelled);
        }
        count += 1;
        if bytes >= VIEW_BATCH_BYTES {
            if !put(finish(std::mem::replace(&mut columns, new()), count)?) {
                return Ok(());
            }
            (count, bytes) = (0, 0);
        }
    }
    put(finish(columns, count)?);
    Ok(())
}

/// What a value of another class than its column's form has begins with: no text that this connector writes does.
const MISPLACED: char = '\u{1}';

/// One text for each value that can lie in a column of this class.
fn spell<'a>(value: ValueRef<'_>, class: Class, out: &'a mut String) -> Option<&'a str> {
    out.clear();
    match (value, class) {
        (ValueRef::Null, _) => return None,
        (ValueRef::Integer(value), Class::Integer) => put!(out, "{value}"),
        // SQLite stores no negative zero.
        (ValueRef::Real(value), Class::Real) => put!(out, "{:?}", if value == 0.0 { 0.0 } else { value }),
        (ValueRef::Text(text), Class::Real) if text == NAN.as_bytes() => out.push_str(NAN),
        (ValueRef::Text(text), Class::Text | Class::OtherText) => match std::str::from_utf8(text) {
            Ok(text) => out.push_str(text),
            Err(_) => put_misplaced(out, "TEXT", text),
        },
        (ValueRef::Blob(bytes), Class::Blob) => put_bytes(out, bytes),
        (ValueRef::Integer(value), _) => put!(out, "{MISPLACED}INTEGER {value}"),
        (ValueRef::Real(value), _) => put!(out, "{MISPLACED}REAL {value:?}"),
        (ValueRef::Text(bytes), _) => put_misplaced(out, "TEXT", bytes),
        (ValueRef::Blob(bytes), _) => put_misplaced(out, "BLOB", bytes),
    }
    Some(out)
}

fn put_misplaced(out: &mut String, class: &str, bytes: &[u8]) {
    put!(out, "{MISPLACED}{class} ");
    put_bytes(out, bytes);
}

fn put_bytes(out: &mut String, bytes: &[u8]) {
    out.push_str("x'");
    bytes.iter().for_each(|&byte| put_hex(out, byte));
    out.push('\'');
}

use std::fmt::Write as _;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn check(value: ValueRef<'_>, class: Class, want: &str) {
        assert_eq!(
            spell(value, class, &mut String::new()),
            Some(want),
            "{value:?} {class:?}"
        );
    }

    #[test]
    fn value_of_another_class_is_never_taken_for_one_that_was_written() {
        check(ValueRef::Integer(5), Class::Integer, "5");
        check(ValueRef::Text(b"5"), Class::Text, "5");
        check(ValueRef::Integer(5), Class::Text, "\u{1}INTEGER 5");
        check(ValueRef::Text(b"5"), Class::Integer, "\u{1}TEXT x'35'");
        check(ValueRef::Real(5.0), Class::Integer, "\u{1}REAL 5.0");
        check(ValueRef::Text(b"\xff"), Class::Text, "\u{1}TEXT x'ff'");
        check(ValueRef::Blob(b"\x00\xff"), Class::Blob, "x'00ff'");
        assert_eq!(spell(ValueRef::Null, Class::Text, &mut String::new()), None);
    }

    #[test]
    fn zero_has_no_sign_and_a_nan_is_its_text() {
        check(ValueRef::Real(-0.0), Class::Real, "0.0");
        check(ValueRef::Real(0.1), Class::Real, "0.1");
        check(ValueRef::Text(b"NaN"), Class::Real, "NaN");
        check(ValueRef::Text(b"NaN"), Class::Text, "NaN");
    }
}
