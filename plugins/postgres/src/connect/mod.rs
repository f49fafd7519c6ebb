//! What a user writes to reach a PostgreSQL server, and how it is reached.
//!
//! [`ConnectSpec`] is the part of a connector's spec; [`Settings`] is the same, checked. A connection is made host by host and
//! address by address, each within the connect timeout, with TLS as `sslmode` says (all six, as libpq means them), until one
//! is the kind of server that `target_session_attrs` asks for. The same way leads to a [`Connection`] for queries
//! (`tokio-postgres` over our transport) and to a [replication connection](crate::replication::Connection).
//!
//! - A password is in no `Debug`, message or log. It goes into the server's authentication exchange, nowhere else.
//! - SCRAM is bound to the TLS channel where there is one, so a man in the middle with another certificate fails.
//! - What TLS checks is decided in one place, [`tls`].

mod addresses;
mod certificate;
mod client;
mod codes;
mod error;
mod pgpass;
mod reach;
mod settings;
mod spec;
mod text;
mod tls;
mod transport;

pub(crate) use client::session_settings;
pub use client::{Cancel, Connection, SESSION_SETTINGS, session_sql};
pub use codes::CODES;
pub use error::{ConnectError, What};
pub(crate) use reach::{Login, LoginError, Role, reach};
pub use settings::{Host, Settings, Target};
pub use spec::{ConnectSpec, SslMode};
pub(crate) use transport::Transport;

/// `15` of `15.18 (Debian 15.18-0+deb12u1)`, `18` of `18beta1`.
pub(crate) fn major_version(text: &str) -> Option<u32> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    text[..end].parse().ok()
}
