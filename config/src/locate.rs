//! Where the parts of a plan are written, for findings that only a connector or the runtime can make.

use std::collections::BTreeMap;

use crate::finding::Finding;
use crate::pointer;
use crate::sources::{Place, Sources, Span};
use crate::tree::Node;
use crate::typed::Item;

/// A part of the configuration that somebody may have something to say about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// The `runtime:` block.
    Runtime,
    /// A pipeline.
    Pipeline(String),
    /// The source of a pipeline.
    Source(String),
    /// A transformer of a pipeline: pipeline, name.
    Transformer(String, String),
    /// A destination: pipeline, name.
    Destination(String, String),
    /// A transformer of a destination: pipeline, destination, name.
    DestinationTransformer(String, String, String),
}

impl Part {
    /// A pipeline.
    pub fn pipeline(pipeline: &str) -> Self {
        Self::Pipeline(pipeline.to_owned())
    }

    /// The source of a pipeline.
    pub fn source(pipeline: &str) -> Self {
        Self::Source(pipeline.to_owned())
    }

    /// A transformer before the spool.
    pub fn transformer(pipeline: &str, name: &str) -> Self {
        Self::Transformer(pipeline.to_owned(), name.to_owned())
    }

    /// A destination of a pipeline.
    pub fn destination(pipeline: &str, name: &str) -> Self {
        Self::Destination(pipeline.to_owned(), name.to_owned())
    }

    /// A transformer of one destination.
    pub fn transformer_of(pipeline: &str, destination: &str, name: &str) -> Self {
        Self::DestinationTransformer(pipeline.to_owned(), destination.to_owned(), name.to_owned())
    }

    /// "in destination `lake` of pipeline `shop`".
    fn label(&self) -> Option<String> {
        Some(match self {
            Part::Runtime => return None,
            Part::Pipeline(pipeline) => format!("in pipeline `{pipeline}`"),
            Part::Source(pipeline) => format!("in the source of pipeline `{pipeline}`"),
            Part::Transformer(pipeline, name) => format!("in transformer `{name}` of pipeline `{pipeline}`"),
            Part::Destination(pipeline, name) => format!("in destination `{name}` of pipeline `{pipeline}`"),
            Part::DestinationTransformer(pipeline, destination, name) => {
                format!("in transformer `{name}` of destination `{destination}` of pipeline `{pipeline}`")
            }
        })
    }
}

/// Where each part stands; a definition that several pipelines use stands in one place.
#[derive(Default)]
pub(crate) struct Places {
    parts: BTreeMap<Part, Located>,
}

struct Located {
    node: Node,
    owner: Span,
    pointer: String,
}

impl Places {
    pub(crate) fn remember(&mut self, part: Part, item: &Item<'_>) {
        let located = Located {
            node: item.node.clone(),
            owner: item.owner,
            pointer: item.pointer.clone(),
        };
        self.parts.insert(part, located);
    }

    pub(crate) fn remember_runtime(&mut self, item: &Item<'_>) {
        self.remember(Part::Runtime, item);
    }

    /// The place of a value of a part and its pointer in the document.
    pub(crate) fn locate(&self, part: &Part, pointer: &str, sources: &Sources) -> Option<(Place, String)> {
        let located = self.parts.get(part)?;
        let target = pointer::follow(&located.node, pointer);
        let span = if target.pointer.is_empty() {
            located.owner
        } else {
            target.span
        };
        Some((sources.place(span), format!("{}{}", located.pointer, target.pointer)))
    }

    /// Puts a finding at a value of a part, with the part's own place beside it.
    pub(crate) fn attach(
        &self,
        finding: Finding,
        part: &Part,
        pointer: &str,
        label: &str,
        sources: &Sources,
    ) -> Finding {
        let Some((place, path)) = self.locate(part, pointer, sources) else {
            return finding;
        };
        let owner = self.parts.get(part).map(|located| sources.place(located.owner));
        let finding = finding.path(path);
        match (owner, part.label()) {
            (Some(owner), Some(words)) if owner != place => finding.at(place, label).near(owner, words),
            _ => finding.at(place, label),
        }
    }
}
