//! The same drill with PostgreSQL at both ends.
//!
//! The history is the one of [`crate::workload`]; what differs is where it is committed and how positions are known:
//!
//! - [`tables`]: the shop's tables in PostgreSQL, and how the history's values look there;
//! - [`writer`]: commits the history; each transaction notes in the source itself, as its last act, where the log was;
//! - [`positions`]: reads those notes;
//! - [`replica`]: what a PostgreSQL destination shows;
//! - [`proxy`]: connections that are delayed, dropped, and cut between a COMMIT and its reply;
//! - [`site`]: two servers, a proxy before each, and three destinations at once;
//! - [`client`]: a blocking client.

pub mod client;
pub mod positions;
pub mod proxy;
pub mod replica;
pub mod site;
pub mod tables;
pub mod writer;
