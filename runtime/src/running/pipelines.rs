//! All pipelines of the process as the outside sees them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use actors::{
    Board, DestinationState, DestinationStatus, Outcome, PipelineState, PipelineStatus, Resync, Resynced, Runtime,
    SharedProgress, SourceStatus, SpoolView, Trouble, Verify,
};
use api::{Budget, Error, Retry};
use model::PipelineId;

use super::jobs::{JobView, Jobs};
use crate::assembly::Blueprint;

/// The pipelines, and what they share. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Running(Arc<Inner>);

struct Inner {
    slots: BTreeMap<String, Slot>,
    started: Instant,
    is_started: AtomicBool,
    config_hash: String,
    memory: Budget,
    jobs: Arc<Jobs>,
}

/// The place of one pipeline.
struct Slot {
    blueprint: Blueprint,
    state: Mutex<SlotState>,
}

enum SlotState {
    /// Its source has not said which streams it has.
    Waiting {
        trouble: Option<(Trouble, Option<Instant>)>,
    },
    /// It has a supervision tree.
    Started(Runtime),
    /// It never got that far.
    Over { trouble: Option<Trouble> },
}

impl Running {
    pub(super) fn new(blueprints: Vec<Blueprint>, memory: Budget, config_hash: String) -> Self {
        let slot = |blueprint: Blueprint| {
            let state = Mutex::new(SlotState::Waiting { trouble: None });
            (blueprint.plan.name.clone(), Slot { blueprint, state })
        };
        Running(Arc::new(Inner {
            slots: blueprints.into_iter().map(slot).collect(),
            started: Instant::now(),
            is_started: AtomicBool::new(false),
            config_hash,
            memory,
            jobs: Arc::default(),
        }))
    }

    /// How every pipeline stands.
    pub(crate) fn status(&self) -> Vec<PipelineStatus> {
        self.0.slots.values().map(|slot| slot.status(self.0.started)).collect()
    }

    /// How one pipeline stands.
    pub(crate) fn status_of(&self, pipeline: &str) -> Option<PipelineStatus> {
        self.0.slots.get(pipeline).map(|slot| slot.status(self.0.started))
    }

    /// The names of the pipelines.
    pub(crate) fn names(&self) -> Vec<&str> {
        self.0.slots.keys().map(String::as_str).collect()
    }

    /// The boards of the pipelines that have been started.
    pub(crate) fn boards(&self) -> Vec<(String, Board)> {
        let runtimes = self.runtimes();
        let boards = runtimes.iter().flat_map(|(_, runtime)| runtime.boards());
        boards
            .map(|(pipeline, board)| (pipeline.to_string(), board.clone()))
            .collect()
    }

    /// Reads streams again.
    pub(crate) async fn resync(&self, pipeline: &str, request: Resync) -> Result<Resynced, Error> {
        let runtime = self.0.slots.get(pipeline).and_then(Slot::runtime);
        match runtime {
            Some(runtime) => runtime.resync(&PipelineId::new(pipeline), request).await,
            None => Err(Error::new(
                "E0710",
                Retry::Operator,
                format!("cannot resync `{pipeline}`: it has not started"),
            )
            .hint("`highwater status` shows what it waits for")),
        }
    }

    /// Starts comparing what the source has with what destinations hold. Returns the job's number, or that of the one which
    /// does it already for the pipeline.
    pub(crate) fn verify(&self, pipeline: &str, request: Verify) -> Result<std::result::Result<u64, u64>, Error> {
        let Some(runtime) = self.0.slots.get(pipeline).and_then(Slot::runtime) else {
            return Err(Error::new(
                "E0710",
                Retry::Operator,
                format!("cannot verify `{pipeline}`: it has not started"),
            )
            .hint("`highwater status` shows what it waits for"));
        };
        let (id, progress) = (PipelineId::new(pipeline), SharedProgress::default());
        let shared = Arc::clone(&progress);
        let work = async move { runtime.verify(&id, request, shared).await };
        Ok(Jobs::start(&self.0.jobs, pipeline, progress, work))
    }

    /// How a job stands.
    pub(crate) fn job(&self, job: u64) -> Option<JobView> {
        self.0.jobs.view(job)
    }

    /// Ends a job.
    pub(crate) fn cancel_job(&self, job: u64) {
        self.0.jobs.cancel(job);
    }

    /// Every destination commits what it has, now.
    pub(super) fn flush(&self) {
        self.runtimes().iter().for_each(|(_, runtime)| runtime.flush());
    }

    /// The memory budget.
    pub(crate) fn memory(&self) -> &Budget {
        &self.0.memory
    }

    /// Which configuration runs.
    pub(crate) fn config_hash(&self) -> &str {
        &self.0.config_hash
    }

    /// Since when.
    pub(crate) fn up_seconds(&self) -> f64 {
        self.0.started.elapsed().as_secs_f64()
    }

