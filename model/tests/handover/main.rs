//! The hand-over from existing rows to the log, simulated: one source, three destinations, one of them appending, kills
//! everywhere, and after every commit a check that the destination shows a prefix of the source's history.
//!
//! `model` does the work: batches, changesets, `admit`, `apply`, `then`, `everywhere`. The simulation is the source, the
//! spool and the destinations around it, each as small as it can be.
//!
//! ```text
//! HANDOVER_SEEDS=100000 cargo test -p highwater-model --test handover    more histories
//! HANDOVER_SEED=17 cargo test -p highwater-model --test handover         one of them, with its trace
//! ```

// The name by which every other crate knows it.
extern crate highwater_model as model;

mod check;
mod destination;
mod pipeline;
mod rows;
mod sabotage;
mod seen;
mod source;
mod world;

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use rand::SeedableRng;

use crate::pipeline::Simulation;
use crate::sabotage::Sabotage;
use crate::seen::Seen;

pub(crate) type Rng8 = rand_chacha::ChaCha8Rng;

/// Why a history is wrong.
#[derive(Debug)]
pub(crate) struct Failure(String);

impl Failure {
    pub(crate) fn new(what: impl Into<String>) -> Self {
        Failure(what.into())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn simulate(seed: u64, sabotage: Sabotage, seen: &mut Seen) -> Result<(), Failure> {
    Simulation::new(Rng8::seed_from_u64(seed), sabotage, seen).run()
}

/// Runs a history again and tells the last `line_count` things that happened.
fn tell(seed: u64, sabotage: Sabotage, line_count: usize) -> String {
    let mut seen = Seen::default();
    let mut simulation = Simulation::new(Rng8::seed_from_u64(seed), sabotage, &mut seen);
    simulation.trace = Some(Vec::new());
    let outcome = simulation.run();
    let trace = simulation.trace.take().unwrap_or_default();
    let last = trace.len().saturating_sub(line_count);
    let told = trace[last..].join("\n");
    match outcome {
        Ok(()) => format!("{told}\nseed {seed}: nothing is wrong"),
        Err(failure) => format!(
            "{told}\nseed {seed}: {failure}\nrepeat: HANDOVER_SEED={seed} cargo test -p highwater-model --test handover"
        ),
    }
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{variable} is no number: `{text}`")),
    )
}

/// The first of the seeds whose history is wrong, and what all of them saw.
fn first_wrong(seeds: std::ops::Range<u64>, sabotage: Sabotage) -> (Option<(u64, Failure)>, Seen) {
    let next = AtomicU64::new(seeds.start);
    let work = || {
        let mut seen = Seen::default();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                return (None, seen);
            }
            if let Err(failure) = simulate(seed, sabotage, &mut seen) {
                next.store(seeds.end, Ordering::Relaxed);
                return (Some((seed, failure)), seen);
            }
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get().min(8));
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let mut seen = Seen::default();
        let mut wrong: Option<(u64, Failure)> = None;
        for worker in workers {
            let (found, its) = worker.join().expect("a history panicked");
            seen.add(&its);
            wrong = match (wrong, found) {
                (Some(a), Some(b)) if b.0 < a.0 => Some(b),
                (a, b) => a.or(b),
            };
        }
        (wrong, seen)
    })
}

#[test]
fn every_destination_shows_a_prefix_through_every_hand_over() {
    if let Some(seed) = number("HANDOVER_SEED") {
        let told = tell(seed, Sabotage::None, usize::MAX);
        assert!(told.ends_with("nothing is wrong"), "{told}");
        return;
    }
    let seeds = number("HANDOVER_SEEDS").unwrap_or(3_000);
    let (wrong, seen) = first_wrong(0..seeds, Sabotage::None);
    if let Some((seed, _)) = wrong {
        panic!("{}", tell(seed, Sabotage::None, 60));
    }
    println!("{seeds} histories: {seen:?}");
    assert_eq!(seen.missing(), [""; 0], "situations that never came up");
}

#[test]
fn every_broken_rule_is_found() {
    for sabotage in Sabotage::ALL {
        let (wrong, _) = first_wrong(0..400, sabotage);
        let (seed, failure) = wrong.unwrap_or_else(|| panic!("{sabotage:?} was not found in 400 histories"));
        println!("{sabotage:?} is found by seed {seed}: {failure}");
    }
}

#[test]
fn one_seed_is_one_history() {
    let seen = || {
        let mut seen = Seen::default();
        simulate(7, Sabotage::None, &mut seen).expect("seed 7 is right");
        seen
    };
    assert_eq!(seen(), seen());
}
