//! What sources, transformers and destinations have in common: a connector, and its spec.

use serde_json::Value;

use crate::catalog::{ConnectorInfo, Role};
use crate::codes;
use crate::context::Context;
use crate::fields::Table;
use crate::finding::{Finding, FixOp};
use crate::plan::Spec;
use crate::pointer;
use crate::spec_check::{Owner, check_spec};
use crate::suggest::{one_of, quoted, suggest};
use crate::tree::{Kind, Node};
use crate::typed::{Item, Object};

/// A component whose fields can be read and whose connector may be known.
pub(super) struct Component<'t, 'c> {
    pub(super) object: Object<'t>,
    pub(super) connector: Option<Connector<'t, 'c>>,
}

/// A connector in the role it is used in.
pub(super) struct Connector<'t, 'c> {
    pub(super) name: &'c str,
    pub(super) info: &'c ConnectorInfo,
    schema: &'c Value,
    /// The `connector:` field.
    pub(super) item: Item<'t>,
}

/// Opens a component and finds its connector.
pub(super) fn open<'t, 'c>(
    item: &Item<'t>,
    table: &'static Table,
    role: Role,
    cx: &mut Context<'c>,
) -> Option<Component<'t, 'c>> {
    // Known before the fields are looked at, so that a spec's field in the wrong place is recognised.
    let schema = item.node.get("connector").and_then(|entry| match &entry.value.kind {
        Kind::Scalar(scalar) => cx.catalog.get(&scalar.text)?.spec_schema(role),
        _ => None,
    });
    let spec_fields: Vec<&str> = schema
        .and_then(|schema| schema["properties"].as_object())
        .map(|properties| properties.keys().map(String::as_str).collect())
        .unwrap_or_default();
    let object = item.object_beside(table, &spec_fields, cx)?;
    let connector = find(&object, role, cx);
    Some(Component { object, connector })
}

fn find<'t, 'c>(object: &Object<'t>, role: Role, cx: &mut Context<'c>) -> Option<Connector<'t, 'c>> {
    let item = object.need("connector", cx)?;
    let written = item.text(cx)?;
    let catalog = cx.catalog;
    let place = cx.place(item.node.span);
    let names = catalog.in_role(role);
    let Some((name, info)) = catalog.iter().find(|(name, _)| *name == written) else {
        let finding =
            Finding::error(&codes::E0112, format!("unknown connector {}", quoted(written))).path(item.pointer.clone());
        cx.report(match suggest(written, names.iter().copied()) {
            Some(meant) => {
                finding
                    .at(place, format!("did you mean `{meant}`?"))
                    .fix(item.pointer.clone(), FixOp::Replace, meant)
            }
            None => finding.at(place, "not in this version of highwater").hint(format!(
                "as a {} there is {}",
                role.name(),
                one_of(&names)
            )),
        });
        return None;
    };
    let Some(schema) = info.spec_schema(role) else {
        let message = format!("connector `{name}` cannot be a {}", role.name());
        let finding = Finding::error(&codes::E0113, message)
            .at(place, format!("it can be a {}", info.roles().join(" or a ")))
            .path(item.pointer.clone())
            .hint(format!("as a {} there is {}", role.name(), one_of(&names)));
        cx.report(finding);
        return None;
    };
    Some(Connector {
        name,
        info,
        schema,
        item,
    })
}

impl Component<'_, '_> {
    /// The spec, checked against the connector's schema.
    pub(super) fn spec(&self, component: &str, cx: &mut Context) -> Option<Spec> {
        let connector = self.connector.as_ref()?;
        let properties = connector.schema["properties"].as_object();
        let is_of_spec = |name: &&str| properties.is_some_and(|properties| properties.contains_key(*name));
        let beside = self.object.unknown();
        let misplaced = beside.into_iter().filter(is_of_spec).collect();
        let owner = Owner {
            connector: connector.name,
            component,
            misplaced,
        };
        if let Some(item) = self.object.get("spec") {
            return Some(check_spec(&item, connector.schema, &owner, cx));
        }
        // No spec is an empty one; what it lacks is lacking at the component.
        let component = &self.object.item;
        let empty = Node {
            span: component.owner,
            kind: Kind::Map(Vec::new()),
        };
        let pointer = pointer::child(&component.pointer, "spec");
        let item = Item {
            node: &empty,
            owner: component.owner,
            pointer,
        };
        Some(check_spec(&item, connector.schema, &owner, cx))
    }
}
