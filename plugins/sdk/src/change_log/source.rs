use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use api::{
    Context, Error, Head, HeadMark, Held, LagUnit, Opened, Plan, PlannedStream, ReadExisting, ReadProgress, Result,
    Retry, Snapshot, Source, SourceCapabilities, SourceControl, Verdict,
};
use arrow::datatypes::Field;
use async_trait::async_trait;
use model::{Checkpoint, DestinationId, Mark, Partition, StreamId, StreamSchema, StreamState};

use super::ChangeLog;
use super::reader::LogReader;

/// A source that reads a [`ChangeLog`].
pub struct LogSource<L>(Arc<L>);

impl<L: ChangeLog> LogSource<L> {
    /// On this system.
    pub fn new(log: L) -> Self {
        LogSource(Arc::new(log))
    }
}

/// What reader and control share.
pub(super) struct Flow<L> {
    pub(super) log: Arc<L>,
    pub(super) partition: Partition,
    pub(super) schemas: BTreeMap<StreamId, Arc<StreamSchema>>,
    /// Tables whose existing rows nobody wants.
    skipped: BTreeSet<StreamId>,
    pub(super) bytes_max: usize,
    state: Mutex<FlowState>,
}

pub(super) struct FlowState {
    /// Reads that wait or go on, first come, first served.
    pub(super) reads: VecDeque<Read>,
    /// The number of the newest.
    last_run: u32,
    pub(super) is_closed: bool,
}

/// One numbered read.
pub(super) struct Read {
    pub(super) run: u32,
    pub(super) destinations: Option<Vec<DestinationId>>,
    pub(super) empty_first: bool,
    /// Those whose end was not told yet, in order.
    pub(super) tables: VecDeque<TableRead>,
}

/// One table of a read. It has one page.
pub(super) struct TableRead {
    pub(super) schema: Arc<StreamSchema>,
    pub(super) has_begun: bool,
    /// Whether somebody lacks its page.
    pub(super) is_wanted: bool,
    pub(super) row_count: u64,
}

impl<L> Flow<L> {
    pub(super) fn state(&self) -> MutexGuard<'_, FlowState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// For each table, the reads that have begun and not ended.
    pub(super) fn reading(&self) -> BTreeMap<StreamId, Vec<u32>> {
        let mut reading: BTreeMap<StreamId, Vec<u32>> = BTreeMap::new();
        for read in &self.state().reads {
            for table in read.tables.iter().filter(|table| table.has_begun) {
                reading.entry(table.schema.stream().clone()).or_default().push(read.run);
            }
        }
        reading
    }
}

#[async_trait]
impl<L: ChangeLog> Source for LogSource<L> {
    fn capabilities(&self) -> SourceCapabilities {
        SourceCapabilities {
            deletes: true,
            old_images: true,
            unavailable: false,
            is_bounded: false,
            rereads: false,
            cursors_elsewhere: false,
        }
    }

    async fn discover(&self) -> Result<Vec<Arc<StreamSchema>>> {
        self.0.tables().await
    }

    async fn open(&self, plan: &Plan, held: &[Held], cx: Context) -> Result<Opened> {
        let identity = self.0.identity().await?;
        let (head, gone) = (self.0.head().await?, self.0.gone().await?);
        let partition = Partition::log(identity.as_str());
        let verdicts: BTreeMap<DestinationId, Verdict> = held
            .iter()
            .map(|held| (held.destination.clone(), verdict(held, &partition, gone)))
            .collect();
        let going_on = held
            .iter()
            .filter(|held| matches!(verdicts.get(&held.destination), Some(Verdict::Continue)));
        let marks = going_on.clone().filter_map(|held| mark(&held.checkpoint, &partition));
        let position = marks.min().unwrap_or(head);
        let schemas = planned(&self.0.tables().await?, plan)?;
        let streams = held.iter().flat_map(|held| held.checkpoint.streams.values());
        let skipped = plan.streams.iter().filter(|stream| stream.snapshot == Snapshot::Skip);
        let flow = Arc::new(Flow {
            log: Arc::clone(&self.0),
            partition,
            skipped: skipped.map(|stream| stream.id.clone()).collect(),
            bytes_max: plan.changeset_bytes_max,
            state: Mutex::new(FlowState {
                reads: resumed(&schemas, going_on),
                last_run: streams.map(StreamState::run).max().unwrap_or(0),
                is_closed: false,
            }),
            schemas,
        });
        Ok(Opened {
            verdicts,
            reader: Box::new(LogReader::new(Arc::clone(&flow), position, cx)),
            control: Arc::new(LogControl { flow }),
            identity,
        })
    }
}

fn mark(checkpoint: &Checkpoint, partition: &Partition) -> Option<u64> {
    match checkpoint.mark(partition) {
        Mark::At(order) => Some(order.key()),
        Mark::NotBegun | Mark::Finished => None,
    }
}

