//! What a destination's rows mean: a hash of the transformers in front of it.
//!
//! It is stored with the destination's checkpoint. If it changes, the rows that are there were made by another rule than
//! those that follow, and the destination asks for a resync. Names are not in it, nor where in the chain the spool stands,
//! nor the stream list: a stream may be added between two runs, and is then read like a new one.
//!
//! Form: `1-` and 32 hexadecimal digits, XXH3-128 of JSON without spaces and with sorted keys. The `1` is the version.

use config::TransformerPlan;
use serde_json::Value;
use xxhash_rust::xxh3::xxh3_128;

/// The hash of a chain, those before the spool first.
pub(super) fn hash<'a>(chain: impl IntoIterator<Item = &'a TransformerPlan>) -> String {
    let one = |transformer: &TransformerPlan| {
        Value::Array(vec![
            Value::from(transformer.connector.as_str()),
            sorted(transformer.spec.value()),
        ])
    };
    let meaning = Value::Array(chain.into_iter().map(one).collect());
    format!("1-{:032x}", xxh3_128(meaning.to_string().as_bytes()))
}

/// The same value with sorted keys: the order of fields in a file means nothing.
fn sorted(value: &Value) -> Value {
    match value {
        Value::Array(items) => items.iter().map(sorted).collect(),
        Value::Object(object) => {
            let mut fields: Vec<_> = object.iter().collect();
            fields.sort_by_key(|(key, _)| *key);
            fields
                .into_iter()
                .map(|(key, value)| (key.clone(), sorted(value)))
                .collect()
        }
        scalar => scalar.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn hash_of_no_transformers_never_changes() {
        assert_eq!(hash([]), "1-39347ff402b6c53d831154110e30ac6a");
    }

    #[test]
    fn order_of_fields_means_nothing() {
        let (a, b) = (
            json!({"x": 1, "y": {"b": 2, "a": [3, 4]}}),
            json!({"y": {"a": [3, 4], "b": 2}, "x": 1}),
        );
        assert_eq!(sorted(&a).to_string(), sorted(&b).to_string());
        assert_ne!(
            sorted(&a).to_string(),
            sorted(&json!({"x": 1, "y": {"a": [4, 3], "b": 2}})).to_string()
        );
    }
}
