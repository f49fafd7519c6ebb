//! A sync as changesets.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use api::{Context, Emission, Plan, PlannedStream, Reader, Result};
use arrow::array::RecordBatch;
use async_trait::async_trait;
use model::{Batch, ChangeSet, Control, Delta, Order, Page, Partition, Position, StreamId, StreamSchema, StreamState};
use proto::plugin_v3::sync;
use proto::{ConvertError, TableCodec};

use super::flow::{Flow, Next, Run};
use super::messages::{Message, Messages};
use super::tries::Tries;
use super::{CloudQuerySourceSpec, stamp};
use crate::error::Error;
use crate::plugin::{Plugin, SharedPlugin};

/// Emits one sync after the other.
pub(super) struct Sync {
    spec: Arc<CloudQuerySourceSpec>,
    planned: BTreeMap<StreamId, PlannedStream>,
    bytes_max: usize,
    flow: Arc<Flow>,
    plugin: Option<SharedPlugin>,
    tries: Tries,
    cx: Context,
    run: Option<Running>,
    /// Built and not handed out yet.
    ready: VecDeque<ChangeSet>,
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
    is_over: bool,
}

struct Begun {
    schema: Arc<StreamSchema>,
    parent: Option<String>,
    /// The number of the last page.
    page: u32,
}

impl Sync {
    pub(super) fn new(
        spec: Arc<CloudQuerySourceSpec>,
        plan: &Plan,
        flow: Arc<Flow>,
        plugin: Plugin,
        tries: Tries,
        cx: Context,
    ) -> Self {
        Sync {
            spec,
            planned: plan
                .streams
                .iter()
                .map(|stream| (stream.id.clone(), stream.clone()))
                .collect(),
            bytes_max: plan.changeset_bytes_max.max(1),
            flow,
            plugin: Some(Arc::new(plugin)),
            tries,
            cx,
            run: None,
            ready: VecDeque::new(),
        }
    }

    fn is_stopped(&self) -> bool {
        self.cx.stop.is_cancelled() || self.flow.state().is_closed
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
                Next::Begin(run) => {
                    let Some(plugin) = &self.plugin else {
                        return Ok(false);
                    };
                    // Not awaited here: a dropped `next` would lose the run.
                    let messages = Messages::start(Arc::clone(plugin), self.request());
                    self.run = Some(Running {
                        run,
                        messages,
                        begun: Vec::new(),
                        failed: BTreeMap::new(),
                        gathered: Vec::new(),
                        gathered_bytes: 0,
                        is_over: false,
                    });
                    return Ok(true);
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

    fn request(&self) -> sync::Request {
        sync::Request {
            tables: self.planned.keys().map(|stream| stream.name().to_owned()).collect(),
            skip_tables: Vec::new(),
            // The tables are named one by one.
            skip_dependent_tables: true,
            deterministic_cq_id: self.spec.deterministic_cq_id(),
            backend: None,
            shard: None,
            // Without it a failed table is silent, or ends the sync.
            with_error_messages: true,
            supports_checkpoints: false,
        }
    }

    /// Takes in what has arrived and builds changesets from it. `false`: the sync is over and everything is built.
    async fn advance(&mut self) -> Result<bool, Error> {
        let Some(running) = &mut self.run else {
            return Ok(false);
        };
        let first = if running.gathered_bytes >= self.bytes_max {
            None
        } else if running.gathered.is_empty() {
            let stop = self.cx.stop.clone();
            tokio::select! {
                message = running.messages.next() => Some(message),
                () = stop.cancelled() => return Ok(false),
            }
        } else {
            running.messages.arrived().map(Some)
        };
        match first {
            // Nothing more is here, or enough: what has been gathered goes out.
            None => self.flush(),
            Some(None) => {
                self.flush()?;
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
                tracing::error!(
                    plugin = self.spec.source_name(),
                    table,
                    "a table failed in the plugin: {what}"
                );
                if let Some(running) = &mut self.run {
                    running.failed.insert(table, what);
                }
                Ok(())
            }
            Message::Rows(codec, rows) => self.rows(&codec, &rows),
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
        let here = running.run.order();
        // From the beginning: a sync has all of it, so there is nobody for whom something lies in between.
        let delta = Delta::of(self.flow.log.clone(), None, Position::at(here)).with_stream(
            schema.stream().clone(),
            StreamState::reading(running.run.number, bytes::Bytes::new()),
        );
        let control = Control::BeginRead {
            schema: Arc::clone(&schema),
            run: running.run.number,
            destinations: running.run.destinations.clone(),
            empty_first: running.run.empty_first,
        };
        running.begun.push(Begun {
            schema,
            parent: codec.table().parent.clone(),
            page: 0,
        });
        self.ready.push_back(ChangeSet::control(delta, control));
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
        running.gathered_bytes += rows.get_array_memory_size();
        match running.gathered.iter_mut().find(|(of, _)| of.stream() == stream) {
            Some((_, batches)) => batches.push(rows),
            None => running.gathered.push((schema, vec![rows])),
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
        let mut batches = Vec::new();
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
            self.ready.push_back(ChangeSet::rows(delta, batches));
        }
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
        let run = running.run.number;
        let complete = running
            .begun
            .iter()
            .filter(|begun| !running.failed.contains_key(begun.schema.stream().name()));
        self.ready.extend(complete.map(|begun| {
            let stream = begun.schema.stream().clone();
            let delta = Delta::none().with_stream(stream.clone(), StreamState::Live { run });
            ChangeSet::control(delta, Control::EndRead { stream, run })
        }));
    }

    /// After everything was handed out: fails if a table did. What was handed out becomes durable all the same.
    fn settle(&mut self) -> Result<(), Error> {
        let failed = self.run.take().map(|running| running.failed).unwrap_or_default();
        self.tries.succeeded();
        if failed.is_empty() {
            return Ok(());
        }
        let what: Vec<String> = failed
            .iter()
            .map(|(table, what)| format!("`{table}`: {what}"))
            .collect();
        Err(Error::Tables {
            plugin: self.spec.source_name().to_owned(),
            count: failed.len(),
            what: what.join("; "),
        })
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

fn page_delta(partition: &Partition, number: u32) -> Delta {
    let order = |number: u32| Page::new(0, number).order();
    let from: Option<Order> = (number > 1).then(|| order(number - 1));
    Delta::of(partition.clone(), from, Position::at(order(number)))
}

#[async_trait]
impl Reader for Sync {
    async fn next(&mut self) -> Result<Option<Emission>> {
        loop {
            if let Some(size) = self.ready.front().map(|changeset| changeset.size_bytes) {
                let reservation = self.cx.memory.reserve(size).await;
                if let Some(changeset) = self.ready.pop_front() {
                    return Ok(Some(Emission { changeset, reservation }));
                }
            }
            match self.step().await {
                Ok(Some(())) => {}
                Ok(None) => return Ok(None),
                Err(error) => return Err(self.tries.failed(error)),
            }
        }
    }
}
