use std::fs;

use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use crate::child::Writer;
use crate::disk::{Disk, make_image};
use crate::scene::{Epochs, epochs, open};

/// The image of a file system, copied while it is mounted, is what a power cut leaves: what was not synced is not in it.
#[test]
#[ignore = "needs root and loop devices, and takes a minute"]
fn acknowledged_writes_survive_a_power_cut() {
    let seed = std::env::var("SEED").map_or_else(|_| rand::random(), |seed| seed.parse().unwrap());
    println!("SEED={seed} cargo test -p highwater-state --test store power_cut -- --ignored");
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let scene = tempfile::tempdir().unwrap();
    let (image, cut) = (scene.path().join("image"), scene.path().join("cut"));
    for round in 0..60 {
        // Every other round the directory is young: its very names must survive.
        if round % 4 == 0 && !make_image(&image, 24 << 20) {
            return;
        }
        let Some(disk) = Disk::of_image(&image) else { return };
        let dir = disk.path().join("deep").join("state");
        let before = if dir.exists() {
            epochs(&open(&dir).0)
        } else {
            Epochs::new()
        };
        let mut writer = Writer::start(&dir, u64::MAX, None);
        writer.wait_for_acknowledgements(rng.random_range(1..60));
        writer.stop();
        fs::copy(&image, &cut).unwrap();
        writer.kill();
        writer.wait();

        let Some(after) = Disk::of_image(&cut) else { return };
        let (store, notices) = open(&after.path().join("deep").join("state"));
        let found = epochs(&store);
        for (destination, &epoch) in before.iter().chain(&writer.acknowledged_when_stopped) {
            let held = found.get(destination).copied().unwrap_or(0);
            assert!(
                held >= epoch,
                "round {round}: {destination} at {held}, acknowledged {epoch}: {notices:?}"
            );
        }
        assert!(
            notices.iter().all(|notice| !notice.is_warning()),
            "round {round}: {notices:?}"
        );
        drop(store);
        drop(after);
        drop(disk);
        fs::rename(&cut, &image).unwrap();
    }
}
