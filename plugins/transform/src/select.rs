//! `select`: which columns of a stream go on, and under which names.

use std::collections::BTreeMap;
use std::sync::Arc;

use api::{BuildContext, Images, OutSchema, SpecError, Transformer, TransformerConnector};
use arrow::datatypes::Field;
use async_trait::async_trait;
use model::{OutRows, StreamSchema, Unavailable};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::error::Error;
use crate::rows::{BySchema, rows_as};
use crate::stream_rules::{StreamRules, pointer};

/// The spec of `select`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SelectSpec {
    /// By stream name, or by a pattern in which `*` is any text and `?` any character. A name wins over a pattern, a longer
    /// pattern over a shorter one. Streams that match nothing pass unchanged.
    pub streams: BTreeMap<String, SelectRule>,
}

/// What becomes of the columns of a stream.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SelectRule {
    /// The columns that go on, in this order; all others are left out. Not together with `drop`.
    pub keep: Option<Vec<String>>,
    /// The columns that are left out. Not together with `keep`.
    #[serde(default)]
    pub drop: Vec<String>,
    /// New names: `{old: new}`. Of columns that go on.
    #[serde(default)]
    pub rename: BTreeMap<String, String>,
}

/// The connector `select`.
pub struct Select;

impl TransformerConnector for Select {
    const NAME: &'static str = "select";
    const ABOUT: &'static str = "Keeps, drops and renames columns.";
    type Spec = SelectSpec;

    fn build(spec: SelectSpec, _cx: &BuildContext) -> Result<Box<dyn Transformer>, SpecError> {
        for (stream, rule) in &spec.streams {
            check_rule(stream, rule)?;
        }
        Ok(Box::new(Selector {
            rules: StreamRules::new(spec.streams),
            compiled: BySchema::default(),
        }))
    }
}

fn check_rule(stream: &str, rule: &SelectRule) -> Result<(), SpecError> {
    if rule.keep.is_some() && !rule.drop.is_empty() {
        return Err(
            SpecError::at(pointer(stream, "/drop"), "cannot use `drop` beside `keep`")
                .hint("list what goes on under `keep`, or what does not under `drop`"),
        );
    }
    if rule.keep.is_none() && rule.drop.is_empty() && rule.rename.is_empty() {
        return Err(
            SpecError::at(pointer(stream, ""), "cannot use a rule that changes nothing")
                .hint("add `keep`, `drop` or `rename`, or remove the rule"),
        );
    }
    let named = rule
        .keep
        .iter()
        .flatten()
        .enumerate()
        .map(|(at, column)| ("keep", at, column));
    let named: Vec<_> = named
        .chain(rule.drop.iter().enumerate().map(|(at, column)| ("drop", at, column)))
        .collect();
    for (place, (list, at, column)) in named.iter().enumerate() {
        if named[..place].iter().any(|(.., earlier)| earlier == column) {
            let message = format!("cannot name column `{column}` twice");
            let at = pointer(stream, &format!("/{list}/{at}"));
            return Err(SpecError::at(at, message).hint("remove one of the two"));
        }
    }
    Ok(())
}

struct Selector {
    rules: StreamRules<SelectRule>,
    compiled: BySchema<Selection>,
}

/// A rule against one schema.
struct Selection {
    schema: Arc<StreamSchema>,
    /// For each column that goes on, its index in the input.
    columns: Vec<usize>,
}

fn compile(rules: &StreamRules<SelectRule>, input: &Arc<StreamSchema>) -> Result<Selection, Error> {
    match rules.rule_for(input.stream())? {
        Some(rule) => select(rule, input),
        None => Ok(Selection {
            schema: Arc::clone(input),
            columns: (0..input.arrow().fields().len()).collect(),
        }),
    }
}

fn select(rule: &SelectRule, input: &StreamSchema) -> Result<Selection, Error> {
    let stream = input.stream();
    let fields = input.arrow().fields();
    let index_of = |column: &String| {
        fields
            .iter()
            .position(|field| field.name() == column)
            .ok_or_else(|| Error::NoColumn {
                what: "select from",
                stream: stream.clone(),
                column: column.clone(),
                columns: fields.iter().map(|field| field.name().clone()).collect(),
            })
    };
    let columns: Vec<usize> = match &rule.keep {
        Some(keep) => keep.iter().map(index_of).collect::<Result<_, _>>()?,
        None => {
            let dropped: Vec<usize> = rule.drop.iter().map(index_of).collect::<Result<_, _>>()?;
            (0..fields.len()).filter(|column| !dropped.contains(column)).collect()
        }
    };
    if let Some(&hidden) = input.key().iter().find(|column| !columns.contains(column)) {
        return Err(Error::KeyHidden {
            stream: stream.clone(),
            column: fields[hidden].name().clone(),
        });
    }
    for column in rule.rename.keys() {
        if !columns.contains(&index_of(column)?) {
            return Err(Error::RenamedAway {
                stream: stream.clone(),
                column: column.clone(),
            });
        }
    }
    let name = |column: usize| {
        let name = fields[column].name();
        rule.rename.get(name).unwrap_or(name).clone()
    };
    let out: Vec<Field> = columns
        .iter()
        .map(|&column| Field::clone(&fields[column]).with_name(name(column)))
        .collect();
    let key: Vec<String> = input.key().iter().map(|&column| name(column)).collect();
    let schema = StreamSchema::new(stream.clone(), out, key).map_err(|source| Error::Shape {
        stream: stream.clone(),
        source,
    })?;
    Ok(Selection {
        schema: Arc::new(schema),
        columns,
    })
}

#[async_trait]
impl Transformer for Selector {
    async fn output_schema(&self, input: &Arc<StreamSchema>) -> api::Result<Vec<OutSchema>> {
        let Selection { schema, columns } = compile(&self.rules, input)?;
        let lineage = columns.iter().map(|&column| vec![column]).collect();
        Ok(vec![OutSchema { schema, lineage }])
    }

    async fn transform(&mut self, input: &Images) -> api::Result<Vec<OutRows>> {
        let Selector { rules, compiled } = self;
        let selection = compiled.get(&input.schema, || compile(rules, &input.schema))?;
        Ok(vec![project(&selection, input)?])
    }
}

fn project(selection: &Selection, input: &Images) -> Result<OutRows, Error> {
    let columns = selection.columns.iter();
    let shape = input.rows.schema();
    let like: Vec<&Field> = columns.clone().map(|&column| shape.field(column)).collect();
    let row_count = input.rows.num_rows();
    let rows = rows_as(
        &selection.schema,
        &like,
        columns
            .clone()
            .map(|&column| Arc::clone(input.rows.column(column)))
            .collect(),
        row_count,
    );
    let masks = |mask: &Unavailable| Unavailable::new(columns.map(|&column| mask.column(column).cloned()).collect());
    Ok(OutRows {
        schema: Arc::clone(&selection.schema),
        rows: rows.map_err(|source| Error::Arrow {
            stream: input.schema.stream().clone(),
            source,
        })?,
        input_rows: (0..row_count as u32).collect(),
        unavailable: input.unavailable.as_ref().and_then(masks),
    })
}
