//! Builds the rustls configurations of a server.

use std::sync::Arc;

use galleria_manifest::model::{self, ServerTls, TlsVersion};
use rustls::crypto::{CryptoProvider, ring};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, ProducesTickets};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::version::{TLS12, TLS13};
use rustls::{CipherSuite, ServerConfig, SupportedProtocolVersion};
use tokio_util::sync::CancellationToken;

use super::ServerContext;
use super::certificate::CertificateParts;
use super::client;
use super::contents::{CertificateContents, ClientContents, ServerContents};
use super::mesh::MeshIdentity;
use crate::tls::Alpn;

/// Why the contents of a server cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum BuildError {
    #[error("its private key does not belong to its certificate")]
    OtherKey,
    #[error("its certificate is not a valid X.509 certificate")]
    Certificate,
    #[error("rustls refuses the certificate or its key")]
    Refused(#[source] rustls::Error),
    #[error("rustls refuses a certificate of the clients' authorities")]
    Authority(#[source] rustls::Error),
    #[error("cannot use the authorities or revocation lists of clients")]
    Verifier(#[source] rustls::server::VerifierBuilderError),
    #[error("rustls refuses the settings")]
    Settings(#[source] rustls::Error),
}

/// A certificate, and the configurations that present it.
#[derive(Debug)]
pub(super) struct ServedCertificate {
    /// The Secret or the file, for messages and metrics. None for the identity of the gateway,
    /// which the host renews itself.
    pub(super) label: Option<String>,
    pub(super) parts: CertificateParts,
    pub(super) key: Arc<CertifiedKey>,
    /// The suites that the configuration accepts.
    pub(super) suites: Vec<CipherSuite>,
    pub(super) config: Arc<ServerConfig>,
    /// For clients that only offer other protocols. As in Envoy, they are served without one.
    pub(super) without_alpn: Arc<ServerConfig>,
}

/// The parts that all configurations of a server share.
struct Shared {
    provider: Arc<CryptoProvider>,
    versions: Vec<&'static SupportedProtocolVersion>,
    verifier: Arc<dyn ClientCertVerifier>,
    /// Tickets of one server are not valid for another, which may verify clients differently.
    tickets: Arc<dyn ProducesTickets>,
}

/// # Errors
/// See [`BuildError`].
pub(super) fn build(
    settings: &ServerTls,
    contents: &ServerContents,
) -> Result<ServerContext, BuildError> {
    let provider = Arc::new(provider(&settings.cipher_suites));
    let verifier = match settings.mode.verifies_clients() {
        true => client::verifier(settings, &contents.client, &provider)?,
        false => rustls::server::WebPkiClientVerifier::no_client_auth(),
    };
    let shared = Shared::new(settings, verifier, provider)?;
    let certificates = contents.certificates.iter();
    let certificates = certificates.map(|it| shared.serve(it));
    Ok(ServerContext {
        certificates: certificates.collect::<Result<_, _>>()?,
        certificates_digest: contents.certificates_digest(),
        policy_digest: contents.policy_digest(settings),
        retired: CancellationToken::new(),
    })
}

/// A server with the identity of the gateway.
///
/// # Errors
/// See [`BuildError`].
pub(super) fn build_mesh(
    settings: &ServerTls,
    identity: &MeshIdentity,
) -> Result<ServerContext, BuildError> {
    let provider = Arc::new(provider(&settings.cipher_suites));
    let roots = identity.roots.clone();
    let verifier = client::verifier_of(settings, roots, &ClientContents::default(), &provider)?;
    let shared = Shared::new(settings, verifier, provider)?;
    Ok(ServerContext {
        certificates: vec![shared.serve_key(None, identity.certificate.clone())?],
        certificates_digest: identity.certificates_digest(),
        policy_digest: identity.policy_digest(settings),
        retired: CancellationToken::new(),
    })
}

impl Shared {
    fn new(
        settings: &ServerTls,
        verifier: Arc<dyn ClientCertVerifier>,
        provider: Arc<CryptoProvider>,
    ) -> Result<Self, BuildError> {
        Ok(Self {
            versions: versions(settings),
            verifier,
            tickets: ring::Ticketer::new().map_err(BuildError::Settings)?,
            provider,
        })
    }

    fn serve(&self, contents: &CertificateContents) -> Result<ServedCertificate, BuildError> {
        let (chain, key) = (contents.chain.clone(), contents.key.clone_key());
        let key = CertifiedKey::from_der(chain, key, &self.provider);
        let key = key.map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => BuildError::OtherKey,
            other => BuildError::Refused(other),
        })?;
        self.serve_key(Some(contents.label.clone()), Arc::new(key))
    }

    fn serve_key(
        &self,
        label: Option<String>,
        key: Arc<CertifiedKey>,
    ) -> Result<ServedCertificate, BuildError> {
        let parts = key.cert.first().and_then(CertificateParts::of);
        let config = self.config(&key)?;
        let mut without_alpn = config.clone();
        without_alpn.alpn_protocols.clear();
        let suites = self.provider.cipher_suites.iter();
        let suites = suites.filter(|suite| {
            let version = suite.version().version;
            self.versions
                .iter()
                .any(|allowed| allowed.version == version)
        });
        Ok(ServedCertificate {
            label,
            parts: parts.ok_or(BuildError::Certificate)?,
            suites: suites.map(rustls::SupportedCipherSuite::suite).collect(),
            config: Arc::new(config),
            without_alpn: Arc::new(without_alpn),
            key,
        })
    }

    fn config(&self, key: &Arc<CertifiedKey>) -> Result<ServerConfig, BuildError> {
        let builder = ServerConfig::builder_with_provider(self.provider.clone());
        let builder = builder
            .with_protocol_versions(&self.versions)
            .map_err(BuildError::Settings)?;
        let mut config = builder
            .with_client_cert_verifier(self.verifier.clone())
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(key.clone())));
        config.alpn_protocols = Alpn::offered();
        config.ticketer = self.tickets.clone();
        // Clients keep their sessions as tickets.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        Ok(config)
    }
}

/// With these suites for TLS 1.2, or with all if there are none.
fn provider(suites: &[model::CipherSuite]) -> CryptoProvider {
    let mut provider = ring::default_provider();
    if !suites.is_empty() {
        let allowed: Vec<_> = suites.iter().map(|suite| suite_of(*suite)).collect();
        provider
            .cipher_suites
            .retain(|suite| suite.tls13().is_some() || allowed.contains(&suite.suite()));
    }
    provider
}

fn suite_of(suite: model::CipherSuite) -> CipherSuite {
    use model::CipherSuite as Written;
    match suite {
        Written::EcdheEcdsaAes128Gcm => CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
        Written::EcdheEcdsaAes256Gcm => CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
        Written::EcdheEcdsaChacha20 => CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
        Written::EcdheRsaAes128Gcm => CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
        Written::EcdheRsaAes256Gcm => CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
        Written::EcdheRsaChacha20 => CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
    }
}

fn versions(settings: &ServerTls) -> Vec<&'static SupportedProtocolVersion> {
    let all = [(TlsVersion::V1_3, &TLS13), (TlsVersion::V1_2, &TLS12)];
    let allowed = settings.versions.min..=settings.versions.max;
    let versions = all
        .into_iter()
        .filter(|(version, _)| allowed.contains(version));
    versions.map(|(_, version)| version).collect()
}
