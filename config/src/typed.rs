//! Reading a tree into types. Every reader reports what is wrong and goes on, so that one look shows everything.

use std::time::Duration;

use crate::choice::Choices;
use crate::codes;
use crate::context::Context;
use crate::fields::{Kind as FieldKind, Table};
use crate::finding::{Finding, FixOp};
use crate::pointer;
use crate::sources::Span;
use crate::suggest::{one_of, quoted, suggest};
use crate::tree::{Key, Kind, Node, Origin, Scalar};
use crate::units::{nearest_duration, nearest_size, parse_duration, parse_size};

/// A value to be read, and where it stands.
#[derive(Clone)]
pub(crate) struct Item<'t> {
    pub(crate) node: &'t Node,
    /// The key that holds it, or itself: what to point at when something is missing *in* it.
    pub(crate) owner: Span,
    /// JSON pointer into the document.
    pub(crate) pointer: String,
}

impl<'t> Item<'t> {
    pub(crate) fn new(node: &'t Node, pointer: impl Into<String>) -> Self {
        Self {
            node,
            owner: node.span,
            pointer: pointer.into(),
        }
    }

    /// The last part of the pointer: the name of the field.
    fn name(&self) -> String {
        pointer::last(&self.pointer)
    }

    pub(crate) fn wrong_type(&self, expected: &str, cx: &mut Context) {
        if self.node.is_failed() {
            return;
        }
        let message = format!(
            "wrong type for {}: expected {expected}, found {}",
            quoted(&self.name()),
            self.node.describe()
        );
        let finding =
            Finding::error(&codes::E0105, message).at(cx.place(self.node.span), format!("expected {expected}"));
        cx.report(finding.path(self.pointer.clone()));
    }

