use std::fs::{self, OpenOptions};
use std::path::Path;

use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use crate::child::Writer;
use crate::scene::{all_at, codes, copy, database, epochs, files, journal, open, size_bytes, write, written};

const ROUNDS: u64 = 20;

/// A directory that a kill left, every write of which is acknowledged and complete.
fn killed() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let writes = ROUNDS * 3;
    // The first pass is the making of the database.
    let mut writer = Writer::start(dir.path(), writes, Some(("state.after_fdatasync", writes as u32 + 1)));
    assert!(writer.wait(), "it kills itself in the last write");
    dir
}

/// Harms one file somehow; says how.
fn harm(file: &Path, rng: &mut ChaCha8Rng) -> String {
    let mut bytes = fs::read(file).unwrap();
    let at = rng.random_range(0..bytes.len().max(1));
    let how = match rng.random_range(0..6) {
        _ if bytes.is_empty() => "delete",
        0 => {
            bytes[at] ^= 1 << rng.random_range(0..8);
            "flip a bit of"
        }
        1 => {
            let end = bytes.len().min(at + 4096);
            bytes[at..end].fill(0);
            "zero a page of"
        }
        2 => {
            let end = bytes.len().min(at + rng.random_range(1..200));
            rng.fill(&mut bytes[at..end]);
            "overwrite some of"
        }
        3 => {
            bytes.truncate(at);
            "truncate"
        }
        4 => {
            bytes.extend((0..rng.random_range(1..300)).map(|_| rng.random::<u8>()));
            "append to"
        }
        _ => "delete",
    };
    if how == "delete" {
        fs::remove_file(file).unwrap();
    } else {
        fs::write(file, bytes).unwrap();
    }
    format!("{how} {} at {at}", file.display())
}

fn rng() -> ChaCha8Rng {
    let seed = std::env::var("SEED").map_or_else(|_| rand::random(), |seed| seed.parse().unwrap());
    println!("SEED={seed} cargo test -p highwater-state --test store damage");
    ChaCha8Rng::seed_from_u64(seed)
}

/// After whatever was found, the store works, and the next open has nothing to tell.
fn check_it_goes_on(dir: &Path, what: &str) {
    let (store, _) = open(dir);
    let before = epochs(&store);
    write(&store, 1);
    drop(store);
    let (store, notices) = open(dir);
    assert!(notices.is_empty(), "{what}: {notices:?}");
    let after = epochs(&store);
    assert!(
        before.iter().all(|(id, epoch)| after[id] == epoch + 1),
        "{what}: {before:?} {after:?}"
    );
}

#[test]
fn one_damaged_file_costs_nothing() {
    let mut rng = rng();
    for (origin, trials) in [(killed(), 100), (written(ROUNDS), 30)] {
        for _ in 0..trials {
            let scene = tempfile::tempdir().unwrap();
            copy(origin.path(), scene.path());
            // An empty file and the lock hold nothing.
            let mut candidates = files(scene.path());
            candidates.retain(|file| !file.ends_with("LOCK") && file.metadata().unwrap().len() > 0);
            let what = harm(candidates.choose(&mut rng).unwrap(), &mut rng);
            let (store, notices) = open(scene.path());
            assert_eq!(epochs(&store), all_at(ROUNDS), "{what}: {notices:?}");
            drop(store);
            check_it_goes_on(scene.path(), &what);
        }
    }
}

#[test]
fn step_back_after_damage_of_both_is_never_silent() {
    let mut rng = rng();
    let origin = killed();
    let mut stepped_back = 0;
    for _ in 0..100 {
        let scene = tempfile::tempdir().unwrap();
        copy(origin.path(), scene.path());
        let mut what = Vec::new();
        for part in ["journal", "sled"] {
            for file in files(&scene.path().join(part)) {
                if file.metadata().unwrap().len() > 0 && (rng.random_bool(0.5) || file.ends_with("db")) {
                    what.push(harm(&file, &mut rng));
                }
            }
        }
        let (store, notices) = open(scene.path());
        if epochs(&store) != all_at(ROUNDS) {
            stepped_back += 1;
            let is_told = notices
                .iter()
                .any(|notice| notice.is_warning() || notice.code == "N0402");
            assert!(is_told, "{what:?}: {:?} and {notices:?}", epochs(&store));
        }
        drop(store);
        check_it_goes_on(scene.path(), &format!("{what:?}"));
    }
    println!("{stepped_back} of 100 stepped back, and said so");
}

#[test]
fn database_that_went_back_is_repaired_from_the_journal() {
    let dir = written(5);
    let old = tempfile::tempdir().unwrap();
    copy(&database(dir.path()), old.path());
    write(&open(dir.path()).0, 5);
    let database = database(dir.path());
    fs::remove_dir_all(&database).unwrap();
    copy(old.path(), &database);

    let (store, notices) = open(dir.path());
    assert_eq!(codes(&notices), ["W0401"], "{notices:?}");
    assert!(
        notices[0].message.contains("`shop`/`lake` at epoch 10 instead of 5"),
        "{}",
        notices[0]
    );
    assert_eq!(epochs(&store), all_at(10));
    drop(store);
    check_it_goes_on(dir.path(), "repaired");
}

