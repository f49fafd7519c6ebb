//! The source's part of the configuration.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

/// How a SQLite database is read.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "sqlite source")]
pub struct SqliteSourceSpec {
    /// The database file. A relative path starts at the directory of the configuration file.
    #[schemars(example = "./shop.db")]
    pub path: PathBuf,
    /// How changes are found.
    #[serde(default)]
    pub capture: Capture,
    /// For `capture: poll`: table to the column that grows with every insert and update (an integer, or text of the form
    /// `YYYY-MM-DD HH:MM:SS`).
    #[serde(default)]
    pub cursor: BTreeMap<String, String>,
    /// For `capture: poll`: the time between two looks for changed rows.
    #[serde(default = "default_poll_every", deserialize_with = "duration")]
    #[schemars(with = "String", extend("x-unit" = "duration"), example = "500ms")]
    pub poll_every: Duration,
    /// For `capture: triggers`: change rows that may wait in the database for destinations. When there are more and nothing
    /// was taken for `changes_stalled_after`, capture ends (the triggers are removed, so that the database does not fill its disk), and
    /// the streams have to be read again.
    #[serde(default = "default_changes_max")]
    #[schemars(range(min = 1_000))]
    pub changes_max: u64,
    /// For `capture: triggers`: how long no destination may have taken anything before a full change table ends capture. A
    /// backlog that is being worked off is no reason.
    #[serde(default = "default_changes_stalled_after", deserialize_with = "duration")]
    #[schemars(with = "String", extend("x-unit" = "duration"), example = "10m")]
    pub changes_stalled_after: Duration,
    /// For `capture: triggers`: change rows from which on a warning is given.
    #[serde(default = "default_changes_warn")]
    pub changes_warn: u64,
    /// Rows of one page when existing rows are read. A page is also bounded by the size of a changeset.
    #[serde(default = "default_page_rows")]
    #[schemars(range(min = 1, max = 10_000_000))]
    pub page_rows: usize,
}

/// How changes are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Capture {
    /// Triggers write every change into a table of Highwater's in the same database. Sees everything, deletes included.
    #[default]
    Triggers,
    /// Rows whose cursor column has grown are read again and again. Writes nothing into the database; sees no deletes.
    Poll,
}

fn default_poll_every() -> Duration {
    Duration::from_secs(1)
}

/// `500ms`, `5s`, `1m`.
fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse::<jiff::SignedDuration>()
        .ok()
        .and_then(|duration| Duration::try_from(duration).ok())
        .filter(|duration| !duration.is_zero())
        .ok_or_else(|| {
            D::Error::custom(format!(
                "`{text}` is no duration: write a number and a unit, such as `500ms`"
            ))
        })
}

fn default_changes_max() -> u64 {
    100_000_000
}

fn default_changes_stalled_after() -> Duration {
    Duration::from_secs(60)
}

fn default_changes_warn() -> u64 {
    10_000_000
}

fn default_page_rows() -> usize {
    50_000
}

/// How many change rows may wait, and for how long.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ChangesLimits {
    pub(crate) rows_max: u64,
    /// More than `rows_max` end capture only if nothing was acknowledged for this long.
    pub(crate) stalled_after: Duration,
    pub(crate) rows_warn: u64,
}

impl SqliteSourceSpec {
    pub(crate) fn limits(&self) -> ChangesLimits {
        ChangesLimits {
            rows_max: self.changes_max,
            stalled_after: self.changes_stalled_after,
            rows_warn: self.changes_warn,
        }
    }
}
