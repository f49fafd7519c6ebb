//! A directory tree in which names and bytes survive power loss when a call returns.
//!
//! `object_store` moves the names (create-if-absent is a hard link there, a conditional put elsewhere) and lists them; it
//! syncs nothing, so that is done here.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use object_store::local::LocalFileSystem;
use object_store::path::Path as Key;
use object_store::{ObjectStore, ObjectStoreExt};

use crate::error::{Error, Result};
use crate::layout;

/// The root of a destination.
#[derive(Clone)]
pub(crate) struct Folder {
    root: PathBuf,
    store: Arc<LocalFileSystem>,
    /// Directories whose own names were synced since this value was made.
    anchored: Arc<Mutex<BTreeSet<PathBuf>>>,
}

/// What [`Folder::link`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Linked {
    /// The new name was made.
    Made,
    /// There was one already.
    Existed,
    /// The old name does not exist.
    NoSource,
}

impl Folder {
    /// Opens a directory that exists.
    pub(crate) fn open(root: &Path) -> Result<Self> {
        let store = LocalFileSystem::new_with_prefix(root).map_err(|source| Error::Store {
            verb: "open",
            path: root.to_owned(),
            source,
        })?;
        Ok(Folder {
            root: root.to_owned(),
            store: Arc::new(store),
            anchored: Arc::default(),
        })
    }

    /// The file system's path of a key.
    pub(crate) fn path(&self, key: &str) -> PathBuf {
        self.root.join(key)
    }

    /// The bytes of a key; `None` if there is no such key.
    pub(crate) async fn read(&self, key: &str) -> Result<Option<bytes::Bytes>> {
        let read = async { self.store.get(&parse(key)?).await?.bytes().await };
        match read.await {
            Ok(bytes) => Ok(Some(bytes)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(source) => Err(self.failed("read", key, source)),
        }
    }

    /// The names in a directory, sorted.
    pub(crate) async fn list(&self, directory: &str) -> Result<Vec<String>> {
        let prefix = parse(directory).map_err(|source| self.failed("list", directory, source))?;
        let listed = self.store.list_with_delimiter(Some(&prefix)).await;
        let listed = listed.map_err(|source| self.failed("list", directory, source))?;
        let names = listed.objects.iter().filter_map(|object| object.location.filename());
        let mut names: Vec<String> = names.map(str::to_owned).collect();
        names.sort();
        Ok(names)
    }

    /// The directories in a directory, sorted; none if it does not exist.
    pub(crate) async fn list_directories(&self, directory: &str) -> Result<Vec<String>> {
        let prefix = parse(directory).map_err(|source| self.failed("list", directory, source))?;
        let listed = self.store.list_with_delimiter(Some(&prefix)).await;
        let listed = listed.map_err(|source| self.failed("list", directory, source))?;
        let names = listed.common_prefixes.iter().filter_map(|prefix| prefix.filename());
        let mut names: Vec<String> = names.map(str::to_owned).collect();
        names.sort();
        Ok(names)
    }

    /// Creates a key with these bytes, by way of a name in the directory `staged`; `false` if there is one already.
    ///
    /// Atomicity: the key appears whole. Durability: on `Ok(true)` it survives power loss.
    pub(crate) async fn create(&self, staged: &str, key: &str, bytes: Vec<u8>) -> Result<bool> {
        let staged = format!("{staged}/{}.new", uuid::Uuid::new_v4().simple());
        let path = self.path(&staged);
        blocking("write", move || {
            write_synced(&path, &bytes).map_err(Error::io("write", &path))
        })
        .await?;
        let linked = self.link(&staged, key).await?;
        self.sync_directories([layout::directory_of(key)]).await?;
        self.remove(&staged).await?;
        match linked {
            Linked::Made => Ok(true),
            Linked::Existed => Ok(false),
            Linked::NoSource => Err(Error::StagedFileGone {
                path: self.path(key),
                staged,
            }),
        }
    }

    /// Gives a file a second name, in a directory that exists, unless that name is taken. Not synced.
    pub(crate) async fn link(&self, from: &str, to: &str) -> Result<Linked> {
        let link = async { self.store.copy_if_not_exists(&parse(from)?, &parse(to)?).await };
        match link.await {
            Ok(()) => Ok(Linked::Made),
            Err(object_store::Error::AlreadyExists { .. }) => Ok(Linked::Existed),
            Err(object_store::Error::NotFound { .. }) => Ok(Linked::NoSource),
            Err(source) => Err(self.failed("publish", to, source)),
        }
    }

    /// Removes a key, if there is one. Not synced: what is removed here may come back, and is removed again.
    pub(crate) async fn remove(&self, key: &str) -> Result<()> {
        let remove = async { self.store.delete(&parse(key)?).await };
        match remove.await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(source) => Err(self.failed("remove", key, source)),
        }
    }

