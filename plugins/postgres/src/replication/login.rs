//! Startup and authentication of a replication connection.
//!
//! Messages: startup, then one of: nothing, a password in clear, one hashed by MD5 with the server's salt, or SCRAM-SHA-256
//! (RFC 5802, 7677), bound to the TLS channel if there is one. Then parameters until the server is ready.

use std::collections::BTreeMap;

use bytes::BytesMut;
use fallible_iterator::FallibleIterator;
use postgres_protocol::authentication::md5_hash;
use postgres_protocol::authentication::sasl::{ChannelBinding, SCRAM_SHA_256, SCRAM_SHA_256_PLUS, ScramSha256};
use postgres_protocol::message::backend::{AuthenticationSaslBody, Message};
use postgres_protocol::message::frontend;
use secrecy::{ExposeSecret, SecretString};
use tokio::io::AsyncWriteExt;

use super::error::ServerError;
use super::receiver::Receiver;
use crate::connect::{Login, LoginError, Role, SESSION_SETTINGS, Settings, Transport, What, major_version};

/// Parameters that one server may report; they are few.
const PARAMETERS_MAX: usize = 1_000;

/// A replication connection that has logged in.
pub(super) struct Session {
    pub(super) transport: Transport,
    pub(super) receiver: Receiver,
    pub(super) major: u32,
}

/// Logs in with `replication=database`.
pub(super) struct Replication;

impl Login for Replication {
    type Session = Session;

    async fn login(
        &self,
        transport: Transport,
        settings: &Settings,
        password: Option<&SecretString>,
    ) -> Result<Session, LoginError> {
        let mut talk = Talk {
            transport,
            receiver: Receiver::new(),
            out: BytesMut::new(),
        };
        let options = settings.options();
        let mut parameters = vec![
            ("user", settings.user()),
            ("database", settings.database()),
            ("replication", "database"),
            ("application_name", settings.application_name()),
        ];
        parameters.extend(options.map(|options| ("options", options)));
        parameters.extend(SESSION_SETTINGS);
        frontend::startup_message(parameters, &mut talk.out).map_err(LoginError::Io)?;
        talk.send().await?;
        talk.authenticate(settings, password).await?;
        let parameters = talk.parameters().await?;
        let major = parameters.get("server_version").and_then(|text| major_version(text));
        Ok(Session {
            transport: talk.transport,
            receiver: talk.receiver,
            major: major.ok_or_else(|| LoginError::Other(What::NotPostgres, None))?,
        })
    }

    async fn role(&self, session: &mut Session) -> Result<Role, LoginError> {
        let sql = "SELECT pg_catalog.pg_is_in_recovery(), pg_catalog.current_setting('transaction_read_only')";
        let rows = super::command::run(&mut session.transport, &mut session.receiver, "ask for its role", sql)
            .await
            .map_err(|error| LoginError::Other(What::Lost, Some(Box::new(error))))?;
        let cell = |at: usize| rows.first().and_then(|row| row.get(at)?.as_deref());
        Ok(Role {
            is_standby: cell(0) == Some("t"),
            is_read_only: cell(1) == Some("on"),
        })
    }
}

struct Talk {
    transport: Transport,
    receiver: Receiver,
    out: BytesMut,
}

impl Talk {
    async fn send(&mut self) -> Result<(), LoginError> {
        self.transport.write_all(&self.out).await.map_err(LoginError::Io)?;
        self.transport.flush().await.map_err(LoginError::Io)?;
        self.out.clear();
        Ok(())
    }

    /// The next message that is no notice. An error of the server ends the login.
    async fn next(&mut self) -> Result<Message, LoginError> {
        loop {
            let mut raw = self.receiver.next(&mut self.transport).await.map_err(LoginError::Io)?;
            let message = Message::parse(&mut raw.bytes);
            let unknown = |source| LoginError::Other(What::NotPostgres, source);
            match message.map_err(|error| unknown(Some(error.into())))? {
                Some(Message::ErrorResponse(body)) => {
                    let error = ServerError::read(body.fields());
                    return Err(LoginError::Server {
                        sqlstate: error.sqlstate.clone(),
                        message: Box::new(error),
                    });
                }
                Some(Message::NoticeResponse(_)) => {}
                Some(message) => return Ok(message),
                None => return Err(unknown(None)),
            }
        }
    }

