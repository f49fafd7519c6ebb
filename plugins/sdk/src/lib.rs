//! Write a source, a destination or a transformer in Rust, and serve it as a plugin of CloudQuery's protocol.
//!
//! A connector is a type that implements one of three pairs of traits, which this crate re-exports from `plugins/api`:
//!
//! | role | how it is built | what it does |
//! |---|---|---|
//! | source | [`SourceConnector`] | [`Source`], [`Reader`], [`SourceControl`] |
//! | destination | [`DestinationConnector`] | [`Destination`] |
//! | transformer | [`TransformerConnector`] | [`Transformer`] |
//!
//! `main` hands it over; arguments, log lines, signals and the protocol are this crate's:
//!
//! ```no_run
//! # use highwater_plugin_sdk::*;
//! # struct Shout;
//! # impl TransformerConnector for Shout {
//! #     const NAME: &'static str = "shout";
//! #     const ABOUT: &'static str = "Says it louder.";
//! #     type Spec = serde_json::Value;
//! #     fn build(_: serde_json::Value, _: &BuildContext) -> Result<Box<dyn Transformer>, SpecError> {
//! #         Err(SpecError::at("", "not today"))
//! #     }
//! # }
//! fn main() -> std::process::ExitCode {
//!     Plugin::transformer::<Shout>(env!("CARGO_PKG_VERSION")).main()
//! }
//! ```
//!
//! `highwater plugin new NAME --kind destination` writes such a crate, with tests. [`conformance`] has one function for each
//! promise that a role makes, and `destination_conformance!` and its siblings make a test of each.

mod arguments;
pub mod change_log;
mod codes;
pub mod log;
mod plugin;
mod serving;
pub mod template;

pub use api;
pub use api::conformance::text_of;
pub use api::*;
pub use arguments::{LogFormat, LogLevel, Network, ServeArgs};
pub use arrow;
pub use async_trait::async_trait;
pub use bytes;
pub use codes::CODES;
pub use model;
pub use plugin::{Kind, Plugin};
pub use serde_json;
pub use serving::{ServeError, serve};