    /// Makes directories, their own names synced. A symbolic link in between would lead out of the root: refused.
    pub(crate) async fn ensure_directories(&self, keys: impl IntoIterator<Item = &str>) -> Result<()> {
        let keys: Vec<String> = keys.into_iter().map(str::to_owned).collect();
        let folder = self.clone();
        blocking("create", move || keys.iter().try_for_each(|key| folder.anchor(key))).await
    }

    fn anchor(&self, key: &str) -> Result<()> {
        let mut path = self.root.clone();
        for segment in key.split('/').filter(|segment| !segment.is_empty()) {
            let parent = path.clone();
            path.push(segment);
            if self.is_anchored(&path) {
                continue;
            }
            match fs::symlink_metadata(&path) {
                Ok(found) if found.is_symlink() => return Err(Error::Symlink { path }),
                Ok(found) if !found.is_dir() => return Err(Error::NotADirectory { path }),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    match fs::create_dir(&path) {
                        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                            return Err(Error::io("create", &path)(error));
                        }
                        _ => {}
                    };
                }
                Err(error) => return Err(Error::io("look at", &path)(error)),
            }
            sync_directory(&parent)?;
            self.anchored
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .insert(path.clone());
        }
        Ok(())
    }

    fn is_anchored(&self, path: &Path) -> bool {
        self.anchored
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .contains(path)
    }

    /// Makes the names in these directories durable.
    pub(crate) async fn sync_directories(&self, keys: impl IntoIterator<Item = &str>) -> Result<()> {
        let paths: Vec<PathBuf> = keys.into_iter().map(|key| self.path(key)).collect();
        blocking("sync", move || paths.iter().try_for_each(|path| sync_directory(path))).await
    }

    fn failed(&self, verb: &'static str, key: &str, source: object_store::Error) -> Error {
        Error::Store {
            verb,
            path: self.path(key),
            source,
        }
    }
}

/// Makes the root and every directory above it, synced as far as we may open them.
pub(crate) fn ensure_root(root: &Path) -> Result<()> {
    match fs::create_dir_all(root) {
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory
            ) =>
        {
            return Err(Error::NotADirectory { path: root.to_owned() });
        }
        made => made.map_err(Error::io("create", root))?,
    }
    for ancestor in root.ancestors().skip(1).filter(|path| !path.as_os_str().is_empty()) {
        // A directory that we may pass through but not read was not made by us.
        if sync_directory(ancestor).is_err() {
            break;
        }
    }
    Ok(())
}

fn write_synced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create_new(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn sync_directory(path: &Path) -> Result<()> {
    File::open(path)
        .and_then(|directory| directory.sync_all())
        .map_err(Error::io("sync", path))
}

/// Off the async threads.
pub(crate) async fn blocking<T: Send + 'static>(
    verb: &'static str,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|source| Error::Task { verb, source })?
}

fn parse(key: &str) -> Result<Key, object_store::Error> {
    Key::parse(key).map_err(|source| object_store::Error::InvalidPath { source })
}
