//! The drill. See the crate's own documentation for how it knows what is right.

mod planted;
