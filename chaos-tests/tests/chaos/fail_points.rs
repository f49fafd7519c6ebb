//! `kill -9` before and after every durable step: the binary kills itself at the n-th time that it passes a fail-point.
//!
//! A fail-point that is never passed fails the test: it guards nothing.

use std::io;
use std::time::Duration;

use highwater_chaos_tests::binary::fail_points;
use highwater_chaos_tests::drill::wait_for_commit;
use highwater_chaos_tests::process::{Runtime, was_killed};
use highwater_chaos_tests::scale::{Run, planned, say};
use highwater_chaos_tests::site::{Destination, Layout, Site};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::{RATE, small_site};

/// What has to happen for a fail-point to be passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Story {
    /// A pipeline starts from nothing and runs.
    FirstRun,
    /// It starts again after it ran.
    Restart,
    /// It starts again after it was killed between a commit to files and their publication.
    Publication,
    /// A stream is read again.
    Resync,
    /// Its traces at the source are removed.
    Forget,
}

impl Story {
    fn of(fail_point: &str) -> Story {
        match fail_point {
            "files.before_roll_forward" | "files.after_roll_forward" => Story::Publication,
            "sqlite.destination.before_end_read" => Story::Resync,
            _ if fail_point.ends_with("_forget") => Story::Forget,
            "state.open_read" | "state.open_repaired" => Story::Restart,
            _ => Story::FirstRun,
        }
    }
}

/// From start to the n-th pass, on a busy machine.
const KILLED_WITHIN: Duration = Duration::from_secs(30);

#[test]
fn kill_at_each_fail_point_leaves_a_prefix_and_ends_equal() -> io::Result<()> {
    let names = fail_points();
    assert!(!names.is_empty(), "no fail-points are compiled in");
    // Five times each; in the tenth, once.
    let times = planned(5);
    let all = names.len() as u32 * times;
    let mut overall = Run::begin("kill_at_each_fail_point_leaves_a_prefix_and_ends_equal", all);
    let mut rng = ChaCha8Rng::seed_from_u64(overall.seed);
    let mut never = Vec::new();
    for name in &names {
        for _ in 0..times {
            let run = overall.part(&mut rng);
            let nth = rng.random_range(1..=3);
            match kill_at(run, name, nth)? {
                Some(checks) => {
                    overall.did();
                    overall.checked(checks);
                }
                None => never.push(format!("{name}:{nth}")),
            }
        }
    }
    for name in &never {
        say(&format!("fail-point {name} was never passed"));
    }
    overall.end(&format!("{} fail-points", names.len()));
    Ok(())
}

/// Runs the story of a fail-point up to the kill and from there to the end; `None` if it was never passed.
fn kill_at(run: Run, name: &str, nth: u32) -> io::Result<Option<u32>> {
    let destinations = vec![
        Destination::copy().with("write: mirror"),
        Destination::lake().with("write: append, batch: { wait_max: 20ms }"),
    ];
    let mut site = small_site(run, Layout::of(destinations));
    let story = Story::of(name);
    let nth = if story == Story::FirstRun { nth } else { 1 };
    let point = format!("{name}:{nth}");
    site.note(format!("fail-point {point}"));
    site.start_writer(RATE)?;
    let mut armed = match story {
        Story::FirstRun => start_armed(&site, &point)?,
        Story::Restart => {
            run_once(&mut site)?;
            start_armed(&site, &point)?
        }
        Story::Publication => {
            let mut runtime = start_armed(&site, "files.after_manifest:3")?;
            expect_kill(&mut site, &mut runtime)?;
            start_armed(&site, &point)?
        }
        Story::Resync => {
            run_once(&mut site)?;
            let mut runtime = start_armed(&site, &point)?;
            wait_for_commit(&mut site, &mut runtime);
            site.expect_command(&["resync", "shop", "--stream", "churn", "--destination", "copy", "--yes"])?;
            runtime
        }
        Story::Forget => {
            run_once(&mut site)?;
            site.start_command(
                &["forget", "shop", "--source", "--yes"],
                &[("HIGHWATER_FAILPOINT", &point)],
            )?
        }
    };
    if !expect_kill(&mut site, &mut armed)? {
        return Ok(None);
    }
    site.look();
    if story == Story::Forget {
        // Half of the traces may be gone. The command finishes that, and everything is read again into empty places.
        site.expect_command(&["forget", "shop", "--source", "--yes"])?;
        site.start_over()?;
    }
    site.settle();
    Ok(Some(site.run.checks()))
}

fn start_armed(site: &Site, point: &str) -> io::Result<Runtime> {
    site.start_with(&[], &[("HIGHWATER_FAILPOINT", point)])
}

fn run_once(site: &mut Site) -> io::Result<()> {
    let mut runtime = site.start()?;
    wait_for_commit(site, &mut runtime);
    runtime.kill()?;
    site.look();
    Ok(())
}

fn expect_kill(site: &mut Site, runtime: &mut Runtime) -> io::Result<bool> {
    match runtime.wait(KILLED_WITHIN)? {
        Some(status) if was_killed(status) => Ok(true),
        Some(status) => site.fail(&format!("ended with {status} instead of at its fail-point")),
        None => Ok(false),
    }
}
