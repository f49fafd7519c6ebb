use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use secrecy::SecretString;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

/// How a PostgreSQL server is reached: as a URL, or field by field. A field wins over the same setting in the URL.
///
/// Meant to be flattened into the spec of a role.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ConnectSpec {
    /// `postgres://user:password@host:5432/database?sslmode=verify-full`, or libpq's `host=... dbname=...`. Several hosts are
    /// separated by commas. Take it from a secret if it holds a password.
    #[schemars(with = "Option<String>", example = "${secret:env:SHOP_URL}")]
    pub url: Option<SecretString>,
    /// The host, or several separated by commas, each with or without a port: `db1,db2:5433,[::1]:5434`. What begins with `/`
    /// is the directory of a Unix socket.
    pub host: Option<String>,
    /// The port of hosts that have none of their own. 5432 if nothing is said.
    pub port: Option<u16>,
    /// The database. The same as the user if nothing is said.
    pub database: Option<String>,
    /// The role to log in as.
    pub user: Option<String>,
    /// Its password. If there is none here nor in the URL, it is looked up in the password file.
    #[schemars(with = "Option<String>", extend("writeOnly" = true))]
    pub password: Option<SecretString>,
    /// The password file. `PGPASSFILE`, else `~/.pgpass`, if nothing is said. Ignored if others than its owner may read it.
    pub passfile: Option<PathBuf>,
    /// Whether TLS is used and what is checked. `prefer` if nothing is said, as in libpq; over a network only `verify-full`
    /// makes sure that it is the right server.
    pub sslmode: Option<SslMode>,
    /// The file with the certificates of the authorities that may vouch for the server, or `system` for those that this
    /// machine trusts. `~/.postgresql/root.crt` if nothing is said and it is there.
    pub sslrootcert: Option<PathBuf>,
    /// Our own certificate, if the server asks for one.
    pub sslcert: Option<PathBuf>,
    /// The private key to it. Only its owner may have access to the file.
    pub sslkey: Option<PathBuf>,
    /// How long each address of each host may take until a session stands. `10s` if nothing is said.
    #[serde(deserialize_with = "duration")]
    #[schemars(with = "Option<String>", extend("x-unit" = "duration"), example = "10s")]
    pub connect_timeout: Option<Duration>,
    /// The name that the server shows for our sessions. `highwater` if nothing is said.
    pub application_name: Option<String>,
    /// Which of several servers will do: `any`, `primary` (also `read-write`: must take writes too). `primary` if there are
    /// several hosts and nothing is said, else `any`.
    pub target_session_attrs: Option<String>,
    /// Silence on a connection after which the operating system asks whether the other side is still there. `60s` if
    /// nothing is said.
    #[serde(deserialize_with = "duration")]
    #[schemars(with = "Option<String>", extend("x-unit" = "duration"), example = "60s")]
    pub keepalive_idle: Option<Duration>,
}

/// Whether TLS is used and what is checked, as in libpq.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SslMode {
    /// Never TLS.
    Disable,
    /// Without TLS first; with it if the server will not have it otherwise.
    Allow,
    /// With TLS if the server can; without if not. Nothing is checked.
    #[default]
    Prefer,
    /// With TLS. The certificate is checked only if there is a file of authorities.
    Require,
    /// With TLS and a certificate that a trusted authority signed. Whose it is is not checked.
    VerifyCa,
    /// With TLS and a trusted certificate that names the host.
    VerifyFull,
}

impl SslMode {
    /// As it is written.
    pub const fn name(self) -> &'static str {
        match self {
            SslMode::Disable => "disable",
            SslMode::Allow => "allow",
            SslMode::Prefer => "prefer",
            SslMode::Require => "require",
            SslMode::VerifyCa => "verify-ca",
            SslMode::VerifyFull => "verify-full",
        }
    }

    pub(super) fn from_name(name: &str) -> Option<Self> {
        let all = [
            SslMode::Disable,
            SslMode::Allow,
            SslMode::Prefer,
            SslMode::Require,
            SslMode::VerifyCa,
            SslMode::VerifyFull,
        ];
        all.into_iter().find(|mode| mode.name() == name)
    }
}

/// `500ms`, `5s`, `1m`; nothing.
fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    let Some(text) = Option::<String>::deserialize(deserializer)? else {
        return Ok(None);
    };
    text.parse::<jiff::SignedDuration>()
        .ok()
        .and_then(|duration| Duration::try_from(duration).ok())
        .filter(|duration| !duration.is_zero())
        .map(Some)
        .ok_or_else(|| {
            D::Error::custom(format!(
                "`{text}` is no duration: write a number and a unit, such as `10s`"
            ))
        })
}
