use schemars::JsonSchema;
use serde::Deserialize;

use crate::destination::MessageSize;
use crate::spec::PluginSpec;

/// The spec of the transformer `cloudquery`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CloudQueryTransformerSpec {
    /// Which plugin, and how it is reached.
    plugin: PluginSpec,
    /// How large its messages may be.
    #[serde(default)]
    messages: MessageSize,
}

impl CloudQueryTransformerSpec {
    pub(super) fn plugin(&self) -> &PluginSpec {
        &self.plugin
    }

    /// The plugin's name in messages.
    pub(super) fn name(&self) -> &str {
        self.plugin.name()
    }

    pub(super) fn message_bytes_max(&self) -> usize {
        self.messages.bytes_max()
    }
}
