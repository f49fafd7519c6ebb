//! `basic`: CloudQuery's transformer of that name, kind by kind.
//!
//! Each transformation is a function of a [`Frame`]; the shape behind all of them is what they make of a
//! frame without rows.

use std::sync::Arc;

use api::{BuildContext, Images, OutSchema, SpecError, Transformer, TransformerConnector};
use async_trait::async_trait;
use model::{OutRows, StreamId, StreamSchema};

use crate::error::Error;
use crate::frame::Frame;
use crate::rows::BySchema;
use crate::stream_rules::matches;

mod columns;
mod drop_rows;
mod keep;
mod place;
mod redaction;
mod spec;
mod template;
mod texts;

use place::Place;
use redaction::Redaction;
pub use spec::{BasicSpec, Transformation, Unmatched};
use template::Template;
use texts::Case;

/// The connector `basic`.
pub struct Basic;

impl TransformerConnector for Basic {
    const NAME: &'static str = "basic";
    const ABOUT: &'static str =
        "CloudQuery's transformer `basic`: removes, adds, renames, obfuscates columns, drops rows.";
    type Spec = BasicSpec;

    fn build(spec: BasicSpec, _cx: &BuildContext) -> Result<Box<dyn Transformer>, SpecError> {
        for (at, transformation) in spec.transformations.iter().enumerate() {
            if matches!(transformation, Transformation::ChangeTableNames { .. }) {
                let message = "cannot rename streams in a pipeline: checkpoints are kept by the source's names";
                return Err(SpecError::at(format!("/transformations/{at}"), message)
                    .hint("name the tables at the destination (PostgreSQL: `table`, files: `path`)"));
            }
        }
        build_renaming(spec)
    }
}

/// Reads a spec that no configuration has checked.
pub fn read_basic(spec: serde_json::Value) -> Result<BasicSpec, SpecError> {
    serde_json::from_value(spec).map_err(|error| SpecError::at("", format!("cannot read the spec: {error}")))
}

/// The transformer for a caller that keeps the names of tables itself, as those of CloudQuery's protocol do:
/// `change_table_names` is allowed.
pub fn build_renaming(spec: BasicSpec) -> Result<Box<dyn Transformer>, SpecError> {
    let marker = spec.marker;
    let steps = spec
        .transformations
        .into_iter()
        .enumerate()
        .map(|(at, transformation)| {
            let tables = transformation.tables().to_vec();
            let what = What::of(transformation, &marker).map_err(|error| SpecError {
                pointer: format!("/transformations/{at}{}", error.pointer),
                ..error
            })?;
            Ok(Step { tables, what })
        });
    Ok(Box::new(Chain {
        steps: steps.collect::<Result<_, SpecError>>()?,
        compiled: BySchema::default(),
    }))
}

/// A transformation and its streams.
struct Step {
    tables: Vec<String>,
    what: What,
}

enum What {
    Remove(Vec<Place>),
    AddText {
        name: String,
        value: String,
    },
    AddTime {
        name: String,
    },
    Rename {
        from: String,
        to: String,
    },
    Obfuscate(Vec<Place>, Redaction),
    ObfuscateSensitive(Redaction),
    Keep(keep::Keep),
    RenameStream(Template),
    AddKeys(Vec<String>),
    ChangeCase(Vec<Place>, Case),
    DropRows {
        columns: Vec<String>,
        value: Option<String>,
    },
}

