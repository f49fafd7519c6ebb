//! Columns that go, come, change their name, or become part of the key.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use arrow::array::{ArrayRef, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, TimeUnit};

use super::place::{Place, by_column};
use super::texts::{Edit, edit_documents};
use crate::error::Error;
use crate::frame::{Column, Frame};

const REMOVE: &str = "remove columns of";

pub(super) fn remove(frame: &mut Frame, places: &[Place], is_strict: bool) -> Result<(), Error> {
    let found = by_column(frame, places, REMOVE, is_strict)?;
    for (&at, paths) in &found {
        if let Some(paths) = paths {
            let column = &mut frame.columns[at];
            column.values = edit_documents(&column.values, paths, &Edit::Remove);
        }
    }
    let whole: Vec<usize> = found
        .iter()
        .filter(|(_, paths)| paths.is_none())
        .map(|(&at, _)| at)
        .collect();
    leave_out(frame, &whole, REMOVE)
}

/// Leaves whole columns out.
pub(super) fn leave_out(frame: &mut Frame, columns: &[usize], what: &'static str) -> Result<(), Error> {
    for &at in columns {
        let name = frame.columns[at].field.name();
        if frame.is_key(name) {
            return Err(Error::KeyLost {
                what,
                stream: frame.stream.clone(),
                column: name.clone(),
            });
        }
    }
    if !columns.is_empty() && columns.len() == frame.columns.len() {
        return Err(Error::NothingLeft {
            what,
            stream: frame.stream.clone(),
        });
    }
    let mut at = 0;
    frame.columns.retain(|_| {
        at += 1;
        !columns.contains(&(at - 1))
    });
    Ok(())
}

pub(super) fn add_text(frame: &mut Frame, name: &str, value: &str) -> Result<(), Error> {
    let values: ArrayRef = Arc::new(StringArray::from_iter_values(frame.rows.iter().map(|_| value)));
    frame.push(Column::made(Field::new(name, DataType::Utf8, false), values))
}

pub(super) fn add_time(frame: &mut Frame, name: &str) -> Result<(), Error> {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_micros() as i64;
    let values = TimestampMicrosecondArray::from_value(now, frame.rows.len()).with_timezone("UTC");
    let data_type = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    frame.push(Column::made(Field::new(name, data_type, true), Arc::new(values)))
}

pub(super) fn rename(frame: &mut Frame, from: &str, to: &str, is_strict: bool) -> Result<(), Error> {
    let Some(at) = frame.position(from) else {
        return match is_strict {
            true => Err(frame.no_column(from, "rename a column of")),
            false => Ok(()),
        };
    };
    if from != to && frame.position(to).is_some() {
        return Err(Error::Taken {
            stream: frame.stream.clone(),
            column: to.to_owned(),
        });
    }
    frame.columns[at].field.set_name(to);
    for key in frame.key.iter_mut().filter(|key| *key == from) {
        to.clone_into(key);
    }
    Ok(())
}

/// A row whose value in the new key was not sent cannot be told apart.
pub(super) fn add_keys(frame: &mut Frame, names: &[String]) -> Result<(), Error> {
    for at in frame.positions(names, "add keys to", true)? {
        let column = &frame.columns[at];
        let name = column.field.name().clone();
        frame.check_available(column, "tell the rows of")?;
        if !frame.is_key(&name) {
            frame.key.push(name);
        }
    }
    Ok(())
}
