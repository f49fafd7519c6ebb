//! Data files while they are being written: in the ledger's `staged/`, where no reader looks.
//!
//! Invariants:
//! - a stream has one open file at a time, so the order of its files, by name, and of the rows in them is the order of the
//!   changes. A row that belongs into another directory ends the file;
//! - a name is `<history>-<manifest number>-<sequence>`: it is used once, for ever;
//! - memory: all open files together hold at most `budget_bytes`, beyond the batch that is being written; at most
//!   [`OPEN_FILES_MAX`] are open.
//!
//! Everything here blocks; the destination calls it off the async threads.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use fail::fail_point;
use model::{SchemaId, StreamId, StreamSchema};
use parquet::file::metadata::KeyValue;

use crate::destination::Settings;
use crate::error::{Error, Result};
use crate::format::{BoxError, Encoder, Format};
use crate::layout::{self, Layout};
use crate::manifest::FileEntry;

/// Each costs a file descriptor and a write buffer; a stream beyond gets its file closed and a second one later.
const OPEN_FILES_MAX: usize = 32;

/// Small, since there may be [`OPEN_FILES_MAX`] of them.
const WRITE_BUFFER_BYTES: usize = 64 << 10;

/// Where rows go.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) schema: Arc<StreamSchema>,
    /// The columns of the file, see [`crate::history::file_schema`].
    pub(crate) columns: SchemaRef,
    /// Relative to the root.
    pub(crate) directory: String,
}

/// The files of the commit that is being gathered.
pub(crate) struct Staging {
    root: PathBuf,
    layout: Layout,
    format: Format,
    budget_bytes: usize,
    file_bytes_max: u64,
    history: String,
    number: u64,
    sequence: u32,
    clock: u64,
    open: BTreeMap<StreamId, OpenFile>,
    finished: Vec<FileEntry>,
}

struct OpenFile {
    encoder: Encoder<Sink>,
    columns: SchemaRef,
    entry: FileEntry,
    bytes: Arc<AtomicU64>,
    failure: Arc<Failure>,
    used: u64,
}

impl Staging {
    /// For the files of manifest `number`.
    pub(crate) fn new(settings: &Settings, layout: Layout, history: &str, number: u64) -> Self {
        Staging {
            root: settings.root.clone(),
            layout,
            format: settings.format.clone(),
            budget_bytes: settings.budget_bytes,
            file_bytes_max: settings.file_bytes_max,
            history: history.to_owned(),
            number,
            sequence: 0,
            clock: 0,
            open: BTreeMap::new(),
            finished: Vec::new(),
        }
    }

    /// From here on, files are those of manifest `number`.
    pub(crate) fn begin(&mut self, number: u64) {
        self.number = number;
        self.sequence = 0;
    }

    /// Appends rows, whose columns are the target's.
    pub(crate) fn append(&mut self, target: &Target, rows: &RecordBatch) -> Result<()> {
        let stream = target.schema.stream();
        self.clock += 1;
        let fits = |open: &OpenFile| {
            open.entry.schema == target.schema.id()
                && layout::directory_of(&open.entry.path) == target.directory
                && open.bytes.load(Ordering::Relaxed) + (open.encoder.pending_bytes() as u64) < self.file_bytes_max
        };
        if self.open.get(stream).is_some_and(|open| !fits(open)) {
            self.finish(stream)?;
        }
        if !self.open.contains_key(stream) {
            self.make_room()?;
            let open = self.begin_file(target)?;
            self.open.insert(stream.clone(), open);
        }
        if let Some(open) = self.open.get_mut(stream) {
            open.used = self.clock;
            open.write(&self.format, rows)?;
        }
        fail_point!("files.mid_write");
        self.keep_within_budget()
    }

    /// Bytes in memory.
    pub(crate) fn buffered_bytes(&self) -> usize {
        self.open.values().map(|open| open.encoder.buffered_bytes()).sum()
    }

    /// Ends all files. On `Ok` their data survives power loss, their names do not yet.
    pub(crate) fn finish_all(&mut self) -> Result<Vec<FileEntry>> {
        while let Some(stream) = self.open.keys().next().cloned() {
            self.finish(&stream)?;
        }
        let mut files = std::mem::take(&mut self.finished);
        files.sort_by_key(|file| file.sequence);
        Ok(files)
    }

    fn make_room(&mut self) -> Result<()> {
        while self.open.len() >= OPEN_FILES_MAX {
            let oldest = self.open.iter().min_by_key(|(_, open)| open.used);
            let Some(stream) = oldest.map(|(stream, _)| stream.clone()) else {
                break;
            };
            self.finish(&stream)?;
        }
        Ok(())
    }

    /// Writes the largest buffers out until all are within the budget.
    fn keep_within_budget(&mut self) -> Result<()> {
        while self.buffered_bytes() > self.budget_bytes {
            let largest = self
                .open
                .iter_mut()
                .max_by_key(|(_, open)| open.encoder.buffered_bytes());
            let Some((_, open)) = largest else { break };
            let flushed = open.encoder.flush();
            open.explain(&self.format, flushed, None)?;
        }
        Ok(())
    }

