//! A pipeline's source and its streams.

use crate::catalog::{Role, SourceInfo};
use crate::codes;
use crate::context::Context;
use crate::fields::{COLUMNS, OVERRIDE, SOURCE, STREAMS};
use crate::finding::{Finding, FixOp};
use crate::plan::{ColumnSelection, SourcePlan, StreamOverride, StreamSelection};
use crate::suggest::{quoted, suggest};
use crate::tree::Kind;
use crate::typed::Item;

use super::component;

/// Reads a source, written out or by its definition.
pub(super) fn read(item: &Item<'_>, component_name: &str, cx: &mut Context) -> Option<SourcePlan> {
    let component = component::open(item, &SOURCE, Role::Source, cx)?;
    let spec = component.spec(component_name, cx);
    let info = component
        .connector
        .as_ref()
        .and_then(|connector| connector.info.source.as_ref());
    let streams = component
        .object
        .need("streams", cx)
        .and_then(|item| read_streams(&item, info, cx));
    Some(SourcePlan {
        connector: component.connector?.name.to_owned(),
        spec: spec?,
        streams: streams?,
    })
}

fn read_streams(item: &Item<'_>, info: Option<&SourceInfo>, cx: &mut Context) -> Option<StreamSelection> {
    let mut selection = StreamSelection::default();
    if let Kind::Map(_) = item.node.kind {
        let object = item.object(&STREAMS, cx)?;
        let include = object.need("include", cx)?;
        selection.include = read_patterns(&include, cx)?;
        selection.exclude = object.get("exclude").map(|item| item.texts(cx)).unwrap_or_default();
        for (key, item) in object.get("columns").map(|item| item.entries(cx)).unwrap_or_default() {
            check_selected(&key.text, &item, &selection, cx);
            let columns = read_columns(&item, cx)?;
            selection.columns.insert(key.text.clone(), columns);
        }
        for (key, item) in object.get("overrides").map(|item| item.entries(cx)).unwrap_or_default() {
            check_selected(&key.text, &item, &selection, cx);
            let stream = read_override(&item, info, cx)?;
            selection.overrides.insert(key.text.clone(), stream);
        }
    } else if let Kind::List(_) = item.node.kind {
        selection.include = read_patterns(item, cx)?;
    } else {
        item.wrong_type("a list of streams, or a map with `include`", cx);
        return None;
    }
    Some(selection)
}

fn read_patterns(item: &Item<'_>, cx: &mut Context) -> Option<Vec<String>> {
    let patterns = item.texts(cx);
    if let Kind::List(items) = &item.node.kind
        && items.is_empty()
    {
        let finding = Finding::error(&codes::E0119, "no stream is selected")
            .at(cx.place(item.node.span), "")
            .path(item.pointer.clone())
            .hint("name streams, or write `[\"*\"]` for all of them");
        cx.report(finding);
    }
    (!patterns.is_empty()).then_some(patterns)
}

fn read_columns(item: &Item<'_>, cx: &mut Context) -> Option<ColumnSelection> {
    let object = item.object(&COLUMNS, cx)?;
    let mut list = |name| object.get(name).map(|item| item.texts(cx)).unwrap_or_default();
    Some(ColumnSelection {
        include: list("include"),
        exclude: list("exclude"),
    })
}

fn read_override(item: &Item<'_>, info: Option<&SourceInfo>, cx: &mut Context) -> Option<StreamOverride> {
    let object = item.object(&OVERRIDE, cx)?;
    let mut stream = StreamOverride::default();
    if let Some(key) = object.get("key") {
        let columns = key.texts(cx);
        if columns.is_empty() && matches!(key.node.kind, Kind::List(_)) {
            key.out_of_range("a list of at least one column", cx);
        }
        stream.key = Some(columns);
    }
    stream.snapshot = object.get("snapshot").and_then(|item| item.choice(cx));
    for (key, item) in object.get("columns").map(|item| item.entries(cx)).unwrap_or_default() {
        let Some(name) = item.nonempty(cx) else { continue };
        if let Some(info) = info
            && !info.override_types.iter().any(|known| is_word(known, name))
        {
            let known: Vec<&str> = info.override_types.iter().map(String::as_str).collect();
            item.not_one_of(name, &known, cx);
        }
        stream.columns.insert(key.text.clone(), name.to_owned());
    }
    Some(stream)
}

/// Whether a type is the known word, in any case. Of one with arguments only the word is compared: what may stand in the
/// parentheses is the connector's to say.
fn is_word(known: &str, given: &str) -> bool {
    let word = |text: &str| text.split_once('(').map(|(word, _)| word.trim().to_ascii_lowercase());
    match (word(known), word(given)) {
        (Some(known), Some(given)) => known == given,
        (None, None) => known.eq_ignore_ascii_case(given.trim()),
        _ => false,
    }
}

/// What is set for a stream that is not carried has no effect, and is mostly a typing error.
fn check_selected(stream: &str, item: &Item<'_>, selection: &StreamSelection, cx: &mut Context) {
    if selection.selects(stream) {
        return;
    }
    let path = item.pointer.clone();
    let finding =
        Finding::error(&codes::E0128, format!("stream {} is not selected", quoted(stream))).path(path.clone());
    let place = cx.place(item.owner);
    cx.report(match suggest(stream, selection.include.iter().map(String::as_str)) {
        Some(meant) if selection.selects(meant) => {
            finding
                .at(place, format!("did you mean `{meant}`?"))
                .fix(path, FixOp::Rename, meant)
        }
        _ => finding.at(
            place,
            "no pattern of `include` selects it, or one of `exclude` leaves it out",
        ),
    });
}
