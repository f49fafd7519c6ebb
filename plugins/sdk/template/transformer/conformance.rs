//! Every promise of a transformer, and what this one does.

use std::sync::Arc;

use highwater_plugin_sdk::conformance::{TransformerHarness, rows_of, sample};
use highwater_plugin_sdk::serde_json::json;
use highwater_plugin_sdk::{BuildContext, Images, SpecError, Transformer, TransformerConnector};

use super::connector::{Connector, Spec};

struct Harness;

impl TransformerHarness for Harness {
    fn build(&self) -> Result<Box<dyn Transformer>, SpecError> {
        let spec = Spec {
            columns: vec!["name".to_owned()],
        };
        let cx = BuildContext {
            base_dir: std::env::temp_dir(),
        };
        Connector::build(spec, &cx)
    }

    /// Rows that it is meant for, and rows that it leaves alone.
    fn inputs(&self) -> Vec<Images> {
        let (items, events) = (sample::items(), sample::events());
        let rows: Vec<_> = (0..20)
            .map(|id| json!({"id": id, "name": (id % 3 > 0).then(|| format!("name {id}")), "amount": id}))
            .collect();
        vec![
            Images {
                rows: sample::record_batch(&items, &rows),
                schema: items,
                unavailable: None,
                may_drop: true,
            },
            Images {
                rows: sample::record_batch(&events, &[json!({"at": 1, "what": "x"}), json!({"at": 2})]),
                schema: Arc::clone(&events),
                unavailable: None,
                may_drop: true,
            },
        ]
    }
}

highwater_plugin_sdk::transformer_conformance!(Harness);

#[tokio::test]
async fn text_of_the_named_columns_becomes_upper_case() {
    let mut transformer = Harness.build().expect("the spec is good");
    let inputs = Harness.inputs();
    let outs = transformer.transform(&inputs[0]).await.expect("it transforms");
    let rows = rows_of(&outs[0].rows);
    assert_eq!(rows[0]["name"], None);
    assert_eq!(rows[1]["name"].as_deref(), Some("NAME 1"));
}
