//! The JSON Schema that editors use.

use highwater_config::config_schema;
use serde_json::Value;

use crate::catalog::catalog;

#[test]
fn schema_has_our_fields_and_every_connector() {
    let schema = config_schema(&catalog());
    insta::assert_snapshot!("config_schema", serde_json::to_string_pretty(&schema).unwrap());
}

#[test]
fn every_reference_in_the_schema_leads_somewhere() {
    let schema = config_schema(&catalog());
    let mut references = Vec::new();
    collect(&schema, &mut references);
    assert!(references.len() > 20);
    for reference in references {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(schema.pointer(pointer).is_some(), "{reference}");
    }
}

fn collect<'s>(value: &'s Value, references: &mut Vec<&'s str>) {
    match value {
        Value::Object(object) => {
            references.extend(object.get("$ref").and_then(Value::as_str));
            object.values().for_each(|value| collect(value, references));
        }
        Value::Array(items) => items.iter().for_each(|value| collect(value, references)),
        _ => {}
    }
}

#[test]
fn every_field_of_ours_is_described() {
    let schema = config_schema(&catalog());
    let mut bare = Vec::new();
    undescribed(&schema, "", &mut bare);
    assert_eq!(bare, Vec::<String>::new());
}

/// Properties with an `x-reload`, which are ours, and no description.
fn undescribed(value: &Value, path: &str, bare: &mut Vec<String>) {
    let Some(object) = value.as_object() else { return };
    if object.contains_key("x-reload") && object["description"].as_str().is_none_or(str::is_empty) {
        bare.push(path.to_owned());
    }
    object
        .iter()
        .for_each(|(name, value)| undescribed(value, &format!("{path}/{name}"), bare));
}
