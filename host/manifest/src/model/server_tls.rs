//! The TLS settings of a gateway's server: of Istio's Gateway, a listener of the Gateway API,
//! or an Ingress.

use crate::{Position, WithPosition};

/// `tls` of a server. The listeners of the Gateway API and the hosts of an Ingress have the
/// same settings, with the defaults of Istio.
#[derive(Debug, Clone)]
pub struct ServerTls {
    pub at: Position,
    pub https_redirect: bool,
    pub mode: TlsMode,
    /// Several if clients support different signature algorithms, for example RSA and ECDSA.
    pub certificates: Vec<ServerCertificate>,
    /// How clients are verified, in the modes MUTUAL and OPTIONAL_MUTUAL.
    pub client: ClientVerification,
    pub versions: TlsVersions,
    /// Empty for the default of the host. Does not affect TLS 1.3.
    pub cipher_suites: Vec<CipherSuite>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TlsMode {
    Passthrough,
    Simple,
    Mutual,
    AutoPassthrough,
    IstioMutual,
    OptionalMutual,
}

/// A certificate with its private key.
#[derive(Debug, Clone)]
pub struct ServerCertificate {
    /// The field that names it, below the position of the TLS settings: `credentialName`.
    pub field: String,
    pub source: CertificateSource,
}

#[derive(Debug, Clone)]
pub enum CertificateSource {
    Secret {
        name: WithPosition<String>,
        /// By default that of the object.
        namespace: Option<String>,
    },
    /// PEM files of the machine that terminates TLS.
    Files {
        certificate: WithPosition<String>,
        private_key: WithPosition<String>,
    },
}

/// What a client's certificate must be.
#[derive(Debug, Clone, Default)]
pub struct ClientVerification {
    /// A PEM file with the trusted authorities. By default they are in the Secret of the
    /// certificate.
    pub ca_certificates: Option<WithPosition<String>>,
    /// The name of a Secret with the trusted authorities.
    pub ca_credential: Option<WithPosition<String>>,
    /// A PEM file with revocation lists.
    pub ca_crl: Option<WithPosition<String>>,
    /// If there are any, the certificate must have one of these names.
    pub subject_alt_names: Vec<String>,
    /// SHA-256 of the allowed public keys (`SubjectPublicKeyInfo`).
    pub public_keys: Vec<[u8; 32]>,
    /// SHA-256 of the allowed certificates.
    pub certificates: Vec<[u8; 32]>,
}

/// The allowed versions, both inclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TlsVersions {
    pub min: TlsVersion,
    pub max: TlsVersion,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TlsVersion {
    V1_2,
    V1_3,
}

/// A cipher suite of TLS 1.2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CipherSuite {
    EcdheEcdsaAes128Gcm,
    EcdheEcdsaAes256Gcm,
    EcdheEcdsaChacha20,
    EcdheRsaAes128Gcm,
    EcdheRsaAes256Gcm,
    EcdheRsaChacha20,
}

impl ServerTls {
    /// Settings with the defaults of Istio.
    pub fn new(at: Position, mode: TlsMode, certificates: Vec<ServerCertificate>) -> Self {
        Self {
            at,
            https_redirect: false,
            mode,
            certificates,
            client: ClientVerification::default(),
            versions: TlsVersions::default(),
            cipher_suites: Vec::new(),
        }
    }

    /// The name of the Secret with the first certificate.
    pub fn secret_name(&self) -> Option<&str> {
        match &self.certificates.first()?.source {
            CertificateSource::Secret { name, .. } => Some(name),
            CertificateSource::Files { .. } => None,
        }
    }
}

impl TlsMode {
    /// Whether the host terminates TLS.
    pub fn terminates(self) -> bool {
        !matches!(self, Self::Passthrough | Self::AutoPassthrough)
    }

    /// Whether clients are asked for a certificate of the user's authorities.
    pub fn verifies_clients(self) -> bool {
        matches!(self, Self::Mutual | Self::OptionalMutual)
    }

    /// As written in Istio's Gateway.
    pub fn name(self) -> &'static str {
        match self {
            Self::Passthrough => "PASSTHROUGH",
            Self::Simple => "SIMPLE",
            Self::Mutual => "MUTUAL",
            Self::AutoPassthrough => "AUTO_PASSTHROUGH",
            Self::IstioMutual => "ISTIO_MUTUAL",
            Self::OptionalMutual => "OPTIONAL_MUTUAL",
        }
    }
}

impl Default for TlsVersions {
    fn default() -> Self {
        Self {
            min: TlsVersion::V1_2,
            max: TlsVersion::V1_3,
        }
    }
}
