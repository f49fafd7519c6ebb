//! JSON texts, changed in places.
//!
//! Values that stay keep their spelling: a number of 40 digits is not read as a float on its way. A document that does not
//! change at all stays as it is, to the blank.

mod document;
mod path;

pub(crate) use document::Document;
pub(crate) use path::{Path, Segment, split_column};
