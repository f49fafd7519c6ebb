//! COPY in the binary format: from the server into Arrow, and from Arrow to the server.
//!
//! Format: `PGCOPY\n\xff\r\n\0`, flags i32, length of an extension i32 and the extension; then for each row
//! `columns i16, (length i32, value) *` with a length of -1 for NULL; at the end -1 as i16.

mod decode;
mod encode;
mod rows;

pub use decode::{CopyDecoder, CopyError};
pub use encode::{CopyEncoder, CopyMisfit};
pub(crate) use rows::{CopyRows, RowsError};

/// What every COPY begins with.
const SIGNATURE: &[u8; 11] = b"PGCOPY\n\xff\r\n\0";
