//! The destination: gathers a commit in staged files, then makes it true with one manifest.
//!
//! ```text
//! write   rows -> history rows -> staged files, row group by row group
//! commit  finish and sync the files, sync their directory
//!         create manifest n + 1 if absent (synced before it gets the name, its directory after)    <- committed
//!         give each file its published name, sync the directories, remove the staged names         <- visible
//! ```

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use api::{Capabilities, CommitPoint, Destination, Guarantee, Holds, Lane, OnSchemaChange, WriteMode, Written};
use async_trait::async_trait;
use fail::fail_point;
use model::{Batch, Body, ChangeSet, Control, Order, StreamId, Timestamp};

use crate::error::{Error, Result};
use crate::folder::{self, Folder, blocking};
use crate::format::Format;
use crate::history::{self, Marker};
use crate::layout::Layout;
use crate::ledger::{Ledger, Publish};
use crate::manifest::Manifest;
use crate::session::Session;
use crate::staging::{Staging, Target};
use crate::streams::{Shape, Streams};
use crate::template::Template;

/// Two row groups of the default size: what all open files hold in memory together.
pub(crate) const BUFFER_BYTES: usize = 16 << 20;

/// Rows are brought into form and encoded in pieces of about this size: what a batch costs on top while it is written.
const PIECE_BYTES: usize = 1 << 20;

/// Everything that the spec and the options say.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) root: PathBuf,
    pub(crate) template: Template,
    pub(crate) format: Format,
    pub(crate) budget_bytes: usize,
    pub(crate) file_bytes_max: u64,
    pub(crate) on_schema_change: Option<OnSchemaChange>,
    pub(crate) skips_deletes: bool,
}

/// Files of one format below one root.
pub(crate) struct Files {
    settings: Arc<Settings>,
    open: Option<Open>,
}

/// What there is between `open` and `close`. Taken out by each call and put back on success, so that after an error, or a
/// call that was cancelled, nothing can be committed.
struct Open {
    settings: Arc<Settings>,
    ledger: Ledger,
    /// The lock; after everything that relies on it.
    _session: Session,
    plan_hash: String,
    /// Our last manifest.
    last: Manifest,
    staging: Staging,
    streams: Streams,
    newest_commit: Option<Timestamp>,
}

impl Files {
    pub(crate) fn new(settings: Settings) -> Self {
        Files {
            settings: Arc::new(settings),
            open: None,
        }
    }

    fn take(&mut self, verb: &'static str) -> Result<Open> {
        self.open.take().ok_or(Error::NotOpen { verb })
    }
}

/// What every destination of this crate can do.
pub(crate) fn capabilities(budget_bytes: usize) -> Capabilities {
    Capabilities {
        guarantee: Guarantee::ExactlyOnce,
        writes: &[WriteMode::Append],
        deletes: true,
        truncate: true,
        delete_where: false,
        unavailable: true,
        ddl_in_transaction: true,
        keeps_checkpoint: true,
        reads_back: false,
        buffer_bytes: budget_bytes,
        // A file for each minute is what people expect; a batch configured to wait less does commit earlier.
        commit_interval_min: Duration::from_secs(60),
    }
}

#[async_trait]
impl Destination for Files {
    fn capabilities(&self) -> Capabilities {
        capabilities(self.settings.budget_bytes)
    }

    async fn check(&mut self) -> api::Result<Vec<api::Error>> {
        let root = self.settings.root.clone();
        Ok(blocking("look at", move || Ok(crate::check::findings(&root))).await?)
    }

    async fn open(&mut self, lane: &Lane) -> api::Result<Holds> {
        self.open = None;
        let (open, holds) = Open::take(Arc::clone(&self.settings), lane).await?;
        self.open = Some(open);
        Ok(holds)
    }

    async fn write(&mut self, changeset: Arc<ChangeSet>) -> api::Result<Written> {
        let open = self.take("write")?.write(changeset).await?;
        let buffered_bytes = open.staging.buffered_bytes();
        self.open = Some(open);
        Ok(Written { buffered_bytes })
    }

    async fn commit(&mut self, at: CommitPoint<'_>) -> api::Result<()> {
        let open = self.take("commit")?.commit(at).await?;
        self.open = Some(open);
        Ok(())
    }

    async fn close(mut self: Box<Self>) -> api::Result<()> {
        // Whatever is staged is swept by the next owner. Not by us: by now the next owner may be there, and staging.
        self.open = None;
        Ok(())
    }

