//! Every fail-point of the source is passed in a normal run or when the change table is full: the chaos tests kill the
//! process at each of them.
//!
//! A process of its own, because fail-points are the process's.

#![allow(clippy::unwrap_used, dead_code, missing_docs)]

#[path = "source/driver.rs"]
mod driver;

use std::collections::BTreeSet;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Instant;

use api::testing::Replica;
use driver::{App, Run};
use fail::FailScenario;
use highwater_plugin_sqlite::source;

const TABLE: &str = "CREATE TABLE t(id INTEGER PRIMARY KEY, v TEXT)";

#[tokio::test(flavor = "multi_thread")]
async fn every_fail_point_is_passed() {
    let scenario = FailScenario::setup();
    let passed: Arc<Mutex<BTreeSet<&str>>> = Arc::default();
    let all = source::FAIL_POINTS.iter().chain(source::FORGET_FAIL_POINTS);
    for &name in all.clone() {
        let passed = Arc::clone(&passed);
        fail::cfg_callback(name, move || {
            passed.lock().unwrap().insert(name);
        })
        .unwrap();
    }
    let app = App::new(TABLE, &["t"]);
    let mut run = Run::start(&app, &Replica::new()).await;
    let of_a_normal_run = |name: &&&str| !name.ends_with("_stop_capture");
    let is_done = |passed: &BTreeSet<&str>| {
        let mut wanted = source::FAIL_POINTS.iter().filter(of_a_normal_run);
        wanted.all(|name| passed.contains(name))
    };
    let deadline = Instant::now() + driver::DEADLINE;
    while !is_done(&passed.lock().unwrap()) {
        assert!(
            Instant::now() < deadline,
            "passed are only {:?}",
            passed.lock().unwrap()
        );
        app.run("INSERT INTO t(v) VALUES ('x')");
        run.until_equal(&app, &["t"]).await;
    }
    drop(run);
    app.source().forget(&"shop".into()).await.unwrap();
    assert_eq!(run_into_a_full_change_table(|| {}).await, "E0222");
    let missing: Vec<&&str> = all.filter(|name| !passed.lock().unwrap().contains(*name)).collect();
    assert!(missing.is_empty(), "never passed: {missing:?}");
    scenario.teardown();
}

/// The reading thread may find the triggers gone before the one that removed them has said why.
#[tokio::test(flavor = "multi_thread")]
async fn full_change_table_is_told_from_one_that_somebody_removed() {
    let scenario = FailScenario::setup();
    let has_ended: Arc<(Mutex<bool>, Condvar)> = Arc::default();
    let wait = Arc::clone(&has_ended);
    fail::cfg_callback("sqlite.source.after_stop_capture", move || {
        let (flag, changed) = &*wait;
        let flag = flag.lock().unwrap();
        drop(changed.wait_timeout_while(flag, driver::DEADLINE, |has_ended| !*has_ended));
    })
    .unwrap();
    let let_go = || {
        *has_ended.0.lock().unwrap() = true;
        has_ended.1.notify_all();
    };
    assert_eq!(run_into_a_full_change_table(let_go).await, "E0222");
    scenario.teardown();
}

/// Reads without ever acknowledging until the source fails; the error's code. Closing the source waits for its threads.
async fn run_into_a_full_change_table(before_closing: impl FnOnce()) -> &'static str {
    let mut app = App::new(TABLE, &["t"]);
    app.spec["changes_max"] = 10.into();
    app.spec["changes_warn"] = 10.into();
    app.spec["changes_stalled_after"] = "1ms".into();
    let mut run = Run::start(&app, &Replica::new()).await;
    run.acknowledges = false;
    let deadline = Instant::now() + driver::DEADLINE;
    loop {
        assert!(Instant::now() < deadline, "the change table is never full");
        app.run("INSERT INTO t(v) VALUES ('x'), ('y'), ('z')");
        if let Err(error) = run.step().await {
            before_closing();
            return error.code();
        }
    }
}
