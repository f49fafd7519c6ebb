//! One screen for all pipelines.

use super::view::{Destination, Pipeline, Slot, Stream, Trouble};
use crate::terminal::Paint;
use crate::terminal::columns::{self, Align};
use crate::terminal::figures;

/// Streams listed one by one only while they are few, or one pipeline was asked for.
const READS_SHOWN_MAX: usize = 8;

pub(super) fn render(pipelines: &[Pipeline], paint: Paint, has_streams: bool) -> String {
    let mut text = String::new();
    for pipeline in pipelines {
        text.push_str(&render_pipeline(pipeline, paint, has_streams));
        text.push('\n');
    }
    text.push_str(&verdict(pipelines));
    text
}

fn render_pipeline(pipeline: &Pipeline, paint: Paint, has_streams: bool) -> String {
    let state = pipeline.state.to_uppercase();
    let state = match pipeline.state.as_str() {
        "live" => paint.good(&state),
        "failed" => paint.bad(&state),
        "degraded" => paint.doubtful(&state),
        _ => paint.strong(&state),
    };
    let head = match pipeline.source.head.values().next() {
        Some(head) => format!("   head {head}"),
        None => String::new(),
    };
    let mut text = format!(
        "{}  {state}  up {}   {}   in {} rows/s{head}\n\n",
        paint.strong(&pipeline.pipeline),
        figures::uptime(pipeline.up_seconds),
        pipeline.source.connector,
        figures::short(pipeline.source.rows_per_second),
    );
    text.push_str(&indent(&destinations(pipeline, paint)));
    if let Some(trouble) = &pipeline.trouble {
        text.push_str(&format!("\n{}", indent(&render_trouble("source", trouble))));
    }
    for destination in &pipeline.destinations {
        if let Some(trouble) = &destination.trouble {
            text.push_str(&format!(
                "\n{}",
                indent(&render_trouble(&destination.destination, trouble))
            ));
        }
    }
    if let Some(held_by) = &pipeline.spool.held_by {
        let window = figures::bytes(pipeline.spool.window_max_bytes);
        text.push_str(&format!(
            "\n  {held_by} is behind by the whole window of {window}: the others wait for it\n"
        ));
    }
    if let Some(slot) = &pipeline.source.slot {
        text.push_str(&format!("\n{}", indent(&render_slot(slot, paint))));
    }
    text.push_str(&format!("\n{}", indent(&streams(pipeline, has_streams))));
    text
}

fn destinations(pipeline: &Pipeline, paint: Paint) -> String {
    let is_in_bytes = pipeline
        .destinations
        .iter()
        .any(|destination| destination.lag_bytes.is_some());
    let head = [
        "destination",
        "connector",
        "state",
        "lag",
        "behind",
        "durable",
        "rows",
        "out",
        "errors",
    ];
    let align = [
        Align::Left,
        Align::Left,
        Align::Left,
        Align::Right,
        Align::Right,
        Align::Right,
        Align::Right,
        Align::Right,
        Align::Right,
    ];
    let mut rows = vec![head.map(|cell| paint.faint(cell)).to_vec()];
    for destination in &pipeline.destinations {
        let behind = match (is_in_bytes, destination.lag_bytes, destination.lag_rows) {
            (true, Some(bytes), _) => figures::bytes(bytes),
            (false, _, Some(behind)) => figures::counted(behind as usize, "row"),
            _ => "–".to_owned(),
        };
        rows.push(vec![
            destination.destination.clone(),
            destination.connector.clone(),
            painted(destination, paint),
            destination.lag_seconds.map_or_else(|| "–".to_owned(), figures::seconds),
            behind,
            destination
                .durable
                .values()
                .next()
                .cloned()
                .unwrap_or_else(|| "–".to_owned()),
            figures::count(destination.rows),
            format!("{}/s", figures::short(destination.rows_per_second)),
            destination.errors.to_string(),
        ]);
    }
    columns::render(&align, &rows)
}

fn painted(destination: &Destination, paint: Paint) -> String {
    match destination.state.as_str() {
        "live" => paint.good("live"),
        "parked" | "needs_resync" => paint.bad(&destination.state),
        state if !destination.is_well() => paint.doubtful(state),
        state => state.to_owned(),
    }
}

