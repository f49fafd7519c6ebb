//! CloudQuery's plugin protocol: the generated messages and services, and the codec of their Arrow payloads.
//!
//! Constraints:
//! - what comes from a plugin is hostile until checked: nothing here aborts, hangs, panics or allocates more than a payload
//!   is long, whatever the bytes are. [`Decoder`] lets Arrow's reader see only what the guard has passed;
//! - what goes to a plugin is the form that every SDK reads: stream format, one batch at most, no compression, no
//!   dictionaries, the schema with its `cq:` metadata in each record;
//! - a value that the other side's type cannot hold exactly is an error that names the column.
//!
//! A payload is one Arrow IPC stream:
//!
//! ```text
//! 0xFFFFFFFF  length u32 LE  flatbuffer Message(Schema)
//! 0xFFFFFFFF  length u32 LE  flatbuffer Message(RecordBatch)  body      only in a record
//! 0xFFFFFFFF  0                                                         may be left out at the end
//! ```

mod column;
mod convert;
mod decode;
mod encode;
mod guard;
mod table;

pub use column::{ColumnError, STORAGE, column_from_wire, column_to_wire};
pub use convert::{ConvertError, TableCodec};
pub use decode::{Decoder, Limits, PayloadError};
pub use encode::{EncodeError, Encoder, encode_schema};
pub use table::{Column, Table, TableError};

/// The most bytes of one message on either side, as CloudQuery's own client and Go servers have it.
pub const MESSAGE_BYTES_MAX: usize = 200 << 20;

/// What Python's, JavaScript's and Java's servers take in one message; they never raise their library's default.
pub const SMALL_MESSAGE_BYTES_MAX: usize = 4 << 20;

/// Messages and services of `cloudquery.plugin.v3`.
#[allow(missing_docs, clippy::all, clippy::unwrap_used)]
pub mod plugin_v3 {
    tonic::include_proto!("cloudquery.plugin.v3");
}

/// Messages and services of `cloudquery.discovery.v1`.
#[allow(missing_docs, clippy::all, clippy::unwrap_used)]
pub mod discovery_v1 {
    tonic::include_proto!("cloudquery.discovery.v1");
}
