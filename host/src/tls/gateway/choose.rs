//! Which certificate of a server a client is shown.
//!
//! Clients say in their first message which signatures they can verify. As in Envoy, a
//! certificate for the requested name is better than another one, and ECDSA is better than
//! RSA, which costs a server much more.

use std::cmp::Reverse;

use rustls::server::ClientHello;
use rustls::{CipherSuite, SignatureAlgorithm, SignatureScheme};

use super::build::ServedCertificate;

/// The part of a client's first message that selects a certificate.
pub(super) struct Offer<'a> {
    pub(super) server_name: Option<&'a str>,
    pub(super) schemes: &'a [SignatureScheme],
    pub(super) suites: &'a [CipherSuite],
}

impl<'a> Offer<'a> {
    pub(super) fn of(hello: &'a ClientHello<'a>) -> Self {
        Self {
            server_name: hello.server_name(),
            schemes: hello.signature_schemes(),
            suites: hello.cipher_suites(),
        }
    }
}

/// The best certificate of at least one. If the client can verify none, the handshake with
/// any of them fails and says why.
pub(super) fn choose<'c>(
    certificates: &'c [ServedCertificate],
    offer: &Offer<'_>,
) -> &'c ServedCertificate {
    let rank = |certificate: &&ServedCertificate| {
        let algorithm = certificate.key.key.algorithm();
        Reverse((
            is_verifiable(certificate, offer),
            offer
                .server_name
                .is_some_and(|name| certificate.parts.has_dns_name(name)),
            algorithm == SignatureAlgorithm::ECDSA,
        ))
    };
    // The first of equals.
    certificates
        .iter()
        .min_by_key(rank)
        .expect("at least one certificate")
}

fn is_verifiable(certificate: &ServedCertificate, offer: &Offer<'_>) -> bool {
    let key = &certificate.key.key;
    if key.choose_scheme(offer.schemes).is_none() {
        return false;
    }
    let algorithm = key.algorithm();
    let fits = |suite: &CipherSuite| {
        certificate.suites.contains(suite)
            && signature_of(*suite).is_none_or(|needed| needed == algorithm)
    };
    offer.suites.iter().any(fits)
}

/// The algorithm that a suite requires; None if the suite does not say, as in TLS 1.3.
fn signature_of(suite: CipherSuite) -> Option<SignatureAlgorithm> {
    match suite {
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
        | CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384
        | CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256 => {
            Some(SignatureAlgorithm::ECDSA)
        }
        CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256
        | CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384
        | CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256 => Some(SignatureAlgorithm::RSA),
        _ => None,
    }
}
