//! The whole way from text to plan and screen, against a catalog like the real one.

#![allow(clippy::unwrap_used)]

mod arbitrary;
mod broken;
mod catalog;
mod cloudquery;
mod expansion;
mod plans;
mod schema;
mod screens;