    pub(crate) fn scalar(&self) -> Option<&'t Scalar> {
        match &self.node.kind {
            Kind::Scalar(scalar) if scalar.origin != Origin::Failed && !scalar.is_null() => Some(scalar),
            _ => None,
        }
    }

    pub(crate) fn text(&self, cx: &mut Context) -> Option<&'t str> {
        let scalar = self.scalar();
        if scalar.is_none() {
            self.wrong_type("text", cx);
        }
        scalar.map(|scalar| scalar.text.as_str())
    }

    /// A text that says something.
    pub(crate) fn nonempty(&self, cx: &mut Context) -> Option<&'t str> {
        let text = self.text(cx)?;
        if text.trim().is_empty() {
            let finding = Finding::error(&codes::E0103, format!("{} is empty", quoted(&self.name())));
            cx.report(finding.at(cx.place(self.node.span), "").path(self.pointer.clone()));
            return None;
        }
        Some(text)
    }

    pub(crate) fn duration(&self, cx: &mut Context) -> Option<Duration> {
        let expected = "a number and a unit, such as `10s`";
        let Some(scalar) = self.scalar() else {
            self.wrong_type("a duration, such as `10s`", cx);
            return None;
        };
        let duration = parse_duration(&scalar.text);
        if duration.is_none() {
            self.invalid("duration", &scalar.text, expected, nearest_duration(&scalar.text), cx);
        }
        duration
    }

    /// A duration above zero.
    pub(crate) fn wait(&self, cx: &mut Context) -> Option<Duration> {
        let duration = self.duration(cx)?;
        if duration.is_zero() {
            self.out_of_range("more than zero", cx);
            return None;
        }
        Some(duration)
    }

    /// A size in bytes, above zero.
    pub(crate) fn size(&self, cx: &mut Context) -> Option<u64> {
        let Some(scalar) = self.scalar() else {
            self.wrong_type("a size, such as `64MiB`", cx);
            return None;
        };
        let size = parse_size(&scalar.text);
        match size {
            None => {
                let expected = "a number and a unit, such as `64MiB`";
                self.invalid("size", &scalar.text, expected, nearest_size(&scalar.text), cx);
            }
            Some(0) => self.out_of_range("more than zero", cx),
            Some(_) => {}
        }
        size.filter(|bytes| *bytes > 0)
    }

    pub(crate) fn invalid(&self, what: &str, text: &str, expected: &str, nearest: Option<String>, cx: &mut Context) {
        let label = match &nearest {
            Some(nearest) => format!("did you mean `{nearest}`?"),
            None => format!("expected {expected}"),
        };
        let mut finding = Finding::error(&codes::E0103, format!("invalid {what} {}", quoted(text)))
            .at(cx.place(self.node.span), label)
            .path(self.pointer.clone());
        if let Some(nearest) = nearest {
            finding = finding.fix(self.pointer.clone(), FixOp::Replace, nearest);
        }
        cx.report(finding);
    }

    pub(crate) fn out_of_range(&self, expected: &str, cx: &mut Context) {
        let message = format!("{} must be {expected}", quoted(&self.name()));
        let finding =
            Finding::error(&codes::E0103, message).at(cx.place(self.node.span), format!("expected {expected}"));
        cx.report(finding.path(self.pointer.clone()));
    }

    /// A whole number within bounds, both inclusive. In quotes it is text, unless it was expanded.
    pub(crate) fn integer(&self, min: u64, max: u64, cx: &mut Context) -> Option<u64> {
        let number = self.scalar().filter(|scalar| scalar.is_bare());
        let Some(number) = number.and_then(|scalar| scalar.text.parse::<i128>().ok()) else {
            self.wrong_type("a whole number", cx);
            return None;
        };
        if number < i128::from(min) || number > i128::from(max) {
            let expected = if max == u64::MAX {
                format!("at least {min}")
            } else {
                format!("from {min} to {max}")
            };
            self.out_of_range(&expected, cx);
            return None;
        }
        u64::try_from(number).ok()
    }

    /// `true` or `false`.
    pub(crate) fn boolean(&self, cx: &mut Context) -> Option<bool> {
        let word = self.scalar().filter(|scalar| scalar.is_bare());
        match word.map(|scalar| scalar.text.as_str()) {
            Some("true" | "True" | "TRUE") => Some(true),
            Some("false" | "False" | "FALSE") => Some(false),
            _ => {
                self.wrong_type("`true` or `false`", cx);
                None
            }
        }
    }

    pub(crate) fn choice<T: Choices>(&self, cx: &mut Context) -> Option<T> {
        let names: Vec<_> = T::ALL.iter().map(|(_, choice)| choice.name).collect();
        let Some(scalar) = self.scalar() else {
            self.wrong_type(&one_of(&names), cx);
            return None;
        };
        let value = T::parse(&scalar.text);
        if value.is_none() {
            match T::LATER.iter().find(|(later, _)| *later == scalar.text) {
                Some((later, why)) => {
                    let written = format!("{}: {later}", self.name());
                    let finding =
                        Finding::error(&codes::E0106, format!("`{written}` is not available in this version"));
                    cx.report(
                        finding
                            .at(cx.place(self.node.span), "")
                            .path(self.pointer.clone())
                            .hint(*why),
                    );
                }
                None => self.not_one_of(&scalar.text, &names, cx),
            }
        }
        value
    }

    /// Reports a word that is not among those allowed.
    pub(crate) fn not_one_of(&self, text: &str, names: &[&str], cx: &mut Context) {
        let message = format!("{} is not a value of {}", quoted(text), quoted(&self.name()));
        let meant = suggest(text, names.iter().copied());
        let label = match meant {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => format!("expected {}", one_of(names)),
        };
        let mut finding = Finding::error(&codes::E0115, message)
            .at(cx.place(self.node.span), label)
            .path(self.pointer.clone());
        if let Some(meant) = meant {
            finding = finding.fix(self.pointer.clone(), FixOp::Replace, meant);
        }
        cx.report(finding);
    }

    /// The items of a list.
    pub(crate) fn list(&self, cx: &mut Context) -> Vec<Item<'t>> {
        let Kind::List(items) = &self.node.kind else {
            self.wrong_type("a list", cx);
            return Vec::new();
        };
        let item = |(index, node)| Item::new(node, pointer::child(&self.pointer, &format!("{index}")));
        items.iter().enumerate().map(item).collect()
    }

    /// The items of a list of texts; what is not text is reported and left out.
    pub(crate) fn texts(&self, cx: &mut Context) -> Vec<String> {
        self.list(cx)
            .iter()
            .filter_map(|item| item.nonempty(cx).map(str::to_owned))
            .collect()
    }

    /// The entries of a map whose keys the user chooses.
    pub(crate) fn entries(&self, cx: &mut Context) -> Vec<(&'t Key, Item<'t>)> {
        let Kind::Map(entries) = &self.node.kind else {
            self.wrong_type("a map", cx);
            return Vec::new();
        };
        let pointer = |key: &str| pointer::child(&self.pointer, key);
        entries
            .iter()
            .map(|entry| {
                (
                    &entry.key,
                    Item {
                        node: &entry.value,
                        owner: entry.key.span,
                        pointer: pointer(&entry.key.text),
                    },
                )
            })
            .collect()
    }

    /// The map as one with known fields. Unknown ones are reported here.
    pub(crate) fn object(&self, table: &'static Table, cx: &mut Context) -> Option<Object<'t>> {
        self.object_beside(table, &[], cx)
    }

    /// As [`Item::object`]; a field that stands here and belongs into `spec` is recognised.
    pub(crate) fn object_beside(
        &self,
        table: &'static Table,
        spec_fields: &[&str],
        cx: &mut Context,
    ) -> Option<Object<'t>> {
        let Kind::Map(entries) = &self.node.kind else {
            self.wrong_type("a map", cx);
            return None;
        };
        for entry in entries {
            let path = pointer::child(&self.pointer, &entry.key.text);
            match table.field(&entry.key.text).map(|field| &field.kind) {
                None => cx.report(unknown_field(&entry.key, path, table, spec_fields, cx)),
                Some(FieldKind::Later(why)) => {
                    let finding = Finding::error(
                        &codes::E0106,
                        format!("`{}` is not available in this version", entry.key.text),
                    )
                    .at(cx.place(entry.key.span), "")
                    .path(path)
                    .hint(*why);
                    cx.report(finding);
                }
                Some(_) => {}
            }
        }
        Some(Object {
            item: self.clone(),
            table,
        })
    }
}