fn verdict(held: &Held, partition: &Partition, gone: u64) -> Verdict {
    let (checkpoint, who) = (&held.checkpoint, &held.destination);
    let error = |what: String| Error::new("E0621", Retry::Operator, what).hint("resync that destination");
    match mark(checkpoint, partition) {
        _ if checkpoint.is_empty() => Verdict::Continue,
        None => Verdict::OtherHistory(error(format!(
            "cannot resume `{who}`: {checkpoint:?} is not of `{partition}`"
        ))),
        Some(at) if at < gone => Verdict::PositionLost(error(format!(
            "cannot resume `{who}` at {at}: the log begins after {gone}"
        ))),
        Some(_) => Verdict::Continue,
    }
}

/// The planned tables, without the columns that are left out.
fn planned(tables: &[Arc<StreamSchema>], plan: &Plan) -> Result<BTreeMap<StreamId, Arc<StreamSchema>>> {
    let of_plan = |planned: &PlannedStream| {
        let id = &planned.id;
        let refused = |what: &str| Error::new("E0622", Retry::Operator, format!("cannot read `{id}`: {what}"));
        let found = tables.iter().find(|table| table.stream() == id);
        let found = found.ok_or_else(|| refused("there is no such table"))?;
        if !found.has_key() {
            return Err(refused("it has no key"));
        }
        let fields = found.arrow().fields().iter();
        let kept = fields.filter(|field| !planned.exclude.contains(field.name()));
        let kept: Vec<Field> = kept.map(|field| Field::clone(field)).collect();
        let schema = StreamSchema::new(id.clone(), kept, found.key_names());
        let schema = schema.map_err(|error| refused("its columns and its key do not fit").caused_by(error))?;
        Ok((id.clone(), Arc::new(schema)))
    };
    plan.streams.iter().map(of_plan).collect()
}

/// The reads that some checkpoint says are going on.
fn resumed<'a>(
    schemas: &BTreeMap<StreamId, Arc<StreamSchema>>,
    going_on: impl Iterator<Item = &'a Held>,
) -> VecDeque<Read> {
    let mut reads: BTreeMap<u32, BTreeMap<StreamId, TableRead>> = BTreeMap::new();
    for held in going_on {
        for (stream, state) in &held.checkpoint.streams {
            let (StreamState::Reading { run, .. }, Some(schema)) = (state, schemas.get(stream)) else {
                continue;
            };
            let page = Partition::Range {
                stream: stream.clone(),
                run: *run,
                range: 0,
            };
            let table = reads.entry(*run).or_default().entry(stream.clone());
            let table = table.or_insert_with(|| TableRead {
                schema: Arc::clone(schema),
                has_begun: true,
                is_wanted: false,
                row_count: 0,
            });
            table.is_wanted |= mark(&held.checkpoint, &page).is_none();
        }
    }
    let read = |(run, tables): (u32, BTreeMap<StreamId, TableRead>)| Read {
        run,
        destinations: None,
        empty_first: false,
        tables: tables.into_values().collect(),
    };
    reads.into_iter().map(read).collect()
}

struct LogControl<L> {
    flow: Arc<Flow<L>>,
}

#[async_trait]
impl<L: ChangeLog> SourceControl for LogControl<L> {
    async fn head(&self) -> Result<Head> {
        let head = self.flow.log.head().await?;
        let marks = match &self.flow.partition {
            Partition::Log(log) => vec![HeadMark {
                log: Arc::clone(log),
                order: model::Order::new(0, head, 0),
                time: None,
            }],
            Partition::Range { .. } => Vec::new(),
        };
        Ok(Head {
            marks,
            unit: LagUnit::Rows,
        })
    }

    async fn acknowledge(&self, everywhere: &Checkpoint) -> Result<()> {
        match mark(everywhere, &self.flow.partition) {
            Some(at) => self.flow.log.release(at).await,
            None => Ok(()),
        }
    }

    async fn read_existing(&self, request: ReadExisting) -> Result<u32> {
        let mut tables = VecDeque::new();
        for id in &request.streams {
            let schema = self.flow.schemas.get(id).ok_or_else(|| {
                let message = format!("cannot read `{id}`: it is not in the plan");
                Error::new("E0622", Retry::Operator, message)
            })?;
            tables.push_back(TableRead {
                schema: Arc::clone(schema),
                has_begun: false,
                is_wanted: !self.flow.skipped.contains(id),
                row_count: 0,
            });
        }
        let mut state = self.flow.state();
        state.last_run += 1;
        let run = state.last_run;
        state.reads.push_back(Read {
            run,
            destinations: request.destinations,
            empty_first: request.empty_first,
            tables,
        });
        Ok(run)
    }

    async fn reads(&self) -> Vec<ReadProgress> {
        let state = self.flow.state();
        let of_read = |read: &Read| {
            let of_table = |table: &TableRead| ReadProgress {
                stream: table.schema.stream().clone(),
                run: read.run,
                row_count: table.row_count,
                row_count_estimated: None,
            };
            read.tables.iter().map(of_table).collect::<Vec<_>>()
        };
        state.reads.iter().flat_map(of_read).collect()
    }

    async fn close(&self) -> Result<()> {
        self.flow.state().is_closed = true;
        Ok(())
    }
}
