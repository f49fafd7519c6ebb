//! The JSON Schema of the whole configuration: our fields, and for each connector its `spec`, so that editors complete and
//! check both.

use serde_json::{Map, Value, json};

use crate::catalog::{Catalog, Role};
use crate::choice::{Choice, Choices};
use crate::fields::{DESTINATION, DOCUMENT, Field, Kind, NAMED_TRANSFORMER, SOURCE, TRANSFORMER, Table};

/// `${...}` may stand wherever text may.
const EXPRESSION: &str = r"\$\{";
const DURATION_PATTERN: &str = r"^([0-9]+(\.[0-9]+)?(us|ms|s|m|h|d))+$|\$\{";
const SIZE_PATTERN: &str = r"^[0-9]+(\.[0-9]+)?(B|[KMGT]iB|kB|[MGT]B)$|\$\{";

/// The schema (draft 2020-12) of a configuration that may use these connectors.
pub fn config_schema(catalog: &Catalog) -> Value {
    let mut definitions = Map::new();
    for (table, name, role) in COMPONENTS {
        definitions.insert((*name).to_owned(), component_schema(table, *role, catalog));
    }
    for role in [Role::Source, Role::Transformer, Role::Destination] {
        for (connector, info) in catalog.iter() {
            if let Some(schema) = info.spec_schema(role) {
                hoist(schema.clone(), &spec_name(role, connector), &mut definitions);
            }
        }
    }
    let mut schema = table_schema(&DOCUMENT);
    schema.insert(
        "$schema".to_owned(),
        json!("https://json-schema.org/draft/2020-12/schema"),
    );
    schema.insert("title".to_owned(), json!("Highwater configuration"));
    schema.insert("$defs".to_owned(), Value::Object(definitions));
    Value::Object(schema)
}

/// The tables that stand under `$defs`, because several places use them and their `spec` depends on their connector.
static COMPONENTS: &[(&Table, &str, Role)] = &[
    (&SOURCE, "source", Role::Source),
    (&TRANSFORMER, "transformer", Role::Transformer),
    (&NAMED_TRANSFORMER, "named_transformer", Role::Transformer),
    (&DESTINATION, "destination", Role::Destination),
];

fn spec_name(role: Role, connector: &str) -> String {
    format!("{}.{connector}", role.name())
}

fn component_schema(table: &'static Table, role: Role, catalog: &Catalog) -> Value {
    let mut schema = table_schema(table);
    let connectors: Vec<Value> = catalog
        .in_role(role)
        .into_iter()
        .map(|name| json!({ "const": name, "description": catalog.get(name).map_or("", |info| info.doc.as_str()) }))
        .collect();
    schema["properties"]["connector"]["oneOf"] = Value::Array(connectors);
    let per_connector: Vec<Value> = catalog
        .in_role(role)
        .into_iter()
        .map(|name| {
            let mut then = json!({ "spec": { "$ref": format!("#/$defs/{}", spec_name(role, name)) } });
            let info = catalog.get(name).and_then(|info| info.destination.as_ref());
            if let Some(info) = info.filter(|_| role == Role::Destination) {
                then["write"] = json!({ "enum": info.writes.iter().map(|word| word.name()).collect::<Vec<_>>() });
                then["deletes"] = json!({ "enum": info.deletes.iter().map(|word| word.name()).collect::<Vec<_>>() });
            }
            json!({
                "if": { "properties": { "connector": { "const": name } }, "required": ["connector"] },
                "then": { "properties": then },
            })
        })
        .collect();
    schema.insert("allOf".to_owned(), Value::Array(per_connector));
    Value::Object(schema)
}

fn table_schema(table: &Table) -> Map<String, Value> {
    let mut properties = Map::new();
    let mut required = Vec::new();
    for field in table.fields {
        if matches!(field.kind, Kind::Later(_)) {
            continue;
        }
        if field.is_required {
            required.push(field.name);
        }
        properties.insert(field.name.to_owned(), field_schema(field));
    }
    let mut schema = Map::new();
    schema.insert("type".to_owned(), json!("object"));
    schema.insert("properties".to_owned(), Value::Object(properties));
    // Files may share one configuration, so what the whole needs is not asked of each.
    if !required.is_empty() {
        schema.insert("required".to_owned(), json!(required));
    }
    schema.insert("additionalProperties".to_owned(), json!(false));
    schema
}

