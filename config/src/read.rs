//! Trees into a plan.

mod chain;
mod component;
mod destination;
mod memory;
mod pipeline;
mod runtime;
mod source;

pub use memory::PIPELINE_FLOOR_BYTES;
pub use runtime::LISTEN;

use std::collections::BTreeMap;

use crate::codes;
use crate::context::Context;
use crate::fields::DOCUMENT;
use crate::finding::{Finding, FixOp};
use crate::locate::Places;
use crate::plan::{PipelinePlan, Plan};
use crate::suggest::{quoted, suggest};
use crate::tree::{Key, Node};
use crate::typed::{Item, Object};

/// What pipelines may use by name.
#[derive(Default)]
struct Definitions<'t> {
    sources: Group<'t>,
    destinations: Group<'t>,
    transformers: Group<'t>,
}

/// The definitions of one role.
#[derive(Default)]
struct Group<'t> {
    by_name: BTreeMap<&'t str, Definition<'t>>,
}

struct Definition<'t> {
    key: &'t Key,
    item: Item<'t>,
    is_used: bool,
}

impl<'t> Group<'t> {
    /// The definition of this name; a missing one is reported at `reference`.
    fn find(&mut self, name: &str, role: &str, reference: &Item<'_>, cx: &mut Context) -> Option<(&'t Key, Item<'t>)> {
        if let Some(definition) = self.by_name.get_mut(name) {
            definition.is_used = true;
            return Some((definition.key, definition.item.clone()));
        }
        let finding =
            Finding::error(&codes::E0114, format!("unknown {role} {}", quoted(name))).path(reference.pointer.clone());
        let place = cx.place(reference.node.span);
        cx.report(match suggest(name, self.by_name.keys().copied()) {
            Some(meant) => {
                // One mistake, one finding: what is misspelt here is not unused as well.
                if let Some(definition) = self.by_name.get_mut(meant) {
                    definition.is_used = true;
                }
                finding.at(place, format!("did you mean `{meant}`?")).fix(
                    reference.pointer.clone(),
                    FixOp::Replace,
                    meant,
                )
            }
            None => finding.at(place, format!("not defined under `{role}s:`")).hint(format!(
                "define it under `{role}s:`, or write it out here with `connector` and `spec`"
            )),
        });
        None
    }
}

/// Reads all documents of all files as one configuration. `is_complete`: nothing of it was refused before.
pub(crate) fn read(documents: &[Node], is_complete: bool, places: &mut Places, cx: &mut Context) -> Option<Plan> {
    let mut definitions = Definitions::default();
    let mut runtime: Option<Object<'_>> = None;
    let mut pipelines: Vec<(&Key, Item<'_>)> = Vec::new();
    for document in documents {
        let Some(object) = open_document(document, cx) else {
            continue;
        };
        if let Some(second) = object.get("runtime") {
            match &runtime {
                Some(first) => cx.report(
                    Finding::error(&codes::E0111, "second `runtime` block")
                        .at(cx.place(second.owner), "again here")
                        .near(cx.place(first.item.owner), "first here")
                        .path(second.pointer.clone()),
                ),
                None => runtime = object.map("runtime", cx),
            }
        }
        for (name, group) in [
            ("sources", &mut definitions.sources),
            ("destinations", &mut definitions.destinations),
            ("transformers", &mut definitions.transformers),
        ] {
            for (key, item) in object.get(name).map(|item| item.entries(cx)).unwrap_or_default() {
                define(group, key, item, cx);
            }
        }
        for (key, item) in object.get("pipelines").map(|item| item.entries(cx)).unwrap_or_default() {
            if let Some((first, _)) = pipelines.iter().find(|(first, _)| first.text == key.text) {
                report_second("pipeline", key, first, &item, cx);
                continue;
            }
            pipelines.push((key, item));
        }
    }
    if pipelines.is_empty() && is_complete {
        report_no_pipeline(documents, cx);
    }
    let runtime_item = runtime.as_ref().map(|object| object.item.clone());
    if let Some(item) = &runtime_item {
        places.remember_runtime(item);
    }
    let runtime = runtime::read(runtime.as_ref(), cx);
    let read = |(key, item): &(&Key, Item<'_>)| pipeline::read(key, item, &mut definitions, places, cx);
    let read: Vec<Option<PipelinePlan>> = pipelines.iter().map(read).collect();
    // Of what is not found nobody knows what it would have used.
    if is_complete && !cx.has_reported(&codes::E0114) {
        report_unused(&definitions, cx);
    }
    let complete: Vec<PipelinePlan> = read.iter().flatten().cloned().collect();
    let first = pipelines.first().map(|(key, _)| key.span);
    let runtime = memory::fit(runtime, &complete, runtime_item.as_ref(), first, cx);
    (complete.len() == read.len()).then_some(Plan {
        runtime,
        pipelines: complete,
    })
}

/// A document of our own format in a version that we know.
fn open_document<'t>(document: &'t Node, cx: &mut Context) -> Option<Object<'t>> {
    let item = Item::new(document, "");
    if !matches!(document.kind, crate::tree::Kind::Map(_)) {
        let message = format!("a configuration is a map, found {}", document.describe());
        let finding = Finding::error(&codes::E0105, message).at(cx.place(document.span), "expected `version: 1`");
        cx.report(finding.path(""));
        return None;
    }
    let object = item.object(&DOCUMENT, cx)?;
    match object.get("version") {
        None => {
            let place = document
                .get("version")
                .or(document.entries().first())
                .map_or(document.span, |e| e.key.span);
            let finding = Finding::error(&codes::E0108, "missing field `version`")
                .at(cx.place(place), "the document begins here")
                .path("")
                .hint("write `version: 1` as its first line");
            cx.report(finding);
        }
        Some(version) => match version.scalar().map(|scalar| scalar.text.as_str()) {
            Some("1") => {}
            Some(other) => {
                let finding = Finding::error(&codes::E0108, format!("unknown version {}", quoted(other)))
                    .at(cx.place(version.node.span), "this version of highwater reads `1`")
                    .path("/version")
                    .fix("/version", FixOp::Replace, 1);
                cx.report(finding);
                // Another version may mean anything by the same words.
                return None;
            }
            None => {
                version.integer(1, 1, cx);
            }
        },
    }
    Some(object)
}

