//! The chain of manifests: what is committed, whose turn it is, and how a commit becomes visible.
//!
//! Invariants:
//! - manifest `n` is created at most once, by create-if-absent; that is the commit. Nobody creates `n` who has not read or
//!   written `n - 1`, so a writer that slept through another's manifest finds its number taken, and is fenced;
//! - an owner begins with a manifest of its own, one generation up, without files: from then on its predecessor is fenced;
//! - a file gets its published name only after its manifest is durable, and loses its staged name only after the published
//!   one is durable. So a file of the newest manifest that has neither was published and then taken away by somebody;
//! - only the newest manifest can have unpublished files: its owner publishes before it commits again, and a successor
//!   publishes before it takes its generation.
//!
//! Every [`COMPACT_EVERY`] manifests, older ones are folded into a segment, so that the directory stays small. A number at
//! or below the last segment's end is spent: whatever file bears it counts for nothing. (A writer that slept so long that
//! its number was folded away can create it again; it then finds that its predecessor is gone, and knows.)

use std::collections::BTreeSet;

use api::Lane;
use fail::fail_point;

use crate::error::{Error, Result};
use crate::folder::{Folder, Linked};
use crate::layout::{self, LEDGERS, LOCK, Layout};
use crate::manifest::{FORMAT, FileEntry, Manifest};

/// After how many manifests older ones are folded, and how many are kept as they are. Small enough to list in no time,
/// large enough that a year of a commit a minute makes 16,000 segments.
const COMPACT_EVERY: u64 = 32;

/// How often a reader starts again because files were folded under its hands.
const READ_TRIES: usize = 20;

/// The names in the ledger, sorted out.
struct Chain {
    /// Numbers that have a manifest of their own, ascending.
    live: Vec<u64>,
    /// Numbers that were folded and still have a file.
    spent: Vec<u64>,
    /// First and last number of each segment, ascending.
    segments: Vec<(u64, u64)>,
}

impl Chain {
    /// The last folded number.
    fn folded_to(&self) -> u64 {
        self.segments.last().map_or(0, |&(_, to)| to)
    }
}

/// The manifests of one lane.
#[derive(Clone)]
pub(crate) struct Ledger {
    folder: Folder,
    layout: Layout,
}

impl Ledger {
    pub(crate) fn new(folder: Folder, layout: Layout) -> Self {
        Ledger { folder, layout }
    }

    pub(crate) fn layout(&self) -> &Layout {
        &self.layout
    }

    pub(crate) fn folder(&self) -> &Folder {
        &self.folder
    }

    /// Makes the ledger's directories.
    pub(crate) async fn prepare(&self) -> Result<()> {
        let layout = &self.layout;
        let (staged, schemas, compacted) = (layout.staged(), layout.schemas(), layout.compacted());
        self.folder
            .ensure_directories([layout.ledger(), &staged, &schemas, &compacted])
            .await
    }

    /// The last manifest.
    pub(crate) async fn newest(&self) -> Result<Option<Manifest>> {
        for _ in 0..READ_TRIES {
            let chain = self.chain().await?;
            let Some(&number) = chain.live.last() else {
                return match chain.folded_to() {
                    0 => Ok(None),
                    folded => Err(self.unreadable(&self.layout.manifest_key(folded + 1), "it is gone", None)),
                };
            };
            if let Some(manifest) = self.manifest(number).await? {
                return Ok(Some(manifest));
            }
        }
        Err(self.unreadable(self.layout.ledger(), "it keeps changing", None))
    }

    /// Takes the next generation for `lane`, after finishing what the predecessor committed but did not publish.
    pub(crate) async fn take_generation(&self, lane: &Lane) -> Result<Manifest> {
        loop {
            let mine = match self.newest().await? {
                Some(last) => {
                    fail_point!("files.before_roll_forward");
                    self.publish(&last.files, Publish::Again).await?;
                    fail_point!("files.after_roll_forward");
                    last.next_generation(lane)
                }
                None => Manifest::first(lane),
            };
            fail_point!("files.before_generation");
            if self.append(&mine).await? {
                fail_point!("files.after_generation");
                return Ok(mine);
            }
        }
    }

