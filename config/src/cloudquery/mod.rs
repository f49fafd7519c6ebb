//! CloudQuery's documents, unmodified, as ours: each becomes the definitions and the pipeline that it means, with the places
//! at which they are written, before anything else looks at them.
//!
//! | theirs | ours |
//! |---|---|
//! | `kind: source` | an entry of `sources:`, and a pipeline of its name into its `destinations` |
//! | `kind: destination`, `kind: transformer` | an entry of `destinations:`, of `transformers:` |
//! | `kind: pipeline` | an entry of `pipelines:`; of the source that it names it replaces the pipeline of its own |
//!
//! Constraints:
//! - a field is honoured, refused or warned of, never passed over in silence;
//! - what a plugin is told in its own `spec` is handed over as CloudQuery reads it ([`scalars`]).

mod component;
mod destination;
mod fields;
mod homes;
mod pipeline;
mod scalars;
mod source;
mod write;

use std::collections::BTreeSet;

pub(crate) use homes::Homes;

use crate::codes;
use crate::context::Context;
use crate::finding::Finding;
use crate::suggest::quoted;
use crate::tree::{Kind, Node};
use crate::typed::{Item, Object};
use component::Component;
use fields::{DOCUMENT, DocumentKind, TRANSFORMER};
use pipeline::Pipeline;
use source::Source;
use write::Map;

/// Whether a document is in CloudQuery's format.
pub(crate) fn is_theirs(document: &Node) -> bool {
    document.get("kind").is_some()
}

/// One document that could be read.
enum Read<'t> {
    Source(Source<'t>),
    Destination(Component<'t>),
    Transformer(Component<'t>),
    Pipeline(Pipeline<'t>),
    Ours(&'t Node),
}

/// Translates what is theirs; ours stays as it is, in its place.
pub(crate) fn translate(documents: Vec<Node>, homes: &mut Homes, cx: &mut Context) -> Vec<Node> {
    if !documents.iter().any(is_theirs) {
        return documents;
    }
    let read: Vec<Read<'_>> = documents.iter().filter_map(|document| read(document, cx)).collect();
    let around = Around::look(&read, &documents);
    let write = |read: &Read<'_>| match read {
        Read::Source(source) => source.write(&around, homes, cx),
        Read::Destination(component) => destination::write(component, homes, cx),
        Read::Transformer(component) => {
            let mut spec = Map::at(component.key);
            spec.put(
                "plugin",
                component.key,
                component.plugin("transformers", homes, cx).node(),
            );
            component.document("transformers", component.definition(spec), homes)
        }
        Read::Pipeline(pipeline) => pipeline.write(&around, homes, cx),
        Read::Ours(document) => Node::clone(document),
    };
    read.iter().map(write).collect()
}

/// What one document has to know of the others.
struct Around<'t> {
    /// Sources that a pipeline names, ours or by a document of its own.
    named: BTreeSet<&'t str>,
    /// Documents `kind: pipeline`, which replace the pipelines of their sources.
    pipelines: Vec<&'t Pipeline<'t>>,
    sources: Vec<&'t Source<'t>>,
    destinations: BTreeSet<&'t str>,
}

impl<'t> Around<'t> {
    fn look(read: &'t [Read<'t>], documents: &'t [Node]) -> Self {
        let mut around = Around {
            named: BTreeSet::new(),
            pipelines: Vec::new(),
            sources: Vec::new(),
            destinations: BTreeSet::new(),
        };
        for read in read {
            match read {
                Read::Source(source) => around.sources.push(source),
                Read::Pipeline(pipeline) => around.pipelines.push(pipeline),
                Read::Destination(component) => drop(around.destinations.insert(component.name)),
                Read::Transformer(_) | Read::Ours(_) => {}
            }
        }
        let ours = documents.iter().filter(|document| !is_theirs(document));
        let pipelines = ours.filter_map(|document| document.get("pipelines"));
        let sources = pipelines
            .flat_map(|pipelines| pipelines.value.entries())
            .filter_map(|pipeline| pipeline.value.get("source"));
        around.named = sources
            .filter_map(|source| match &source.value.kind {
                Kind::Scalar(scalar) => Some(scalar.text.as_str()),
                _ => None,
            })
            .chain(around.pipelines.iter().filter_map(|pipeline| pipeline.source))
            .collect();
        around
    }

    /// The document that stands for the pipeline of a source.
    fn pipeline_of(&self, source: &str) -> Option<&'t Pipeline<'t>> {
        let mut pipelines = self.pipelines.iter();
        pipelines.find(|pipeline| pipeline.source == Some(source)).copied()
    }

    fn source(&self, name: &str) -> Option<&'t Source<'t>> {
        self.sources
            .iter()
            .find(|source| source.component.name == name)
            .copied()
    }
}

fn read<'t>(document: &'t Node, cx: &mut Context) -> Option<Read<'t>> {
    if !is_theirs(document) {
        return Some(Read::Ours(document));
    }
    let object = Item::new(document, "").object(&DOCUMENT, cx)?;
    let kind: DocumentKind = object.need("kind", cx)?.choice(cx)?;
    let spec = object.need("spec", cx)?;
    Some(match kind {
        DocumentKind::Source => Read::Source(Source::read(spec, cx)?),
        DocumentKind::Destination => Read::Destination(Component::read(&spec, &fields::DESTINATION, cx)?),
        DocumentKind::Transformer => Read::Transformer(Component::read(&spec, &TRANSFORMER, cx)?),
        DocumentKind::Pipeline => Read::Pipeline(Pipeline::read(spec, cx)?),
    })
}

/// A setting that changes nothing here.
fn report_without_effect(object: &Object<'_>, field: &str, why: &str, hint: &str, cx: &mut Context) {
    let Some(item) = object.get(field) else { return };
    let finding = Finding::warning(&codes::W0114, format!("{} has no effect", quoted(field)))
        .at(cx.place(item.owner), why)
        .path(item.pointer.clone())
        .hint(hint);
    cx.report(finding);
}
