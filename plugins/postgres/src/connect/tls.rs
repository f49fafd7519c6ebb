//! TLS as `sslmode` means it.
//!
//! | `sslmode` | TLS | chain checked | name checked |
//! |---|---|---|---|
//! | `disable` | never | | |
//! | `allow` | if the server will not have us without | no | no |
//! | `prefer` | if the server can | no | no |
//! | `require` | always | if there is a file of authorities | no |
//! | `verify-ca` | always | yes | no |
//! | `verify-full` | always | yes | yes |
//!
//! Where libpq (with OpenSSL) takes a certificate that the TLS library of ours refuses on principle, libpq is followed: a
//! self-signed certificate that is itself in the file of authorities, and a common name where there is no alternative name.
//! Everything else is left to the library. Signatures of the handshake are checked in every mode.

use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use super::certificate::{Certificate, name_covers};
use super::error::What;
use super::spec::SslMode;

/// Where systems keep the authorities that they trust, after the variable that OpenSSL reads.
const SYSTEM_AUTHORITIES: &[&str] = &[
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// The files that take part. They are read for each connection, so that renewed ones are seen.
#[derive(Debug, Clone)]
pub(super) struct TlsFiles {
    authorities: Authorities,
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
}

#[derive(Debug, Clone)]
enum Authorities {
    System,
    File(PathBuf),
    None,
}

impl TlsFiles {
    /// What is not named is looked for where libpq looks.
    pub(super) fn new(authorities: Option<PathBuf>, certificate: Option<PathBuf>, key: Option<PathBuf>) -> Self {
        let usual = |name: &str| {
            let path = std::env::home_dir()?.join(".postgresql").join(name);
            path.exists().then_some(path)
        };
        TlsFiles {
            authorities: match authorities {
                Some(path) if path == Path::new("system") => Authorities::System,
                Some(path) => Authorities::File(path),
                None => usual("root.crt").map_or(Authorities::None, Authorities::File),
            },
            certificate: certificate.or_else(|| usual("postgresql.crt")),
            key: key.or_else(|| usual("postgresql.key")),
        }
    }
}

/// How a connection to one host is encrypted.
pub(super) struct Tls {
    pub(super) config: Arc<ClientConfig>,
    pub(super) name: ServerName<'static>,
}

impl Tls {
    pub(super) fn new(mode: SslMode, files: &TlsFiles, host: &str) -> Result<Self, What> {
        let checks = match (mode, &files.authorities) {
            (SslMode::VerifyFull, _) => Checks::ChainAndName,
            (SslMode::VerifyCa, _) | (SslMode::Require, Authorities::File(_) | Authorities::System) => Checks::Chain,
            _ => Checks::Nothing,
        };
        let name = match ServerName::try_from(host.to_owned()) {
            Ok(name) => name,
            Err(_) if checks == Checks::ChainAndName => return Err(What::OtherName),
            // Not used: an address sends no name.
            Err(_) => ServerName::from(IpAddr::from([0, 0, 0, 0])),
        };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = Verifier::new(checks, &files.authorities, host, Arc::clone(&provider))?;
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|_| What::TlsFailed)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        let config = match files.own_certificate()? {
            Some((path, chain, key)) => builder
                .with_client_auth_cert(chain, key)
                .map_err(|_| What::BadFile(path, "and the key do not belong together"))?,
            None => builder.with_no_client_auth(),
        };
        Ok(Tls {
            config: Arc::new(config),
            name,
        })
    }
}

