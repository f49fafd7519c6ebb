use schemars::JsonSchema;
use serde::Deserialize;

use crate::spec::PluginSpec;

/// How large a message a plugin takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum MessageSize {
    /// 4 MiB: what the servers of every SDK take.
    #[default]
    Small,
    /// 200 MiB: Go's, and Highwater's own. Needed only where one row is longer than 4 MiB.
    Large,
}

impl MessageSize {
    /// The most bytes of a payload.
    pub(crate) fn bytes_max(self) -> usize {
        let most = match self {
            MessageSize::Small => proto::SMALL_MESSAGE_BYTES_MAX,
            MessageSize::Large => proto::MESSAGE_BYTES_MAX,
        };
        // Less what a message has around its payload.
        most - 1_024
    }
}

/// The spec of the destination `cloudquery`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CloudQueryDestinationSpec {
    /// Which plugin, and how it is reached.
    plugin: PluginSpec,
    /// How large its messages may be.
    #[serde(default)]
    messages: MessageSize,
    /// Whether the plugin may drop a table and make it again where a column cannot be changed.
    #[serde(default)]
    migrate_force: bool,
}

impl CloudQueryDestinationSpec {
    pub(super) fn plugin(&self) -> &PluginSpec {
        &self.plugin
    }

    pub(super) fn name(&self) -> &str {
        self.plugin.name()
    }

    pub(super) fn message_bytes_max(&self) -> usize {
        self.messages.bytes_max()
    }

    pub(super) fn migrate_force(&self) -> bool {
        self.migrate_force
    }
}
