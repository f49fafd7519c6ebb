//! When a bounded run is done: every destination has everything up to a head, or cannot get there by itself.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actors::{DestinationState, DestinationStatus, PipelineState, PipelineStatus};
use api::{Head, HeadMark, LagUnit, Retry};

use super::Running;

/// Where a bounded run ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Goal {
    /// At the source's head as it was first seen.
    FirstHead,
    /// At the source's head, wherever that is by then.
    NewestHead,
}

impl Running {
    /// Waits until a bounded run is over. Cancel-safe.
    pub(crate) async fn caught_up(&self, goal: Goal) {
        let mut watch = CaughtUp::new(goal);
        let mut interval = tokio::time::interval(Duration::from_millis(50));
        loop {
            interval.tick().await;
            if watch.is_over(self) {
                return;
            }
        }
    }
}

/// Watches for the end of a bounded run.
struct CaughtUp {
    goal: Goal,
    /// By pipeline, the head that has to be reached.
    heads: BTreeMap<String, Head>,
    flushed: Option<Instant>,
}

/// While some destination is stuck the others are judged by what is durable, so they are told to commit.
const FLUSH_INTERVAL: Duration = Duration::from_secs(1);

impl CaughtUp {
    fn new(goal: Goal) -> Self {
        CaughtUp {
            goal,
            heads: BTreeMap::new(),
            flushed: None,
        }
    }

    /// Whether every pipeline is done or stuck.
    fn is_over(&mut self, running: &Running) -> bool {
        let boards: BTreeMap<_, _> = running.boards().into_iter().collect();
        // Every head is noted, also while another pipeline is the reason to go on.
        let (mut is_over, mut must_flush) = (true, false);
        for status in running.status() {
            let has_ended = matches!(status.state, PipelineState::Failed | PipelineState::Stopped);
            let is_done = match self.head(&status) {
                _ if has_ended || waits_for_operator(&status) => true,
                None => false,
                Some(head)
                    if boards
                        .get(&status.pipeline)
                        .is_some_and(|board| board.has_accepted(head)) =>
                {
                    true
                }
                Some(head) => {
                    let (stuck, others): (Vec<_>, Vec<_>) = status.destinations.iter().partition(|d| is_stuck(d));
                    must_flush |= !stuck.is_empty();
                    !stuck.is_empty() && others.iter().all(|destination| is_durable(&status, destination, head))
                }
            };
            is_over &= is_done;
        }
        if must_flush && !is_over && self.flushed.is_none_or(|at| at.elapsed() >= FLUSH_INTERVAL) {
            self.flushed = Some(Instant::now());
            running.flush();
        }
        is_over
    }

    fn head(&mut self, status: &PipelineStatus) -> Option<&Head> {
        // A pipeline of which every destination is stuck may never get so far as to ask for a head.
        if status.source.probed_timestamp_seconds.is_none() && !status.destinations.iter().all(is_stuck) {
            return None;
        }
        let mark = |(log, order): (&String, &model::Order)| HeadMark {
            log: Arc::from(log.as_str()),
            order: *order,
            time: None,
        };
        let newest = || Head {
            marks: status.source.head.iter().map(mark).collect(),
            unit: LagUnit::None,
        };
        let noted = self.heads.entry(status.pipeline.clone()).or_insert_with(newest);
        if self.goal == Goal::NewestHead {
            *noted = newest();
        }
        Some(noted)
    }
}

/// Whether its source moves no more without somebody's help.
pub(super) fn waits_for_operator(status: &PipelineStatus) -> bool {
    status
        .trouble
        .as_ref()
        .is_some_and(|trouble| trouble.retry == Retry::Operator.name())
}

/// Whether it moves no more without somebody's help.
pub(super) fn is_stuck(destination: &DestinationStatus) -> bool {
    matches!(
        destination.state,
        DestinationState::Parked | DestinationState::NeedsResync | DestinationState::Stopped
    )
}

fn is_durable(status: &PipelineStatus, destination: &DestinationStatus, head: &Head) -> bool {
    let is_there = |mark: &HeadMark| {
        destination
            .durable
            .get(&*mark.log)
            .is_some_and(|durable| *durable >= mark.order)
    };
    let is_live = |name: &str| {
        status
            .streams
            .iter()
            .all(|s| s.destinations.get(name).is_some_and(|word| *word == "live"))
    };
    head.marks.iter().all(is_there) && is_live(&destination.destination)
}
