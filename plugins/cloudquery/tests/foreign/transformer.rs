//! A transformer plugin, under our role.

use std::path::Path;

use api::conformance::sample;
use api::{BuildContext, Images, Registry, Transformer};
use arrow::array::AsArray as _;
use arrow::datatypes::Int64Type;
use model::OutRows;
use serde_json::{Value, json};

use crate::python;

fn build(plugin: &Path, spec: &Value) -> Box<dyn Transformer> {
    let mut registry = Registry::default();
    cloudquery::register(&mut registry);
    let spec = json!({"plugin": {"registry": "local", "path": plugin, "timeout": "5s", "spec": spec}});
    let cx = BuildContext {
        base_dir: plugin.parent().unwrap().to_owned(),
    };
    registry.transformers["cloudquery"].build(spec, &cx).unwrap()
}

/// A transformer on the sample plugin; `None` where there is no Python for it.
fn transformer(spec: Value, folder: &Path) -> Option<Box<dyn Transformer>> {
    Some(build(&python::plugin(python::Plugin::Transformer, folder)?, &spec))
}

fn items(count: usize) -> Images {
    let rows: Vec<Value> = (0..count)
        .map(|id| json!({"id": id, "name": format!("n{}", id % 3)}))
        .collect();
    let schema = sample::items();
    Images {
        rows: sample::record_batch(&schema, &rows),
        schema,
        unavailable: None,
        may_drop: true,
    }
}

/// Ids and names of one answer, and the numbers of the input rows.
fn told(outs: &[OutRows]) -> (Vec<String>, Vec<u32>) {
    let [out] = outs else { panic!("one stream: {outs:?}") };
    let ids = out.rows.column_by_name("id").unwrap().as_primitive::<Int64Type>();
    let names = out.rows.column_by_name("name").unwrap().as_string::<i32>();
    let row = |at: usize| format!("{} {}", ids.value(at), names.value(at));
    ((0..ids.len()).map(row).collect(), out.input_rows.clone())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_are_changed_dropped_and_doubled_and_say_where_they_came_from() {
    let folder = tempfile::tempdir().unwrap();
    let spec = json!({"upper": "name", "drop": {"column": "name", "value": "N1"}, "twice": true, "backwards": true});
    let Some(mut transformer) = transformer(spec, folder.path()) else {
        return;
    };
    let (rows, numbers) = told(&transformer.transform(&items(4)).await.unwrap());
    assert_eq!(rows, ["0 N0", "0 N0", "2 N2", "2 N2", "3 N0", "3 N0"]);
    assert_eq!(numbers, [0, 0, 2, 2, 3, 3]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn schema_is_the_plugins_and_keeps_the_stream_and_its_key() {
    let folder = tempfile::tempdir().unwrap();
    let Some(transformer) = transformer(json!({"add": "note"}), folder.path()) else {
        return;
    };
    let items = sample::items();
    let out = transformer.output_schema(&items).await.unwrap().remove(0);
    assert_eq!(out.schema.stream(), items.stream());
    assert_eq!(out.schema.key_names().collect::<Vec<_>>(), ["id"]);
    let names = |schema: &model::StreamSchema| -> Vec<String> {
        let fields = schema.arrow().fields().iter();
        fields.map(|field| field.name().clone()).collect()
    };
    let mut expected = names(&items);
    expected.push("note".to_owned());
    assert_eq!(names(&out.schema), expected);
}

/// Four records, each a second late and all of them after our half was closed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_transformer_loses_no_row() {
    let folder = tempfile::tempdir().unwrap();
    let Some(mut transformer) = transformer(json!({"slow": 1.2}), folder.path()) else {
        return;
    };
    let mut big = items(12);
    let rows: Vec<Value> = (0..12)
        .map(|id| json!({"id": id, "name": "x".repeat(1 << 20)}))
        .collect();
    big.rows = sample::record_batch(&big.schema, &rows);
    let (rows, numbers) = told(&transformer.transform(&big).await.unwrap());
    assert_eq!(numbers, (0..12).collect::<Vec<u32>>());
    assert!(rows.iter().all(|row| row.len() > 1 << 20));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn plugin_that_forgets_row_numbers_is_asked_row_by_row() {
    let folder = tempfile::tempdir().unwrap();
    let spec = json!({"forget": true, "drop": {"column": "name", "value": "n1"}, "twice": true});
    let Some(mut transformer) = transformer(spec, folder.path()) else {
        return;
    };
    let (rows, numbers) = told(&transformer.transform(&items(4)).await.unwrap());
    assert_eq!(rows, ["0 n0", "0 n0", "2 n2", "2 n2", "3 n0", "3 n0"]);
    assert_eq!(numbers, [0, 0, 2, 2, 3, 3]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_plugin_cannot_be_asked_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let Some(plugin) = python::plugin(python::Plugin::Transformer, folder.path()) else {
        return;
    };
    let renaming = build(&plugin, &json!({"rename": "other"}));
    let error = renaming.output_schema(&sample::items()).await.unwrap_err();
    assert!(
        error.code() == "E0811" && error.to_string().contains("`other`"),
        "{error:?}"
    );

    let mut dropping = build(&plugin, &json!({"drop": {"column": "name", "value": "n1"}}));
    let old_keys = Images {
        may_drop: false,
        ..items(4)
    };
    let error = dropping.transform(&old_keys).await.unwrap_err();
    assert!(
        error.code() == "E0811" && error.to_string().contains("drops a row"),
        "{error:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn plugin_that_ends_in_the_middle_is_named_with_how_it_ended() {
    let folder = tempfile::tempdir().unwrap();
    let Some(mut transformer) = transformer(json!({"exit_after": 1}), folder.path()) else {
        return;
    };
    // The question for the schema runs the plugin's own function, too, and does not count.
    let error = transformer.transform(&items(4)).await.unwrap_err();
    assert_eq!((error.code(), error.retry()), ("E0804", api::Retry::After));
    assert!(error.chain().contains("it exited with status 3"), "{}", error.chain());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn plugin_that_hangs_is_named_after_its_timeout() {
    let folder = tempfile::tempdir().unwrap();
    let Some(mut transformer) = transformer(json!({"slow": 60}), folder.path()) else {
        return;
    };
    let error = transformer.transform(&items(4)).await.unwrap_err();
    assert_eq!((error.code(), error.retry()), ("E0805", api::Retry::After));
    assert!(error.to_string().contains("`python-transformer`"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn plugin_that_floods_its_output_answers_all_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let Some(mut transformer) = transformer(json!({"flood": true, "upper": "name"}), folder.path()) else {
        return;
    };
    let (rows, _) = told(&transformer.transform(&items(3)).await.unwrap());
    assert_eq!(rows, ["0 N0", "1 N1", "2 N2"]);
}

/// What every transformer promises; skipped where there is no Python.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn plugin_behaves_as_a_transformer() {
    let folder = tempfile::tempdir().unwrap();
    let Some(plugin) = python::plugin(python::Plugin::Transformer, folder.path()) else {
        return;
    };
    let report = api::conformance::transformer::run(async || Harness { plugin: plugin.clone() }).await;
    assert!(report.is_kept(), "{report}");
}

struct Harness {
    plugin: std::path::PathBuf,
}

impl api::conformance::TransformerHarness for Harness {
    fn build(&self) -> Result<Box<dyn Transformer>, api::SpecError> {
        Ok(build(&self.plugin, &json!({"upper": "name", "add": "note"})))
    }

    fn inputs(&self) -> Vec<Images> {
        vec![items(10)]
    }
}
