//! The configuration: text -> tree with places -> typed, validated [`Plan`].
//!
//! Constraints:
//! - no connector is known here: a [`Catalog`] says what there is, and whoever knows the connectors fills it;
//! - no network, and no file or variable but through the [`Environment`] that [`load`] is given;
//! - no check stops at the first finding: one look shows everything that is wrong, each with its line, its column and what
//!   to do;
//! - `${...}` is replaced after parsing, inside scalars only, so a value can never become a key, a list or a document;
//! - a secret is never shown: not in messages, not in snippets, not by `Debug`.
//!
//! The way through: [`read_inputs`] -> [`load`] (`tree` parses, `expand` replaces, `cloudquery` makes CloudQuery's documents
//! ours, `read` makes the plan, `spec_check`
//! holds a connector's `spec` against its JSON Schema) -> [`Loaded`], which has the plan, the findings, and the place of
//! every part for whoever has more to say ([`Loaded::report_at`]). Every field of the format is defined once, in `fields`,
//! from which reading, suggestions and [`config_schema`] follow.

mod catalog;
pub mod choice;
mod cloudquery;
pub mod codes;
mod config_schema;
mod context;
mod env_file;
mod environment;
mod expand;
mod fields;
mod finding;
mod load;
mod locate;
mod plan;
mod plan_hash;
mod pointer;
mod read;
mod render;
mod secrets;
mod select;
mod sources;
mod spec_check;
mod suggest;
mod syntax;
mod tree;
mod typed;
mod units;

pub use catalog::{Catalog, ConnectorInfo, DestinationInfo, Role, SourceInfo, TransformerInfo};
pub use codes::CODES;
pub use config_schema::config_schema;
pub use env_file::read_env_file;
pub use environment::{Environment, FileText, ProcessEnvironment};
pub use finding::{Finding, Fix, FixOp, LabelledPlace, Severity};
pub use load::{Input, Loaded, Summary, load, read_inputs};
pub use locate::Part;
pub use plan::{
    AdminPlan, Batch, ColumnSelection, Deletes, DestinationPlan, LogFormat, LogLevel, LogPlan, OnSchemaChange,
    PipelinePlan, Plan, Retry, RuntimePlan, Snapshot, SourcePlan, Spec, SpoolHome, SpoolPlan, StreamLabels,
    StreamOverride, StreamSelection, TransformerPlan, WhenBehind, Write, WriteMode,
};
pub use read::{LISTEN, PIPELINE_FLOOR_BYTES};
pub use render::Screen;
pub use secrets::{SCRUBBED_LENGTH_MIN, STARS, Secrets};
pub use select::matches_pattern;
pub use sources::Place;
pub use tree::{ALIASES_MAX, DEPTH_MAX, NODES_MAX, SIZE_BYTES_MAX};
pub use units::{parse_duration, parse_size, render_size};
