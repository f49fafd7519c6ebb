//! Two runtimes for one pipeline: exactly one goes on.

use std::io;
use std::time::Duration;

use highwater_chaos_tests::scale::{Run, planned};
use rustix::process::Signal;

use crate::{RATE, small_site};

/// Fencing comes at once; this is for busy machines.
const ENDS_WITHIN: Duration = Duration::from_secs(60);

#[test]
fn paused_runtime_that_wakes_after_a_take_over_writes_nothing() -> io::Result<()> {
    let run = Run::begin(
        "paused_runtime_that_wakes_after_a_take_over_writes_nothing",
        planned(20),
    );
    let Some(mut site) = small_site(run) else { return Ok(()) };
    site.start_writer(RATE)?;
    let mut running = site.start()?;
    site.wait_for_commit(&mut running);
    for time in 0..planned(20) {
        site.pause(&mut running)?;
        site.use_state_dir(["state.rival", "state"][time as usize % 2])?;
        let mut rival = site.start_with(&["--take-over"], &[])?;
        site.wait_for_commit(&mut rival);
        running.signal(Signal::CONT)?;
        match running.wait(ENDS_WITHIN)? {
            Some(status) if status.code() == Some(1) => {}
            ended => site.fail(&format!("the paused runtime should end with 1, not {ended:?}")),
        }
        site.wait_for_commit(&mut rival);
        site.look();
        site.run.did();
        running = rival;
    }
    running.kill()?;
    site.finish("");
    Ok(())
}
