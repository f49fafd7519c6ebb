//! Where this plugin writes: every change becomes a line of JSON in a folder, exactly once. Put your own system in its place.
//!
//! `committed.json` says what is true: how many bytes of which files count, and the checkpoint beside them. It is replaced as
//! a whole, and that is the commit. Each `open` takes a generation and writes a file of its own, so a process whose time is
//! over can write what it likes.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use highwater_plugin_sdk::arrow::array::TimestampMicrosecondArray;
use highwater_plugin_sdk::model::{Batch, Body, ChangeSet, Checkpoint, Control, SchemaId, StreamId};
use highwater_plugin_sdk::serde_json::{self, Map, Value, json};
use highwater_plugin_sdk::{
    BuildContext, Capabilities, CommitPoint, Destination, DestinationConnector, DestinationOptions, Error, Guarantee,
    Holds, Lane, OnSchemaChange, Owner, Result, Retry, SpecError, WriteMode, Written, async_trait, text_of,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The spec: its JSON Schema, its checks and its documentation come from this type.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// The folder to write to; made if it is missing.
    pub path: PathBuf,
}

pub struct Connector;

impl DestinationConnector for Connector {
    const NAME: &'static str = "sample";
    const ABOUT: &'static str = "Appends every change as a line of JSON, exactly once.";
    type Spec = Spec;

    /// Refuses what the JSON Schema cannot. Touches no system.
    fn build(spec: Spec, options: DestinationOptions, cx: &BuildContext) -> Result<Box<dyn Destination>, SpecError> {
        if options.write.is_some_and(|mode| mode != WriteMode::Append) {
            return Err(SpecError::at("", "cannot change lines that were written").hint("use `write: append`"));
        }
        if options
            .on_schema_change
            .is_some_and(|choice| choice != OnSchemaChange::Apply)
        {
            return Err(SpecError::at(
                "",
                "cannot hold back a schema change: a line has the columns of its row",
            ));
        }
        Ok(Box::new(Lines {
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

/// `committed.json`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Committed {
    /// Grows with every open.
    generation: u64,
    /// Who opened last.
    owner: Option<Owner>,
    /// The files with rows, in order, and how many bytes of each are committed.
    pub files: BTreeMap<u64, u64>,
    checkpoint: Option<Checkpoint>,
    plan_hash: Option<String>,
    schemas: BTreeMap<StreamId, SchemaId>,
}

impl Committed {
    pub fn load(lane: &Path) -> io::Result<Self> {
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

struct Lines {
    folder: PathBuf,
    session: Option<Session>,
}

/// What an open took.
struct Session {
    lane: Lane,
    folder: PathBuf,
    generation: u64,
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

pub fn file_of(lane: &Path, generation: u64) -> PathBuf {
    lane.join(format!("{generation:06}.jsonl"))
}

/// Says what was being attempted; whoever prints it prints the cause beside it.
fn failed(what: &str, folder: &Path) -> impl FnOnce(io::Error) -> Error {
    let message = format!("cannot {what} `{}`", folder.display());
    move |error| Error::new("SAMPLE1", Retry::After, message).caused_by(error)
}

/// Holds the small lock under which `committed.json` is read and replaced.
fn exclusively(lane: &Path) -> io::Result<File> {
    let lock = File::create(lane.join("commit.lock"))?;
    lock.lock()?;
    Ok(lock)
}

fn not_open() -> Error {
    Error::new(
        "SAMPLE1",
        Retry::Never,
        "cannot write rows: the destination is not open",
    )
}

#[async_trait]
impl Destination for Lines {
    fn capabilities(&self) -> Capabilities {
        Connector::capabilities()
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
            return Err(Error::new("SAMPLE2", Retry::Operator, message).hint("stop it"));
        }
        committed.generation += 1;
        committed.owner = Some(lane.owner.clone());
        committed.store(&folder).map_err(opening())?;
        drop(exclusive);
        let generation = committed.generation;
        let mut options = OpenOptions::new();
        let rows = options.create_new(true).append(true).open(file_of(&folder, generation));
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

    /// Accepted is not durable: nothing is synced here.
    async fn write(&mut self, changeset: Arc<ChangeSet>) -> Result<Written> {
        let session = self.session.as_mut().ok_or_else(not_open)?;
        match &changeset.body {
            Body::Rows(batches) => {
                let mut lines = String::new();
                for batch in batches {
                    (0..batch.len()).for_each(|row| lines.push_str(&format!("{}\n", line(batch, row))));
                    session.schemas.insert(batch.schema.stream().clone(), batch.schema.id());
                }
                let written = session.rows.write_all(lines.as_bytes());
                written.map_err(failed("write to", &session.folder))?;
                session.bytes += lines.len() as u64;
            }
            Body::Control(Control::Schema { schema } | Control::BeginRead { schema, .. }) => {
                session.schemas.insert(schema.stream().clone(), schema.id());
            }
            Body::Control(_) => {}
        }
        Ok(Written::default())
    }

    /// Rows first, then the file that says that they count, and only if the generation is still ours.
    async fn commit(&mut self, at: CommitPoint<'_>) -> Result<()> {
        let session = self.session.as_mut().ok_or_else(not_open)?;
        let committing = || failed("commit to", &session.folder);
        session.rows.sync_all().map_err(committing())?;
        let _exclusive = exclusively(&session.folder).map_err(committing())?;
        let mut committed = Committed::load(&session.folder).map_err(committing())?;
        if committed.generation != session.generation {
            let (folder, ours, theirs) = (session.folder.display(), session.generation, committed.generation);
            let message = format!("cannot commit to `{folder}`: expected generation {ours}, found {theirs}");
            return Err(Error::new("SAMPLE3", Retry::Fenced, message));
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

/// A change as a line: its stream, and its values as texts, with what happened in `_highwater_*`.
fn line(batch: &Batch, row: usize) -> Value {
    let commit = batch.commit_of(row);
    let committed_at = TimestampMicrosecondArray::from(vec![commit.time.micros()]).with_timezone("UTC");
    let fields = batch.schema.arrow().fields();
    let mut values: Map<String, Value> = fields
        .iter()
        .zip(batch.rows.columns())
        .map(|(field, column)| (field.name().clone(), json!(text_of(column, row))))
        .collect();
    values.insert("_highwater_op".to_owned(), json!(batch.ops.get(row).name()));
    values.insert("_highwater_position".to_owned(), json!(commit.order.to_string()));
    values.insert("_highwater_committed_at".to_owned(), json!(text_of(&committed_at, 0)));
    let unsent: Vec<&String> = match &batch.unavailable {
        Some(mask) => {
            let columns = (0..fields.len()).filter(|&column| mask.is_set(row, column));
            columns.map(|column| fields[column].name()).collect()
        }
        None => Vec::new(),
    };
    let unsent = (!unsent.is_empty()).then(|| json!(unsent).to_string());
    values.insert("_highwater_unavailable".to_owned(), json!(unsent));
    json!({"stream": batch.schema.stream().to_string(), "values": values})
}
