//! The connectors' own part of the config.

use schemars::JsonSchema;
use serde::Deserialize;

/// Parquet files in a local directory.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ParquetSpec {
    /// Where the files go, such as `./out/{stream}/date={date}/`. Placeholders: `{stream}` (`public.orders`), `{schema}`,
    /// `{table}`, `{date}` and `{hour}` of the row's commit at the source, in UTC. Manifests lie in `_highwater/` in the
    /// directory before the first placeholder.
    pub path: String,
    /// How pages are compressed.
    #[serde(default)]
    pub compression: Compression,
    /// How large a row group may become in memory before it is written. Larger groups are read faster; smaller ones
    /// cost less memory.
    #[serde(default = "row_group_bytes")]
    #[schemars(extend("x-unit" = "size"))]
    pub row_group_bytes: String,
    /// A file that reaches this size is closed, and the next one begins in the same commit.
    #[serde(default = "file_bytes_max")]
    #[schemars(extend("x-unit" = "size"))]
    pub file_bytes_max: String,
}

/// CSV files in a local directory.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CsvSpec {
    /// Where the files go, such as `./out/{stream}/date={date}/`. Placeholders: `{stream}` (`public.orders`), `{schema}`,
    /// `{table}`, `{date}` and `{hour}` of the row's commit at the source, in UTC. Manifests lie in `_highwater/` in the
    /// directory before the first placeholder.
    pub path: String,
    /// One ASCII character between two values.
    #[serde(default = "delimiter")]
    pub delimiter: String,
    /// Whether each file begins with the names of the columns.
    #[serde(default = "header")]
    pub header: bool,
    /// What stands for NULL. A text that reads the same is refused; with an empty one, NULL and empty text look alike.
    #[serde(default = "null")]
    pub null: String,
    /// A file that reaches this size is closed, and the next one begins in the same commit.
    #[serde(default = "file_bytes_max")]
    #[schemars(extend("x-unit" = "size"))]
    pub file_bytes_max: String,
}

/// Files of one JSON object on each line, in a local directory.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NdjsonSpec {
    /// Where the files go, such as `./out/{stream}/date={date}/`. Placeholders: `{stream}` (`public.orders`), `{schema}`,
    /// `{table}`, `{date}` and `{hour}` of the row's commit at the source, in UTC. Manifests lie in `_highwater/` in the
    /// directory before the first placeholder.
    pub path: String,
    /// A file that reaches this size is closed, and the next one begins in the same commit.
    #[serde(default = "file_bytes_max")]
    #[schemars(extend("x-unit" = "size"))]
    pub file_bytes_max: String,
}

/// How Parquet pages are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// Zstandard, level 1.
    #[default]
    Zstd,
    /// Snappy, for readers that have nothing else.
    Snappy,
    /// As they are.
    None,
}

/// Two of them are the destination's whole buffer.
fn row_group_bytes() -> String {
    "8MiB".to_owned()
}

/// What engines like to read in one piece.
fn file_bytes_max() -> String {
    "256MiB".to_owned()
}

fn delimiter() -> String {
    ",".to_owned()
}

fn header() -> bool {
    true
}

/// As PostgreSQL's COPY and MySQL write it.
fn null() -> String {
    "\\N".to_owned()
}
