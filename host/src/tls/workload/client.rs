//! The client's end: what a caller presents, and what the workload that it calls must prove.

use std::net::Ipv4Addr;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::version::TLS13;
use rustls::{CertificateError, ClientConfig, OtherError, RootCertStore};

use super::refusal::OtherWorkload;
use super::{ISTIO, owner};
use crate::tls::TlsError;
use crate::tls::gateway::certificate::CertificateParts;
use crate::tls::verify::ServerVerifier;

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
    let verifier = ServerVerifier::new(&provider, roots, move |certificate, _| {
        check_names(certificate, &names)
    });
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

/// Requires that the certificate has one of `names`, whatever the name of its host.
fn check_names(certificate: &CertificateDer<'_>, names: &[String]) -> Result<(), rustls::Error> {
    let parts = CertificateParts::of(certificate).unwrap_or_default();
    if names.iter().any(|name| parts.has_name(name)) {
        return Ok(());
    }
    let other = OtherWorkload {
        expected: names.join(", "),
        presented: owner(certificate),
    };
    let error = CertificateError::Other(OtherError(Arc::new(other)));
    Err(rustls::Error::InvalidCertificate(error))
}
