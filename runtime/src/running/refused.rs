//! A start at which nothing could be opened: it ends like any other wrong environment, instead of waiting for somebody to
//! look at a log.

use std::time::Duration;

use actors::{DestinationState, PipelineState, PipelineStatus, Trouble};

use super::Running;
use super::caught_up::waits_for_operator;

impl Running {
    /// Waits until it is clear that nothing could be opened at all, and says why; never ends if something could.
    /// Cancel-safe.
    pub(crate) async fn refused(&self) -> Vec<(String, Trouble)> {
        let mut interval = tokio::time::interval(Duration::from_millis(50));
        loop {
            interval.tick().await;
            if let Some(refusals) = refusals(&self.status()) {
                return refusals;
            }
        }
    }
}

/// What keeps every single pipeline from its first destination or from its source; `None` as long as anything may still
/// come up, and for ever once something has.
fn refusals(pipelines: &[PipelineStatus]) -> Option<Vec<(String, Trouble)>> {
    let refusals: Vec<_> = pipelines.iter().map(refusal).collect::<Option<_>>()?;
    let refusals: Vec<_> = refusals.into_iter().flatten().collect();
    (!refusals.is_empty()).then_some(refusals)
}

fn refusal(pipeline: &PipelineStatus) -> Option<Vec<(String, Trouble)>> {
    if pipeline.state == PipelineState::Failed {
        return Some(Vec::new());
    }
    // A source that could be opened once was asked for its head.
    if waits_for_operator(pipeline) && pipeline.source.probed_timestamp_seconds.is_none() {
        return Some(
            pipeline
                .trouble
                .iter()
                .map(|trouble| (pipeline.pipeline.clone(), trouble.clone()))
                .collect(),
        );
    }
    let refused = pipeline.destinations.iter().map(|destination| {
        let was_refused = destination.state == DestinationState::Parked && destination.generation == 0;
        let name = format!("{}/{}", pipeline.pipeline, destination.destination);
        destination
            .trouble
            .clone()
            .filter(|_| was_refused)
            .map(|trouble| (name, trouble))
    });
    refused.collect()
}
