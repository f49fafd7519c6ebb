//! One pipeline of the plan with its connectors at hand: everything but the streams, which only the source knows.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use actors::{Backoff, BatchLimits, DestinationSpec, Limits, Make, PipelineSpec, TransformerSpec};
use api::{
    BuildContext, Destination, DestinationOptions, Error, Lane, Owner, PlannedStream, Registry, Retry, Source,
    SpecError, Transformer,
};
use config::{
    Deletes, DestinationPlan, Loaded, OnSchemaChange, Part, PipelinePlan, RuntimePlan, TransformerPlan, WhenBehind,
    Write, WriteMode,
};
use model::{DestinationId, PipelineId, StreamSchema};

use super::{guarantee, meaning, streams};

/// A changeset this large costs little per row; more only delays the first of them.
const CHANGESET_BYTES_MAX: u64 = 4 << 20;

/// A pipeline that can be built.
#[derive(Clone)]
pub(crate) struct Blueprint {
    /// What was configured.
    pub(crate) plan: PipelinePlan,
    /// Its source.
    pub(crate) source: Arc<dyn Source>,
    configured: Vec<PipelineId>,
    cx: BuildContext,
    registry: Arc<Registry>,
}

impl Blueprint {
    /// Of every pipeline in a configuration that was checked, or of those named.
    pub(crate) fn all(loaded: &Loaded, registry: &Arc<Registry>) -> Result<Vec<Blueprint>, Error> {
        let pipelines = loaded.plan.iter().flat_map(|plan| &plan.pipelines);
        pipelines.map(|plan| Blueprint::new(loaded, registry, plan)).collect()
    }

    fn new(loaded: &Loaded, registry: &Arc<Registry>, plan: &PipelinePlan) -> Result<Blueprint, Error> {
        let cx = build_context(loaded, &plan.name);
        let connector = plan.source.connector.as_str();
        let entry = registry.sources.get(connector).ok_or_else(|| unknown(connector))?;
        let pipelines = loaded.plan.iter().flat_map(|plan| &plan.pipelines);
        let source = entry.build(plan.source.spec.value().clone(), &cx).map_err(refused)?;
        Ok(Blueprint {
            plan: plan.clone(),
            source: Arc::from(source),
            configured: pipelines.map(|plan| PipelineId::new(plan.name.as_str())).collect(),
            cx,
            registry: Arc::clone(registry),
        })
    }

    /// Its name.
    pub(crate) fn id(&self) -> PipelineId {
        PipelineId::new(self.plan.name.as_str())
    }

    /// The part of the configuration that its stream list stands in.
    pub(crate) fn streams_part(&self) -> Part {
        streams::part(&self.plan)
    }

    /// Holds its stream list against what the source has.
    pub(crate) fn resolve(&self, discovered: &[Arc<StreamSchema>]) -> super::Resolved {
        super::resolve(&self.plan, discovered)
    }

    /// What to ask the source for.
    pub(crate) fn source_plan(&self, streams: Vec<PlannedStream>, runtime: &RuntimePlan) -> api::Plan {
        api::Plan {
            pipeline: self.id(),
            configured: self.configured.clone(),
            streams,
            changeset_bytes_max: CHANGESET_BYTES_MAX.min(runtime.memory_limit_bytes / 16).max(64 << 10) as usize,
        }
    }

    /// Everything that the actors need.
    pub(crate) fn spec(
        &self,
        streams: Vec<PlannedStream>,
        runtime: &RuntimePlan,
        scratch: &Path,
        once: bool,
    ) -> PipelineSpec {
        PipelineSpec {
            id: self.id(),
            connector: self.plan.source.connector.clone(),
            source: Arc::clone(&self.source),
            plan: self.source_plan(streams, runtime),
            transformers: self.transformers(&self.plan.transformers),
            destinations: self
                .plan
                .destinations
                .iter()
                .filter_map(|plan| self.destination(plan))
                .collect(),
            window_max_bytes: runtime.spool.window_max_bytes as usize,
            scratch: scratch.join(&self.plan.name),
            once,
            limits: Limits::default(),
        }
    }

    /// Makes a destination, for commands that talk to it without running the pipeline.
    pub(crate) fn make_destination(&self, plan: &DestinationPlan) -> Result<Box<dyn Destination>, Error> {
        (self.destination_maker(plan))()
    }

    /// Makes what stands in front of a destination, in order.
    pub(crate) fn make_transformers(&self, plan: &DestinationPlan) -> Result<Vec<Box<dyn Transformer>>, Error> {
        let chain = self.plan.transformers.iter().chain(&plan.transformers);
        chain.map(|plan| (self.transformer_maker(plan))()).collect()
    }

    /// The key of a destination's ledger.
    pub(crate) fn lane(&self, plan: &DestinationPlan, owner: Owner) -> Lane {
        Lane {
            pipeline: self.id(),
            destination: DestinationId::new(plan.name.as_str()),
            lane: 0,
            owner,
            take_over: false,
            plan_hash: self.meaning(plan),
        }
    }