type OwnCertificate = (PathBuf, Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

impl TlsFiles {
    fn own_certificate(&self) -> Result<Option<OwnCertificate>, What> {
        let Some(certificate) = &self.certificate else {
            return Ok(None);
        };
        let Some(key) = &self.key else {
            return Err(What::BadFile(certificate.clone(), "has no key: set `sslkey`"));
        };
        let chain = read_certificates(certificate)?;
        let metadata = fs::metadata(key).map_err(|_| What::BadFile(key.clone(), "cannot be read"))?;
        let allowed = if metadata.uid() == 0 { 0o640 } else { 0o600 };
        // As libpq: nothing for others, and for the group only what root gave it.
        if metadata.mode() & 0o777 & !allowed & 0o077 != 0 {
            return Err(What::BadFile(key.clone(), "is accessible to others: `chmod 0600` it"));
        }
        let text = fs::read_to_string(key).map_err(|_| What::BadFile(key.clone(), "cannot be read"))?;
        if text.contains("BEGIN ENCRYPTED") || text.contains("Proc-Type: 4,ENCRYPTED") {
            return Err(What::BadFile(key.clone(), "is encrypted, which is not supported"));
        }
        let private = PrivateKeyDer::from_pem_slice(text.as_bytes());
        let private = private.map_err(|_| What::BadFile(key.clone(), "holds no private key in PEM form"))?;
        Ok(Some((certificate.clone(), chain, private)))
    }
}

fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, What> {
    let bad = |why| What::BadFile(path.to_owned(), why);
    let text = fs::read(path).map_err(|_| bad("cannot be read"))?;
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let all = all.map_err(|_| bad("is not in PEM form"))?;
    if all.is_empty() {
        return Err(bad("holds no certificate"));
    }
    Ok(all)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Checks {
    Nothing,
    Chain,
    ChainAndName,
}

#[derive(Debug)]
struct Verifier {
    checks: Checks,
    host: String,
    trusted: Vec<CertificateDer<'static>>,
    /// `None` if nothing is checked.
    library: Option<Arc<WebPkiServerVerifier>>,
    provider: Arc<CryptoProvider>,
}

impl Verifier {
    fn new(checks: Checks, from: &Authorities, host: &str, provider: Arc<CryptoProvider>) -> Result<Self, What> {
        let mut verifier = Verifier {
            checks,
            host: host.to_owned(),
            trusted: Vec::new(),
            library: None,
            provider,
        };
        if checks == Checks::Nothing {
            return Ok(verifier);
        }
        let path = match from {
            Authorities::File(path) => path.clone(),
            Authorities::System => system_authorities()?,
            Authorities::None => {
                let path = PathBuf::from("~/.postgresql/root.crt");
                return Err(What::BadFile(path, "is not there, and `sslrootcert` is not set"));
            }
        };
        verifier.trusted = read_certificates(&path)?;
        let mut store = RootCertStore::empty();
        // A bundle may hold certificates that the library cannot use; the others still count.
        store.add_parsable_certificates(verifier.trusted.iter().cloned());
        let library =
            WebPkiServerVerifier::builder_with_provider(Arc::new(store), Arc::clone(&verifier.provider)).build();
        verifier.library = Some(library.map_err(|_| What::BadFile(path, "holds no certificate that can be used"))?);
        Ok(verifier)
    }

    /// The name, as libpq compares it: alternative names, or the common name where there are none.
    fn check_name(&self, certificate: &CertificateDer<'_>, name: &ServerName<'_>) -> Result<(), rustls::Error> {
        if self.checks != Checks::ChainAndName {
            return Ok(());
        }
        let parsed = ParsedCertificate::try_from(certificate);
        let by_library = parsed.and_then(|parsed| rustls::client::verify_server_name(&parsed, name));
        by_library.or_else(|error| self.check_common_name(certificate).then_some(()).ok_or(error))
    }

    fn check_common_name(&self, certificate: &CertificateDer<'_>) -> bool {
        Certificate::open(certificate).is_some_and(|certificate| {
            let name = certificate.common_name();
            !certificate.has_alternative_names() && name.is_some_and(|name| name_covers(name, &self.host))
        })
    }
}

fn system_authorities() -> Result<PathBuf, What> {
    let named = std::env::var_os("SSL_CERT_FILE").map(PathBuf::from);
    let usual = SYSTEM_AUTHORITIES.iter().map(PathBuf::from);
    named
        .into_iter()
        .chain(usual)
        .find(|path| path.exists())
        .ok_or_else(|| {
            What::BadFile(
                PathBuf::from(SYSTEM_AUTHORITIES[0]),
                "is not there: install `ca-certificates`",
            )
        })
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let Some(library) = &self.library else {
            return Ok(ServerCertVerified::assertion());
        };
        // Exactly this certificate was handed to us as trusted; there is no chain to check.
        if self
            .trusted
            .iter()
            .any(|trusted| trusted.as_ref() == end_entity.as_ref())
        {
            let since_1970 = Duration::from_secs(now.as_secs());
            if !Certificate::open(end_entity).is_some_and(|certificate| certificate.is_valid_at(since_1970)) {
                return Err(CertificateError::Expired.into());
            }
            self.check_name(end_entity, server_name)?;
            return Ok(ServerCertVerified::assertion());
        }
        match library.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            // The library checks the chain first: what is left is the name.
            Err(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => self
                .check_name(end_entity, server_name)
                .map(|()| ServerCertVerified::assertion()),
            answer => answer,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
