//! TLS of the host's own listener, with a certificate of its own.

use std::io;
use std::sync::Arc;

use rcgen::{CertificateParams, KeyPair};
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// Why a certificate cannot be presented.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ServerTlsError {
    #[error("it is not valid PEM")]
    Pem(#[from] rustls::pki_types::pem::Error),
    #[error("rustls refuses it")]
    Refused(#[from] rustls::Error),
}

/// Why a certificate cannot be created.
pub(crate) type SelfSignError = rcgen::Error;

/// A certificate that is signed with its own key, both in PEM.
pub(crate) struct SelfSignedCertificate {
    pub certificate: String,
    pub key: String,
}

/// Accepts TLS connections.
#[derive(Clone)]
pub(crate) struct Acceptor(TlsAcceptor);

/// The HTTP version that a client has selected in the handshake (RFC 7301).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Alpn {
    Http1,
    Http2,
}

const HTTP1: &[u8] = b"http/1.1";
const HTTP2: &[u8] = b"h2";

impl Alpn {
    /// What listeners offer, the preferred version first.
    pub(super) fn offered() -> Vec<Vec<u8>> {
        vec![HTTP2.to_vec(), HTTP1.to_vec()]
    }

    pub(super) fn is_supported(protocol: &[u8]) -> bool {
        matches!(protocol, HTTP1 | HTTP2)
    }

    /// The version that was negotiated.
    pub(super) fn of(protocol: Option<&[u8]>) -> Option<Self> {
        match protocol? {
            HTTP2 => Some(Self::Http2),
            _ => Some(Self::Http1),
        }
    }
}

impl SelfSignedCertificate {
    /// Creates a key, and a certificate for `names`.
    ///
    /// # Errors
    /// A name is not valid, or the system has no random numbers.
    pub(crate) fn new(names: &[&str]) -> Result<Self, rcgen::Error> {
        let names: Vec<_> = names.iter().map(|&name| name.to_owned()).collect();
        let key = KeyPair::generate()?;
        let certificate = CertificateParams::new(names)?.self_signed(&key)?;
        Ok(Self {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        })
    }
}

impl Acceptor {
    /// Presents `certificate`, whose private key is `key`, both in PEM. Clients need no
    /// certificate, and may select HTTP/2.
    ///
    /// # Errors
    /// See [`ServerTlsError`].
    pub(crate) fn new(certificate: &str, key: &str) -> Result<Self, ServerTlsError> {
        let certificate = CertificateDer::from_pem_slice(certificate.as_bytes())?;
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes())?;
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)?;
        config.alpn_protocols = Alpn::offered();
        Ok(Self(TlsAcceptor::from(Arc::new(config))))
    }

    /// The secured stream, and the version if the client has selected one.
    ///
    /// # Errors
    /// The handshake failed.
    pub(crate) async fn accept<S>(&self, stream: S) -> io::Result<(TlsStream<S>, Option<Alpn>)>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let stream = self.0.accept(stream).await?;
        let alpn = Alpn::of(stream.get_ref().1.alpn_protocol());
        Ok((stream, alpn))
    }
}
