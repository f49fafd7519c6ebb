//! A connector's `spec` against the connector's JSON Schema: every mismatch with its place, and the value as the schema
//! wants it.
//!
//! The tree knows only texts; the schema says what each is. `port: 5432` becomes a number where the schema wants one and
//! stays `"5432"` where it wants text, so `version: 1.10` is never 1.1 and `country: NO` is never false.
//!
//! Understood are the keywords that `schemars` writes for serde types: `$ref`, `type`, `properties`, `required`,
//! `additionalProperties`, `items`, `enum`, `const`, `anyOf`, `oneOf`, `allOf`, the bounds of numbers and lengths, and
//! `writeOnly` and `x-unit`. Others do not refuse anything: the connector reads the value once more.

use serde_json::{Map, Value};

use crate::codes;
use crate::context::Context;
use crate::finding::Finding;
use crate::plan::Spec;
use crate::pointer;
use crate::secrets::url_password;
use crate::sources::Span;
use crate::suggest::{all_of, one_of, quoted, suggest};
use crate::tree::{Kind, Node, Origin, Scalar};
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
            let entry = item.node.get(name);
            if entry.is_some_and(|entry| !entry.value.is_null()) || object.contains_key(name) || excused.contains(&name)
            {
                continue;
            }
            let place = entry.map_or(item.owner, |entry| entry.key.span);
            let whose = if at.is_empty() {
                format!("connector {} needs `{name}` in `spec`", quoted(self.owner.connector))
            } else {
                format!("{} needs `{name}`", quoted(&pointer::last(&item.pointer)))
            };
            let mut finding = Finding::error(&codes::E0107, format!("missing field `{name}`"))
                .at(cx.place(place), whose)
                .path(item.pointer.clone());
            if let Some(doc) = property(name).and_then(|schema| schema["description"].as_str()) {
                finding = finding.hint(format!("`{name}`: {}", first_sentence(doc)));
            }
            cx.report(finding);
        }
        Value::Object(object)
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
        // In quotes it is text, unless it was expanded: `"${PORT}"` must be quotable inside brackets.
        let is_bare = scalar.is_plain || scalar.origin != Origin::Literal;
        if is_bare && let Some(value) = self.number_or_boolean(item, scalar, schema, cx) {
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
        let number = value.as_f64()?;
        let bound = |key: &str| schema[key].as_f64();
        let expected = match () {
            () if bound("minimum").is_some_and(|min| number < min) => format!("at least {}", schema["minimum"]),
            () if bound("maximum").is_some_and(|max| number > max) => format!("at most {}", schema["maximum"]),
            () if bound("exclusiveMinimum").is_some_and(|min| number <= min) => {
                format!("more than {}", schema["exclusiveMinimum"])
            }
            () if bound("exclusiveMaximum").is_some_and(|max| number >= max) => {
                format!("less than {}", schema["exclusiveMaximum"])
            }
            () => return Some(value),
        };
        item.out_of_range(&expected, cx);
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

    /// A value of one of several schemas. The one it is meant for is found first, so that its findings are the useful ones.
    fn one_of(
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
        let variant = Resolved {
            schema: variant.schema,
            is_secret: variant.is_secret || outer.is_secret,
            unit: variant.unit.or(outer.unit),
        };
        if let Some(variants) = alternatives(variant.schema) {
            return self.one_of(item, variants, variant, at, cx);
        }
        match &item.node.kind {
            Kind::Scalar(scalar) => self.scalar(item, scalar, variant, at, cx),
            Kind::List(_) => self.list(item, variant, at, cx),
            Kind::Map(_) => self.object(item, variant, at, cx),
        }
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

    fn allows_null(&self, schema: &'a Value) -> bool {
        let schema = self.resolve(schema).schema;
        wants(schema, "null")
            || schema["enum"]
                .as_array()
                .is_some_and(|words| words.contains(&Value::Null))
            || alternatives(schema).is_some_and(|variants| variants.iter().any(|variant| self.allows_null(variant)))
    }
}

enum Tagged<'a> {
    Variant(Resolved<'a>),
    Reported,
    Unknown,
}

/// Looks after a text that may be a secret; whether it is one.
///
/// A literal in a field marked secret, or a password inside a URL in any field, is a warning and is masked in snippets.
pub(crate) fn check_secret(
    item: &Item<'_>,
    scalar: &Scalar,
    is_marked: bool,
    component: &str,
    cx: &mut Context,
) -> bool {
    let password = url_password(&scalar.text);
    if scalar.origin == Origin::Secret {
        return true;
    }
    if scalar.text.is_empty() || (password.is_none() && (!is_marked || scalar.text.contains("://"))) {
        return false;
    }
    let (start, end) = password.unwrap_or((0, scalar.text.len()));
    cx.secrets.register(&scalar.text[start..end]);
    if scalar.origin != Origin::Literal {
        return true;
    }
    let span = within(item.node, &scalar.text, start, end, cx);
    cx.masked.push(span);
    let what = if password.is_some() {
        "password".to_owned()
    } else {
        quoted(&pointer::last(&item.pointer))
    };
    let finding = Finding::warning(&codes::W0110, format!("{what} in plain text"))
        .at(cx.place(span), "put it in a secret")
        .path(item.pointer.clone())
        .hint(format!("`${{secret:file:/run/secrets/{component}}}`"));
    cx.report(finding);
    true
}

/// The span of a part of a scalar's text; the whole scalar if escapes make that unknowable.
fn within(node: &Node, text: &str, start: usize, end: usize, cx: &Context) -> Span {
    let raw = cx.sources.slice(node.span);
    let Some(offset) = raw.find(text) else { return node.span };
    let base = node.span.start + offset as u32;
    Span {
        start: base + start as u32,
        end: base + end as u32,
        ..node.span
    }
}

/// `anyOf` or `oneOf`.
fn alternatives(schema: &Value) -> Option<&[Value]> {
    ["oneOf", "anyOf"]
        .iter()
        .find_map(|key| schema[*key].as_array())
        .map(Vec::as_slice)
}

/// The values of `enum` or `const`.
fn words(schema: &Value) -> Option<Vec<&Value>> {
    match (schema["enum"].as_array(), schema.get("const")) {
        (Some(words), _) => Some(words.iter().filter(|word| !word.is_null()).collect()),
        (None, Some(word)) => Some(vec![word]),
        (None, None) => None,
    }
}

/// Whether `type` names this type.
fn wants(schema: &Value, name: &str) -> bool {
    match &schema["type"] {
        Value::String(only) => only == name,
        Value::Array(several) => several.iter().any(|one| one == name),
        _ => false,
    }
}

fn is_untyped(schema: &Value) -> bool {
    schema.get("type").is_none() && words(schema).is_none()
}

/// Whether a value of this type can pass.
fn allows(schema: &Value, name: &str) -> bool {
    wants(schema, name) || (is_untyped(schema) && *schema != Value::Bool(false))
}

fn accepts(schema: &Value, kind: &str) -> bool {
    if let Some(variants) = alternatives(schema) {
        // References inside are not followed: what cannot be told is tried.
        return variants
            .iter()
            .any(|variant| variant.get("$ref").is_some() || accepts(variant, kind));
    }
    match kind {
        "scalar" => {
            words(schema).is_some()
                || ["string", "integer", "number", "boolean"]
                    .iter()
                    .any(|name| allows(schema, name))
        }
        kind => allows(schema, kind),
    }
}

/// What a schema wants, in words.
fn expected(schema: &Value, unit: Option<&str>) -> &'static str {
    match unit {
        Some("duration") => return "a duration, such as `10s`",
        Some("size") => return "a size, such as `64MiB`",
        _ => {}
    }
    let names = [
        ("string", "text"),
        ("integer", "a whole number"),
        ("number", "a number"),
        ("boolean", "`true` or `false`"),
        ("array", "a list"),
        ("object", "a map"),
        ("null", "nothing"),
    ];
    if words(schema).is_some() {
        return "text";
    }
    names
        .iter()
        .find(|(name, _)| wants(schema, name))
        .map_or("something else", |(_, words)| words)
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
