//! Every fail-point of the source is passed in a normal run: the chaos tests kill the process at each of them.
//!
//! A process of its own, because fail-points are the process's.

#![allow(clippy::unwrap_used, dead_code, missing_docs)]

#[path = "source/driver.rs"]
mod driver;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use api::testing::Replica;
use driver::{App, Run};
use highwater_plugin_sqlite::source;

#[tokio::test(flavor = "multi_thread")]
async fn every_fail_point_is_passed_in_a_normal_run() {
    let passed: Arc<Mutex<BTreeSet<&str>>> = Arc::default();
    let all = source::FAIL_POINTS.iter().chain(source::FORGET_FAIL_POINTS);
    for &name in all.clone() {
        let passed = Arc::clone(&passed);
        fail::cfg_callback(name, move || {
            passed.lock().unwrap().insert(name);
        })
        .unwrap();
    }
    let app = App::new("CREATE TABLE t(id INTEGER PRIMARY KEY, v TEXT)", &["t"]);
    let mut run = Run::start(&app, &Replica::new()).await;
    let is_done = |passed: &BTreeSet<&str>| source::FAIL_POINTS.iter().all(|name| passed.contains(name));
    let deadline = std::time::Instant::now() + driver::DEADLINE;
    while !is_done(&passed.lock().unwrap()) {
        assert!(
            std::time::Instant::now() < deadline,
            "passed are only {:?}",
            passed.lock().unwrap()
        );
        app.run("INSERT INTO t(v) VALUES ('x')");
        run.until_equal(&app, &["t"]).await;
    }
    drop(run);
    app.source().forget(&"shop".into()).await.unwrap();
    let missing: Vec<&&str> = all.filter(|name| !passed.lock().unwrap().contains(*name)).collect();
    assert!(missing.is_empty(), "never passed: {missing:?}");
}
