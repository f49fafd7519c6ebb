//! `json_lines`: appends every change as a line of JSON, with its own checkpoint.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use api::{
    BuildContext, Capabilities, CommitPoint, Destination, DestinationConnector, DestinationOptions, Error, Guarantee,
    Holds, Lane, OnSchemaChange, Owner, Result, Retry, SpecError, WriteMode, Written,
};
use async_trait::async_trait;
use model::{ChangeSet, Checkpoint, SchemaId, StreamId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::print;

/// The spec of `json_lines`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct JsonLinesSpec {
    /// The folder to write to; made if it is missing.
    pub(crate) path: PathBuf,
}

/// The connector `json_lines`.
pub(crate) struct JsonLines;

impl DestinationConnector for JsonLines {
    const NAME: &'static str = "json_lines";
    const ABOUT: &'static str = "Appends every change as a line of JSON, exactly once.";
    type Spec = JsonLinesSpec;

    fn build(
        spec: JsonLinesSpec,
        options: DestinationOptions,
        cx: &BuildContext,
    ) -> Result<Box<dyn Destination>, SpecError> {
        if options.write.is_some_and(|mode| mode != WriteMode::Append) {
            return Err(SpecError::at("", "cannot change lines that were written").hint("use `write: append`"));
        }
        if options
            .on_schema_change
            .is_some_and(|choice| choice != OnSchemaChange::Apply)
        {
            return Err(SpecError::at(
                "",
                "cannot hold back a schema change: a line has the columns that its row has",
            )
            .hint("leave `on_schema_change` out"));
        }
        Ok(Box::new(JsonLinesDestination {
            folder: cx.path(spec.path),
            session: None,
        }))
    }

    fn capabilities() -> Capabilities {
        Capabilities {
            guarantee: Guarantee::ExactlyOnce,
            writes: &[WriteMode::Append],
            deletes: true,
            truncate: false,
            delete_where: false,
            unavailable: true,
            ddl_in_transaction: true,
            keeps_checkpoint: true,
            reads_back: false,
            buffer_bytes: 0,
            commit_interval_min: Duration::from_millis(10),
        }
    }
}

/// `committed.json`: the one file that says what is true. It is replaced as a whole, and that is the commit.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Committed {
    /// Grows with every open.
    generation: u64,
    /// Who opened last.
    owner: Option<Owner>,
    /// The files with rows, in order, and how many bytes of each are committed.
    pub(crate) files: BTreeMap<u64, u64>,
    checkpoint: Option<Checkpoint>,
    plan_hash: Option<String>,
    schemas: BTreeMap<StreamId, SchemaId>,
}

impl Committed {
    pub(crate) fn load(lane: &Path) -> io::Result<Self> {
        match fs::read(lane.join("committed.json")) {
            Ok(bytes) => Ok(serde_json::from_slice(&bytes)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Committed::default()),
            Err(error) => Err(error),
        }
    }

    /// Replaces the file: a reader, and the next open after a crash, sees the old one or the new one.
    fn store(&self, lane: &Path) -> io::Result<()> {
        let (new, place) = (lane.join("committed.new"), lane.join("committed.json"));
        let mut file = File::create(&new)?;
        file.write_all(&serde_json::to_vec(self)?)?;
        file.sync_all()?;
        fs::rename(&new, &place)?;
        File::open(lane)?.sync_all()
    }
}

struct JsonLinesDestination {
    folder: PathBuf,
    session: Option<Session>,
}

/// What an open took.
struct Session {
    lane: Lane,
    folder: PathBuf,
    generation: u64,
    /// Ours alone: a file for each generation, so that a stale owner cannot write into it.
    rows: File,
    bytes: u64,
    schemas: BTreeMap<StreamId, SchemaId>,
    /// Locked while we live; the lock goes with the file.
    _lock: File,
}

/// Each lane has a folder of its own.
fn folder_of(folder: &Path, lane: &Lane) -> PathBuf {
    folder.join(format!("{}.{}.{}", lane.pipeline, lane.destination, lane.lane))
}

pub(crate) fn rows_of_generation(lane: &Path, generation: u64) -> PathBuf {
    lane.join(format!("{generation:06}.jsonl"))
}

/// Says what was being attempted; the runtime prints the cause beside it.
fn failed(what: &str, folder: &Path) -> impl FnOnce(io::Error) -> Error {
    let message = format!("cannot {what} `{}`", folder.display());
    move |error| Error::new("E0580", Retry::After, message).caused_by(error)
}

