//! Columns as they are stored, and what a changed schema does.
//!
//! | `on_schema_change` | columns added, types widened | columns removed | other types |
//! |---|---|---|---|
//! | (not set) | applied | pause | pause |
//! | `apply` | applied | applied: new files lack them | pause |
//! | `new_version` | a directory of its own | a directory of its own | a directory of its own |
//! | `pause` | pause | pause | pause |
//! | `ignore` | added ones are left out | applied | pause |
//!
//! Files are never rewritten. What is nullable, and what is the key, changes nothing: every column of a file is nullable.

use std::str::FromStr;
use std::sync::Arc;

use api::OnSchemaChange;
use arrow::datatypes::{DataType, Field};
use model::{SchemaId, StreamId, StreamSchema};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// `_highwater/schemas/<id>.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StoredSchema {
    format: u32,
    id: SchemaId,
    stream: StreamId,
    columns: Vec<StoredColumn>,
    /// Names of the key columns, in key order.
    key: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct StoredColumn {
    name: String,
    /// As Arrow prints it.
    #[serde(rename = "type")]
    data_type: String,
    nullable: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    logical_type: Option<String>,
}

impl StoredSchema {
    pub(crate) fn of(schema: &StreamSchema) -> Self {
        let column = |field: &Arc<Field>| StoredColumn {
            name: field.name().clone(),
            data_type: field.data_type().to_string(),
            nullable: field.is_nullable(),
            logical_type: field.metadata().get(model::HIGHWATER_TYPE).cloned(),
        };
        StoredSchema {
            format: 1,
            id: schema.id(),
            stream: schema.stream().clone(),
            columns: schema.arrow().fields().iter().map(column).collect(),
            key: schema.key_names().map(str::to_owned).collect(),
        }
    }

    /// The schema; `None` if a type is unknown to this version.
    pub(crate) fn read_back(&self) -> Option<StreamSchema> {
        let field = |column: &StoredColumn| {
            let field = Field::new(
                &column.name,
                DataType::from_str(&column.data_type).ok()?,
                column.nullable,
            );
            Some(match &column.logical_type {
                Some(logical) => field.with_metadata([(model::HIGHWATER_TYPE.to_owned(), logical.clone())].into()),
                None => field,
            })
        };
        let fields = self.columns.iter().map(field).collect::<Option<Vec<_>>>()?;
        StreamSchema::new(self.stream.clone(), fields, &self.key).ok()
    }
}

/// What to do with rows of a changed schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Write all of their columns, in the same directories.
    Write,
    /// Write these columns of them.
    Keep(Vec<usize>),
    /// Write all, into directories of a new version.
    NewVersion,
}

/// Compares the stored schema with the one that came.
pub(crate) fn judge(old: &StoredSchema, new: &StreamSchema, policy: Option<OnSchemaChange>) -> Result<Verdict> {
    let changes = Changes::between(old, new);
    if changes.is_none() {
        return Ok(Verdict::Write);
    }
    let pause = |changes: Vec<String>, hint| {
        Err(Error::Schema {
            stream: new.stream().clone(),
            changes: changes.join(", "),
            hint,
        })
    };
    const SEPARATE: &str =
        "set `on_schema_change: new_version`, which writes the new shape into a directory of its own";
    match policy {
        Some(OnSchemaChange::NewVersion) => Ok(Verdict::NewVersion),
        Some(OnSchemaChange::Pause) => pause(
            changes.all(),
            "set `on_schema_change: apply`, or `new_version` for a directory of its own",
        ),
        _ if !changes.other.is_empty() => pause(changes.other, SEPARATE),
        None if !changes.removed.is_empty() => pause(
            changes.removed,
            "set `on_schema_change: apply`: new files then lack the column and old ones keep it",
        ),
        Some(OnSchemaChange::Ignore) if !changes.added.is_empty() => {
            let is_known = |name: &str| old.columns.iter().any(|column| column.name == name);
            let fields = new.arrow().fields().iter().enumerate();
            Ok(Verdict::Keep(
                fields
                    .filter(|(_, field)| is_known(field.name()))
                    .map(|(column, _)| column)
                    .collect(),
            ))
        }
        None | Some(OnSchemaChange::Apply | OnSchemaChange::Ignore) => Ok(Verdict::Write),
    }
}

#[derive(Default)]
struct Changes {
    added: Vec<String>,
    widened: Vec<String>,
    removed: Vec<String>,
    other: Vec<String>,
}

impl Changes {
    fn between(old: &StoredSchema, new: &StreamSchema) -> Self {
        let mut changes = Changes::default();
        let fields = new.arrow().fields();
        for field in fields {
            let Some(before) = old.columns.iter().find(|column| column.name == *field.name()) else {
                changes.added.push(format!("column `{}` was added", field.name()));
                continue;
            };
            let now = field.data_type().to_string();
            if before.data_type == now {
                continue;
            }
            let change = format!("column `{}` changed from {} to {now}", field.name(), before.data_type);
            match DataType::from_str(&before.data_type) {
                Ok(before) if widens(&before, field.data_type()) => changes.widened.push(change),
                _ => changes.other.push(change),
            }
        }
        let is_gone = |name: &String| !fields.iter().any(|field| field.name() == name);
        let gone = old.columns.iter().filter(|column| is_gone(&column.name));
        changes.removed = gone.map(|column| format!("column `{}` is gone", column.name)).collect();
        changes
    }

