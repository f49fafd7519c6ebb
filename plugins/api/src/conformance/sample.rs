//! Small schemas, batches and changesets, so that a connector's test is short.
//!
//! ```
//! # extern crate highwater_plugin_api as api;
//! use api::conformance::sample;
//! use serde_json::json;
//!
//! let items = sample::items();
//! let batch = sample::changes(&items)
//!     .at(5)
//!     .insert(json!({"id": 1, "name": "a", "amount": 10}))
//!     .update(json!({"id": 1, "name": "b"})).without(["amount"])
//!     .batch();
//! let changeset = sample::changeset(None, 5, [batch]);
//! assert_eq!(changeset.row_count(), 2);
//! ```
//!
//! Everything here panics where the values do not fit: it is for tests.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use model::{
    Batch, Before, Body, ChangeSet, Checkpoint, Commit, Control, Delta, Op, Ops, Order, Page, Part, Partition, Place,
    Position, StreamId, StreamSchema, StreamState, Timestamp, Unavailable,
};
use serde_json::Value;

use crate::{Lane, Owner};

/// The id of the log that samples come from.
pub const LOG: &str = "sample:1";

/// When the first sample transaction was committed: 2026-01-02T03:04:05Z. Transaction n is n seconds later.
pub const EPOCH: Timestamp = Timestamp(1_767_323_045_000_000);

/// The log that samples come from.
pub fn log() -> Partition {
    Partition::log(LOG)
}

/// A position on [`log`].
pub fn position(order: u64) -> Position {
    Position::at(Order::new(0, order, 0))
}

/// A schema out of fields; the key by name.
pub fn schema<const N: usize>(stream: StreamId, fields: Vec<Field>, key: [&str; N]) -> Arc<StreamSchema> {
    Arc::new(StreamSchema::new(stream, fields, key).expect("key and columns of a sample fit"))
}

/// `items`: `id` int64 key, `name` text, `amount` int64.
pub fn items() -> Arc<StreamSchema> {
    items_as(StreamId::new("items"))
}

/// The columns of [`items`] under another name.
pub fn items_as(stream: StreamId) -> Arc<StreamSchema> {
    let fields = vec![
        Field::new("id", DataType::Int64, false),
        Field::new("name", DataType::Utf8, true),
        Field::new("amount", DataType::Int64, true),
    ];
    schema(stream, fields, ["id"])
}

/// `items` with a column `note` added.
pub fn items_with_note() -> Arc<StreamSchema> {
    let mut fields: Vec<Field> = items().arrow().fields().iter().map(|f| Field::clone(f)).collect();
    fields.push(Field::new("note", DataType::Utf8, true));
    schema(StreamId::new("items"), fields, ["id"])
}

/// `events`, without a key: `at` int64, `what` text.
pub fn events() -> Arc<StreamSchema> {
    let fields = vec![
        Field::new("at", DataType::Int64, false),
        Field::new("what", DataType::Utf8, true),
    ];
    schema(StreamId::new("events"), fields, [])
}

/// Rows of a schema out of JSON objects; a missing column is null.
///
/// Types that JSON lacks are written as Arrow's JSON reader wants them: timestamps and decimals as text, binary as hex.
pub fn record_batch(schema: &StreamSchema, rows: &[Value]) -> RecordBatch {
    if let Some(whole) = try_record_batch(schema.arrow(), rows) {
        return whole;
    }
    try_record_batch(&nullable(schema.arrow()), rows).expect("the values of a sample fit its schema")
}

/// The same with every column nullable, as old images are.
pub fn nullable_record_batch(schema: &StreamSchema, rows: &[Value]) -> RecordBatch {
    try_record_batch(&nullable(schema.arrow()), rows).expect("the values of a sample fit its schema")
}

fn try_record_batch(schema: &SchemaRef, rows: &[Value]) -> Option<RecordBatch> {
    if rows.is_empty() {
        return Some(RecordBatch::new_empty(Arc::clone(schema)));
    }
    let reader = arrow::json::ReaderBuilder::new(Arc::clone(schema))
        .with_batch_size(rows.len())
        .with_strict_mode(true);
    let mut decoder = reader.build_decoder().ok()?;
    decoder.serialize(rows).ok()?;
    decoder.flush().ok()?
}

fn nullable(schema: &Schema) -> SchemaRef {
    let fields: Vec<Field> = schema
        .fields()
        .iter()
        .map(|f| Field::clone(f).with_nullable(true))
        .collect();
    Arc::new(Schema::new(fields))
}

/// Changes of one stream on [`log`]; see [`Changes`].
pub fn changes(schema: &Arc<StreamSchema>) -> Changes {
    Changes {
        schema: Arc::clone(schema),
        partition: log(),
        order: Order::new(0, 1, 0),
        rows: Vec::new(),
    }
}

/// Builds a batch of changes row by row.
#[derive(Debug, Clone)]
pub struct Changes {
    schema: Arc<StreamSchema>,
    partition: Partition,
    order: Order,
    rows: Vec<Change>,
}

