//! A sync as changesets.

mod checkpoints;

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use api::{Context, Emission, Plan, PlannedStream, Reader, Result};
use arrow::array::{Array, RecordBatch};
use async_trait::async_trait;
use model::{
    Batch, ChangeSet, Checkpoint, Commit, Control, Delta, Op, Ops, Order, Page, Partition, Place, Position, StreamId,
    StreamSchema, StreamState,
};
use proto::plugin_v3::sync;
use proto::{ConvertError, TableCodec};

pub(super) use checkpoints::are_of_newest_read;
use checkpoints::end_of_read;

use super::StateBackend;
use super::flow::{Flow, Next, Run};
use super::messages::{Message, Messages};
use super::tries::Tries;
use super::{CloudQuerySourceSpec, Starter, stamp};
use crate::backend::Backend;
use crate::error::Error;
use crate::plugin::SharedPlugin;

/// The name under which the cursors of incremental tables are kept.
pub(super) const CURSORS: &str = "cloudquery.cursors";
/// The name under which the number of the read is kept in which they moved, before the first complete sync.
pub(super) const READ_OF_CURSORS: &str = "cloudquery.read_of_cursors";

/// Between a failed sync of a schedule and the next: doubling, so that a system that is down is not read all the time.
const PAUSE_MIN: Duration = Duration::from_secs(2);
const PAUSE_MAX: Duration = Duration::from_secs(600);

/// What a record holds in memory beside its rows: the schema that travels with each, and the arrays themselves.
const RECORD_BYTES_BESIDE_ROWS: usize = 2 << 10;

/// Emits one sync after the other.
pub(super) struct Sync {
    spec: Arc<CloudQuerySourceSpec>,
    starter: Starter,
    planned: BTreeMap<StreamId, PlannedStream>,
    bytes_max: usize,
    flow: Arc<Flow>,
    /// There as long as a sync goes on.
    plugin: Option<SharedPlugin>,
    backend: Option<Backend>,
    /// There instead of `backend`, as long as a sync goes on.
    state_backend: Option<StateBackend>,
    tries: Tries,
    /// Syncs of the schedule that failed in a row.
    failures: u32,
    cx: Context,
    run: Option<Running>,
    /// Built and not handed out yet.
    ready: VecDeque<Ready>,
    /// The newest checkpoint of this sync that was handed out.
    handed_out: Option<Checkpoint>,
    /// Why the sync broke. It is told when what was handed out is durable.
    broken: Option<Error>,
}

