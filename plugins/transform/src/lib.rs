//! The transformers that come with Highwater: `select` keeps, drops and renames columns; `filter` keeps the rows that meet
//! a condition; `basic` and `json-flatten` do what CloudQuery's transformers of those names do.
//!
//! All look at one row at a time, keep nothing between rows, and never touch a stream's name. Each compiles its rules once
//! for each schema that it meets, so that a mistake in the config is found with the first schema and costs nothing per row.
//!
//! A transformer sees row images, not changes: that an update which no longer passes a filter becomes a delete is
//! [`api::transform_changeset`]'s doing.

use model::Code;

mod basic;
mod error;
mod filter;
mod frame;
mod json;
mod json_flatten;
mod rows;
mod select;
mod stream_rules;

pub use basic::{Basic, BasicSpec, Transformation, Unmatched, build_renaming, read_basic};
pub use filter::{Condition, Filter, FilterRule, FilterSpec, Literal};
pub use json_flatten::{JsonFlatten, JsonFlattenSpec, JsonShapes, JsonType};
pub use select::{Select, SelectRule, SelectSpec};

/// What the messages of this crate carry.
pub const CODES: &[Code] = error::CODES;

/// Hands the transformers over.
pub fn register(registry: &mut api::Registry) {
    registry
        .transformer::<Select>()
        .transformer::<Filter>()
        .transformer::<Basic>()
        .transformer::<JsonFlatten>();
}
