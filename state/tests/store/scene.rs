//! State directories to try things on, and what must hold of them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use highwater_state::conformance::value_at;
use highwater_state::{Notice, SledStore, StateStore, Stored};
use model::{DestinationId, PipelineId};

pub(crate) const DESTINATIONS: [&str; 3] = ["lake", "mart", "warehouse"];

pub(crate) fn shop() -> PipelineId {
    PipelineId::from("shop")
}

/// Epoch by destination.
pub(crate) type Epochs = BTreeMap<String, u64>;

pub(crate) fn open(dir: &Path) -> (SledStore, Vec<Notice>) {
    SledStore::open(dir).unwrap_or_else(|error| panic!("{error}: {error:?}"))
}

pub(crate) fn codes(notices: &[Notice]) -> Vec<&'static str> {
    notices.iter().map(|notice| notice.code).collect()
}

pub(crate) fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap()
        .block_on(work)
}

/// Writes `rounds` more values for each destination; each says its epoch in its checkpoint.
pub(crate) fn write(store: &SledStore, rounds: u64) {
    block_on(async {
        let loaded = store.load(&shop()).await.unwrap();
        let mut epochs: Epochs = loaded
            .into_iter()
            .map(|(id, stored)| (id.to_string(), stored.epoch))
            .collect();
        for _ in 0..rounds {
            for destination in DESTINATIONS {
                let epoch = epochs.entry(destination.to_owned()).or_default();
                let value = value_at(*epoch + 1);
                *epoch = store.put(&shop(), &destination.into(), &value, *epoch).await.unwrap();
            }
        }
    });
}

/// What is stored; each value must be whole and say its own epoch.
pub(crate) fn epochs(store: &SledStore) -> Epochs {
    let loaded: BTreeMap<DestinationId, Stored> = block_on(store.load(&shop())).unwrap();
    let check = |(id, stored): (DestinationId, Stored)| {
        let expected = Stored {
            epoch: stored.epoch,
            ..value_at(stored.epoch)
        };
        assert_eq!(stored, expected, "the value of {id} belongs to another epoch");
        (id.to_string(), stored.epoch)
    };
    loaded.into_iter().map(check).collect()
}

pub(crate) fn all_at(epoch: u64) -> Epochs {
    DESTINATIONS.iter().map(|id| ((*id).to_owned(), epoch)).collect()
}

/// A directory in which every destination is at `rounds`, closed in order.
pub(crate) fn written(rounds: u64) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    write(&store, rounds);
    dir
}

pub(crate) fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), &target).unwrap();
        }
    }
}

/// Every regular file below, in a stable order.
pub(crate) fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found.sort();
    found
}

pub(crate) fn size_bytes(dir: &Path) -> u64 {
    files(dir).iter().map(|file| file.metadata().unwrap().len()).sum()
}

/// The newest journal file.
pub(crate) fn journal(dir: &Path) -> PathBuf {
    files(&dir.join("journal")).pop().unwrap()
}

/// The one directory of the database.
pub(crate) fn database(dir: &Path) -> PathBuf {
    let mut numbered = fs::read_dir(dir.join("sled"))
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let path = numbered.next().unwrap();
    assert_eq!(numbered.next(), None, "one database, no leftovers");
    path
}