    /// Creates a manifest. On `Ok(true)` it is durable; `Ok(false)`: the number is spent.
    pub(crate) async fn append(&self, manifest: &Manifest) -> Result<bool> {
        let key = self.layout.manifest_key(manifest.number);
        let text = serde_json::to_vec_pretty(manifest)
            .map_err(|source| self.unreadable(&key, "it cannot be put into JSON", Some(source)))?;
        if !self.folder.create(&self.layout.staged(), &key, text).await? {
            return Ok(false);
        }
        let has_predecessor = match manifest.number {
            1 => true,
            number => self.folder.read(&self.layout.manifest_key(number - 1)).await?.is_some(),
        };
        if !has_predecessor {
            self.folder.remove(&key).await?;
        }
        Ok(has_predecessor)
    }

    /// Who has committed instead of us.
    pub(crate) async fn fenced(&self, number: u64) -> Error {
        let owner = match self.newest().await {
            Ok(Some(newest)) => newest.owner.to_string(),
            _ => "another owner".to_owned(),
        };
        Error::Fenced {
            ledger: self.folder.path(self.layout.ledger()),
            number,
            owner,
        }
    }

    /// Gives committed files their published names. On `Ok` those are durable.
    pub(crate) async fn publish(&self, files: &[FileEntry], mode: Publish) -> Result<()> {
        let directories: BTreeSet<&str> = files.iter().map(|file| layout::directory_of(&file.path)).collect();
        self.folder.ensure_directories(directories.iter().copied()).await?;
        for file in files {
            let linked = self.folder.link(&file.staged, &file.path).await?;
            if linked == Linked::NoSource && !self.folder.path(&file.path).exists() {
                let path = self.folder.path(&file.path);
                match mode {
                    Publish::First => {
                        let staged = file.staged.clone();
                        return Err(Error::StagedFileGone { path, staged });
                    }
                    Publish::Again => {
                        tracing::warn!(path = %path.display(), "a published file was taken away");
                    }
                }
            }
            fail_point!("files.mid_publish");
        }
        self.folder.sync_directories(directories).await?;
        for file in files {
            self.folder.remove(&file.staged).await?;
        }
        Ok(())
    }

    /// Removes whatever is staged, and locks that were not put in place. Only for the owner, with everything published.
    pub(crate) async fn sweep(&self) -> Result<()> {
        let staged = self.layout.staged();
        for name in self.folder.list(&staged).await? {
            self.folder.remove(&format!("{staged}/{name}")).await?;
        }
        for name in self.folder.list(self.layout.ledger()).await? {
            if name.starts_with(LOCK) && name != LOCK {
                self.folder.remove(&format!("{}/{name}", self.layout.ledger())).await?;
            }
        }
        Ok(())
    }

    /// Folds old manifests when `newest` says that it is time.
    pub(crate) async fn compact(&self, newest: u64) -> Result<()> {
        if !newest.is_multiple_of(COMPACT_EVERY) || newest <= COMPACT_EVERY {
            return Ok(());
        }
        let chain = self.chain().await?;
        let upto = newest - COMPACT_EVERY;
        let old: Vec<u64> = chain.live.iter().copied().filter(|&number| number <= upto).collect();
        if let Some(&first) = old.first() {
            let mut lines = Vec::new();
            for &number in &old {
                let key = self.layout.manifest_key(number);
                let manifest = self.manifest(number).await?;
                let manifest = manifest.ok_or_else(|| self.unreadable(&key, "it is gone", None))?;
                if !manifest.files.is_empty() {
                    serde_json::to_writer(&mut lines, &manifest.compacted())
                        .map_err(|source| self.unreadable(&key, "it cannot be put into JSON", Some(source)))?;
                    lines.push(b'\n');
                }
            }
            fail_point!("files.before_compaction");
            let key = self.layout.segment_key(first, upto);
            self.folder.create(&self.layout.staged(), &key, lines).await?;
            fail_point!("files.mid_compaction");
        }
        for number in chain.spent.iter().chain(&old) {
            self.folder.remove(&self.layout.manifest_key(*number)).await?;
        }
        self.drop_empty_segments(&chain).await?;
        fail_point!("files.after_compaction");
        Ok(())
    }

