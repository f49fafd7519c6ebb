//! Types of columns: theirs to our vocabulary and back.
//!
//! | on the wire | ours |
//! |---|---|
//! | `uuid` over fixed-size binary of 16 | `uuid`, the same bytes |
//! | `json`, `inet` over binary | `json`, `inet`, text |
//! | `mac` over binary | `mac`, text |
//! | date64 | date32, marked |
//! | time32 s, ms | time64 us, marked |
//! | fixed-size list | list, marked |
//! | decimal32, decimal64 | decimal128 |
//! | null | null; sent as text without values |
//! | all else | itself |
//!
//! *Marked*: the field says in [`STORAGE`] what it was, so that it goes to another plugin as it came. Extension names are
//! CloudQuery's own, not Arrow's canonical ones, and their metadata must match to the letter: Go refuses anything else.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, TimeUnit};
use model::{HIGHWATER_TYPE, LogicalType, carries};

use crate::guard::shortened;

/// The field metadata key that says which Arrow type a plugin used, where the vocabulary has another one.
pub const STORAGE: &str = "cloudquery.storage";

pub(crate) const EXTENSION_NAME: &str = "ARROW:extension:name";
pub(crate) const EXTENSION_METADATA: &str = "ARROW:extension:metadata";

/// Why a column has no counterpart on the other side.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ColumnError {
    /// Its type is in neither vocabulary.
    #[error("cannot carry column `{column}`: its type {data_type} has no counterpart")]
    Type {
        /// Its name.
        column: String,
        /// Its type.
        data_type: String,
    },
    /// An extension type over the wrong storage.
    #[error("cannot carry column `{column}`: {extension} is stored as {data_type}")]
    Storage {
        /// Its name.
        column: String,
        /// The extension type.
        extension: String,
        /// How it is stored.
        data_type: String,
    },
}

fn no_counterpart(field: &Field) -> ColumnError {
    ColumnError::Type {
        column: shortened(field.name()),
        data_type: shortened(&field.data_type().to_string()),
    }
}

/// CloudQuery's name for a logical type, its storage, and its serialized metadata.
fn extension(logical: LogicalType) -> Option<(&'static str, &'static str, DataType)> {
    match logical {
        LogicalType::Uuid => Some(("uuid", "uuid-serialized", DataType::FixedSizeBinary(16))),
        LogicalType::Json => Some(("json", "json-serialized", DataType::Binary)),
        LogicalType::Inet => Some(("inet", "inet-serialized", DataType::Binary)),
        LogicalType::Mac => Some(("mac", "mac-serialized", DataType::Binary)),
        LogicalType::Numeric | LogicalType::Interval => None,
    }
}

/// The logical type that a field on the wire names. A name that nobody knows is none: storage and metadata are kept.
pub(crate) fn extension_of(wire: &Field) -> Option<LogicalType> {
    let name = wire.metadata().get(EXTENSION_NAME)?;
    LogicalType::ALL
        .into_iter()
        .find(|&logical| extension(logical).is_some_and(|(theirs, ..)| theirs == name))
}

/// What a zone may be: a name of the zone database or an offset. The text goes into SQL and into file formats.
fn is_zone(zone: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '_' | '-' | '+' | ':');
    !zone.is_empty() && zone.len() <= 64 && zone.chars().all(allowed)
}

/// Our field for one of a plugin. Nested fields go the same way.
pub fn column_from_wire(wire: &Field) -> Result<Field, ColumnError> {
    let mut metadata: HashMap<String, String> = wire.metadata().clone();
    // Ours to say, whoever sent it.
    metadata.remove(HIGHWATER_TYPE);
    metadata.remove(STORAGE);
    let logical = extension_of(wire);
    let data_type = match logical {
        Some(logical) => {
            let (name, _, storage) = extension(logical).unwrap_or(("", "", DataType::Null));
            if *wire.data_type() != storage {
                return Err(ColumnError::Storage {
                    column: shortened(wire.name()),
                    extension: name.to_owned(),
                    data_type: shortened(&wire.data_type().to_string()),
                });
            }
            metadata.remove(EXTENSION_NAME);
            metadata.remove(EXTENSION_METADATA);
            metadata.insert(HIGHWATER_TYPE.to_owned(), logical.name().to_owned());
            match logical {
                LogicalType::Uuid => storage,
                _ => DataType::Utf8,
            }
        }
        None => {
            if let Some(storage) = storage_mark(wire.data_type()) {
                metadata.insert(STORAGE.to_owned(), storage);
            }
            type_from_wire(wire)?
        }
    };
    Ok(Field::new(wire.name(), data_type, wire.is_nullable()).with_metadata(metadata))
}

