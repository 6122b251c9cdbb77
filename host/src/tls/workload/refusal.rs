//! Why a handshake between workloads failed, as a reason of a metric.

use std::error::Error;
use std::io;

use rustls::{CertificateError, OtherError};

/// The certificate of a client that is trusted has no SPIFFE ID of the mesh.
#[derive(Debug, thiserror::Error)]
#[error("the certificate of `{0}` has no SPIFFE ID of this trust domain")]
pub(super) struct NoIdentity(pub(super) String);

/// The certificate of a server is trusted, and is that of another workload.
#[derive(Debug, thiserror::Error)]
#[error("the server must be {expected}, and is {presented}")]
pub(super) struct OtherWorkload {
    pub(super) expected: String,
    pub(super) presented: String,
}

/// See the module's documentation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TlsRefusal {
    /// No authority of the mesh has signed the certificate.
    UnknownAuthority,
    Expired,
    /// The other end presents no certificate.
    NoCertificate,
    /// The certificate is that of another workload, or of none.
    WrongIdentity,
    /// Anything else: the version, a message that is not TLS, a connection that ends.
    Handshake,
}

impl TlsRefusal {
    /// The reason of a failed handshake, and its description; None if `error` has no cause in
    /// TLS.
    pub(crate) fn of(error: &(dyn Error + 'static)) -> Option<(Self, String)> {
        let mut cause = Some(error);
        while let Some(it) = cause {
            if it.is::<NoIdentity>() {
                return Some((Self::WrongIdentity, it.to_string()));
            }
            if let Some(tls) = it.downcast_ref() {
                return Some((Self::of_tls(tls), described(tls)));
            }
            let inner = it.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
            cause = match inner {
                Some(inner) => Some(inner),
                None => it.source(),
            };
        }
        None
    }

    fn of_tls(error: &rustls::Error) -> Self {
        use CertificateError as Certificate;
        match error {
            rustls::Error::NoCertificatesPresented => Self::NoCertificate,
            rustls::Error::InvalidCertificate(error) => match error {
                Certificate::Expired
                | Certificate::ExpiredContext { .. }
                | Certificate::NotValidYet
                | Certificate::NotValidYetContext { .. } => Self::Expired,
                Certificate::UnknownIssuer | Certificate::BadSignature => Self::UnknownAuthority,
                _ => Self::WrongIdentity,
            },
            _ => Self::Handshake,
        }
    }
}

fn described(error: &rustls::Error) -> String {
    match error {
        rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(own))) => {
            own.to_string()
        }
        other => other.to_string(),
    }
}
