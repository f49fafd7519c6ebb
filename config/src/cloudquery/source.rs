//! `kind: source`, and the pipeline that it means.

use super::component::{Component, new_document};
use super::fields::{BACKEND_OPTIONS, SOURCE};
use super::write::{Map, list, word};
use super::{Around, Homes};
use crate::codes;
use crate::context::Context;
use crate::finding::{Finding, FixOp};
use crate::pointer;
use crate::suggest::{quoted, suggest};
use crate::tree::{Kind, Node};
use crate::typed::Item;

/// A document `kind: source`.
pub(super) struct Source<'t> {
    pub(super) component: Component<'t>,
}

impl<'t> Source<'t> {
    pub(super) fn read(spec: Item<'t>, cx: &mut Context) -> Option<Source<'t>> {
        let component = Component::read(&spec, &SOURCE, cx)?;
        Some(Source { component })
    }

    /// The list of destinations, if there is one.
    pub(super) fn destinations(&self) -> Option<Item<'t>> {
        self.component.object.get("destinations")
    }

    /// The source as a definition of ours, and its pipeline.
    pub(super) fn write(&self, around: &Around<'_>, homes: &mut Homes, cx: &mut Context) -> Node {
        let component = &self.component;
        let (object, key) = (&component.object, component.key);
        let mut spec = Map::at(key);
        spec.put("plugin", key, self.plugin(homes, cx).node());
        spec.put("name", key, word(component.name, component.named()));
        let mut streams = key;
        if let Some(tables) = object.need("tables", cx) {
            check_tables(&tables, cx);
            streams = tables.owner;
            spec.put("tables", tables.owner, tables.node.clone());
        }
        if let Some(skipped) = object.get("skip_tables") {
            spec.put("skip_tables", skipped.owner, skipped.node.clone());
        }
        for field in ["skip_dependent_tables", "deterministic_cq_id"] {
            if let Some(item) = object.get(field) {
                let is_set = item.boolean(cx).unwrap_or_default();
                spec.put(field, item.owner, word(is_set.to_string(), item.node.span));
            }
        }
        if let Some(backend) = object.get("backend_options") {
            check_backend(&backend, around, cx);
            spec.put("incremental", backend.owner, word("true", backend.node.span));
        }
        if let Some(every) = around
            .pipeline_of(component.name)
            .and_then(|pipeline| pipeline.every.as_ref())
        {
            every.duration(cx);
            spec.put("every", every.owner, every.node.clone());
        }
        let pointer = component.pointer("sources");
        homes.put(format!("{pointer}/streams"), "/spec/tables");
        homes.put(format!("{pointer}/spec/incremental"), "/spec/backend_options");
        let mut definition = component.definition(spec);
        definition.put("streams", streams, list(vec![word("*", streams)], streams));
        let mut named = Map::at(key);
        named.put(component.name, component.named(), definition.node());
        let mut document = new_document(key);
        document.put("sources", key, named.node());
        if let Some(pipeline) = self.pipeline(around, homes, cx) {
            document.put("pipelines", key, pipeline);
        }
        document.node()
    }

    fn plugin(&self, homes: &mut Homes, cx: &mut Context) -> Map {
        let mut plugin = self.component.plugin("sources", homes, cx);
        let object = &self.component.object;
        if let Some(endpoint) = object.get("otel_endpoint") {
            plugin.put("otel_endpoint", endpoint.owner, endpoint.node.clone());
        }
        if let Some(insecure) = object.get("otel_endpoint_insecure") {
            let is_set = insecure.boolean(cx).unwrap_or_default();
            plugin.put(
                "otel_endpoint_insecure",
                insecure.owner,
                word(is_set.to_string(), insecure.node.span),
            );
        }
        plugin
    }

