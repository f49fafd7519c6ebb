//! Asking a running process: over its Unix socket, or over HTTP.

use std::path::{Path, PathBuf};
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use tokio::net::{TcpStream, UnixStream};

use crate::cli::Global;
use crate::codes;
use crate::configuration::Configuration;
use crate::exit::{Failure, Stop};
use crate::terminal::Terminal;

/// A process that does not answer in so long is stuck, or not ours.
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// No answer of ours comes near.
const BODY_BYTES_MAX: usize = 64 << 20;

/// A running process.
pub(crate) struct Client {
    place: Place,
    token: Option<SecretString>,
}

enum Place {
    Socket(PathBuf),
    /// `host:port`.
    Tcp(String),
}

/// An answer.
pub(crate) struct Answer {
    /// Its status.
    pub(crate) status: StatusCode,
    /// Its body; null if it is not JSON.
    pub(crate) body: Value,
}

impl Client {
    /// The process that `--address` names, or that runs this configuration.
    pub(crate) fn find(global: &Global, terminal: &Terminal, command: &str) -> Result<Client, Stop> {
        if let Some(address) = &global.address {
            let place = parse(address)?;
            // Its token may be in a configuration here; if there is none, the process will say that it wants one.
            let configuration = Configuration::read(global, &[]);
            let token = configuration.loaded.plan.and_then(|plan| plan.runtime.admin.token);
            return Ok(Client { place, token });
        }
        let configuration = Configuration::read(global, &[]);
        let plan = configuration.plan(terminal, command)?;
        Ok(Client {
            place: Place::Socket(configuration.socket(plan)),
            token: None,
        })
    }

    /// `GET path`.
    pub(crate) async fn get(&self, path: &str) -> Result<Answer, Failure> {
        self.ask(Method::GET, path, None).await
    }

    /// `POST path` with JSON.
    pub(crate) async fn post(&self, path: &str, body: &Value) -> Result<Answer, Failure> {
        self.ask(Method::POST, path, Some(body)).await
    }

    /// `DELETE path`.
    pub(crate) async fn delete(&self, path: &str) -> Result<Answer, Failure> {
        self.ask(Method::DELETE, path, None).await
    }

    async fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Answer, Failure> {
        match tokio::time::timeout(ANSWER_MAX, self.exchange(method, path, body)).await {
            Ok(answer) => answer.map_err(|error| self.unreachable(&error)),
            Err(_) => Err(self.unreachable(&format!("no answer within {} s", ANSWER_MAX.as_secs()))),
        }
    }

    async fn exchange(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Answer, String> {
        let text = body.map(Value::to_string).unwrap_or_default();
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(CONTENT_TYPE, "application/json");
        request = match &self.place {
            Place::Socket(_) => request.header(HOST, "localhost"),
            Place::Tcp(authority) => request.header(HOST, authority.as_str()),
        };
        if let Some(token) = &self.token {
            request = request.header(AUTHORIZATION, format!("Bearer {}", token.expose_secret()));
        }
        let request = request
            .body(Full::new(Bytes::from(text)))
            .map_err(|error| error.to_string())?;
        match &self.place {
            Place::Socket(path) => {
                let (short, _directory) = crate::http::reachable(path).map_err(|error| error.to_string())?;
                send(
                    UnixStream::connect(short).await.map_err(|error| error.to_string())?,
                    request,
                )
                .await
            }
            Place::Tcp(authority) => {
                send(
                    TcpStream::connect(authority).await.map_err(|error| error.to_string())?,
                    request,
                )
                .await
            }
        }
    }

    fn unreachable(&self, error: &dyn std::fmt::Display) -> Failure {
        let place = match &self.place {
            Place::Socket(path) => format!("`{}`", shown(path)),
            Place::Tcp(authority) => format!("`http://{authority}`"),
        };
        Failure::environment(codes::E0722.id, format!("cannot ask the runtime at {place}"))
            .caused_by(error)
            .hint("start it with `highwater run`, or name another one with `--config` or `--address`")
    }
}

impl Answer {
    /// The body of a success; else what the process said.
    pub(crate) fn body(self) -> Result<Value, Failure> {
        if self.status.is_success() {
            return Ok(self.body);
        }
        let text = |field: &str| self.body.get(field).and_then(Value::as_str).map(str::to_owned);
        let detail = text("detail").unwrap_or_else(|| format!("the runtime answered {}", self.status));
        let code = text("code").and_then(|code| codes::find(&code)).unwrap_or(codes::E0725);
        let failure = match self.status {
            StatusCode::NOT_FOUND | StatusCode::BAD_REQUEST => Failure::input(code.id, detail),
            _ => Failure::environment(code.id, detail),
        };
        Err(match text("hint") {
            Some(hint) => failure.hint(hint),
            None => failure,
        })
    }
}

async fn send<S>(stream: S, request: Request<Full<Bytes>>) -> Result<Answer, String>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(|error| error.to_string())?;
    // Ends with the exchange; what breaks in it breaks the request too.
    let driver = tokio::spawn(connection);
    let response = sender.send_request(request).await.map_err(|error| error.to_string())?;
    let status = response.status();
    let body = http_body_util::Limited::new(response.into_body(), BODY_BYTES_MAX)
        .collect()
        .await;
    driver.abort();
    let body = body.map_err(|error| error.to_string())?.to_bytes();
    Ok(Answer {
        status,
        body: serde_json::from_slice(&body).unwrap_or(Value::Null),
    })
}

fn parse(address: &str) -> Result<Place, Failure> {
    if let Some(path) = address.strip_prefix("unix:") {
        return Ok(Place::Socket(PathBuf::from(path)));
    }
    let authority = address.strip_prefix("http://").map(|rest| rest.trim_end_matches('/'));
    match authority.filter(|authority| !authority.is_empty() && !authority.contains('/')) {
        Some(authority) if authority.rsplit(']').next().is_some_and(|end| end.contains(':')) => {
            Ok(Place::Tcp(authority.to_owned()))
        }
        Some(authority) => Ok(Place::Tcp(format!("{authority}:{}", config::LISTEN.port()))),
        None => Err(
            Failure::input(codes::E0722.id, format!("cannot understand address `{address}`"))
                .hint("write `http://HOST:PORT` or `unix:PATH`"),
        ),
    }
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}
