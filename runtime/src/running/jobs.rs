//! Work that takes long: somebody asks for it, comes back for its outcome, and may end it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use actors::{SharedProgress, Verified};
use api::Error;
use serde::{Deserialize, Serialize};
use tokio_util::task::AbortOnDropHandle;

/// Jobs that are remembered. An outcome can hold thousands of keys, and who wants it comes back soon.
const JOBS_MAX: usize = 16;

/// All jobs of the process.
#[derive(Default)]
pub(super) struct Jobs(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    last: u64,
    jobs: BTreeMap<u64, Job>,
}

struct Job {
    pipeline: String,
    progress: SharedProgress,
    state: State,
}

enum State {
    Running(#[allow(dead_code, reason = "held for its drop")] Option<AbortOnDropHandle<()>>),
    Done(Box<Verified>),
    Failed(JobError),
    Cancelled,
}

/// How a job stands, as the HTTP API shows it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct JobView {
    /// Its number.
    pub(crate) job: u64,
    /// What it does.
    pub(crate) kind: String,
    /// For which pipeline.
    pub(crate) pipeline: String,
    /// `running`, `done`, `failed` or `cancelled`.
    pub(crate) state: JobState,
    /// How far it is.
    pub(crate) progress: ProgressView,
    /// What came of it, when it is done.
    pub(crate) result: Option<Verified>,
    /// Why it failed.
    pub(crate) error: Option<JobError>,
}

/// The state of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum JobState {
    /// It goes on.
    Running,
    /// It has a result.
    Done,
    /// It has an error.
    Failed,
    /// It was ended.
    Cancelled,
}

/// How far a job is.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ProgressView {
    /// A clause: `comparing orders`.
    pub(crate) doing: String,
    /// Rows read at the source.
    pub(crate) source_rows: u64,
    /// Rows read back at destinations.
    pub(crate) destination_rows: u64,
}

/// Why a job failed.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct JobError {
    /// The stable code.
    pub(crate) code: String,
    /// The whole chain on one line.
    pub(crate) message: String,
    /// What to do.
    pub(crate) hint: Option<String>,
}

impl From<&Error> for JobError {
    fn from(error: &Error) -> Self {
        JobError {
            code: error.code().to_owned(),
            message: error.chain(),
            hint: error.remedy().map(str::to_owned),
        }
    }
}

impl Jobs {
    /// Nothing is left half-done by a panic inside these short sections.
    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts a job, unless one goes on for that pipeline: its number is the error.
    pub(super) fn start(
        jobs: &Arc<Self>,
        pipeline: &str,
        progress: SharedProgress,
        work: impl Future<Output = Result<Verified, Error>> + Send + 'static,
    ) -> Result<u64, u64> {
        let mut kept = jobs.lock();
        let goes_on = |job: &Job| job.pipeline == pipeline && matches!(job.state, State::Running(_));
        if let Some((id, _)) = kept.jobs.iter().find(|(_, job)| goes_on(job)) {
            return Err(*id);
        }
        kept.last += 1;
        let id = kept.last;
        let job = Job {
            pipeline: pipeline.to_owned(),
            progress,
            state: State::Running(None),
        };
        kept.jobs.insert(id, job);
        while kept.jobs.len() > JOBS_MAX {
            let over = kept
                .jobs
                .iter()
                .find(|(_, job)| !matches!(job.state, State::Running(_)));
            match over.map(|(id, _)| *id) {
                Some(oldest) => kept.jobs.remove(&oldest),
                None => break,
            };
        }
        let ends = Arc::clone(jobs);
        let handle = tokio::spawn(async move {
            let state = match work.await {
                Ok(verified) => State::Done(Box::new(verified)),
                Err(error) => {
                    tracing::warn!(
                        job = id,
                        code = error.code(),
                        error = error.chain(),
                        "verification failed"
                    );
                    State::Failed(JobError::from(&error))
                }
            };
            if let Some(job) = ends.lock().jobs.get_mut(&id) {
                job.state = state;
            }
        });
        // The lock is held, so the work has not ended yet as far as its state tells.
        if let Some(job) = kept.jobs.get_mut(&id) {
            job.state = State::Running(Some(AbortOnDropHandle::new(handle)));
        }
        Ok(id)
    }

    /// Ends a job. `false` if there is none of that number.
    pub(super) fn cancel(&self, id: u64) -> bool {
        let mut kept = self.lock();
        let Some(job) = kept.jobs.get_mut(&id) else {
            return false;
        };
        if matches!(job.state, State::Running(_)) {
            job.state = State::Cancelled;
        }
        true
    }

    /// How a job stands.
    pub(super) fn view(&self, id: u64) -> Option<JobView> {
        let kept = self.lock();
        let job = kept.jobs.get(&id)?;
        let (state, result, error) = match &job.state {
            State::Running(_) => (JobState::Running, None, None),
            State::Done(verified) => (JobState::Done, Some(verified.as_ref().clone()), None),
            State::Failed(error) => (JobState::Failed, None, Some(error.clone())),
            State::Cancelled => (JobState::Cancelled, None, None),
        };
        Some(JobView {
            job: id,
            kind: "verify".to_owned(),
            pipeline: job.pipeline.clone(),
            state,
            progress: ProgressView {
                doing: job.progress.doing(),
                source_rows: job.progress.source_rows(),
                destination_rows: job.progress.destination_rows(),
            },
            result,
            error,
        })
    }
}
