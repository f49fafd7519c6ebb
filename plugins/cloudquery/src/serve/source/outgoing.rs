//! Changes of a source as messages of a sync.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use model::{Batch, Control, Op, StreamId, StreamSchema};
use proto::plugin_v3::sync::response::Message;
use proto::plugin_v3::sync::{MessageDeleteRecord, MessageInsert, MessageMigrateTable};
use proto::plugin_v3::{Predicate, PredicatesGroup, predicates_group};
use proto::{Encoder, Table, TableCodec, encode_schema};
use tonic::Status;

use super::super::spec::{invalid, invalid_in};
use super::codec;

/// A record that every SDK's client takes.
const RECORD_BYTES_MAX: usize = proto::SMALL_MESSAGE_BYTES_MAX - (64 << 10);
/// Keys in one delete, if they are short: a message is to be one that every SDK's client takes.
const DELETED_MAX: usize = 1_000;

/// What a condition is longer than its value and its column.
const PREDICATE_BYTES: usize = 16;

/// The tables of one sync, as they were announced.
#[derive(Default)]
pub(super) struct Outgoing {
    tables: HashMap<StreamId, Announced>,
}

struct Announced {
    codec: TableCodec,
    encoder: Encoder,
}

impl Outgoing {
    /// Announces a table, if it is not announced in this shape.
    pub(super) fn announce(&mut self, schema: &Arc<StreamSchema>) -> Result<Option<Message>, Status> {
        if self
            .tables
            .get(schema.stream())
            .is_some_and(|table| table.codec.ours() == schema)
        {
            return Ok(None);
        }
        let codec = codec(schema)?;
        let encoder = Encoder::new(Arc::clone(codec.wire())).map_err(invalid)?;
        let table = encode_schema(codec.wire()).map_err(invalid)?;
        self.tables
            .insert(schema.stream().clone(), Announced { codec, encoder });
        Ok(Some(Message::MigrateTable(MessageMigrateTable { table })))
    }

    pub(super) fn control(&mut self, control: &Control) -> Result<Vec<Message>, Status> {
        Ok(match control {
            Control::BeginRead {
                schema, empty_first, ..
            } => {
                let mut messages: Vec<Message> = self.announce(schema)?.into_iter().collect();
                if *empty_first {
                    messages.push(delete(&schema.stream().flat_name(), Vec::new()));
                }
                messages
            }
            Control::Schema { schema } => self.announce(schema)?.into_iter().collect(),
            Control::Truncate { stream } => vec![delete(&stream.flat_name(), Vec::new())],
            Control::EndRead { .. } => Vec::new(),
            Control::DeleteWhere { stream, .. } => {
                return Err(Status::internal(format!(
                    "a source deletes rows of `{stream}` by a condition"
                )));
            }
        })
    }

    /// Rows and deletes, in order.
    pub(super) fn rows(&mut self, batch: &Batch) -> Result<Vec<Message>, Status> {
        let mut messages: Vec<Message> = self.announce(&batch.schema)?.into_iter().collect();
        let Some(table) = self.tables.get_mut(batch.schema.stream()) else {
            return Ok(messages);
        };
        let mut row = 0;
        while row < batch.len() {
            let from = row;
            let is_delete = batch.ops.get(row) == Op::Delete;
            if !is_delete && let Some(old_key) = moved_key(batch, row) {
                messages.extend(table.deletes(batch, &old_key)?);
            }
            row += 1;
            while row < batch.len()
                && (batch.ops.get(row) == Op::Delete) == is_delete
                && (is_delete || moved_key(batch, row).is_none())
            {
                row += 1;
            }
            let rows = batch.rows.slice(from, row - from);
            if is_delete {
                messages.extend(table.deletes(batch, &rows)?);
            } else {
                check_whole(batch, from..row)?;
                messages.extend(table.inserts(&rows)?);
            }
        }
        Ok(messages)
    }
}

/// The row as it was, if its key was another one.
fn moved_key(batch: &Batch, row: usize) -> Option<RecordBatch> {
    let before = batch.before.as_ref().filter(|before| before.present.value(row))?;
    let is_same =
        batch.schema.key().iter().all(|&key| {
            before.rows.column(key).slice(row, 1).to_data() == batch.rows.column(key).slice(row, 1).to_data()
        });
    (!is_same && batch.ops.get(row) == Op::Update).then(|| before.rows.slice(row, 1))
}

/// A row replaces the one that is there, so every value must be in it.
fn check_whole(batch: &Batch, rows: std::ops::Range<usize>) -> Result<(), Status> {
    let stream = batch.schema.stream();
    let is_update = rows.clone().any(|row| batch.ops.get(row) == Op::Update);
    if is_update && !batch.schema.has_key() {
        return Err(Status::failed_precondition(format!(
            "rows of `{stream}` were updated, and it has no key by which a caller could find them; give it a primary key"
        )));
    }
    let Some(mask) = &batch.unavailable else {
        return Ok(());
    };
    match rows.into_iter().any(|row| mask.any_in_row(row)) {
        false => Ok(()),
        true => Err(Status::failed_precondition(format!(
            "an update of `{stream}` does not have all values, and the protocol has no word for that; make the source send \
             whole rows (PostgreSQL: ALTER TABLE {stream} REPLICA IDENTITY FULL)"
        ))),
    }
}

