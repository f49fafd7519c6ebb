//! Drives the built `highwater` from outside: kills it, starves it, lies to it, and holds what it delivered against what
//! the source went through.
//!
//! Constraints:
//! - the runtime is a process that is started, watched and killed; none of its code runs in here. All that is shared is
//!   `model`, to read the checkpoints that it stores;
//! - the truth does not come from the database that is replicated: [`workload`] is a pure function of a seed, so the state
//!   after each transaction is known whatever happened to the files;
//! - a checker that was never seen failing proves nothing: each rule in [`prefix`] and [`chains`] has a test that plants a
//!   violation.
//!
//! | module | what is in it |
//! |---|---|
//! | [`value`], [`shop`] | the tables of the source and what is in their cells |
//! | [`state`], [`workload`] | what statements do, and which ones a seed yields |
//! | [`writer`] | the process that commits them to a real SQLite file |
//! | [`oracle`] | the state that the source had after each transaction, and at each position of its change log |
//! | [`view`] | the same through `select` and `filter` |
//! | [`copy`], [`lake`] | what a SQLite and a Parquet destination show |
//! | [`prefix`], [`chains`] | whether that is a prefix of the source's history |
//! | [`binary`], [`process`], [`site`] | the runtime under test, and the directory it works in |
//! | [`lag`] | how far a destination is behind |
//! | [`postgres`] | the same with PostgreSQL as the source and as one of three destinations |
//! | [`drill`], [`scale`] | kills and restarts, and how many of them |

pub mod binary;
pub mod chains;
pub mod copy;
pub mod drill;
pub mod lag;
pub mod lake;
pub mod oracle;
pub mod postgres;
pub mod prefix;
pub mod process;
pub mod scale;
pub mod shop;
pub mod site;
pub mod state;
pub mod value;
pub mod view;
pub mod workload;
pub mod writer;
