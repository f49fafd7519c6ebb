//! Files of a mirror: of a directory, or over HTTP.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper::{Request, Response, Uri, header};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use sha2::{Digest as _, Sha256};
use tokio::fs::File;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// A server that is there answers sooner; one that is not is to be known at once.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// Between two pieces of an answer.
const SILENCE_MAX: Duration = Duration::from_secs(30);
/// A mirror may hand over to a store of objects, and that to another.
const REDIRECTS_MAX: usize = 5;
/// Where systems keep the certificates that they trust.
const AUTHORITIES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

type Result<T> = std::result::Result<T, String>;

/// Where plugins can be had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Mirror {
    Directory(PathBuf),
    Http(String),
}

impl Mirror {
    /// A base URL, or a path that starts at `base`.
    pub(super) fn parse(text: &str, base: &Path) -> Mirror {
        if text.starts_with("http://") || text.starts_with("https://") {
            return Mirror::Http(text.trim_end_matches('/').to_owned());
        }
        Mirror::Directory(base.join(text.strip_prefix("file://").unwrap_or(text)))
    }

    /// What a file of it is called.
    pub(super) fn place(&self, file: &str) -> String {
        match self {
            Mirror::Directory(path) => path.join(file).display().to_string(),
            Mirror::Http(base) => format!("{base}/{file}"),
        }
    }

    /// A small file.
    pub(super) async fn read(&self, file: &str, bytes_max: u64) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.copy(file, bytes_max, &mut bytes).await?;
        Ok(bytes)
    }

    /// Copies a file, and returns its SHA-256.
    pub(super) async fn save(&self, file: &str, bytes_max: u64, to: &Path) -> Result<String> {
        let mut out = File::create(to).await.map_err(|error| in_folder(to, &error))?;
        let sum = self.copy(file, bytes_max, &mut out).await?;
        let written = async {
            out.flush().await?;
            out.sync_all().await
        };
        written.await.map_err(|error| in_folder(to, &error))?;
        Ok(sum)
    }

    async fn copy(&self, file: &str, bytes_max: u64, out: &mut (impl AsyncWrite + Unpin)) -> Result<String> {
        let mut sink = Sink::new(bytes_max, out);
        match self {
            Mirror::Directory(path) => {
                let path = path.join(file);
                let opened = File::open(&path).await;
                let mut source = opened.map_err(|error| format!("cannot read `{}`: {error}", path.display()))?;
                let mut piece = vec![0; 256 << 10];
                loop {
                    let length = source.read(&mut piece).await.map_err(|error| error.to_string())?;
                    if length == 0 {
                        break;
                    }
                    sink.take(&piece[..length]).await?;
                }
            }
            Mirror::Http(base) => {
                let mut body = get(&format!("{base}/{file}")).await?.into_body();
                while let Some(frame) = within(SILENCE_MAX, body.frame()).await? {
                    let frame = frame.map_err(|error| error.to_string())?;
                    if let Some(data) = frame.data_ref() {
                        sink.take(data).await?;
                    }
                }
            }
        }
        Ok(sink.sum())
    }
}

fn in_folder(path: &Path, error: &std::io::Error) -> String {
    format!("cannot write `{}`: {error}", path.display())
}

/// Counts, sums up and passes on.
struct Sink<'a, W> {
    left: u64,
    hash: Sha256,
    out: &'a mut W,
}

impl<'a, W: AsyncWrite + Unpin> Sink<'a, W> {
    fn new(left: u64, out: &'a mut W) -> Self {
        let hash = Sha256::new();
        Sink { left, hash, out }
    }

    async fn take(&mut self, piece: &[u8]) -> Result<()> {
        let left = self.left.checked_sub(piece.len() as u64);
        self.left = left.ok_or_else(|| "it is larger than a plugin can be".to_owned())?;
        self.hash.update(piece);
        self.out.write_all(piece).await.map_err(|error| error.to_string())
    }

    fn sum(self) -> String {
        hex(&self.hash.finalize())
    }
}

/// As sums are written.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