impl Announced {
    fn inserts(&mut self, rows: &RecordBatch) -> Result<Vec<Message>, Status> {
        let name = &self.codec.table().name;
        let arrays = self.codec.rows_to_wire(rows).map_err(|error| invalid_in(name, error))?;
        let rows = RecordBatch::try_new(Arc::clone(self.codec.wire()), arrays);
        let rows = rows.map_err(|error| invalid_in(name, error))?;
        let records = self.encoder.encode_split(&rows, RECORD_BYTES_MAX);
        let records = records.map_err(|error| invalid_in(name, error))?;
        Ok(records
            .into_iter()
            .map(|record| Message::Insert(MessageInsert { record }))
            .collect())
    }

    /// Of the rows with these keys.
    fn deletes(&self, batch: &Batch, rows: &RecordBatch) -> Result<Vec<Message>, Status> {
        let key = batch.schema.key();
        let name = &self.codec.table().name;
        if key.is_empty() {
            return Err(Status::failed_precondition(format!(
                "rows of `{}` were deleted, and it has no key by which a caller could find them; give it a primary key",
                batch.schema.stream()
            )));
        }
        let keys: Vec<(String, ArrayRef)> = key
            .iter()
            .map(|&at| {
                let field = batch.schema.arrow().field(at);
                Ok((field.name().clone(), self.key_on_wire(at, rows)?))
            })
            .collect::<Result<_, Status>>()?;
        let predicate = |(column, values): &(String, ArrayRef), row: usize| -> Result<Predicate, Status> {
            Ok(Predicate {
                operator: 0,
                column: column.clone(),
                record: value(column, values, row)?,
            })
        };
        let group = |grouping: predicates_group::GroupingType, predicates| PredicatesGroup {
            grouping_type: grouping.into(),
            predicates,
        };
        let (and, or) = (predicates_group::GroupingType::And, predicates_group::GroupingType::Or);
        let mut messages = Vec::new();
        if let [one] = &keys[..] {
            let (mut predicates, mut bytes) = (Vec::new(), 0);
            for row in 0..rows.num_rows() {
                let next = predicate(one, row)?;
                let len = next.record.len() + next.column.len() + PREDICATE_BYTES;
                if predicates.len() == DELETED_MAX || !predicates.is_empty() && bytes + len > RECORD_BYTES_MAX {
                    messages.push(delete(name, vec![group(or, std::mem::take(&mut predicates))]));
                    bytes = 0;
                }
                bytes += len;
                predicates.push(next);
            }
            if !predicates.is_empty() {
                messages.push(delete(name, vec![group(or, predicates)]));
            }
        } else {
            for row in 0..rows.num_rows() {
                let predicates = keys
                    .iter()
                    .map(|key| predicate(key, row))
                    .collect::<Result<_, Status>>()?;
                messages.push(delete(name, vec![group(and, predicates)]));
            }
        }
        Ok(messages)
    }

    fn key_on_wire(&self, at: usize, rows: &RecordBatch) -> Result<ArrayRef, Status> {
        let ours = self.codec.ours();
        let alone = StreamSchema::new(
            ours.stream().clone(),
            vec![ours.arrow().field(at).clone()],
            [] as [&str; 0],
        );
        let alone = TableCodec::of_stream(&Arc::new(alone.map_err(invalid)?), "value").map_err(invalid)?;
        let rows = rows.project(&[at]).map_err(invalid)?;
        let mut arrays = alone.rows_to_wire(&rows).map_err(invalid)?;
        arrays.pop().ok_or_else(|| Status::internal("a key without values"))
    }
}

/// A record of one value, which is how the protocol writes one.
fn value(column: &str, values: &ArrayRef, row: usize) -> Result<bytes::Bytes, Status> {
    let field = arrow::datatypes::Field::new(column, values.data_type().clone(), true);
    let mut one = Table::named("value");
    one.columns.push(proto::Column::new(field));
    let schema = Arc::new(one.to_schema());
    let rows = RecordBatch::try_new(Arc::clone(&schema), vec![values.slice(row, 1)]).map_err(invalid)?;
    Encoder::new(schema).map_err(invalid)?.encode(&rows).map_err(invalid)
}

/// Without conditions it is every row.
fn delete(table: &str, where_clause: Vec<PredicatesGroup>) -> Message {
    Message::DeleteRecord(MessageDeleteRecord {
        table_name: table.to_owned(),
        where_clause,
        table_relations: Vec::new(),
    })
}
