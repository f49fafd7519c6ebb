//! `kill -9` of the runtime and of its plugins.

use std::io;
use std::time::Duration;

use highwater_chaos_tests::binary::fail_points;
use highwater_chaos_tests::process::{wait_for, was_killed};
use highwater_chaos_tests::scale::{Run, planned};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::site::{SYNC_MAX, Scene, Site};

/// From the start of a sync: the plugins' own starts, their rows, and the commits.
const DELAY_MS: std::ops::RangeInclusive<u64> = 50..=4_500;

/// A test's site and its dice; `None` where something is missing.
fn begin(test: &'static str, planned: u32, scene: Scene) -> io::Result<Option<(Site, ChaCha8Rng)>> {
    let run = Run::begin(test, planned);
    let rng = ChaCha8Rng::seed_from_u64(run.seed);
    Ok(Site::new(run, scene)?.map(|site| (site, rng)))
}

fn runtime_is_killed(test: &'static str, scene: Scene) -> io::Result<()> {
    let kills = planned(100);
    let Some((mut site, mut rng)) = begin(test, kills, scene)? else {
        return Ok(());
    };
    let mut killed = 0;
    while killed < kills {
        site.change(&mut rng)?;
        let mut runtime = site.sync(&[])?;
        let ended = runtime.wait(Duration::from_millis(rng.random_range(DELAY_MS)))?;
        match ended {
            None => {
                if was_killed(runtime.kill()?) {
                    killed += 1;
                    site.run.did();
                }
            }
            // It was faster than the kill.
            Some(status) if status.success() => site.is_equal()?,
            Some(status) => site.fail(&format!("the sync ended with {status}")),
        }
        site.plugins_are_gone();
    }
    site.change(&mut rng)?;
    site.ends_well(site.sync(&[])?)?;
    site.is_equal()?;
    site.run.end("");
    Ok(())
}

#[test]
fn killed_runtime_leaves_no_plugin_behind_and_ends_equal() -> io::Result<()> {
    runtime_is_killed(
        "killed_runtime_leaves_no_plugin_behind_and_ends_equal",
        Scene::PythonAndSqlite,
    )
}

#[test]
fn killed_runtime_between_an_incremental_plugin_and_three_systems_ends_equal() -> io::Result<()> {
    runtime_is_killed(
        "killed_runtime_between_an_incremental_plugin_and_three_systems_ends_equal",
        Scene::GoAndPostgres,
    )
}

#[test]
fn kill_at_each_fail_point_of_plugins_ends_equal() -> io::Result<()> {
    let names: Vec<String> = fail_points()
        .into_iter()
        // An installation is no part of a sync; the tests of the command line kill it.
        .filter(|name| name.starts_with("cloudquery.") && !name.starts_with("cloudquery.registry."))
        .collect();
    assert!(!names.is_empty(), "no such fail-point is compiled in");
    let test = "kill_at_each_fail_point_of_plugins_ends_equal";
    let Some((mut site, mut rng)) = begin(test, names.len() as u32, Scene::PythonAndSqlite)? else {
        return Ok(());
    };
    for name in &names {
        site.change(&mut rng)?;
        let mut runtime = site.sync(&[("HIGHWATER_FAILPOINT", &format!("{name}:1"))])?;
        match runtime.wait(SYNC_MAX)? {
            Some(status) if was_killed(status) => site.run.did(),
            other => site.fail(&format!("fail-point {name} was not passed: {other:?}")),
        }
        site.plugins_are_gone();
        site.change(&mut rng)?;
        site.ends_well(site.sync(&[])?)?;
        site.is_equal()?;
    }
    site.run.end("");
    Ok(())
}

#[test]
fn killed_plugin_is_started_again_and_its_sync_ends_equal() -> io::Result<()> {
    let (test, kills) = ("killed_plugin_is_started_again_and_its_sync_ends_equal", planned(60));
    let Some((mut site, mut rng)) = begin(test, kills, Scene::PythonAndSqlite)? else {
        return Ok(());
    };
    let mut killed = 0;
    while killed < kills {
        site.change(&mut rng)?;
        let mut runtime = site.sync(&[])?;
        let plugin = ["python-source.py", "python-destination.py"][rng.random_range(0..2)];
        // Beyond its start, mostly.
        let delay = Duration::from_millis(rng.random_range(800..=3_500));
        let is_over = runtime.wait(delay)?.is_some();
        if !is_over && wait_for(Duration::from_millis(500), || site.kill_plugin(plugin).then_some(())).is_some() {
            killed += 1;
            site.run.did();
        }
        site.ends_well(runtime)?;
        site.is_equal()?;
        site.plugins_are_gone();
    }
    site.run.end("");
    Ok(())
}
