//! Servers that die under a running pipeline and come back: the runtime stays, and goes on by itself.

use std::io;

use highwater_chaos_tests::postgres::site::End;
use highwater_chaos_tests::scale::{Run, planned};

use crate::{RATE, small_site};

#[test]
fn server_that_dies_and_comes_back_costs_nothing() -> io::Result<()> {
    let run = Run::begin("server_that_dies_and_comes_back_costs_nothing", planned(40));
    let Some(mut site) = small_site(run) else { return Ok(()) };
    site.start_writer(RATE)?;
    let mut runtime = site.start()?;
    site.wait_for_commit(&mut runtime);
    for time in 0..planned(40) {
        let end = [End::Source, End::Destination][time as usize % 2];
        site.note(format!("restart {time}, of the {end:?}"));
        site.restart(end);
        site.look();
        site.run.did();
        let last = site.last_written()?;
        site.wait_until_shown(last, &mut runtime);
    }
    runtime.kill()?;
    site.finish("");
    Ok(())
}
