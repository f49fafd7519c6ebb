//! How much of the drill is done, and the lines that say so.

use std::io::Write;
use std::time::{SystemTime, UNIX_EPOCH};

/// Whether the whole drill was asked for (`HIGHWATER_CHAOS=full`); else a tenth of it is done.
pub fn is_full() -> bool {
    std::env::var("HIGHWATER_CHAOS").is_ok_and(|value| value == "full")
}

/// `full` repetitions, or a tenth of them, but at least one.
pub fn planned(full: u32) -> u32 {
    match is_full() {
        true => full,
        false => full.div_ceil(10),
    }
}

/// One test's run: its seed, and how many of its faults happened.
pub struct Run {
    test: &'static str,
    /// Where randomness starts; another one in each run, unless `HIGHWATER_CHAOS_SEED` says which.
    pub seed: u64,
    again: String,
    planned: u32,
    done: u32,
    checks: u32,
}

impl Run {
    /// Begins a test with a number of planned faults, and prints how to repeat it.
    pub fn begin(test: &'static str, planned: u32) -> Self {
        let given = std::env::var("HIGHWATER_CHAOS_SEED")
            .ok()
            .and_then(|text| text.parse().ok());
        let seed = given.unwrap_or_else(seed_of_the_moment);
        let again = command(test, seed);
        say(&format!("{test}: planned {planned}, seed {seed}; again: {again}"));
        Run {
            test,
            seed,
            again,
            planned,
            done: 0,
            checks: 0,
        }
    }

    /// The run of one part of this test, silent, with a seed of its own; repeated by repeating the whole.
    pub fn part(&self, rng: &mut impl rand::Rng) -> Run {
        Run {
            seed: rng.random_range(0..1_000_000_007),
            again: self.again.clone(),
            done: 0,
            checks: 0,
            ..*self
        }
    }

    /// How often a destination was held against the history.
    pub fn checks(&self) -> u32 {
        self.checks
    }

    /// A fault happened.
    pub fn did(&mut self) {
        self.done += 1;
    }

    /// A destination was held against the source's history.
    pub fn checked(&mut self, times: u32) {
        self.checks += times;
    }

    /// The command that repeats this run.
    pub fn command(&self) -> &str {
        &self.again
    }

    /// Prints what was done, and fails if it is less than planned.
    pub fn end(self, note: &str) {
        let Run {
            test,
            planned,
            done,
            checks,
            ..
        } = &self;
        say(&format!(
            "{test}: planned {planned}, done {done}, {checks} checks{}{note}",
            if note.is_empty() { "" } else { ", " }
        ));
        assert!(
            done >= planned,
            "{test}: {done} faults happened of {planned} planned; again: {}",
            self.command()
        );
    }
}

fn command(test: &str, seed: u64) -> String {
    let scale = if is_full() { "HIGHWATER_CHAOS=full " } else { "" };
    let binary = binary();
    format!("{scale}HIGHWATER_CHAOS_SEED={seed} cargo test -p highwater-chaos-tests --test {binary} {test}")
}

/// The name of the test binary that runs: cargo appends a hash to it.
fn binary() -> String {
    let path = std::env::current_exe().unwrap_or_default();
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    stem.rsplit_once('-')
        .map_or_else(|| stem.to_string(), |(name, _)| name.to_owned())
}

fn seed_of_the_moment() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    now.as_nanos() as u64 % 1_000_000_007
}

/// Prints a line that the test harness does not swallow when the test passes.
pub fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "chaos: {line}");
}
