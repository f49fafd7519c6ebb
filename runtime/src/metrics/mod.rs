//! `GET /metrics`: what the actors count, through the `metrics` facade, and what is computed when it is asked for.
//!
//! The list of all metrics is [`actors::metric::METRICS`]; names, kinds and help come from there and from nowhere else.

mod computed;
mod exposition;
mod process;
mod streams;

use std::sync::OnceLock;
use std::time::Duration;

use actors::metric::{Kind, METRICS};
use config::StreamLabels;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tokio_util::sync::CancellationToken;

use crate::running::Running;
use streams::LimitStreams;

/// From a millisecond, about what an fsync on a good disk takes, to minutes.
const SECONDS: [f64; 14] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0, 300.0,
];
/// From a single row to the largest batches.
const ROWS: [f64; 8] = [1.0, 10.0, 100.0, 1e3, 1e4, 1e5, 1e6, 1e7];
/// From 1 KiB to 1 GiB.
const BYTES: [f64; 7] = [
    1024.0,
    16_384.0,
    262_144.0,
    1_048_576.0,
    16_777_216.0,
    134_217_728.0,
    1_073_741_824.0,
];
/// Samples of histograms wait in memory until they are sorted into buckets.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);

static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();

/// Starts counting for the rest of the process. Later calls change nothing.
pub(crate) fn install(labels: StreamLabels) {
    HANDLE.get_or_init(|| {
        let recorder = builder().build_recorder();
        let handle = recorder.handle();
        // Only a test that installs a recorder of its own could have been earlier.
        let _ = metrics::set_global_recorder(LimitStreams::new(recorder, labels));
        describe();
        handle
    });
}

/// What was counted; empty if counting was never started.
pub(crate) fn handle() -> PrometheusHandle {
    install(StreamLabels::Auto);
    HANDLE
        .get()
        .cloned()
        .unwrap_or_else(|| builder().build_recorder().handle())
}

/// Everything, now.
pub(crate) fn render(counted: &PrometheusHandle, running: &Running) -> String {
    let mut text = counted.render();
    text.push_str(&computed::render(running));
    text
}

/// What one counter stands at; none if it was never counted.
pub(crate) fn counter(name: &str, labels: &[(&str, &str)]) -> Option<u64> {
    let text = handle().render();
    let is_it = |line: &&str| {
        let has = |(label, value): &(&str, &str)| line.contains(&format!("{label}=\"{value}\""));
        line.strip_prefix(name).is_some_and(|rest| rest.starts_with('{')) && labels.iter().all(has)
    };
    text.lines().find(is_it)?.rsplit(' ').next()?.parse().ok()
}

/// Sorts samples into buckets, until stopped.
pub(crate) async fn upkeep(handle: PrometheusHandle, stop: CancellationToken) {
    let mut interval = tokio::time::interval(UPKEEP_INTERVAL);
    while stop.run_until_cancelled(interval.tick()).await.is_some() {
        handle.run_upkeep();
    }
}

fn builder() -> PrometheusBuilder {
    let mut histograms = METRICS.iter().filter(|metric| metric.kind == Kind::Histogram);
    let with_buckets = histograms.try_fold(PrometheusBuilder::new(), |builder, metric| {
        let buckets: &[f64] = match metric.name {
            name if name.ends_with("_rows") => &ROWS,
            name if name.ends_with("_bytes") => &BYTES,
            _ => &SECONDS,
        };
        builder.set_buckets_for_metric(Matcher::Full(metric.name.to_owned()), buckets)
    });
    // It refuses empty lists only.
    with_buckets.unwrap_or_default()
}

fn describe() {
    for metric in METRICS {
        match metric.kind {
            Kind::Counter => metrics::describe_counter!(metric.name, metric.help),
            Kind::Gauge => metrics::describe_gauge!(metric.name, metric.help),
            Kind::Histogram => metrics::describe_histogram!(metric.name, metric.help),
        }
    }
}
