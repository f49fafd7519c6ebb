//! Prometheus's text format, for values that exist only at the moment of a scrape.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use actors::metric::{Kind, METRICS};

/// Samples by metric.
#[derive(Default)]
pub(super) struct Exposition {
    samples: BTreeMap<&'static str, Vec<String>>,
}

impl Exposition {
    /// Adds a sample. A value that is not known is not there.
    pub(super) fn put(&mut self, name: &'static str, labels: &[(&str, &str)], value: impl Into<Option<f64>>) {
        let Some(value) = value.into() else { return };
        let labels: Vec<String> = labels
            .iter()
            .map(|(label, value)| format!("{label}=\"{}\"", escape(value)))
            .collect();
        let labels = if labels.is_empty() {
            String::new()
        } else {
            format!("{{{}}}", labels.join(","))
        };
        self.samples
            .entry(name)
            .or_default()
            .push(format!("{name}{labels} {value}"));
    }

    pub(super) fn render(&self) -> String {
        let mut text = String::new();
        for (name, samples) in &self.samples {
            if let Some(metric) = METRICS.iter().find(|metric| metric.name == *name) {
                let kind = match metric.kind {
                    Kind::Counter => "counter",
                    Kind::Gauge => "gauge",
                    Kind::Histogram => "histogram",
                };
                let _ = writeln!(text, "# HELP {name} {}\n# TYPE {name} {kind}", metric.help);
            }
            samples.iter().for_each(|sample| {
                let _ = writeln!(text, "{sample}");
            });
            text.push('\n');
        }
        text
    }
}

fn escape(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_values_are_absent_and_labels_are_escaped() {
        let mut exposition = Exposition::default();
        exposition.put(actors::metric::LAG_SECONDS, &[("pipeline", "a\"b\\c\nd")], 0.25);
        exposition.put(actors::metric::LAG_BYTES, &[("pipeline", "a")], None);
        assert_eq!(
            exposition.render(),
            "# HELP highwater_lag_seconds Age of the oldest change at the source that is not durable at the destination; 0 when \
             there is none.\n# TYPE highwater_lag_seconds gauge\nhighwater_lag_seconds{pipeline=\"a\\\"b\\\\c\\nd\"} 0.25\n\n"
        );
    }
}
