//! What a destination promises.
//!
//! Each promise opens the destination on the harness's system, drives it through [`Session`] as the runtime would, and
//! looks at the system from outside with [`DestinationHarness::rows`].

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::Field;
use async_trait::async_trait;
use model::StreamSchema;
use serde_json::Value;

use super::{HarnessError, Report, Row, Session, Unkept, sample, text};
use crate::{Capabilities, Destination, DestinationOptions, Guarantee, Lane, SpecError, WriteMode};

mod append;
mod checkpoint;
mod commit;
mod control;
mod names;
mod ownership;
mod read_back;
mod schema_change;
mod types;
mod upsert;

pub use append::*;
pub use checkpoint::*;
pub use commit::*;
pub use control::*;
pub use names::*;
pub use ownership::*;
pub use read_back::*;
pub use schema_change::*;
pub use types::*;
pub use upsert::*;

/// How the suite gets at a destination and at its system.
#[async_trait]
pub trait DestinationHarness: Send + Sync {
    /// A new value on this harness's system, as the connector's `build` makes it. Called any number of times. Options that
    /// the connector refuses are skipped.
    fn build(&self, options: DestinationOptions) -> Result<Box<dyn Destination>, SpecError>;

    /// The options that most promises run with; where the connector has only one mode, name it here.
    fn options(&self) -> DestinationOptions {
        DestinationOptions::default()
    }

    /// What an ordinary reader of the system sees of a stream, with the `_highwater_*` columns if there are any; `None` if
    /// nothing of that name exists. Never reads through the destination's own connection.
    async fn rows(&self, schema: &StreamSchema) -> Result<Option<Vec<Row>>, HarnessError>;

    /// The text that [`rows`](Self::rows) gives for a value, where the system shows it otherwise than
    /// [`text_of`](super::text_of) (a boolean as `1`). Distinct values must have distinct texts: the suite checks it.
    fn shows(&self, _field: &Field, column: &ArrayRef, row: usize) -> Option<String> {
        text::text_of(column.as_ref(), row)
    }

    /// Whether `rows` can tell what was written; a destination that discards cannot.
    fn reads_back(&self) -> bool {
        true
    }

    /// Whether a living owner holds a lock at the system that a rival sees.
    fn locks(&self) -> bool {
        true
    }
}

/// Every promise, each on a harness of its own.
pub async fn run<H: DestinationHarness>(make: impl AsyncFn() -> H) -> Report {
    crate::__destination_promises! { crate::__promise_run, destination, make }
}

/// The list of promises, for the macros.
#[doc(hidden)]
#[macro_export]
macro_rules! __destination_promises {
    ($then:path, $role:ident, $argument:expr) => {
        $then! { $role, $argument;
            first_open_holds_nothing
            open_takes_a_growing_generation
            next_open_holds_the_committed_checkpoint
            progress_without_rows_is_committed
            checkpoint_of_an_uncommitted_write_is_void
            any_checkpoint_is_held_exactly
            plan_hash_is_held_with_the_checkpoint
            applied_schemas_are_held
            lanes_are_kept_apart
            no_checkpoint_is_held_where_none_is_kept
            forget_removes_the_lane_and_no_rows
            check_changes_nothing
            commit_shows_exactly_what_was_written
            every_commit_adds_to_the_ones_before
            streams_of_a_changeset_commit_together
            rows_are_invisible_before_commit
            rows_of_an_uncommitted_write_are_void
            committed_rows_survive_a_drop_without_close
            close_voids_what_was_not_committed
            parts_become_visible_together
            unfinished_parts_are_void
            many_rows_stay_within_the_declared_buffer
            stale_owner_is_fenced_and_leaves_nothing
            stale_owner_that_has_written_is_fenced_and_leaves_nothing
            living_owner_is_named_to_a_rival
            dropped_owner_gives_way_to_another
            closed_owner_gives_way_to_another
            last_change_of_a_key_wins
            insert_of_a_present_key_replaces_it
            key_change_moves_the_row
            keys_swap_within_one_transaction
            delete_removes_the_row
            deleted_key_may_come_back
            soft_delete_marks_the_row
            ignored_delete_leaves_the_row
            unavailable_value_is_left_alone
            unavailable_value_moves_with_its_row
            keys_of_several_columns_are_told_apart
            append_keeps_every_change_with_its_operation
            append_says_which_values_were_not_sent
            append_carries_position_and_commit_time
            stream_without_key_is_appended
            truncate_empties_the_stream
            delete_where_removes_what_matches
            uncommitted_control_is_void
            truncate_inside_a_transaction_shows_with_its_rows
            truncate_of_an_unfinished_transaction_is_void
            existing_rows_are_written
            begin_read_empties_the_stream_when_asked
            begin_read_keeps_the_rows_when_not_asked
            empty_stream_gets_its_table
            mirror_drops_what_the_read_did_not_meet
            upsert_keeps_what_the_read_did_not_meet
            added_column_is_added
            schema_control_adds_a_column_without_rows
            uncommitted_schema_change_is_void
            widened_column_is_widened
            pause_refuses_an_added_column
            ignore_leaves_an_added_column_out
            every_type_is_carried_exactly_or_refused_by_name
            every_type_is_read_back_as_stored
            read_back_shows_the_commit_before_it
            appended_rows_are_not_comparable
            names_of_any_characters_are_carried
            columns_that_differ_in_case_are_kept_apart_or_refused
            streams_with_one_flat_name_are_kept_apart_or_refused
        }
    };
}

