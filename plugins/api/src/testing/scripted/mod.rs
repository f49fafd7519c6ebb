//! A database in memory with a commit log, and a source that reads it as a real one would: windows, pages, page tags,
//! parts of large transactions, acknowledgement that prunes.
//!
//! A [`Script`] is the database; clones share it. [`Script::source`] makes a source on it, any number of times.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use model::{Op, StreamId, StreamSchema, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::Notify;

use crate::conformance::{Row, rows_of, sample};

mod changesets;
mod reader;
mod reads;
mod source;

pub use source::ScriptedSource;

/// A database in memory; see the module.
#[derive(Clone)]
pub struct Script(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    changed: Notify,
}

struct State {
    /// Grows when the database is replaced; part of the log's id.
    history: u32,
    streams: BTreeMap<StreamId, Stream>,
    log: Vec<Entry>,
    head: u64,
    /// Everything up to here was acknowledged and is gone from the log.
    pruned_to: u64,
    last_run: u32,
    is_finished: bool,
    page_rows: usize,
    pages_per_window: usize,
}

struct Stream {
    schema: Arc<StreamSchema>,
    rows: BTreeMap<Key, Value>,
}

/// A transaction in the log.
#[derive(Clone)]
struct Entry {
    order: u64,
    time: Timestamp,
    changes: Vec<Logged>,
}

/// One change: the row as it was, and as it is.
#[derive(Clone)]
struct Logged {
    stream: StreamId,
    kind: Kind,
}

#[derive(Clone)]
enum Kind {
    Row { op: Op, old: Option<Value>, row: Value },
    Truncate,
}

impl Logged {
    fn is_truncate(&self) -> bool {
        matches!(self.kind, Kind::Truncate)
    }
}

/// The values of the key columns, ordered as the source orders them.
type Key = Vec<KeyPart>;

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(untagged)]
enum KeyPart {
    Number(i64),
    Text(String),
}

/// What is committed at once.
#[derive(Clone, Default)]
pub struct Transaction(Vec<(StreamId, Intent)>);

#[derive(Clone)]
enum Intent {
    Insert(Value),
    Update { old_key: Value, row: Value },
    Delete { key: Value },
    Truncate,
}

impl Transaction {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Inserts a row.
    #[must_use]
    pub fn insert(self, stream: &StreamId, row: Value) -> Self {
        self.push(stream, Intent::Insert(row))
    }

    /// Replaces a row by its key.
    #[must_use]
    pub fn update(self, stream: &StreamId, row: Value) -> Self {
        let old_key = row.clone();
        self.push(stream, Intent::Update { old_key, row })
    }

    /// Replaces the row with the old key; `old_key` has the key columns at least.
    #[must_use]
    pub fn rekey(self, stream: &StreamId, old_key: Value, row: Value) -> Self {
        self.push(stream, Intent::Update { old_key, row })
    }

    /// Deletes the row with this key.
    #[must_use]
    pub fn delete(self, stream: &StreamId, key: Value) -> Self {
        self.push(stream, Intent::Delete { key })
    }

    /// Removes every row. Beside other changes the transaction travels in parts.
    #[must_use]
    pub fn truncate(self, stream: &StreamId) -> Self {
        self.push(stream, Intent::Truncate)
    }

    fn push(mut self, stream: &StreamId, intent: Intent) -> Self {
        self.0.push((stream.clone(), intent));
        self
    }
}

impl Script {
    /// A database with these streams, all with keys, all empty.
    pub fn new(schemas: impl IntoIterator<Item = Arc<StreamSchema>>) -> Self {
        let script = Script(Arc::new(Shared {
            state: Mutex::new(State {
                history: 1,
                streams: BTreeMap::new(),
                log: Vec::new(),
                head: 0,
                pruned_to: 0,
                last_run: 0,
                is_finished: false,
                page_rows: 100,
                pages_per_window: 2,
            }),
            changed: Notify::new(),
        }));
        schemas.into_iter().for_each(|schema| script.add_stream(schema));
        script
    }

