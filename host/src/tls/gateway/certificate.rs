//! The parts of a certificate that decisions and services need.

use galleria_mesh::edge::ClientCertificate;
use http::HeaderValue;
use rustls::pki_types::CertificateDer;
use sha2::{Digest as _, Sha256};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;

use super::subject;
use crate::tls::certificate_pem;

/// See the module's documentation.
#[derive(Debug, Clone, Default)]
pub(in crate::tls) struct CertificateParts {
    /// When it expires, in seconds since 1970.
    pub(super) not_after: i64,
    pub(in crate::tls) dns_names: Vec<String>,
    pub(in crate::tls) uris: Vec<String>,
    /// Other names: mail addresses and IP addresses.
    pub(super) others: Vec<String>,
    /// As RFC 2253 writes it.
    pub(in crate::tls) subject: String,
    /// SHA-256 of the public key (`SubjectPublicKeyInfo`).
    pub(super) public_key: [u8; 32],
    /// SHA-256 of the certificate.
    pub(super) digest: [u8; 32],
}

impl CertificateParts {
    /// None if it is not an X.509 certificate.
    pub(in crate::tls) fn of(certificate: &CertificateDer<'_>) -> Option<Self> {
        let (_, parsed) = x509_parser::parse_x509_certificate(certificate).ok()?;
        let mut parts = Self {
            not_after: parsed.validity().not_after.timestamp(),
            subject: subject::rfc2253(parsed.subject()),
            public_key: Sha256::digest(parsed.public_key().raw).into(),
            digest: Sha256::digest(certificate).into(),
            ..Self::default()
        };
        parts.add_names(&parsed);
        Some(parts)
    }

    fn add_names(&mut self, parsed: &X509Certificate<'_>) {
        let Ok(Some(names)) = parsed.subject_alternative_name() else {
            return;
        };
        for name in &names.value.general_names {
            match name {
                GeneralName::DNSName(name) => self.dns_names.push((*name).to_owned()),
                GeneralName::URI(uri) => self.uris.push((*uri).to_owned()),
                GeneralName::RFC822Name(mail) => self.others.push((*mail).to_owned()),
                GeneralName::IPAddress(bytes) => self.others.extend(ip_address(bytes)),
                _ => {}
            }
        }
    }

    /// Whether `name` is one of the DNS names, of which `*` stands for one label.
    pub(super) fn has_dns_name(&self, name: &str) -> bool {
        self.dns_names.iter().any(|own| covers(own, name))
    }

    /// Whether the certificate is for `name`: any of its names, as Envoy matches them.
    pub(in crate::tls) fn has_name(&self, name: &str) -> bool {
        let mut exact = self.uris.iter().chain(&self.others);
        self.has_dns_name(name) || exact.any(|own| own == name)
    }
}

/// A name of a certificate can have a wildcard as its first label (RFC 6125, 6.4.3).
fn covers(own: &str, name: &str) -> bool {
    if own.eq_ignore_ascii_case(name) {
        return true;
    }
    let wildcard = own.strip_prefix("*.").zip(name.split_once('.'));
    wildcard.is_some_and(|(own, (label, rest))| !label.is_empty() && own.eq_ignore_ascii_case(rest))
}

fn ip_address(bytes: &[u8]) -> Option<String> {
    if let Ok(bytes) = <[u8; 4]>::try_from(bytes) {
        return Some(std::net::Ipv4Addr::from(bytes).to_string());
    }
    let bytes = <[u8; 16]>::try_from(bytes).ok()?;
    Some(std::net::Ipv6Addr::from(bytes).to_string())
}

/// `x-forwarded-client-cert` for a client's certificate; `by` are the URIs of the server's.
pub(super) fn forwarded(certificate: &CertificateDer<'_>, by: &[String]) -> Option<HeaderValue> {
    header(certificate, Some(certificate_pem(certificate)), by)
}

/// The same for the certificate of a workload, without the certificate itself.
pub(in crate::tls) fn described(
    certificate: &CertificateDer<'_>,
    by: &[String],
) -> Option<HeaderValue> {
    header(certificate, None, by)
}

fn header(
    certificate: &CertificateDer<'_>,
    pem: Option<String>,
    by: &[String],
) -> Option<HeaderValue> {
    let parts = CertificateParts::of(certificate)?;
    let certificate = ClientCertificate {
        digest: parts.digest,
        pem,
        subject: parts.subject,
        uris: parts.uris,
        dns_names: parts.dns_names,
    };
    certificate.forwarded(by)
}
