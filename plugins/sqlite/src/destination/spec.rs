use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;

/// What `spec` holds for a SQLite destination.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SqliteDestinationSpec {
    /// The database file, created if there is none; its directory must exist and be writable. A relative path starts at the
    /// directory of the config file. The file must lie on a local disk: SQLite's locks do not hold on network file systems.
    #[schemars(example = "./copy.db")]
    pub path: PathBuf,
}
