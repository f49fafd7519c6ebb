//! Transactions as changesets.

use std::collections::BTreeMap;
use std::sync::Arc;

use api::{Error, Result, Retry};
use arrow::array::{BooleanArray, RecordBatch};
use arrow::datatypes::{Field, Schema, SchemaRef};
use model::{
    Batch, Before, ChangeSet, Commit, Delta, Op, Ops, Order, Page, PageTags, Part, Partition, Position, StreamId,
    StreamSchema,
};
use serde_json::{Map, Value};

use super::{Change, Transaction};

/// What changesets are cut out of.
pub(super) struct Cut<'a> {
    pub(super) log: &'a Partition,
    /// The planned tables, in their planned shape.
    pub(super) schemas: &'a BTreeMap<StreamId, Arc<StreamSchema>>,
    /// For each table, the reads that have begun and not ended.
    pub(super) reading: BTreeMap<StreamId, Vec<u32>>,
    pub(super) bytes_max: usize,
}

/// A changeset, and where the reader stands after it.
pub(super) struct Piece {
    pub(super) changeset: ChangeSet,
    pub(super) position: u64,
    /// Changes of the transaction after `position` that are out already.
    pub(super) change_at: usize,
}

impl Cut<'_> {
    /// The next piece after `position`, of which `change_at` changes of the next transaction are out already. `transactions` are
    /// those after `position`.
    pub(super) fn next(&self, position: u64, change_at: usize, transactions: &[&Transaction]) -> Result<Option<Piece>> {
        let Some(first) = transactions.first() else {
            return Ok(None);
        };
        if change_at > 0 || size_of(&first.changes) > self.bytes_max && first.changes.len() > 1 {
            return self.part(position, change_at, first).map(Some);
        }
        let (mut rows, mut bytes, mut to) = (Vec::new(), 0, position);
        for transaction in transactions {
            let size = size_of(&transaction.changes);
            if to > position && bytes + size > self.bytes_max {
                break;
            }
            (bytes, to) = (bytes + size, transaction.number);
            rows.extend(transaction.changes.iter().map(|change| (*transaction, change)));
        }
        Ok(Some(Piece {
            changeset: ChangeSet::rows(self.delta(position, to), self.batches(&rows)?),
            position: to,
            change_at: 0,
        }))
    }

    /// A piece of a transaction that is larger than a changeset may be.
    fn part(&self, position: u64, change_at: usize, transaction: &Transaction) -> Result<Piece> {
        let (mut end, mut bytes) = (change_at, 0);
        while end < transaction.changes.len() && (end == change_at || bytes < self.bytes_max) {
            bytes += size_of(&transaction.changes[end..=end]);
            end += 1;
        }
        let is_last = end == transaction.changes.len();
        let part = match (change_at, is_last) {
            (0, true) => Part::Whole,
            (0, false) => Part::First,
            (_, true) => Part::Last,
            (_, false) => Part::Middle,
        };
        let rows: Vec<_> = transaction.changes[change_at..end]
            .iter()
            .map(|change| (transaction, change))
            .collect();
        let delta = match is_last {
            true => self.delta(position, transaction.number),
            false => Delta::none(),
        };
        Ok(Piece {
            changeset: ChangeSet::part(part, delta, self.batches(&rows)?),
            position: if is_last { transaction.number } else { position },
            change_at: if is_last { 0 } else { end },
        })
    }

    fn delta(&self, from: u64, to: u64) -> Delta {
        let order = |number| Order::new(0, number, 0);
        Delta::of(self.log.clone(), Some(order(from)), Position::at(order(to)))
    }

    fn batches(&self, changes: &[(&Transaction, &Change)]) -> Result<Vec<Batch>> {
        let mut batches = Vec::new();
        for (table, schema) in self.schemas {
            let of_table: Vec<_> = changes
                .iter()
                .copied()
                .filter(|(_, change)| change.table == *table)
                .collect();
            if !of_table.is_empty() {
                batches.push(self.batch(schema, &of_table)?);
            }
        }
        Ok(batches)
    }

    fn batch(&self, schema: &Arc<StreamSchema>, changes: &[(&Transaction, &Change)]) -> Result<Batch> {
        let mut commits: Vec<Commit> = Vec::new();
        for (at, (transaction, _)) in changes.iter().enumerate() {
            let (row_end, order) = (at + 1, Order::new(0, transaction.number, 0));
            match commits.last_mut() {
                Some(last) if last.order == order => last.row_end = row_end,
                _ => commits.push(Commit {
                    row_end,
                    order,
                    time: transaction.time,
                }),
            }
        }
        let tags = |&run: &u32| {
            // Every row of the table is in its one page, and was.
            let pages = vec![Page::new(0, 1); changes.len()];
            PageTags::new(run, pages.clone(), Some(pages))
        };
        let reading = self.reading.get(schema.stream()).map(Vec::as_slice).unwrap_or_default();
        let rows: Vec<&Value> = changes.iter().map(|(_, change)| &change.row).collect();
        Ok(Batch {
            partition: self.log.clone(),
            page: 0,
            rows: rows_of(schema, schema.arrow(), &rows)?,
            before: before(schema, changes)?,
            ops: Ops::each(changes.iter().map(|(_, change)| change.op)),
            unavailable: None,
            commits,
            page_tags: reading.iter().map(tags).collect(),
            schema: Arc::clone(schema),
        })
    }
}

fn before(schema: &StreamSchema, changes: &[(&Transaction, &Change)]) -> Result<Option<Before>> {
    if changes.iter().all(|(_, change)| change.op != Op::Update) {
        return Ok(None);
    }
    let nothing = Value::Object(Map::new());
    let olds: Vec<&Value> = changes
        .iter()
        .map(|(_, change)| change.old.as_ref().unwrap_or(&nothing))
        .collect();
    let fields = schema.arrow().fields().iter();
    let nullable: Vec<Field> = fields.map(|field| Field::clone(field).with_nullable(true)).collect();
    let present: BooleanArray = changes.iter().map(|(_, change)| Some(change.old.is_some())).collect();
    Ok(Some(Before {
        rows: rows_of(schema, &Arc::new(Schema::new(nullable)), &olds)?,
        present: present.values().clone(),
        unavailable: None,
    }))
}

/// JSON objects as rows. A column that is missing is null; one that the shape does not have is left out.
pub(super) fn rows_of(schema: &StreamSchema, shape: &SchemaRef, rows: &[&Value]) -> Result<RecordBatch> {
    let refused = |error| {
        let message = format!("cannot read rows of `{}`: they do not fit its columns", schema.stream());
        Error::new("E0620", Retry::Operator, message).caused_by(error)
    };
    if rows.is_empty() {
        return Ok(RecordBatch::new_empty(Arc::clone(shape)));
    }
    let reader = arrow::json::ReaderBuilder::new(Arc::clone(shape)).with_batch_size(rows.len());
    let mut decoder = reader.build_decoder().map_err(refused)?;
    decoder.serialize(rows).map_err(refused)?;
    let batch = decoder.flush().map_err(refused)?;
    Ok(batch.unwrap_or_else(|| RecordBatch::new_empty(Arc::clone(shape))))
}

/// About the Arrow bytes of changes.
fn size_of(changes: &[Change]) -> usize {
    let of_value = |value: &Value| match value {
        Value::Object(columns) => columns
            .values()
            .map(|value| value.as_str().map_or(8, |text| text.len() + 4))
            .sum(),
        _ => 0,
    };
    let of_change = |change: &Change| of_value(&change.row) + change.old.as_ref().map_or(0, of_value);
    changes.iter().map(of_change).sum()
}
