//! Mutual TLS between workloads: both ends present a certificate with a SPIFFE ID, which an
//! authority of the mesh has signed.
//!
//! Only TLS 1.3 is spoken. Sessions are not resumed, since a resumed session would not check
//! the certificates again, and there is no early data, so that recorded bytes are of no use.

mod client;
mod refusal;
mod server;
#[cfg(test)]
mod tests;

pub(crate) use client::workload_client;
pub(crate) use refusal::TlsRefusal;
pub(crate) use server::{PeerSession, WorkloadServer};

use rustls::pki_types::CertificateDer;

use super::gateway::certificate::CertificateParts;
use galleria_mesh::inbound::SpiffeId;

/// The ALPN protocols of Istio's sidecars, which mark mutual TLS of the mesh, and HTTP/2.
const ISTIO: &[u8] = b"istio";

/// The SPIFFE ID of a certificate: its only URI (X509-SVID, 2).
fn spiffe_id(parts: &CertificateParts) -> Option<SpiffeId> {
    match parts.uris.as_slice() {
        [uri] => uri.parse().ok(),
        _ => None,
    }
}

/// The name of the certificate's owner, for messages.
fn owner(certificate: &CertificateDer<'_>) -> String {
    let parts = CertificateParts::of(certificate).unwrap_or_default();
    let mut names = parts.uris.into_iter().chain(parts.dns_names);
    names.next().unwrap_or(parts.subject)
}