#[derive(Debug, Clone)]
struct Change {
    op: Op,
    order: Order,
    row: Value,
    without: Vec<String>,
    old: Option<Value>,
    old_without: Vec<String>,
}

impl Changes {
    /// The rows that follow belong to the transaction that ends at this order. 1 if never called.
    #[must_use]
    pub fn at(mut self, order: u64) -> Self {
        self.order = Order::new(0, order, 0);
        self
    }

    /// The log, where it is not [`log`].
    #[must_use]
    pub fn on(mut self, partition: Partition) -> Self {
        self.partition = partition;
        self
    }

    /// An inserted row.
    #[must_use]
    pub fn insert(self, row: Value) -> Self {
        self.push(Op::Insert, row, None)
    }

    /// Inserted rows.
    #[must_use]
    pub fn inserts(self, rows: impl IntoIterator<Item = Value>) -> Self {
        rows.into_iter().fold(self, Changes::insert)
    }

    /// An updated row without an old image; its key did not change.
    #[must_use]
    pub fn update(self, row: Value) -> Self {
        self.push(Op::Update, row, None)
    }

    /// An updated row with its whole old image.
    #[must_use]
    pub fn update_from(self, old: Value, row: Value) -> Self {
        self.push(Op::Update, row, Some(old))
    }

    /// An updated row whose key changed, with the old key only.
    #[must_use]
    pub fn rekey(self, old_key: Value, row: Value) -> Self {
        let is_given = |name: &&String| old_key.get(name.as_str()).is_some();
        let names: Vec<String> = self.schema.arrow().fields().iter().map(|f| f.name().clone()).collect();
        let old_without = names.iter().filter(|name| !is_given(name)).cloned().collect();
        let mut changes = self.push(Op::Update, row, Some(old_key));
        changes.last().old_without = old_without;
        changes
    }

    /// A deleted row: the row as it was.
    #[must_use]
    pub fn delete(self, row: Value) -> Self {
        self.push(Op::Delete, row, None)
    }

    /// These values of the last row were not sent.
    #[must_use]
    pub fn without<const N: usize>(mut self, columns: [&str; N]) -> Self {
        self.last().without = columns.map(str::to_owned).to_vec();
        self
    }

    fn push(mut self, op: Op, row: Value, old: Option<Value>) -> Self {
        self.rows.push(Change {
            op,
            order: self.order,
            row,
            without: Vec::new(),
            old,
            old_without: Vec::new(),
        });
        self
    }

    fn last(&mut self) -> &mut Change {
        self.rows.last_mut().expect("a row comes first")
    }

    /// The batch.
    pub fn batch(self) -> Batch {
        let rows: Vec<Value> = self.rows.iter().map(|change| change.row.clone()).collect();
        let mut commits: Vec<Commit> = Vec::new();
        for (at, change) in self.rows.iter().enumerate() {
            let row_end = at + 1;
            match commits.last_mut() {
                Some(last) if last.order == change.order => last.row_end = row_end,
                _ => commits.push(Commit {
                    row_end,
                    order: change.order,
                    time: time_of(change.order),
                }),
            }
        }
        let batch = Batch {
            partition: self.partition.clone(),
            page: 0,
            rows: record_batch(&self.schema, &rows),
            ops: Ops::each(self.rows.iter().map(|change| change.op)),
            before: self.before(),
            unavailable: self.mask(|change| &change.without),
            commits,
            page_tags: Vec::new(),
            schema: self.schema,
        };
        batch.check().expect("a sample is a valid batch");
        batch
    }

    fn before(&self) -> Option<Before> {
        if self.rows.iter().all(|change| change.old.is_none()) {
            return None;
        }
        let olds: Vec<Value> = self
            .rows
            .iter()
            .map(|change| {
                change
                    .old
                    .clone()
                    .unwrap_or_else(|| Value::Object(serde_json::Map::new()))
            })
            .collect();
        Some(Before {
            rows: nullable_record_batch(&self.schema, &olds),
            present: self.rows.iter().map(|change| change.old.is_some()).collect(),
            unavailable: self.mask(|change| &change.old_without),
        })
    }

    fn mask(&self, without: impl Fn(&Change) -> &Vec<String>) -> Option<Unavailable> {
        let columns = self.schema.arrow().fields().iter();
        Unavailable::new(
            columns
                .map(|field| {
                    Some(
                        self.rows
                            .iter()
                            .map(|change| without(change).contains(field.name()))
                            .collect(),
                    )
                })
                .collect(),
        )
    }
}

/// When the transaction that ends at `order` was committed.
pub fn time_of(order: Order) -> Timestamp {
    Timestamp(EPOCH.micros() + order.key() as i64 * 1_000_000)
}

/// Existing rows of one page of a read, as of [`log`] position `window`.
pub fn page(schema: &Arc<StreamSchema>, run: u32, page: Page, window: u64, rows: &[Value]) -> Batch {
    let partition = Partition::Range {
        stream: schema.stream().clone(),
        run,
        range: page.range,
    };
    let window = Order::new(0, window, 0);
    Batch::of_page(
        partition,
        page.number,
        Arc::clone(schema),
        record_batch(schema, rows),
        window,
        time_of(window),
    )
}