fn define<'t>(group: &mut Group<'t>, key: &'t Key, item: Item<'t>, cx: &mut Context) {
    match group.by_name.get(key.text.as_str()) {
        Some(first) => {
            let kind = crate::pointer::last(item.pointer.rsplit_once('/').map_or("", |(parent, _)| parent));
            report_second(kind.trim_end_matches('s'), key, first.key, &item, cx);
        }
        None => {
            group.by_name.insert(
                &key.text,
                Definition {
                    key,
                    item,
                    is_used: false,
                },
            );
        }
    }
}

fn report_second(what: &str, key: &Key, first: &Key, item: &Item<'_>, cx: &mut Context) {
    let finding = Finding::error(&codes::E0111, format!("second {what} {}", quoted(&key.text)))
        .at(cx.place(key.span), "again here")
        .near(cx.place(first.span), "first here")
        .path(item.pointer.clone())
        .hint("names are shared by all files and documents; give it another one");
    cx.report(finding);
}

fn report_no_pipeline(documents: &[Node], cx: &mut Context) {
    // Documents that were refused as a whole have been reported, and may hold pipelines.
    let Some(first) = documents.first().filter(|document| !document.entries().is_empty()) else {
        return;
    };
    if documents.iter().any(|document| {
        document
            .get("pipelines")
            .is_some_and(|entry| !entry.value.entries().is_empty())
    }) {
        return;
    }
    let entry = first.get("pipelines").unwrap_or(&first.entries()[0]);
    let finding = Finding::error(&codes::E0119, "no pipeline")
        .at(
            cx.place(entry.key.span),
            "at least one must stand under `pipelines:`, or follow from a document with `kind: source`",
        )
        .path("/pipelines")
        .hint("`highwater init` writes one");
    cx.report(finding);
}

fn report_unused(definitions: &Definitions<'_>, cx: &mut Context) {
    let groups = [
        ("source", &definitions.sources),
        ("destination", &definitions.destinations),
        ("transformer", &definitions.transformers),
    ];
    for (role, group) in groups {
        for (name, definition) in group.by_name.iter().filter(|(_, definition)| !definition.is_used) {
            let finding = Finding::warning(&codes::W0112, format!("{role} {} is not used", quoted(name)))
                .at(cx.place(definition.key.span), "no pipeline names it")
                .path(definition.item.pointer.clone());
            cx.report(finding);
        }
    }
}

/// Names are keys of what is stored, and parts of table names, paths and metric labels.
fn check_name(key: &Key, what: &str, item: &Item<'_>, cx: &mut Context) {
    const LENGTH_MAX: usize = 63;
    let is_name = key.text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && key.text.len() <= LENGTH_MAX
        && key
            .text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    if !is_name {
        let finding = Finding::error(
            &codes::E0126,
            format!("{} cannot be the name of a {what}", quoted(&key.text)),
        )
        .at(cx.place(key.span), "")
        .path(item.pointer.clone())
        .hint(format!(
            "use letters, digits, `_` and `-`, at most {LENGTH_MAX}, a letter or digit first"
        ));
        cx.report(finding);
    }
}