    async fn authenticate(&mut self, settings: &Settings, password: Option<&SecretString>) -> Result<(), LoginError> {
        let secret = || {
            let password = password.ok_or(LoginError::Other(What::NoPassword, None))?;
            Ok::<_, LoginError>(password.expose_secret().as_bytes())
        };
        let asked = self.next().await?;
        if settings.is_channel_binding_required() && !matches!(asked, Message::AuthenticationSasl(_)) {
            let why = "the server did not use channel binding".into();
            return Err(LoginError::Other(What::UnknownAuthentication, Some(why)));
        }
        match asked {
            Message::AuthenticationOk => return Ok(()),
            Message::AuthenticationCleartextPassword => {
                frontend::password_message(secret()?, &mut self.out).map_err(LoginError::Io)?;
                self.send().await?;
            }
            Message::AuthenticationMd5Password(body) => {
                let hash = md5_hash(settings.user().as_bytes(), secret()?, body.salt());
                frontend::password_message(hash.as_bytes(), &mut self.out).map_err(LoginError::Io)?;
                self.send().await?;
            }
            Message::AuthenticationSasl(body) => self.scram(&body, settings, secret()?).await?,
            _ => return Err(LoginError::Other(What::UnknownAuthentication, None)),
        }
        match self.next().await? {
            Message::AuthenticationOk => Ok(()),
            _ => Err(LoginError::Other(What::NotPostgres, None)),
        }
    }

    async fn scram(
        &mut self,
        offered: &AuthenticationSaslBody,
        settings: &Settings,
        password: &[u8],
    ) -> Result<(), LoginError> {
        let refused = |why: &str| LoginError::Other(What::UnknownAuthentication, Some(why.into()));
        let failed = |error: std::io::Error| LoginError::Other(What::WrongPassword, Some(Box::new(error)));
        let offered: Vec<String> = offered
            .mechanisms()
            .map(|name| Ok(name.to_owned()))
            .collect()
            .map_err(LoginError::Io)?;
        let offers = |mechanism: &str| offered.iter().any(|name| name == mechanism);
        let (mechanism, binding) = match self.transport.end_point() {
            Some(end_point) if offers(SCRAM_SHA_256_PLUS) => (
                SCRAM_SHA_256_PLUS,
                ChannelBinding::tls_server_end_point(end_point.to_vec()),
            ),
            _ if settings.is_channel_binding_required() => {
                return Err(refused("the server did not use channel binding"));
            }
            // Tells the server that we would have: if it did offer it, somebody between has taken it away.
            Some(_) if offers(SCRAM_SHA_256) => (SCRAM_SHA_256, ChannelBinding::unrequested()),
            None if offers(SCRAM_SHA_256) => (SCRAM_SHA_256, ChannelBinding::unsupported()),
            _ => return Err(refused("the server offers no SCRAM-SHA-256")),
        };
        let mut scram = ScramSha256::new(password, binding);
        frontend::sasl_initial_response(mechanism, scram.message(), &mut self.out).map_err(LoginError::Io)?;
        self.send().await?;
        let Message::AuthenticationSaslContinue(body) = self.next().await? else {
            return Err(LoginError::Other(What::NotPostgres, None));
        };
        scram.update(body.data()).map_err(failed)?;
        frontend::sasl_response(scram.message(), &mut self.out).map_err(LoginError::Io)?;
        self.send().await?;
        let Message::AuthenticationSaslFinal(body) = self.next().await? else {
            return Err(LoginError::Other(What::NotPostgres, None));
        };
        // The server proves that it knows the password as well.
        scram.finish(body.data()).map_err(failed)
    }

    async fn parameters(&mut self) -> Result<BTreeMap<String, String>, LoginError> {
        let mut parameters = BTreeMap::new();
        loop {
            match self.next().await? {
                Message::ReadyForQuery(_) => return Ok(parameters),
                Message::ParameterStatus(body) if parameters.len() < PARAMETERS_MAX => {
                    if let (Ok(name), Ok(value)) = (body.name(), body.value()) {
                        parameters.insert(name.to_owned(), value.to_owned());
                    }
                }
                Message::BackendKeyData(_) => {}
                _ => return Err(LoginError::Other(What::NotPostgres, None)),
            }
        }
    }
}
