//! Messages with random damage, as they come off the wire: a million on each side, a tenth of it without
//! `HIGHWATER_CHAOS=full`. `HIGHWATER_SEED` repeats a run.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rand::SeedableRng;
use rand::seq::IndexedRandom;
use rand_chacha::ChaCha8Rng;

#[path = "../../../proto/tests/payload/damage.rs"]
mod damage;
#[path = "../../../proto/tests/payload/sample.rs"]
#[allow(dead_code, clippy::unwrap_used)]
mod sample;

/// A schema and a record of it.
pub(crate) struct Payload {
    pub schema: Bytes,
    pub record: Bytes,
}

/// Of all types at once, and of each type alone.
pub(crate) fn payloads() -> Vec<Payload> {
    let alone = sample::columns().into_iter().map(|column| vec![column]);
    std::iter::once(sample::columns())
        .chain(alone)
        .map(|columns| {
            let (table, rows) = sample::table("sample", columns);
            Payload {
                schema: proto::encode_schema(&table.to_schema()).expect("a schema that plugins exchange"),
                record: sample::payload(&table, &rows),
            }
        })
        .collect()
}

/// What became of one message.
pub(crate) enum Outcome {
    Taken,
    /// It is no message: the transport says so, and the call that it belongs to fails.
    Undecodable,
    /// Refused, with these words.
    Refused(String),
}

/// Damages messages and takes each. `names` is in the words of every refusal.
#[track_caller]
pub(crate) fn each_is_taken_or_refused(originals: &[Vec<u8>], names: &str, take: impl Fn(Bytes) -> Outcome) {
    static QUIET: Once = Once::new();
    let (seed, cases) = (damage::seed(), damage::planned(500_000));
    println!("seed {seed}, {cases} messages");
    // A panic is counted and told at the end, with the seed that repeats it.
    QUIET.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            let is_of_damage = std::thread::current()
                .name()
                .is_some_and(|name| name.contains("mutations"));
            if !is_of_damage {
                usual(panic);
            }
        }));
    });
    let (mut taken, mut undecodable, mut slowest) = (0_u64, 0_u64, Duration::ZERO);
    let mut failures = Vec::new();
    for case in 0..cases {
        let seed = seed.wrapping_add(case);
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let mut bytes = originals.choose(&mut random).expect("some").clone();
        damage::damage(&mut bytes, 0, &mut random);
        let start = Instant::now();
        match catch_unwind(AssertUnwindSafe(|| take(Bytes::from(bytes)))) {
            Ok(Outcome::Taken) => taken += 1,
            Ok(Outcome::Undecodable) => undecodable += 1,
            Ok(Outcome::Refused(words)) if words.contains(names) => {}
            Ok(Outcome::Refused(words)) => failures.push(format!("seed {seed}: `{words}` does not name `{names}`")),
            Err(panic) => {
                let text = panic.downcast_ref::<String>().cloned();
                let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
                failures.push(format!("seed {seed}: {}", text.unwrap_or_default()));
            }
        }
        slowest = slowest.max(start.elapsed());
    }
    let refused = cases - taken - undecodable;
    println!("{taken} taken, {refused} refused, {undecodable} undecodable, the slowest took {slowest:?}");
    assert!(
        failures.is_empty(),
        "{} failures: {:#?}",
        failures.len(),
        &failures[..failures.len().min(20)]
    );
    // Damage meets the envelope, the payload's frame and its values: all of it must have happened.
    assert!(
        taken > cases / 100 && refused > cases / 100 && undecodable > 0,
        "{cases}"
    );
    assert!(slowest < Duration::from_secs(5), "{slowest:?}");
}
