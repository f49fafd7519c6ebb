//! Every metric, in one place: its name, kind and help. The reference page and the exporter's `HELP` lines come from here.

/// What a metric is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// A distribution.
    Histogram,
}

/// One metric.
#[derive(Debug, Clone, Copy)]
pub struct Metric {
    /// Prometheus name: prefix, base unit last, `_total` for counters.
    pub name: &'static str,
    /// What it is.
    pub kind: Kind,
    /// One sentence.
    pub help: &'static str,
    /// Its labels.
    pub labels: &'static [&'static str],
}

macro_rules! metrics {
    ($($konst:ident = $kind:ident $name:literal [$($label:literal),*] $help:literal;)*) => {
        $(#[doc = $help] pub const $konst: &str = $name;)*
        /// All of them.
        pub const METRICS: &[Metric] = &[
            $(Metric { name: $name, kind: Kind::$kind, help: $help, labels: &[$($label),*] },)*
        ];
    };
}

metrics! {
    RECEIVED_ROWS = Counter "highwater_component_received_rows_total" ["pipeline", "component", "component_kind", "connector"] "Rows into the component.";
    RECEIVED_BYTES = Counter "highwater_component_received_bytes_total" ["pipeline", "component", "component_kind", "connector"] "Arrow bytes into the component.";
    SENT_ROWS = Counter "highwater_component_sent_rows_total" ["pipeline", "component", "component_kind", "connector"] "Rows out of the component.";
    SENT_BYTES = Counter "highwater_component_sent_bytes_total" ["pipeline", "component", "component_kind", "connector"] "Arrow bytes out of the component.";
    SENT_BATCHES = Counter "highwater_component_sent_batches_total" ["pipeline", "component", "component_kind", "connector"] "Batches out of the component.";
    STREAM_ROWS = Counter "highwater_stream_rows_total" ["pipeline", "destination", "stream", "op"] "Rows durable at the destination.";
    FILTERED_ROWS = Counter "highwater_filtered_rows_total" ["pipeline", "component"] "Rows dropped on purpose by a transformer.";
    ERRORS = Counter "highwater_component_errors_total" ["pipeline", "component", "code", "retry"] "Errors handled.";
    BATCH_ROWS = Histogram "highwater_batch_rows" ["pipeline", "component"] "Rows in a batch.";
    BATCH_BYTES = Histogram "highwater_batch_bytes" ["pipeline", "component"] "Arrow bytes in a batch.";
    PHASE_SECONDS = Histogram "highwater_phase_duration_seconds" ["pipeline", "component", "phase"] "Time of one batch in one phase: read, transform, write or commit.";
    LAG_SECONDS = Gauge "highwater_lag_seconds" ["pipeline", "destination"] "Age of the oldest change at the source that is not durable at the destination; 0 when there is none.";
    LAG_BYTES = Gauge "highwater_lag_bytes" ["pipeline", "destination"] "Bytes of the source's log that are not durable at the destination.";
    LAG_ROWS = Gauge "highwater_lag_rows" ["pipeline", "destination"] "Rows of the source's log that are not durable at the destination.";
    SOURCE_HEAD_TIME = Gauge "highwater_source_head_timestamp_seconds" ["pipeline"] "Unix time of the newest change at the source.";
    DURABLE_TIME = Gauge "highwater_durable_timestamp_seconds" ["pipeline", "destination"] "Unix source time of the newest durable change.";
    HEAD_PROBE_TIME = Gauge "highwater_head_probe_timestamp_seconds" ["pipeline"] "Unix time when the source's head was last confirmed; if it stops, lag is a guess.";
    END_TO_END_SECONDS = Histogram "highwater_end_to_end_seconds" ["pipeline", "destination"] "Source commit to durable, for the oldest change of each commit.";
    BACKPRESSURE_SECONDS = Counter "highwater_backpressure_seconds_total" ["pipeline", "component"] "Time that the component's senders waited for credit.";
    CREDIT_USED_BYTES = Gauge "highwater_credit_used_bytes" ["pipeline", "destination"] "Bytes in the destination's mailbox.";
    CREDIT_LIMIT_BYTES = Gauge "highwater_credit_limit_bytes" ["pipeline", "destination"] "Bytes that fit into the destination's mailbox.";
    MAILBOX_BATCHES = Gauge "highwater_mailbox_batches" ["pipeline", "component"] "Changesets in the component's mailbox.";
    MAILBOX_LIMIT_BATCHES = Gauge "highwater_mailbox_limit_batches" ["pipeline", "component"] "Changesets that fit into the component's mailbox.";
    CHECKPOINT_COMMITS = Counter "highwater_checkpoint_commits_total" ["pipeline", "destination"] "Commits of the destination.";
    CHECKPOINT_SECONDS = Histogram "highwater_checkpoint_duration_seconds" ["pipeline", "destination"] "Time to store a checkpoint in the state directory.";
    CHECKPOINT_TIME = Gauge "highwater_checkpoint_timestamp_seconds" ["pipeline", "destination"] "Unix time of the last stored checkpoint.";
    SNAPSHOT_ROWS = Counter "highwater_snapshot_rows_total" ["pipeline", "stream"] "Existing rows handed out by the source.";
    SNAPSHOT_ESTIMATED_ROWS = Gauge "highwater_snapshot_estimated_rows" ["pipeline", "stream"] "Existing rows expected; absent when unknown.";
    SNAPSHOT_PROGRESS = Gauge "highwater_snapshot_progress_ratio" ["pipeline", "stream"] "Share of the existing rows that was handed out; never above 1.";
    SNAPSHOT_REMAINING_SECONDS = Gauge "highwater_snapshot_remaining_seconds" ["pipeline", "stream"] "Time until the read is done at its mean rate; absent when unknown.";
    PIPELINE_STATE = Gauge "highwater_pipeline_state" ["pipeline", "state"] "1 for the state that the pipeline is in.";
    DESTINATION_STATE = Gauge "highwater_destination_state" ["pipeline", "destination", "state"] "1 for the state that the destination is in.";
    ACTOR_RESTARTS = Counter "highwater_actor_restarts_total" ["pipeline", "component", "reason"] "Restarts of an actor, by reason: error, panic or stuck.";
    POSTGRES_SLOT_RETAINED_BYTES = Gauge "highwater_postgres_slot_retained_bytes" ["pipeline", "slot"] "Bytes of log that the server keeps for the slot.";
    POSTGRES_SLOT_SAFE_BYTES = Gauge "highwater_postgres_slot_safe_bytes" ["pipeline", "slot"] "Bytes of log until the slot is invalidated; absent without a limit.";
    POSTGRES_SLOT_ACTIVE = Gauge "highwater_postgres_slot_active" ["pipeline", "slot"] "Whether the slot is read: 0 or 1.";
    MEMORY_USED_BYTES = Gauge "highwater_memory_used_bytes" ["pool"] "Bytes of the memory budget in use.";
    MEMORY_LIMIT_BYTES = Gauge "highwater_memory_limit_bytes" ["pool"] "The memory budget.";
    BUILD_INFO = Gauge "highwater_build_info" ["version", "commit", "rustc"] "1, with the build in its labels.";
    PROCESS_RESIDENT_BYTES = Gauge "process_resident_memory_bytes" [] "Resident memory of the process.";
    PROCESS_CPU_SECONDS = Counter "process_cpu_seconds_total" [] "User and system CPU time of the process.";
    PROCESS_OPEN_FDS = Gauge "process_open_fds" [] "Open file descriptors of the process.";
    PROCESS_START_TIME = Gauge "process_start_time_seconds" [] "Unix time when the process started.";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_rules_of_prometheus() {
        const UNITS: [&str; 6] = ["_seconds", "_bytes", "_rows", "_batches", "_ratio", "_fds"];
        for metric in METRICS {
            let name = metric.name;
            assert!(
                name.starts_with("highwater_") || name.starts_with("process_"),
                "{name}: prefix"
            );
            assert_eq!(
                name.ends_with("_total"),
                metric.kind == Kind::Counter,
                "{name}: `_total` is for counters"
            );
            if metric.kind == Kind::Histogram {
                assert!(
                    UNITS.iter().any(|unit| name.ends_with(unit)),
                    "{name}: a histogram has a unit"
                );
            }
            assert!(metric.help.ends_with('.'), "{name}: help is a sentence");
            assert!(
                metric
                    .labels
                    .iter()
                    .all(|label| !name.contains(&format!("_{label}_by"))),
                "{name}: label in the name"
            );
        }
    }

    #[test]
    fn names_are_unique() {
        let mut names: Vec<_> = METRICS.iter().map(|metric| metric.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), METRICS.len());
    }
}