    /// Creates a stream.
    pub fn add_stream(&self, schema: Arc<StreamSchema>) {
        let rows = BTreeMap::new();
        self.state()
            .streams
            .insert(schema.stream().clone(), Stream { schema, rows });
    }

    /// How many rows a page has, and how many pages are read before the log goes on.
    pub fn set_pages(&self, page_rows: usize, pages_per_window: usize) {
        let mut state = self.state();
        (state.page_rows, state.pages_per_window) = (page_rows.max(1), pages_per_window.max(1));
    }

    /// Commits a transaction and returns its order.
    ///
    /// Panics if it inserts a key that is there, or changes one that is not: the database has a primary key.
    pub fn commit(&self, transaction: Transaction) -> u64 {
        let mut state = self.state();
        let changes = transaction
            .0
            .into_iter()
            .map(|(stream, intent)| state.change(stream, intent))
            .collect();
        state.head += 1;
        let entry = Entry {
            order: state.head,
            time: now(),
            changes,
        };
        let order = entry.order;
        state.log.push(entry);
        drop(state);
        self.0.changed.notify_waiters();
        order
    }

    /// The rows of a stream now.
    pub fn rows(&self, stream: &StreamId) -> Vec<Row> {
        let state = self.state();
        let Some(stream) = state.streams.get(stream) else {
            return Vec::new();
        };
        let rows: Vec<Value> = stream.rows.values().cloned().collect();
        rows_of(&sample::record_batch(&stream.schema, &rows))
    }

    /// The order of the newest transaction.
    pub fn head(&self) -> u64 {
        self.state().head
    }

    /// The order up to which the log was acknowledged.
    pub fn acknowledged(&self) -> u64 {
        self.state().pruned_to
    }

    /// Makes the source bounded: its readers end when they have emitted everything.
    pub fn finish(&self) {
        self.state().is_finished = true;
        self.0.changed.notify_waiters();
    }

    /// Turns the database into another one with the same rows: checkpoints of before are of another history.
    pub fn replace_history(&self) {
        let mut state = self.state();
        state.history += 1;
        state.log.clear();
        state.pruned_to = state.head;
    }

    /// A source on it.
    pub fn source(&self) -> ScriptedSource {
        ScriptedSource::new(self.clone())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn log_id(&self) -> String {
        format!("script:{}", self.history)
    }

    fn change(&mut self, stream: StreamId, intent: Intent) -> Logged {
        let table = self.streams.get_mut(&stream).expect("the stream was created");
        let key_of = |row: &Value| key_of(&table.schema, row);
        let kind = match intent {
            Intent::Insert(row) => {
                let was = table.rows.insert(key_of(&row), row.clone());
                assert!(was.is_none(), "insert into `{stream}` of a key that is there: {row}");
                Kind::Row {
                    op: Op::Insert,
                    old: None,
                    row,
                }
            }
            Intent::Update { old_key, row } => {
                let (old_key, key) = (key_of(&old_key), key_of(&row));
                let old = table.rows.remove(&old_key).expect("an update meets its row");
                let was = table.rows.insert(key, row.clone());
                assert!(was.is_none(), "update in `{stream}` to a key that is there: {row}");
                Kind::Row {
                    op: Op::Update,
                    old: Some(old),
                    row,
                }
            }
            Intent::Delete { key } => Kind::Row {
                op: Op::Delete,
                old: None,
                row: table.rows.remove(&key_of(&key)).expect("a delete meets its row"),
            },
            Intent::Truncate => {
                table.rows.clear();
                Kind::Truncate
            }
        };
        Logged { stream, kind }
    }
}

fn key_of(schema: &StreamSchema, row: &Value) -> Key {
    let part = |name: &str| match &row[name] {
        Value::Number(number) => KeyPart::Number(number.as_i64().expect("key numbers are int64")),
        Value::String(text) => KeyPart::Text(text.clone()),
        other => panic!("key column `{name}` of `{}` holds {other}", schema.stream()),
    };
    schema.key_names().map(part).collect()
}

fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    Timestamp(since.map_or(0, |since| since.as_micros() as i64))
}
