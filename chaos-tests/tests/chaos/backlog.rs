//! Much was written while nothing ran.

use std::io;
use std::time::{Duration, Instant};

use highwater_chaos_tests::scale::{Run, is_full};
use highwater_chaos_tests::site::{Destination, Layout};
use highwater_chaos_tests::workload::Profile;

use crate::site;

/// The rows that wait are one interval, because triggers do not see transactions: they get through in one go or not at all,
/// and a kill undoes what was not committed.
#[test]
fn kill_every_15_seconds_lets_the_backlog_through() -> io::Result<()> {
    // A tenth of the rows in a tenth of the time, but never less than a start needs.
    let (rows, every) = match is_full() {
        true => (1_000_000, Duration::from_secs(15)),
        false => (100_000, Duration::from_secs(5)),
    };
    let run = Run::begin("kill_every_15_seconds_lets_the_backlog_through", 1);
    let profile = Profile {
        bulk_every: 20,
        bulk_rows: rows,
        ..Profile::small(run.seed)
    };
    let mut site = site(run, profile, Layout::of(vec![Destination::copy(), Destination::lake()]));
    // Captured from here on: what follows goes through the change table.
    let mut runtime = site.start()?;
    site.wait_until_shown(1, Duration::from_secs(60));
    runtime.kill()?;
    site.write(30)?;
    let (mut kills, began) = (0, Instant::now());
    loop {
        let mut runtime = site.start()?;
        let ended = runtime.wait(every)?;
        let status = runtime.kill()?;
        if ended.is_some() {
            site.fail(&format!("the runtime ended by itself, with {status}"));
        }
        kills += 1;
        site.run.did();
        let seen = site.look();
        if seen.iter().all(|seen| seen.transaction == 30) {
            break;
        }
        if kills == 12 {
            site.fail(&format!(
                "not through after {kills} kills and {:?}: {seen:?}",
                began.elapsed()
            ));
        }
    }
    site.finish(&format!("{rows} rows through after {kills} kills"));
    Ok(())
}
