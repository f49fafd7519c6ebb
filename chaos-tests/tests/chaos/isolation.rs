//! A sick destination hurts only itself.
//!
//! Sick: another connection holds the write lock of its database. Failing: all the time, so that every commit fails and
//! is tried again. Throttled: but for a moment now and then.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use highwater_chaos_tests::lag::{Lags, watch};
use highwater_chaos_tests::process::{Runtime, look_every};
use highwater_chaos_tests::scale::{Run, is_full};
use highwater_chaos_tests::site::{Destination, Layout, Site};
use highwater_chaos_tests::workload::Profile;
use rusqlite::{Connection, TransactionBehavior};

use crate::{RATE, site, small_site};

/// What the runtime may use beyond its budget.
const OVERHEAD_BYTES: u64 = 64 << 20;
const BUDGET_BYTES: u64 = 128 << 20;

/// A window that holds all that is written while the fault lasts, and one that does not.
const WIDE: &str = "32MiB";
const NARROW: &str = "1MiB";

#[derive(Clone, Copy)]
enum Sickness {
    Failing,
    /// 100 times slower: a hundredth of the time is left to write in.
    Throttled,
}

struct Fault {
    is_over: Arc<AtomicBool>,
    thread: JoinHandle<rusqlite::Result<()>>,
}

impl Fault {
    fn begin(site: &Site, sickness: Sickness) -> Fault {
        let (path, is_over) = (site.file("sick.db"), Arc::new(AtomicBool::new(false)));
        let flag = is_over.clone();
        let thread = std::thread::spawn(move || {
            let mut connection = Connection::open(path)?;
            connection.busy_timeout(Duration::from_secs(60))?;
            while !flag.load(Ordering::Relaxed) {
                let lock = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
                let until = match sickness {
                    Sickness::Failing => None,
                    Sickness::Throttled => Some(Instant::now() + Duration::from_millis(990)),
                };
                while !flag.load(Ordering::Relaxed) && until.is_none_or(|until| Instant::now() < until) {
                    std::thread::sleep(Duration::from_millis(5));
                }
                lock.rollback()?;
                std::thread::sleep(Duration::from_millis(10));
            }
            Ok(())
        });
        Fault { is_over, thread }
    }

    fn end(self) {
        self.is_over.store(true, Ordering::Relaxed);
        let ended = self
            .thread
            .join()
            .unwrap_or_else(|_| panic!("the thread that holds the lock panicked"));
        ended.unwrap_or_else(|error| panic!("cannot hold the lock: {error}"));
    }
}

/// A minute; a tenth of it by default.
fn fault_lasts() -> Duration {
    Duration::from_secs(if is_full() { 60 } else { 6 })
}

fn two_copies(window_max: &'static str, fields: &'static str) -> Layout {
    let sick = Destination {
        name: "sick",
        ..Destination::copy().with(fields)
    };
    Layout {
        memory_limit: "128MiB",
        window_max,
        ..Layout::of(vec![Destination::copy(), sick])
    }
}

/// Starts a healthy pipeline; its lag, and the runtime.
fn start_healthy(site: &mut Site) -> io::Result<(Runtime, Lags)> {
    let runtime = site.start()?;
    site.wait_until_shown(1, Duration::from_secs(60));
    site.start_writer(RATE)?;
    let lags = watch_copy(site, fault_lasts())?;
    Ok((runtime, lags))
}

fn watch_copy(site: &Site, span: Duration) -> io::Result<Lags> {
    let until = Instant::now() + span;
    watch(&site.file("shop.db"), &site.file("copy.db"), || Instant::now() >= until).map_err(io::Error::other)
}

/// As before: what a busy machine adds to a few milliseconds is no effect of the fault.
#[track_caller]
fn expect_same_lag(site: &mut Site, before: &Lags, during: &Lags) -> String {
    let (p50, p95) = (during.quantile(0.5), during.quantile(0.95));
    let limit = before.quantile(0.95) * 2 + Duration::from_millis(250);
    let figures = format!(
        "lag p50 {:?} and p95 {:?} before, {p50:?} and {p95:?} during the fault",
        before.quantile(0.5),
        before.quantile(0.95)
    );
    assert!(
        during.count() > 20,
        "the lag was looked at only {} times",
        during.count()
    );
    if p95 > limit {
        site.fail(&format!("{figures}; at most {limit:?}"));
    }
    figures
}

#[track_caller]
fn expect_within_budget(site: &mut Site, runtime: &Runtime) -> String {
    let peak = runtime
        .peak_resident_bytes()
        .unwrap_or_else(|| site.fail("the runtime is gone"));
    let figures = format!("resident at most {} MiB of {} + 64", peak >> 20, BUDGET_BYTES >> 20);
    if peak > BUDGET_BYTES + OVERHEAD_BYTES {
        site.fail(&figures);
    }
    figures
}

