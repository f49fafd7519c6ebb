//! Two runtimes for one pipeline: exactly one goes on.

use std::io;
use std::time::Duration;

use highwater_chaos_tests::copy::is_writable;
use highwater_chaos_tests::drill::wait_for_commit;
use highwater_chaos_tests::process::Runtime;
use highwater_chaos_tests::scale::{Run, planned};
use highwater_chaos_tests::site::{Destination, Layout, Site};
use rustix::process::Signal;

use crate::{RATE, small_site};

/// Refusals and fencing come at once; this is for busy machines.
const ENDS_WITHIN: Duration = Duration::from_secs(30);

fn both() -> Layout {
    Layout::of(vec![Destination::copy(), Destination::lake()])
}

#[test]
fn second_runtime_on_the_same_state_directory_is_refused() -> io::Result<()> {
    let mut site = small_site(
        Run::begin("second_runtime_on_the_same_state_directory_is_refused", 1),
        both(),
    );
    site.start_writer(RATE)?;
    let mut first = site.start()?;
    wait_for_commit(&mut site, &mut first);
    let mut second = site.start()?;
    expect_end(&mut site, &mut second, &[3]);
    site.run.did();
    wait_for_commit(&mut site, &mut first);
    first.kill()?;
    site.finish("");
    Ok(())
}

#[test]
fn second_runtime_on_another_state_directory_is_refused_while_the_first_lives() -> io::Result<()> {
    let name = "second_runtime_on_another_state_directory_is_refused_while_the_first_lives";
    let mut site = small_site(Run::begin(name, 1), both());
    site.start_writer(RATE)?;
    let mut first = site.start()?;
    wait_for_commit(&mut site, &mut first);
    site.use_state_dir("state.rival")?;
    let mut second = site.start()?;
    expect_end(&mut site, &mut second, &[1, 3]);
    site.run.did();
    wait_for_commit(&mut site, &mut first);
    first.kill()?;
    site.finish("");
    Ok(())
}

#[test]
fn take_over_fences_the_first_and_exactly_one_goes_on() -> io::Result<()> {
    let times = planned(20);
    let mut site = small_site(
        Run::begin("take_over_fences_the_first_and_exactly_one_goes_on", times),
        both(),
    );
    site.start_writer(RATE)?;
    let mut running = site.start()?;
    wait_for_commit(&mut site, &mut running);
    for time in 0..times {
        site.use_state_dir(["state.rival", "state"][time as usize % 2])?;
        let mut rival = site.start_with(&["--take-over"], &[])?;
        expect_end(&mut site, &mut running, &[1]);
        wait_for_commit(&mut site, &mut rival);
        site.look();
        site.run.did();
        running = rival;
    }
    running.kill()?;
    site.finish("");
    Ok(())
}

#[test]
fn paused_runtime_that_wakes_after_a_take_over_writes_nothing() -> io::Result<()> {
    let times = planned(20);
    let mut site = small_site(
        Run::begin("paused_runtime_that_wakes_after_a_take_over_writes_nothing", times),
        both(),
    );
    site.start_writer(RATE)?;
    let mut running = site.start()?;
    wait_for_commit(&mut site, &mut running);
    for time in 0..times {
        pause_between_transactions(&mut site, &mut running)?;
        site.use_state_dir(["state.rival", "state"][time as usize % 2])?;
        let mut rival = site.start_with(&["--take-over"], &[])?;
        wait_for_commit(&mut site, &mut rival);
        running.signal(Signal::CONT)?;
        expect_end(&mut site, &mut running, &[1]);
        wait_for_commit(&mut site, &mut rival);
        site.look();
        site.run.did();
        running = rival;
    }
    running.kill()?;
    site.finish("");
    Ok(())
}

/// A process that is stopped inside a write transaction blocks every newcomer until it is continued or killed; that is
/// SQLite's way, and another test's subject.
fn pause_between_transactions(site: &mut Site, runtime: &mut Runtime) -> io::Result<()> {
    for _ in 0..200 {
        runtime.stop()?;
        if ["shop.db", "copy.db"].iter().all(|name| is_writable(&site.file(name))) {
            return Ok(());
        }
        runtime.signal(Signal::CONT)?;
    }
    site.fail("the runtime was inside a write transaction each of 200 times that it was stopped")
}

#[track_caller]
fn expect_end(site: &mut Site, runtime: &mut Runtime, codes: &[i32]) {
    match runtime.wait(ENDS_WITHIN) {
        Ok(Some(status)) if status.code().is_some_and(|code| codes.contains(&code)) => {}
        Ok(Some(status)) => site.fail(&format!("ended with {status}, expected one of {codes:?}")),
        Ok(None) => site.fail(&format!("still runs after {ENDS_WITHIN:?}")),
        Err(error) => site.fail(&format!("cannot wait: {error}")),
    }
}
