//! The `stream` label, held to a number that a time-series database can bear.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use config::StreamLabels;
use metrics::{Counter, Gauge, Histogram, Key, KeyName, Label, Metadata, Recorder, SharedString, Unit};

/// Streams of one pipeline that have a name of their own; the others together are `other`.
const STREAMS_MAX: usize = 200;
const OTHER: &str = "other";

/// Passes everything on, with fewer streams.
pub(super) struct LimitStreams<R> {
    inner: R,
    labels: StreamLabels,
    /// By pipeline, the streams that have a name.
    named: Mutex<BTreeMap<String, BTreeSet<String>>>,
}

impl<R> LimitStreams<R> {
    pub(super) fn new(inner: R, labels: StreamLabels) -> Self {
        LimitStreams {
            inner,
            labels,
            named: Mutex::new(BTreeMap::new()),
        }
    }

    fn limit(&self, key: &Key) -> Key {
        let Some(stream) = label(key, "stream") else {
            return key.clone();
        };
        let shown = match self.labels {
            StreamLabels::On => return key.clone(),
            StreamLabels::Off => None,
            StreamLabels::Auto if self.has_name(label(key, "pipeline").unwrap_or_default(), stream) => {
                return key.clone();
            }
            StreamLabels::Auto => Some(Label::new("stream", OTHER)),
        };
        let others = key.labels().filter(|label| label.key() != "stream").cloned();
        Key::from_parts(key.name().to_owned(), others.chain(shown).collect::<Vec<_>>())
    }

    fn has_name(&self, pipeline: &str, stream: &str) -> bool {
        let mut named = self.named.lock().unwrap_or_else(PoisonError::into_inner);
        let streams = named.entry(pipeline.to_owned()).or_default();
        if !streams.contains(stream) && streams.len() < STREAMS_MAX {
            streams.insert(stream.to_owned());
        }
        streams.contains(stream)
    }
}

fn label<'k>(key: &'k Key, name: &str) -> Option<&'k str> {
    key.labels().find(|label| label.key() == name).map(Label::value)
}

impl<R: Recorder> Recorder for LimitStreams<R> {
    fn describe_counter(&self, key: KeyName, unit: Option<Unit>, description: SharedString) {
        self.inner.describe_counter(key, unit, description);
    }

    fn describe_gauge(&self, key: KeyName, unit: Option<Unit>, description: SharedString) {
        self.inner.describe_gauge(key, unit, description);
    }

    fn describe_histogram(&self, key: KeyName, unit: Option<Unit>, description: SharedString) {
        self.inner.describe_histogram(key, unit, description);
    }

    fn register_counter(&self, key: &Key, metadata: &Metadata<'_>) -> Counter {
        self.inner.register_counter(&self.limit(key), metadata)
    }

    fn register_gauge(&self, key: &Key, metadata: &Metadata<'_>) -> Gauge {
        self.inner.register_gauge(&self.limit(key), metadata)
    }

    fn register_histogram(&self, key: &Key, metadata: &Metadata<'_>) -> Histogram {
        self.inner.register_histogram(&self.limit(key), metadata)
    }
}

#[cfg(test)]
mod tests {
    use metrics_exporter_prometheus::PrometheusBuilder;

    use super::*;

    fn series(labels: StreamLabels, streams: usize) -> Vec<String> {
        let recorder = PrometheusBuilder::new().build_recorder();
        let handle = recorder.handle();
        metrics::with_local_recorder(&LimitStreams::new(recorder, labels), || {
            for stream in 0..streams {
                let labels = [("pipeline", "shop".to_owned()), ("stream", format!("s{stream:03}"))];
                metrics::counter!(actors::metric::STREAM_ROWS, &labels).increment(1);
            }
        });
        let text = handle.render();
        text.lines()
            .filter(|line| !line.starts_with('#') && !line.is_empty())
            .map(str::to_owned)
            .collect()
    }

    #[test]
    fn streams_beyond_the_limit_share_one_series() {
        let series = series(StreamLabels::Auto, STREAMS_MAX + 5);
        assert_eq!(series.len(), STREAMS_MAX + 1);
        let other = format!(
            "{}{{pipeline=\"shop\",stream=\"other\"}} 5",
            actors::metric::STREAM_ROWS
        );
        assert!(series.contains(&other), "{series:?}");
    }

    #[test]
    fn stream_label_can_be_off_or_unlimited() {
        assert_eq!(
            series(StreamLabels::Off, 3),
            [format!("{}{{pipeline=\"shop\"}} 3", actors::metric::STREAM_ROWS)]
        );
        assert_eq!(series(StreamLabels::On, STREAMS_MAX + 5).len(), STREAMS_MAX + 5);
    }
}
