use std::error::Error as StdError;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use api::Retry;

use super::settings::Host;

/// Why a server could not be reached, or would not have us.
#[derive(Debug)]
pub struct ConnectError {
    /// `user@host:port/database`, with all hosts.
    pub(super) whom: String,
    /// Each host that was tried, the most telling reason first. Never empty.
    pub(super) attempts: Vec<Attempt>,
}

/// What one host answered.
#[derive(Debug)]
pub(crate) struct Attempt {
    pub(crate) host: Host,
    pub(crate) what: What,
    pub(crate) source: Option<Box<dyn StdError + Send + Sync>>,
}

/// What went wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// Nobody listens there.
    Refused,
    /// The network does not lead there.
    Unreachable,
    /// The connection broke while it was being made.
    Lost,
    /// The name has no address.
    NoSuchHost,
    /// It took too long.
    TimedOut(Duration),
    /// The server starts, stops, or has no room.
    NotNow,
    /// The password is wrong.
    WrongPassword,
    /// The server wants a password and there is none.
    NoPassword,
    /// `pg_hba.conf` or the role says no.
    NotAdmitted,
    /// The database does not exist, or may not be connected to.
    NoDatabase,
    /// TLS is asked for and the server has none.
    NoTls,
    /// TLS could not be agreed on.
    TlsFailed,
    /// A file of certificates or keys cannot be used, and why.
    BadFile(PathBuf, &'static str),
    /// The server's certificate is not trusted.
    NotTrusted,
    /// The server's certificate is somebody else's.
    OtherName,
    /// It is not the kind of server that was asked for.
    Standby,
    /// Its sessions are read-only.
    ReadOnly,
    /// The server asks for a way to log in that we do not know.
    UnknownAuthentication,
    /// It does not speak PostgreSQL's protocol.
    NotPostgres,
    /// The server refused, for another reason.
    Refusal(String),
}

impl What {
    fn code(&self) -> &'static str {
        match self {
            What::Refused | What::Unreachable | What::Lost | What::NotNow | What::NotPostgres | What::Refusal(_) => {
                "E0240"
            }
            What::NoSuchHost => "E0241",
            What::TimedOut(_) => "E0242",
            What::WrongPassword | What::NoPassword => "E0243",
            What::NotAdmitted | What::UnknownAuthentication => "E0244",
            What::NoDatabase => "E0245",
            What::NoTls | What::TlsFailed => "E0246",
            What::NotTrusted | What::BadFile(..) => "E0247",
            What::OtherName => "E0248",
            What::Standby | What::ReadOnly => "E0249",
        }
    }

    fn retry(&self) -> Retry {
        match self {
            What::Refused
            | What::Unreachable
            | What::Lost
            | What::NoSuchHost
            | What::TimedOut(_)
            | What::NotNow
            | What::Standby
            | What::ReadOnly => Retry::After,
            _ => Retry::Operator,
        }
    }

    /// What the user should look at first when several hosts failed in several ways.
    fn weight(&self) -> u8 {
        match self {
            What::Refused | What::Unreachable | What::Lost | What::NoSuchHost | What::TimedOut(_) => 1,
            What::Standby | What::ReadOnly | What::NotNow => 2,
            _ => 3,
        }
    }

    fn hint(&self, host: &Host) -> String {
        match self {
            What::Refused => format!("check that the server runs, that the port is {}, and its `listen_addresses`", host.port),
            What::Unreachable => "check the address, the route to it, and firewalls between".to_owned(),
            What::Lost => "look into the server's log; a proxy or firewall between may have cut the connection".to_owned(),
            What::NoSuchHost => format!("check the spelling of `{}` and this machine's name servers", host.name),
            What::TimedOut(_) => {
                "a firewall that drops packets looks like this; or raise `connect_timeout`".to_owned()
            }
            What::NotNow => "the server starts, stops, or all of `max_connections` are taken".to_owned(),
            What::WrongPassword => "check `password`, or ALTER ROLE ... PASSWORD '...'".to_owned(),
            What::NoPassword => {
                "set `password` from a secret, or add a line to `~/.pgpass` and `chmod 0600` it".to_owned()
            }
            What::NotAdmitted => {
                "add a line to pg_hba.conf for this user, database, address and kind of encryption, then SELECT pg_reload_conf(); \
                 the cause names them"
                    .to_owned()
            }
            What::NoDatabase => "check `database`, or CREATE DATABASE ...; GRANT CONNECT ON DATABASE ... TO ...".to_owned(),
            What::NoTls => {
                "turn it on at the server (`ssl = on`), or write `sslmode: prefer` if the network is safe".to_owned()
            }
            What::TlsFailed => {
                "check that it is a PostgreSQL server with TLS 1.2 or 1.3, and whether it asks for `sslcert` and `sslkey`"
                    .to_owned()
            }
            What::BadFile(path, _) => format!("check {}", path.display()),
            What::NotTrusted => {
                "set `sslrootcert` to the certificate of the authority that signed the server's, or to `system`".to_owned()
            }
            What::OtherName => {
                "connect by a name that is in the certificate, or issue one with subjectAltName for this host; \
                 `sslmode: verify-ca` does not check it"
                    .to_owned()
            }
            What::Standby => {
                "add the primary to the hosts, or write `target_session_attrs: any` to read from a standby".to_owned()
            }
            What::ReadOnly => {
                "check `default_transaction_read_only` of the server, the database and the role".to_owned()
            }
            What::UnknownAuthentication => {
                "let pg_hba.conf say `scram-sha-256` for this user; GSSAPI and SSPI are not supported".to_owned()
            }
            What::NotPostgres => format!("check what listens on port {}", host.port),
            What::Refusal(_) => "the cause is the server's own message".to_owned(),
        }
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            What::Refused => write!(f, "nobody listens there"),
            What::Unreachable => write!(f, "it cannot be reached"),
            What::Lost => write!(f, "the connection was lost while it was being made"),
            What::NoSuchHost => write!(f, "the name has no address"),
            What::TimedOut(limit) => write!(f, "no session after {} s", limit.as_secs_f64()),
            What::NotNow => write!(f, "the server does not take sessions now"),
            What::WrongPassword => write!(f, "the password is wrong"),
            What::NoPassword => write!(f, "the server wants a password and there is none"),
            What::NotAdmitted => write!(f, "the server does not admit this login"),
            What::NoDatabase => write!(f, "the database is not there or may not be used"),
            What::NoTls => write!(f, "TLS is asked for and the server has none"),
            What::TlsFailed => write!(f, "TLS could not be agreed on"),
            What::BadFile(path, why) => write!(f, "`{}` {why}", path.display()),
            What::NotTrusted => write!(f, "the server's certificate is not trusted"),
            What::OtherName => write!(f, "the server's certificate is for another name"),
            What::Standby => write!(f, "it is a standby"),
            What::ReadOnly => write!(f, "its sessions are read-only"),
            What::UnknownAuthentication => write!(f, "it asks for a way to log in that is not supported"),
            What::NotPostgres => write!(f, "it does not answer as a PostgreSQL server"),
            What::Refusal(sqlstate) => write!(f, "the server refused with `{sqlstate}`"),
        }
    }
}

