//! Verification of a server: who must have signed its certificate, and which names it must
//! have. Signatures of handshakes are verified as rustls does by default.

use std::fmt;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, RootCertStore, SignatureScheme};

use super::gateway::certificate::CertificateParts;

/// Checks the names of a certificate that is trusted; gets the name of the server that is
/// called, too.
type NamesCheck =
    dyn Fn(&CertificateDer<'_>, &ServerName<'_>) -> Result<(), rustls::Error> + Send + Sync;

/// See the module's documentation.
pub(super) struct ServerVerifier {
    /// None accepts any certificate. The server must still prove that it has the private key.
    trusted: Option<Trusted>,
    algorithms: WebPkiSupportedAlgorithms,
}

struct Trusted {
    roots: Arc<RootCertStore>,
    names: Box<NamesCheck>,
}

impl ServerVerifier {
    /// One of `roots` must have signed the certificate, and `names` must accept its names.
    pub(super) fn new(
        provider: &CryptoProvider,
        roots: Arc<RootCertStore>,
        names: impl Fn(&CertificateDer<'_>, &ServerName<'_>) -> Result<(), rustls::Error>
        + Send
        + Sync
        + 'static,
    ) -> Self {
        let names = Box::new(names);
        Self {
            trusted: Some(Trusted { roots, names }),
            algorithms: provider.signature_verification_algorithms,
        }
    }

    /// Accepts any certificate (`insecureSkipVerify`).
    pub(super) fn any_certificate(provider: &CryptoProvider) -> Self {
        Self {
            trusted: None,
            algorithms: provider.signature_verification_algorithms,
        }
    }
}

impl fmt::Debug for ServerVerifier {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let roots = self.trusted.as_ref().map(|it| it.roots.len());
        let mut debug = formatter.debug_struct("ServerVerifier");
        debug.field("roots", &roots).finish_non_exhaustive()
    }
}

impl ServerCertVerifier for ServerVerifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if let Some(Trusted { roots, names }) = &self.trusted {
            let parsed = ParsedCertificate::try_from(certificate)?;
            let algorithms = self.algorithms.all;
            verify_server_cert_signed_by_trust_anchor(
                &parsed,
                roots,
                intermediates,
                now,
                algorithms,
            )?;
            names(certificate, name)?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// The names that a certificate must be valid for: one of `names` or of `uris`, or the name of
/// the server if there are none.
#[derive(Debug)]
pub(super) struct SubjectAltNames {
    pub(super) names: Vec<ServerName<'static>>,
    pub(super) uris: Vec<String>,
}

impl SubjectAltNames {
    /// # Errors
    /// The certificate has none of the names.
    pub(super) fn check(
        &self,
        certificate: &CertificateDer<'_>,
        name: &ServerName<'_>,
    ) -> Result<(), rustls::Error> {
        if let Some(parts) = CertificateParts::of(certificate)
            && self.uris.iter().any(|uri| parts.uris.contains(uri))
        {
            return Ok(());
        }
        let parsed = ParsedCertificate::try_from(certificate)?;
        let verify = |name: &ServerName<'_>| verify_server_name(&parsed, name);
        let Some((first, others)) = self.names.split_first() else {
            return match self.uris.is_empty() {
                true => verify(name),
                false => Err(CertificateError::NotValidForName.into()),
            };
        };
        let verified = others.iter().map(verify).find(Result::is_ok);
        verified.unwrap_or_else(|| verify(first))
    }
}
