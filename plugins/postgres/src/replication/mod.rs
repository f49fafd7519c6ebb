//! Our own replication connection: what `tokio-postgres` cannot do.
//!
//! A [`Connection`] speaks the walsender's commands (identify, make and drop slots) and plain SQL, and becomes a [`Stream`].
//! It is reached as every other (hosts, TLS, login: [`crate::connect`]).
//!
//! - **The server always hears from us.** A writer task of its own sends a status at least every third of
//!   `wal_sender_timeout`, whether or not anybody reads, and at once when the server asks for one and the reader sees it.
//! - **Confirmed is only what was said to be.** The writer repeats the last marks; it never moves one.
//! - **One copy.** Bytes are read in large chunks; a frame is a slice ([`bytes::Bytes`]) of the chunk it came in.
//! - **Everything has a limit.** A message longer than [`MESSAGE_BYTES_MAX`] ends the session before it is read.
//!
//! Format: "Streaming Replication Protocol" in PostgreSQL's manual. `CopyData` of the server is `w` (XLogData: start, end,
//! time, bytes) or `k` (keepalive: end, time, whether a reply is wanted); ours is `r` (status: received, flushed, applied,
//! time, whether a reply is wanted).

mod command;
mod connection;
mod error;
mod login;
mod lsn;
pub mod pgoutput;
mod receiver;
mod slot;
mod status;
mod stream;
mod time;

pub use connection::{Connection, SystemIdentity};
pub use error::{ReplicationError, ServerError};
pub use lsn::{Lsn, LsnParseError};
pub use receiver::MESSAGE_BYTES_MAX;
pub use slot::{CreatedSlot, NewSlot, Snapshot};
pub use status::Marks;
pub use stream::{Data, Frame, Keepalive, StatusHandle, Stream, StreamOptions, Streaming, protocol_version_max};
pub use time::ServerTime;
