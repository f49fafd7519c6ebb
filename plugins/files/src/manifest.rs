//! What a commit is: one JSON document that is created once and never changed.
//!
//! ```json
//! {
//!   "format": 1, "number": 42, "history": "7c9e6679", "generation": 3,
//!   "owner": {"id": "…", "host": "db1", "pid": 4711},
//!   "pipeline": "shop", "destination": "lake", "lane": 0, "plan_hash": "…",
//!   "written_at": "2026-11-25T21:14:03.120447Z",
//!   "delta": {"moves": [{"partition": {"log": "…"}, "from": "1041", "to": {"order": "1077"}}], "streams": []},
//!   "checkpoint": {"marks": [{"partition": {"log": "…"}, "order": "1077"}], "streams": {"orders": {"state": "live", "run": 1}}},
//!   "streams": {"orders": {"schema": "…", "version": 1, "tag": "", "has_rows": true}},
//!   "newest_commit": "2026-11-25T21:14:02.981020Z",
//!   "files": [{"path": "orders/date=2026-11-25/7c9e6679-00000042-0001.parquet",
//!              "staged": "_highwater/shop.lake/staged/7c9e6679-00000042-0001.parquet.staged", "sequence": 1, "stream": "orders",
//!              "schema": "…", "row_count": 36, "size_bytes": 2519, "crc32c": "5a3ff7c1"}]
//! }
//! ```

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use api::{Lane, Owner};
use jiff::Timestamp;
use model::{Checkpoint, Delta, DestinationId, PipelineId, SchemaId, StreamId};
use serde::{Deserialize, Serialize};

/// The version of the document; a reader refuses a later one.
pub(crate) const FORMAT: u32 = 1;

/// One commit, or the begin of a generation (then without files and movement).
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Manifest {
    /// Version of this document.
    pub format: u32,
    /// Its place in the chain, from 1, without gaps.
    pub number: u64,
    /// Chosen when the directory was first used; part of every file name, so that none is used twice.
    pub history: String,
    /// Whose turn it is; grows by one with each owner.
    pub generation: u64,
    /// Who wrote it.
    pub owner: Owner,
    /// For which pipeline.
    pub pipeline: PipelineId,
    /// For which destination.
    pub destination: DestinationId,
    /// For which lane.
    pub lane: u16,
    /// The meaning of the rows (transformers) as of the last commit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan_hash: Option<String>,
    /// When, by the writer's clock.
    pub written_at: Timestamp,
    /// How the checkpoint moved.
    #[serde(default)]
    pub delta: Delta,
    /// The whole checkpoint after it; left out in compacted manifests, and before the first commit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<Checkpoint>,
    /// All streams known so far; left out in compacted manifests.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub streams: BTreeMap<StreamId, StreamEntry>,
    /// The newest source commit in any row so far; markers, which have no time, are filed under it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub newest_commit: Option<Timestamp>,
    /// The files that became visible with it, in the order in which their rows are to be read.
    pub files: Vec<FileEntry>,
}

/// What is remembered about a stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamEntry {
    /// The schema of its newest rows; `schemas/<id>.json` beside the manifest has the columns.
    pub schema: SchemaId,
    /// Grows with `on_schema_change: new_version`.
    pub version: u32,
    /// What its directory's name ends in: empty, unless another stream or version has the plain one.
    pub tag: String,
    /// Whether any row was ever appended.
    pub has_rows: bool,
}

/// A data file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEntry {
    /// Where it is published, relative to the root.
    pub path: String,
    /// Where it is until then.
    pub staged: String,
    /// Its place in the commit.
    pub sequence: u32,
    /// Whose rows it has.
    pub stream: StreamId,
    /// The schema of its rows.
    pub schema: SchemaId,
    /// How many.
    pub row_count: u64,
    /// Its size.
    pub size_bytes: u64,
    /// CRC-32C of its bytes, in hex.
    pub crc32c: String,
}

impl FileEntry {
    /// The file itself: where it is published or, in the moment before that, where it is staged.
    pub fn locate(&self, root: impl AsRef<Path>) -> PathBuf {
        let published = root.as_ref().join(&self.path);
        let staged = root.as_ref().join(&self.staged);
        match !published.exists() && staged.exists() {
            true => staged,
            false => published,
        }
    }
}

impl Manifest {
    /// The document after this one, by the same owner, with nothing in it yet.
    pub(crate) fn next(&self) -> Manifest {
        Manifest {
            number: self.number + 1,
            written_at: Timestamp::now(),
            delta: Delta::none(),
            files: Vec::new(),
            ..self.clone()
        }
    }

    /// The document with which `lane` takes over after this one.
    pub(crate) fn next_generation(&self, lane: &Lane) -> Manifest {
        Manifest {
            generation: self.generation + 1,
            owner: lane.owner.clone(),
            ..self.next()
        }
    }

    /// The first document of a directory.
    pub(crate) fn first(lane: &Lane) -> Manifest {
        let history = uuid::Uuid::new_v4().simple().to_string();
        Manifest {
            format: FORMAT,
            number: 1,
            history: history[..8].to_owned(),
            generation: 1,
            owner: lane.owner.clone(),
            pipeline: lane.pipeline.clone(),
            destination: lane.destination.clone(),
            lane: lane.lane,
            plan_hash: None,
            written_at: Timestamp::now(),
            delta: Delta::none(),
            checkpoint: None,
            streams: BTreeMap::new(),
            newest_commit: None,
            files: Vec::new(),
        }
    }

    /// What a compacted manifest keeps.
    pub(crate) fn compacted(mut self) -> Manifest {
        self.checkpoint = None;
        self.streams.clear();
        self
    }
}
