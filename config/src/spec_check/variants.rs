//! Values of one of several schemas: `anyOf` and `oneOf`, which serde's enums and options become.

use serde_json::Value;

use super::schema::{accepts, expected, words};
use super::{Checker, Resolved, report_type};
use crate::codes;
use crate::context::Context;
use crate::finding::Finding;
use crate::pointer;
use crate::suggest::one_of;
use crate::tree::Kind;
use crate::typed::Item;

/// Which schema a map is meant for.
enum Tagged<'a> {
    Variant(Resolved<'a>),
    Reported,
    Unknown,
}

impl<'a> Checker<'a> {
    /// A value of one of several schemas. The one it is meant for is found first, so that its findings are the useful ones.
    pub(super) fn one_of(
        &mut self,
        item: &Item<'_>,
        variants: &'a [Value],
        outer: Resolved<'a>,
        at: &str,
        cx: &mut Context,
    ) -> Value {
        let resolved: Vec<Resolved<'a>> = variants.iter().map(|variant| self.resolve(variant)).collect();
        if item.node.is_null() && resolved.iter().any(|variant| self.allows_null(variant.schema)) {
            return Value::Null;
        }
        let kind = match &item.node.kind {
            Kind::Scalar(_) => "scalar",
            Kind::List(_) => "array",
            Kind::Map(_) => "object",
        };
        let fitting: Vec<Resolved<'a>> = resolved
            .iter()
            .filter(|variant| accepts(variant.schema, kind))
            .copied()
            .collect();
        match fitting.as_slice() {
            [] => {
                let names: Vec<&str> = resolved
                    .iter()
                    .map(|variant| expected(variant.schema, variant.unit))
                    .collect();
                let mut names: Vec<&str> = names.into_iter().filter(|name| *name != "nothing").collect();
                names.dedup();
                report_type(item, &names.join(" or "), cx);
                Value::Null
            }
            [only] => self.chosen(item, *only, outer, at, cx),
            several => match (kind, &item.node.kind) {
                ("scalar", Kind::Scalar(scalar)) if several.iter().all(|variant| words(variant.schema).is_some()) => {
                    let all: Vec<&Value> = several
                        .iter()
                        .flat_map(|v| words(v.schema).unwrap_or_default())
                        .collect();
                    let names: Vec<&str> = all.iter().filter_map(|word| word.as_str()).collect();
                    if names.contains(&scalar.text.as_str()) {
                        return Value::from(scalar.text.as_str());
                    }
                    item.not_one_of(&scalar.text, &names, cx);
                    Value::Null
                }
                ("object", _) => match self.tagged(item, several, cx) {
                    Tagged::Variant(variant) => self.chosen(item, variant, outer, at, cx),
                    Tagged::Reported => Value::Null,
                    Tagged::Unknown => self.best(item, several, outer, at, cx),
                },
                _ => self.best(item, several, outer, at, cx),
            },
        }
    }

    fn chosen(
        &mut self,
        item: &Item<'_>,
        variant: Resolved<'a>,
        outer: Resolved<'a>,
        at: &str,
        cx: &mut Context,
    ) -> Value {
        let is_secret = variant.is_secret || outer.is_secret;
        self.read(
            item,
            Resolved {
                is_secret,
                unit: variant.unit.or(outer.unit),
                ..variant
            },
            at,
            cx,
        )
    }

    /// The variant with the fewest findings.
    fn best(
        &mut self,
        item: &Item<'_>,
        variants: &[Resolved<'a>],
        outer: Resolved<'a>,
        at: &str,
        cx: &mut Context,
    ) -> Value {
        let secret_count = self.secrets.len();
        let mut best: Option<(Value, Vec<Finding>, Vec<String>)> = None;
        for variant in variants {
            let (value, findings) = cx.attempt(|cx| self.chosen(item, *variant, outer, at, cx));
            let secrets = self.secrets.split_off(secret_count);
            if best.as_ref().is_none_or(|(_, fewest, _)| findings.len() < fewest.len()) {
                best = Some((value, findings, secrets));
            }
        }
        let Some((value, findings, secrets)) = best else {
            return Value::Null;
        };
        self.secrets.extend(secrets);
        findings.into_iter().for_each(|finding| cx.report(finding));
        value
    }

    /// Which of several object schemas a map is meant for, by a field that only one value fits, or by its only field.
    fn tagged(&self, item: &Item<'_>, variants: &[Resolved<'a>], cx: &mut Context) -> Tagged<'a> {
        let tag_of = |variant: &Resolved<'a>| {
            let properties = variant.schema["properties"].as_object()?;
            properties.iter().find_map(|(name, schema)| {
                let word = words(self.resolve(schema).schema).filter(|words| words.len() == 1)?;
                Some((name.as_str(), word[0].as_str()?))
            })
        };
        let tags: Vec<_> = variants.iter().filter_map(tag_of).collect();
        if let Some((name, _)) = tags.first()
            && tags.len() == variants.len()
            && tags.iter().all(|(other, _)| other == name)
        {
            let words: Vec<&str> = tags.iter().map(|(_, word)| *word).collect();
            let Some(entry) = item.node.get(name) else {
                let finding = Finding::error(&codes::E0107, format!("missing field `{name}`")).at(
                    cx.place(item.owner),
                    format!("expected `{name}` with {}", one_of(&words)),
                );
                cx.report(finding.path(item.pointer.clone()));
                return Tagged::Reported;
            };
            let tag = Item {
                node: &entry.value,
                owner: entry.key.span,
                pointer: pointer::child(&item.pointer, name),
            };
            let Some(text) = tag.text(cx) else {
                return Tagged::Reported;
            };
            return match words.iter().position(|word| *word == text) {
                Some(index) => Tagged::Variant(variants[index]),
                None => {
                    tag.not_one_of(text, &words, cx);
                    Tagged::Reported
                }
            };
        }
        let only_field = |variant: &Resolved<'a>| match variant.schema["required"].as_array().map(Vec::as_slice) {
            Some([only]) => only.as_str(),
            _ => None,
        };
        let fields: Vec<&str> = variants.iter().filter_map(only_field).collect();
        if fields.len() != variants.len() {
            return Tagged::Unknown;
        }
        if let Some(index) = fields.iter().position(|field| item.node.get(field).is_some()) {
            return Tagged::Variant(variants[index]);
        }
        match item.node.entries() {
            [entry] => {
                let unknown = Item {
                    node: &entry.value,
                    owner: entry.key.span,
                    pointer: item.pointer.clone(),
                };
                let finding = self.unknown_field(&unknown, &entry.key.text, fields, cx);
                cx.report(finding);
            }
            _ => report_type(item, &format!("a map with one of {}", one_of(&fields)), cx),
        }
        Tagged::Reported
    }
}
