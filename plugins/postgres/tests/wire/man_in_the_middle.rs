//! Somebody between us and the server, who ends TLS with a certificate that we trust and begins it again.

use std::fs;
use std::sync::Arc;

use highwater_plugin_postgres::connect::Settings;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, ServerConfig, SignatureScheme};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::tls::{Guarded, guarded};

#[derive(Debug)]
struct TrustsAnybody;

impl ServerCertVerifier for TrustsAnybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }
    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }
    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let provider = rustls::crypto::ring::default_provider();
        provider.signature_verification_algorithms.supported_schemes()
    }
}

/// Listens with TLS and passes everything on to the server over TLS of its own.
async fn listen(guarded: &'static Guarded) -> (u16, tokio::task::JoinHandle<()>) {
    let chain = CertificateDer::pem_slice_iter(&fs::read(guarded.certificates.path("middle.crt")).unwrap())
        .map(Result::unwrap)
        .collect();
    let key = PrivateKeyDer::from_pem_slice(&fs::read(guarded.certificates.path("middle.key")).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let accepts = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    let connects = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(TrustsAnybody))
        .with_no_client_auth();
    let acceptor = TlsAcceptor::from(Arc::new(accepts));
    let connector = TlsConnector::from(Arc::new(connects));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let task = tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let (acceptor, connector) = (acceptor.clone(), connector.clone());
            tokio::spawn(async move {
                let mut request = [0; 8];
                client.read_exact(&mut request).await?;
                client.write_all(b"S").await?;
                let mut client = acceptor.accept(client).await?;
                let mut server = TcpStream::connect(("127.0.0.1", guarded.server.port())).await?;
                server.write_all(&request).await?;
                let mut answer = [0];
                server.read_exact(&mut answer).await?;
                let name = ServerName::try_from("localhost").unwrap();
                let mut server = connector.connect(name, server).await?;
                tokio::io::copy_bidirectional(&mut client, &mut server).await
            });
        }
    });
    (port, task)
}

#[tokio::test]
async fn scram_does_not_pass_somebody_between_whose_certificate_is_trusted() {
    let Some(guarded) = guarded() else { return };
    guarded
        .certificates
        .signed("middle", "authority", "localhost", Some("DNS:localhost"), "sha256");
    let (port, task) = listen(guarded).await;
    let settings = |user: &str| {
        let authority = guarded.certificates.path("authority.crt");
        let query = format!("sslmode=verify-full&sslrootcert={}", authority.display());
        Settings::parse(&format!("postgres://{user}@localhost:{port}/postgres?{query}")).unwrap()
    };
    // What is between does work: MD5 is not bound to the channel.
    settings("md5:s3cret").connect().await.unwrap();
    settings("md5:s3cret").replicate().await.unwrap();
    let sql = settings("scram:s3cret%20pass").connect().await.unwrap_err();
    let replication = settings("scram:s3cret%20pass").replicate().await.unwrap_err();
    // "SCRAM channel binding check failed", says the server.
    let shown = api::Error::from(sql).chain() + &api::Error::from(replication).chain();
    assert_eq!(shown.matches("channel binding").count(), 2, "{shown}");
    task.abort();
}
