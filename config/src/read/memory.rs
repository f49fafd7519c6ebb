//! The memory budget: what is reserved for good must fit it, or a pipeline would wait for ever.

use crate::codes;
use crate::context::Context;
use crate::finding::Finding;
use crate::plan::{PipelinePlan, RuntimePlan};
use crate::sources::Span;
use crate::typed::Item;
use crate::units::render_size;

/// What each pipeline can always have, whatever the others hold: room for one changeset of the usual size.
pub const PIPELINE_FLOOR_BYTES: u64 = 1 << 20;

/// Enough for the destinations of a busy pipeline to be some seconds apart.
const WINDOW_BYTES: u64 = 64 << 20;

/// Below this a window holds hardly a changeset, and every destination waits for the slowest.
const WINDOW_BYTES_MIN: u64 = 1 << 20;

/// Settles the default window and checks that windows, floors and buffers fit the limit.
///
/// | share | of | who takes it |
/// |---|---|---|
/// | `buffer_bytes` | each destination | reserved when it opens |
/// | `window_max` | each pipeline | the spool, as it fills |
/// | [`PIPELINE_FLOOR_BYTES`] | each pipeline | its source, at any time |
pub(super) fn fit(
    mut runtime: RuntimePlan,
    pipelines: &[PipelinePlan],
    item: Option<&Item<'_>>,
    first_pipeline: Option<Span>,
    cx: &mut Context,
) -> RuntimePlan {
    let count = pipelines.len().max(1) as u64;
    let buffers: u64 = pipelines
        .iter()
        .flat_map(|p| &p.destinations)
        .map(|destination| destination.buffer_bytes)
        .sum();
    let limit = runtime.memory_limit_bytes;
    let is_default_window = runtime.spool.window_max_bytes == 0;
    if is_default_window {
        // Half of what is left: the other half is for what sources read ahead.
        let share = limit.saturating_sub(buffers + count * PIPELINE_FLOOR_BYTES) / count / 2;
        runtime.spool.window_max_bytes = share.clamp(WINDOW_BYTES_MIN, WINDOW_BYTES);
    }
    let window = runtime.spool.window_max_bytes;
    let needed = buffers + count * (window + PIPELINE_FLOOR_BYTES);
    if needed <= limit {
        return runtime;
    }
    let written = |block: &str, field: &str| item?.node.get(block)?.value.get(field);
    let (limit_entry, window_entry) = (written("memory", "limit"), written("spool", "window_max"));
    let message = format!(
        "memory limit of {} is too small: {} are reserved",
        render_size(limit),
        render_size(needed)
    );
    let mut finding = Finding::error(&codes::E0125, message).path("/runtime/memory/limit");
    finding = match (limit_entry.or(window_entry), first_pipeline) {
        (Some(entry), _) => finding.at(cx.place(entry.value.span), ""),
        (None, Some(span)) => finding.at(cx.place(span), "the limit is `512MiB` unless it is set"),
        (None, None) => finding,
    };
    if let (Some(_), Some(entry)) = (limit_entry, window_entry) {
        finding = finding.near(cx.place(entry.value.span), "for each pipeline");
    }
    let mib = |bytes: u64| bytes.div_ceil(1 << 20);
    finding = finding.hint(format!(
        "set `runtime.memory.limit: {}MiB` or more: {} MiB of window and {} MiB of floor for each pipeline, {} MiB of destinations' buffers",
        mib(needed).next_multiple_of(64),
        mib(window),
        mib(PIPELINE_FLOOR_BYTES),
        mib(buffers),
    ));
    if !is_default_window && limit > buffers + count * (PIPELINE_FLOOR_BYTES + WINDOW_BYTES_MIN) {
        let room = (limit - buffers) / count - PIPELINE_FLOOR_BYTES;
        finding = finding.hint(format!("or `runtime.spool.window_max: {}MiB`", room >> 20));
    }
    cx.report(finding);
    runtime
}