    /// The pipeline of the source's own, unless another document says what becomes of it.
    fn pipeline(&self, around: &Around<'_>, homes: &mut Homes, cx: &mut Context) -> Option<Node> {
        let Component { name, object, key, .. } = &self.component;
        if around.pipeline_of(name).is_some() {
            return None;
        }
        let destinations = match self.destinations() {
            Some(destinations) => destinations,
            None if around.named.contains(name) => return None,
            None => object.need("destinations", cx)?,
        };
        let called = pipeline_name(name);
        if called != *name {
            let message = format!("the pipeline of source {} is called `{called}`", quoted(name));
            let finding = Finding::note(&codes::N0113, message)
                .at(cx.place(self.component.named()), "")
                .path("/spec/name");
            cx.report(finding);
        }
        let pointer = pointer::child("/pipelines", &called);
        homes.put(format!("{pointer}/source"), "/spec/name");
        homes.put(pointer, "/spec");
        let mut pipeline = Map::at(self.component.named());
        pipeline.put("source", *key, word(*name, self.component.named()));
        pipeline.put("destinations", destinations.owner, destinations.node.clone());
        let mut pipelines = Map::at(*key);
        pipelines.put(called, self.component.named(), pipeline.node());
        Some(pipelines.node())
    }
}

/// The name of a source as that of a pipeline, which is part of paths and metric labels.
fn pipeline_name(name: &str) -> String {
    const LENGTH_MAX: usize = 63;
    let allowed = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
    let called: String = name.chars().map(allowed).take(LENGTH_MAX).collect();
    if called.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        return called;
    }
    format!("p{called}").chars().take(LENGTH_MAX).collect()
}

fn check_tables(tables: &Item<'_>, cx: &mut Context) {
    let patterns = tables.texts(cx);
    let Kind::List(items) = &tables.node.kind else { return };
    if items.is_empty() {
        let finding = Finding::error(&codes::E0119, "no table is selected")
            .at(cx.place(tables.node.span), "")
            .path(tables.pointer.clone());
        cx.report(finding.hint("name tables, or write `[\"*\"]` for all of them"));
    }
    let all = tables
        .list(cx)
        .into_iter()
        .find(|item| item.scalar().is_some_and(|scalar| scalar.text == "*"));
    if let Some(all) = all.filter(|_| patterns.len() > 1) {
        let finding = Finding::warning(&codes::W0114, "the other tables say nothing: `*` is all of them")
            .at(cx.place(all.node.span), "")
            .path(all.pointer.clone());
        cx.report(finding.hint("remove `*`, or the others"));
    }
}

/// The cursors are kept with the checkpoints, where they cannot run ahead of rows.
fn check_backend(backend: &Item<'_>, around: &Around<'_>, cx: &mut Context) {
    let Some(options) = backend.object(&BACKEND_OPTIONS, cx) else {
        return;
    };
    let (table, connection) = (options.need("table_name", cx), options.need("connection", cx));
    let (Some(_), Some(connection)) = (table.and_then(|item| item.nonempty(cx)), connection) else {
        return;
    };
    let Some(address) = connection.nonempty(cx) else { return };
    let named = address
        .strip_prefix("@@plugins.")
        .and_then(|rest| rest.strip_suffix(".connection"));
    if let Some(named) = named.filter(|named| !around.destinations.contains(named)) {
        let finding = Finding::error(&codes::E0114, format!("unknown destination {}", quoted(named)))
            .path(connection.pointer.clone());
        let place = cx.place(connection.node.span);
        cx.report(match suggest(named, around.destinations.iter().copied()) {
            Some(meant) => finding.at(place, format!("did you mean `{meant}`?")).fix(
                connection.pointer.clone(),
                FixOp::Replace,
                format!("@@plugins.{meant}.connection"),
            ),
            None => finding.at(place, "no document has this destination"),
        });
        return;
    }
    let kept = named.map_or_else(|| format!("at {}", quoted(address)), |named| format!("in `{named}`"));
    let message = format!("cursors are kept in the state directory, not {kept}");
    let finding = Finding::note(&codes::N0111, message)
        .at(cx.place(connection.node.span), "")
        .path(connection.pointer.clone());
    cx.report(
        finding.hint("the first sync reads incremental tables whole; from then on cursors never run ahead of rows"),
    );
}