#[test]
fn failing_destination_leaves_the_others_lag_alone_until_the_window_is_full() -> io::Result<()> {
    let name = "failing_destination_leaves_the_others_lag_alone_until_the_window_is_full";
    isolated(
        Run::begin(name, 1),
        Sickness::Failing,
        two_copies(WIDE, "when_behind: { then: hold }"),
    )
}

#[test]
fn throttled_destination_leaves_the_others_lag_alone_until_the_window_is_full() -> io::Result<()> {
    let name = "throttled_destination_leaves_the_others_lag_alone_until_the_window_is_full";
    isolated(
        Run::begin(name, 1),
        Sickness::Throttled,
        two_copies(WIDE, "when_behind: { then: hold }"),
    )
}

/// The window is full all the time: whoever is behind is let go.
#[test]
fn failing_destination_leaves_the_others_lag_alone_when_it_is_rewound() -> io::Result<()> {
    let name = "failing_destination_leaves_the_others_lag_alone_when_it_is_rewound";
    isolated(
        Run::begin(name, 1),
        Sickness::Failing,
        two_copies(NARROW, "when_behind: { then: rewind }"),
    )
}

fn isolated(run: Run, sickness: Sickness, layout: Layout) -> io::Result<()> {
    // Without large transactions: a minute of this fits the wide window.
    let profile = Profile::small(run.seed);
    let mut site = site(run, profile, layout);
    let (mut runtime, before) = start_healthy(&mut site)?;
    let fault = Fault::begin(&site, sickness);
    let during = watch_copy(&site, fault_lasts())?;
    // What the claim rests on, or the test would measure something else: the others had no reason to wait.
    let spool = spool_status(&mut site)?;
    fault.end();
    site.run.did();
    let waited_for = spool.get("held_by").cloned().unwrap_or_default();
    let window = format!(
        "window {} KiB",
        spool["window_bytes"].as_u64().unwrap_or_default() >> 10
    );
    if !waited_for.is_null() {
        site.fail(&format!(
            "the window became full while the fault lasted: {window}, held by {waited_for}"
        ));
    }
    let lag = expect_same_lag(&mut site, &before, &during);
    let memory = expect_within_budget(&mut site, &runtime);
    // The sick one comes back by itself and catches up, while the writer goes on.
    let now = site.stop_writer()?;
    site.wait_until_shown(now, Duration::from_secs(90));
    runtime.kill()?;
    site.finish(&format!("{lag}, {window}, {memory}"));
    Ok(())
}

/// The others wait then, and are told for whom.
#[test]
fn failing_destination_is_named_when_the_others_wait_for_it() -> io::Result<()> {
    let run = Run::begin("failing_destination_is_named_when_the_others_wait_for_it", 1);
    let mut site = small_site(run, two_copies(NARROW, "when_behind: { then: hold }"));
    let mut runtime = site.start()?;
    site.wait_until_shown(1, Duration::from_secs(60));
    let fault = Fault::begin(&site, Sickness::Failing);
    // Faster than a window lasts.
    site.start_writer(0.0)?;
    let named = look_every(Duration::from_millis(200), Duration::from_secs(60), || {
        (spool_status(&mut site).ok()?.get("held_by")? == "sick").then_some(())
    });
    fault.end();
    site.run.did();
    if named.is_none() {
        site.fail("status never named the destination that the others wait for");
    }
    let memory = expect_within_budget(&mut site, &runtime);
    let now = site.stop_writer()?;
    site.wait_until_shown(now, Duration::from_secs(120));
    runtime.kill()?;
    site.finish(&memory);
    Ok(())
}

/// What `status` says of the spool.
#[track_caller]
fn spool_status(site: &mut Site) -> io::Result<serde_json::Value> {
    let status = site.expect_command(&["status", "shop", "-o", "json"])?;
    let status: serde_json::Value = serde_json::from_str(&status)?;
    find(&status, "spool")
        .cloned()
        .ok_or_else(|| io::Error::other(format!("no spool in the status: {status}")))
}

/// The first field of that name, wherever it is.
fn find<'j>(json: &'j serde_json::Value, name: &str) -> Option<&'j serde_json::Value> {
    match json {
        serde_json::Value::Object(fields) => fields
            .get(name)
            .or_else(|| fields.values().find_map(|value| find(value, name))),
        serde_json::Value::Array(items) => items.iter().find_map(|item| find(item, name)),
        _ => None,
    }
}
