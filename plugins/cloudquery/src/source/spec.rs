use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use super::selection::Selection;
use crate::spec::PluginSpec;

/// The spec of the source `cloudquery`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CloudQuerySourceSpec {
    /// Which plugin, and how it is reached.
    plugin: PluginSpec,
    /// The name in `_cq_source_name`; the last part of the plugin's path if it is not set. Also the name of the history:
    /// with another name every table is read anew.
    #[serde(default)]
    name: Option<String>,
    /// Which of the plugin's tables there are: names, or patterns in which `*` is any text. A table brings those above it.
    #[serde(default)]
    tables: Option<Vec<String>>,
    /// Tables that are left out again, with everything below them: names or patterns.
    #[serde(default)]
    skip_tables: Vec<String>,
    /// Whether the tables below a chosen one are left out, unless they are chosen themselves.
    #[serde(default = "yes")]
    skip_dependent_tables: bool,
    /// Whether the plugin makes `_cq_id` from the key and uses it as the key, where it can.
    #[serde(default)]
    deterministic_cq_id: bool,
    /// How long after one sync begins the next one does. Without it there is one sync for each run.
    #[serde(default, deserialize_with = "crate::spec::duration_or_none")]
    #[schemars(with = "Option<String>")]
    every: Option<Duration>,
    /// Whether tables that keep a cursor bring only what is new. The cursors lie in the state directory, with the checkpoints.
    #[serde(default)]
    incremental: bool,
}

fn yes() -> bool {
    true
}

impl CloudQuerySourceSpec {
    pub(super) fn selection(&self) -> Selection<'_> {
        Selection {
            tables: self.tables.as_deref(),
            skip_tables: &self.skip_tables,
            skip_dependent_tables: self.skip_dependent_tables,
        }
    }

    pub(super) fn plugin(&self) -> &PluginSpec {
        &self.plugin
    }

    pub(super) fn source_name(&self) -> &str {
        self.name.as_deref().unwrap_or(self.plugin.name())
    }

    pub(super) fn every(&self) -> Option<Duration> {
        self.every
    }

    pub(super) fn incremental(&self) -> bool {
        self.incremental
    }

    pub(super) fn deterministic_cq_id(&self) -> bool {
        self.deterministic_cq_id
    }
}