#[test]
fn journal_that_went_back_is_repaired_from_the_database() {
    let dir = written(5);
    let old = tempfile::tempdir().unwrap();
    copy(&dir.path().join("journal"), old.path());
    write(&open(dir.path()).0, 5);
    fs::remove_dir_all(dir.path().join("journal")).unwrap();
    copy(old.path(), &dir.path().join("journal"));

    let (store, notices) = open(dir.path());
    assert_eq!(codes(&notices), ["W0403"], "{notices:?}");
    assert_eq!(epochs(&store), all_at(10));
    drop(store);
    check_it_goes_on(dir.path(), "repaired");
}

#[test]
fn database_that_does_not_open_is_moved_aside_and_rebuilt() {
    let dir = written(5);
    for round in 1..=2 {
        let database = database(dir.path());
        for file in files(&database) {
            fs::write(file, [0xA5; 700]).unwrap();
        }
        let (store, notices) = open(dir.path());
        assert_eq!(codes(&notices), ["W0402"], "{notices:?}");
        assert_eq!(epochs(&store), all_at(5));
        assert!(
            dir.path().join(format!("state.corrupt-{round}")).is_dir(),
            "what was found is kept"
        );
    }
    check_it_goes_on(dir.path(), "rebuilt");
}

#[test]
fn database_that_panics_under_a_write_stops_the_store_and_is_rebuilt() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = Writer::start_to_panic(dir.path());
    assert!(!writer.wait(), "it ends by itself");
    assert_eq!(writer.refused.as_deref(), Some("E0408 true"));
    assert_eq!(
        writer.acknowledged.values().sum::<u64>(),
        3,
        "the making of the database and three writes went well"
    );
    let (store, notices) = open(dir.path());
    assert_eq!(codes(&notices), ["W0402"], "{notices:?}");
    assert_eq!(epochs(&store)["lake"], 2, "the journal has what the database refused");
    drop(store);
    check_it_goes_on(dir.path(), "rebuilt");
}

#[test]
fn missing_database_is_rebuilt_and_told() {
    let dir = written(5);
    fs::remove_dir_all(dir.path().join("sled")).unwrap();
    let (store, notices) = open(dir.path());
    assert_eq!(codes(&notices), ["W0402"], "{notices:?}");
    assert_eq!(epochs(&store), all_at(5));
}

#[test]
fn missing_journal_is_rebuilt_and_told() {
    let dir = written(5);
    fs::remove_dir_all(dir.path().join("journal")).unwrap();
    let (store, notices) = open(dir.path());
    assert_eq!(codes(&notices), ["W0403"], "{notices:?}");
    assert_eq!(epochs(&store), all_at(5));
}

#[test]
fn loss_of_both_starts_with_nothing_and_says_so() {
    let dir = written(5);
    fs::remove_dir_all(dir.path().join("journal")).unwrap();
    fs::remove_dir_all(dir.path().join("sled")).unwrap();
    let (store, notices) = open(dir.path());
    assert_eq!(codes(&notices), ["W0402", "W0404"], "{notices:?}");
    assert!(epochs(&store).is_empty());
    drop(store);
    check_it_goes_on(dir.path(), "empty");
}

#[test]
fn new_directory_has_nothing_to_tell() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(open(&dir.path().join("state")).1, []);
}

#[test]
fn unfinished_snapshot_of_sled_is_removed() {
    let dir = killed();
    let leftover = database(dir.path()).join("snap.7FFFFFFFFFFFFFFF.generating");
    fs::write(&leftover, "half a snapshot").unwrap();
    let (store, notices) = open(dir.path());
    assert_eq!(notices, []);
    assert_eq!(epochs(&store), all_at(ROUNDS));
    assert!(!leftover.exists());
}

#[test]
fn every_cut_of_the_last_record_costs_nothing_while_the_database_has_it() {
    let origin = killed();
    let path = journal(origin.path());
    let whole = fs::read(&path).unwrap();
    let is_record = |at: &usize| whole[*at..].starts_with(b"HWSR");
    let last = (0..whole.len()).rev().find(is_record).unwrap();
    for cut in (last..whole.len()).step_by(7) {
        let scene = tempfile::tempdir().unwrap();
        copy(origin.path(), scene.path());
        let file = OpenOptions::new().write(true).open(journal(scene.path())).unwrap();
        file.set_len(cut as u64).unwrap();
        let (store, notices) = open(scene.path());
        assert_eq!(epochs(&store), all_at(ROUNDS), "cut at {cut}");
        let expected: &[&str] = if cut == last { &["W0403"] } else { &["W0403", "N0402"] };
        assert_eq!(codes(&notices), expected, "cut at {cut}: {notices:?}");
    }
}

#[test]
fn forgotten_pipeline_stays_forgotten_when_the_database_goes_back() {
    use highwater_state::StateStore as _;
    let dir = written(5);
    let old = tempfile::tempdir().unwrap();
    copy(&database(dir.path()), old.path());
    let (store, _) = open(dir.path());
    assert!(crate::scene::block_on(store.forget(&crate::scene::shop())).unwrap());
    drop(store);
    let database = database(dir.path());
    fs::remove_dir_all(&database).unwrap();
    copy(old.path(), &database);

    // Once with the forgetting still in the journal, once after it was folded into a base.
    for _ in 0..2 {
        let (store, notices) = open(dir.path());
        assert!(epochs(&store).is_empty(), "{notices:?}");
        drop(store);
        fs::remove_dir_all(&database).unwrap();
        copy(old.path(), &database);
    }
    let (store, notices) = open(dir.path());
    assert_eq!(codes(&notices), ["W0401"], "{notices:?}");
    assert!(epochs(&store).is_empty());
    assert!(size_bytes(dir.path()) > 0);
}
