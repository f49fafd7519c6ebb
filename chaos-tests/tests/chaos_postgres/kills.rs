//! `kill -9` at random moments.

use std::io;
use std::time::Duration;

use highwater_chaos_tests::postgres::site::Site;
use highwater_chaos_tests::process::was_killed;
use highwater_chaos_tests::scale::{Run, is_full, planned};
use highwater_chaos_tests::workload::Profile;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::{RATE, site, small_site};

/// How long after the moment it is counted from a kill comes.
const DELAY_MS: std::ops::RangeInclusive<u64> = 10..=500;

#[test]
fn random_kill_leaves_prefixes_and_ends_equal() -> io::Result<()> {
    let run = Run::begin("random_kill_leaves_prefixes_and_ends_equal", planned(300));
    let mut rng = ChaCha8Rng::seed_from_u64(run.seed);
    let Some(mut site) = small_site(run) else { return Ok(()) };
    site.start_writer(RATE)?;
    kill_at_random(&mut site, &mut rng, planned(300))?;
    site.finish("");
    Ok(())
}

/// Large enough that a read takes many kills.
#[test]
fn kill_during_the_first_read_leaves_pages_of_one_state() -> io::Result<()> {
    let run = Run::begin("kill_during_the_first_read_leaves_pages_of_one_state", planned(100));
    let mut rng = ChaCha8Rng::seed_from_u64(run.seed);
    let profile = Profile {
        rows_at_start: if is_full() { 100_000 } else { 20_000 },
        ..Profile::small(run.seed)
    };
    let Some(mut site) = site(run, profile) else {
        return Ok(());
    };
    site.start_writer(RATE)?;
    kill_at_random(&mut site, &mut rng, planned(100))?;
    site.finish("");
    Ok(())
}

/// Starts the runtime and kills it, `count` times; looks at all destinations after each.
///
/// Every other kill comes soon after the start, among recovery; the others as long after the first commit since the start.
#[track_caller]
fn kill_at_random(site: &mut Site, rng: &mut ChaCha8Rng, count: u32) -> io::Result<()> {
    for kill in 0..count {
        let mut runtime = site.start()?;
        if kill % 2 == 1 {
            site.wait_for_commit(&mut runtime);
        }
        std::thread::sleep(Duration::from_millis(rng.random_range(DELAY_MS)));
        let status = runtime.kill()?;
        if !was_killed(status) {
            site.fail(&format!(
                "the runtime ended by itself, with {status}, before it was killed"
            ));
        }
        site.run.did();
        site.look();
    }
    Ok(())
}
