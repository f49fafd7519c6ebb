//! Which streams of a source a pipeline carries, and how.

use std::sync::Arc;

use api::{PlannedStream, Snapshot};
use config::{Finding, Part, PipelinePlan, StreamOverride};
use model::StreamSchema;

use crate::codes::{E0201, E0202, E0203, W0201};

/// A selection, held against what the source has.
#[derive(Debug)]
pub(crate) struct Resolved {
    /// Everything that the source has, in its order.
    pub(crate) discovered: Vec<Arc<StreamSchema>>,
    /// The streams, in the source's order.
    pub(crate) streams: Vec<PlannedStream>,
    /// What does not fit, with the place inside the pipeline's source.
    pub(crate) findings: Vec<(String, String, Finding)>,
}

/// Resolves the selection of a pipeline.
pub(crate) fn resolve(pipeline: &PipelinePlan, discovered: &[Arc<StreamSchema>]) -> Resolved {
    let selection = &pipeline.source.streams;
    let names: Vec<String> = discovered.iter().map(|schema| schema.stream().to_string()).collect();
    let mut findings = Vec::new();
    for (at, pattern) in selection.include.iter().enumerate() {
        if names.iter().any(|name| config::matches_pattern(pattern, name)) {
            continue;
        }
        // A list in the place of the map is its `include`.
        let pointer = format!("/streams/{at}");
        let is_pattern = pattern.contains(['*', '?']);
        let finding = if is_pattern {
            let message = format!("`{pattern}` selects no stream of `{}`", pipeline.name);
            Finding::warning(&W0201, message).hint(has(&names))
        } else {
            let message = format!("stream `{pattern}` does not exist at the source of `{}`", pipeline.name);
            Finding::error(&E0201, message).hint(has(&names))
        };
        findings.push((pointer, did_you_mean(pattern, &names), finding));
    }
    let mut streams = Vec::new();
    for schema in discovered {
        let name = schema.stream().to_string();
        if selection.selects(&name) {
            streams.push(planned(pipeline, &name, schema, &mut findings));
        }
    }
    if streams.is_empty() && findings.is_empty() {
        let message = format!("no stream is left for `{}`", pipeline.name);
        findings.push((
            "/streams".to_owned(),
            String::new(),
            Finding::error(&E0202, message).hint(has(&names)),
        ));
    }
    Resolved {
        discovered: discovered.to_vec(),
        streams,
        findings,
    }
}

/// The part that the findings' pointers start from.
pub(super) fn part(pipeline: &PipelinePlan) -> Part {
    Part::source(&pipeline.name)
}

fn planned(
    pipeline: &PipelinePlan,
    name: &str,
    schema: &StreamSchema,
    findings: &mut Vec<(String, String, Finding)>,
) -> PlannedStream {
    let selection = &pipeline.source.streams;
    let known: Vec<String> = schema
        .arrow()
        .fields()
        .iter()
        .map(|field| field.name().clone())
        .collect();
    let mut unknown = |pointer: String, column: &str| {
        if !known.iter().any(|other| other == column) {
            let message = format!("stream `{name}` has no column `{column}`");
            findings.push((
                pointer,
                did_you_mean(column, &known),
                Finding::error(&E0203, message).hint(has(&known)),
            ));
        }
    };
    let escaped = name.replace('~', "~0").replace('/', "~1");
    let mut stream = PlannedStream::new(schema.stream().clone());
    if let Some(columns) = selection.columns.get(name) {
        for (list, names) in [("include", &columns.include), ("exclude", &columns.exclude)] {
            for (at, column) in names.iter().enumerate() {
                unknown(format!("/streams/columns/{escaped}/{list}/{at}"), column);
            }
        }
        stream.exclude = known
            .iter()
            .filter(|column| !columns.selects(column))
            .cloned()
            .collect();
    }
    if let Some(StreamOverride { key, snapshot, columns }) = selection.overrides.get(name) {
        for (at, column) in key.iter().flatten().enumerate() {
            unknown(format!("/streams/overrides/{escaped}/key/{at}"), column);
        }
        for column in columns.keys() {
            let inside = column.replace('~', "~0").replace('/', "~1");
            unknown(format!("/streams/overrides/{escaped}/columns/{inside}"), column);
        }
        stream.key = key.clone();
        stream.types = columns.clone();
        if *snapshot == Some(config::Snapshot::Skip) {
            stream.snapshot = Snapshot::Skip;
        }
    }
    stream
}

fn has(names: &[String]) -> String {
    const SHOWN_MAX: usize = 12;
    let shown: Vec<String> = names.iter().take(SHOWN_MAX).map(|name| format!("`{name}`")).collect();
    match names.len() {
        0 => "there are none at all".to_owned(),
        count if count > SHOWN_MAX => format!("there are {}, and {} more", shown.join(", "), count - SHOWN_MAX),
        _ => format!("there are {}", shown.join(", ")),
    }
}

fn did_you_mean(name: &str, known: &[String]) -> String {
    let lower = name.to_lowercase();
    let nearest = known
        .iter()
        .map(|candidate| (candidate, strsim::jaro_winkler(&lower, &candidate.to_lowercase())))
        .filter(|(_, similarity)| *similarity >= 0.8)
        .max_by(|(_, left), (_, right)| left.total_cmp(right));
    nearest.map_or_else(String::new, |(candidate, _)| format!("did you mean `{candidate}`?"))
}
