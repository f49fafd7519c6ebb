//! `json-flatten`: what is inside JSON columns, as columns of their own.

use std::collections::BTreeMap;
use std::sync::Arc;

use api::{BuildContext, Images, OutSchema, SpecError, Transformer, TransformerConnector};
use arrow::array::{
    ArrayRef, AsArray, BooleanArray, FixedSizeBinaryBuilder, Float64Array, Int64Array, StringArray,
    TimestampMicrosecondArray,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, TimeUnit};
use async_trait::async_trait;
use model::{JSON_SHAPE, LogicalType, OutRows, StreamSchema};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use crate::error::Error;
use crate::frame::{Column, Frame};
use crate::json::Document;
use crate::rows::BySchema;
use crate::stream_rules::{StreamRules, matches};

/// By column, by name in its documents: a type.
pub type JsonShapes = BTreeMap<String, BTreeMap<String, JsonType>>;

/// The spec of `json-flatten`.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct JsonFlattenSpec {
    /// Streams, or patterns in which `*` is any text. Without them it is for all.
    #[serde(default)]
    pub tables: Vec<String>,
    /// What is inside JSON columns, where their source does not say: by stream or pattern, by column, by name in its documents,
    /// a type. Wins over what the source says.
    #[serde(default)]
    pub shapes: BTreeMap<String, JsonShapes>,
}

/// The types of new columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
pub enum JsonType {
    /// Text.
    #[serde(rename = "utf8")]
    Text,
    /// A whole number.
    #[serde(rename = "int64")]
    Integer,
    /// A number.
    #[serde(rename = "float64")]
    Float,
    /// `true` or `false`.
    #[serde(rename = "bool")]
    Boolean,
    /// An instant, read as RFC 3339.
    #[serde(rename = "timestamp[us, tz=UTC]")]
    Timestamp,
    /// A UUID.
    #[serde(rename = "uuid")]
    Uuid,
    /// Whatever it is, as JSON.
    #[serde(rename = "json")]
    Json,
}

/// The connector `json-flatten`.
pub struct JsonFlatten;

impl TransformerConnector for JsonFlatten {
    const NAME: &'static str = "json-flatten";
    const ABOUT: &'static str = "Adds a column for each member of JSON columns whose shape is known.";
    type Spec = JsonFlattenSpec;

    fn build(spec: JsonFlattenSpec, _cx: &BuildContext) -> Result<Box<dyn Transformer>, SpecError> {
        Ok(Box::new(Flattener {
            tables: spec.tables,
            shapes: StreamRules::new(spec.shapes),
            compiled: BySchema::default(),
        }))
    }
}

struct Flattener {
    tables: Vec<String>,
    shapes: StreamRules<JsonShapes>,
    compiled: BySchema<Flat>,
}

struct Flat {
    out: OutSchema,
    added: Vec<Added>,
}

/// A new column.
struct Added {
    /// The JSON column.
    from: usize,
    /// The name in its documents.
    name: String,
    inner: JsonType,
    field: Field,
}

fn compile(tables: &[String], shapes: &StreamRules<JsonShapes>, input: &StreamSchema) -> Result<Flat, Error> {
    let mut frame = Frame::of_schema(input);
    let stream = input.stream().to_string();
    let is_for_it = tables.is_empty() || tables.iter().any(|table| matches(table, &stream));
    let added = match is_for_it {
        true => added(&frame, shapes.rule_for(input.stream())?)?,
        false => Vec::new(),
    };
    flatten(&mut frame, &added)?;
    let out = OutSchema {
        schema: Arc::new(frame.schema()?),
        lineage: frame.columns.into_iter().map(|column| column.lineage).collect(),
    };
    Ok(Flat { out, added })
}