    async fn forget(&mut self, lane: &Lane) -> api::Result<Vec<String>> {
        self.open = None;
        Ok(forget(&self.settings.root, lane).await?)
    }
}

impl Open {
    async fn take(settings: Arc<Settings>, lane: &Lane) -> Result<(Self, Holds)> {
        let root = settings.root.clone();
        blocking("open", move || folder::ensure_root(&root)).await?;
        let layout = Layout::of(lane);
        let ledger = Ledger::new(Folder::open(&settings.root)?, layout.clone());
        ledger.prepare().await?;
        let session = take_session(&ledger, lane).await?;
        let last = ledger.take_generation(lane).await?;
        ledger.sweep().await?;
        let staging = Staging::new(&settings, layout, &last.history, last.number + 1);
        let streams = Streams::new(&settings, &ledger, last.streams.clone());
        let schemas = last
            .streams
            .iter()
            .map(|(stream, entry)| (stream.clone(), entry.schema));
        let holds = Holds {
            generation: last.generation,
            checkpoint: last.checkpoint.clone(),
            plan_hash: last.plan_hash.clone(),
            schemas: schemas.collect(),
        };
        let newest_commit = last.newest_commit.map(|time| Timestamp(time.as_microsecond()));
        let open = Open {
            settings,
            ledger,
            _session: session,
            plan_hash: lane.plan_hash.clone(),
            last,
            staging,
            streams,
            newest_commit,
        };
        Ok((open, holds))
    }

    async fn write(self, changeset: Arc<ChangeSet>) -> Result<Self> {
        match &changeset.body {
            Body::Rows(batches) => self.write_rows(batches).await,
            Body::Control(control) => self.write_control(control, changeset.control_order()).await,
        }
    }

    async fn write_rows(mut self, batches: &[Batch]) -> Result<Self> {
        let mut jobs = Vec::with_capacity(batches.len());
        for batch in batches.iter().filter(|batch| !batch.is_empty()) {
            let stream = batch.schema.stream();
            let shape = self.streams.take_schema(&batch.schema).await?;
            self.streams.set_has_rows(stream);
            self.newest_commit = self.newest_commit.max(history::newest_time(batch));
            jobs.push((batch.clone(), shape));
        }
        let settings = Arc::clone(&self.settings);
        let mut staging = self.staging;
        self.staging = blocking("write", move || {
            for (batch, shape) in &jobs {
                append_batch(&mut staging, &settings, batch, shape)?;
            }
            Ok(staging)
        })
        .await?;
        Ok(self)
    }

    async fn write_control(mut self, control: &Control, order: Option<Order>) -> Result<Self> {
        match control {
            Control::Schema { schema } => {
                self.streams.take_schema(schema).await?;
                Ok(self)
            }
            Control::BeginRead {
                schema, empty_first, ..
            } => {
                let shape = self.streams.take_schema(schema).await?;
                let marker = match empty_first {
                    true => Marker::Truncate,
                    false => Marker::BeginRead,
                };
                // The first read of a stream has nothing to set aside.
                match self.streams.has_rows(schema.stream()) {
                    true => self.write_marker(marker, shape, order).await,
                    false => Ok(self),
                }
            }
            Control::Truncate { stream } => match self.known_shape(stream).await? {
                Some(shape) if self.streams.has_rows(stream) => self.write_marker(Marker::Truncate, shape, order).await,
                _ => Ok(self),
            },
            Control::DeleteWhere { stream, .. } => Err(Error::DeleteWhere { stream: stream.clone() }),
            Control::EndRead { .. } => Ok(self),
        }
    }

    async fn write_marker(mut self, marker: Marker, shape: Shape, order: Option<Order>) -> Result<Self> {
        let row = history::marker_row(&shape.columns, marker, order).map_err(|source| Error::Rows {
            stream: shape.schema.stream().clone(),
            source,
        })?;
        let time = self.newest_commit.unwrap_or_else(now);
        let target = target(&self.settings, &shape, time);
        let mut staging = self.staging;
        self.staging = blocking("write", move || {
            staging.append(&target, &row)?;
            Ok(staging)
        })
        .await?;
        Ok(self)
    }

