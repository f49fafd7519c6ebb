//! A connector's `spec` against the connector's JSON Schema: every mismatch with its place, and the value as the schema
//! wants it.
//!
//! The tree knows only texts; the schema says what each is. `port: 5432` becomes a number where the schema wants one and
//! stays `"5432"` where it wants text, so `version: 1.10` is never 1.1 and `country: NO` is never false.
//!
//! Understood are the keywords that `schemars` writes for serde types: `$ref`, `type`, `properties`, `required`,
//! `additionalProperties`, `items`, `enum`, `const`, `anyOf`, `oneOf`, `allOf`, the bounds of numbers and lengths, and
//! `writeOnly` and `x-unit`. Others do not refuse anything: the connector reads the value once more.

mod literal;
mod schema;
mod variants;

use serde_json::{Map, Value};

pub(crate) use literal::check_secret;
use schema::{allows, alternatives, bounds, expected, is_untyped, wants, words};

use crate::codes;
use crate::context::Context;
use crate::finding::Finding;
use crate::plan::Spec;
use crate::pointer;
use crate::suggest::{all_of, quoted, suggest};
use crate::tree::{Kind, Scalar};
use crate::typed::Item;
use crate::units::{nearest_duration, nearest_size, parse_duration, parse_size};

/// The schema that everything passes.
static ANY: Value = Value::Bool(true);

/// A chain of references longer than this is a circle.
const REFERENCES_MAX: usize = 16;

/// Whose spec it is, for messages.
pub(crate) struct Owner<'a> {
    pub(crate) connector: &'a str,
    /// The component's name; where a secret for it would be kept.
    pub(crate) component: &'a str,
    /// Fields of the spec that stand beside it, and have been reported there.
    pub(crate) misplaced: Vec<&'a str>,
}

/// Checks a spec. Findings go to the context; the value means nothing if there are errors.
pub(crate) fn check_spec(item: &Item<'_>, schema: &Value, owner: &Owner<'_>, cx: &mut Context) -> Spec {
    let mut checker = Checker {
        root: schema,
        owner,
        secrets: Vec::new(),
    };
    let value = checker.value(item, schema, "", cx);
    Spec::new(value, checker.secrets)
}

struct Checker<'a> {
    root: &'a Value,
    owner: &'a Owner<'a>,
    /// Pointers, inside the spec.
    secrets: Vec<String>,
}

/// A schema with what its references said on the way.
#[derive(Clone, Copy)]
struct Resolved<'a> {
    schema: &'a Value,
    is_secret: bool,
    unit: Option<&'a str>,
}