/// What [`STORAGE`] says of a type that comes in as another one.
fn storage_mark(data_type: &DataType) -> Option<String> {
    match data_type {
        DataType::Date64 => Some("date64".to_owned()),
        DataType::Time32(TimeUnit::Second) => Some("time32 s".to_owned()),
        DataType::Time32(_) => Some("time32 ms".to_owned()),
        DataType::FixedSizeList(_, size) => Some(format!("fixed_size_list {size}")),
        _ => None,
    }
}

fn type_from_wire(wire: &Field) -> Result<DataType, ColumnError> {
    let item = |item: &Field| column_from_wire(item).map(Arc::new);
    let data_type = match wire.data_type() {
        DataType::Date64 => DataType::Date32,
        DataType::Time32(_) => DataType::Time64(TimeUnit::Microsecond),
        DataType::Decimal32(precision, scale) | DataType::Decimal64(precision, scale) => {
            DataType::Decimal128(*precision, *scale)
        }
        DataType::FixedSizeList(of, _) | DataType::List(of) => DataType::List(item(of)?),
        DataType::LargeList(of) => DataType::LargeList(item(of)?),
        DataType::Map(of, sorted) => DataType::Map(item(of)?, *sorted),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(|field| item(field)).collect::<Result<_, _>>()?),
        DataType::Timestamp(_, Some(zone)) if !is_zone(zone) => return Err(no_counterpart(wire)),
        other => other.clone(),
    };
    carries(&data_type)
        .then_some(data_type)
        .ok_or_else(|| no_counterpart(wire))
}

/// A plugin's field for one of ours; the other direction of [`column_from_wire`].
pub fn column_to_wire(ours: &Field) -> Result<Field, ColumnError> {
    let mut metadata: HashMap<String, String> = ours.metadata().clone();
    let storage = metadata.remove(STORAGE);
    let known = LogicalType::of(ours).and_then(|logical| Some((logical, extension(logical)?)));
    let data_type = match known {
        Some((logical, (name, serialized, wire_type))) => {
            let is_its_type = match logical {
                LogicalType::Uuid => matches!(ours.data_type(), DataType::FixedSizeBinary(16) | DataType::Utf8),
                _ => matches!(ours.data_type(), DataType::Utf8 | DataType::LargeUtf8),
            };
            if !is_its_type {
                return Err(no_counterpart(ours));
            }
            metadata.remove(HIGHWATER_TYPE);
            metadata.insert(EXTENSION_NAME.to_owned(), name.to_owned());
            metadata.insert(EXTENSION_METADATA.to_owned(), serialized.to_owned());
            wire_type
        }
        None => type_to_wire(ours, storage.as_deref())?,
    };
    Ok(Field::new(ours.name(), data_type, ours.is_nullable()).with_metadata(metadata))
}

fn type_to_wire(ours: &Field, storage: Option<&str>) -> Result<DataType, ColumnError> {
    let item = |item: &Field| column_to_wire(item).map(Arc::new);
    Ok(match (ours.data_type(), storage) {
        (DataType::Date32, Some("date64")) => DataType::Date64,
        (DataType::Time64(TimeUnit::Microsecond), Some("time32 s")) => DataType::Time32(TimeUnit::Second),
        (DataType::Time64(TimeUnit::Microsecond), Some("time32 ms")) => DataType::Time32(TimeUnit::Millisecond),
        // No SDK but Go's knows a column that has no type.
        (DataType::Null, _) => DataType::Utf8,
        (DataType::List(of), Some(storage)) => {
            let size = storage
                .strip_prefix("fixed_size_list ")
                .and_then(|size| size.parse().ok());
            match size {
                Some(size) => DataType::FixedSizeList(item(of)?, size),
                None => DataType::List(item(of)?),
            }
        }
        (DataType::List(of) | DataType::LargeList(of), _) => DataType::List(item(of)?),
        (DataType::Map(of, sorted), _) => DataType::Map(item(of)?, *sorted),
        (DataType::Struct(fields), _) => {
            DataType::Struct(fields.iter().map(|field| item(field)).collect::<Result<_, _>>()?)
        }
        (other, _) if carries(other) => other.clone(),
        _ => return Err(no_counterpart(ours)),
    })
}
