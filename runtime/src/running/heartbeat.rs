//! A sign of life in the log every five minutes: a healthy pipeline writes about a dozen lines an hour.

use std::time::Duration;

use tracing::info;

use super::Running;

const INTERVAL: Duration = Duration::from_secs(300);

/// Logs how every destination stands, until dropped.
pub(super) async fn beat(running: Running) {
    let mut interval = tokio::time::interval_at(tokio::time::Instant::now() + INTERVAL, INTERVAL);
    loop {
        interval.tick().await;
        for pipeline in running.status() {
            for destination in &pipeline.destinations {
                let position = destination.durable.values().next().map(ToString::to_string);
                info!(
                    pipeline = pipeline.pipeline,
                    destination = destination.destination,
                    state = destination.state.name(),
                    position,
                    lag_seconds = destination.lag_seconds,
                    rows = destination.rows,
                    "checkpoint"
                );
            }
        }
    }
}
