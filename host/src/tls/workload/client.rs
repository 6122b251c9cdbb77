//! The client's end: what a caller presents, and what the workload that it calls must prove.

use std::net::Ipv4Addr;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::version::TLS13;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, OtherError, RootCertStore,
    SignatureScheme,
};

use super::refusal::OtherWorkload;
use super::{ISTIO, owner};
use crate::tls::TlsError;
use crate::tls::gateway::certificate::CertificateParts;
use crate::tls::verify::verify_chain;

/// A client that presents `certificate` to servers of `roots` whose certificate has one of
/// `names`, which are SPIFFE IDs or the `subjectAltNames` of a DestinationRule. Also returns
/// the name to send in the handshake: `server`, or nothing if it is not a name.
///
/// # Errors
/// TLS 1.3 is not available.
pub(crate) fn workload_client(
    certificate: Arc<CertifiedKey>,
    roots: Arc<RootCertStore>,
    names: Vec<String>,
    server: &str,
) -> Result<(ClientConfig, ServerName<'static>), TlsError> {
    let provider = Arc::new(ring::default_provider());
    let verifier = NamedWorkload {
        roots,
        names,
        provider: provider.clone(),
    };
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_client_cert_resolver(Arc::new(SingleCertAndKey::from(certificate)));
    config.alpn_protocols = vec![ISTIO.to_vec(), b"h2".to_vec()];
    config.resumption = Resumption::disabled();
    // An address is not sent.
    let unnamed = ServerName::IpAddress(Ipv4Addr::UNSPECIFIED.into());
    let name = ServerName::try_from(server.to_owned()).unwrap_or(unnamed);
    Ok((config, name))
}

/// Requires that the server is one of `names`, whatever the name of its host.
#[derive(Debug)]
struct NamedWorkload {
    roots: Arc<RootCertStore>,
    names: Vec<String>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for NamedWorkload {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let algorithms = self.provider.signature_verification_algorithms;
        verify_chain(certificate, intermediates, &self.roots, now, algorithms)?;
        let parts = CertificateParts::of(certificate).unwrap_or_default();
        if self.names.iter().any(|name| parts.has_name(name)) {
            return Ok(ServerCertVerified::assertion());
        }
        let other = OtherWorkload {
            expected: self.names.join(", "),
            presented: owner(certificate),
        };
        let error = CertificateError::Other(OtherError(Arc::new(other)));
        Err(rustls::Error::InvalidCertificate(error))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let algorithms = &self.provider.signature_verification_algorithms;
        algorithms.supported_schemes()
    }
}
