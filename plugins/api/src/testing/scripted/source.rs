use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow::datatypes::Field;
use async_trait::async_trait;
use model::{Checkpoint, DestinationId, Mark, Order, Partition, StreamId, StreamSchema, StreamState};

use super::reader::ScriptedReader;
use super::reads::{Read, StreamRead};
use super::{Key, Script, State};
use crate::{
    Context, Error, Head, HeadMark, Held, LagUnit, Opened, Plan, PlannedStream, ReadExisting, ReadProgress, Result,
    Retry, Snapshot, Source, SourceCapabilities, SourceControl, Verdict,
};

/// A source that reads a [`Script`].
pub struct ScriptedSource {
    script: Script,
}

impl ScriptedSource {
    pub(super) fn new(script: Script) -> Self {
        ScriptedSource { script }
    }
}

/// What reader and control share.
pub(super) struct Flow {
    pub(super) script: Script,
    pub(super) log: Partition,
    pub(super) schemas: BTreeMap<StreamId, Arc<StreamSchema>>,
    skipped: BTreeSet<StreamId>,
    pub(super) bytes_max: usize,
    state: Mutex<FlowState>,
}

/// Reads that wait or go on, first come, first served.
#[derive(Default)]
pub(super) struct FlowState {
    pub(super) reads: VecDeque<Read>,
    pub(super) is_closed: bool,
}

impl Flow {
    pub(super) fn state(&self) -> MutexGuard<'_, FlowState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Source for ScriptedSource {
    fn capabilities(&self) -> SourceCapabilities {
        SourceCapabilities {
            deletes: true,
            old_images: true,
            unavailable: false,
            is_bounded: self.script.state().is_finished,
            rereads: false,
            cursors_elsewhere: false,
        }
    }

    async fn discover(&self) -> Result<Vec<Arc<StreamSchema>>> {
        let state = self.script.state();
        Ok(state
            .streams
            .values()
            .map(|stream| Arc::clone(&stream.schema))
            .collect())
    }

    async fn open(&self, plan: &Plan, held: &[Held], cx: Context) -> Result<Opened> {
        let mut state = self.script.state();
        let log = Partition::log(state.log_id());
        let mut verdicts = BTreeMap::new();
        let mut going_on: Vec<&Checkpoint> = Vec::new();
        for held in held {
            let verdict = state.verdict(&log, held);
            if matches!(verdict, Verdict::Continue) {
                going_on.push(&held.checkpoint);
            }
            verdicts.insert(held.destination.clone(), verdict);
        }
        let runs = held
            .iter()
            .flat_map(|held| held.checkpoint.streams.values().map(StreamState::run));
        state.last_run = runs.fold(state.last_run, u32::max);
        let schemas = planned_schemas(&state, plan)?;
        let reads = resumed(&schemas, held, &verdicts);
        let marks = going_on.iter().filter_map(|checkpoint| mark(checkpoint, &log));
        let position = marks.min().unwrap_or(state.head);
        let identity = state.log_id();
        drop(state);
        let skipped = plan.streams.iter().filter(|stream| stream.snapshot == Snapshot::Skip);
        let flow = Arc::new(Flow {
            script: self.script.clone(),
            log,
            schemas,
            skipped: skipped.map(|stream| stream.id.clone()).collect(),
            bytes_max: plan.changeset_bytes_max,
            state: Mutex::new(FlowState {
                reads,
                is_closed: false,
            }),
        });
        Ok(Opened {
            verdicts,
            reader: Box::new(ScriptedReader::new(Arc::clone(&flow), position, cx)),
            control: Arc::new(ScriptedControl { flow }),
            identity,
        })
    }
}

fn mark(checkpoint: &Checkpoint, log: &Partition) -> Option<u64> {
    match checkpoint.mark(log) {
        Mark::At(order) => Some(order.key()),
        Mark::NotBegun | Mark::Finished => None,
    }
}

impl State {
    fn verdict(&self, log: &Partition, held: &Held) -> Verdict {
        let (checkpoint, who) = (&held.checkpoint, &held.destination);
        let error = |what: String| Error::new("E0299", Retry::Operator, what).hint("resync that destination");
        match mark(checkpoint, log) {
            _ if checkpoint.is_empty() => Verdict::Continue,
            None => Verdict::OtherHistory(error(format!(
                "cannot resume `{who}`: {checkpoint:?} is not of `{log}`"
            ))),
            Some(at) if at < self.pruned_to => {
                let begin = self.pruned_to;
                Verdict::PositionLost(error(format!(
                    "cannot resume `{who}` at {at}: the log begins after {begin}"
                )))
            }
            Some(_) => Verdict::Continue,
        }
    }
}

