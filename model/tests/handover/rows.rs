//! Changes as Arrow batches, and back.

use std::sync::{Arc, LazyLock};

use arrow::array::{AsArray, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use model::{Batch, Before, Commit, Op, Ops, Order, PageTags, Partition, StreamId, StreamSchema, Timestamp};

use crate::world::{Change, TABLES};

pub(crate) static SCHEMAS: LazyLock<[Arc<StreamSchema>; 3]> = LazyLock::new(|| TABLES.map(schema));

fn schema(table: &str) -> Arc<StreamSchema> {
    let fields = ["id", "value"].map(|name| Field::new(name, DataType::Int64, false));
    Arc::new(StreamSchema::new(StreamId::new(table), fields.to_vec(), ["id"]).expect("a column is the key"))
}

pub(crate) fn stream(table: usize) -> &'static StreamId {
    SCHEMAS[table].stream()
}

pub(crate) fn table_of(stream: &StreamId) -> usize {
    let at = TABLES.iter().position(|&table| table == stream.name());
    at.expect("the source has only these streams")
}

pub(crate) fn log() -> Partition {
    static LOG: LazyLock<Partition> = LazyLock::new(|| Partition::log("wal"));
    LOG.clone()
}

pub(crate) fn order(key: u64) -> Order {
    Order::new(0, key, 0)
}

fn record_batch(schema: Arc<Schema>, ids: Int64Array, values: Int64Array) -> RecordBatch {
    RecordBatch::try_new(schema, vec![Arc::new(ids), Arc::new(values)]).expect("two columns of one length")
}

/// A page of existing rows.
pub(crate) fn page_batch(table: usize, partition: Partition, page: u32, rows: &[(i64, i64)], window: u64) -> Batch {
    let schema = Arc::clone(&SCHEMAS[table]);
    let ids = rows.iter().map(|&(id, _)| id).collect();
    let values = rows.iter().map(|&(_, value)| value).collect();
    let rows = record_batch(Arc::clone(schema.arrow()), ids, values);
    Batch::of_page(partition, page, schema, rows, order(window), Timestamp(window as i64))
}

/// Changes of one table, each with the order of its transaction.
pub(crate) fn change_batch(table: usize, changes: &[(u64, Change)], page_tags: Vec<PageTags>) -> Batch {
    let schema = Arc::clone(&SCHEMAS[table]);
    let shown = |change: &Change| match *change {
        Change::Insert { new } | Change::Update { new, .. } => new,
        Change::Delete { old } => old,
    };
    let old = |change: &Change| match *change {
        Change::Update { old, .. } => Some(old),
        _ => None,
    };
    let ids = changes.iter().map(|(_, change)| shown(change).0).collect();
    let values = changes.iter().map(|(_, change)| shown(change).1).collect();
    let before = changes.iter().any(|(_, change)| old(change).is_some()).then(|| {
        let fields = schema
            .arrow()
            .fields()
            .iter()
            .map(|field| field.as_ref().clone().with_nullable(true));
        let shape = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        let ids = changes.iter().map(|(_, change)| old(change).map(|old| old.0)).collect();
        let values = changes.iter().map(|(_, change)| old(change).map(|old| old.1)).collect();
        Before {
            rows: record_batch(shape, ids, values),
            present: changes.iter().map(|(_, change)| old(change).is_some()).collect(),
            unavailable: None,
        }
    });
    let mut commits: Vec<Commit> = Vec::new();
    for (row, &(at, _)) in changes.iter().enumerate() {
        let (row_end, time) = (row + 1, Timestamp(at as i64));
        match commits.last_mut() {
            Some(last) if last.order == order(at) => last.row_end = row_end,
            _ => commits.push(Commit {
                row_end,
                order: order(at),
                time,
            }),
        }
    }
    let op = |change: &Change| match change {
        Change::Insert { .. } => Op::Insert,
        Change::Update { .. } => Op::Update,
        Change::Delete { .. } => Op::Delete,
    };
    Batch {
        partition: log(),
        page: 0,
        rows: record_batch(Arc::clone(schema.arrow()), ids, values),
        schema,
        ops: Ops::each(changes.iter().map(|(_, change)| op(change))),
        before,
        unavailable: None,
        commits,
        page_tags,
    }
}

/// The rows of a batch: operation, row, and for updates the row before.
pub(crate) fn rows_of(batch: &Batch) -> impl Iterator<Item = (Op, (i64, i64), Option<(i64, i64)>)> + '_ {
    let columns = |rows: &RecordBatch| [0, 1].map(|c| rows.column(c).as_primitive::<Int64Type>().clone());
    let [ids, values] = columns(&batch.rows);
    let before = batch
        .before
        .as_ref()
        .map(|before| (columns(&before.rows), &before.present));
    (0..batch.len()).map(move |row| {
        let old = before.as_ref().filter(|(_, present)| present.value(row));
        let old = old.map(|([ids, values], _)| (ids.value(row), values.value(row)));
        (batch.ops.get(row), (ids.value(row), values.value(row)), old)
    })
}
