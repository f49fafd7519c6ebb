//! Questions to a JSON Schema.

use serde_json::Value;

/// `anyOf` or `oneOf`.
pub(super) fn alternatives(schema: &Value) -> Option<&[Value]> {
    ["oneOf", "anyOf"]
        .iter()
        .find_map(|key| schema[*key].as_array())
        .map(Vec::as_slice)
}

/// The values of `enum` or `const`.
pub(super) fn words(schema: &Value) -> Option<Vec<&Value>> {
    match (schema["enum"].as_array(), schema.get("const")) {
        (Some(words), _) => Some(words.iter().filter(|word| !word.is_null()).collect()),
        (None, Some(word)) => Some(vec![word]),
        (None, None) => None,
    }
}

/// Whether `type` names this type.
pub(super) fn wants(schema: &Value, name: &str) -> bool {
    match &schema["type"] {
        Value::String(only) => only == name,
        Value::Array(several) => several.iter().any(|one| one == name),
        _ => false,
    }
}

pub(super) fn is_untyped(schema: &Value) -> bool {
    schema.get("type").is_none() && words(schema).is_none()
}

/// Whether a value of this type can pass.
pub(super) fn allows(schema: &Value, name: &str) -> bool {
    wants(schema, name) || (is_untyped(schema) && *schema != Value::Bool(false))
}

pub(super) fn accepts(schema: &Value, kind: &str) -> bool {
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
pub(super) fn expected(schema: &Value, unit: Option<&str>) -> &'static str {
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

/// What a number should have been, if the schema's bounds or those of the type behind it exclude it.
pub(super) fn bounds(schema: &Value, number: f64) -> Option<String> {
    let bound = |key: &str| schema[key].as_f64();
    if bound("minimum").is_some_and(|min| number < min) {
        return Some(format!("at least {}", schema["minimum"]));
    }
    if bound("maximum").is_some_and(|max| number > max) {
        return Some(format!("at most {}", schema["maximum"]));
    }
    if bound("exclusiveMinimum").is_some_and(|min| number <= min) {
        return Some(format!("more than {}", schema["exclusiveMinimum"]));
    }
    if bound("exclusiveMaximum").is_some_and(|max| number >= max) {
        return Some(format!("less than {}", schema["exclusiveMaximum"]));
    }
    // `schemars` names the integer and leaves the bounds of wide ones to whoever reads the name.
    let (min, max) = match schema["format"].as_str()? {
        "int8" => (f64::from(i8::MIN), f64::from(i8::MAX)),
        "int16" => (f64::from(i16::MIN), f64::from(i16::MAX)),
        "int32" => (f64::from(i32::MIN), f64::from(i32::MAX)),
        "uint8" => (0.0, f64::from(u8::MAX)),
        "uint16" => (0.0, f64::from(u16::MAX)),
        "uint32" => (0.0, f64::from(u32::MAX)),
        "uint64" | "uint" => (0.0, u64::MAX as f64),
        _ => return None,
    };
    (number < min || number > max).then(|| format!("from {min} to {max}"))
}