    fn is_none(&self) -> bool {
        [&self.added, &self.widened, &self.removed, &self.other]
            .iter()
            .all(|changes| changes.is_empty())
    }

    fn all(self) -> Vec<String> {
        [self.added, self.widened, self.removed, self.other].concat()
    }
}

/// Whether every value of `old` is one of `new`, and engines read both types in one column.
fn widens(old: &DataType, new: &DataType) -> bool {
    use DataType as T;
    let signed = |t: &DataType| match t {
        T::Int8 => Some(8),
        T::Int16 => Some(16),
        T::Int32 => Some(32),
        T::Int64 => Some(64),
        _ => None,
    };
    let unsigned = |t: &DataType| match t {
        T::UInt8 => Some(8),
        T::UInt16 => Some(16),
        T::UInt32 => Some(32),
        T::UInt64 => Some(64),
        _ => None,
    };
    let decimal = |t: &DataType| match t {
        T::Decimal128(precision, scale) | T::Decimal256(precision, scale) => {
            Some((i16::from(*precision) - i16::from(*scale), *scale))
        }
        _ => None,
    };
    match (old, new) {
        (T::Null, _) => true,
        (T::Float32, T::Float64) | (T::Utf8, T::LargeUtf8) | (T::Binary | T::FixedSizeBinary(_), T::LargeBinary) => {
            true
        }
        (T::FixedSizeBinary(_), T::Binary) => true,
        _ => match (signed(old), signed(new), unsigned(old), unsigned(new)) {
            (Some(old), Some(new), _, _) | (_, _, Some(old), Some(new)) => new > old,
            (_, Some(new), Some(old), _) => new > old,
            _ => match (decimal(old), decimal(new)) {
                (Some((old_digits, old_scale)), Some((new_digits, new_scale))) => {
                    new_digits >= old_digits && new_scale >= old_scale
                }
                _ => false,
            },
        },
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn schema(columns: &[(&str, DataType)]) -> StreamSchema {
        let fields = columns
            .iter()
            .map(|(name, t)| Field::new(*name, t.clone(), true))
            .collect();
        StreamSchema::new(StreamId::new("t"), fields, Vec::<String>::new()).unwrap()
    }

    /// What each policy says to a change.
    fn verdicts(old: &[(&str, DataType)], new: &[(&str, DataType)]) -> Vec<String> {
        let stored = StoredSchema::of(&schema(old));
        let stored: StoredSchema = serde_json::from_str(&serde_json::to_string(&stored).unwrap()).unwrap();
        let policies = [
            None,
            Some(OnSchemaChange::Apply),
            Some(OnSchemaChange::NewVersion),
            Some(OnSchemaChange::Pause),
            Some(OnSchemaChange::Ignore),
        ];
        policies
            .iter()
            .map(|policy| match judge(&stored, &schema(new), *policy) {
                Ok(Verdict::Write) => "write".to_owned(),
                Ok(Verdict::Keep(columns)) => format!("keep {columns:?}"),
                Ok(Verdict::NewVersion) => "new".to_owned(),
                Err(error) => error.to_string().split_once(": ").unwrap().1.to_owned(),
            })
            .collect()
    }

    #[test]
    fn each_policy_has_its_answer() {
        use DataType::{Int32, Int64, Utf8};
        let added = "column `b` was added";
        assert_eq!(
            verdicts(&[("a", Int32)], &[("b", Utf8), ("a", Int32)]),
            ["write", "write", "new", added, "keep [1]"]
        );
        let widened = "column `a` changed from Int32 to Int64";
        assert_eq!(
            verdicts(&[("a", Int32)], &[("a", Int64)]),
            ["write", "write", "new", widened, "write"]
        );
        let gone = "column `b` is gone";
        assert_eq!(
            verdicts(&[("a", Int32), ("b", Utf8)], &[("a", Int32)]),
            [gone, "write", "new", gone, "write"]
        );
        let other = "column `a` changed from Int64 to Utf8";
        assert_eq!(
            verdicts(&[("a", Int64)], &[("a", Utf8)]),
            [other, other, "new", other, other]
        );
        assert_eq!(verdicts(&[("a", Int64)], &[("a", Int64)]), ["write"; 5]);
    }

    #[test]
    fn every_type_of_the_vocabulary_is_read_back() {
        for case in api::conformance::type_cases::all() {
            let schema = case.schema();
            let read_back = StoredSchema::of(&schema).read_back();
            assert_eq!(read_back.map(|s| s.id()), Some(schema.id()), "{}", case.name);
        }
    }

    #[test]
    fn only_types_that_hold_every_old_value_are_wider() {
        for (old, new, expected) in [
            (DataType::UInt32, DataType::Int64, true),
            (DataType::UInt64, DataType::Int64, false),
            (DataType::Int64, DataType::Int32, false),
            (DataType::Decimal128(10, 2), DataType::Decimal256(60, 4), true),
            (DataType::Decimal128(10, 2), DataType::Decimal128(10, 4), false),
            (DataType::Utf8, DataType::LargeUtf8, true),
            (DataType::Int32, DataType::Float64, false),
        ] {
            assert_eq!(widens(&old, &new), expected, "{old} to {new}");
        }
    }
}
