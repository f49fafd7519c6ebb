//! What a table looks like as a stream: which columns, of which Arrow types, by which key, in which order.
//!
//! A shape is made of the catalogue, for existing rows, and of a RELATION message, for changes. Both must give the same
//! schema for the same table, or destinations would alter their tables to and fro: so nullability is not taken from the
//! table (the message does not have it), only the key is declared without NULL.

use std::sync::Arc;

use api::PlannedStream;
use arrow::datatypes::Field;
use model::{StreamId, StreamSchema};

use super::catalogue::Table;
use super::error::Error;
use super::key::KeyKind;
use super::publication::Published;
use crate::types::{self, OVERRIDE_TYPES, Override, PgType, TypeCatalogue};

/// A column as catalogue or RELATION message have it.
#[derive(Debug, Clone)]
pub(crate) struct SourceColumn {
    pub(crate) name: String,
    pub(crate) ty: Arc<PgType>,
    pub(crate) typmod: i32,
}

/// One version of a table, as the stream that the plan makes of it.
#[derive(Debug)]
pub(crate) struct StreamShape {
    pub(crate) schema: Arc<StreamSchema>,
    /// All columns that are sent, in the order in which they are.
    pub(crate) sent: Vec<SourceColumn>,
    /// For each column of the stream which of those it is.
    pub(crate) columns: Vec<ShapeColumn>,
    /// By what existing rows can be read page by page.
    pub(crate) order: Option<Vec<OrderColumn>>,
}

/// A column of the stream.
#[derive(Debug, Clone)]
pub(crate) struct ShapeColumn {
    /// Which column of those that are sent.
    pub(crate) at: usize,
    pub(crate) of_server: types::Column,
    pub(crate) field: Field,
    pub(crate) is_key: bool,
}

/// A column of the order in which pages are cut.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OrderColumn {
    pub(crate) at: usize,
    pub(crate) name: String,
    pub(crate) type_name: String,
    pub(crate) kind: KeyKind,
}

impl StreamShape {
    /// Applies a plan to what is sent of a table. Names in the plan that the table does not have are passed over: an older
    /// version of it may lack them; [`check_plan`] finds those that never were.
    pub(crate) fn new(planned: &PlannedStream, sent: Vec<SourceColumn>, table: &KeyFacts) -> api::Result<Self> {
        let has = |name: &String| sent.iter().any(|column| &column.name == name);
        let key: &[String] = match &planned.key {
            Some(key) if key.iter().all(has) => key,
            _ if table.key.iter().all(has) => &table.key,
            _ => &[],
        };
        let mut columns = Vec::new();
        for (at, column) in sent.iter().enumerate() {
            if planned.exclude.contains(&column.name) {
                continue;
            }
            let is_key = key.contains(&column.name);
            let of_server = types::Column {
                name: column.name.clone(),
                ty: Arc::clone(&column.ty),
                typmod: column.typmod,
                nullable: !is_key,
            };
            let wanted = planned.types.get(&column.name);
            let bad = |why: String| Error::BadOverride {
                stream: planned.id.clone(),
                column: column.name.clone(),
                wanted: wanted.cloned().unwrap_or_default(),
                why,
            };
            let as_type = match wanted {
                Some(word) => Some(
                    Override::parse(word)
                        .ok_or_else(|| bad(format!("expected one of {}", OVERRIDE_TYPES.join(", "))))?,
                ),
                None => None,
            };
            let field = types::field(&of_server, as_type).map_err(|error| bad(error.to_string()))?;
            columns.push(ShapeColumn {
                at,
                of_server,
                field,
                is_key,
            });
        }
        let fields = columns.iter().map(|column| column.field.clone()).collect();
        let schema = StreamSchema::new(planned.id.clone(), fields, key).map_err(|error| Error::BadOverride {
            stream: planned.id.clone(),
            column: key.first().cloned().unwrap_or_default(),
            wanted: "key".to_owned(),
            why: error.to_string(),
        })?;
        let order = order(&sent, table);
        Ok(StreamShape {
            schema: Arc::new(schema),
            sent,
            columns,
            order,
        })
    }

    /// The shape of a table as the catalogue has it, restricted to what its publication sends.
    pub(crate) fn of_table(
        planned: &PlannedStream,
        table: &Table,
        published: Option<&Published>,
        types: &TypeCatalogue,
    ) -> api::Result<Self> {
        let is_sent = |name: &String, is_generated: bool| {
            let columns = published.and_then(|of| of.columns.as_ref());
            let sends_generated = published.is_some_and(|of| of.sends_generated) && columns.is_some();
            columns.is_none_or(|columns| columns.contains(name)) && (!is_generated || sends_generated)
        };
        let mut sent = Vec::new();
        for column in &table.columns {
            if is_sent(&column.name, column.is_generated) {
                sent.push(SourceColumn {
                    name: column.name.clone(),
                    ty: type_of(types, column.type_oid, &planned.id, &column.name)?,
                    typmod: column.typmod,
                });
            }
        }
        Self::new(planned, sent, &KeyFacts::of(table))
    }

    pub(crate) fn stream(&self) -> &StreamId {
        self.schema.stream()
    }
}

/// What only the catalogue knows of a table's key, by the columns' names.
#[derive(Debug, Clone, Default)]
pub(crate) struct KeyFacts {
    /// What identifies a row.
    pub(crate) key: Vec<String>,
    /// The same, each column with whether its text is ordered by bytes: by what pages can be cut.
    pub(crate) primary: Vec<(String, bool)>,
}

impl KeyFacts {
    pub(crate) fn of(table: &Table) -> Self {
        let is_byte_ordered = |name: &String| table.column(name).is_some_and(|column| column.is_byte_ordered);
        KeyFacts {
            key: table.key().to_vec(),
            primary: table
                .key()
                .iter()
                .map(|name| (name.clone(), is_byte_ordered(name)))
                .collect(),
        }
    }
}

pub(crate) fn type_of(types: &TypeCatalogue, oid: u32, stream: &StreamId, column: &str) -> api::Result<Arc<PgType>> {
    types.get(oid).ok_or_else(|| {
        Error::BadChange {
            stream: stream.to_string(),
            why: format!("column `{column}` has a type (oid {oid}) that the catalogue does not have"),
        }
        .into()
    })
}

/// The primary key's columns, if the order of every one can be told from its bytes.
fn order(sent: &[SourceColumn], table: &KeyFacts) -> Option<Vec<OrderColumn>> {
    let mut order = Vec::new();
    for (name, is_byte_ordered) in &table.primary {
        let at = sent.iter().position(|column| &column.name == name)?;
        let ty = &sent[at].ty;
        order.push(OrderColumn {
            at,
            name: name.clone(),
            type_name: ty.declared(-1),
            kind: KeyKind::of_type(ty.resolve(-1).0.oid, *is_byte_ordered)?,
        });
    }
    (!order.is_empty()).then_some(order)
}

/// What the plan says about columns that the table does not have.
pub(crate) fn check_plan(table: &Table, planned: &PlannedStream) -> api::Result<()> {
    let wanted = planned
        .types
        .iter()
        .map(|(column, kind)| (column, kind.as_str()))
        .chain(planned.key.iter().flatten().map(|column| (column, "key")))
        .chain(planned.exclude.iter().map(|column| (column, "exclude")));
    for (column, wanted) in wanted {
        if table.column(column).is_none() {
            return Err(Error::BadOverride {
                stream: planned.id.clone(),
                column: column.clone(),
                wanted: wanted.to_owned(),
                why: "the table has no such column".to_owned(),
            }
            .into());
        }
    }
    Ok(())
}