/// How a page moves its range.
pub fn page_delta(stream: &StreamId, run: u32, page: Page) -> Delta {
    let partition = Partition::Range {
        stream: stream.clone(),
        run,
        range: page.range,
    };
    let from = (page.number > 1).then(|| Page::new(page.range, page.number - 1).order());
    Delta::of(partition, from, Position::at(page.order()))
}

/// `(from, to]` on [`log`]; `None` at its beginning.
pub fn delta(from: Option<u64>, to: u64) -> Delta {
    Delta::of(log(), from.map(|from| position(from).order), position(to))
}

/// A changeset of whole transactions on [`log`] that covers `(from, to]`.
pub fn changeset(from: Option<u64>, to: u64, batches: impl IntoIterator<Item = Batch>) -> ChangeSet {
    ChangeSet::rows(delta(from, to), batches.into_iter().collect())
}

/// A transaction cut into as many parts as there are lists of batches: one `First`, one `Last`, the rest `Middle`.
pub fn parts(from: Option<u64>, to: u64, pieces: Vec<Vec<Batch>>) -> Vec<ChangeSet> {
    parts_with_controls(from, to, pieces.into_iter().map(Body::Rows).collect())
}

/// The same, where some parts are a control.
pub fn parts_with_controls(from: Option<u64>, to: u64, pieces: Vec<Body>) -> Vec<ChangeSet> {
    let last = pieces.len().saturating_sub(1);
    assert!(last > 0, "a transaction in parts has at least two");
    let place = Place {
        log: log(),
        order: position(to).order,
    };
    let cut = |(at, body)| {
        let (part, delta) = match at {
            0 => (Part::First, Delta::none()),
            at if at == last => (Part::Last, delta(from, to)),
            _ => (Part::Middle, Delta::none()),
        };
        match body {
            Body::Rows(batches) => ChangeSet::part(part, delta, batches),
            Body::Control(control) => ChangeSet::control_part(part, delta, control, place.clone()),
        }
    };
    pieces.into_iter().enumerate().map(cut).collect()
}

/// A control at a position of [`log`].
pub fn control(from: Option<u64>, to: u64, control: Control) -> ChangeSet {
    ChangeSet::control(delta(from, to), control)
}

/// The begin of a read for everyone.
pub fn begin_read(schema: &Arc<StreamSchema>, run: u32, empty_first: bool) -> ChangeSet {
    let delta = Delta::none().with_stream(schema.stream().clone(), StreamState::reading(run, Vec::new()));
    let control = Control::BeginRead {
        schema: Arc::clone(schema),
        run,
        destinations: None,
        empty_first,
    };
    ChangeSet::control(delta, control)
}

/// The end of a read.
pub fn end_read(stream: &StreamId, run: u32) -> ChangeSet {
    let delta = Delta::none().with_stream(stream.clone(), StreamState::Live { run });
    let control = Control::EndRead {
        stream: stream.clone(),
        run,
    };
    ChangeSet::control(delta, control)
}

/// A checkpoint with everything that one can hold: logs of several names, tokens of any bytes, ranges, given-up pages.
pub fn crowded_checkpoint() -> Checkpoint {
    let (orders, odd) = (
        StreamId::in_schema("public", "orders"),
        StreamId::in_schema("a.b\\", "c\"'ü \u{1F41F}"),
    );
    let range = |stream: &StreamId, run, range| Partition::Range {
        stream: stream.clone(),
        run,
        range,
    };
    let marks = BTreeMap::from([
        (
            log(),
            Position::with_token(Order::new(u32::MAX, u64::MAX, u32::MAX), vec![0, 255, 10, 39]),
        ),
        (Partition::log("topic/7 'x' \"y\""), Position::at(Order::new(0, 3, 1))),
        (
            range(&orders, 4, 0),
            Position::with_token(Page::new(0, 17).order(), vec![0; 300]),
        ),
        (
            range(&orders, 4, u16::MAX),
            Position::at(Page::new(u16::MAX, 1).order()),
        ),
    ]);
    let reading = StreamState::Reading {
        run: 4,
        ranges: (0..=255).collect::<Vec<u8>>().into(),
        given_up: vec![Page::new(0, 3), Page::new(u16::MAX, 1)],
    };
    let streams = BTreeMap::from([(orders, reading), (odd, StreamState::Live { run: u32::MAX })]);
    Checkpoint { marks, streams }
}

/// An owner on a host of this name, with the process id of this process.
pub fn owner(host: &str) -> Owner {
    Owner {
        id: format!("{host}-{}", std::process::id()),
        host: host.to_owned(),
        pid: std::process::id(),
    }
}

/// Lane 0 of pipeline `shop`, destination `copy`, owned by [`owner`]`("first-host")`.
pub fn lane() -> Lane {
    Lane {
        pipeline: "shop".into(),
        destination: "copy".into(),
        lane: 0,
        owner: owner("first-host"),
        take_over: false,
        plan_hash: "plan-1".to_owned(),
    }
}