/// What the source keeps for the pipeline, and what is left until it does not any more.
fn render_slot(slot: &Slot, paint: Paint) -> String {
    let state = match slot.is_active {
        true => "active".to_owned(),
        false => paint.doubtful("not read"),
    };
    let mut parts = vec![state, format!("keeps {} of log", figures::bytes(slot.retained_bytes))];
    parts.extend(
        slot.safe_bytes
            .map(|bytes| format!("lost after another {}", figures::bytes(bytes))),
    );
    parts.extend(slot.acknowledged.iter().map(|lsn| format!("acknowledged {lsn}")));
    parts.extend(slot.received.iter().map(|lsn| format!("received {lsn}")));
    format!("slot     {}   {}\n", slot.name, parts.join(" · "))
}

/// `archive: E0512 cannot …`, the causes below, what happens next, what to do.
fn render_trouble(name: &str, trouble: &Trouble) -> String {
    let margin = " ".repeat(name.chars().count() + 2);
    let mut causes = trouble.error.split(": ");
    let mut text = format!("{name}: {} {}\n", trouble.code, causes.next().unwrap_or_default());
    let rest = causes.collect::<Vec<_>>().join(": ");
    if !rest.is_empty() {
        text.push_str(&format!("{margin}caused by: {rest}\n"));
    }
    match trouble.next_try_seconds {
        Some(next) => {
            text.push_str(&format!(
                "{margin}attempt {}, next try in {}\n",
                trouble.attempt,
                figures::seconds(next)
            ));
        }
        None => text.push_str(&format!("{margin}no further try by itself\n")),
    }
    if let Some(hint) = &trouble.hint {
        text.push_str(&format!("{margin}hint: {hint}\n"));
    }
    text
}

fn streams(pipeline: &Pipeline, has_streams: bool) -> String {
    let is_live = |stream: &&Stream| stream.destinations.values().all(|state| state == "live");
    // A stream that one destination has and another is still getting is not waiting.
    let is_waiting =
        |stream: &&Stream| stream.read.is_none() && stream.destinations.values().all(|state| state == "none");
    let reading: Vec<&Stream> = pipeline.streams.iter().filter(|stream| stream.read.is_some()).collect();
    let live = pipeline.streams.iter().filter(is_live).count();
    let waiting = pipeline.streams.iter().filter(|s| !is_live(s) && is_waiting(s)).count();
    let snapshot = pipeline.streams.len() - live - waiting;
    let mut text = format!("streams  {live} live · {snapshot} snapshot · {waiting} waiting\n");
    let shown = if has_streams { reading.len() } else { READS_SHOWN_MAX };
    for stream in reading.iter().take(shown) {
        let Some(read) = &stream.read else { continue };
        let progress = read
            .progress_ratio
            .map_or_else(|| "  ".to_owned(), |ratio| format!("{:.0} %", ratio * 100.0));
        let of = match read.rows_estimated {
            Some(all) => format!("{} / {} rows", figures::count(read.rows), figures::count(all)),
            None => format!("{} rows", figures::count(read.rows)),
        };
        let bytes = match read.bytes {
            0 => String::new(),
            bytes => format!(" · {}", figures::bytes(bytes)),
        };
        let left = match read.remaining_seconds {
            Some(left) => format!("   about {} left", figures::seconds(left)),
            None => String::new(),
        };
        text.push_str(&format!(
            "         {}   {progress}   {of}{bytes}{left}\n",
            stream.stream
        ));
    }
    if has_streams {
        let names: Vec<&str> = pipeline.destinations.iter().map(|d| d.destination.as_str()).collect();
        let mut rows = vec![
            std::iter::once("stream")
                .chain(names.iter().copied())
                .map(str::to_owned)
                .collect::<Vec<_>>(),
        ];
        for stream in &pipeline.streams {
            let of = |name: &&str| {
                stream
                    .destinations
                    .get(*name)
                    .cloned()
                    .unwrap_or_else(|| "none".to_owned())
            };
            rows.push(
                std::iter::once(stream.stream.clone())
                    .chain(names.iter().map(of))
                    .collect(),
            );
        }
        text.push_str(&format!(
            "\n{}",
            columns::render(&vec![Align::Left; names.len() + 1], &rows)
        ));
    }
    text
}