fn added(frame: &Frame, shapes: Option<&JsonShapes>) -> Result<Vec<Added>, Error> {
    for column in shapes.into_iter().flat_map(BTreeMap::keys) {
        let at = frame
            .position(column)
            .ok_or_else(|| frame.no_column(column, "flatten"))?;
        if !frame.columns[at].is_json() {
            return Err(Error::Type {
                what: "flatten",
                stream: frame.stream.clone(),
                column: column.clone(),
                data_type: frame.columns[at].type_name(),
                wanted: "JSON",
            });
        }
    }
    let mut added: Vec<Added> = Vec::new();
    for (from, column) in frame.columns.iter().enumerate().filter(|(_, column)| column.is_json()) {
        let shape = match shapes.and_then(|shapes| shapes.get(column.field.name())) {
            Some(shape) => shape.clone(),
            None => said(frame, column)?,
        };
        for (name, inner) in shape {
            let mut new = format!("{}__{}", column.field.name(), snake(&name));
            while frame.position(&new).is_some() || added.iter().any(|other| *other.field.name() == new) {
                new.push('_');
            }
            let field = inner.field(&new);
            added.push(Added {
                from,
                name,
                inner,
                field,
            });
        }
    }
    Ok(added)
}

/// What the source says of a column's documents.
fn said(frame: &Frame, column: &Column) -> Result<BTreeMap<String, JsonType>, Error> {
    let Some(text) = column.field.metadata().get(JSON_SHAPE) else {
        return Ok(BTreeMap::new());
    };
    let shape: Value = serde_json::from_str(text).map_err(|source| Error::JsonShape {
        stream: frame.stream.clone(),
        column: column.field.name().clone(),
        source,
    })?;
    let Value::Object(members) = shape else {
        return Ok(BTreeMap::new());
    };
    // A member `utf8` says that the names are texts, not that there is one of that name.
    let members = members.into_iter().filter(|(name, _)| name != "utf8");
    // What is nested, and types that have no column of their own, stay JSON.
    let inner = |(name, value): (String, Value)| (name, serde_json::from_value(value).unwrap_or(JsonType::Json));
    Ok(members.map(inner).collect())
}

/// `userID` is `user_id`.
fn snake(name: &str) -> String {
    let chars: Vec<char> = name.chars().collect();
    let mut out = String::new();
    for (at, &c) in chars.iter().enumerate() {
        let before = at.checked_sub(1).map(|before| chars[before]);
        let is_after_small = before.is_some_and(|before| before.is_lowercase() || before.is_numeric());
        let ends_a_run =
            before.is_some_and(char::is_uppercase) && chars.get(at + 1).is_some_and(|next| next.is_lowercase());
        if c.is_uppercase() && (is_after_small || ends_a_run) {
            out.push('_');
        }
        match c {
            '-' | ' ' | '.' => out.push('_'),
            c => out.extend(c.to_lowercase()),
        }
    }
    out
}

fn flatten(frame: &mut Frame, added: &[Added]) -> Result<(), Error> {
    let mut documents: Option<(usize, Vec<Option<Document>>)> = None;
    for new in added {
        if documents.as_ref().is_none_or(|(of, _)| *of != new.from) {
            documents = Some((new.from, parse(frame, new.from)?));
        }
        let Some((_, documents)) = &documents else { continue };
        let members: Vec<Option<&Document>> = documents
            .iter()
            .map(|document| member(document.as_ref()?, &new.name))
            .collect();
        let values = new.inner.values(&members).map_err(|source| Error::Arrow {
            stream: frame.stream.clone(),
            source,
        })?;
        let column = frame.columns[new.from].derived(new.field.clone(), values);
        frame.push(column)?;
    }
    Ok(())
}

fn parse(frame: &Frame, at: usize) -> Result<Vec<Option<Document>>, Error> {
    let texts = cast(&frame.columns[at].values, &DataType::LargeUtf8).map_err(|source| Error::Arrow {
        stream: frame.stream.clone(),
        source,
    })?;
    Ok(texts
        .as_string::<i64>()
        .iter()
        .map(|text| Document::parse(text?))
        .collect())
}

