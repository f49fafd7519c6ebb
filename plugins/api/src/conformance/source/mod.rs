//! What a source promises.
//!
//! Each promise opens the source on the harness's system, drives it as the runtime would with one or two destinations,
//! each a [`Replica`](crate::testing::Replica), and compares what they hold with what the system holds. Every changeset on
//! the way is checked: batches are valid, moves join without holes, parts follow each other, rows lie in the interval that
//! the changeset covers, and the reservation covers it.

use async_trait::async_trait;
use model::StreamId;

use super::{HarnessError, Report, Row};
use crate::{PlannedStream, Source};

mod changes;
mod control;
mod flow;
mod memory;
mod reads;
mod resume;
mod stage;
mod view;

pub use changes::*;
pub use control::*;
pub use memory::*;
pub use reads::*;
pub use resume::*;
pub use view::*;

/// One change of a row, for a harness to do at its system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A new row.
    Insert {
        /// 0 or 1: which of the two streams.
        stream: usize,
        /// Its key.
        id: i64,
        /// Its other value.
        name: Option<String>,
    },
    /// Another name for a row that is there.
    Update {
        /// Which stream.
        stream: usize,
        /// The key.
        id: i64,
        /// The new value.
        name: Option<String>,
    },
    /// Another key for a row that is there.
    Rekey {
        /// Which stream.
        stream: usize,
        /// The old key.
        id: i64,
        /// The new key.
        to: i64,
    },
    /// A row goes.
    Delete {
        /// Which stream.
        stream: usize,
        /// Its key.
        id: i64,
    },
}

/// How the suite gets at a source and at its system.
///
/// The system has two streams, each with a key `id` (64-bit integer) and a column `name` (text, nullable), both empty when
/// the harness is made.
#[async_trait]
pub trait SourceHarness: Send + Sync {
    /// A new source on this harness's system. Called any number of times.
    fn source(&self) -> Box<dyn Source>;

    /// The names of the two streams.
    fn streams(&self) -> [StreamId; 2];

    /// How a stream is planned, where a bare [`PlannedStream`] does not do.
    fn planned(&self, stream: &StreamId) -> PlannedStream {
        PlannedStream::new(stream.clone())
    }

    /// Does these changes at the system, as one transaction where it has them.
    async fn apply(&self, changes: &[Change]) -> Result<(), HarnessError>;

    /// The rows of one of the streams as the system has them now: `id` and `name` as [`text_of`](super::text_of) shows them.
    async fn rows(&self, stream: usize) -> Result<Vec<Row>, HarnessError>;

    /// Whether every change is seen once and as what it was. A source that polls sees the last state only.
    fn is_exact(&self) -> bool {
        true
    }

    /// Puts another system with the same streams and rows in the place of this one (restored, re-created). `false` if the
    /// harness cannot.
    async fn replace(&self) -> Result<bool, HarnessError> {
        Ok(false)
    }
}

/// Every promise, each on a harness of its own.
pub async fn run<H: SourceHarness>(make: impl AsyncFn() -> H) -> Report {
    crate::__source_promises! { crate::__promise_run, source, make }
}

/// The list of promises, for the macros.
#[doc(hidden)]
#[macro_export]
macro_rules! __source_promises {
    ($then:path, $role:ident, $argument:expr) => {
        $then! { $role, $argument;
            discover_lists_the_streams_and_changes_nothing
            check_finds_nothing_wrong_and_changes_nothing
            identity_is_the_same_at_every_open
            first_read_brings_a_destination_up
            empty_streams_become_live
            destination_without_a_read_gets_no_rows
            read_is_bracketed_and_numbered
            read_that_empties_first_leaves_nothing_of_before
            changes_during_a_read_are_neither_lost_nor_doubled
            new_destination_beside_an_old_one
            every_kind_of_change_arrives
            values_of_any_text_arrive
            random_changes_arrive
            consistent_points_show_whole_transactions
            excluded_columns_are_not_read
            every_held_checkpoint_leads_to_the_same_state
            destinations_at_different_positions_end_equal
            changes_while_nothing_ran_arrive
            position_that_was_acknowledged_away_is_never_skipped
            checkpoint_of_another_history_is_told_apart
            replaced_system_is_told_apart
            lost_destination_does_not_keep_the_others_back
            forget_leaves_no_gap_in_silence
            dropped_next_loses_nothing
            head_moves_with_changes_and_is_reached
            acknowledge_is_monotonic_and_idempotent
            control_answers_while_next_waits
            view_shows_exactly_what_came_before_its_marker
            close_ends_a_reader_that_waits
            close_ends_a_reader_that_is_behind
            reader_waits_for_memory_and_goes_on
            large_transaction_comes_in_parts
        }
    };
}