fn field_schema(field: &Field) -> Value {
    let mut schema = kind_schema(&field.kind);
    schema["description"] = json!(field.doc);
    schema["x-reload"] = json!(field.reload.name());
    if field.name == "token" {
        schema["writeOnly"] = json!(true);
    }
    if let Some(default) = field.default {
        schema["default"] = match field.kind {
            Kind::Integer { .. } => default.parse::<u64>().map_or(Value::Null, Value::from),
            _ => json!(default),
        };
    }
    schema
}

fn kind_schema(kind: &Kind) -> Value {
    match kind {
        Kind::Text => json!({ "type": "string" }),
        Kind::Duration => json!({ "type": "string", "x-unit": "duration", "pattern": DURATION_PATTERN }),
        Kind::Size => json!({ "type": "string", "x-unit": "size", "pattern": SIZE_PATTERN }),
        Kind::Integer { min, max } => {
            let mut integer = json!({ "type": "integer", "minimum": min });
            if *max != u64::MAX {
                integer["maximum"] = json!(max);
            }
            allow_expression(&mut integer);
            integer
        }
        Kind::Choice(words) => {
            let word = |Choice { name, doc }: Choice| json!({ "const": name, "description": doc });
            json!({ "oneOf": words().into_iter().map(word).collect::<Vec<_>>() })
        }
        Kind::List(item) => json!({ "type": "array", "items": kind_schema(item) }),
        Kind::Names(value) => json!({ "type": "object", "additionalProperties": kind_schema(value) }),
        Kind::Map(table) => match COMPONENTS
            .iter()
            .find(|(component, ..)| std::ptr::eq(*component, *table))
        {
            Some((_, name, _)) => json!({ "$ref": format!("#/$defs/{name}") }),
            None => Value::Object(table_schema(table)),
        },
        Kind::Either(one, other) => json!({ "anyOf": [kind_schema(one), kind_schema(other)] }),
        Kind::Spec | Kind::Later(_) => json!({ "type": "object" }),
    }
}

/// Puts a connector's schema under `$defs`, its own definitions beside it under longer names, and points its references
/// there.
fn hoist(mut schema: Value, name: &str, definitions: &mut Map<String, Value>) {
    let own = schema.as_object_mut().and_then(|object| {
        object.shift_remove("$schema");
        object
            .shift_remove("$defs")
            .or_else(|| object.shift_remove("definitions"))
    });
    repoint(&mut schema, name);
    definitions.insert(name.to_owned(), schema);
    if let Some(Value::Object(own)) = own {
        for (inner, mut schema) in own {
            repoint(&mut schema, name);
            definitions.insert(format!("{name}.{inner}"), schema);
        }
    }
}

/// Lets `${...}` stand for a number or a boolean. Bounds hold for numbers only and the pattern for texts only, so one
/// schema says both.
fn allow_expression(schema: &mut Value) {
    let types: Vec<Value> = match &schema["type"] {
        Value::Array(types) => types.clone(),
        Value::String(_) => vec![schema["type"].clone()],
        _ => return,
    };
    let is_bare = types
        .iter()
        .any(|name| ["integer", "number", "boolean"].iter().any(|bare| name == bare));
    if is_bare && !types.contains(&json!("string")) {
        schema["type"] = Value::Array(types.into_iter().chain([json!("string")]).collect());
        schema["pattern"] = json!(EXPRESSION);
    }
}

fn repoint(schema: &mut Value, name: &str) {
    if schema.is_object() {
        allow_expression(schema);
    }
    match schema {
        Value::Object(object) => {
            if let Some(Value::String(reference)) = object.get_mut("$ref") {
                let inner = ["#/$defs/", "#/definitions/"]
                    .iter()
                    .find_map(|prefix| reference.strip_prefix(prefix));
                if let Some(inner) = inner {
                    *reference = format!("#/$defs/{name}.{inner}");
                } else if reference == "#" {
                    *reference = format!("#/$defs/{name}");
                }
            }
            object.values_mut().for_each(|value| repoint(value, name));
        }
        Value::Array(items) => items.iter_mut().for_each(|item| repoint(item, name)),
        _ => {}
    }
}
