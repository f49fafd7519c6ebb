use std::error::Error as StdError;
use std::future::Future;
use std::io;

use secrecy::SecretString;

use super::addresses::{Address, addresses};
use super::error::{Attempt, ConnectError, What};
use super::settings::{Host, Settings, Target};
use super::spec::SslMode;
use super::tls::Tls;
use super::transport::{Encryption, Transport, kind};

/// How a session begins on an open transport.
pub(crate) trait Login: Sync {
    /// What stands afterwards.
    type Session: Send;

    /// Sends the startup message and authenticates.
    fn login(
        &self,
        transport: Transport,
        settings: &Settings,
        password: Option<&SecretString>,
    ) -> impl Future<Output = Result<Self::Session, LoginError>> + Send;

    /// What kind of server it is.
    fn role(&self, session: &mut Self::Session) -> impl Future<Output = Result<Role, LoginError>> + Send;
}

/// What kind of server answers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Role {
    pub(crate) is_standby: bool,
    pub(crate) is_read_only: bool,
}

/// Why a session did not begin.
#[derive(Debug)]
pub(crate) enum LoginError {
    Io(io::Error),
    /// The server's own answer.
    Server {
        sqlstate: String,
        message: Box<dyn StdError + Send + Sync>,
    },
    Other(What, Option<Box<dyn StdError + Send + Sync>>),
}

/// A session, and where.
pub(crate) struct Reached<S> {
    pub(crate) session: S,
    pub(crate) host: Host,
    pub(crate) address: Address,
    pub(crate) is_encrypted: bool,
}

/// Tries the hosts in order until one is what was asked for.
///
/// Cancel-safe: what was open is closed.
pub(crate) async fn reach<L: Login>(settings: &Settings, login: &L) -> Result<Reached<L::Session>, ConnectError> {
    let mut attempts = Vec::new();
    for host in settings.hosts() {
        match reach_host(settings, host, login).await {
            Ok(reached) => return Ok(reached),
            Err(attempt) => {
                tracing::debug!(%host, reason = %attempt.what, "a server is not what was asked for");
                attempts.push(attempt);
            }
        }
    }
    Err(ConnectError::new(settings.to_string(), attempts))
}

async fn reach_host<L: Login>(settings: &Settings, host: &Host, login: &L) -> Result<Reached<L::Session>, Attempt> {
    let limit = settings.0.connect_timeout;
    let addresses = tokio::time::timeout(limit, addresses(host))
        .await
        .map_err(|_| Attempt::new(host, What::TimedOut(limit)))?
        .map_err(|error| Attempt::new(host, What::NoSuchHost).caused_by(error))?;
    let mut last = Attempt::new(host, What::NoSuchHost);
    for address in addresses {
        let trying = reach_address(settings, host, &address, login);
        match tokio::time::timeout(limit, trying).await {
            Ok(Ok(reached)) => return Ok(reached),
            Ok(Err(attempt)) => last = attempt,
            Err(_) => last = Attempt::new(host, What::TimedOut(limit)),
        }
        // Another address of the same server would say the same.
        let is_network = matches!(
            last.what,
            What::Refused | What::Unreachable | What::Lost | What::TimedOut(_) | What::Standby | What::ReadOnly
        );
        if !is_network {
            break;
        }
    }
    Err(last)
}

/// With and without TLS, as `sslmode` says.
async fn reach_address<L: Login>(
    settings: &Settings,
    host: &Host,
    address: &Address,
    login: &L,
) -> Result<Reached<L::Session>, Attempt> {
    let mode = settings.0.sslmode;
    // A Unix socket does not leave the machine.
    let is_plain_only = mode == SslMode::Disable || host.is_socket();
    if is_plain_only {
        return reach_once(settings, host, address, Encryption::Plain, login).await;
    }
    let tls = Tls::new(mode, &settings.0.tls, &host.name).map_err(|what| Attempt::new(host, what))?;
    let (first, second) = match mode {
        SslMode::Allow => (Encryption::Plain, Some(Encryption::Always(&tls))),
        SslMode::Prefer => (Encryption::IfPossible(&tls), Some(Encryption::Plain)),
        _ => (Encryption::Always(&tls), None),
    };
    let failed = match reach_once(settings, host, address, first, login).await {
        Ok(reached) => return Ok(reached),
        Err(attempt) => attempt,
    };
    let is_about_encryption = matches!(failed.what, What::TlsFailed | What::NotAdmitted | What::WrongPassword);
    match second.filter(|_| is_about_encryption) {
        None => Err(failed),
        // What the first said is the better advice, unless the second came further.
        Some(second) => match reach_once(settings, host, address, second, login).await {
            Err(attempt) if matches!(attempt.what, What::NotAdmitted | What::NoTls | What::TlsFailed) => Err(failed),
            answer => answer,
        },
    }
}

async fn reach_once<L: Login>(
    settings: &Settings,
    host: &Host,
    address: &Address,
    encryption: Encryption<'_>,
    login: &L,
) -> Result<Reached<L::Session>, Attempt> {
    let transport = Transport::open(address, &settings.0.keepalive, encryption).await;
    let transport = transport.map_err(|(what, source)| {
        let attempt = Attempt::new(host, what);
        match source {
            Some(source) => attempt.caused_by(source),
            None => attempt,
        }
    })?;
    let is_encrypted = transport.is_encrypted();
    let password = settings.password(host);
    let attempt = |error: LoginError| error.at(host);
    let mut session = login
        .login(transport, settings, password.as_ref())
        .await
        .map_err(attempt)?;
    if settings.0.target != Target::Any {
        let role = login.role(&mut session).await.map_err(attempt)?;
        if role.is_standby {
            return Err(Attempt::new(host, What::Standby));
        }
        if role.is_read_only && settings.0.target == Target::ReadWrite {
            return Err(Attempt::new(host, What::ReadOnly));
        }
    }
    Ok(Reached {
        session,
        host: host.clone(),
        address: address.clone(),
        is_encrypted,
    })
}

impl LoginError {
    pub(super) fn at(self, host: &Host) -> Attempt {
        match self {
            LoginError::Io(error) => Attempt::new(host, kind(&error)).caused_by(error),
            LoginError::Server { sqlstate, message } => {
                let what = match sqlstate.as_str() {
                    "28P01" => What::WrongPassword,
                    "28000" | "42501" => What::NotAdmitted,
                    "3D000" | "55000" => What::NoDatabase,
                    // Too many connections, starting up, shutting down.
                    "53300" | "57P03" | "57P01" => What::NotNow,
                    _ => What::Refusal(sqlstate),
                };
                Attempt::new(host, what).caused_by(message)
            }
            LoginError::Other(what, None) => Attempt::new(host, what),
            LoginError::Other(what, Some(source)) => Attempt::new(host, what).caused_by(source),
        }
    }
}