/// One destination under trial: the harness, the options, and what the connector claims with them.
struct Trial<'a> {
    harness: &'a dyn DestinationHarness,
    options: DestinationOptions,
    capabilities: Capabilities,
}

impl<'a> Trial<'a> {
    fn of(harness: &'a dyn DestinationHarness) -> Result<Self, Unkept> {
        Self::with(harness, harness.options())
    }

    fn with(harness: &'a dyn DestinationHarness, options: DestinationOptions) -> Result<Self, Unkept> {
        let built = harness
            .build(options)
            .map_err(|error| Unkept::skipped(format!("the connector refuses {options:?}: {error}")))?;
        let capabilities = built.capabilities();
        Ok(Trial {
            harness,
            options,
            capabilities,
        })
    }

    /// With the harness's options, but this mode.
    fn writing(harness: &'a dyn DestinationHarness, mode: WriteMode) -> Result<Self, Unkept> {
        let options = DestinationOptions {
            write: Some(mode),
            ..harness.options()
        };
        let trial = Self::with(harness, options)?;
        if !trial.capabilities.writes.contains(&mode) {
            return Err(Unkept::skipped(format!("it does not write in mode `{}`", mode.name())));
        }
        trial.reading_back()
    }

    /// Only where the harness can see what was written.
    fn reading_back(self) -> Result<Self, Unkept> {
        if self.harness.reads_back() {
            Ok(self)
        } else {
            Err(Unkept::skipped("what was written cannot be read back"))
        }
    }

    /// Only where the checkpoint lies with the rows.
    fn keeping_checkpoint(self) -> Result<Self, Unkept> {
        if self.capabilities.keeps_checkpoint {
            Ok(self)
        } else {
            Err(Unkept::skipped("it keeps no checkpoint"))
        }
    }

    /// Only where nobody sees what was not committed.
    fn exactly_once(self) -> Result<Self, Unkept> {
        if self.capabilities.guarantee == Guarantee::ExactlyOnce {
            Ok(self)
        } else {
            let reason = format!("it is {}", self.capabilities.guarantee);
            Err(Unkept::skipped(reason))
        }
    }

    fn build(&self) -> Result<Box<dyn Destination>, Unkept> {
        self.harness
            .build(self.options)
            .map_err(|error| Unkept::broken(format!("the connector refuses to be built again: {error}")))
    }

    async fn open(&self) -> Result<Session, Unkept> {
        self.open_lane(&sample::lane()).await
    }

    async fn open_lane(&self, lane: &Lane) -> Result<Session, Unkept> {
        Ok(Session::open(self.build()?, lane).await?)
    }

    /// What a reader sees of the schema's columns; nothing where the table is not there.
    async fn rows(&self, schema: &StreamSchema) -> Result<Vec<Row>, Unkept> {
        let is_data = |name: &str| schema.arrow().field_with_name(name).is_ok();
        let rows = self.harness.rows(schema).await?.unwrap_or_default();
        Ok(rows
            .into_iter()
            .map(|row| row.into_iter().filter(|(name, _)| is_data(name)).collect())
            .collect())
    }

    fn shown(&self, batch: &RecordBatch) -> Vec<Row> {
        let schema = batch.schema();
        let cell = |(field, column): (&std::sync::Arc<Field>, &ArrayRef), row| {
            (field.name().clone(), self.harness.shows(field, column, row))
        };
        (0..batch.num_rows())
            .map(|row| {
                let columns = schema.fields().iter().zip(batch.columns());
                columns.map(|column| cell(column, row)).collect()
            })
            .collect()
    }

    /// Fails unless a reader sees exactly these rows, in any order.
    async fn expect(&self, schema: &StreamSchema, rows: &[Value], when: &str) -> Result<(), Unkept> {
        self.expect_batch(schema, &sample::record_batch(schema, rows), when)
            .await
    }

    async fn expect_batch(&self, schema: &StreamSchema, rows: &RecordBatch, when: &str) -> Result<(), Unkept> {
        let got = self.rows(schema).await?;
        match text::difference(&self.shown(rows), &got) {
            None => Ok(()),
            Some(difference) => Err(Unkept::broken(format!(
                "a reader of `{}` sees other rows {when}\n{difference}",
                schema.stream()
            ))),
        }
    }
}
