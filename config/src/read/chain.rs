//! Lists of transformers.

use crate::catalog::Role;
use crate::codes;
use crate::context::Context;
use crate::fields::{NAMED_TRANSFORMER, TRANSFORMER};
use crate::finding::Finding;
use crate::locate::{Part, Places};
use crate::plan::TransformerPlan;
use crate::suggest::quoted;
use crate::tree::Kind;
use crate::typed::Item;

use super::{Group, component};

/// Reads a chain. `part_of` makes the part of a transformer's name.
pub(super) fn read(
    item: &Item<'_>,
    transformers: &mut Group<'_>,
    part_of: impl Fn(&str) -> Part,
    places: &mut Places,
    cx: &mut Context,
) -> Option<Vec<TransformerPlan>> {
    let mut chain: Vec<Option<TransformerPlan>> = Vec::new();
    let mut names: Vec<(String, Item<'_>)> = Vec::new();
    for entry in item.list(cx) {
        let transformer = match &entry.node.kind {
            Kind::Scalar(_) => named(&entry, transformers, &part_of, places, cx),
            _ => written_out(&entry, &part_of, places, cx),
        };
        if let Some(transformer) = &transformer {
            let named = entry.node.get("name").map_or(entry.node.span, |name| name.value.span);
            match names.iter().find(|(name, _)| *name == transformer.name) {
                Some((name, first)) => {
                    let first = first.node.get("name").map_or(first.node.span, |name| name.value.span);
                    let finding = Finding::error(&codes::E0111, format!("second transformer {}", quoted(name)))
                        .at(cx.place(named), "again here")
                        .near(cx.place(first), "first here")
                        .path(entry.pointer.clone())
                        .hint("give it a `name` of its own");
                    cx.report(finding);
                }
                None => names.push((transformer.name.clone(), entry.clone())),
            }
        }
        chain.push(transformer);
    }
    chain.into_iter().collect()
}

fn named(
    entry: &Item<'_>,
    transformers: &mut Group<'_>,
    part_of: &impl Fn(&str) -> Part,
    places: &mut Places,
    cx: &mut Context,
) -> Option<TransformerPlan> {
    let name = entry.text(cx)?;
    let (_, item) = transformers.find(name, "transformer", entry, cx)?;
    let component = component::open(&item, &TRANSFORMER, Role::Transformer, cx)?;
    places.remember(part_of(name), &item);
    let spec = component.spec(name, cx);
    Some(TransformerPlan {
        name: name.to_owned(),
        connector: component.connector?.name.to_owned(),
        spec: spec?,
    })
}

fn written_out(
    entry: &Item<'_>,
    part_of: &impl Fn(&str) -> Part,
    places: &mut Places,
    cx: &mut Context,
) -> Option<TransformerPlan> {
    let component = component::open(entry, &NAMED_TRANSFORMER, Role::Transformer, cx)?;
    let name = component.object.get("name").and_then(|name| name.nonempty(cx));
    let name = name
        .or(component.connector.as_ref().map(|connector| connector.name))
        .unwrap_or("transformer");
    places.remember(part_of(name), entry);
    let spec = component.spec(name, cx);
    Some(TransformerPlan {
        name: name.to_owned(),
        connector: component.connector?.name.to_owned(),
        spec: spec?,
    })
}
