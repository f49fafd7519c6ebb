//! Kills and restarts.

use std::io;
use std::time::Duration;

use rand::Rng;
use rand_chacha::ChaCha8Rng;

use crate::copy;
use crate::process::{Runtime, wait_for, was_killed};
use crate::site::{Kind, Site};

/// How long after the moment it is counted from a kill comes.
const DELAY_MS: std::ops::RangeInclusive<u64> = 10..=400;

/// A dead or hanging start is an error of its own; nothing takes this long.
const STARTS_WITHIN: Duration = Duration::from_secs(60);

/// Starts the runtime and kills it, `count` times; looks at all destinations after each.
///
/// Every other kill comes 10-400 ms after the start, among recovery; the others as long after the first commit since the start.
#[track_caller]
pub fn kill_at_random(site: &mut Site, rng: &mut ChaCha8Rng, count: u32) -> io::Result<()> {
    for kill in 0..count {
        let mut runtime = site.start()?;
        if kill % 2 == 1 {
            wait_for_commit(site, &mut runtime);
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

/// Waits until some SQLite destination's checkpoint has moved.
#[track_caller]
pub fn wait_for_commit(site: &mut Site, runtime: &mut Runtime) {
    let copies: Vec<_> = site
        .layout()
        .destinations
        .iter()
        .filter(|d| d.kind == Kind::Copy)
        .map(|d| d.name)
        .collect();
    let commits = |site: &Site| -> Vec<Option<String>> {
        copies
            .iter()
            .map(|name| {
                copy::ledger_text(&site.file(name).with_extension("db"), name)
                    .ok()
                    .flatten()
            })
            .collect()
    };
    let before = commits(site);
    let moved = wait_for(STARTS_WITHIN, || match runtime.ended() {
        Ok(None) => (commits(site) != before).then_some(true),
        _ => Some(false),
    });
    match moved {
        Some(true) => {}
        Some(false) => site.fail("the runtime ended by itself"),
        None => site.fail(&format!("no commit within {STARTS_WITHIN:?}")),
    }
}
