//! Change capture by triggers: what Highwater puts into the user's database, and how it keeps that right.
//!
//! Constraints:
//! - the user's statements and the user's DDL work as before, whatever we do;
//! - nothing is ever missed in silence: what triggers cannot see is found by comparing what is there with what should
//!   be ([`install::ensure`]), and the streams concerned are read again;
//! - the end of any read view is a consistent point: SQLite has one writer at a time, so all rows of a transaction lie
//!   at or below the largest `seq` that a view shows, or all above it;
//! - change rows go only after acknowledgement, at most 1,000 at a time, because a user's writer waits meanwhile.
//!
//! # What is stored
//!
//! Each pipeline has its own objects, named `_highwater_<pipeline>_...`, so that pipelines that share a database cannot
//! hurt each other, at the price of one set of triggers for each.
//!
//! `changes` (no constraint but the rowid's: the user's `OR IGNORE` or `OR REPLACE` would reach into our INSERT):
//!
//! | column | type | meaning |
//! |---|---|---|
//! | `seq` | integer | the order of all changes; never used twice (`AUTOINCREMENT`), also after everything is pruned |
//! | `layout` | integer | which table, with which columns; 0 for a mark |
//! | `op` | integer | [`triggers::ChangeOp`] |
//! | `at` | real | when, in days as `julianday` counts them; the clock of the statement, not of the commit |
//! | `n0`, `n1`, ... | any | the row after; for a mark `n0` is its random nonce |
//! | `o0`, `o1`, ... | any | the row before |
//!
//! `layouts`: one row for each version of a table that was captured: `number`, `stream`, `definition` (a
//! [`table::Table`] as JSON), `triggers` (name to text, as JSON), `since` (the `seq` from which capture has been without a
//! gap), `retired` (the `seq` at which another layout took over, or NULL).
//!
//! `stage`: see [`triggers`]. `meta`: `format`, `pipeline`, `history` (the random name of this log), `pruned` (all rows up
//! to this `seq` may be gone), `issued` (no position beyond this `seq` was handed out), `incarnation` (how often the axis
//! started again), `run` (the last number of a read of existing rows), `stopped` (set when capture was given up because
//! the limit was reached).

mod following;
pub(crate) mod install;
mod layout;
pub(crate) mod marks;
pub(crate) mod meta;
pub(crate) mod names;
pub(crate) mod removal;
pub(crate) mod table;
pub(crate) mod triggers;
pub(crate) mod verdict;

#[cfg(test)]
mod tests;
