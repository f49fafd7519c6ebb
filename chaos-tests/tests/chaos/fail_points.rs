//! `kill -9` before and after every durable step: the binary kills itself at the n-th time that it passes a fail-point.
//!
//! A fail-point that is never passed fails the test: it guards nothing.

use std::io;
use std::time::Duration;

use highwater_chaos_tests::binary::fail_points;
use highwater_chaos_tests::drill::wait_for_commit;
use highwater_chaos_tests::process::{Runtime, wait_for, was_killed};
use highwater_chaos_tests::scale::{Run, planned, say};
use highwater_chaos_tests::site::{Destination, Layout, Site};
use highwater_chaos_tests::workload::Profile;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::{RATE, site, small_site};

/// What has to happen for a fail-point to be passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Story {
    /// A pipeline starts from nothing and runs.
    FirstRun,
    /// It starts again after it was killed.
    Restart,
    /// It starts again after it was killed between a commit to files and their publication.
    Publication,
    /// It starts again after so much was written that the change table is full.
    FullChangeTable,
}

impl Story {
    fn of(fail_point: &str) -> Story {
        match fail_point {
            "files.before_roll_forward" | "files.after_roll_forward" => Story::Publication,
            "sqlite.source.before_stop_capture" | "sqlite.source.after_stop_capture" => Story::FullChangeTable,
            "state.open_read" | "state.open_repaired" => Story::Restart,
            _ => Story::FirstRun,
        }
    }
}

/// From start to the first pass, on a busy machine.
const PASSED_WITHIN: Duration = Duration::from_secs(30);

/// A later pass that has not come by then does not come: some steps are taken once in a run.
const PASSED_AGAIN_WITHIN: Duration = Duration::from_secs(5);

/// `HIGHWATER_CHAOS_FAIL_POINT` confines it to one.
#[test]
fn kill_at_each_fail_point_leaves_a_prefix_and_ends_equal() -> io::Result<()> {
    let only = std::env::var("HIGHWATER_CHAOS_FAIL_POINT").ok();
    let names: Vec<String> = fail_points()
        .into_iter()
        // `chaos_postgres` and `chaos_plugins` have those.
        .filter(|name| !name.starts_with("postgres.") && !name.starts_with("cloudquery."))
        .filter(|name| only.as_ref().is_none_or(|only| only == name))
        .collect();
    assert!(!names.is_empty(), "no such fail-point is compiled in");
    // Five times each; in the tenth, once.
    let times = planned(5);
    let mut overall = Run::begin(
        "kill_at_each_fail_point_leaves_a_prefix_and_ends_equal",
        names.len() as u32 * times,
    );
    let mut rng = ChaCha8Rng::seed_from_u64(overall.seed);
    for name in &names {
        for _ in 0..times {
            let nth = rng.random_range(1..=3);
            let checks = match kill_at(overall.part(&mut rng), name, nth)? {
                None if nth > 1 => kill_at(overall.part(&mut rng), name, 1)?,
                checks => checks,
            };
            match checks {
                Some(checks) => {
                    overall.did();
                    overall.checked(checks);
                }
                None => say(&format!("fail-point {name} was never passed")),
            }
        }
    }
    overall.end(&format!("{} fail-points", names.len()));
    Ok(())
}

/// Runs the story of a fail-point up to the kill and from there to the end; `None` if it was not passed so often.
fn kill_at(run: Run, name: &str, nth: u32) -> io::Result<Option<u32>> {
    if Story::of(name) == Story::FullChangeTable {
        return kill_when_capture_is_given_up(run, name);
    }
    // Files are committed so often that manifests are folded within seconds.
    let lake = Destination::lake().with("write: append, batch: { wait_max: 20ms }");
    let mut site = small_site(run, Layout::of(vec![Destination::copy(), lake]));
    let point = format!("{name}:{nth}");
    site.note(format!("fail-point {point}"));
    site.start_writer(RATE)?;
    match Story::of(name) {
        Story::FirstRun | Story::FullChangeTable => {}
        Story::Restart => {
            let mut runtime = site.start()?;
            wait_for_commit(&mut site, &mut runtime);
            runtime.kill()?;
            site.look();
        }
        Story::Publication => {
            let mut runtime = start_armed(&site, "files.after_manifest:3")?;
            if !is_killed(&mut site, &mut runtime, PASSED_WITHIN)? {
                site.fail("nothing was committed to files");
            }
            site.look();
        }
    }
    let mut armed = start_armed(&site, &point)?;
    let limit = if nth == 1 { PASSED_WITHIN } else { PASSED_AGAIN_WITHIN };
    if !is_killed(&mut site, &mut armed, limit)? {
        return Ok(None);
    }
    site.look();
    site.settle();
    Ok(Some(site.run.checks()))
}

/// Behind the end of capture everything is read again, in another history.
fn kill_when_capture_is_given_up(run: Run, name: &str) -> io::Result<Option<u32>> {
    const WRITTEN: u64 = 60;
    let profile = Profile {
        bulk_every: 20,
        bulk_rows: 5_000,
        ..Profile::small(run.seed)
    };
    let mut site = site(run, profile, Layout::of(vec![Destination::copy()]));
    site.note(format!("fail-point {name}"));
    let mut runtime = site.start()?;
    site.wait_until_shown(1, PASSED_WITHIN);
    runtime.kill()?;
    site.write(WRITTEN)?;
    let patient = site.layout().clone();
    site.set_layout(Layout {
        source_fields: ", changes_max: 1000, changes_warn: 1000, changes_stalled_after: 1ms",
        ..patient.clone()
    })?;
    let mut armed = start_armed(&site, &format!("{name}:1"))?;
    if !is_killed(&mut site, &mut armed, PASSED_WITHIN)? {
        return Ok(None);
    }
    site.look();
    site.set_layout(patient)?;
    if name.contains(".after_") {
        let mut runtime = site.start()?;
        let resync = ["resync", "shop", "--destination", "copy", "--yes"];
        let is_accepted = wait_for(PASSED_WITHIN, || {
            let output = site.command(&resync).ok()?;
            output.status.success().then_some(())
        });
        if is_accepted.is_none() {
            site.fail("a destination of another history cannot be read again");
        }
        site.wait_until_equal(WRITTEN, PASSED_WITHIN);
        runtime.kill()?;
    } else {
        site.settle();
    }
    Ok(Some(site.run.checks()))
}

fn start_armed(site: &Site, point: &str) -> io::Result<Runtime> {
    site.start_with(&[], &[("HIGHWATER_FAILPOINT", point)])
}

/// Whether it killed itself; `false` if it still runs.
fn is_killed(site: &mut Site, runtime: &mut Runtime, limit: Duration) -> io::Result<bool> {
    match runtime.wait(limit)? {
        Some(status) if was_killed(status) => Ok(true),
        Some(status) => site.fail(&format!("ended with {status} instead of at its fail-point")),
        None => Ok(false),
    }
}