/// `1 pipeline: 1 degraded. Next: …`
fn verdict(pipelines: &[Pipeline]) -> String {
    let mut states: Vec<(&str, usize)> = Vec::new();
    for pipeline in pipelines {
        match states.iter_mut().find(|(state, _)| *state == pipeline.state) {
            Some((_, count)) => *count += 1,
            None => states.push((&pipeline.state, 1)),
        }
    }
    let states = states
        .iter()
        .map(|(state, count)| format!("{count} {state}"))
        .collect::<Vec<_>>()
        .join(", ");
    let troubles = pipelines.iter().flat_map(|pipeline| {
        pipeline.trouble.iter().chain(
            pipeline
                .destinations
                .iter()
                .filter_map(|destination| destination.trouble.as_ref()),
        )
    });
    let next = match troubles.map(|trouble| &trouble.code).next() {
        Some(code) => format!(". Next: `highwater explain {code}`"),
        None => String::new(),
    };
    format!("{}: {states}{next}\n", figures::counted(pipelines.len(), "pipeline"))
}

/// Two spaces before each line that says something.
fn indent(text: &str) -> String {
    let line = |line: &str| {
        if line.is_empty() {
            "\n".to_owned()
        } else {
            format!("  {line}\n")
        }
    };
    text.lines().map(line).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn canned() -> Vec<Pipeline> {
        let shop = json!({
            "pipeline": "shop", "state": "degraded", "up_seconds": 274_320.0,
            "source": {
                "connector": "postgres", "head": {"a1b2": "81236"}, "received": {}, "acknowledged": {},
                "slot": {
                    "name": "highwater_shop", "is_active": true, "retained_bytes": 43_000_000, "safe_bytes": 1_030_000_000,
                    "acknowledged": "0/16B3748", "received": "0/16B9F10"
                },
                "head_timestamp_seconds": 1.0, "probed_timestamp_seconds": 2.0, "rows": 1_000_000, "rows_per_second": 12_400.0
            },
            "destinations": [
                {
                    "destination": "lake", "connector": "parquet", "guarantee": "exactly-once", "state": "parked",
                    "lag_seconds": 860.2, "lag_rows": 41_200, "durable": {"a1b2": "40036"}, "durable_timestamp_seconds": 1.0,
                    "rows": 987_654, "rows_per_second": 0.0, "commits": 12, "generation": 3, "errors": 37,
                    "trouble": {
                        "code": "E0552", "error": "cannot sync `./out/orders/000418.parquet`: no space left on device",
                        "hint": "make room on that disk", "attempt": 21, "next_try_seconds": 24.2
                    }
                },
                {
                    "destination": "copy", "connector": "sqlite", "guarantee": "exactly-once", "state": "live",
                    "lag_seconds": 0.3, "lag_rows": 1, "durable": {"a1b2": "81235"}, "durable_timestamp_seconds": 1.0,
                    "rows": 1_000_000, "rows_per_second": 12_400.0, "commits": 12, "generation": 3, "errors": 0
                }
            ],
            "streams": [
                {"stream": "customers", "destinations": {"lake": "live", "copy": "live"}},
                {
                    "stream": "orders", "destinations": {"lake": "reading", "copy": "reading"},
                    "read": {"run": 2, "rows": 630, "rows_estimated": 1_000, "bytes": 84_000, "progress_ratio": 0.63, "remaining_seconds": 11_640.0}
                }
            ],
            "spool": {"window_bytes": 67_108_864, "window_max_bytes": 67_108_864, "held_by": "lake"}
        });
        let crm = json!({
            "pipeline": "crm", "state": "degraded", "up_seconds": 12.0,
            "source": {"connector": "sqlite", "rows": 0, "rows_per_second": 0.0},
            "destinations": [{
                "destination": "copy", "connector": "sqlite", "state": "starting", "lag_seconds": null,
            }],
            "streams": [],
            "trouble": {"code": "E0215", "error": "cannot open `./crm.db`: database is locked", "attempt": 3, "next_try_seconds": 1.6}
        });
        serde_json::from_value(json!([shop, crm])).expect("a status")
    }

    #[test]
    fn status_fits_one_screen_and_says_what_to_do() {
        insta::assert_snapshot!(render(&canned(), Paint::default(), false));
    }

    #[test]
    fn status_of_one_pipeline_lists_its_streams() {
        insta::assert_snapshot!(render(&canned()[..1], Paint::default(), true));
    }
}