fn unknown_field(key: &Key, path: String, table: &Table, spec_fields: &[&str], cx: &Context) -> Finding {
    let finding = Finding::error(&codes::E0104, format!("unknown field {}", quoted(&key.text))).path(path.clone());
    if spec_fields.contains(&key.text.as_str()) {
        return finding.at(cx.place(key.span), "this belongs into `spec`");
    }
    match suggest(&key.text, table.names()) {
        Some(meant) => {
            finding
                .at(cx.place(key.span), format!("did you mean `{meant}`?"))
                .fix(path, FixOp::Rename, meant)
        }
        None => {
            let names: Vec<_> = table.names().collect();
            finding
                .at(cx.place(key.span), format!("not a field of {}", table.what))
                .hint(format!("the fields here are {}", crate::suggest::all_of(&names)))
        }
    }
}

/// A map with known fields.
pub(crate) struct Object<'t> {
    pub(crate) item: Item<'t>,
    table: &'static Table,
}

impl<'t> Object<'t> {
    /// A field; `None` if it is absent or empty.
    pub(crate) fn get(&self, name: &str) -> Option<Item<'t>> {
        debug_assert!(
            self.table.field(name).is_some(),
            "`{name}` is not in the table of {}",
            self.table.what
        );
        let entry = self.item.node.get(name)?;
        let pointer = pointer::child(&self.item.pointer, name);
        (!entry.value.is_null()).then_some(Item {
            node: &entry.value,
            owner: entry.key.span,
            pointer,
        })
    }

    /// The keys that are not fields.
    pub(crate) fn unknown(&self) -> Vec<&'t str> {
        let keys = self.item.node.entries().iter().map(|entry| entry.key.text.as_str());
        keys.filter(|key| self.table.field(key).is_none()).collect()
    }

    /// A field that must be there. One that is only misspelt has been reported as such.
    pub(crate) fn need(&self, name: &str, cx: &mut Context) -> Option<Item<'t>> {
        let item = self.get(name);
        let is_misspelt = || {
            self.unknown()
                .iter()
                .any(|key| suggest(key, self.table.names()) == Some(name))
        };
        if item.is_none() && !is_misspelt() {
            let place = self.item.node.get(name).map_or(self.item.owner, |entry| entry.key.span);
            let finding = Finding::error(&codes::E0107, format!("missing field `{name}`"))
                .at(cx.place(place), format!("{} needs `{name}`", self.table.what))
                .path(self.item.pointer.clone());
            cx.report(finding);
        }
        item
    }

    /// A field that holds a map with known fields.
    pub(crate) fn map(&self, name: &str, cx: &mut Context) -> Option<Object<'t>> {
        match self.table.field(name)?.kind {
            FieldKind::Map(table) => self.get(name)?.object(table, cx),
            _ => None,
        }
    }
}
