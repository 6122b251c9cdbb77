//! Verification of a client's certificate.

use std::sync::Arc;

use galleria_manifest::model::{ClientVerification, ServerTls, TlsMode};
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, OtherError, RootCertStore,
    SignatureScheme,
};

use super::build::BuildError;
use super::certificate::CertificateParts;
use super::contents::ClientContents;

/// The verifier of a server whose mode asks clients for a certificate.
pub(super) fn verifier(
    settings: &ServerTls,
    contents: &ClientContents,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, BuildError> {
    let mut roots = RootCertStore::empty();
    for authority in &contents.authorities {
        roots
            .add(authority.clone())
            .map_err(BuildError::Authority)?;
    }
    verifier_of(settings, Arc::new(roots), contents, provider)
}

/// The same for clients of these authorities, instead of those of `contents`.
pub(super) fn verifier_of(
    settings: &ServerTls,
    roots: Arc<RootCertStore>,
    contents: &ClientContents,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, BuildError> {
    let mut builder = WebPkiClientVerifier::builder_with_provider(roots, provider.clone());
    if !contents.revocations.is_empty() {
        // As in Envoy, every authority of a chain needs a list, and an old list is not valid.
        builder = builder
            .with_crls(contents.revocations.iter().cloned())
            .enforce_revocation_expiration();
    }
    if settings.mode == TlsMode::OptionalMutual {
        builder = builder.allow_unauthenticated();
    }
    let inner = builder.build().map_err(BuildError::Verifier)?;
    Ok(Arc::new(NamedClient {
        inner,
        allowed: settings.client.clone(),
    }))
}

/// Also requires that the certificate is one of those that the settings name.
#[derive(Debug)]
struct NamedClient {
    inner: Arc<dyn ClientCertVerifier>,
    allowed: ClientVerification,
}

/// Why a certificate of a trusted authority is refused.
#[derive(Debug, thiserror::Error)]
#[error("the server does not allow this client")]
struct NotAllowed;

impl NamedClient {
    fn allows(&self, certificate: &CertificateDer<'_>) -> bool {
        let allowed = &self.allowed;
        let names = &allowed.subject_alt_names;
        let has_hashes = !allowed.public_keys.is_empty() || !allowed.certificates.is_empty();
        if names.is_empty() && !has_hashes {
            return true;
        }
        CertificateParts::of(certificate).is_some_and(|parts| {
            let is_named = names.is_empty() || names.iter().any(|name| parts.has_name(name));
            let is_known = allowed.public_keys.contains(&parts.public_key)
                || allowed.certificates.contains(&parts.digest);
            is_named && (is_known || !has_hashes)
        })
    }
}

impl ClientCertVerifier for NamedClient {
    fn offer_client_auth(&self) -> bool {
        self.inner.offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.inner.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.inner.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let verified = self
            .inner
            .verify_client_cert(certificate, intermediates, now)?;
        match self.allows(certificate) {
            true => Ok(verified),
            false => {
                let error = CertificateError::Other(OtherError(Arc::new(NotAllowed)));
                Err(rustls::Error::InvalidCertificate(error))
            }
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner
            .verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner
            .verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}
