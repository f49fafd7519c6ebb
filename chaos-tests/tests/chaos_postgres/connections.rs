//! Connections that are dropped, refused, delayed, and cut between a COMMIT and its reply.

use std::io;
use std::time::Duration;

use highwater_chaos_tests::postgres::site::End;
use highwater_chaos_tests::process::wait_for;
use highwater_chaos_tests::scale::{Run, planned};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::{RATE, small_site};

/// Connections are made and commits come several times a second.
const WITHIN: Duration = Duration::from_secs(40);

#[test]
fn commit_whose_reply_is_lost_is_neither_lost_nor_doubled() -> io::Result<()> {
    let run = Run::begin("commit_whose_reply_is_lost_is_neither_lost_nor_doubled", planned(60));
    let Some(mut site) = small_site(run) else { return Ok(()) };
    site.start_writer(RATE)?;
    let mut runtime = site.start()?;
    site.wait_for_commit(&mut runtime);
    for time in 1..=planned(60) {
        site.proxy(End::Destination).cut_after_commit();
        if wait_for(WITHIN, || (site.proxy(End::Destination).cuts() >= time).then_some(())).is_none() {
            site.fail(&format!("no COMMIT was answered within {WITHIN:?}"));
        }
        site.look();
        site.run.did();
        site.wait_for_commit(&mut runtime);
    }
    runtime.kill()?;
    site.finish("");
    Ok(())
}

#[test]
fn dropped_and_slow_connections_cost_only_time() -> io::Result<()> {
    let run = Run::begin("dropped_and_slow_connections_cost_only_time", planned(60));
    let mut rng = ChaCha8Rng::seed_from_u64(run.seed);
    let Some(mut site) = small_site(run) else { return Ok(()) };
    site.start_writer(RATE)?;
    let mut runtime = site.start()?;
    site.wait_for_commit(&mut runtime);
    for time in 0..planned(60) {
        let end = [End::Source, End::Destination][time as usize % 2];
        site.note(format!("drop {time}, of the {end:?}"));
        let proxy = site.proxy(end);
        proxy.delay(Duration::from_millis(rng.random_range(0..=30)));
        // Someone may just be waiting to try again.
        let dropped = wait_for(WITHIN, || (proxy.drop_all() > 0).then_some(()));
        proxy.refuse(true);
        proxy.drop_all();
        std::thread::sleep(Duration::from_millis(rng.random_range(0..=300)));
        proxy.refuse(false);
        if dropped.is_none() {
            site.fail("there was no connection to drop");
        }
        site.look();
        site.run.did();
        site.wait_for_commit(&mut runtime);
        site.proxy(end).delay(Duration::ZERO);
    }
    runtime.kill()?;
    site.finish("");
    Ok(())
}
