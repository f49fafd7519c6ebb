//! Streams and their schemas.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use xxhash_rust::xxh3::Xxh3;

use crate::types::spelling;

/// The name of a stream: an optional schema and a name, each in the source's own spelling.
///
/// Written `schema.name` or `name`. A dot inside either part is written `\.`, a backslash `\\`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId {
    schema: Option<Arc<str>>,
    name: Arc<str>,
}

impl StreamId {
    /// A stream of a source without schemas.
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        StreamId {
            schema: None,
            name: name.into(),
        }
    }

    /// A stream in a schema.
    pub fn in_schema(schema: impl Into<Arc<str>>, name: impl Into<Arc<str>>) -> Self {
        StreamId {
            schema: Some(schema.into()),
            name: name.into(),
        }
    }

    /// Reads back what `Display` writes; every text is some stream's name.
    pub fn parse(text: &str) -> Self {
        let (mut schema, mut part) = (None, String::new());
        let mut chars = text.chars();
        while let Some(c) = chars.next() {
            match c {
                '\\' => part.extend(chars.next()),
                '.' if schema.is_none() => schema = Some(std::mem::take(&mut part)),
                c => part.push(c),
            }
        }
        StreamId {
            schema: schema.map(Arc::from),
            name: part.into(),
        }
    }

    /// The schema, where the source has them.
    pub fn schema(&self) -> Option<&str> {
        self.schema.as_deref()
    }

    /// The name inside the schema.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// One path segment or table name for places that have no schemas: `schema_name`, or `name`.
    pub fn flat_name(&self) -> String {
        match &self.schema {
            Some(schema) => format!("{schema}_{}", self.name),
            None => self.name.to_string(),
        }
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let escaped = |part: &str| part.replace('\\', "\\\\").replace('.', "\\.");
        if let Some(schema) = &self.schema {
            write!(f, "{}.", escaped(schema))?;
        }
        f.write_str(&escaped(&self.name))
    }
}

impl fmt::Debug for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for StreamId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for StreamId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(StreamId::parse(&String::deserialize(deserializer)?))
    }
}

/// A hash of a schema's content. Equal content, equal id: there is no registry to keep, and a replay never alters a
/// table back, because a destination stores the id that it has applied.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SchemaId(u128);

impl fmt::Display for SchemaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for SchemaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", (self.0 >> 96) as u32)
    }
}

impl Serialize for SchemaId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for SchemaId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        u128::from_str_radix(&text, 16)
            .map(SchemaId)
            .map_err(serde::de::Error::custom)
    }
}

/// One version of a stream's shape: its columns in Arrow's types, and which of them are the key.
#[derive(Debug, Clone)]
pub struct StreamSchema {
    stream: StreamId,
    arrow: SchemaRef,
    key: Vec<usize>,
    id: SchemaId,
}

/// Why columns and key do not make a schema.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum StreamSchemaError {
    /// The key names a column that is not there.
    #[error("cannot build the schema of `{stream}`: key column `{column}` does not exist")]
    NoKeyColumn {
        /// The stream.
        stream: StreamId,
        /// The missing column.
        column: String,
    },
    /// Two columns share a name.
    #[error("cannot build the schema of `{stream}`: column `{column}` appears twice")]
    DuplicateColumn {
        /// The stream.
        stream: StreamId,
        /// The doubled column.
        column: String,
    },
}

impl StreamSchema {
    /// Builds a schema. `key` names the key columns in key order; empty means that the stream has no key.
    pub fn new<K: AsRef<str>>(
        stream: StreamId,
        fields: Vec<Field>,
        key: impl IntoIterator<Item = K>,
    ) -> Result<Self, StreamSchemaError> {
        for (i, field) in fields.iter().enumerate() {
            if fields[..i].iter().any(|earlier| earlier.name() == field.name()) {
                return Err(StreamSchemaError::DuplicateColumn {
                    stream,
                    column: field.name().clone(),
                });
            }
        }
        let key =
            key.into_iter()
                .map(|column| {
                    let column = column.as_ref();
                    fields.iter().position(|field| field.name() == column).ok_or_else(|| {
                        StreamSchemaError::NoKeyColumn {
                            stream: stream.clone(),
                            column: column.to_owned(),
                        }
                    })
                })
                .collect::<Result<Vec<_>, _>>()?;
        let id = hash(&stream, &fields, &key);
        Ok(StreamSchema {
            stream,
            arrow: Arc::new(Schema::new(fields)),
            key,
            id,
        })
    }

    /// The stream.
    pub fn stream(&self) -> &StreamId {
        &self.stream
    }

    /// The columns.
    pub fn arrow(&self) -> &SchemaRef {
        &self.arrow
    }

    /// Indices of the key columns, in key order; empty where there is no key.
    pub fn key(&self) -> &[usize] {
        &self.key
    }

    /// Names of the key columns, in key order.
    pub fn key_names(&self) -> impl Iterator<Item = &str> {
        self.key.iter().map(|&i| self.arrow.field(i).name().as_str())
    }

    /// Whether rows can be told apart.
    pub fn has_key(&self) -> bool {
        !self.key.is_empty()
    }

    /// The hash of the content.
    pub fn id(&self) -> SchemaId {
        self.id
    }
}

impl PartialEq for StreamSchema {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl Eq for StreamSchema {}

/// Hashes the content in a spelling of our own: ids are stored, and Arrow's `Display` changes between versions.
fn hash(stream: &StreamId, fields: &[Field], key: &[usize]) -> SchemaId {
    let mut content = Content(Xxh3::new());
    content.text(&stream.to_string());
    content.fields(fields.iter());
    content.count(key.len());
    for &k in key {
        content.text(fields[k].name());
    }
    SchemaId(content.0.digest128())
}

/// Texts are preceded by their length and lists by their count, so that no two contents are written alike.
struct Content(Xxh3);

impl Content {
    fn count(&mut self, count: usize) {
        self.0.update(&(count as u64).to_le_bytes());
    }

    fn text(&mut self, text: &str) {
        self.count(text.len());
        self.0.update(text.as_bytes());
    }

    fn fields<'a>(&mut self, fields: impl ExactSizeIterator<Item = &'a Field>) {
        self.count(fields.len());
        for field in fields {
            self.text(field.name());
            self.data_type(field.data_type());
            self.text(if field.is_nullable() { "null" } else { "not null" });
            let metadata: BTreeMap<_, _> = field.metadata().iter().collect();
            self.count(metadata.len());
            for (k, v) in metadata {
                self.text(k);
                self.text(v);
            }
        }
    }

    fn data_type(&mut self, data_type: &DataType) {
        self.text(&spelling(data_type));
        match data_type {
            DataType::List(item) | DataType::LargeList(item) | DataType::Map(item, _) => {
                self.fields([item.as_ref()].into_iter());
            }
            DataType::Struct(fields) => self.fields(fields.iter().map(AsRef::as_ref)),
            _ => {}
        }
    }
}
