//! The messages of the output plugin `pgoutput`, protocol 1 to 4, as views into the bytes that arrived.
//!
//! Nothing is copied: names are `&str`, cells are `&[u8]` of the frame. What a message holds is checked whole when it is
//! decoded (lengths, kinds, UTF-8 of names, nothing left over), so that walking a tuple afterwards cannot fail.
//!
//! Format: "Logical Replication Message Formats" in PostgreSQL's manual. Inside a streamed block (between Stream Start and
//! Stream Stop) the data messages carry the id of the sub-transaction first; the [`Decoder`] remembers whether it is in one.

mod cursor;
mod decode;
mod message;
#[cfg(test)]
mod tests;
mod tuple;

pub use cursor::Malformed;
pub use decode::Decoder;
pub use message::{
    Begin, Commit, CommitPrepared, Delete, Insert, Logical, Message, Old, Origin, Prepare, Relation, RelationColumn,
    ReplicaIdentity, RollbackPrepared, StreamAbort, StreamStart, Truncate, TypeName, Update,
};
pub use tuple::{Cell, Cells, Tuple};
