//! A hash of what a pipeline's rows mean: which streams, which columns, through which transformers.
//!
//! It is stored with the checkpoint. If it changes, rows that a destination already holds were made by another rule than
//! those that follow, and a resync is due. What only changes *how* rows travel (batches, retries, paths, names) is not in
//! it. The order in which streams are listed means nothing; the order of transformers does.
//!
//! Form: `1-` and 32 hexadecimal digits, XXH3-128 of a canonical JSON text. The `1` is the version of that text.

use serde_json::{Value, json};
use xxhash_rust::xxh3::xxh3_128;

use crate::plan::{DestinationPlan, PipelinePlan, StreamSelection, TransformerPlan};

impl PipelinePlan {
    /// The hash of the stream list and of the transformers before the spool.
    pub fn plan_hash(&self) -> String {
        hash(&json!([streams(&self.source.streams), chain(&self.transformers)]))
    }

    /// The same for one destination, whose own transformers come on top.
    pub fn plan_hash_for(&self, destination: &DestinationPlan) -> String {
        let streams = streams(&self.source.streams);
        hash(&json!([
            streams,
            chain(&self.transformers),
            chain(&destination.transformers)
        ]))
    }

    /// What one stream means to one destination, whatever other streams are listed: so that adding a stream asks for the
    /// read of that stream and of no other.
    pub fn stream_hash_for(&self, destination: &DestinationPlan, stream: &str) -> String {
        let own = stream_rules(&self.source.streams, stream);
        hash(&json!([
            stream,
            own,
            chain(&self.transformers),
            chain(&destination.transformers)
        ]))
    }
}

fn streams(selection: &StreamSelection) -> Value {
    let set = |names: &[String]| {
        let mut names = names.to_vec();
        names.sort();
        names.dedup();
        names
    };
    let named = selection.columns.keys().chain(selection.overrides.keys());
    let rules: serde_json::Map<String, Value> = named
        .map(|stream| (stream.clone(), stream_rules(selection, stream)))
        .collect();
    json!([set(&selection.include), set(&selection.exclude), rules])
}

/// What is set for one stream. Whether its existing rows are read does not change what a row means.
fn stream_rules(selection: &StreamSelection, stream: &str) -> Value {
    let columns = selection
        .columns
        .get(stream)
        .map(|columns| json!([columns.include, columns.exclude]));
    let overrides = selection
        .overrides
        .get(stream)
        .map(|stream| json!([stream.key, stream.columns]));
    json!([columns, overrides])
}

fn chain(transformers: &[TransformerPlan]) -> Value {
    let one = |transformer: &TransformerPlan| json!([transformer.connector, transformer.spec.value()]);
    Value::Array(transformers.iter().map(one).collect())
}

fn hash(meaning: &Value) -> String {
    let mut text = String::new();
    write_canonical(meaning, &mut text);
    format!("1-{:032x}", xxh3_128(text.as_bytes()))
}

/// JSON without spaces and with sorted keys: the order of fields in a file means nothing.
fn write_canonical(value: &Value, text: &mut String) {
    let separate = |text: &mut String, is_first: &mut bool| {
        if !std::mem::replace(is_first, false) {
            text.push(',');
        }
    };
    match value {
        Value::Array(items) => {
            text.push('[');
            let mut is_first = true;
            for item in items {
                separate(text, &mut is_first);
                write_canonical(item, text);
            }
            text.push(']');
        }
        Value::Object(object) => {
            let mut keys: Vec<&String> = object.keys().collect();
            keys.sort();
            text.push('{');
            let mut is_first = true;
            for key in keys {
                separate(text, &mut is_first);
                text.push_str(&Value::from(key.as_str()).to_string());
                text.push(':');
                write_canonical(&object[key], text);
            }
            text.push('}');
        }
        scalar => text.push_str(&scalar.to_string()),
    }
}
