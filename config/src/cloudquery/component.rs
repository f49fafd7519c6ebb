//! What sources, destinations and transformers have in common: a name, and a plugin.

use super::fields::Registry;
use super::write::{Map, failed, word};
use super::{Homes, report_without_effect, scalars};
use crate::choice::Choices;
use crate::codes;
use crate::context::Context;
use crate::fields::Table;
use crate::finding::Finding;
use crate::pointer;
use crate::sources::Span;
use crate::tree::{Kind, Node};
use crate::typed::{Item, Object};

/// A document about a plugin.
pub(super) struct Component<'t> {
    pub(super) name: &'t str,
    pub(super) object: Object<'t>,
    /// The field `name`: what is not written anywhere stands there.
    pub(super) key: Span,
    /// Its value.
    named: Span,
}

impl<'t> Component<'t> {
    /// Reads what every plugin has. Without a name nothing can be said about it.
    pub(super) fn read(spec: &Item<'t>, table: &'static Table, cx: &mut Context) -> Option<Component<'t>> {
        let object = spec.object(table, cx)?;
        let name = object.need("name", cx)?;
        Some(Component {
            name: name.nonempty(cx)?,
            key: name.owner,
            named: name.node.span,
            object,
        })
    }

    /// Its definition: the connector, and what that is told.
    pub(super) fn definition(&self, spec: Map) -> Map {
        let mut definition = Map::at(self.key);
        definition.put("connector", self.key, word("cloudquery", self.key));
        definition.put("spec", self.key, spec.node());
        definition
    }

    /// The plugin, as the connector wants it. `group`: under which of our fields the definition will stand.
    pub(super) fn plugin(&self, group: &str, homes: &mut Homes, cx: &mut Context) -> Map {
        let definition = self.pointer(group);
        homes.put(format!("{definition}/spec"), "/spec");
        homes.put(format!("{definition}/spec/plugin"), "/spec");
        let object = &self.object;
        let mut plugin = Map::at(self.key);
        let registry = object.get("registry");
        let chosen: Option<Registry> = registry.as_ref().and_then(|item| item.choice(cx));
        match (&registry, chosen) {
            (Some(item), Some(chosen)) => plugin.put("registry", item.owner, word(chosen.name(), item.node.span)),
            (Some(item), None) => plugin.put("registry", item.owner, failed(item.node.span)),
            (None, _) => &mut plugin,
        };
        match object.need("path", cx) {
            Some(path) => plugin.put("path", path.owner, path.node.clone()),
            None => plugin.put("path", self.key, failed(self.key)),
        };
        let is_of_hub = matches!(chosen, Some(Registry::Cloudquery)) || registry.is_none();
        // Elsewhere it means nothing to CloudQuery either, and stands in many files.
        if let Some(version) = object.get("version").filter(|_| is_of_hub) {
            plugin.put("version", version.owner, version.node.clone());
        }
        if let Some(spec) = object.get("spec") {
            let mut own = spec.node.clone();
            check_placeholders(&spec, &own, cx);
            scalars::settle(&mut own);
            plugin.put("spec", spec.owner, own);
        }
        let hint = "run `docker login` once for the registry; Docker keeps it";
        report_without_effect(
            object,
            "docker_registry_auth_token",
            "Docker's own login is used",
            hint,
            cx,
        );
        plugin
    }

    /// A document of ours with one definition.
    pub(super) fn document(&self, group: &str, definition: Map, homes: &mut Homes) -> Node {
        homes.put(self.pointer(group), "/spec");
        let mut named = Map::at(self.key);
        named.put(self.name, self.named, definition.node());
        let mut document = new_document(self.key);
        document.put(group, self.key, named.node());
        document.node()
    }

    /// Where the definition stands in the translation.
    pub(super) fn pointer(&self, group: &str) -> String {
        pointer::child(&format!("/{group}"), self.name)
    }

    /// Where its name stands.
    pub(super) fn named(&self) -> Span {
        self.named
    }
}

/// A document of ours with nothing but its version.
pub(super) fn new_document(at: Span) -> Map {
    let mut document = Map::at(at);
    document.put("version", at, word("1", at));
    document
}

/// `@@plugins.NAME.connection` in a plugin's own settings would be the address of another plugin.
fn check_placeholders(spec: &Item<'_>, node: &Node, cx: &mut Context) {
    match &node.kind {
        Kind::Scalar(scalar) if scalar.text.contains("@@plugins.") => {
            let finding = Finding::error(
                &codes::E0106,
                "the address of another plugin is not available in this version",
            )
            .at(cx.place(node.span), "")
            .path(spec.pointer.clone())
            .hint("start that plugin yourself, use `registry: grpc` for it, and write its address here");
            cx.report(finding);
        }
        Kind::Scalar(_) => {}
        Kind::List(items) => items.iter().for_each(|item| check_placeholders(spec, item, cx)),
        Kind::Map(entries) => entries
            .iter()
            .for_each(|entry| check_placeholders(spec, &entry.value, cx)),
    }
}