/// Values to be kept, by their names.
type Values = Vec<(&'static str, Vec<u8>)>;

/// A changeset that was not handed out yet.
struct Ready {
    changeset: ChangeSet,
    /// What is to be kept with it, and from which checkpoint on.
    keep: Option<(Values, Checkpoint)>,
}

impl Ready {
    fn of(changeset: ChangeSet) -> Self {
        Ready { changeset, keep: None }
    }
}

/// A sync that goes on.
struct Running {
    run: Run,
    messages: Messages,
    /// Tables that were announced, in that order.
    begun: Vec<Begun>,
    /// Tables that failed: the plugin's word.
    failed: BTreeMap<String, String>,
    /// Rows that have arrived and are in no changeset, by stream.
    gathered: Vec<(Arc<StreamSchema>, Vec<RecordBatch>)>,
    gathered_bytes: usize,
    /// Whether its incremental tables are changes in the log: it goes on from cursors, or has turned.
    goes_on: bool,
    /// Whether their reads ended at a checkpoint.
    has_turned: bool,
    /// Whether a checkpoint has come since the last changeset was built.
    has_checkpoint: bool,
    /// The last position of the log that it brought.
    log_from: Option<Order>,
    is_over: bool,
}

struct Begun {
    schema: Arc<StreamSchema>,
    parent: Option<String>,
    /// The number of the last page.
    page: u32,
    /// Whether its rows are changes in the log: an incremental table that every destination has.
    is_log: bool,
}

impl Sync {
    pub(super) fn new(starter: Starter, plan: &Plan, flow: Arc<Flow>, tries: Tries, cx: Context) -> Self {
        Sync {
            spec: Arc::clone(&starter.spec),
            starter,
            planned: plan
                .streams
                .iter()
                .map(|stream| (stream.id.clone(), stream.clone()))
                .collect(),
            bytes_max: plan.changeset_bytes_max.max(1),
            flow,
            plugin: None,
            backend: None,
            state_backend: None,
            tries,
            failures: 0,
            cx,
            run: None,
            ready: VecDeque::new(),
            handed_out: None,
            broken: None,
        }
    }

    fn is_stopped(&self) -> bool {
        self.cx.stop.is_cancelled() || self.flow.state().is_closed
    }

    /// Starts what a sync needs and is not there.
    async fn start(&mut self) -> Result<(), Error> {
        if self.plugin.is_none() {
            self.plugin = Some(Arc::new(self.starter.start(false).await?));
        }
        if self.spec.state_backend().is_some() {
            if self.state_backend.is_none() {
                self.state_backend = self.starter.state_backend().await?;
            }
        } else if self.spec.incremental() && self.backend.is_none() {
            let backend = Backend::start().await.map_err(|source| Error::Backend {
                plugin: self.spec.source_name().to_owned(),
                source,
            })?;
            self.backend = Some(backend);
        }
        Ok(())
    }

    /// Begins a run. Nothing is awaited here: a dropped `next` would lose it.
    fn running(&self, run: Run) -> Option<Running> {
        let plugin = self.plugin.as_ref()?;
        let incremental = self.starter.incremental();
        let mut streams = self
            .planned
            .keys()
            .filter(|stream| incremental.contains(*stream))
            .peekable();
        // Who has joined since, or asked for a table, is to have it whole.
        let is_asked = self
            .planned
            .keys()
            .any(|stream| incremental.contains(stream) && run.asked.contains(stream));
        let may_go_on = streams.peek().is_some() && !run.empty_first && !is_asked;
        let is_held = may_go_on && self.flow.state().is_live_everywhere(streams);
        let stored = is_held.then(|| self.cx.kept.get(CURSORS)).flatten();
        let began_in_log = self.flow.state().has_turned();
        let goes_on = match &self.state_backend {
            Some(_) => is_held,
            None => self.backend.is_some() && is_held && (stored.is_some() || began_in_log),
        };
        if let Some(backend) = &self.backend {
            backend.begin(stored.as_deref().unwrap_or_default());
        }
        Some(Running {
            run,
            messages: Messages::start(Arc::clone(plugin), self.request(goes_on)),
            has_turned: false,
            has_checkpoint: false,
            begun: Vec::new(),
            failed: BTreeMap::new(),
            gathered: Vec::new(),
            gathered_bytes: 0,
            goes_on,
            log_from: None,
            is_over: false,
        })
    }

    /// Waits for a run, or the end. Cancel-safe: a run that is taken is begun at once.
    async fn begin(&mut self) -> Result<bool, Error> {
        loop {
            let flow = Arc::clone(&self.flow);
            let changed = flow.changed.notified();
            tokio::pin!(changed);
            // Registered before the look, so that a request in between is not missed.
            changed.as_mut().enable();
            if self.is_stopped() {
                return Ok(false);
            }
            match flow.next() {
                Next::End => return Ok(false),
                Next::Ready => {
                    self.start().await?;
                    self.handed_out = None;
                    self.run = self.flow.take().and_then(|run| self.running(run));
                    return Ok(self.run.is_some());
                }
                Next::Until(at) => {
                    let stop = self.cx.stop.clone();
                    tokio::select! {
                        () = changed => {}
                        () = tokio::time::sleep_until(at) => {}
                        () = stop.cancelled() => {}
                    }
                }
                Next::Wait => {
                    let stop = self.cx.stop.clone();
                    tokio::select! {
                        () = changed => {}
                        () = stop.cancelled() => {}
                    }
                }
            }
        }
    }

    fn request(&self, goes_on: bool) -> sync::Request {
        let elsewhere = self.state_backend.as_ref().filter(|_| goes_on);
        let elsewhere = elsewhere.map(|backend| backend.options.clone());
        sync::Request {
            tables: self.planned.keys().map(|stream| stream.name().to_owned()).collect(),
            skip_tables: Vec::new(),
            // The tables are named one by one.
            skip_dependent_tables: true,
            deterministic_cq_id: self.spec.deterministic_cq_id(),
            backend: elsewhere.or_else(|| self.backend.as_ref().map(Backend::options)),
            shard: self.spec.shard(),
            // Without it a failed table is silent, or ends the sync.
            with_error_messages: true,
            // The cursors of one are kept beside those of the state backend, which says where a sync begins.
            supports_checkpoints: self.backend.is_some(),
        }
    }

    /// Takes in what has arrived and builds changesets from it. `false`: the sync is over and everything is built.
    async fn advance(&mut self) -> Result<bool, Error> {
        let Some(running) = &mut self.run else {
            return Ok(false);
        };
        let first = if running.gathered_bytes >= self.bytes_max {
            None
        } else if running.gathered.is_empty() && !running.has_checkpoint {
            let stop = self.cx.stop.clone();
            tokio::select! {
                message = running.messages.next() => Some(message),
                () = stop.cancelled() => return Ok(false),
            }
        } else {
            running.messages.soon().await
        };
        match first {
            // Nothing more is here, or enough: what has been gathered goes out.
            None => self.flush(),
            Some(None) => {
                self.flush()?;
                if let Some(backend) = &self.state_backend {
                    backend.plugin.close().await?;
                }
                self.state_backend = None;
                self.end();
                return Ok(false);
            }
            Some(Some(message)) => self.take(message?),
        }?;
        Ok(true)
    }

    fn take(&mut self, message: Message) -> Result<(), Error> {
        match message {
            Message::Table(codec) => self.table(&codec),
            Message::Failed { table, what } => {
                self.failed(table, what);
                Ok(())
            }
            Message::Rows(codec, rows) => self.rows(&codec, &rows),
            Message::Deleted(codec, deletes) => self.deleted(&codec, deletes),
            Message::Checkpoint(rows) => self.checkpoint(&rows),
        }
    }

    /// Notes a table of which something is missing; the first word counts.
    fn failed(&mut self, table: String, what: String) {
        let Some(running) = &mut self.run else {
            return;
        };
        if let Entry::Vacant(failed) = running.failed.entry(table) {
            let table = failed.key().as_str();
            tracing::error!(
                plugin = self.spec.source_name(),
                table,
                "a table failed in the plugin: {what}"
            );
            failed.insert(what);
        }
    }

    fn convert(&self, source: ConvertError) -> Error {
        Error::Convert {
            plugin: self.spec.source_name().to_owned(),
            source,
        }
    }

    /// A table was announced. Ancestors of a planned table, which the plugin adds, are passed over.
    fn table(&mut self, codec: &TableCodec) -> Result<(), Error> {
        let Some(planned) = self.planned.get(codec.ours().stream()) else {
            return Ok(());
        };
        let schema = stamp::stamped(codec.ours(), Some(planned), self.spec.source_name())
            .map_err(|source| self.convert(source))?;
        // Rows of before have the shape of before.
        self.flush()?;
        let Some(running) = &mut self.run else {
            return Ok(());
        };
        if let Some(begun) = running
            .begun
            .iter_mut()
            .find(|begun| begun.schema.stream() == schema.stream())
        {
            begun.schema = schema;
            return Ok(());
        }
        let is_incremental = self.starter.incremental().contains(schema.stream());
        if running.goes_on && !running.has_turned && is_incremental {
            running.begun.push(Begun {
                schema,
                parent: codec.table().parent.clone(),
                page: 0,
                is_log: true,
            });
            return Ok(());
        }
        let delta = Delta::none().with_stream(
            schema.stream().clone(),
            StreamState::reading(running.run.number, bytes::Bytes::new()),
        );
        let control = Control::BeginRead {
            schema: Arc::clone(&schema),
            run: running.run.number,
            destinations: running.run.destinations.clone(),
            empty_first: running.run.empty_first,
        };
        self.ready
            .push_back(Ready::of(placed(&self.flow.log, &running.run, delta, control)));
        // Announced after the others have turned.
        let is_log = running.has_turned && is_incremental;
        if is_log {
            let (delta, control) = end_of_read(schema.stream(), running.run.number);
            self.ready
                .push_back(Ready::of(placed(&self.flow.log, &running.run, delta, control)));
        }
        running.begun.push(Begun {
            schema,
            parent: codec.table().parent.clone(),
            page: 0,
            is_log,
        });
        Ok(())
    }

    fn rows(&mut self, codec: &TableCodec, rows: &RecordBatch) -> Result<(), Error> {
        let source = self.spec.source_name();
        let Some(running) = &mut self.run else {
            return Ok(());
        };
        let stream = codec.ours().stream();
        let Some(begun) = running.begun.iter().find(|begun| begun.schema.stream() == stream) else {
            return Ok(());
        };
        if rows.num_rows() == 0 {
            return Ok(());
        }
        let schema = Arc::clone(&begun.schema);
        let rows = stamp::stamp(rows, &schema, running.run.time, source).map_err(|error| Error::Protocol {
            plugin: source.to_owned(),
            what: format!("its rows of `{stream}` do not fit the plan ({error})"),
        })?;
        // Slices of one payload: each counted by its own values, and the payload's schema once.
        let sizes = rows.columns().iter().map(|column| {
            column
                .to_data()
                .get_slice_memory_size()
                .unwrap_or_else(|_| column.get_array_memory_size())
        });
        running.gathered_bytes += sizes.sum::<usize>() + RECORD_BYTES_BESIDE_ROWS;
        match running.gathered.iter_mut().find(|(of, _)| of.stream() == stream) {
            Some((_, batches)) => batches.push(rows),
            None => running.gathered.push((schema, vec![rows])),
        }
        Ok(())
    }

    /// Rows that came before are meant, too.
    fn deleted(&mut self, codec: &TableCodec, deletes: Vec<Control>) -> Result<(), Error> {
        self.flush()?;
        let Some(running) = &self.run else {
            return Ok(());
        };
        let stream = codec.ours().stream();
        let Some(begun) = running.begun.iter().find(|begun| begun.schema.stream() == stream) else {
            return Ok(());
        };
        if begun.is_log {
            // Nothing else may have told a destination of its columns in this sync.
            let schema = Control::Schema {
                schema: Arc::clone(&begun.schema),
            };
            let schema = placed(&self.flow.log, &running.run, Delta::none(), schema);
            self.ready.push_back(Ready::of(schema));
        }
        for delete in deletes {
            if let Control::DeleteWhere { predicate, .. } = &delete
                && let Some((column, ..)) = predicate
                    .terms
                    .iter()
                    .find(|(column, ..)| begun.schema.arrow().field_with_name(column).is_err())
            {
                return Err(Error::Unsupported {
                    plugin: self.spec.source_name().to_owned(),
                    verb: format!("delete rows of `{stream}`"),
                    what: format!("the plugin names them by the column `{column}`, which is left out"),
                    hint: "keep the column",
                });
            }
            let delete = placed(&self.flow.log, &running.run, Delta::none(), delete);
            self.ready.push_back(Ready::of(delete));
        }
        Ok(())
    }

    /// Makes a changeset of what was gathered: one page for each stream.
    fn flush(&mut self) -> Result<(), Error> {
        let source = self.spec.source_name();
        let Some(running) = &mut self.run else {
            return Ok(());
        };
        running.gathered_bytes = 0;
        let mut delta = Delta::none();
        let (mut batches, mut changes) = (Vec::new(), Vec::new());
        for (schema, rows) in std::mem::take(&mut running.gathered) {
            let stream = schema.stream();
            let Some(begun) = running.begun.iter_mut().find(|begun| begun.schema.stream() == stream) else {
                continue;
            };
            let rows = arrow::compute::concat_batches(schema.arrow(), &rows).map_err(|error| Error::Protocol {
                plugin: source.to_owned(),
                what: format!("its rows of `{stream}` cannot be joined ({error})"),
            })?;
            *self.flow.state().rows.entry(stream.clone()).or_default() += rows.num_rows() as u64;
            if begun.is_log {
                changes.push((schema, rows));
                continue;
            }
            begun.page += 1;
            let partition = Partition::Range {
                stream: stream.clone(),
                run: running.run.number,
                range: 0,
            };
            delta.then(&page_delta(&partition, begun.page));
            let (order, time) = (running.run.order(), running.run.time);
            batches.push(Batch::of_page(partition, begun.page, schema, rows, order, time));
        }
        if !batches.is_empty() {
            self.ready.push_back(Ready::of(ChangeSet::rows(delta, batches)));
        }
        if !changes.is_empty() {
            let order = self.flow.state().next_order();
            // The first from the beginning: a sync has all since the last complete one, so there is nobody for whom
            // something lies in between.
            let from = running.log_from.replace(order);
            let delta = Delta::of(self.flow.log.clone(), from, Position::at(order));
            let commit = |row_end| Commit {
                row_end,
                order,
                time: running.run.time,
            };
            let batch = |(schema, rows): (Arc<StreamSchema>, RecordBatch)| Batch {
                partition: self.flow.log.clone(),
                page: 0,
                // Of a row with a key nobody knows whether it was there.
                ops: Ops::all(if schema.has_key() { Op::Update } else { Op::Insert }, rows.num_rows()),
                before: None,
                unavailable: None,
                commits: vec![commit(rows.num_rows())],
                page_tags: Vec::new(),
                schema,
                rows,
            };
            let batches = changes.into_iter().map(batch).collect();
            self.ready.push_back(Ready::of(ChangeSet::rows(delta, batches)));
        }
        self.keep_checkpoint();
        Ok(())
    }

    /// The sync ended well: the reads of the tables that did not fail end, too.
    fn end(&mut self) {
        fail::fail_point!("cloudquery.source.before_end_reads");
        let Some(running) = &mut self.run else {
            return;
        };
        running.is_over = true;
        let announced: BTreeSet<&str> = running.begun.iter().map(|begun| begun.schema.stream().name()).collect();
        for stream in self.planned.keys().filter(|stream| !announced.contains(stream.name())) {
            let what = "the plugin did not announce it".to_owned();
            running.failed.entry(stream.name().to_owned()).or_insert(what);
        }
        // The rows of a failed table's children were not all found either. Parents were announced first.
        for begun in &running.begun {
            let parent = begun
                .parent
                .as_ref()
                .filter(|parent| running.failed.contains_key(*parent));
            if let Some(parent) = parent {
                let what = format!("its parent `{parent}` failed");
                running
                    .failed
                    .entry(begun.schema.stream().name().to_owned())
                    .or_insert(what);
            }
        }
        let (run, log) = (running.run.number, &self.flow.log);
        let complete = running
            .begun
            .iter()
            .filter(|begun| !begun.is_log && !running.failed.contains_key(begun.schema.stream().name()));
        self.ready.extend(complete.map(|begun| {
            let (delta, control) = end_of_read(begun.schema.stream(), run);
            Ready::of(placed(log, &running.run, delta, control))
        }));
        // A sync for some destinations only brings nobody else further.
        if !running.failed.is_empty() || running.run.destinations.is_some() {
            return;
        }
        let position = Position::at(running.run.order());
        self.flow.state().completed(&running.run);
        let delta = Delta::of(log.clone(), None, position.clone());
        self.ready.push_back(Ready::of(ChangeSet::rows(delta, Vec::new())));
        if let Some(cursors) = self.backend.as_ref().and_then(Backend::changed) {
            let mut with = Checkpoint::default();
            with.marks.insert(self.flow.log.clone(), position);
            self.keep(vec![(CURSORS, cursors)], with);
        }
    }

    /// After everything was handed out: fails if a table did. What was handed out becomes durable all the same.
    fn settle(&mut self) -> Result<(), Error> {
        let failed = self.run.take().map(|running| running.failed).unwrap_or_default();
        self.count(&failed);
        self.tries.succeeded();
        self.failures = 0;
        let is_scheduled = self.flow.state().is_scheduled();
        if is_scheduled {
            // The next sync may be hours away.
            self.plugin = None;
        }
        if failed.is_empty() {
            return Ok(());
        }
        let what: Vec<String> = failed
            .iter()
            .map(|(table, what)| format!("`{table}`: {what}"))
            .collect();
        let error = Error::Tables {
            plugin: self.spec.source_name().to_owned(),
            count: failed.len(),
            what: what.join("; "),
        };
        if !is_scheduled {
            return Err(error);
        }
        let error = api::Error::from(error);
        tracing::error!(code = error.code(), hint = error.remedy(), "{error}");
        Ok(())
    }

    /// Counts the tables that failed, and the warnings about tables. Its log was read to here when the sync ended.
    fn count(&self, failed: &BTreeMap<String, String>) {
        let warnings = self.plugin.as_ref().map(|plugin| plugin.take_warnings());
        for (table, count) in warnings.unwrap_or_default() {
            let stream = StreamId::new(table.as_str());
            if self.planned.contains_key(&stream) {
                self.cx.tally.warnings(&stream, count);
            }
        }
        for table in failed.keys() {
            self.cx.tally.errors(&StreamId::new(table.as_str()), 1);
        }
    }

    /// A sync of the schedule failed: the next one follows after a pause, and the pipeline goes on.
    fn pause(&mut self, error: Error, every: Duration) {
        let doubled = PAUSE_MIN.saturating_mul(1u32.checked_shl(self.failures).unwrap_or(u32::MAX));
        let wait = doubled.min(PAUSE_MAX).min(every);
        self.failures += 1;
        let error = api::Error::from(error);
        tracing::error!(
            code = error.code(),
            hint = error.remedy(),
            next_try_seconds = wait.as_secs_f64(),
            "a sync failed: {}",
            error.chain()
        );
        // Its rows that were not handed out are void; what was handed out belongs to a read that never ends.
        self.ready.clear();
        self.plugin = None;
        self.state_backend = None;
        let run = self.run.take().map(|running| running.run);
        self.flow.fail(run, wait);
    }

    /// Does one thing; `None` is the end.
    async fn step(&mut self) -> Result<Option<()>, Error> {
        if self.is_stopped() {
            self.plugin = None;
            return Ok(None);
        }
        match &self.run {
            None => {
                if !self.begin().await? {
                    self.plugin = None;
                    return Ok(None);
                }
            }
            Some(running) if running.is_over => self.settle()?,
            Some(_) => drop(self.advance().await?),
        }
        Ok(Some(()))
    }
}

/// A control of a sync: where it is in the log, which it does not move.
fn placed(log: &Partition, run: &Run, delta: Delta, control: Control) -> ChangeSet {
    ChangeSet {
        place: Some(Place {
            log: log.clone(),
            order: run.order(),
        }),
        ..ChangeSet::control(delta, control)
    }
}

fn page_delta(partition: &Partition, number: u32) -> Delta {
    let order = |number: u32| Page::new(0, number).order();
    let from: Option<Order> = (number > 1).then(|| order(number - 1));
    Delta::of(partition.clone(), from, Position::at(order(number)))
}

#[async_trait]
impl Reader for Sync {
    async fn next(&mut self) -> Result<Option<Emission>> {
        loop {
            if self.broken.is_some() {
                self.await_handed_out().await;
            }
            if let Some(error) = self.broken.take() {
                return Err(self.tries.failed(error));
            }
            if let Some(size) = self.ready.front().map(|ready| ready.changeset.size_bytes) {
                let reservation = self.cx.memory.reserve(size).await;
                if let Some(Ready { changeset, keep }) = self.ready.pop_front() {
                    if let Some((values, with)) = keep {
                        self.put(values, with);
                    }
                    return Ok(Some(Emission { changeset, reservation }));
                }
            }
            match self.step().await {
                Ok(Some(())) => {}
                Ok(None) => return Ok(None),
                Err(error) => {
                    let every = self.flow.state().every();
                    match every {
                        Some(every) => self.pause(error, every),
                        None => self.broken = Some(error),
                    }
                }
            }
        }
    }
}
