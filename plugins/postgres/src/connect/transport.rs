use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::BytesMut;
use postgres_protocol::message::frontend;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::addresses::Address;
use super::certificate::Certificate;
use super::error::What;
use super::settings::Keepalive;
use super::tls::Tls;

/// An open connection, encrypted or not, on which nobody has logged in yet.
pub(crate) struct Transport {
    stream: Stream,
    /// `tls-server-end-point`, if encrypted and the certificate has one.
    end_point: Option<Vec<u8>>,
}

enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// Why it did not open.
pub(super) type OpenError = (What, Option<io::Error>);

/// Whether TLS is used.
pub(super) enum Encryption<'a> {
    Plain,
    /// If the server has it.
    IfPossible(&'a Tls),
    Always(&'a Tls),
}

impl Transport {
    pub(super) async fn open(
        address: &Address,
        keepalive: &Keepalive,
        encryption: Encryption<'_>,
    ) -> Result<Self, OpenError> {
        let mut tcp = match address {
            Address::Unix(path) => {
                let stream = UnixStream::connect(path).await.map_err(by_kind)?;
                return Ok(Transport {
                    stream: Stream::Unix(stream),
                    end_point: None,
                });
            }
            Address::Tcp(address) => TcpStream::connect(address).await.map_err(by_kind)?,
        };
        tcp.set_nodelay(true).map_err(by_kind)?;
        set_keepalive(&tcp, keepalive).map_err(by_kind)?;
        let (tls, is_optional) = match encryption {
            Encryption::Plain => {
                return Ok(Transport {
                    stream: Stream::Tcp(tcp),
                    end_point: None,
                });
            }
            Encryption::IfPossible(tls) => (tls, true),
            Encryption::Always(tls) => (tls, false),
        };
        // One byte and not one more is read before TLS begins, so that nobody can slip in what TLS does not protect.
        match ask_for_tls(&mut tcp).await.map_err(by_kind)? {
            b'S' => {}
            b'N' if is_optional => {
                return Ok(Transport {
                    stream: Stream::Tcp(tcp),
                    end_point: None,
                });
            }
            b'N' => return Err((What::NoTls, None)),
            // The server could not even fork, and says so in words that cannot be trusted yet.
            b'E' => return Err((What::NotNow, None)),
            _ => return Err((What::NotPostgres, None)),
        }
        let connector = TlsConnector::from(tls.config.clone());
        let stream = connector.connect(tls.name.clone(), tcp).await;
        let stream = stream.map_err(|error| (tls_failure(&error), Some(error)))?;
        let certificate = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
        let end_point = certificate.and_then(|certificate| Certificate::open(certificate)?.end_point());
        Ok(Transport {
            stream: Stream::Tls(Box::new(stream)),
            end_point,
        })
    }

    pub(crate) fn is_encrypted(&self) -> bool {
        matches!(self.stream, Stream::Tls(_))
    }

    pub(crate) fn end_point(&self) -> Option<&[u8]> {
        self.end_point.as_deref()
    }
}

async fn ask_for_tls(tcp: &mut TcpStream) -> io::Result<u8> {
    let mut request = BytesMut::new();
    frontend::ssl_request(&mut request);
    tcp.write_all(&request).await?;
    tcp.read_u8().await
}

/// What a failure of the network means.
pub(super) fn kind(error: &io::Error) -> What {
    match error.kind() {
        io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound => What::Refused,
        io::ErrorKind::ConnectionReset
        | io::ErrorKind::ConnectionAborted
        | io::ErrorKind::BrokenPipe
        | io::ErrorKind::UnexpectedEof => What::Lost,
        _ if rustls_error(error).is_some() => tls_failure(error),
        _ => What::Unreachable,
    }
}

fn by_kind(error: io::Error) -> OpenError {
    (kind(&error), Some(error))
}

fn rustls_error(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}

fn tls_failure(error: &io::Error) -> What {
    use rustls::CertificateError as Bad;
    match rustls_error(error) {
        Some(rustls::Error::InvalidCertificate(Bad::NotValidForName | Bad::NotValidForNameContext { .. })) => {
            What::OtherName
        }
        Some(rustls::Error::InvalidCertificate(_)) => What::NotTrusted,
        Some(_) => What::TlsFailed,
        None => match kind_of_plain(error) {
            true => What::Lost,
            false => What::TlsFailed,
        },
    }
}

fn kind_of_plain(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe)
}

fn set_keepalive(tcp: &TcpStream, keepalive: &Keepalive) -> io::Result<()> {
    use rustix::net::sockopt;
    let Some(idle) = keepalive.idle else {
        return Ok(());
    };
    sockopt::set_socket_keepalive(tcp, true)?;
    sockopt::set_tcp_keepidle(tcp, idle)?;
    if let Some(interval) = keepalive.interval {
        sockopt::set_tcp_keepintvl(tcp, interval)?;
    }
    if let Some(count) = keepalive.count {
        sockopt::set_tcp_keepcnt(tcp, count)?;
    }
    #[cfg(target_os = "linux")]
    if let Some(timeout) = keepalive.user_timeout {
        sockopt::set_tcp_user_timeout(tcp, u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX))?;
    }
    Ok(())
}

impl AsyncRead for Transport {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Stream::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
            Stream::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Transport {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.stream {
            Stream::Tcp(stream) => Pin::new(stream).poll_write(cx, buf),
            Stream::Unix(stream) => Pin::new(stream).poll_write(cx, buf),
            Stream::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Unix(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
