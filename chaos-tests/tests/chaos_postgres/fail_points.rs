//! `kill -9` before and after every durable step at PostgreSQL: the binary kills itself at the n-th time that it passes a
//! fail-point.
//!
//! A fail-point that is never passed fails the test: it guards nothing.

use std::io;
use std::time::Duration;

use highwater_chaos_tests::binary::fail_points;
use highwater_chaos_tests::postgres::site::Site;
use highwater_chaos_tests::process::was_killed;
use highwater_chaos_tests::scale::{Run, planned, say};
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::{RATE, small_site};

/// From start to the first pass, on a busy machine.
const PASSED_WITHIN: Duration = Duration::from_secs(40);

/// A later pass that has not come by then does not come: some steps are taken once in a run.
const PASSED_AGAIN_WITHIN: Duration = Duration::from_secs(4);

/// Steps that are taken only when something is new: a table, a slot, a read of existing rows.
const OF_A_FIRST_RUN: [&str; 8] = [
    "_create_publication",
    "_create_slot",
    "_open_window",
    "_page",
    "_table",
    "_end_read",
    "mid_write",
    "_generation",
];

/// Points of the first run get a site each; the others share one. `HIGHWATER_CHAOS_FAIL_POINT` confines it to one.
#[test]
fn kill_at_each_fail_point_of_postgres_leaves_prefixes_and_ends_equal() -> io::Result<()> {
    let only = std::env::var("HIGHWATER_CHAOS_FAIL_POINT").ok();
    let mut names: Vec<String> = fail_points()
        .into_iter()
        .filter(|name| name.starts_with("postgres."))
        .filter(|name| only.as_ref().is_none_or(|only| only == name))
        .collect();
    assert!(!names.is_empty(), "no such fail-point is compiled in");
    // Five times each; in the tenth, once.
    let times = planned(5);
    let test = "kill_at_each_fail_point_of_postgres_leaves_prefixes_and_ends_equal";
    let mut overall = Run::begin(test, names.len() as u32 * times);
    let mut rng = ChaCha8Rng::seed_from_u64(overall.seed);
    names.shuffle(&mut rng);
    for _ in 0..times {
        let (first_runs, later): (Vec<&String>, Vec<&String>) = names
            .iter()
            .partition(|name| OF_A_FIRST_RUN.iter().any(|end| name.ends_with(end)));
        // As many first-run points as possible are met on one site, in the order in which a run comes to them.
        let Some(mut site) = small_site(overall.part(&mut rng)) else {
            return Ok(());
        };
        site.start_writer(RATE)?;
        let mut missed = Vec::new();
        for name in in_order(first_runs) {
            match die_at(&mut site, name, 1, PASSED_AGAIN_WITHIN * 2)? {
                true => overall.did(),
                false => missed.push(name),
            }
        }
        let mut runtime = site.start()?;
        site.wait_for_commit(&mut runtime);
        runtime.kill()?;
        for name in later {
            let nth = rng.random_range(1..=3);
            let is_passed = die_at(
                &mut site,
                name,
                nth,
                if nth == 1 { PASSED_WITHIN } else { PASSED_AGAIN_WITHIN },
            )? || (nth > 1 && die_at(&mut site, name, 1, PASSED_WITHIN)?);
            match is_passed {
                true => overall.did(),
                false => say(&format!("fail-point {name} was never passed")),
            }
        }
        site.settle();
        overall.checked(site.run.checks());
        for name in missed {
            let Some(mut site) = small_site(overall.part(&mut rng)) else {
                return Ok(());
            };
            site.start_writer(RATE)?;
            match die_at(&mut site, name, 1, PASSED_WITHIN)? {
                true => overall.did(),
                false => say(&format!("fail-point {name} was never passed")),
            }
            site.settle();
            overall.checked(site.run.checks());
        }
    }
    overall.end(&format!("{} fail-points", names.len()));
    Ok(())
}

/// The order in which a first run comes to them.
fn in_order(mut names: Vec<&String>) -> Vec<&String> {
    const STEPS: [&str; 8] = [
        "_generation",
        "_create_publication",
        "_create_slot",
        "_open_window",
        "_table",
        "_page",
        "mid_write",
        "_end_read",
    ];
    names.sort_by_key(|name| {
        let step = STEPS.iter().position(|end| name.ends_with(end));
        (step, name.contains("after_"))
    });
    names
}

/// Whether the runtime killed itself there; else it is killed here.
fn die_at(site: &mut Site, name: &str, nth: u32, limit: Duration) -> io::Result<bool> {
    let point = format!("{name}:{nth}");
    site.note(format!("fail-point {point}"));
    let mut runtime = site.start_with(&[], &[("HIGHWATER_FAILPOINT", &point)])?;
    let is_passed = match runtime.wait(limit)? {
        Some(status) if was_killed(status) => true,
        Some(status) => site.fail(&format!("ended with {status} instead of at its fail-point")),
        None => false,
    };
    runtime.kill()?;
    site.look();
    Ok(is_passed)
}
