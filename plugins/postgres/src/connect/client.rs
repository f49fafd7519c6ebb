use std::io;
use std::ops::{Deref, DerefMut};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::JoinHandle;
use tokio_postgres::config::{ChannelBinding as Binding, SslMode as Ssl, SslNegotiation};
use tokio_postgres::tls::{ChannelBinding, TlsConnect, TlsStream};
use tokio_postgres::{AsyncMessage, CancelToken, Client, Config};

use super::addresses::Address;
use super::error::{ConnectError, What};
use super::reach::{Login, LoginError, Role, reach};
use super::settings::{Host, Settings};
use super::spec::SslMode;
use super::tls::Tls;
use super::transport::{Encryption, Transport};

/// What every session of ours runs with, whatever the server, the database and the role set: texts have one form, nothing
/// times out behind our back, nothing is left out in silence.
pub const SESSION_SETTINGS: &[(&str, &str)] = &[
    ("client_encoding", "UTF8"),
    ("DateStyle", "ISO, YMD"),
    ("IntervalStyle", "iso_8601"),
    ("TimeZone", "UTC"),
    // Shortest text that reads back as the same number.
    ("extra_float_digits", "3"),
    ("bytea_output", "hex"),
    ("lc_monetary", "C"),
    ("xmloption", "content"),
    // An open snapshot may be silent for hours.
    ("statement_timeout", "0"),
    ("lock_timeout", "0"),
    ("idle_in_transaction_session_timeout", "0"),
    // An error, instead of rows that a policy hides.
    ("row_security", "off"),
    // Compiling costs more than it saves for statements like ours.
    ("jit", "off"),
    ("client_min_messages", "warning"),
];

/// Settings of later servers, which earlier ones would refuse.
const LATER_SETTINGS: &[(u32, &str, &str)] = &[(14, "idle_session_timeout", "0"), (17, "transaction_timeout", "0")];

/// All fixed settings that a server of this major version knows.
pub(crate) fn session_settings(major: u32) -> impl Iterator<Item = (&'static str, &'static str)> {
    let later = LATER_SETTINGS.iter().filter(move |(since, ..)| *since <= major);
    SESSION_SETTINGS
        .iter()
        .copied()
        .chain(later.map(|(_, name, value)| (*name, *value)))
}

/// The statements that fix the settings: for the session, or (`is_local`) for the transaction, as behind a pooler whose
/// server connections are shared.
pub fn session_sql(major: u32, is_local: bool) -> String {
    let set = if is_local { "SET LOCAL" } else { "SET" };
    session_settings(major).fold(String::new(), |sql, (name, value)| {
        sql + &format!("{set} {name} = '{value}';")
    })
}

/// A session for queries and COPY, with the task that drives it. Closed when dropped.
///
/// The driver ends with the session; what it died of is in [`closed`](Self::closed).
pub struct Connection {
    client: Client,
    driver: Driver,
    cancel: Cancel,
    major: u32,
    host: Host,
    is_encrypted: bool,
}

/// Aborts the task with its owner.
struct Driver(JoinHandle<Result<(), tokio_postgres::Error>>);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Settings {
    /// Connects, with the [fixed settings](SESSION_SETTINGS).
    pub async fn connect(&self) -> Result<Connection, ConnectError> {
        let connection = self.connect_bare().await?;
        let host = connection.host.clone();
        let sql = session_sql(connection.major, false);
        let set = connection.client.batch_execute(&sql);
        match tokio::time::timeout(self.0.connect_timeout, set).await {
            Ok(Ok(())) => Ok(connection),
            Ok(Err(error)) => Err(self.failed(&host, login_error(error))),
            Err(_) => Err(self.failed(&host, LoginError::Other(What::TimedOut(self.0.connect_timeout), None))),
        }
    }

