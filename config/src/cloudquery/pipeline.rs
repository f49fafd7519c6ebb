//! `kind: pipeline`: one entry of `pipelines:` as a document beside CloudQuery's, for what those cannot say.

use super::component::new_document;
use super::write::Map;
use super::{Around, Homes};
use crate::codes;
use crate::context::Context;
use crate::finding::Finding;
use crate::pointer;
use crate::sources::Span;
use crate::tree::{Entry, Kind, Node};
use crate::typed::Item;

/// A document `kind: pipeline`.
pub(super) struct Pipeline<'t> {
    pub(super) name: &'t str,
    named: Span,
    /// The source that it names.
    pub(super) source: Option<&'t str>,
    /// How often that is read.
    pub(super) every: Option<Item<'t>>,
    spec: Item<'t>,
}

impl<'t> Pipeline<'t> {
    /// Its fields are those of a pipeline, which whoever reads the translation checks; `name` and `every` are taken off.
    pub(super) fn read(spec: Item<'t>, cx: &mut Context) -> Option<Pipeline<'t>> {
        let Kind::Map(entries) = &spec.node.kind else {
            spec.wrong_type("a map", cx);
            return None;
        };
        let field = |name: &str| -> Option<Item<'t>> {
            let entry = entries
                .iter()
                .find(|entry| entry.key.text == name && !entry.value.is_null())?;
            Some(Item {
                node: &entry.value,
                owner: entry.key.span,
                pointer: pointer::child(&spec.pointer, name),
            })
        };
        let source = field("source").filter(|item| matches!(item.node.kind, Kind::Scalar(_)));
        let source_name = source.as_ref().and_then(|item| item.text(cx));
        let (name, named) = match (field("name"), &source) {
            (Some(name), _) => (name.nonempty(cx)?, name.node.span),
            (None, Some(source)) => (source_name?, source.node.span),
            (None, None) => {
                let finding = Finding::error(&codes::E0107, "missing field `name`")
                    .at(
                        cx.place(spec.owner),
                        "a pipeline needs `name`, or the name of a source in `source`",
                    )
                    .path(spec.pointer.clone());
                cx.report(finding);
                return None;
            }
        };
        Some(Pipeline {
            name,
            named,
            source: source_name,
            every: field("every"),
            spec,
        })
    }

    /// The pipeline as an entry of ours. What its source's document says of destinations holds if it says nothing itself.
    pub(super) fn write(&self, around: &Around<'_>, homes: &mut Homes, cx: &mut Context) -> Node {
        let source = self.source.and_then(|name| around.source(name));
        if let (Some(every), None) = (&self.every, source) {
            let finding = Finding::error(&codes::E0106, "`every` is available for sources of CloudQuery's only")
                .at(cx.place(every.owner), "")
                .path(every.pointer.clone());
            cx.report(finding.hint("set `every` in the `spec` of the source, if its connector has it, or remove it"));
        }
        let is_ours = |entry: &&Entry| !matches!(entry.key.text.as_str(), "name" | "every");
        let mut pipeline = Map::at(self.spec.node.span);
        for entry in self.spec.node.entries().iter().filter(is_ours) {
            pipeline.put(entry.key.text.as_str(), entry.key.span, entry.value.clone());
        }
        if self.spec.node.get("destinations").is_none()
            && let Some(listed) = source.and_then(|source| source.destinations())
        {
            pipeline.put("destinations", listed.owner, listed.node.clone());
        }
        homes.put(pointer::child("/pipelines", self.name), "/spec");
        let mut pipelines = Map::at(self.spec.owner);
        pipelines.put(self.name, self.named, pipeline.node());
        let mut document = new_document(self.spec.owner);
        document.put("pipelines", self.spec.owner, pipelines.node());
        document.node()
    }
}
