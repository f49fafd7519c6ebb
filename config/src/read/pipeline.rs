//! One pipeline: its source, its transformers, its destinations.

use crate::codes;
use crate::context::Context;
use crate::fields::PIPELINE;
use crate::finding::Finding;
use crate::locate::{Part, Places};
use crate::plan::{DestinationPlan, PipelinePlan, SourcePlan, WhenBehind};
use crate::suggest::quoted;
use crate::tree::{Key, Kind};
use crate::typed::Item;

use super::destination::Use;
use super::{Definitions, chain, check_name, destination, source};

/// Reads a pipeline.
pub(super) fn read(
    key: &Key,
    item: &Item<'_>,
    definitions: &mut Definitions<'_>,
    places: &mut Places,
    cx: &mut Context,
) -> Option<PipelinePlan> {
    check_name(key, "pipeline", item, cx);
    let object = item.object(&PIPELINE, cx)?;
    let name = key.text.as_str();
    places.remember(Part::pipeline(name), item);
    let source = object
        .need("source", cx)
        .and_then(|item| read_source(&item, name, definitions, places, cx));
    let part_of = |transformer: &str| Part::transformer(name, transformer);
    let chain = object
        .get("transformers")
        .map(|item| chain::read(&item, &mut definitions.transformers, part_of, places, cx));
    let destinations = object
        .need("destinations", cx)
        .and_then(|item| read_destinations(&item, name, definitions, places, cx));
    let plan = PipelinePlan {
        name: name.to_owned(),
        source: source?,
        transformers: chain.unwrap_or(Some(Vec::new()))?,
        destinations: destinations?,
    };
    check_together(&plan, key, item, cx);
    Some(plan)
}

fn read_source(
    item: &Item<'_>,
    pipeline: &str,
    definitions: &mut Definitions<'_>,
    places: &mut Places,
    cx: &mut Context,
) -> Option<SourcePlan> {
    let (item, name) = match &item.node.kind {
        Kind::Scalar(_) => {
            let name = item.text(cx)?;
            (definitions.sources.find(name, "source", item, cx)?.1, name)
        }
        Kind::Map(_) => (item.clone(), pipeline),
        Kind::List(_) => {
            item.wrong_type("one source, written out or by name", cx);
            return None;
        }
    };
    places.remember(Part::source(pipeline), &item);
    source::read(&item, name, cx)
}

fn read_destinations(
    item: &Item<'_>,
    pipeline: &str,
    definitions: &mut Definitions<'_>,
    places: &mut Places,
    cx: &mut Context,
) -> Option<Vec<DestinationPlan>> {
    // Each with the name it has here, and the item that says what it is: itself, or the name of a definition.
    let mut named: Vec<(&str, Item<'_>)> = Vec::new();
    match &item.node.kind {
        Kind::List(_) => {
            for entry in item.list(cx) {
                let Some(name) = entry.text(cx) else { continue };
                if let Some((_, first)) = named.iter().find(|(first, _)| *first == name) {
                    let finding = Finding::error(&codes::E0111, format!("second destination {}", quoted(name)))
                        .at(cx.place(entry.node.span), "again here")
                        .near(cx.place(first.node.span), "first here")
                        .path(entry.pointer.clone());
                    cx.report(finding);
                    continue;
                }
                named.push((name, entry));
            }
        }
        Kind::Scalar(_) => {
            item.wrong_type("a list of names, or a map of destinations", cx);
            return None;
        }
        Kind::Map(_) => {
            for (key, entry) in item.entries(cx) {
                check_name(key, "destination", &entry, cx);
                named.push((&key.text, entry));
            }
        }
    }
    let is_empty = match &item.node.kind {
        Kind::List(items) => items.is_empty(),
        Kind::Map(entries) => entries.is_empty(),
        Kind::Scalar(_) => false,
    };
    if is_empty {
        let finding = Finding::error(&codes::E0119, format!("pipeline `{pipeline}` has no destination"))
            .at(cx.place(item.owner), "at least one must stand here")
            .path(item.pointer.clone());
        cx.report(finding);
    }
    let mut read: Vec<Option<DestinationPlan>> = Vec::new();
    for (name, entry) in &named {
        let (item, key) = match &entry.node.kind {
            Kind::Scalar(_) => {
                let definition = entry
                    .text(cx)
                    .and_then(|name| definitions.destinations.find(name, "destination", entry, cx));
                let Some((key, item)) = definition else {
                    read.push(None);
                    continue;
                };
                (item, key.span)
            }
            _ => (entry.clone(), entry.owner),
        };
        let used = Use { pipeline, name, key };
        read.push(destination::read(
            &item,
            &used,
            &mut definitions.transformers,
            places,
            cx,
        ));
    }
    read.into_iter()
        .collect::<Option<Vec<_>>>()
        .filter(|read| !read.is_empty())
}

/// What only the whole pipeline shows.
fn check_together(plan: &PipelinePlan, key: &Key, item: &Item<'_>, cx: &mut Context) {
    for (index, second) in plan.destinations.iter().enumerate() {
        let is_same = |first: &&DestinationPlan| first.connector == second.connector && first.spec == second.spec;
        let has_spec = second.spec.value().as_object().is_some_and(|spec| !spec.is_empty());
        if let Some(first) = plan.destinations[..index].iter().find(is_same).filter(|_| has_spec) {
            let message = format!(
                "destinations `{}` and `{}` write to the same place",
                first.name, second.name
            );
            let finding = Finding::warning(&codes::W0113, message)
                .at(cx.place(key.span), "in this pipeline")
                .path(item.pointer.clone())
                .hint("give each a `spec` of its own, or remove one");
            cx.report(finding);
        }
    }
    let silent = plan
        .destinations
        .iter()
        .filter(|destination| destination.when_behind == WhenBehind::Hold);
    let is_chosen = plan.destinations.iter().all(|destination| {
        item.node
            .get("destinations")
            .and_then(|entry| entry.value.get(&destination.name))
            .is_some_and(|entry| entry.value.get("when_behind").is_some())
    });
    if plan.destinations.len() > 1 && !is_chosen && silent.count() > 0 {
        let finding = Finding::note(
            &codes::N0110,
            format!("a slow destination of `{}` can hold the others", plan.name),
        )
        .at(cx.place(key.span), "")
        .path(item.pointer.clone())
        .hint("with `when_behind: { then: rewind }` it is let go, and caught up later by reading the source again");
        cx.report(finding);
    }
}
