use api::conformance::{TransformerHarness, sample};
use api::{Images, SpecError, Transformer};
use model::StreamId;
use serde_json::{Value, json};

use crate::build;

struct Harness {
    connector: &'static str,
    spec: Value,
}

impl TransformerHarness for Harness {
    fn build(&self) -> Result<Box<dyn Transformer>, SpecError> {
        build(self.connector, self.spec.clone())
    }

    fn inputs(&self) -> Vec<Images> {
        let images = |schema: &std::sync::Arc<model::StreamSchema>, rows: &[Value]| Images {
            schema: std::sync::Arc::clone(schema),
            rows: sample::record_batch(schema, rows),
            unavailable: None,
            may_drop: true,
        };
        let items: Vec<Value> = (0..40)
            .map(|id| json!({"id": id, "name": (id % 3 > 0).then(|| format!("n{}", id % 5)), "amount": (id % 7 > 0).then_some(id)}))
            .collect();
        vec![
            images(&sample::items(), &items),
            images(&sample::items_as(StreamId::new("other")), &items[..5]),
            images(&crate::basic::people(), &crate::basic::rows()),
            images(&sample::events(), &[json!({"at": 1, "what": "x"}), json!({"at": 2})]),
        ]
    }
}

mod select {
    use super::{Harness, json};

    api::transformer_conformance!(Harness {
        connector: "select",
        spec: json!({"streams": {"items": {"keep": ["amount", "id"], "rename": {"amount": "sum"}}, "events": {"rename": {"what": "w"}}}}),
    });
}

mod filter {
    use super::{Harness, json};

    api::transformer_conformance!(Harness {
        connector: "filter",
        spec: json!({"streams": {
            "items": {"where": {"any": [{"column": "amount", "ge": 20}, {"column": "name", "in": ["n1", "n2"]}]}},
            "events": {"where": {"column": "what", "is_null": false}},
        }}),
    });
}

mod basic {
    use super::{Harness, json};

    // All but `add_current_timestamp_column`, which is not the same twice.
    api::transformer_conformance!(Harness {
        connector: "basic",
        spec: json!({"transformations": [
            {"kind": "add_primary_keys", "tables": ["items"], "columns": ["id"]},
            {"kind": "remove_columns", "columns": ["amount", "tags.a.0"]},
            {"kind": "add_column", "name": "origin", "value": "here"},
            {"kind": "rename_column", "tables": ["items"], "name": "name", "value": "title"},
            {"kind": "obfuscate_columns", "columns": ["secret", "tags.a.#.b", "photo"]},
            {"kind": "obfuscate_sensitive_columns", "include_sha": false},
            {"kind": "obfuscate_columns_except", "tables": ["other"], "columns": ["id"], "unmatched": "redact"},
            {"kind": "uppercase", "columns": ["name"]},
            {"kind": "lowercase", "columns": ["tags"]},
            {"kind": "drop_rows", "tables": ["items*", "other*"], "columns": ["title", "name"], "value": "n1"},
        ]}),
    });
}

mod json_flatten {
    use super::{Harness, json};

    api::transformer_conformance!(Harness {
        connector: "json-flatten",
        spec: json!({}),
    });
}