    fn begin_file(&mut self, target: &Target) -> Result<OpenFile> {
        self.sequence += 1;
        let name = layout::file_name(&self.history, self.number, self.sequence, self.format.extension());
        let staged = self.layout.staged_key(&name);
        let path = self.root.join(&staged);
        let file = File::create_new(&path).map_err(Error::io("create", &path))?;
        let (bytes, failure) = (Arc::new(AtomicU64::new(0)), Arc::new(Failure::default()));
        let sink = Sink {
            file: BufWriter::with_capacity(WRITE_BUFFER_BYTES, file),
            crc32c: 0,
            bytes: Arc::clone(&bytes),
            failure: Arc::clone(&failure),
        };
        let stream = target.schema.stream().clone();
        let columns = self.format.columns(&target.columns);
        let about = about(&stream, target.schema.id());
        let encoder = self
            .format
            .writer(sink, &columns, about)
            .map_err(|source| Error::Encode {
                stream: stream.clone(),
                format: self.format.name(),
                source,
            })?;
        Ok(OpenFile {
            encoder,
            columns,
            entry: FileEntry {
                path: format!("{}/{name}", target.directory),
                staged,
                sequence: self.sequence,
                stream,
                schema: target.schema.id(),
                row_count: 0,
                size_bytes: 0,
                crc32c: String::new(),
            },
            bytes,
            failure,
            used: self.clock,
        })
    }

    fn finish(&mut self, stream: &StreamId) -> Result<()> {
        let Some(open) = self.open.remove(stream) else {
            return Ok(());
        };
        let OpenFile {
            encoder,
            mut entry,
            bytes,
            failure,
            ..
        } = open;
        let path = self.root.join(&entry.staged);
        let sink = encoder
            .finish()
            .map_err(|error| explain(&self.format, &path, &entry.stream, &failure, error, None))?;
        entry.crc32c = format!("{:08x}", sink.crc32c);
        let file = sink
            .file
            .into_inner()
            .map_err(|error| Error::io("write", &path)(error.into_error()))?;
        fail_point!("files.before_fsync");
        file.sync_data().map_err(Error::io("sync", &path))?;
        fail_point!("files.after_fsync");
        entry.size_bytes = bytes.load(Ordering::Relaxed);
        self.finished.push(entry);
        Ok(())
    }
}

impl OpenFile {
    fn write(&mut self, format: &Format, rows: &RecordBatch) -> Result<()> {
        let formed = format
            .rows(rows, &self.columns)
            .map_err(|(column, what)| Error::Value {
                stream: self.entry.stream.clone(),
                format: format.name(),
                column,
                what,
            })?;
        let written = self.encoder.write(&formed);
        self.explain(format, written, Some(rows))?;
        self.entry.row_count += rows.num_rows() as u64;
        Ok(())
    }

    fn explain(&self, format: &Format, outcome: Result<(), BoxError>, rows: Option<&RecordBatch>) -> Result<()> {
        let path = PathBuf::from(&self.entry.staged);
        outcome.map_err(|error| explain(format, &path, &self.entry.stream, &self.failure, error, rows))
    }
}

/// Whether the system or a value is to blame. What Arrow says about a value may contain it, so that is not repeated.
fn explain(
    format: &Format,
    path: &std::path::Path,
    stream: &StreamId,
    failure: &Failure,
    error: BoxError,
    rows: Option<&RecordBatch>,
) -> Error {
    if let Some(source) = failure.take() {
        return Error::io("write", path)(source);
    }
    match rows.and_then(|rows| format.culprit(rows)) {
        Some(column) => Error::Value {
            stream: stream.clone(),
            format: format.name(),
            column,
            what: "has a value that has no text form".to_owned(),
        },
        None => Error::Encode {
            stream: stream.clone(),
            format: format.name(),
            source: error,
        },
    }
}

/// What a Parquet file says about itself.
fn about(stream: &StreamId, schema: SchemaId) -> Vec<KeyValue> {
    vec![
        KeyValue::new("highwater.stream".to_owned(), stream.to_string()),
        KeyValue::new("highwater.schema".to_owned(), schema.to_string()),
    ]
}

/// A file that is counted and checksummed on its way.
struct Sink {
    file: BufWriter<File>,
    crc32c: u32,
    bytes: Arc<AtomicU64>,
    failure: Arc<Failure>,
}

impl Write for Sink {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let written = self.file.write(data).map_err(|error| self.failure.keep(error))?;
        self.crc32c = crc32c::crc32c_append(self.crc32c, &data[..written]);
        self.bytes.fetch_add(written as u64, Ordering::Relaxed);
        Ok(written)
    }

    /// The writers flush after each batch; the buffer is for exactly that.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The system's error, which the formats' writers turn into text.
#[derive(Default)]
struct Failure(std::sync::Mutex<Option<io::Error>>);

impl Failure {
    fn keep(&self, error: io::Error) -> io::Error {
        let copy = match error.raw_os_error() {
            Some(code) => io::Error::from_raw_os_error(code),
            None => io::Error::from(error.kind()),
        };
        *self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(copy);
        error
    }

    fn take(&self) -> Option<io::Error> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take()
    }
}
