use std::time::Duration;

use highwater_state::FAIL_POINTS;
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use crate::child::Writer;
use crate::scene::{Epochs, codes, epochs, open};

/// What a kill may leave: everything acknowledged, and of the one write under way either all or nothing.
fn check(dir: &std::path::Path, before: &Epochs, writer: &Writer, what: &str) -> Epochs {
    let (store, notices) = open(dir);
    assert!(notices.iter().all(|notice| !notice.is_warning()), "{what}: {notices:?}");
    let found = epochs(&store);
    let mut in_flight = 0;
    for (destination, &epoch) in &found {
        let known = writer.acknowledged.get(destination).or_else(|| before.get(destination));
        in_flight += epoch - known.copied().unwrap_or(0);
    }
    assert!(in_flight <= 1, "{what}: {in_flight} writes that nobody acknowledged");
    for (destination, &epoch) in before.iter().chain(&writer.acknowledged) {
        assert!(
            found.get(destination).is_some_and(|&found| found >= epoch),
            "{what}: {destination} went back"
        );
    }
    found
}

#[test]
fn acknowledged_writes_survive_a_kill_at_every_fail_point() {
    let dir = tempfile::tempdir().unwrap();
    let mut before = Epochs::new();
    for name in FAIL_POINTS {
        // Passed once by each open; the others are reached by the repair at the open first, and by each write then.
        let is_of_the_open = name.contains("open") || name.contains("rename");
        let hits: &[u32] = if is_of_the_open { &[1, 1] } else { &[1, 2, 5] };
        for &hit in hits {
            let mut writer = Writer::start(dir.path(), 12, Some((name, hit)));
            assert!(
                writer.wait(),
                "fail-point `{name}` was not passed {hit} times in a run of 12 writes"
            );
            before = check(dir.path(), &before, &writer, &format!("{name}, {hit}"));
        }
    }
    assert!(
        before.values().all(|&epoch| epoch > 3),
        "the writers got somewhere: {before:?}"
    );
}

#[test]
fn kill_inside_a_write_is_told_as_what_it_is() {
    let expected: [(&str, &[&str]); 7] = [
        ("state.before_journal", &[]),
        ("state.mid_journal_write", &["N0402"]),
        ("state.before_journal_fsync", &["N0401"]),
        ("state.after_journal_fsync", &["N0401"]),
        // sled has flushed nothing by itself at the first, and has written to the file at the second.
        ("state.before_flush", &["N0401"]),
        ("state.after_flush", &[]),
        ("state.after_fdatasync", &[]),
    ];
    for (name, told) in expected {
        let dir = tempfile::tempdir().unwrap();
        drop(open(dir.path()));
        // The database is written to once by the open.
        let hit = if name.contains("flush") || name.contains("fdatasync") {
            6
        } else {
            5
        };
        let mut writer = Writer::start(dir.path(), 12, Some((name, hit)));
        assert!(writer.wait());
        let (_store, notices) = open(dir.path());
        assert_eq!(codes(&notices), told, "{name}: {notices:?}");
    }
}

#[test]
fn first_start_survives_a_kill_at_every_fail_point() {
    for name in FAIL_POINTS {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("deep").join("state");
        let mut writer = Writer::start(&state, 12, Some((name, 1)));
        assert!(
            writer.wait(),
            "fail-point `{name}` was not passed in a first run of 12 writes"
        );
        check(&state, &Epochs::new(), &writer, name);
    }
}

#[test]
fn acknowledged_writes_survive_kills_at_random_times() {
    let seed = std::env::var("SEED").map_or_else(|_| rand::random(), |seed| seed.parse().unwrap());
    println!("SEED={seed} cargo test -p highwater-state --test store kills_at_random");
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let dir = tempfile::tempdir().unwrap();
    let mut before = Epochs::new();
    let mut seen = Vec::new();
    for round in 0..40 {
        let mut writer = Writer::start(dir.path(), u64::MAX, None);
        if rng.random_bool(0.6) {
            writer.wait_for_acknowledgement();
        }
        // The time of the kill is what is tried out; nothing is waited for.
        std::thread::sleep(Duration::from_micros(rng.random_range(0..20_000)));
        writer.kill();
        assert!(writer.wait(), "it was killed");
        before = check(dir.path(), &before, &writer, &format!("round {round}"));
        seen.extend(codes(&open(dir.path()).1));
    }
    assert_eq!(
        seen,
        Vec::<&str>::new(),
        "an open leaves nothing for the next one to tell"
    );
    assert!(
        before.values().sum::<u64>() > 40,
        "the writers got somewhere: {before:?}"
    );
}
