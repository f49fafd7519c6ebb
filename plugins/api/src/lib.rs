//! What a connector author reads: the three roles, what the runtime promises them and what they promise the runtime.
//!
//! - [`Source`] reads a system: it lists streams, answers where each destination stands in its history, and hands out a
//!   [`Reader`] of changesets and a [`SourceControl`] beside it.
//! - [`Transformer`] is a function of row images.
//! - [`Destination`] applies changesets and commits them together with the checkpoint.
//!
//! A connector hands its spec type to the [`Registry`]; its JSON Schema, documentation and validation follow from that
//! type. Connectors know nothing of actors, state or each other, and are tested without an actor system: [`conformance`]
//! has one public function for each promise, and [`testing`] has wrappers that inject faults and slowness.

mod codes;
mod context;
mod destination;
mod error;
mod memory;
mod pages;
mod registry;
mod source;
mod transformer;
mod verify;

pub mod conformance;
pub mod testing;

pub use codes::CODES;
pub use context::{Context, Kept, KeptValue, StreamTrouble, Tally};
pub use destination::{
    Capabilities, CommitPoint, Deletes, Destination, DestinationOptions, Guarantee, Holds, Lane, OnSchemaChange, Owner,
    WriteMode, Written,
};
pub use error::{Error, Result, Retry};
pub use memory::{Budget, Reservation, Share};
pub use pages::{Bound, NextPage, PageKey, Pages};
pub use registry::{
    BatchDefaults, BuildContext, DestinationConnector, DestinationEntry, Registry, SourceConnector, SourceEntry,
    SpecError, TransformerConnector, TransformerEntry,
};
pub use source::{
    Emission, Head, HeadMark, Held, LagUnit, Opened, Plan, PlannedStream, ReadExisting, ReadProgress, Reader, Snapshot,
    Source, SourceCapabilities, SourceControl, SourceSlot, Verdict,
};
pub use transformer::{Images, OutSchema, Transformer, transform_changeset};
pub use verify::{SourceView, Stored, StoredView, VIEW_BATCH_BYTES, not_comparable};
