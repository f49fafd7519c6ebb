use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow::array::{Array as _, ArrayRef, AsArray as _, LargeStringArray, RecordBatch, StringArray, UInt64Array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, SchemaRef, UInt64Type};
use arrow::error::ArrowError;
use serde::{Deserialize, Serialize};

/// The most that cursors may take, keys and values together. They are stored whole with each sync.
const BYTES_MAX: usize = 16 << 20;

/// The rows of a state table.
///
/// Stored as JSON: `{"key": {"value": "...", "version": 3}, ...}`.
#[derive(Debug, Default)]
pub(crate) struct Cursors(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    rows: BTreeMap<String, Cursor>,
    has_changed: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Cursor {
    value: String,
    version: u64,
}

/// Why rows are no cursors.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CursorError {
    #[error("a row of a state table has a key and a value, both text, and may have a version")]
    Shape,
    #[error("cursors of more than {BYTES_MAX} bytes are not kept")]
    TooLarge,
    #[error("the columns cannot be read")]
    Arrow(#[from] ArrowError),
}

impl Cursors {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins with what was stored; what is not ours to read is nothing.
    pub(super) fn replace(&self, stored: &[u8]) {
        *self.state() = State {
            rows: serde_json::from_slice(stored).unwrap_or_default(),
            has_changed: false,
        };
    }

    /// To be stored, if a row has changed.
    pub(super) fn changed(&self) -> Option<Vec<u8>> {
        let has_changed = self.state().has_changed;
        has_changed.then(|| self.stored())
    }

    /// As they are stored.
    pub(super) fn stored(&self) -> Vec<u8> {
        serde_json::to_vec(&self.state().rows).unwrap_or_default()
    }

    /// Takes rows in. Of one key the greatest version stays; where none is sent, the newest.
    pub(crate) fn put(&self, rows: &RecordBatch) -> Result<(), CursorError> {
        if rows.num_columns() < 2 {
            return Err(CursorError::Shape);
        }
        let text = |at: usize| cast(rows.column(at), &DataType::Utf8);
        let (keys, values) = (text(0)?, text(1)?);
        let (keys, values) = (keys.as_string::<i32>(), values.as_string::<i32>());
        let versions = rows
            .columns()
            .get(2)
            .map(|column| cast(column, &DataType::UInt64))
            .transpose()?;
        let versions = versions.as_ref().map(|column| column.as_primitive::<UInt64Type>());
        let mut state = self.state();
        for row in 0..rows.num_rows() {
            if keys.is_null(row) {
                return Err(CursorError::Shape);
            }
            let key = keys.value(row).to_owned();
            let before = state.rows.get(&key);
            let last = before.map_or(0, |cursor| cursor.version);
            let sent = versions
                .filter(|versions| versions.is_valid(row))
                .map(|versions| versions.value(row));
            let value = if values.is_null(row) { "" } else { values.value(row) };
            let is_old = sent.is_some_and(|version| before.is_some() && version < last);
            let is_same =
                sent.is_none_or(|version| version == last) && before.is_some_and(|cursor| cursor.value == value);
            if is_old || is_same {
                continue;
            }
            let cursor = Cursor {
                value: value.to_owned(),
                version: sent.unwrap_or(last + 1),
            };
            state.rows.insert(key, cursor);
            state.has_changed = true;
        }
        let bytes: usize = state
            .rows
            .iter()
            .map(|(key, cursor)| key.len() + cursor.value.len())
            .sum();
        match bytes > BYTES_MAX {
            true => Err(CursorError::TooLarge),
            false => Ok(()),
        }
    }

    /// All rows, in the columns of `schema`: two or three, by their place.
    pub(super) fn batch(&self, schema: &SchemaRef) -> Result<RecordBatch, CursorError> {
        let state = self.state();
        let text = |of: &mut dyn Iterator<Item = &str>, data_type: &DataType| -> Result<ArrayRef, CursorError> {
            match data_type {
                DataType::Utf8 => Ok(Arc::new(StringArray::from_iter_values(of))),
                DataType::LargeUtf8 => Ok(Arc::new(LargeStringArray::from_iter_values(of))),
                _ => Err(CursorError::Shape),
            }
        };
        let columns = schema
            .fields()
            .iter()
            .enumerate()
            .map(|(at, field)| match (at, field.data_type()) {
                (0, data_type) => text(&mut state.rows.keys().map(String::as_str), data_type),
                (1, data_type) => text(&mut state.rows.values().map(|cursor| cursor.value.as_str()), data_type),
                (2, DataType::UInt64) => {
                    let versions = state.rows.values().map(|cursor| cursor.version);
                    Ok(Arc::new(UInt64Array::from_iter_values(versions)) as ArrayRef)
                }
                _ => Err(CursorError::Shape),
            });
        let columns = columns.collect::<Result<Vec<_>, _>>()?;
        match columns.len() {
            0 | 1 => Err(CursorError::Shape),
            _ => Ok(RecordBatch::try_new(Arc::clone(schema), columns)?),
        }
    }
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::{Field, Schema};

    use super::*;

    fn rows(of: &[(&str, &str, Option<u64>)]) -> RecordBatch {
        let text = |column: fn(&(&str, &str, Option<u64>)) -> String| -> ArrayRef {
            Arc::new(StringArray::from_iter_values(of.iter().map(column)))
        };
        let mut columns = vec![
            ("key", text(|row| row.0.to_owned())),
            ("value", text(|row| row.1.to_owned())),
        ];
        if of[0].2.is_some() {
            let versions: ArrayRef = Arc::new(UInt64Array::from_iter(of.iter().map(|row| row.2)));
            columns.push(("version", versions));
        }
        RecordBatch::try_from_iter(columns).expect("a batch")
    }

    fn told(cursors: &Cursors) -> String {
        String::from_utf8(cursors.changed().unwrap_or_default()).expect("JSON is text")
    }

    #[test]
    fn rows_of_both_shapes_are_kept_by_key() {
        let cursors = Cursors::default();
        cursors
            .put(&rows(&[("a", "1", None), ("b", "2", None)]))
            .expect("two columns");
        cursors.put(&rows(&[("a", "3", None)])).expect("two columns");
        assert_eq!(
            told(&cursors),
            r#"{"a":{"value":"3","version":2},"b":{"value":"2","version":1}}"#
        );
        cursors
            .put(&rows(&[("a", "old", Some(1)), ("b", "new", Some(7))]))
            .expect("three columns");
        assert_eq!(
            told(&cursors),
            r#"{"a":{"value":"3","version":2},"b":{"value":"new","version":7}}"#
        );
    }

    #[test]
    fn value_that_is_there_is_no_change() {
        let cursors = Cursors::default();
        cursors.replace(br#"{"a":{"value":"3","version":2}}"#);
        cursors.put(&rows(&[("a", "3", None)])).expect("two columns");
        cursors.put(&rows(&[("a", "3", Some(2))])).expect("three columns");
        assert_eq!(cursors.changed(), None);
        cursors.put(&rows(&[("a", "4", None)])).expect("two columns");
        assert_eq!(told(&cursors), r#"{"a":{"value":"4","version":3}}"#);
    }

    #[test]
    fn what_was_stored_is_read_and_is_no_change() {
        let cursors = Cursors::default();
        cursors.replace(br#"{"a":{"value":"3","version":2}}"#);
        assert_eq!(cursors.changed(), None);
        let field = |name, data_type| Field::new(name, data_type, true);
        let two = Schema::new(vec![field("key", DataType::Utf8), field("value", DataType::Utf8)]);
        let batch = cursors.batch(&Arc::new(two)).expect("two columns");
        assert_eq!(batch.column(1).as_string::<i32>().value(0), "3");
        let wrong = Schema::new(vec![field("key", DataType::Utf8), field("value", DataType::Int64)]);
        assert!(matches!(cursors.batch(&Arc::new(wrong)), Err(CursorError::Shape)));
    }
}
