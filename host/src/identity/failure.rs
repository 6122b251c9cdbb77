//! Why the certificate authority cannot be used.

use galleria_mesh::inbound::SpiffeId;
use jiff::Timestamp;

/// Why there is no certificate for a workload.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CertificateError {
    #[error("`{id}` is not in the trust domain `{trust_domain}` of this host")]
    TrustDomain { id: SpiffeId, trust_domain: String },
    #[error("the certificate authority cannot sign a certificate for `{id}`")]
    Authority {
        id: SpiffeId,
        #[source]
        fault: Fault,
    },
}

/// What is wrong with an authority. The texts continue a sentence about its files, and do not
/// contain keys or certificates.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    #[error("cannot create a key or a certificate")]
    Create(#[from] rcgen::Error),
    #[error("it is not a valid X.509 certificate")]
    Certificate,
    #[error("it is not the certificate of a CA (basicConstraints CA:TRUE, keyUsage keyCertSign)")]
    NotAuthority,
    #[error("it has expired on {0}; renew it")]
    Expired(Timestamp),
    #[error("it is not valid before {0}; check the clock of this machine")]
    NotYetValid(Timestamp),
    #[error("the private key is malformed")]
    Key(#[source] rustls::Error),
    #[error(
        "the private key is of a kind that is not supported; use ECDSA P-256 or P-384, Ed25519, or RSA"
    )]
    KeyKind,
    #[error("the private key does not belong to it")]
    OtherKey,
    #[error("no root certificate that is still valid signs it, directly or through its chain")]
    Chain(#[source] rustls::Error),
    #[error("there is no root certificate that is still valid")]
    NoRoot,
}
