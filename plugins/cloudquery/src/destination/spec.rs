use api::{SpecError, WriteMode};
use schemars::JsonSchema;
use serde::Deserialize;

use super::group;
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

/// What the key of a plugin's tables is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum KeyOf {
    /// The stream's key.
    #[default]
    Stream,
    /// The column `_cq_id`, where there is one.
    CqId,
}

/// How a plugin's tables differ from the streams.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct TableRules<'a> {
    pub key: KeyOf,
    pub sync_group_id: Option<&'a str>,
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
    /// What the key of its tables is.
    #[serde(default)]
    key: KeyOf,
    /// For streams of a plugin's sync, the value of a column `_cq_sync_group_id`, which becomes part of the key, so that
    /// the rows of several syncs stand beside each other. `{{YEAR}}`, `{{MONTH}}`, `{{DAY}}`, `{{HOUR}}` and `{{MINUTE}}` are
    /// those of the sync's time in UTC, `{{SYNC_ID}}` is another UUID for each sync.
    #[serde(default)]
    sync_group_id: Option<String>,
}

impl CloudQueryDestinationSpec {
    pub(super) fn check(&self, write: Option<WriteMode>) -> Result<(), SpecError> {
        self.plugin.check()?;
        let Some(group) = &self.sync_group_id else {
            return Ok(());
        };
        if write == Some(WriteMode::Mirror) {
            let message = "`sync_group_id` keeps the rows of each sync, and `write: mirror` removes them";
            return Err(SpecError::at("/sync_group_id", message).hint("use `write: append` or `write: upsert`"));
        }
        group::check(group).map_err(|what| SpecError::at("/sync_group_id", what))
    }

    /// How the plugin's tables differ from the streams.
    pub(super) fn tables(&self) -> TableRules<'_> {
        TableRules {
            key: self.key,
            sync_group_id: self.sync_group_id.as_deref(),
        }
    }

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