async fn within<T>(time: Duration, work: impl Future<Output = T>) -> Result<T> {
    let seconds = time.as_secs();
    let outcome = tokio::time::timeout(time, work).await;
    outcome.map_err(|_| format!("no answer within {seconds} s"))
}

/// `GET`, over redirections.
async fn get(url: &str) -> Result<Response<Incoming>> {
    let mut url = url.to_owned();
    for _ in 0..=REDIRECTS_MAX {
        let answer = get_once(&url)
            .await
            .map_err(|what| format!("cannot get `{url}`: {what}"))?;
        let status = answer.status();
        if status.is_success() {
            return Ok(answer);
        }
        let target = answer
            .headers()
            .get(header::LOCATION)
            .and_then(|target| target.to_str().ok());
        match target.filter(|_| status.is_redirection()) {
            Some(target) if target.starts_with("http://") || target.starts_with("https://") => {
                // What came by a certificate must not end without one.
                if url.starts_with("https://") && target.starts_with("http://") {
                    return Err(format!("cannot get `{url}`: it leads to `{target}`, without TLS"));
                }
                url = target.to_owned();
            }
            Some(target) if target.starts_with('/') => {
                let uri: Uri = url.parse().map_err(|_| format!("`{url}` is no URL"))?;
                let (scheme, authority) = (uri.scheme_str().unwrap_or("http"), uri.authority());
                url = format!(
                    "{scheme}://{}{target}",
                    authority.map_or("", |authority| authority.as_str())
                );
            }
            _ => return Err(format!("cannot get `{url}`: it answers {status}")),
        }
    }
    Err(format!("cannot get `{url}`: it leads on and on"))
}

async fn get_once(url: &str) -> Result<Response<Incoming>> {
    let uri: Uri = url.parse().map_err(|_| "it is no URL".to_owned())?;
    let is_secure = uri.scheme_str() == Some("https");
    let host = uri.host().ok_or_else(|| "it names no host".to_owned())?.to_owned();
    let bare = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let port = uri.port_u16().unwrap_or(if is_secure { 443 } else { 80 });
    let connected = within(CONNECT_MAX, TcpStream::connect((bare.as_str(), port))).await?;
    let stream = connected.map_err(|error| error.to_string())?;
    if !is_secure {
        return ask(stream, &uri).await;
    }
    let name = ServerName::try_from(bare).map_err(|_| format!("`{host}` is no name of a host"))?;
    let connector = tokio_rustls::TlsConnector::from(Arc::new(trust()?));
    let secured = within(CONNECT_MAX, connector.connect(name, stream)).await?;
    ask(secured.map_err(|error| error.to_string())?, &uri).await
}

async fn ask(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, uri: &Uri) -> Result<Response<Incoming>> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| error.to_string())?;
    // Ends with the answer's body, or when that is dropped.
    tokio::spawn(connection);
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    let request = Request::get(path)
        .header(header::HOST, authority)
        .header(header::USER_AGENT, "highwater")
        .body(Empty::<Bytes>::new())
        .map_err(|error| error.to_string())?;
    let answer = within(SILENCE_MAX, sender.send_request(request)).await?;
    answer.map_err(|error| error.to_string())
}

/// What the system trusts.
fn trust() -> Result<ClientConfig> {
    let named = std::env::var_os("SSL_CERT_FILE").map(PathBuf::from);
    let usual = AUTHORITIES.iter().map(PathBuf::from);
    let path = named.into_iter().chain(usual).find(|path| path.exists());
    let path = path.ok_or_else(|| "the system has no list of certificates: install `ca-certificates`".to_owned())?;
    let pem = std::fs::read(&path).map_err(|error| format!("cannot read `{}`: {error}", path.display()))?;
    let mut roots = RootCertStore::empty();
    let certificates =
        <rustls::pki_types::CertificateDer<'_> as rustls::pki_types::pem::PemObject>::pem_slice_iter(&pem);
    roots.add_parsable_certificates(certificates.flatten());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.map_err(|error| error.to_string())?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}