/// Holds the small lock under which `committed.json` is read and replaced.
fn exclusively(lane: &Path) -> io::Result<File> {
    let lock = File::create(lane.join("commit.lock"))?;
    lock.lock()?;
    Ok(lock)
}

#[async_trait]
impl Destination for JsonLinesDestination {
    fn capabilities(&self) -> Capabilities {
        JsonLines::capabilities()
    }

    async fn open(&mut self, lane: &Lane) -> Result<Holds> {
        let folder = folder_of(&self.folder, lane);
        let opening = || failed("open", &folder);
        fs::create_dir_all(&folder).map_err(opening())?;
        let lock = File::create(folder.join("session.lock")).map_err(opening())?;
        let is_held = match lock.try_lock() {
            Ok(()) => false,
            Err(TryLockError::WouldBlock) => true,
            Err(TryLockError::Error(error)) => return Err(opening()(error)),
        };
        let exclusive = exclusively(&folder).map_err(opening())?;
        let mut committed = Committed::load(&folder).map_err(opening())?;
        if is_held && !lane.take_over {
            let owner = committed
                .owner
                .map_or_else(|| "another process".to_owned(), |owner| owner.to_string());
            let message = format!("cannot open `{}`: {owner} writes there", folder.display());
            return Err(Error::new("E0581", Retry::Operator, message).hint("stop it, or start with `--take-over`"));
        }
        committed.generation += 1;
        committed.owner = Some(lane.owner.clone());
        committed.store(&folder).map_err(opening())?;
        drop(exclusive);

        let generation = committed.generation;
        let mut options = OpenOptions::new();
        let rows = options
            .create_new(true)
            .append(true)
            .open(rows_of_generation(&folder, generation));
        self.session = Some(Session {
            lane: lane.clone(),
            generation,
            rows: rows.map_err(opening())?,
            bytes: 0,
            schemas: committed.schemas.clone(),
            _lock: lock,
            folder,
        });
        Ok(Holds {
            generation,
            checkpoint: committed.checkpoint,
            plan_hash: committed.plan_hash,
            schemas: committed.schemas,
        })
    }

    async fn write(&mut self, changeset: Arc<ChangeSet>) -> Result<Written> {
        let session = self.session.as_mut().ok_or_else(not_open)?;
        let mut lines = String::new();
        print::ndjson(&changeset, &mut lines);
        session
            .rows
            .write_all(lines.as_bytes())
            .map_err(failed("write to", &session.folder))?;
        session.bytes += lines.len() as u64;
        session.schemas.extend(
            changeset
                .batches()
                .iter()
                .map(|batch| (batch.schema.stream().clone(), batch.schema.id())),
        );
        if let model::Body::Control(model::Control::Schema { schema } | model::Control::BeginRead { schema, .. }) =
            &changeset.body
        {
            session.schemas.insert(schema.stream().clone(), schema.id());
        }
        Ok(Written::default())
    }

    async fn commit(&mut self, at: CommitPoint<'_>) -> Result<()> {
        let session = self.session.as_mut().ok_or_else(not_open)?;
        let committing = || failed("commit to", &session.folder);
        session.rows.sync_all().map_err(committing())?;
        let _exclusive = exclusively(&session.folder).map_err(committing())?;
        let mut committed = Committed::load(&session.folder).map_err(committing())?;
        if committed.generation != session.generation {
            let message = format!(
                "cannot commit to `{}`: expected generation {}, found {}",
                session.folder.display(),
                session.generation,
                committed.generation
            );
            return Err(Error::new("E0582", Retry::Fenced, message));
        }
        committed.files.insert(session.generation, session.bytes);
        committed.checkpoint = Some(at.checkpoint.clone());
        committed.plan_hash = Some(session.lane.plan_hash.clone());
        committed.schemas = session.schemas.clone();
        committed.store(&session.folder).map_err(committing())
    }

    async fn close(self: Box<Self>) -> Result<()> {
        Ok(())
    }

    async fn forget(&mut self, lane: &Lane) -> Result<Vec<String>> {
        let folder = folder_of(&self.folder, lane);
        let forgetting = || failed("forget", &folder);
        let mut committed = Committed::load(&folder).map_err(forgetting())?;
        if committed.checkpoint.take().is_none() {
            return Ok(Vec::new());
        }
        (committed.plan_hash, committed.schemas) = (None, BTreeMap::new());
        committed.store(&folder).map_err(forgetting())?;
        Ok(vec![format!("the checkpoint in `{}`", folder.display())])
    }
}

fn not_open() -> Error {
    Error::new("E0580", Retry::Never, "cannot write rows: the destination is not open")
}
