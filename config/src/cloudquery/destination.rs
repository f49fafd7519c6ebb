//! `kind: destination`.

use super::component::Component;
use super::fields::{MigrateMode, PkMode, WriteMode};
use super::write::{Map, word};
use super::{Homes, report_without_effect};
use crate::choice::Choices;
use crate::codes;
use crate::context::Context;
use crate::finding::Finding;
use crate::plan::Write;
use crate::tree::Node;
use crate::typed::Item;

/// The destination as a definition of ours.
pub(super) fn write(component: &Component<'_>, homes: &mut Homes, cx: &mut Context) -> Node {
    let (object, key) = (&component.object, component.key);
    let mut spec = Map::at(key);
    spec.put("plugin", key, component.plugin("destinations", homes, cx).node());
    let migrate = object.get("migrate_mode");
    if let Some((item, MigrateMode::Forced)) = chosen(migrate, cx) {
        spec.put("migrate_force", item.owner, word("true", item.node.span));
    }
    let mode = chosen(object.get("write_mode"), cx);
    if let Some((item, PkMode::CqIdOnly)) = chosen(object.get("pk_mode"), cx) {
        spec.put("key", item.owner, word("cq_id", item.node.span));
    }
    if let Some(group) = object.get("sync_group_id") {
        let appends_all = matches!(mode, Some((_, WriteMode::Append | WriteMode::Overwrite)));
        if !appends_all {
            let message = "`sync_group_id` keeps the rows of each sync, and `overwrite-delete-stale` removes them";
            let finding = Finding::error(&codes::E0116, message)
                .at(cx.place(group.owner), "")
                .path(group.pointer.clone());
            cx.report(finding.hint("use `write_mode: append` or `write_mode: overwrite`"));
        }
        spec.put("sync_group_id", group.owner, group.node.clone());
    }
    if object.get("send_sync_summary").and_then(|item| item.boolean(cx)) == Some(true) {
        let hint = "use `highwater sync --summary FILE`";
        report_without_effect(
            object,
            "send_sync_summary",
            "no table of summaries is written",
            hint,
            cx,
        );
    }
    let pointer = component.pointer("destinations");
    for (ours, theirs) in [
        ("write", "write_mode"),
        ("spec/migrate_force", "migrate_mode"),
        ("spec/key", "pk_mode"),
    ] {
        homes.put(format!("{pointer}/{ours}"), format!("/spec/{theirs}"));
    }
    let mut definition = component.definition(spec);
    let (owner, span, mode) = match &mode {
        Some((item, mode)) => (item.owner, item.node.span, *mode),
        None => (key, key, WriteMode::OverwriteDeleteStale),
    };
    let write = match mode {
        WriteMode::OverwriteDeleteStale => Write::Mirror,
        WriteMode::Overwrite => Write::Upsert,
        WriteMode::Append => Write::Append,
    };
    definition.put("write", owner, word(write.name(), span));
    if let Some(transformers) = object.get("transformers") {
        definition.put("transformers", transformers.owner, transformers.node.clone());
    }
    component.document("destinations", definition, homes)
}

/// A word with its item.
fn chosen<'t, T: Choices>(item: Option<Item<'t>>, cx: &mut Context) -> Option<(Item<'t>, T)> {
    let item = item?;
    let word = item.choice(cx)?;
    Some((item, word))
}