    /// Whether every pipeline was started, or waits for its source.
    pub(crate) fn is_started(&self) -> bool {
        self.0.is_started.load(Ordering::Acquire)
    }

    pub(super) fn set_started(&self) {
        self.0.is_started.store(true, Ordering::Release);
    }

    pub(super) fn runtimes(&self) -> Vec<(&str, Runtime)> {
        let slots = self.0.slots.iter();
        slots
            .filter_map(|(name, slot)| Some((name.as_str(), slot.runtime()?)))
            .collect()
    }

    pub(super) fn set_waiting(&self, pipeline: &str, trouble: Trouble, next_try: Option<Instant>) {
        self.set(
            pipeline,
            SlotState::Waiting {
                trouble: Some((trouble, next_try)),
            },
        );
    }

    pub(super) fn set_runtime(&self, pipeline: &str, runtime: Runtime) {
        self.set(pipeline, SlotState::Started(runtime));
    }

    pub(super) fn set_over(&self, pipeline: &str, trouble: Option<Trouble>) {
        self.set(pipeline, SlotState::Over { trouble });
    }

    fn set(&self, pipeline: &str, state: SlotState) {
        if let Some(slot) = self.0.slots.get(pipeline) {
            *slot.state.lock().unwrap_or_else(PoisonError::into_inner) = state;
        }
    }
}

/// A failure, as shown.
pub(super) fn trouble(error: &Error, attempt: u32) -> Trouble {
    Trouble {
        code: error.code().to_owned(),
        error: error.chain(),
        hint: error.remedy().map(str::to_owned),
        retry: error.retry().name(),
        attempt,
        next_try_seconds: None,
    }
}

/// Why a pipeline ended, if that was a failure.
pub(super) fn failure_of(outcome: &Outcome) -> Option<&Error> {
    match outcome {
        Outcome::Drained => None,
        Outcome::Failed(error) | Outcome::Fenced(error) => Some(error),
    }
}

impl Slot {
    fn runtime(&self) -> Option<Runtime> {
        match &*self.state.lock().unwrap_or_else(PoisonError::into_inner) {
            SlotState::Started(runtime) => Some(runtime.clone()),
            _ => None,
        }
    }

    fn status(&self, started: Instant) -> PipelineStatus {
        let (state, destination_state, trouble) = match &*self.state.lock().unwrap_or_else(PoisonError::into_inner) {
            SlotState::Started(runtime) => {
                if let Some(status) = runtime.status().into_iter().next() {
                    return status;
                }
                (PipelineState::Stopped, DestinationState::Stopped, None)
            }
            SlotState::Waiting { trouble } => {
                let trouble = trouble.as_ref().map(|(trouble, next_try)| Trouble {
                    next_try_seconds: next_try.map(|at| at.saturating_duration_since(Instant::now()).as_secs_f64()),
                    ..trouble.clone()
                });
                let state = if trouble.is_some() {
                    PipelineState::Degraded
                } else {
                    PipelineState::Starting
                };
                (state, DestinationState::Starting, trouble)
            }
            SlotState::Over { trouble } => {
                let state = if trouble.is_some() {
                    PipelineState::Failed
                } else {
                    PipelineState::Stopped
                };
                (state, DestinationState::Stopped, trouble.clone())
            }
        };
        self.empty_status(state, destination_state, trouble, started)
    }

    /// What can be said of a pipeline that has moved nothing.
    fn empty_status(
        &self,
        state: PipelineState,
        destination_state: DestinationState,
        trouble: Option<Trouble>,
        started: Instant,
    ) -> PipelineStatus {
        let plan = &self.blueprint.plan;
        let destination = |plan: &config::DestinationPlan| DestinationStatus {
            destination: plan.name.clone(),
            connector: plan.connector.clone(),
            guarantee: plan.guarantee.clone(),
            state: destination_state,
            lag_seconds: None,
            lag_rows: None,
            lag_bytes: None,
            durable: BTreeMap::new(),
            durable_timestamp_seconds: None,
            rows: 0,
            rows_by_stream: BTreeMap::new(),
            rows_per_second: 0.0,
            commits: 0,
            generation: 0,
            errors: 0,
            trouble: None,
        };
        PipelineStatus {
            pipeline: plan.name.clone(),
            state,
            up_seconds: started.elapsed().as_secs_f64(),
            source: SourceStatus {
                slot: None,
                connector: plan.source.connector.clone(),
                head: BTreeMap::new(),
                received: BTreeMap::new(),
                acknowledged: BTreeMap::new(),
                head_timestamp_seconds: None,
                probed_timestamp_seconds: None,
                rows: 0,
                rows_per_second: 0.0,
            },
            destinations: plan.destinations.iter().map(destination).collect(),
            streams: Vec::new(),
            trouble_by_stream: BTreeMap::new(),
            spool: SpoolView::default(),
            trouble,
        }
    }
}