impl<'a> Checker<'a> {
    fn resolve(&self, schema: &'a Value) -> Resolved<'a> {
        let mut resolved = Resolved {
            schema,
            is_secret: false,
            unit: None,
        };
        for _ in 0..REFERENCES_MAX {
            let schema = resolved.schema;
            resolved.is_secret |= schema["writeOnly"] == Value::Bool(true);
            resolved.unit = resolved.unit.or(schema["x-unit"].as_str());
            let reference = schema["$ref"]
                .as_str()
                .and_then(|r| r.strip_prefix('#'))
                .and_then(|r| self.root.pointer(r));
            resolved.schema = match (reference, schema["allOf"].as_array().map(Vec::as_slice)) {
                (Some(target), _) => target,
                (None, Some([only])) if schema.get("properties").is_none() => only,
                _ => return resolved,
            };
        }
        resolved
    }

    fn value(&mut self, item: &Item<'_>, schema: &'a Value, at: &str, cx: &mut Context) -> Value {
        let resolved = self.resolve(schema);
        self.read(item, resolved, at, cx)
    }

    fn read(&mut self, item: &Item<'_>, resolved: Resolved<'a>, at: &str, cx: &mut Context) -> Value {
        if item.node.is_failed() {
            return Value::Null;
        }
        if let Some(variants) = alternatives(resolved.schema) {
            return self.one_of(item, variants, resolved, at, cx);
        }
        match &item.node.kind {
            Kind::Scalar(scalar) => self.scalar(item, scalar, resolved, at, cx),
            Kind::List(_) => self.list(item, resolved, at, cx),
            Kind::Map(_) => self.object(item, resolved, at, cx),
        }
    }

    fn object(&mut self, item: &Item<'_>, resolved: Resolved<'a>, at: &str, cx: &mut Context) -> Value {
        let schema = resolved.schema;
        if !allows(schema, "object") {
            return mismatch(item, schema, resolved.unit, cx);
        }
        let properties = schema["properties"].as_object();
        let property = |name: &str| properties.and_then(|properties| properties.get(name));
        // Serde refuses what it does not know only if told to; a configuration always does.
        let additional = match schema.get("additionalProperties") {
            Some(Value::Bool(false)) => None,
            None if properties.is_some_and(|properties| !properties.is_empty()) => None,
            None | Some(Value::Bool(true)) => Some(&ANY),
            Some(schema) => Some(schema),
        };
        let required: Vec<&str> = schema["required"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        let mut object = Map::new();
        let mut excused: Vec<&str> = if at.is_empty() {
            self.owner.misplaced.clone()
        } else {
            Vec::new()
        };
        for entry in item.node.entries() {
            let name = entry.key.text.as_str();
            let field = Item {
                node: &entry.value,
                owner: entry.key.span,
                pointer: pointer::child(&item.pointer, name),
            };
            let Some(schema) = property(name).or(additional) else {
                let known = properties
                    .into_iter()
                    .flat_map(|properties| properties.keys())
                    .map(String::as_str);
                let known: Vec<&str> = known.collect();
                // One mistake, one finding: what is misspelt is not missing as well.
                excused.extend(suggest(name, known.iter().copied()));
                let finding = self.unknown_field(&field, name, known, cx);
                cx.report(finding);
                continue;
            };
            // `field:` with nothing behind it is as good as no field.
            if entry.value.is_null() && (property(name).is_some() || self.allows_null(schema)) {
                if self.allows_null(schema) && required.contains(&name) {
                    object.insert(name.to_owned(), Value::Null);
                }
                continue;
            }
            let value = self.value(&field, schema, &pointer::child(at, name), cx);
            object.insert(name.to_owned(), value);
        }
        for name in required {
            let entry = item.node.get(name).filter(|entry| !entry.value.is_null());
            if entry.is_none() && !object.contains_key(name) && !excused.contains(&name) {
                let finding = self.missing_field(item, name, property(name), at, cx);
                cx.report(finding);
            }
        }
        Value::Object(object)
    }

    fn missing_field(&self, item: &Item<'_>, name: &str, schema: Option<&Value>, at: &str, cx: &Context) -> Finding {
        let place = item.node.get(name).map_or(item.owner, |entry| entry.key.span);
        let whose = if at.is_empty() {
            format!("connector {} needs `{name}` in `spec`", quoted(self.owner.connector))
        } else {
            format!("{} needs `{name}`", quoted(&pointer::last(&item.pointer)))
        };
        let finding = Finding::error(&codes::E0107, format!("missing field `{name}`"))
            .at(cx.place(place), whose)
            .path(item.pointer.clone());
        match schema.and_then(|schema| schema["description"].as_str()) {
            Some(doc) => finding.hint(format!("`{name}`: {}", first_sentence(doc))),
            None => finding,
        }
    }

    fn unknown_field(&self, field: &Item<'_>, name: &str, known: Vec<&str>, cx: &Context) -> Finding {
        let finding =
            Finding::error(&codes::E0104, format!("unknown field {}", quoted(name))).path(field.pointer.clone());
        if let Some(meant) = suggest(name, known.iter().copied()) {
            return finding
                .at(cx.place(field.owner), format!("did you mean `{meant}`?"))
                .fix(field.pointer.clone(), crate::finding::FixOp::Rename, meant);
        }
        let connector = quoted(self.owner.connector);
        let finding = finding.at(
            cx.place(field.owner),
            format!("connector {connector} has no such field here"),
        );
        match known.is_empty() {
            true => finding,
            false => finding.hint(format!("the fields here are {}", all_of(&known))),
        }
    }

    fn list(&mut self, item: &Item<'_>, resolved: Resolved<'a>, at: &str, cx: &mut Context) -> Value {
        let schema = resolved.schema;
        if !allows(schema, "array") {
            return mismatch(item, schema, resolved.unit, cx);
        }
        let items = item.list(cx);
        let count = items.len() as u64;
        if let Some(min) = schema["minItems"].as_u64().filter(|min| count < *min) {
            item.out_of_range(&format!("a list of at least {min}"), cx);
        }
        if let Some(max) = schema["maxItems"].as_u64().filter(|max| count > *max) {
            item.out_of_range(&format!("a list of at most {max}"), cx);
        }
        let schema_of = |index: usize| schema["prefixItems"].get(index).or(schema.get("items")).unwrap_or(&ANY);
        let value = |(index, item): (usize, &Item<'_>)| {
            self.value(item, schema_of(index), &pointer::child(at, &index.to_string()), cx)
        };
        Value::Array(items.iter().enumerate().map(value).collect())
    }

    fn scalar(
        &mut self,
        item: &Item<'_>,
        scalar: &Scalar,
        resolved: Resolved<'a>,
        at: &str,
        cx: &mut Context,
    ) -> Value {
        let schema = resolved.schema;
        if scalar.is_null() {
            return match self.allows_null(schema) {
                true => Value::Null,
                false => mismatch(item, schema, resolved.unit, cx),
            };
        }
        if let Some(words) = words(schema) {
            return match words
                .iter()
                .find(|word| word.to_string().trim_matches('"') == scalar.text)
            {
                Some(word) => (*word).clone(),
                None => {
                    let names: Vec<String> = words
                        .iter()
                        .map(|word| word.to_string().trim_matches('"').to_owned())
                        .collect();
                    let names: Vec<&str> = names.iter().map(String::as_str).collect();
                    item.not_one_of(&scalar.text, &names, cx);
                    Value::Null
                }
            };
        }
        if scalar.is_bare()
            && let Some(value) = self.number_or_boolean(item, scalar, schema, cx)
        {
            return value;
        }
        if !allows(schema, "string") {
            return mismatch(item, schema, resolved.unit, cx);
        }
        self.text(item, scalar, resolved, at, cx);
        Value::from(scalar.text.as_str())
    }

    /// The scalar as a number or a boolean, where the schema wants one and the text is one.
    fn number_or_boolean(&self, item: &Item<'_>, scalar: &Scalar, schema: &Value, cx: &mut Context) -> Option<Value> {
        let text = scalar.text.as_str();
        if is_untyped(schema) {
            // Nobody says what it is: what prints as it was written loses nothing as a number; `1.10` would.
            let value: Value = serde_json::from_str(text).ok()?;
            let printed = value.to_string();
            return (printed == text && (value.is_number() || value.is_boolean())).then_some(value);
        }
        if wants(schema, "boolean") && matches!(text, "true" | "false") {
            return Some(Value::Bool(text == "true"));
        }
        let integer = || {
            text.parse::<i64>()
                .map(Value::from)
                .or_else(|_| text.parse::<u64>().map(Value::from))
                .ok()
        };
        let float = || {
            text.parse::<f64>()
                .ok()
                .filter(|number| number.is_finite())
                .map(Value::from)
        };
        let value = match () {
            () if wants(schema, "integer") && !text.starts_with('+') => integer()?,
            () if wants(schema, "number") => integer().or_else(float)?,
            () => return None,
        };
        if let Some(expected) = bounds(schema, value.as_f64()?) {
            item.out_of_range(&expected, cx);
        }
        Some(value)
    }

    fn text(&mut self, item: &Item<'_>, scalar: &Scalar, resolved: Resolved<'a>, at: &str, cx: &mut Context) {
        let schema = resolved.schema;
        let length = scalar.text.chars().count() as u64;
        if let Some(min) = schema["minLength"].as_u64().filter(|min| length < *min) {
            item.out_of_range(&format!("text of at least {min} characters"), cx);
        }
        if let Some(max) = schema["maxLength"].as_u64().filter(|max| length > *max) {
            item.out_of_range(&format!("text of at most {max} characters"), cx);
        }
        match resolved.unit {
            Some("duration") if parse_duration(&scalar.text).is_none() => {
                let nearest = nearest_duration(&scalar.text);
                item.invalid(
                    "duration",
                    &scalar.text,
                    "a number and a unit, such as `10s`",
                    nearest,
                    cx,
                );
            }
            Some("size") if parse_size(&scalar.text).is_none() => {
                let nearest = nearest_size(&scalar.text);
                item.invalid(
                    "size",
                    &scalar.text,
                    "a number and a unit, such as `64MiB`",
                    nearest,
                    cx,
                );
            }
            _ => {}
        }
        if check_secret(item, scalar, resolved.is_secret, self.owner.component, cx) {
            self.secrets.push(at.to_owned());
        }
    }

    fn allows_null(&self, schema: &'a Value) -> bool {
        let schema = self.resolve(schema).schema;
        let takes_anything = || is_untyped(schema) && allows(schema, "null") && alternatives(schema).is_none();
        wants(schema, "null")
            || takes_anything()
            || schema["enum"]
                .as_array()
                .is_some_and(|words| words.contains(&Value::Null))
            || alternatives(schema).is_some_and(|variants| variants.iter().any(|variant| self.allows_null(variant)))
    }
}

fn mismatch(item: &Item<'_>, schema: &Value, unit: Option<&str>, cx: &mut Context) -> Value {
    report_type(item, expected(schema, unit), cx);
    Value::Null
}

fn report_type(item: &Item<'_>, expected: &str, cx: &mut Context) {
    let name = quoted(&pointer::last(&item.pointer));
    let message = format!(
        "wrong type for {name}: expected {expected}, found {}",
        item.node.describe()
    );
    let mut finding = Finding::error(&codes::E0105, message)
        .at(cx.place(item.node.span), format!("expected {expected}"))
        .path(item.pointer.clone());
    if let [entry] = item.node.entries()
        && entry.value.is_null()
        && expected == "text"
    {
        finding = finding.hint(format!(
            "put a template in quotes: {}",
            quoted(&format!("\"{{{}}}\"", entry.key.text))
        ));
    }
    if let Kind::Scalar(scalar) = &item.node.kind {
        let is_yes_or_no = ["yes", "no", "on", "off", "y", "n"].contains(&scalar.text.to_lowercase().as_str());
        if expected.contains("`true`") && is_yes_or_no {
            finding = finding.hint("YAML 1.2 knows only `true` and `false`");
        } else if !scalar.is_plain && expected.contains("number") {
            finding = finding.hint("remove the quotes");
        }
    }
    cx.report(finding);
}

fn first_sentence(doc: &str) -> String {
    let end = doc.find(". ").map_or(doc.len(), |end| end);
    doc[..end].trim_end_matches('.').replace('\n', " ")
}
