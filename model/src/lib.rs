//! The nouns of Highwater: streams and schemas, batches and changesets, positions and checkpoints, and the algebra on them.
//!
//! Constraints:
//! - no I/O, no async, no clock, no connector: everything here is a value or a pure function of values;
//! - nothing is compared across [`Partition`]s: an [`Order`] means something only inside its own partition;
//! - a position is always a consistent point, so a checkpoint is always a state that the source had.
//!
//! What travels is a [`ChangeSet`]. What a destination holds is a [`Checkpoint`]. The two meet in [`Checkpoint::admit`],
//! which cuts a changeset down to what one destination still lacks, and says how its checkpoint moves.

mod admit;
mod batch;
mod changeset;
mod checkpoint;
mod code;
mod comparison;
mod fingerprint;
mod name;
mod pick;
mod position;
mod recut;
mod stream;
#[cfg(test)]
mod tests;
mod types;

pub use admit::{Admission, AdmitError};
pub use batch::{Batch, Before, Commit, Op, Ops, PageTags, Unavailable};
pub use changeset::{Body, ChangeSet, Control, Marker, Part, Place, Predicate, Test};
pub use checkpoint::{Checkpoint, Delta, DeltaError, Mark, Move, StreamState};
pub use code::Code;
pub use comparison::{BUCKETS, Buckets, Difference, DifferenceKind, Inspection, Side};
pub use fingerprint::{Fingerprint, Fingerprints, NoSpelling};
pub use name::{DestinationId, PipelineId};
pub use position::{Order, Page, Partition, Position, Timestamp};
pub use recut::{OutRows, RecutError, Transformed, gone, recut};
pub use stream::{SchemaId, StreamId, StreamSchema, StreamSchemaError};
pub use types::{HIGHWATER_TYPE, JSON_SHAPE, LogicalType, SENSITIVE, carries};
