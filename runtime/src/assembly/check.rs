//! Offline checks that need the connectors: whether each accepts its spec, and whether each destination can take what its
//! source sends. `validate` and `run` go through the same.

use std::collections::HashSet;

use api::{Guarantee, Registry, SourceCapabilities, SpecError};
use config::{Deletes, DestinationPlan, Finding, Loaded, Part, PipelinePlan, Write, WriteMode, codes};

use super::blueprint::{build_context, destination_options};
use super::guarantee;
use crate::codes::{E0502, N0201, N0502, W0501, W0502};

/// Adds to a configuration what its connectors have to say about it.
pub(crate) fn check(loaded: &mut Loaded, registry: &Registry) {
    let Some(plan) = loaded.plan.clone() else { return };
    let mut checker = Checker {
        loaded,
        registry,
        seen: HashSet::new(),
    };
    for (at, pipeline) in plan.pipelines.iter().enumerate() {
        checker.pipeline(at, pipeline);
    }
    if checker.loaded.has_errors() {
        checker.loaded.plan = None;
    }
}

struct Checker<'a> {
    loaded: &'a mut Loaded,
    registry: &'a Registry,
    /// A definition that several pipelines use is wrong once.
    seen: HashSet<String>,
}

impl Checker<'_> {
    fn pipeline(&mut self, at: usize, pipeline: &PipelinePlan) {
        let cx = build_context(self.loaded, &pipeline.name);
        let part = Part::source(&pipeline.name);
        let source = &pipeline.source;
        let sends = match self.registry.sources.get(source.connector.as_str()) {
            Some(entry) => {
                let built = entry.build(source.spec.value().clone(), &cx);
                self.refused(&part, &source.connector, built.err());
                entry.capabilities(source.spec.value().clone()).ok()
            }
            None => None,
        };
        for transformer in &pipeline.transformers {
            let part = Part::transformer(&pipeline.name, &transformer.name);
            self.transformer(&part, transformer, &cx);
        }
        for (place, destination) in pipeline.destinations.iter().enumerate() {
            for transformer in &destination.transformers {
                let part = Part::transformer_of(&pipeline.name, &destination.name, &transformer.name);
                self.transformer(&part, transformer, &cx);
            }
            let promised = self.destination(pipeline, destination, sends.as_ref(), &cx);
            let pipelines = self.loaded.plan.as_mut().map(|plan| &mut plan.pipelines);
            let planned = pipelines.and_then(|pipelines| pipelines.get_mut(at)?.destinations.get_mut(place));
            if let (Some(planned), Some(promised)) = (planned, promised) {
                planned.guarantee = promised.to_string();
            }
        }
    }

    fn transformer(&mut self, part: &Part, transformer: &config::TransformerPlan, cx: &api::BuildContext) {
        if let Some(entry) = self.registry.transformers.get(transformer.connector.as_str()) {
            let built = entry.build(transformer.spec.value().clone(), cx);
            self.refused(part, &transformer.connector, built.err());
        }
    }

    /// What its route promises, if both ends can be built.
    fn destination(
        &mut self,
        pipeline: &PipelinePlan,
        destination: &DestinationPlan,
        sends: Option<&SourceCapabilities>,
        cx: &api::BuildContext,
    ) -> Option<Guarantee> {
        let part = Part::destination(&pipeline.name, &destination.name);
        let entry = self.registry.destinations.get(destination.connector.as_str())?;
        let options = destination_options(destination);
        let built = entry.build(destination.spec.value().clone(), options, cx);
        let can = match built {
            Ok(built) => built.capabilities(),
            Err(error) => {
                self.refused(&part, &destination.connector, Some(error));
                return None;
            }
        };
        let sends = sends?;
        let only_appends =
            destination.write == WriteMode::Always(Write::Append) || can.writes == [api::WriteMode::Append];
        let mirrors = sends.rereads && destination.write == WriteMode::Always(Write::Mirror);
        let name = &destination.name;
        if sends.deletes && !only_appends && !can.deletes && destination.deletes == Deletes::Apply {
            let message = format!("destination `{name}` cannot delete, and the source sends deletes");
            let finding = Finding::warning(&W0501, message).hint("set `deletes: ignore` if that is meant");
            self.report(&part, "/deletes", "", finding);
        }
        if !sends.deletes && !only_appends && !mirrors && destination.deletes != Deletes::Ignore {
            let message =
                format!("rows that are deleted at the source stay at `{name}`: the source does not see deletes");
            let hint = match sends.rereads {
                true => {
                    "set `write: mirror`, which removes what a reading did not meet, or `deletes: ignore` if that is meant"
                }
                false => "read with `capture: triggers`, or set `deletes: ignore` to say that it is meant",
            };
            self.report(&part, "/deletes", "", Finding::note(&N0201, message).hint(hint));
        }
        if sends.unavailable && !only_appends && !can.unavailable {
            let message = format!("destination `{name}` cannot leave values alone that the source does not send");
            self.report(&part, "/connector", "", Finding::error(&E0502, message));
        }
        let promised = guarantee::of_route(sends, &can, options.write);
        if sends.cursors_elsewhere {
            let message = format!("after a crash `{name}` can lack rows: the source's cursors can run ahead of them");
            let finding = Finding::warning(&W0502, message);
            self.report(
                &part,
                "/connector",
                "",
                finding.hint("leave `state_backend` out of the source's spec"),
            );
        }
        if promised == Guarantee::AtLeastOnce {
            let message = format!("destination `{name}` may get rows twice after a crash");
            self.report(&part, "/connector", "", Finding::note(&N0502, message));
        }
        Some(promised)
    }

    fn refused(&mut self, part: &Part, connector: &str, error: Option<SpecError>) {
        let Some(error) = error else { return };
        let finding = Finding::error(&codes::E0127, error.message);
        let finding = match error.hint {
            Some(hint) => finding.hint(hint),
            None => finding,
        };
        // A refusal of the whole may be about the fields beside the spec.
        let (pointer, label) = match error.pointer.as_str() {
            "" => ("/connector".to_owned(), format!("`{connector}` refuses this")),
            inside => (format!("/spec{inside}"), String::new()),
        };
        self.report(part, &pointer, &label, finding);
    }

    fn report(&mut self, part: &Part, pointer: &str, label: &str, finding: Finding) {
        let place = self.loaded.locate(part, pointer);
        if self
            .seen
            .insert(format!("{}{}{place:?}", finding.code, finding.message))
        {
            self.loaded.report_at(part, pointer, label, finding);
        }
    }
}
