//! What a caller writes, as changesets.
//!
//! The protocol has no positions, so there is a log of our own: each message is one position. A destination that keeps its
//! checkpoint goes on from there after a restart, so that orders never go back.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use arrow::array::{ArrayRef, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::Schema;
use bytes::Bytes;
use model::{
    Batch, ChangeSet, Checkpoint, Commit, Control, Delta, Mark, Op, Ops, Order, Partition, Position, StreamId,
    StreamState, Test, Timestamp,
};
use proto::plugin_v3::write::request::Message;
use proto::plugin_v3::write::{MessageDeleteRecord, MessageDeleteStale};
use proto::{Decoder, Table, TableCodec};
use tonic::Status;

use super::spec::{TABLES_MAX, invalid, invalid_in};
use crate::conditions;

const LOG: &str = "cloudquery-writes";

/// The tables of one caller.
pub(super) struct Tables {
    decoder: Decoder,
    codecs: HashMap<String, Arc<TableCodec>>,
    log: Partition,
    order: u64,
}

impl Tables {
    /// After what the destination holds.
    pub(super) fn new(held: &Checkpoint) -> Self {
        let log = Partition::log(LOG);
        let order = match held.mark(&log) {
            Mark::At(order) => order.key(),
            Mark::NotBegun | Mark::Finished => 0,
        };
        Tables {
            decoder: Decoder::default(),
            codecs: HashMap::new(),
            log,
            order,
        }
    }

    /// One message as what it does, in order.
    pub(super) fn changesets(&mut self, message: Message) -> Result<Vec<ChangeSet>, Status> {
        match message {
            Message::MigrateTable(message) => {
                let schema = self.decoder.schema(&message.table).map_err(invalid)?;
                self.migrate(&schema).map(|changeset| vec![changeset])
            }
            Message::Insert(message) => self.insert(&message.record),
            Message::Delete(message) => self.delete_stale(&message).map(|changeset| vec![changeset]),
            Message::DeleteRecord(message) => self.delete_record(&message),
            Message::Flush(_) => Ok(Vec::new()),
        }
    }

    /// The next position of the log.
    fn delta(&mut self) -> Delta {
        let from = (self.order > 0).then(|| Order::new(0, self.order, 0));
        self.order += 1;
        Delta::of(self.log.clone(), from, Position::at(Order::new(0, self.order, 0)))
    }

    fn control(&mut self, control: Control) -> ChangeSet {
        ChangeSet::control(self.delta(), control)
    }

    fn migrate(&mut self, schema: &Schema) -> Result<ChangeSet, Status> {
        let codec = Arc::new(self.described(schema)?);
        Ok(self.made(&codec))
    }

    /// A table that the caller described.
    fn described(&self, schema: &Schema) -> Result<TableCodec, Status> {
        let table = Table::of_schema(schema).map_err(invalid)?;
        let name = table.name.clone();
        if self.codecs.len() >= TABLES_MAX && !self.codecs.contains_key(&name) {
            return Err(Status::resource_exhausted(format!(
                "table `{name}` is one too many: at most {TABLES_MAX} are taken"
            )));
        }
        TableCodec::of_table(table).map_err(|error| invalid_in(&name, error))
    }

    /// The order to make a table, or to change it.
    fn made(&mut self, codec: &Arc<TableCodec>) -> ChangeSet {
        let schema = Arc::clone(codec.ours());
        let stream = schema.stream().clone();
        self.codecs.insert(codec.table().name.clone(), Arc::clone(codec));
        // Held from its first moment: nobody reads existing rows here.
        let delta = self.delta().with_stream(stream, StreamState::Live { run: 1 });
        ChangeSet::control(delta, Control::Schema { schema })
    }

    fn codec(&self, table: &str) -> Result<Arc<TableCodec>, Status> {
        let known = self.codecs.get(table).cloned();
        known.ok_or_else(|| Status::invalid_argument(format!("table `{table}` was not migrated in this session")))
    }

    fn insert(&mut self, payload: &Bytes) -> Result<Vec<ChangeSet>, Status> {
        let rows = self.decoder.record(payload).map_err(invalid)?;
        let name = rows.schema_ref().metadata().get("cq:table_name").cloned();
        let name = name.ok_or_else(|| Status::invalid_argument("the record has no `cq:table_name`"))?;
        // The state clients of some SDKs send an empty record where nothing has changed.
        if rows.num_rows() == 0 {
            return Ok(Vec::new());
        }
        // A caller that does not migrate says in each record what the table looks like.
        let known = self.codecs.get(&name).cloned();
        let codec = match &known {
            Some(codec) => Arc::clone(codec),
            None => Arc::new(self.described(rows.schema_ref())?),
        };
        // Only what can be written gets a position: a record that is refused leaves no hole.
        let rows = codec.rows_from_wire(&rows).map_err(|error| invalid_in(&name, error))?;
        let mut changesets = Vec::new();
        if known.is_none() {
            changesets.push(self.made(&codec));
        }
        let count = rows.num_rows();
        let delta = self.delta();
        let batch = Batch {
            partition: self.log.clone(),
            page: 0,
            schema: Arc::clone(codec.ours()),
            rows,
            ops: Ops::all(Op::Insert, count),
            before: None,
            unavailable: None,
            commits: vec![Commit {
                row_end: count,
                order: Order::new(0, self.order, 0),
                time: now(),
            }],
            page_tags: Vec::new(),
        };
        changesets.push(ChangeSet::rows(delta, vec![batch]));
        Ok(changesets)
    }

    fn delete_stale(&mut self, message: &MessageDeleteStale) -> Result<ChangeSet, Status> {
        let time = message.sync_time.ok_or_else(|| {
            let table = &message.table_name;
            Status::invalid_argument(format!("table `{table}`: a delete of stale rows without a time"))
        })?;
        let micros = time
            .seconds
            .saturating_mul(1_000_000)
            .saturating_add(i64::from(time.nanos) / 1_000);
        let source: ArrayRef = Arc::new(StringArray::from(vec![message.source_name.as_str()]));
        let time: ArrayRef = Arc::new(TimestampMicrosecondArray::from(vec![micros]).with_timezone("UTC"));
        let terms = vec![
            ("_cq_source_name".to_owned(), Test::Eq, source),
            ("_cq_sync_time".to_owned(), Test::Lt, time),
        ];
        Ok(self.control(Control::DeleteWhere {
            stream: StreamId::new(message.table_name.as_str()),
            predicate: model::Predicate { terms },
        }))
    }

    fn delete_record(&mut self, message: &MessageDeleteRecord) -> Result<Vec<ChangeSet>, Status> {
        if !message.table_relations.is_empty() {
            return Err(Status::unimplemented(format!(
                "table `{}`: deletes of related tables are not supported",
                message.table_name
            )));
        }
        let stream = StreamId::new(message.table_name.as_str());
        if message.where_clause.is_empty() {
            // Also of a table that nobody has announced.
            return Ok(vec![self.control(Control::Truncate { stream })]);
        }
        let codec = self.codec(&message.table_name)?;
        let deletes = conditions::deletes(&mut self.decoder, &codec, &message.where_clause);
        let deletes = deletes.map_err(|error| invalid_in(&message.table_name, error))?;
        Ok(deletes.into_iter().map(|delete| self.control(delete)).collect())
    }
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(since.as_micros() as i64)
}