    /// Segments without lines say nothing once there is a later one: an idle pipeline leaves no trail.
    async fn drop_empty_segments(&self, chain: &Chain) -> Result<()> {
        if let Some(&(from, to)) = chain.segments.last() {
            let key = self.layout.segment_key(from, to);
            if self.folder.read(&key).await?.is_some_and(|lines| lines.is_empty()) {
                self.folder.remove(&key).await?;
            }
        }
        Ok(())
    }

    /// All manifests that can matter to a reader, in order.
    pub(crate) async fn read_all(&self) -> Result<Vec<Manifest>> {
        for _ in 0..READ_TRIES {
            if let Some(manifests) = self.try_read_all().await? {
                return Ok(manifests);
            }
        }
        Err(self.unreadable(self.layout.ledger(), "it keeps changing", None))
    }

    /// `None` if something was folded meanwhile.
    async fn try_read_all(&self) -> Result<Option<Vec<Manifest>>> {
        let chain = self.chain().await?;
        let mut manifests = Vec::new();
        for &(from, to) in &chain.segments {
            let key = self.layout.segment_key(from, to);
            let Some(lines) = self.folder.read(&key).await? else {
                return Ok(None);
            };
            for line in lines.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
                manifests.push(self.parse(&key, line)?);
            }
        }
        for &number in &chain.live {
            match self.manifest(number).await? {
                Some(manifest) => manifests.push(manifest),
                None => return Ok(None),
            }
        }
        Ok(Some(manifests))
    }

    async fn chain(&self) -> Result<Chain> {
        // Segments last: a manifest that is missing from the first listing then has its segment in the second.
        let names = self.folder.list(self.layout.ledger()).await?;
        let segments = self.folder.list(&self.layout.compacted()).await?;
        let mut segments: Vec<(u64, u64)> = segments.iter().filter_map(|name| layout::segment_range(name)).collect();
        segments.sort_unstable();
        let mut numbers: Vec<u64> = names.iter().filter_map(|name| layout::manifest_number(name)).collect();
        numbers.sort_unstable();
        let folded_to = segments.last().map_or(0, |&(_, to)| to);
        let (spent, live) = numbers.into_iter().partition(|&number| number <= folded_to);
        Ok(Chain { live, spent, segments })
    }

    async fn manifest(&self, number: u64) -> Result<Option<Manifest>> {
        let key = self.layout.manifest_key(number);
        match self.folder.read(&key).await? {
            Some(text) => self.parse(&key, &text).map(Some),
            None => Ok(None),
        }
    }

    fn parse(&self, key: &str, text: &[u8]) -> Result<Manifest> {
        let manifest: Manifest = serde_json::from_slice(text)
            .map_err(|source| self.unreadable(key, "it is not a manifest", Some(source)))?;
        match manifest.format {
            FORMAT => Ok(manifest),
            _ => Err(self.unreadable(key, "a newer version wrote it", None)),
        }
    }

    fn unreadable(&self, key: &str, what: &'static str, source: Option<serde_json::Error>) -> Error {
        Error::Stored {
            path: self.folder.path(key),
            what,
            source,
        }
    }
}

/// The manifests of all lanes below a root, lane by lane.
pub(crate) async fn read_all(folder: &Folder) -> Result<Vec<Manifest>> {
    let mut manifests = Vec::new();
    for name in folder.list_directories(LEDGERS).await? {
        let ledger = Ledger::new(folder.clone(), Layout::named(&name));
        manifests.extend(ledger.read_all().await?);
    }
    Ok(manifests)
}

/// Whether files are published by their writer, or by whoever recovers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Publish {
    /// They are staged for certain.
    First,
    /// Some may be published already, and even be gone again.
    Again,
}
