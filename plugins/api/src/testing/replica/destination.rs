use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use model::{Body, ChangeSet, Control, StreamId, StreamSchema};

use super::steps::{Step, steps_of};
use super::{Ledger, Replica, key_of};
use crate::{
    Capabilities, CommitPoint, Destination, DestinationOptions, Error, Guarantee, Holds, Lane, OnSchemaChange, Result,
    Retry, WriteMode, Written,
};

pub(super) struct ReplicaDestination {
    replica: Replica,
    options: DestinationOptions,
    session: Option<Session>,
    pending: Vec<(StreamId, Step)>,
}

struct Session {
    lane: Lane,
    generation: u64,
    /// While it lives, a rival is refused.
    _lock: Arc<()>,
}

impl ReplicaDestination {
    pub(super) fn new(replica: Replica, options: DestinationOptions) -> Self {
        ReplicaDestination {
            replica,
            options,
            session: None,
            pending: Vec::new(),
        }
    }

    fn session(&self) -> Result<&Session> {
        self.session
            .as_ref()
            .ok_or_else(|| Error::new("E0598", Retry::Never, "cannot write to a replica: it is not open"))
    }

    /// With `on_schema_change: pause`, refuses columns that a table lacks.
    fn check_shapes(&self, changeset: &ChangeSet) -> Result<()> {
        if self.options.on_schema_change != Some(OnSchemaChange::Pause) {
            return Ok(());
        }
        let schemas: Vec<&Arc<StreamSchema>> = match &changeset.body {
            Body::Rows(batches) => batches.iter().map(|batch| &batch.schema).collect(),
            Body::Control(Control::Schema { schema } | Control::BeginRead { schema, .. }) => vec![schema],
            Body::Control(_) => Vec::new(),
        };
        let store = self.replica.store();
        for schema in schemas {
            let Some(table) = store.tables.get(schema.stream()) else {
                continue;
            };
            let is_missing = |name: &&String| !table.columns.contains(*name);
            if let Some(column) = schema
                .arrow()
                .fields()
                .iter()
                .map(|field| field.name())
                .find(is_missing)
            {
                let message = format!("cannot write to `{}`: it lacks column `{column}`", schema.stream());
                return Err(Error::new("E0598", Retry::Operator, message).hint("add the column"));
            }
        }
        Ok(())
    }
}

fn fenced(lane: &Lane, generation: u64, by: &Ledger) -> Error {
    let owner = by.owner.as_ref().map_or_else(String::new, ToString::to_string);
    let message = format!(
        "cannot commit to `{}`/`{}`: expected generation {generation}, found {} of {owner}",
        lane.pipeline, lane.destination, by.generation
    );
    Error::new("E0598", Retry::Fenced, message)
}

#[async_trait]
impl Destination for ReplicaDestination {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            guarantee: Guarantee::ExactlyOnce,
            writes: &[WriteMode::Append, WriteMode::Upsert, WriteMode::Mirror],
            deletes: true,
            truncate: true,
            delete_where: true,
            unavailable: true,
            ddl_in_transaction: true,
            keeps_checkpoint: true,
            reads_back: false,
            buffer_bytes: 0,
            commit_interval_min: Duration::ZERO,
        }
    }

    async fn open(&mut self, lane: &Lane) -> Result<Holds> {
        let mut store = self.replica.store();
        let ledger = store.lanes.entry(key_of(lane)).or_default();
        if ledger.lock.strong_count() > 0 && !lane.take_over {
            let owner = ledger.owner.as_ref().map_or_else(String::new, ToString::to_string);
            let message = format!("cannot open `{}`/`{}`: {owner} has it", lane.pipeline, lane.destination);
            return Err(Error::new("E0598", Retry::Operator, message).hint("stop that process, or take over"));
        }
        let lock = Arc::new(());
        ledger.generation += 1;
        ledger.owner = Some(lane.owner.clone());
        ledger.lock = Arc::downgrade(&lock);
        self.pending.clear();
        self.session = Some(Session {
            lane: lane.clone(),
            generation: ledger.generation,
            _lock: lock,
        });
        Ok(Holds {
            generation: ledger.generation,
            checkpoint: ledger.checkpoint.clone(),
            plan_hash: ledger.plan_hash.clone(),
            schemas: ledger.schemas.clone(),
        })
    }

    async fn write(&mut self, changeset: Arc<ChangeSet>) -> Result<Written> {
        self.session()?;
        self.check_shapes(&changeset)?;
        self.pending.extend(steps_of(&changeset, &self.options));
        Ok(Written::default())
    }

    async fn commit(&mut self, at: CommitPoint<'_>) -> Result<()> {
        let steps = std::mem::take(&mut self.pending);
        let session = self.session()?;
        let mut store = self.replica.store();
        let key = key_of(&session.lane);
        let ledger = store.lanes.entry(key.clone()).or_default();
        if ledger.generation != session.generation {
            return Err(fenced(&session.lane, session.generation, ledger));
        }
        let mut applied = Vec::new();
        for (stream, step) in steps {
            if let Step::Shape(schema) = &step {
                applied.push((stream.clone(), schema.id()));
            }
            store.apply(&stream, step, &self.options);
        }
        let ledger = store.lanes.entry(key).or_default();
        ledger.schemas.extend(applied);
        ledger.checkpoint = Some(at.checkpoint.clone());
        ledger.plan_hash = Some(session.lane.plan_hash.clone());
        drop(store);
        self.replica.0.commit_count.send_modify(|count| *count += 1);
        Ok(())
    }

    async fn close(self: Box<Self>) -> Result<()> {
        Ok(())
    }

    async fn forget(&mut self, lane: &Lane) -> Result<Vec<String>> {
        let removed = self.replica.store().lanes.remove(&key_of(lane));
        Ok(removed
            .map(|_| format!("the ledger of `{}`/`{}`", lane.pipeline, lane.destination))
            .into_iter()
            .collect())
    }
}