fn planned_schemas(state: &State, plan: &Plan) -> Result<BTreeMap<StreamId, Arc<StreamSchema>>> {
    let planned = |stream: &PlannedStream| {
        let found = state.streams.get(&stream.id).ok_or_else(|| {
            Error::new(
                "E0299",
                Retry::Operator,
                format!("cannot read `{}`: there is no such stream", stream.id),
            )
        })?;
        let fields = found.schema.arrow().fields().iter();
        let kept = fields.filter(|field| !stream.exclude.contains(field.name()));
        let kept: Vec<Field> = kept.map(|field| Field::clone(field)).collect();
        let schema = StreamSchema::new(stream.id.clone(), kept, found.schema.key_names()).map_err(|error| {
            Error::new("E0299", Retry::Operator, format!("cannot read `{}`", stream.id)).caused_by(error)
        })?;
        Ok((stream.id.clone(), Arc::new(schema)))
    };
    plan.streams.iter().map(planned).collect()
}

/// The reads that some checkpoint says are going on, with the pages that somebody lacks.
fn resumed(
    schemas: &BTreeMap<StreamId, Arc<StreamSchema>>,
    held: &[Held],
    verdicts: &BTreeMap<DestinationId, Verdict>,
) -> VecDeque<Read> {
    let mut reads: BTreeMap<u32, BTreeMap<StreamId, StreamRead>> = BTreeMap::new();
    let goes_on = |held: &&Held| matches!(verdicts.get(&held.destination), Some(Verdict::Continue));
    for held in held.iter().filter(goes_on) {
        for (stream, state) in &held.checkpoint.streams {
            let (StreamState::Reading { run, ranges, given_up }, Some(schema)) = (state, schemas.get(stream)) else {
                continue;
            };
            let bounds: Vec<Key> = serde_json::from_slice(ranges).unwrap_or_default();
            let partition = Partition::Range {
                stream: stream.clone(),
                run: *run,
                range: 0,
            };
            let read = reads
                .entry(*run)
                .or_default()
                .entry(stream.clone())
                .or_insert_with(|| StreamRead {
                    schema: Arc::clone(schema),
                    bounds: Some(bounds.clone()),
                    todo: BTreeSet::new(),
                    row_count: 0,
                    is_skipped: false,
                });
            let held_to = mark(&held.checkpoint, &partition).unwrap_or(0) as u32;
            read.todo.extend(held_to + 1..=bounds.len() as u32 + 1);
            read.todo.extend(given_up.iter().map(|page| page.number));
        }
    }
    let read = |(run, streams): (u32, BTreeMap<StreamId, StreamRead>)| Read {
        run,
        destinations: None,
        empty_first: false,
        streams: streams.into_values().collect(),
    };
    reads.into_iter().map(read).collect()
}

struct ScriptedControl {
    flow: Arc<Flow>,
}

#[async_trait]
impl SourceControl for ScriptedControl {
    async fn head(&self) -> Result<Head> {
        let state = self.flow.script.state();
        let Partition::Log(log) = &self.flow.log else {
            return Err(Error::new(
                "E0299",
                Retry::Never,
                "cannot tell the head: the log is a range",
            ));
        };
        Ok(Head {
            marks: vec![HeadMark {
                log: Arc::clone(log),
                order: Order::new(0, state.head, 0),
                time: state.log.last().map(|entry| entry.time),
            }],
            unit: LagUnit::Rows,
        })
    }

    async fn acknowledge(&self, everywhere: &Checkpoint) -> Result<()> {
        let mut state = self.flow.script.state();
        if let Some(at) = mark(everywhere, &self.flow.log) {
            state.pruned_to = state.pruned_to.max(at.min(state.head));
            let pruned_to = state.pruned_to;
            state.log.retain(|entry| entry.order > pruned_to);
        }
        Ok(())
    }

    async fn read_existing(&self, request: ReadExisting) -> Result<u32> {
        let mut streams = VecDeque::new();
        for id in &request.streams {
            let schema = self.flow.schemas.get(id).ok_or_else(|| {
                Error::new(
                    "E0299",
                    Retry::Operator,
                    format!("cannot read `{id}`: it is not in the plan"),
                )
            })?;
            streams.push_back(StreamRead {
                schema: Arc::clone(schema),
                bounds: None,
                todo: BTreeSet::new(),
                row_count: 0,
                is_skipped: self.flow.skipped.contains(id),
            });
        }
        let mut state = self.flow.script.state();
        state.last_run += 1;
        let run = state.last_run;
        drop(state);
        self.flow.state().reads.push_back(Read {
            run,
            destinations: request.destinations,
            empty_first: request.empty_first,
            streams,
        });
        self.flow.script.0.changed.notify_waiters();
        Ok(run)
    }

    async fn reads(&self) -> Vec<ReadProgress> {
        let state = self.flow.state();
        let progress = |read: &Read| {
            let of_stream = |stream: &StreamRead| ReadProgress {
                stream: stream.schema.stream().clone(),
                run: read.run,
                row_count: stream.row_count,
                row_count_estimated: None,
            };
            read.streams.iter().map(of_stream).collect::<Vec<_>>()
        };
        state.reads.iter().flat_map(progress).collect()
    }

    async fn close(&self) -> Result<()> {
        self.flow.state().is_closed = true;
        self.flow.script.0.changed.notify_waiters();
        Ok(())
    }
}