    /// Connects and sets nothing: for a pooler that shares its server connections, where a transaction begins with
    /// [`session_sql`].
    pub async fn connect_bare(&self) -> Result<Connection, ConnectError> {
        let reached = reach(self, &TokioPostgres).await?;
        let (client, driver, major) = reached.session;
        let cancel = Cancel {
            token: client.cancel_token(),
            settings: self.clone(),
            host: reached.host.clone(),
            address: reached.address,
            is_encrypted: reached.is_encrypted,
        };
        Ok(Connection {
            client,
            driver,
            cancel,
            major,
            host: reached.host,
            is_encrypted: reached.is_encrypted,
        })
    }
}

impl Connection {
    /// The server's major version.
    pub fn major(&self) -> u32 {
        self.major
    }

    /// Which of the hosts it is.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// Whether the connection is encrypted.
    pub fn is_encrypted(&self) -> bool {
        self.is_encrypted
    }

    /// Waits until the session is over; why, if it did not end well.
    pub async fn closed(&mut self) -> Option<tokio_postgres::Error> {
        match (&mut self.driver.0).await {
            Ok(Err(error)) => Some(error),
            Ok(Ok(())) | Err(_) => None,
        }
    }

    /// A handle that cancels what the session is doing, from elsewhere.
    pub fn cancel_handle(&self) -> Cancel {
        self.cancel.clone()
    }
}

impl Deref for Connection {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl DerefMut for Connection {
    fn deref_mut(&mut self) -> &mut Client {
        &mut self.client
    }
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Connection({}, PostgreSQL {})", self.host, self.major)
    }
}

/// Cancels what a session is doing, over a connection of its own, as the protocol wants it.
#[derive(Clone)]
pub struct Cancel {
    token: CancelToken,
    settings: Settings,
    host: Host,
    address: Address,
    is_encrypted: bool,
}

impl Cancel {
    /// Asks the server to cancel. It may come too late, and says nothing.
    pub async fn cancel(&self) -> Result<(), ConnectError> {
        let fail = |what, source: Option<io::Error>| {
            let source = source.map(|error| Box::new(error) as _);
            self.settings.failed(&self.host, LoginError::Other(what, source))
        };
        let inner = &self.settings.0;
        // Checked as strictly as the session was; without TLS where it had none.
        let tls = match self.is_encrypted {
            true => Some(Tls::new(inner.sslmode, &inner.tls, &self.host.name).map_err(|what| fail(what, None))?),
            false => None,
        };
        let encryption = tls.as_ref().map_or(Encryption::Plain, Encryption::Always);
        let opening = Transport::open(&self.address, &inner.keepalive, encryption);
        let transport = match tokio::time::timeout(inner.connect_timeout, opening).await {
            Ok(opened) => opened.map_err(|(what, source)| fail(what, source))?,
            Err(_) => return Err(fail(What::TimedOut(inner.connect_timeout), None)),
        };
        let sent = self.token.cancel_query_raw(transport, Opened);
        match tokio::time::timeout(Duration::from_secs(10), sent).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(self.settings.failed(&self.host, login_error(error))),
            Err(_) => Err(fail(What::TimedOut(inner.connect_timeout), None)),
        }
    }
}

/// `tokio-postgres` on a transport of ours.
struct TokioPostgres;

impl Login for TokioPostgres {
    type Session = (Client, Driver, u32);

    async fn login(
        &self,
        transport: Transport,
        settings: &Settings,
        password: Option<&SecretString>,
    ) -> Result<Self::Session, LoginError> {
        let mut config = Config::new();
        config
            .user(settings.user())
            .dbname(settings.database())
            .application_name(&settings.0.application_name);
        if let Some(password) = password {
            config.password(password.expose_secret());
        }
        if let Some(options) = &settings.0.options {
            config.options(options);
        }
        if settings.0.channel_binding_required {
            config.channel_binding(Binding::Require);
        }
        // TLS stands already. "Direct" makes the library take the stream as it is, and ask it for the channel binding.
        match transport.is_encrypted() {
            true => config.ssl_mode(Ssl::Require).ssl_negotiation(SslNegotiation::Direct),
            false => config.ssl_mode(Ssl::Disable),
        };
        let (client, mut connection) = config.connect_raw(transport, Opened).await.map_err(|error| {
            match password.is_none() && chain(&error).contains("password missing") {
                true => LoginError::Other(What::NoPassword, None),
                false => login_error(error),
            }
        })?;
        let major = connection.parameter("server_version").and_then(super::major_version);
        let major = major.ok_or_else(|| LoginError::Other(What::NotPostgres, None))?;
        let driver = tokio::spawn(async move {
            // Ends with the client, or with the session.
            std::future::poll_fn(|cx| {
                loop {
                    return match connection.poll_message(cx) {
                        Poll::Ready(Some(Ok(AsyncMessage::Notice(notice)))) => {
                            tracing::debug!(
                                severity = notice.severity(),
                                message = notice.message(),
                                "notice of the server"
                            );
                            continue;
                        }
                        Poll::Ready(Some(Ok(_))) => continue,
                        Poll::Ready(Some(Err(error))) => Poll::Ready(Err(error)),
                        Poll::Ready(None) => Poll::Ready(Ok(())),
                        Poll::Pending => Poll::Pending,
                    };
                }
            })
            .await
        });
        Ok((client, Driver(driver), major))
    }

