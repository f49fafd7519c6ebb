use schemars::JsonSchema;
use serde::Deserialize;

/// The spec of `basic`, as CloudQuery's transformer of that name has it.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BasicSpec {
    /// What is done, in this order.
    pub transformations: Vec<Transformation>,
    /// What stands in the place of an obfuscated value, before ` | ` and the hash. An obfuscated JSON column is an object
    /// with one member of that name, in small letters and with underscores. The default is what CloudQuery's own
    /// transformer writes, so that rows that are there stay equal.
    #[serde(default = "marker")]
    pub marker: String,
}

/// One transformation. `tables` are names of streams, in which `*` is any text; without them it is for all.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Transformation {
    /// Leaves columns out, or members of JSON columns.
    RemoveColumns {
        /// For which streams.
        #[serde(default)]
        tables: Vec<String>,
        /// Columns, and places in JSON columns (`tags.a.0.b`; `#` is each element).
        columns: Vec<String>,
    },
    /// Adds a column with the same text in each row, as the last.
    AddColumn {
        /// For which streams.
        #[serde(default)]
        tables: Vec<String>,
        /// The column.
        name: String,
        /// The text.
        value: String,
    },
    /// Adds a column with the time at which the row came by, as the last.
    AddCurrentTimestampColumn {
        /// For which streams.
        #[serde(default)]
        tables: Vec<String>,
        /// The column.
        name: String,
    },
    /// Gives a column another name.
    RenameColumn {
        /// For which streams.
        #[serde(default)]
        tables: Vec<String>,
        /// The column.
        name: String,
        /// Its new name.
        value: String,
    },
    /// Puts a marker in the place of values of text, binary and JSON columns.
    ObfuscateColumns {
        /// For which streams.
        #[serde(default)]
        tables: Vec<String>,
        /// Columns, and places in JSON columns.
        columns: Vec<String>,
        /// Whether the SHA-256 of the value stands behind the marker.
        #[serde(default = "yes")]
        include_sha: bool,
    },
    /// The same, for the columns that their source marks as sensitive.
    ObfuscateSensitiveColumns {
        /// For which streams.
        #[serde(default)]
        tables: Vec<String>,
        /// Whether the SHA-256 of the value stands behind the marker.
        #[serde(default = "yes")]
        include_sha: bool,
    },
    /// Lets only the named columns, and places in JSON columns, go on as they are.
    ObfuscateColumnsExcept {
        /// For which streams.
        #[serde(default)]
        tables: Vec<String>,
        /// What goes on as it is.
        #[serde(default)]
        columns: Vec<String>,
        /// Whether the SHA-256 of the value stands behind the marker.
        #[serde(default = "yes")]
        include_sha: bool,
        /// What becomes of the rest.
        #[serde(default)]
        unmatched: Unmatched,
    },
    /// Gives streams another name. Only where a caller keeps the names, which a pipeline does not.
    ChangeTableNames {
        /// For which streams.
        #[serde(default)]
        tables: Vec<String>,
        /// The new name; `{{.OldName}}` stands for the old one.
        new_table_name_template: String,
    },
    /// Makes columns part of the key.
    AddPrimaryKeys {
        /// For which streams.
        #[serde(default)]
        tables: Vec<String>,
        /// The columns.
        columns: Vec<String>,
    },
    /// Makes texts upper case.
    Uppercase {
        /// For which streams.
        #[serde(default)]
        tables: Vec<String>,
        /// Columns, and places in JSON columns.
        columns: Vec<String>,
    },
    /// Makes texts lower case.
    Lowercase {
        /// For which streams.
        #[serde(default)]
        tables: Vec<String>,
        /// Columns, and places in JSON columns.
        columns: Vec<String>,
    },
    /// Drops the rows in which one of the columns has the value.
    DropRows {
        /// For which streams.
        #[serde(default)]
        tables: Vec<String>,
        /// The columns.
        columns: Vec<String>,
        /// The value as text; null, or nothing, is NULL.
        #[serde(default)]
        value: Option<String>,
    },
}

/// What becomes of what `obfuscate_columns_except` does not name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Unmatched {
    /// It is left out.
    #[default]
    Drop,
    /// A marker for each object or array of which nothing is named.
    Collapse,
    /// A marker for each value; objects and arrays keep their shape.
    Redact,
}

fn marker() -> String {
    "Redacted by CloudQuery".to_owned()
}

fn yes() -> bool {
    true
}

impl Transformation {
    /// The names and patterns of its streams; empty is all.
    pub(super) fn tables(&self) -> &[String] {
        match self {
            Transformation::RemoveColumns { tables, .. }
            | Transformation::AddColumn { tables, .. }
            | Transformation::AddCurrentTimestampColumn { tables, .. }
            | Transformation::RenameColumn { tables, .. }
            | Transformation::ObfuscateColumns { tables, .. }
            | Transformation::ObfuscateSensitiveColumns { tables, .. }
            | Transformation::ObfuscateColumnsExcept { tables, .. }
            | Transformation::ChangeTableNames { tables, .. }
            | Transformation::AddPrimaryKeys { tables, .. }
            | Transformation::Uppercase { tables, .. }
            | Transformation::Lowercase { tables, .. }
            | Transformation::DropRows { tables, .. } => tables,
        }
    }
}