impl Attempt {
    pub(crate) fn new(host: &Host, what: What) -> Self {
        Attempt {
            host: host.clone(),
            what,
            source: None,
        }
    }

    #[must_use]
    pub(crate) fn caused_by(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }
}

impl ConnectError {
    pub(super) fn new(whom: String, mut attempts: Vec<Attempt>) -> Self {
        attempts.sort_by_key(|attempt| std::cmp::Reverse(attempt.what.weight()));
        ConnectError { whom, attempts }
    }

    /// The most telling reason.
    pub fn what(&self) -> &What {
        &self.attempts[0].what
    }

    /// The stable code.
    pub fn code(&self) -> &'static str {
        self.what().code()
    }

    /// Again after a backoff if any host may be better next time.
    pub fn retry(&self) -> Retry {
        match self.attempts.iter().any(|attempt| attempt.what.retry() == Retry::After) {
            true => Retry::After,
            false => Retry::Operator,
        }
    }

    /// The remedy.
    pub fn hint(&self) -> String {
        self.attempts[0].what.hint(&self.attempts[0].host)
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot connect to `{}`: ", self.whom)?;
        match self.attempts.as_slice() {
            [only] => write!(f, "{}", only.what),
            several => {
                for (i, attempt) in several.iter().enumerate() {
                    write!(
                        f,
                        "{}`{}`: {}",
                        if i == 0 { "" } else { "; " },
                        attempt.host,
                        attempt.what
                    )?;
                }
                Ok(())
            }
        }
    }
}

impl StdError for ConnectError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        let source = self.attempts[0].source.as_ref()?;
        Some(&**source as &(dyn StdError + 'static))
    }
}

impl From<ConnectError> for api::Error {
    fn from(mut error: ConnectError) -> Self {
        let api = api::Error::new(error.code(), error.retry(), error.to_string()).hint(error.hint());
        match error.attempts[0].source.take() {
            Some(source) => api.caused_by(source),
            None => api,
        }
    }
}