    /// The hash of the transformers before a destination.
    pub(crate) fn meaning(&self, plan: &DestinationPlan) -> String {
        meaning::hash(self.plan.transformers.iter().chain(&plan.transformers))
    }

    fn destination(&self, plan: &DestinationPlan) -> Option<DestinationSpec> {
        let make = self.destination_maker(plan);
        // A spec can change what a connector promises; what it says of itself is the fallback.
        let mut capabilities = match make() {
            Ok(destination) => destination.capabilities(),
            Err(_) => self
                .registry
                .destinations
                .get(plan.connector.as_str())?
                .capabilities
                .clone(),
        };
        let sends = self.source.capabilities();
        capabilities.guarantee = guarantee::of_route(&sends, &capabilities, destination_options(plan).write);
        Some(DestinationSpec {
            id: DestinationId::new(plan.name.as_str()),
            connector: plan.connector.clone(),
            make,
            capabilities,
            transformers: self.transformers(&plan.transformers),
            batch: BatchLimits {
                bytes_max: plan.batch.bytes_max,
                rows_max: plan.batch.rows_max,
                wait_max: plan.batch.wait_max,
            },
            retry: Backoff {
                min: plan.retry.backoff_min,
                max: plan.retry.backoff_max,
                give_up_after: plan.retry.give_up_after,
            },
            when_behind: match plan.when_behind {
                WhenBehind::Hold => spool::WhenBehind::Hold,
                WhenBehind::Rewind => spool::WhenBehind::LetGo,
            },
            plan_hash: self.meaning(plan),
        })
    }

    fn destination_maker(&self, plan: &DestinationPlan) -> Make<dyn Destination> {
        let (registry, cx) = (Arc::clone(&self.registry), self.cx.clone());
        let (connector, spec, options) = (plan.connector.clone(), plan.spec.clone(), destination_options(plan));
        Arc::new(move || {
            let entry = registry
                .destinations
                .get(connector.as_str())
                .ok_or_else(|| unknown(&connector))?;
            entry.build(spec.value().clone(), options, &cx).map_err(refused)
        })
    }

    fn transformers(&self, plans: &[TransformerPlan]) -> Vec<TransformerSpec> {
        let one = |plan: &TransformerPlan| TransformerSpec {
            name: plan.name.clone(),
            make: self.transformer_maker(plan),
        };
        plans.iter().map(one).collect()
    }

    fn transformer_maker(&self, plan: &TransformerPlan) -> Make<dyn Transformer> {
        let (registry, cx) = (Arc::clone(&self.registry), self.cx.clone());
        let (connector, spec) = (plan.connector.clone(), plan.spec.clone());
        Arc::new(move || {
            let entry = registry
                .transformers
                .get(connector.as_str())
                .ok_or_else(|| unknown(&connector))?;
            entry.build(spec.value().clone(), &cx).map_err(refused)
        })
    }
}

/// Relative paths in a pipeline start at the directory of the file that it stands in.
pub(super) fn build_context(loaded: &Loaded, pipeline: &str) -> BuildContext {
    BuildContext {
        base_dir: directory_of(loaded, &Part::pipeline(pipeline)).unwrap_or_default(),
    }
}

/// The directory of the file that a part of the configuration stands in, as it was named; empty for the working directory.
pub(crate) fn directory_of(loaded: &Loaded, part: &Part) -> Option<PathBuf> {
    let (place, _) = loaded.locate(part, "")?;
    Path::new(&place.file).parent().map(Path::to_owned)
}

pub(super) fn destination_options(plan: &DestinationPlan) -> DestinationOptions {
    DestinationOptions {
        write: match plan.write {
            WriteMode::ByKey => None,
            WriteMode::Always(Write::Append) => Some(api::WriteMode::Append),
            WriteMode::Always(Write::Upsert) => Some(api::WriteMode::Upsert),
            WriteMode::Always(Write::Mirror) => Some(api::WriteMode::Mirror),
        },
        deletes: match plan.deletes {
            Deletes::Apply => api::Deletes::Apply,
            Deletes::Soft => api::Deletes::Soft,
            Deletes::Ignore => api::Deletes::Ignore,
        },
        on_schema_change: plan.on_schema_change.map(|change| match change {
            OnSchemaChange::Apply => api::OnSchemaChange::Apply,
            OnSchemaChange::NewVersion => api::OnSchemaChange::NewVersion,
            OnSchemaChange::Pause => api::OnSchemaChange::Pause,
            OnSchemaChange::Ignore => api::OnSchemaChange::Ignore,
        }),
    }
}

fn unknown(connector: &str) -> Error {
    Error::new(
        "E0112",
        Retry::Never,
        format!("cannot build `{connector}`: there is no such connector"),
    )
}

fn refused(error: SpecError) -> Error {
    let hint = error.hint.clone();
    let refused = Error::new("E0127", Retry::Never, error.message);
    match hint {
        Some(hint) => refused.hint(hint),
        None => refused,
    }
}