/// The member of this name, or the first that has it in snake case: a source may say either.
fn member<'a>(document: &'a Document, name: &str) -> Option<&'a Document> {
    let Document::Object(members) = document else {
        return None;
    };
    let exact = members.iter().find(|member| member.name == name);
    let found = exact.or_else(|| members.iter().find(|member| snake(&member.name) == name))?;
    (!found.value.is_null()).then_some(&found.value)
}

impl JsonType {
    fn field(self, name: &str) -> Field {
        let plain = |data_type| Field::new(name, data_type, true);
        match self {
            JsonType::Text => plain(DataType::Utf8),
            JsonType::Integer => plain(DataType::Int64),
            JsonType::Float => plain(DataType::Float64),
            JsonType::Boolean => plain(DataType::Boolean),
            JsonType::Timestamp => plain(DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))),
            JsonType::Uuid => LogicalType::Uuid.mark(plain(DataType::FixedSizeBinary(16))),
            JsonType::Json => LogicalType::Json.mark(plain(DataType::Utf8)),
        }
    }

    /// A value that is not of the type is null: the document itself stays beside it.
    fn values(self, members: &[Option<&Document>]) -> Result<ArrayRef, arrow::error::ArrowError> {
        let leaf = |member: &Document| match member {
            Document::Leaf(raw) => Some(raw.clone()),
            _ => None,
        };
        let each = members.iter();
        Ok(match self {
            JsonType::Text => Arc::new(each.map(|member| (*member)?.as_text()).collect::<StringArray>()),
            JsonType::Integer => Arc::new(
                each.map(|member| leaf((*member)?)?.parse().ok())
                    .collect::<Int64Array>(),
            ),
            JsonType::Float => {
                let number = |raw: String| raw.parse().ok().filter(|number: &f64| number.is_finite());
                Arc::new(each.map(|member| number(leaf((*member)?)?)).collect::<Float64Array>())
            }
            JsonType::Boolean => Arc::new(
                each.map(|member| leaf((*member)?)?.parse().ok())
                    .collect::<BooleanArray>(),
            ),
            JsonType::Timestamp => {
                let micros = |text: String| {
                    text.parse::<jiff::Timestamp>()
                        .ok()
                        .map(jiff::Timestamp::as_microsecond)
                };
                let values: TimestampMicrosecondArray = each.map(|member| micros((*member)?.as_text()?)).collect();
                Arc::new(values.with_timezone("UTC"))
            }
            JsonType::Uuid => {
                let mut values = FixedSizeBinaryBuilder::with_capacity(members.len(), 16);
                for member in each {
                    match member.and_then(|member| uuid::Uuid::parse_str(&member.as_text()?).ok()) {
                        Some(uuid) => values.append_value(uuid.as_bytes())?,
                        None => values.append_null(),
                    }
                }
                Arc::new(values.finish())
            }
            JsonType::Json => Arc::new(each.map(|member| member.map(Document::render)).collect::<StringArray>()),
        })
    }
}

#[async_trait]
impl Transformer for Flattener {
    async fn output_schema(&self, input: &Arc<StreamSchema>) -> api::Result<Vec<OutSchema>> {
        Ok(vec![compile(&self.tables, &self.shapes, input)?.out])
    }

    async fn transform(&mut self, input: &Images) -> api::Result<Vec<OutRows>> {
        let Flattener {
            tables,
            shapes,
            compiled,
        } = self;
        let flat = compiled.get(&input.schema, || compile(tables, shapes, &input.schema))?;
        let mut frame = Frame::of_images(input);
        flatten(&mut frame, &flat.added)?;
        Ok(vec![frame.into_rows(&flat.out.schema)?])
    }
}

#[cfg(test)]
mod tests {
    use super::snake;

    #[test]
    fn names_become_snake_case() {
        for (name, expected) in [
            ("userID", "user_id"),
            ("HTTPServer", "http_server"),
            ("already_snake", "already_snake"),
            ("kebab-case", "kebab_case"),
            ("v2Name", "v2_name"),
            ("A", "a"),
        ] {
            assert_eq!(snake(name), expected);
        }
    }
}
