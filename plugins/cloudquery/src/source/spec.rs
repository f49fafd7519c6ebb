use std::time::Duration;

use api::SpecError;
use proto::plugin_v3::sync;
use schemars::JsonSchema;
use serde::Deserialize;

use super::selection::Selection;
use crate::spec::{Network, PluginSpec};

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
    /// A destination plugin that keeps the cursors, as under CloudQuery. They can be ahead of the rows after a crash; those that lie in
    /// the state directory never are.
    #[serde(default)]
    state_backend: Option<StateBackendSpec>,
    /// `NUM/TOTAL`, from `1/TOTAL`: the part of the plugin's work that this source does. Its name gets `_NUM_TOTAL` behind it.
    #[serde(default)]
    #[schemars(with = "Option<String>")]
    shard: Option<Shard>,
}

/// Where a plugin's cursors are kept, if not by us.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StateBackendSpec {
    /// The destination plugin, which the source plugin dials by itself.
    plugin: PluginSpec,
    /// The table there.
    #[serde(default = "default_state_table")]
    table: String,
}

fn default_state_table() -> String {
    "cq_state".to_owned()
}

/// `NUM/TOTAL`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
struct Shard {
    num: i32,
    total: i32,
}

impl TryFrom<String> for Shard {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let numbers = text.split_once('/').map(|(num, total)| (num.parse(), total.parse()));
        match numbers {
            Some((Ok(num), Ok(total))) if (1..=total).contains(&num) => Ok(Shard { num, total }),
            _ => Err(format!("`{text}` is no shard; write for example `1/4`, up to `4/4`")),
        }
    }
}

impl StateBackendSpec {
    pub(super) fn plugin(&self) -> &PluginSpec {
        &self.plugin
    }

    pub(super) fn table(&self) -> &str {
        &self.table
    }
}

fn yes() -> bool {
    true
}

impl CloudQuerySourceSpec {
    /// What the JSON Schema cannot say.
    pub(super) fn check(&self) -> Result<(), SpecError> {
        self.plugin.check()?;
        let Some(backend) = &self.state_backend else {
            return Ok(());
        };
        if !self.incremental {
            let error = SpecError::at(
                "/state_backend",
                "without `incremental: true` there are no cursors to keep",
            );
            return Err(error.hint("set `incremental: true`"));
        }
        if backend.plugin.network == Network::Unix {
            let what = "not every source plugin can dial a Unix socket";
            return Err(SpecError::at("/state_backend/plugin/network", what).hint("set `network: tcp`"));
        }
        backend.plugin.check().map_err(|error| SpecError {
            pointer: format!("/state_backend{}", error.pointer),
            ..error
        })
    }

    /// With its shard in its name: the rows and the history of each are its own.
    pub(super) fn named(mut self) -> Self {
        if let Some(Shard { num, total }) = self.shard {
            self.name = Some(format!("{}_{num}_{total}", self.source_name()));
        }
        self
    }

    pub(super) fn shard(&self) -> Option<sync::request::Shard> {
        self.shard
            .map(|Shard { num, total }| sync::request::Shard { num, total })
    }

    pub(super) fn state_backend(&self) -> Option<&StateBackendSpec> {
        self.state_backend.as_ref()
    }

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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn spec(more: &serde_json::Value) -> Result<CloudQuerySourceSpec, String> {
        let mut spec = json!({"plugin": {"registry": "local", "path": "./xkcd"}});
        if let (Some(spec), Some(more)) = (spec.as_object_mut(), more.as_object()) {
            spec.extend(more.clone());
        }
        serde_json::from_value(spec).map_err(|error| error.to_string())
    }

    #[test]
    fn shard_is_part_of_the_name() {
        let one = spec(&json!({"shard": "2/4"})).expect("a shard").named();
        assert_eq!(one.source_name(), "xkcd_2_4");
        assert_eq!(one.shard(), Some(sync::request::Shard { num: 2, total: 4 }));
        for text in ["", "2", "0/4", "5/4", "-1/4", "1/0", "a/b", "1/4/2"] {
            let refused = spec(&json!({"shard": text})).expect_err(text);
            assert!(refused.contains("is no shard"), "{text}: {refused}");
        }
    }

    #[test]
    fn state_backend_is_refused_where_it_cannot_be_one() {
        let backend = |plugin: serde_json::Value| json!({"incremental": true, "state_backend": {"plugin": plugin}});
        let refused = |spec: CloudQuerySourceSpec| spec.check().expect_err("it is refused").pointer;
        let good = json!({"registry": "local", "path": "./sqlite"});
        assert_eq!(spec(&backend(good.clone())).expect("well formed").check(), Ok(()));
        let unused = json!({"state_backend": {"plugin": good}});
        assert_eq!(refused(spec(&unused).expect("well formed")), "/state_backend");
        let unix = json!({"registry": "local", "path": "./sqlite", "network": "unix"});
        let pointer = refused(spec(&backend(unix)).expect("well formed"));
        assert_eq!(pointer, "/state_backend/plugin/network");
        let nowhere = json!({"registry": "grpc", "path": "nowhere"});
        let pointer = refused(spec(&backend(nowhere)).expect("well formed"));
        assert_eq!(pointer, "/state_backend/plugin/path");
    }
}