    /// The shape of a stream, from what is stored if nothing of it was written yet.
    async fn known_shape(&mut self, stream: &StreamId) -> Result<Option<Shape>> {
        if let Some(shape) = self.streams.shape(stream) {
            return Ok(Some(shape));
        }
        match self.streams.stored_schema(stream).await? {
            Some(schema) => self.streams.take_schema(&schema).await.map(Some),
            None => Ok(None),
        }
    }

    async fn commit(mut self, at: CommitPoint<'_>) -> Result<Self> {
        let mut staging = self.staging;
        let (staging, files) = blocking("commit", move || {
            let files = staging.finish_all()?;
            Ok((staging, files))
        })
        .await?;
        self.staging = staging;
        if !files.is_empty() {
            let staged = self.ledger.layout().staged();
            self.ledger.folder().sync_directories([staged.as_str()]).await?;
        }
        self.streams.store_fresh().await?;
        let manifest = Manifest {
            plan_hash: Some(self.plan_hash.clone()),
            delta: at.delta.clone(),
            checkpoint: Some(at.checkpoint.clone()),
            streams: self.streams.entries().clone(),
            newest_commit: self.newest_commit.and_then(as_jiff),
            files,
            ..self.last.next()
        };
        fail_point!("files.before_manifest");
        if !self.ledger.append(&manifest).await? {
            return Err(self.ledger.fenced(manifest.number).await);
        }
        fail_point!("files.after_manifest");
        self.ledger.publish(&manifest.files, Publish::First).await?;
        fail_point!("files.after_publish");
        self.ledger.compact(manifest.number).await?;
        self.staging.begin(manifest.number + 1);
        self.last = manifest;
        Ok(self)
    }
}

async fn take_session(ledger: &Ledger, lane: &Lane) -> Result<Session> {
    let (directory, lane) = (ledger.folder().path(ledger.layout().ledger()), lane.clone());
    blocking("lock", move || Session::take(&directory, &lane)).await
}

/// Removes the ledger, once nothing that it committed is unpublished.
async fn forget(root: &std::path::Path, lane: &Lane) -> Result<Vec<String>> {
    let layout = Layout::of(lane);
    let directory = root.join(layout.ledger());
    if !directory.is_dir() {
        return Ok(Vec::new());
    }
    let ledger = Ledger::new(Folder::open(root)?, layout);
    let session = take_session(&ledger, lane).await?;
    if let Some(last) = ledger.newest().await? {
        ledger.prepare().await?;
        ledger.publish(&last.files, Publish::Again).await?;
    }
    let removed = format!("manifests and staged files in `{}`", directory.display());
    blocking("remove", move || {
        std::fs::remove_dir_all(&directory).map_err(Error::io("remove", &directory))
    })
    .await?;
    drop(session);
    Ok(vec![removed])
}

/// Rows of one batch, cut where the directory changes and into pieces.
fn append_batch(staging: &mut Staging, settings: &Settings, batch: &Batch, shape: &Shape) -> Result<()> {
    let row_bytes = (batch.size_bytes() / batch.len().max(1)).max(1);
    let piece_rows = (PIECE_BYTES / row_bytes).max(1);
    let mut start = 0;
    for (i, commit) in batch.commits.iter().enumerate() {
        let next = batch.commits.get(i + 1);
        if next.is_some_and(|next| !settings.template.parts(commit.time, next.time)) {
            continue;
        }
        let target = target(settings, shape, commit.time);
        while start < commit.row_end {
            let end = commit.row_end.min(start + piece_rows);
            let piece = batch.slice(start..end);
            let rows = history::appended_rows(&piece, &shape.columns, shape.kept.as_deref(), settings.skips_deletes);
            let rows = rows.map_err(|source| Error::Rows {
                stream: batch.schema.stream().clone(),
                source,
            })?;
            if let Some(rows) = rows {
                staging.append(&target, &rows)?;
            }
            start = end;
        }
    }
    Ok(())
}

fn target(settings: &Settings, shape: &Shape, time: Timestamp) -> Target {
    Target {
        schema: Arc::clone(&shape.schema),
        columns: Arc::clone(&shape.columns),
        directory: settings.template.directory(shape.schema.stream(), &shape.tag, time),
    }
}

fn now() -> Timestamp {
    Timestamp(jiff::Timestamp::now().as_microsecond())
}

/// `None` beyond the years that have a text form.
fn as_jiff(time: Timestamp) -> Option<jiff::Timestamp> {
    jiff::Timestamp::from_microsecond(time.micros()).ok()
}
