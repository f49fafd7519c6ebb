//! What moves, while it moves: a line that changes at a terminal, and one every ten seconds elsewhere.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::running::Running;
use crate::status::{self, Destination, Pipeline};
use crate::terminal::{Progress, Terminal, figures};

const PLAIN_INTERVAL: Duration = Duration::from_secs(10);
const LOOK_INTERVAL: Duration = Duration::from_millis(200);

/// Sees what is new since the last look.
pub(crate) struct Watcher {
    terminal: Terminal,
    started: Instant,
    progress: Option<Progress>,
    said: Instant,
    live: BTreeSet<(String, String)>,
}

/// Shows progress for as long as it is polled.
pub(crate) async fn watch(mut watcher: Watcher, running: Running) -> Infallible {
    let mut interval = tokio::time::interval(LOOK_INTERVAL);
    loop {
        interval.tick().await;
        watcher.look(&running);
    }
}

impl Watcher {
    pub(crate) fn new(terminal: &Terminal) -> Self {
        let now = Instant::now();
        Watcher {
            terminal: terminal.clone(),
            started: now,
            progress: terminal.progress(),
            said: now,
            live: BTreeSet::new(),
        }
    }

    pub(crate) fn look(&mut self, running: &Running) {
        let pipelines = status::views(&running.status());
        for pipeline in &pipelines {
            self.say_snapshots(pipeline);
        }
        let is_due = self.said.elapsed() >= PLAIN_INTERVAL;
        if is_due {
            self.said = Instant::now();
        }
        if self.terminal.is_json() {
            if is_due {
                self.emit(&pipelines);
            }
        } else if let Some(progress) = &self.progress {
            progress.set(self.line(&pipelines));
        } else if is_due {
            self.terminal.say(format!("  {}", self.line(&pipelines)));
        }
    }

    /// Streams that are complete everywhere for the first time in this session, after something was read for them.
    fn say_snapshots(&mut self, pipeline: &Pipeline) {
        for stream in &pipeline.streams {
            let is_live = stream.destinations.values().all(|state| state == "live");
            let id = (pipeline.pipeline.clone(), stream.stream.clone());
            if !is_live || self.live.contains(&id) {
                continue;
            }
            let labels = [
                ("pipeline", pipeline.pipeline.as_str()),
                ("stream", stream.stream.as_str()),
            ];
            if let Some(rows) = crate::metrics::counter(actors::metric::SNAPSHOT_ROWS, &labels) {
                let elapsed = figures::seconds(self.started.elapsed().as_secs_f64());
                let rows = figures::counted(rows as usize, "row");
                self.terminal
                    .step("Snapshot", format!("{:<14} {rows:>12}   {elapsed}", stream.stream));
            }
            self.live.insert(id);
        }
    }

    fn line(&self, pipelines: &[Pipeline]) -> String {
        let clock = figures::clock(self.started.elapsed().as_secs_f64());
        let several = pipelines.len() > 1;
        let of = |pipeline: &Pipeline| {
            let name = if several {
                format!("{}/", pipeline.pipeline)
            } else {
                String::new()
            };
            let mut parts: Vec<String> = pipeline
                .destinations
                .iter()
                .map(|destination| format!("{name}{}", render(destination)))
                .collect();
            parts.extend(pipeline.streams.iter().filter_map(|stream| {
                let read = stream.read.as_ref()?;
                let left = read
                    .remaining_seconds
                    .map(|left| format!(", about {} left", figures::seconds(left)));
                let ratio = read
                    .progress_ratio
                    .map_or_else(String::new, |ratio| format!(" {:.0} %", ratio * 100.0));
                let bytes = match read.bytes {
                    0 => String::new(),
                    bytes => format!(" {}", figures::bytes(bytes)),
                };
                Some(format!("{}{ratio}{bytes}{}", stream.stream, left.unwrap_or_default()))
            }));
            if let Some(trouble) = &pipeline.trouble {
                parts.push(format!("{}: {}", pipeline.pipeline, trouble.error));
            }
            parts
        };
        let parts: Vec<String> = pipelines.iter().flat_map(of).collect();
        format!("{clock}   {}", parts.join("     "))
    }

    fn emit(&self, pipelines: &[Pipeline]) {
        for pipeline in pipelines {
            for destination in &pipeline.destinations {
                let event = json!({
                    "type": "progress", "pipeline": pipeline.pipeline, "destination": destination.destination,
                    "state": destination.state, "rows": destination.rows, "lag_seconds": destination.lag_seconds,
                    "elapsed_seconds": self.started.elapsed().as_secs_f64(),
                });
                self.terminal.answer(event.to_string());
            }
        }
    }
}

/// `lake 12 714 rows · lag 0.4 s`.
fn render(destination: &Destination) -> String {
    let lag = match destination.lag_seconds {
        Some(lag) => format!("lag {}", figures::seconds(lag)),
        None => destination.state.clone(),
    };
    let state = if destination.is_well() {
        String::new()
    } else {
        format!(" · {}", destination.state)
    };
    format!(
        "{} {} · {lag}{state}",
        destination.destination,
        figures::counted(destination.rows as usize, "row")
    )
}
