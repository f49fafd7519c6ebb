//! What is known about each stream: the schema of its newest rows, the directories it has, whether it has rows.

use std::collections::BTreeMap;
use std::sync::Arc;

use api::OnSchemaChange;
use arrow::datatypes::{Field, SchemaRef};
use model::{SchemaId, StreamId, StreamSchema};

use crate::destination::Settings;
use crate::error::{Error, Result};
use crate::folder::Folder;
use crate::format::Format;
use crate::history;
use crate::layout::Layout;
use crate::ledger::Ledger;
use crate::manifest::StreamEntry;
use crate::schema_change::{StoredSchema, Verdict, judge};
use crate::template::{Template, distinguishing_tag};

/// How rows of one schema are written.
#[derive(Debug, Clone)]
pub(crate) struct Shape {
    /// The schema that arrives.
    incoming: SchemaId,
    /// The schema that is written.
    pub(crate) schema: Arc<StreamSchema>,
    /// Its columns in files.
    pub(crate) columns: SchemaRef,
    /// The columns of the incoming one that are written; `None` for all.
    pub(crate) kept: Option<Vec<usize>>,
    /// What the directory's name ends in.
    pub(crate) tag: String,
}

/// All streams of an open destination.
pub(crate) struct Streams {
    folder: Folder,
    layout: Layout,
    template: Template,
    format: Format,
    policy: Option<OnSchemaChange>,
    entries: BTreeMap<StreamId, StreamEntry>,
    shapes: BTreeMap<StreamId, Shape>,
    /// Schemas that the next commit stores.
    fresh: BTreeMap<SchemaId, StoredSchema>,
}

impl Streams {
    pub(crate) fn new(settings: &Settings, ledger: &Ledger, entries: BTreeMap<StreamId, StreamEntry>) -> Self {
        Streams {
            folder: ledger.folder().clone(),
            layout: ledger.layout().clone(),
            template: settings.template.clone(),
            format: settings.format.clone(),
            policy: settings.on_schema_change,
            entries,
            shapes: BTreeMap::new(),
            fresh: BTreeMap::new(),
        }
    }

    /// The entries as the next manifest stores them.
    pub(crate) fn entries(&self) -> &BTreeMap<StreamId, StreamEntry> {
        &self.entries
    }

    /// The shape of a stream whose schema was taken.
    pub(crate) fn shape(&self, stream: &StreamId) -> Option<Shape> {
        self.shapes.get(stream).cloned()
    }

    pub(crate) fn has_rows(&self, stream: &StreamId) -> bool {
        self.entries.get(stream).is_some_and(|entry| entry.has_rows)
    }

    pub(crate) fn set_has_rows(&mut self, stream: &StreamId) {
        if let Some(entry) = self.entries.get_mut(stream) {
            entry.has_rows = true;
        }
    }

    /// Stores the schemas that no earlier commit has stored.
    pub(crate) async fn store_fresh(&mut self) -> Result<()> {
        while let Some((id, schema)) = self.fresh.pop_first() {
            let key = self.layout.schema_key(id);
            let text = serde_json::to_vec_pretty(&schema).map_err(|source| Error::Stored {
                path: self.folder.path(&key),
                what: "it cannot be put into JSON",
                source: Some(source),
            })?;
            self.folder.create(&self.layout.staged(), &key, text).await?;
        }
        Ok(())
    }

    /// Makes rows of this schema writable, or says why they are not.
    pub(crate) async fn take_schema(&mut self, schema: &Arc<StreamSchema>) -> Result<Shape> {
        let stream = schema.stream();
        if let Some(shape) = self.shape(stream).filter(|shape| shape.incoming == schema.id()) {
            return Ok(shape);
        }
        if let Some(column) = history::reserved_column(schema) {
            return Err(Error::Reserved {
                stream: stream.clone(),
                column: column.to_owned(),
            });
        }
        let (entry, kept) = match self.entries.get(stream).cloned() {
            None => (self.first_entry(schema), None),
            Some(entry) => self.changed(entry, schema).await?,
        };
        let written = match &kept {
            Some(kept) => Arc::new(project(schema, kept)),
            None => Arc::clone(schema),
        };
        let columns = history::file_schema(&written);
        self.format.check(stream, &columns)?;
        self.fresh.insert(written.id(), StoredSchema::of(&written));
        let shape = Shape {
            incoming: schema.id(),
            columns,
            kept,
            tag: entry.tag.clone(),
            schema: Arc::clone(&written),
        };
        let entry = StreamEntry {
            schema: written.id(),
            ..entry
        };
        self.entries.insert(stream.clone(), entry);
        self.shapes.insert(stream.clone(), shape.clone());
        Ok(shape)
    }

