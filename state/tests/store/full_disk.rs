use std::fs;
use std::path::Path;

use highwater_state::conformance::value_at;
use highwater_state::{SledStore, StateError, StateStore as _};

use crate::disk::Disk;
use crate::scene::{block_on, codes, open, shop};

#[test]
fn full_disk_stops_the_store_and_loses_nothing_acknowledged() {
    let Some(disk) = Disk::in_memory("size=8m") else { return };
    let dir = disk.path().join("state");
    let mut epoch = 0;
    // Different room, so that the disk is full at different steps: the journal, the database, the rewriting.
    for room_bytes in [4_096, 20_000, 60_000, 300_000, 700_000] {
        let (store, notices) = open(&dir);
        assert!(notices.iter().all(|notice| !notice.is_warning()), "{:?}", notices);
        let ballast = disk.path().join("ballast");
        fill(&ballast, disk.path(), room_bytes);
        let error = block_on(async {
            loop {
                match store.put(&shop(), &"lake".into(), &value_at(epoch + 1), epoch).await {
                    Ok(new) => epoch = new,
                    Err(error) => return error,
                }
                assert!(epoch < 100_000, "the disk never fills");
            }
        });
        assert!(error.is_fatal_io(), "{error:?}");
        assert_eq!(error.code(), "E0407", "{error:?}");
        let again = block_on(store.put(&shop(), &"lake".into(), &value_at(epoch + 1), epoch));
        assert!(matches!(again, Err(StateError::Stopped)), "{again:?}");
        drop(store);

        let refused = SledStore::open(&dir).map(|_| ());
        if let Err(error) = &refused {
            assert!(
                error.hint().is_some_and(|hint| hint.contains("make room")),
                "{error:?}: {:?}",
                error.hint()
            );
        }
        fs::remove_file(&ballast).unwrap();
        let (store, notices) = open(&dir);
        let stored = block_on(store.load(&shop())).unwrap();
        let found = stored.values().next().map_or(0, |stored| stored.epoch);
        assert!(
            found == epoch || found == epoch + 1,
            "acknowledged {epoch}, found {found}: {:?}",
            codes(&notices)
        );
        epoch = found;
    }
}

/// Leaves `room_bytes` on the disk.
fn fill(ballast: &Path, disk: &Path, room_bytes: u64) {
    let stat = rustix::fs::statvfs(disk).unwrap();
    let free = stat.f_bavail * stat.f_frsize;
    fs::write(ballast, vec![0; free.saturating_sub(room_bytes) as usize]).unwrap();
}

#[test]
fn read_only_disk_is_an_error_with_a_remedy() {
    let Some(disk) = Disk::in_memory("size=8m,ro") else {
        return;
    };
    let error = SledStore::open(&disk.path().join("state"))
        .map(|_| ())
        .expect_err("read-only");
    assert_eq!(error.code(), "E0402");
    assert!(
        error.hint().is_some_and(|hint| hint.contains("writable")),
        "{:?}",
        error.hint()
    );
}
