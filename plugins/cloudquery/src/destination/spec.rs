use schemars::JsonSchema;
use serde::Deserialize;

use crate::spec::PluginSpec;

/// The spec of the destination `cloudquery`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CloudQueryDestinationSpec {
    /// Which plugin, and how it is reached.
    plugin: PluginSpec,
    /// The most bytes of one message. Python's, JavaScript's and Java's servers take 4 MiB; Go's take 200 MiB.
    #[serde(default = "default_message_bytes")]
    #[schemars(extend("x-unit" = "bytes"))]
    message_bytes_max: usize,
    /// Whether the plugin may drop a table and make it again where a column cannot be changed.
    #[serde(default)]
    migrate_force: bool,
}

/// Below 4 MiB by what the message has around its payload.
fn default_message_bytes() -> usize {
    proto::SMALL_MESSAGE_BYTES_MAX - 1_024
}

impl CloudQueryDestinationSpec {
    pub(super) fn plugin(&self) -> &PluginSpec {
        &self.plugin
    }

    /// The plugin's name in messages: the last part of its path.
    pub(super) fn name(&self) -> &str {
        self.plugin.path.rsplit('/').next().unwrap_or(&self.plugin.path)
    }

    pub(super) fn message_bytes_max(&self) -> usize {
        self.message_bytes_max.clamp(64 << 10, proto::MESSAGE_BYTES_MAX - 1_024)
    }

    pub(super) fn migrate_force(&self) -> bool {
        self.migrate_force
    }
}
