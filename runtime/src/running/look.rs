//! One look at the sources: are they there, and do they have the streams that were asked for.

use api::{Error, PlannedStream, Retry};
use config::{Finding, Loaded, Part};

use crate::assembly::{Blueprint, Resolved};
use crate::codes;
use crate::exit::Exit;

/// What a look at the source of one pipeline brought.
pub(crate) struct Looked {
    /// The pipeline.
    pub(crate) blueprint: Blueprint,
    /// Its streams, or why they are not known.
    pub(crate) resolved: Result<Resolved, Error>,
}

/// Looks at all sources at once.
pub(crate) async fn look_at_all(blueprints: Vec<Blueprint>) -> Vec<Looked> {
    futures::future::join_all(blueprints.into_iter().map(look_at)).await
}

/// Looks at one source.
pub(super) async fn look_at(blueprint: Blueprint) -> Looked {
    let resolved = blueprint
        .source
        .discover()
        .await
        .map(|discovered| blueprint.resolve(&discovered));
    Looked { blueprint, resolved }
}

impl Looked {
    /// The streams, if the source was reached and has all of them.
    pub(crate) fn streams(&self) -> Option<&[PlannedStream]> {
        let resolved = self.resolved.as_ref().ok()?;
        let is_sound = resolved
            .findings
            .iter()
            .all(|(_, _, finding)| finding.severity != config::Severity::Error);
        is_sound.then_some(resolved.streams.as_slice())
    }

    /// Whether the source may simply not be there yet.
    pub(crate) fn is_away(&self) -> bool {
        matches!(&self.resolved, Err(error) if error.retry() == Retry::After)
    }
}

/// Puts what a look brought beside the lines of the configuration. How bad it is: `Done` if everything is there.
pub(crate) fn report(loaded: &mut Loaded, looked: &Looked) -> Exit {
    match &looked.resolved {
        Err(error) => {
            report_error(loaded, &Part::source(&looked.blueprint.plan.name), error);
            Exit::of(error.retry())
        }
        Ok(resolved) => {
            let part = looked.blueprint.streams_part();
            for (pointer, label, finding) in &resolved.findings {
                loaded.report_at(&part, &written(loaded, &part, pointer), label, finding.clone());
            }
            if looked.streams().is_some() {
                Exit::Done
            } else {
                Exit::Input
            }
        }
    }
}

/// What a system said of itself, at the component's line.
pub(crate) fn report_error(loaded: &mut Loaded, part: &Part, error: &Error) {
    let code = codes::of(error.code());
    let finding = match error.code().as_bytes().first() {
        Some(b'W') => Finding::warning(&code, error.chain()),
        Some(b'N') => Finding::note(&code, error.chain()),
        _ => Finding::error(&code, error.chain()),
    };
    let finding = match error.remedy() {
        Some(hint) => finding.hint(hint),
        None => finding,
    };
    let pointer = format!("/spec{}", error.place().unwrap_or_default());
    loaded.report_at(part, &pointer, "", finding);
}

/// A list of streams may stand alone or as `include` of a map.
fn written(loaded: &Loaded, part: &Part, pointer: &str) -> String {
    let in_map = pointer.replacen("/streams/", "/streams/include/", 1);
    match loaded.locate(part, &in_map) {
        Some((_, found)) if found.ends_with(&in_map) => in_map,
        _ => pointer.to_owned(),
    }
}
