//! How pipelines stand, as `highwater status` shows it: from a running process's answer, whichever process asks.

mod screen;
mod view;

use actors::{PipelineState, PipelineStatus};
use serde::Serialize;

use crate::terminal::Paint;
pub(crate) use view::{Destination, Pipeline};

/// Whether everything of a pipeline goes as it should.
pub(crate) fn is_well(status: &PipelineStatus) -> bool {
    let is_going = !matches!(status.state, PipelineState::Degraded | PipelineState::Failed);
    is_going
        && status.trouble.is_none()
        && status
            .destinations
            .iter()
            .all(|destination| destination.state.is_well())
}

/// Statuses of this process as the outside gets them.
pub(crate) fn views<S: Serialize>(statuses: &S) -> Vec<Pipeline> {
    // The view reads what the status writes, which a test holds.
    serde_json::to_value(statuses)
        .and_then(serde_json::from_value)
        .unwrap_or_default()
}

/// The screen for statuses of this process.
pub(crate) fn render<S: Serialize>(statuses: &S, paint: Paint, has_streams: bool) -> String {
    screen::render(&views(statuses), paint, has_streams)
}

/// The screen for statuses of another process.
pub(crate) fn render_views(pipelines: &[Pipeline], paint: Paint, has_streams: bool) -> String {
    screen::render(pipelines, paint, has_streams)
}