    /// The schema of a stream's newest committed rows; `None` for a stream that is not known.
    pub(crate) async fn stored_schema(&self, stream: &StreamId) -> Result<Option<Arc<StreamSchema>>> {
        let Some(entry) = self.entries.get(stream) else {
            return Ok(None);
        };
        let stored = self.stored(entry.schema).await?;
        let schema = stored.read_back().ok_or_else(|| Error::Stored {
            path: self.folder.path(&self.layout.schema_key(entry.schema)),
            what: "a type in it is unknown",
            source: None,
        })?;
        Ok(Some(Arc::new(schema)))
    }

    fn first_entry(&self, schema: &StreamSchema) -> StreamEntry {
        StreamEntry {
            schema: schema.id(),
            version: 1,
            tag: self.tag_of(schema.stream()),
            has_rows: false,
        }
    }

    /// Nothing, unless an earlier stream has the directories that this one would have (on any file system).
    fn tag_of(&self, stream: &StreamId) -> String {
        let mine = self.template.identity(stream, "");
        let is_taken = |(other, entry): (&StreamId, &StreamEntry)| {
            other != stream && self.template.identity(other, &entry.tag) == mine
        };
        match self.entries.iter().any(is_taken) {
            true => distinguishing_tag(stream),
            false => String::new(),
        }
    }

    async fn changed(
        &self,
        mut entry: StreamEntry,
        schema: &StreamSchema,
    ) -> Result<(StreamEntry, Option<Vec<usize>>)> {
        if entry.schema == schema.id() {
            return Ok((entry, None));
        }
        let old = self.stored(entry.schema).await?;
        match judge(&old, schema, self.policy)? {
            Verdict::Write => Ok((entry, None)),
            Verdict::Keep(columns) => Ok((entry, Some(columns))),
            Verdict::NewVersion if !entry.has_rows => Ok((entry, None)),
            Verdict::NewVersion => {
                let suffix = version_suffix(entry.version);
                let plain = entry.tag.strip_suffix(&suffix).unwrap_or(&entry.tag);
                entry.version += 1;
                entry.tag = format!("{plain}{}", version_suffix(entry.version));
                Ok((entry, None))
            }
        }
    }

    async fn stored(&self, id: SchemaId) -> Result<StoredSchema> {
        if let Some(fresh) = self.fresh.get(&id) {
            return Ok(fresh.clone());
        }
        let key = self.layout.schema_key(id);
        let unreadable = |what, source| Error::Stored {
            path: self.folder.path(&key),
            what,
            source,
        };
        let text = self
            .folder
            .read(&key)
            .await?
            .ok_or_else(|| unreadable("it is gone", None))?;
        serde_json::from_slice(&text).map_err(|source| unreadable("it is not a schema", Some(source)))
    }
}

fn version_suffix(version: u32) -> String {
    match version {
        1 => String::new(),
        version => format!("~v{version}"),
    }
}

/// Some columns of a schema, and of its key.
fn project(schema: &StreamSchema, kept: &[usize]) -> StreamSchema {
    let fields: Vec<Field> = kept
        .iter()
        .map(|&column| schema.arrow().field(column).clone())
        .collect();
    let key: Vec<&str> = schema
        .key_names()
        .filter(|name| fields.iter().any(|field| field.name() == name))
        .collect();
    // Names stay distinct, and the key names none that is not there.
    StreamSchema::new(schema.stream().clone(), fields, key).unwrap_or_else(|_| schema.clone())
}
