//! Values that are computed when they are asked for, so that they are true also when nothing happens: lag, states,
//! mailboxes, memory.

use actors::metric;
use actors::{DestinationState, DestinationStatus, PipelineState, PipelineStatus};

use super::exposition::Exposition;
use super::process;
use crate::build;
use crate::running::Running;

pub(super) fn render(running: &Running) -> String {
    let mut exposition = Exposition::default();
    for pipeline in running.status() {
        put_pipeline(&mut exposition, &pipeline);
    }
    for (pipeline, board) in running.boards() {
        for (component, edge) in board.edges() {
            let of_component = [("pipeline", pipeline.as_str()), ("component", component.as_str())];
            exposition.put(metric::BACKPRESSURE_SECONDS, &of_component, edge.waited().as_secs_f64());
            exposition.put(metric::MAILBOX_BATCHES, &of_component, f64::from(edge.used_messages()));
            exposition.put(
                metric::MAILBOX_LIMIT_BATCHES,
                &of_component,
                f64::from(edge.limit_messages()),
            );
            let is_destination = board.status().destinations.iter().any(|d| d.destination == component);
            if is_destination {
                let of_destination = [("pipeline", pipeline.as_str()), ("destination", component.as_str())];
                exposition.put(metric::CREDIT_USED_BYTES, &of_destination, edge.used_bytes() as f64);
                exposition.put(metric::CREDIT_LIMIT_BYTES, &of_destination, edge.limit_bytes() as f64);
            }
        }
    }
    let memory = running.memory();
    exposition.put(
        metric::MEMORY_USED_BYTES,
        &[("pool", "batches")],
        memory.used_bytes() as f64,
    );
    exposition.put(
        metric::MEMORY_LIMIT_BYTES,
        &[("pool", "batches")],
        memory.limit_bytes() as f64,
    );
    let built = [
        ("version", build::VERSION),
        ("commit", build::COMMIT),
        ("rustc", build::RUSTC),
    ];
    exposition.put(metric::BUILD_INFO, &built, 1.0);
    process::put(&mut exposition);
    exposition.render()
}

fn put_pipeline(exposition: &mut Exposition, status: &PipelineStatus) {
    let pipeline = status.pipeline.as_str();
    for state in PipelineState::ALL {
        let labels = [("pipeline", pipeline), ("state", state.name())];
        exposition.put(metric::PIPELINE_STATE, &labels, one_if(state == status.state));
    }
    let of_pipeline = [("pipeline", pipeline)];
    exposition.put(
        metric::SOURCE_HEAD_TIME,
        &of_pipeline,
        status.source.head_timestamp_seconds,
    );
    exposition.put(
        metric::HEAD_PROBE_TIME,
        &of_pipeline,
        status.source.probed_timestamp_seconds,
    );
    for destination in &status.destinations {
        put_destination(exposition, pipeline, destination);
    }
    for stream in &status.streams {
        let Some(read) = &stream.read else { continue };
        let labels = [("pipeline", pipeline), ("stream", stream.stream.as_str())];
        exposition.put(
            metric::SNAPSHOT_ESTIMATED_ROWS,
            &labels,
            read.rows_estimated.map(|rows| rows as f64),
        );
        exposition.put(metric::SNAPSHOT_PROGRESS, &labels, read.progress_ratio);
        exposition.put(metric::SNAPSHOT_REMAINING_SECONDS, &labels, read.remaining_seconds);
    }
}

fn put_destination(exposition: &mut Exposition, pipeline: &str, destination: &DestinationStatus) {
    let name = destination.destination.as_str();
    for state in DestinationState::ALL {
        let labels = [("pipeline", pipeline), ("destination", name), ("state", state.name())];
        exposition.put(metric::DESTINATION_STATE, &labels, one_if(state == destination.state));
    }
    let labels = [("pipeline", pipeline), ("destination", name)];
    exposition.put(metric::LAG_SECONDS, &labels, destination.lag_seconds);
    exposition.put(metric::LAG_ROWS, &labels, destination.lag_rows.map(|rows| rows as f64));
    exposition.put(
        metric::LAG_BYTES,
        &labels,
        destination.lag_bytes.map(|bytes| bytes as f64),
    );
    exposition.put(metric::DURABLE_TIME, &labels, destination.durable_timestamp_seconds);
}

const fn one_if(is_so: bool) -> f64 {
    if is_so { 1.0 } else { 0.0 }
}
