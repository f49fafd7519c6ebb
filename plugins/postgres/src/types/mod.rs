//! The types of PostgreSQL: what a database declares, what each becomes in Arrow, and the way back.
//!
//! One rule: a value travels exactly, or it is a [`Misfit`]. What Arrow has a type for becomes that type, everything else
//! becomes text as the server writes it, so that the binary form (COPY) and the text form (the change stream) of one value
//! give the same cell, and a PostgreSQL destination makes the same column of it again, for the field names its declared
//! type in [`POSTGRES_TYPE`].
//!
//! The table of all types is in `docs/reference/connectors/postgres-types.md`.

mod catalogue;
mod column;
mod date_time;
mod declared;
mod decode;
mod encode;
mod interval;
mod json;
mod key_text;
mod misfit;
mod numeric;
mod pg_type;
mod scalar;
mod text_form;
mod wire_form;

pub use catalogue::{CatalogueError, TypeCatalogue};
pub use column::{BadOverride, Column, OVERRIDE_TYPES, Override, POSTGRES_TYPE, field};
pub use declared::{declared_type, declared_type_at};
pub use decode::ColumnDecoder;
pub use encode::ColumnEncoder;
pub use key_text::key_text;
pub use misfit::{BAD_COPY, BAD_OVERRIDE, CODES, MISFIT, Misfit, NO_CATALOGUE, UNSUITED, Unsuited};
pub use pg_type::{Attribute, Kind, PgType};
pub use scalar::Scalar;