    async fn role(&self, session: &mut Self::Session) -> Result<Role, LoginError> {
        let sql = "SELECT pg_catalog.pg_is_in_recovery(), pg_catalog.current_setting('transaction_read_only') = 'on'";
        let rows = session.0.simple_query(sql).await.map_err(login_error)?;
        let row = rows.iter().find_map(|message| match message {
            tokio_postgres::SimpleQueryMessage::Row(row) => Some(row),
            _ => None,
        });
        let is = |column| row.and_then(|row| row.get(column)) == Some("t");
        Ok(Role {
            is_standby: is(0),
            is_read_only: is(1),
        })
    }
}

fn login_error(error: tokio_postgres::Error) -> LoginError {
    if let Some(db) = error.as_db_error() {
        let sqlstate = db.code().code().to_owned();
        return LoginError::Server {
            sqlstate,
            message: error.into_source().unwrap_or_else(|| "no message".into()),
        };
    }
    let text = chain(&error);
    let what = match () {
        () if text.contains("unsupported authentication method") || text.contains("channel binding") => {
            What::UnknownAuthentication
        }
        // The other side could not prove that it knows the password.
        () if text.contains("SCRAM") || text.contains("invalid nonce") => What::WrongPassword,
        () if error.is_closed() => What::Lost,
        () => match find_io(&error) {
            Some(io) => super::transport::kind(io),
            None => What::NotPostgres,
        },
    };
    LoginError::Other(what, Some(Box::new(error)))
}

/// The library says what kind of error it is; what it was stands in its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(&format!(": {error}"));
        source = error.source();
    }
    text
}

fn find_io<'e>(error: &'e (dyn std::error::Error + 'static)) -> Option<&'e io::Error> {
    let mut source = Some(error);
    while let Some(error) = source {
        if let Some(io) = error.downcast_ref::<io::Error>() {
            return Some(io);
        }
        source = error.source();
    }
    None
}

impl Settings {
    pub(crate) fn failed(&self, host: &Host, error: LoginError) -> ConnectError {
        ConnectError::new(self.to_string(), vec![error.at(host)])
    }

    /// How strictly TLS is checked, for the destination and the source to mention in their notes.
    pub fn checks_who_answers(&self) -> bool {
        self.0.sslmode == SslMode::VerifyFull || self.hosts().iter().all(Host::is_socket)
    }
}

/// Takes a transport on which TLS stands as "the TLS connection".
struct Opened;

/// A transport that says what it is bound to.
struct Bound(Transport);

impl TlsConnect<Transport> for Opened {
    type Stream = Bound;
    type Error = io::Error;
    type Future = std::future::Ready<io::Result<Bound>>;

    fn connect(self, transport: Transport) -> Self::Future {
        std::future::ready(Ok(Bound(transport)))
    }
}

impl TlsStream for Bound {
    fn channel_binding(&self) -> ChannelBinding {
        match self.0.end_point() {
            Some(end_point) => ChannelBinding::tls_server_end_point(end_point.to_vec()),
            None => ChannelBinding::none(),
        }
    }
}

impl AsyncRead for Bound {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Bound {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