impl What {
    fn of(transformation: Transformation, marker: &str) -> Result<What, SpecError> {
        let some = |columns: Vec<String>| match columns.is_empty() {
            true => Err(SpecError::at("/columns", "cannot transform no column").hint("name one at least")),
            false => Ok(columns),
        };
        let redaction = |include_sha| Redaction::new(marker, include_sha);
        Ok(match transformation {
            Transformation::RemoveColumns { columns, .. } => What::Remove(place::parse(&some(columns)?)?),
            Transformation::AddColumn { name, value, .. } => What::AddText {
                name: named("/name", name)?,
                value,
            },
            Transformation::AddCurrentTimestampColumn { name, .. } => What::AddTime {
                name: named("/name", name)?,
            },
            Transformation::RenameColumn { name, value, .. } => What::Rename {
                from: named("/name", name)?,
                to: named("/value", value)?,
            },
            Transformation::ObfuscateColumns {
                columns, include_sha, ..
            } => What::Obfuscate(place::parse(&some(columns)?)?, redaction(include_sha)),
            Transformation::ObfuscateSensitiveColumns { include_sha, .. } => {
                What::ObfuscateSensitive(redaction(include_sha))
            }
            Transformation::ObfuscateColumnsExcept {
                columns,
                include_sha,
                unmatched,
                ..
            } => What::Keep(keep::Keep::new(
                place::parse(&columns)?,
                unmatched,
                redaction(include_sha),
            )),
            Transformation::ChangeTableNames {
                new_table_name_template,
                ..
            } => What::RenameStream(Template::parse(&new_table_name_template)?),
            Transformation::AddPrimaryKeys { columns, .. } => What::AddKeys(some(columns)?),
            Transformation::Uppercase { columns, .. } => What::ChangeCase(place::parse(&some(columns)?)?, Case::Upper),
            Transformation::Lowercase { columns, .. } => What::ChangeCase(place::parse(&some(columns)?)?, Case::Lower),
            Transformation::DropRows { columns, value, .. } => What::DropRows {
                columns: some(columns)?,
                value,
            },
        })
    }

    /// `is_strict`: the stream was named, not matched by a pattern, so that a column that is not there is a mistake.
    fn apply(&self, frame: &mut Frame, is_strict: bool) -> Result<(), Error> {
        match self {
            What::Remove(places) => columns::remove(frame, places, is_strict),
            What::AddText { name, value } => columns::add_text(frame, name, value),
            What::AddTime { name } => columns::add_time(frame, name),
            What::Rename { from, to } => columns::rename(frame, from, to, is_strict),
            What::Obfuscate(places, redaction) => redaction::obfuscate(frame, places, redaction, is_strict),
            What::ObfuscateSensitive(redaction) => redaction::obfuscate_sensitive(frame, redaction),
            What::Keep(keep) => keep.apply(frame),
            What::RenameStream(template) => {
                frame.stream = StreamId::new(template.render(&frame.stream.to_string()));
                Ok(())
            }
            What::AddKeys(columns) => columns::add_keys(frame, columns),
            What::ChangeCase(places, case) => texts::change_case(frame, places, *case, is_strict),
            What::DropRows { columns, value } => drop_rows::drop_rows(frame, columns, value.as_deref(), is_strict),
        }
    }
}

fn named(pointer: &str, name: String) -> Result<String, SpecError> {
    match name.is_empty() {
        true => Err(SpecError::at(pointer, "cannot use a column without a name")),
        false => Ok(name),
    }
}

struct Chain {
    steps: Vec<Step>,
    compiled: BySchema<OutSchema>,
}

fn apply(steps: &[Step], frame: &mut Frame) -> Result<(), Error> {
    for step in steps {
        let name = frame.stream.to_string();
        let is_named = step.tables.contains(&name);
        let is_for_it = is_named || step.tables.is_empty() || step.tables.iter().any(|table| matches(table, &name));
        if is_for_it {
            step.what.apply(frame, is_named)?;
        }
    }
    Ok(())
}

fn compile(steps: &[Step], input: &StreamSchema) -> Result<OutSchema, Error> {
    let mut frame = Frame::of_schema(input);
    apply(steps, &mut frame)?;
    Ok(OutSchema {
        schema: Arc::new(frame.schema()?),
        lineage: frame.columns.into_iter().map(|column| column.lineage).collect(),
    })
}

#[async_trait]
impl Transformer for Chain {
    async fn output_schema(&self, input: &Arc<StreamSchema>) -> api::Result<Vec<OutSchema>> {
        Ok(vec![compile(&self.steps, input)?])
    }

    async fn transform(&mut self, input: &Images) -> api::Result<Vec<OutRows>> {
        let Chain { steps, compiled } = self;
        let out = compiled.get(&input.schema, || compile(steps, &input.schema))?;
        let mut frame = Frame::of_images(input);
        apply(steps, &mut frame)?;
        Ok(vec![frame.into_rows(&out.schema)?])
    }
}
